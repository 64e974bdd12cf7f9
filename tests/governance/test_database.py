"""The database of the governance store: its file, its schema, and two clear lines for all harm."""

import os
import sqlite3
import stat
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from nethical.errors import IntegrityError, NethicalError, StorageError, UsageError
from nethical.governance import database
from nethical.governance.configurations import Configuration
from nethical.governance.store import GovernanceStore
from nethical.governance.tables import metadata

OTHER_USER = 65534


def clock():
    return datetime.now(UTC)


def opened(place):
    return GovernanceStore(place, clock)


def configuration(number=0):
    decision = {
        "classifier_threshold": 0.5,
        "confidence_threshold": 0.7,
        "gray_zone_lower": 0.4,
        "gray_zone_upper": 0.6,
    }
    training = {"epochs": number, "batch_size": 32, "parameters": {}}
    return Configuration("heuristic", training, decision)


@pytest.fixture
def place(tmp_path):
    """A folder with a store of three configurations."""
    store = opened(tmp_path / "store")
    for number in range(3):
        store.add(configuration(number), by="ada")
    store.close()
    return tmp_path / "store"


def statements(place, *lines):
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(place / database.DATABASE)) as db:
        for line in lines:
            db.execute(line)
        db.commit()


def content(place):
    return (place / database.DATABASE).read_bytes()


def assert_refused(kind, place, *acts):
    """Each of the acts ends in two clear lines, and leaves the file byte for byte as it was."""
    before = content(place)
    for act in acts:
        with pytest.raises(kind) as refused:
            act(opened(place))
        assert refused.value.what
        assert refused.value.mend
        assert "\n" not in refused.value.what + refused.value.mend
        assert str(place) in refused.value.what
    assert content(place) == before


def read(store):
    return store.configurations()


def write(store):
    return store.add(configuration(9), by="ada")


def upgrade(store):
    return store.upgrade()


# --- the file and its schema


def test_a_new_store_is_a_file_that_only_its_owner_reads(tmp_path):
    umask = os.umask(0)
    try:
        opened(tmp_path / "a" / "b").check()
    finally:
        os.umask(umask)
    file = tmp_path / "a" / "b" / database.DATABASE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [database.DATABASE]


def test_asking_for_the_version_makes_nothing(tmp_path):
    assert opened(tmp_path / "none").version() is None
    assert not (tmp_path / "none").exists()


def schema(db):
    """What a SQLite file says of its tables, without spaces and in one order."""
    rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    found = {}
    for name, sql in rows:
        if name != database.VERSION_TABLE:
            found[name] = sorted(line.strip().rstrip(",") for line in sql.splitlines())
    return found


def test_migrations_make_what_the_tables_describe_with_every_rule(place):
    """Alembic's own comparison is one of the checks; it does not look at CHECK constraints."""
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with (
        closing(sqlite3.connect(place / database.DATABASE)) as made,
        engine.connect() as described,
    ):
        found, expected = schema(made), schema(described.connection.driver_connection)
    assert found == expected
    assert sum("CHECK" in clause for clauses in found.values() for clause in clauses) == 12


def test_the_schema_that_is_asked_for_is_the_last_migration():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [database.HEAD]
    assert {revision.revision for revision in script.walk_revisions()} == set(database.RELEASED)


# --- what is not this release's store, or is damaged


@pytest.mark.parametrize("version", ["0003", "1000", "newest"])
def test_a_store_of_a_newer_release_is_refused_and_left_alone(place, version):
    with closing(sqlite3.connect(place / database.DATABASE)) as db:
        db.execute("UPDATE nethical_schema SET version_num = ?", (version,))
        db.commit()
    assert_refused(StorageError, place, read, write, upgrade, GovernanceStore.version)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE nethical_schema SET version_num = '0000'",
        "UPDATE nethical_schema SET version_num = ''",
        "DELETE FROM nethical_schema",
    ],
)
def test_a_schema_that_no_release_made_is_refused_and_left_alone(place, change):
    statements(place, change)
    assert_refused(IntegrityError, place, read, write, upgrade)


def test_a_database_of_something_else_is_refused_and_gets_no_tables(tmp_path):
    with closing(sqlite3.connect(tmp_path / database.DATABASE)) as db:
        db.execute("CREATE TABLE alembic_version (version_num TEXT)")
        db.execute("INSERT INTO alembic_version VALUES ('0001')")
        db.commit()
    assert_refused(IntegrityError, tmp_path, read, write, upgrade)


@pytest.mark.parametrize("junk", [b"no database", b"SQLite format 3\0" + bytes(4000)])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, junk):
    (tmp_path / database.DATABASE).write_bytes(junk)
    assert_refused(NethicalError, tmp_path, read, write, upgrade)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE configuration SET training = '{'",
        "UPDATE configuration SET decision = CAST(x'ff7b' AS TEXT)",
        "DROP TABLE configuration",
    ],
)
def test_a_store_whose_lines_are_damaged_is_told_so(place, change):
    statements(place, change)
    assert_refused(NethicalError, place, read, lambda store: store.find("cfg"))


def test_no_damage_to_any_byte_ends_in_anything_but_two_clear_lines(place):
    whole = content(place)
    rng = np.random.default_rng(8)
    told = 0
    for size in (1, 8, 300) * 40:
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, len(whole), size)] = rng.integers(0, 256, size)
        (place / database.DATABASE).write_bytes(damaged.tobytes())
        store = opened(place)
        found = refusal(store.export)().splitlines()
        told += len(found) == 3
        assert found[0].startswith("did ") or len(found) == 3
        store.close()
    assert 20 < told < 120


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.95])
def test_a_store_that_is_cut_off_is_told_so(place, kept):
    whole = content(place)
    (place / database.DATABASE).write_bytes(whole[: int(kept * len(whole))])
    assert_refused(NethicalError, place, GovernanceStore.export)


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / database.DATABASE).touch()
    assert opened(tmp_path).configurations() == []


# --- who may not, and who has to wait


def as_other_user(act):
    """What somebody without rights gets: the error of an act that must fail, as two lines."""
    if os.geteuid() != 0:
        return act()
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        try:
            os.seteuid(OTHER_USER)
            text = act()
        except BaseException as error:  # noqa: BLE001 - the parent is told of any
            text = f"raised {error!r}"
        os.write(send, text.encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as told:
        text = told.read().decode()
    os.waitpid(child, 0)
    return text


def refusal(act):
    def run():
        try:
            return f"did {act()!r}"
        except NethicalError as error:
            return f"{type(error).__name__}\n{error.what}\n{error.mend}"

    return run


@pytest.fixture
def reachable():
    """A store where others may come: pytest's own folders are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = opened(Path(folder) / "store")
        store.add(configuration(), by="ada")
        store.close()
        yield Path(folder) / "store"


def test_a_store_that_may_only_be_read_is_read_and_refuses_to_be_written(reachable):
    file = reachable / database.DATABASE
    before = content(reachable)
    file.chmod(0o444)
    reachable.chmod(0o555)
    try:
        found = as_other_user(refusal(lambda: len(read(opened(reachable)))))
        refused = as_other_user(refusal(lambda: write(opened(reachable))))
    finally:
        reachable.chmod(0o755)
    assert found == "did 1"
    kind, what, mend = refused.splitlines()
    assert kind == "StorageError"
    assert str(file) in what
    assert "readonly" in what
    assert mend
    assert content(reachable) == before


def test_a_folder_that_may_not_be_entered_is_told(reachable):
    reachable.chmod(0o000)
    try:
        kind, what, mend = as_other_user(refusal(lambda: read(opened(reachable)))).splitlines()
    finally:
        reachable.chmod(0o755)
    assert (kind, bool(mend)) == ("StorageError", True)
    assert "Permission denied" in what


def test_whoever_writes_keeps_writers_waiting_and_not_readers(place, monkeypatch):
    monkeypatch.setattr(database, "LOCKED_SECONDS", 0.1)
    with closing(sqlite3.connect(place / database.DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(read(opened(place))) == 3
        assert_refused(StorageError, place, write, upgrade)
        other.execute("ROLLBACK")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked"):
            read(opened(place))
    assert write(opened(place))


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="a file is in the way"):
        write(opened(tmp_path / "file"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nothing://host/x", "no driver for nothing"),
        ("postgresql://host:port:port/x", "cannot be read"),
        ("://", "cannot be read"),
    ],
)
def test_a_url_that_leads_nowhere_is_a_usage_error(url, said):
    with pytest.raises(UsageError, match=said) as refused:
        opened(url)
    assert "folder" in refused.value.mend


def test_a_password_is_never_shown(monkeypatch):
    monkeypatch.setattr(sa, "create_engine", lambda url, **_: url)
    store = opened("postgresql+psycopg://ada:hunter2@host/rows")
    assert "hunter2" not in str(store)
    assert "ada" in str(store)


def test_a_folder_may_have_any_name(tmp_path):
    for name in ("a?b", "100 %", "#x", "\u00e9t\u00e9 & co"):
        write(opened(tmp_path / name))
        assert (tmp_path / name / database.DATABASE).exists()
