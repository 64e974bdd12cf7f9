"""The governance store keeps what it promises, on each database and among many processes."""

import hashlib
import multiprocessing
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nethical.errors import DataError, IntegrityError, NethicalError, StorageError, UsageError
from nethical.governance import database
from nethical.governance.configurations import Configuration, Status
from nethical.governance.store import GovernanceStore, Move, in_production
from nethical.governance.tables import metadata
from nethical.testing import BrokenPromiseError, check_store, store_checks
from nethical.testing.stores import CHECKS

FROZEN = Path(__file__).parent / "data" / "schema_0001.sql"
START = datetime(2026, 1, 1, tzinfo=UTC)
PROCESSES = 8
POSTGRES = Path("/usr/lib/postgresql")


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


# --- the promises, on each database


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_store_in_a_folder_keeps_what_every_store_owes(check, shared_folder):
    checks = {one.name: one for one in store_checks(lambda: opened(shared_folder))}
    checks[check.__name__]()


@pytest.fixture
def postgresql():
    """The URL of a PostgreSQL server that runs for one test."""
    pytest.importorskip("psycopg")
    found = shutil.which("pg_ctl") or next(
        (str(path) for path in sorted(POSTGRES.glob("*/bin/pg_ctl"), reverse=True)), None
    )
    if found is None:
        pytest.skip("no PostgreSQL server is installed")
    programs = Path(found).resolve().parent
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as short:  # a socket has 107 bytes
        account = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if account:
            shutil.chown(short, **account)

        def run(*command):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=short, **account)

        make = ("-A", "trust", "-U", "checker", "-E", "UTF8", "--locale=C")
        run(programs / "initdb", "-D", f"{short}/rows", *make)
        options = f"-k {short} -c listen_addresses='' -c fsync=off"
        control = (programs / "pg_ctl", "-D", f"{short}/rows", "-w")
        run(*control, "-l", f"{short}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://checker@/postgres?host={short}"
        finally:
            run(*control, "-m", "immediate", "stop")


@pytest.mark.slow
def test_a_store_on_postgresql_keeps_what_every_store_owes(postgresql):
    def version(store):
        store.check()
        found = store.version()
        store.close()
        return found

    with ThreadPoolExecutor(PROCESSES) as pool:
        stores = [opened(postgresql) for _ in range(PROCESSES)]
        assert set(pool.map(version, stores)) == {database.HEAD}
    check_store(lambda: opened(postgresql))


def test_a_store_that_counts_attempts_outside_its_transaction_is_found(tmp_path):
    class Careless(GovernanceStore):
        def attempt(self, gate_digest, configuration_id):
            k = len(self.export()["attempt"]) + 1
            with self.writing() as db:
                db.execute(
                    metadata.tables["attempt"]
                    .insert()
                    .values(
                        gate_digest=gate_digest,
                        k=k,
                        configuration_id=configuration_id,
                        at=self.now(),
                    )
                )
            return k

    checks = store_checks(lambda: Careless(tmp_path, clock))
    attempts = [check for check in checks if "attempt" in check.name]
    assert len(attempts) == 2
    for check in attempts:
        with pytest.raises((BrokenPromiseError, NethicalError)):
            check()


# --- a store of the first release


def thawed(folder):
    """The frozen store of the first release; another release freezes another one."""
    assert hashlib.sha256(FROZEN.read_bytes()).hexdigest().startswith("76efe063fa15fba2")
    folder.mkdir()
    with closing(sqlite3.connect(folder / database.DATABASE)) as db:
        db.executescript(FROZEN.read_text(encoding="utf-8"))
    return folder


def test_a_store_of_the_first_release_is_refused_until_it_is_upgraded(tmp_path):
    folder = thawed(tmp_path / "old")
    before = (folder / database.DATABASE).read_bytes()
    with pytest.raises(StorageError, match="has schema 0001; this release needs 0002") as refused:
        opened(folder).configurations()
    assert refused.value.mend == "run `nethical govern db upgrade`"
    assert (folder / database.DATABASE).read_bytes() == before


def test_an_upgrade_of_the_first_release_keeps_every_line_and_adds_empty_tables(tmp_path):
    folder = thawed(tmp_path / "old")
    with closing(sqlite3.connect(folder / database.DATABASE)) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        kept = {
            name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608 - its own names
            for name in tables
            if not name.startswith(("sqlite", "nethical"))
        }
    assert opened(folder).upgrade() == "0001"
    assert opened(folder).upgrade() == database.HEAD
    exported = opened(folder).export()
    assert len(kept) == 8
    assert {name: len(rows) for name, rows in exported.items() if rows} == kept
    made = opened(tmp_path / "new")
    made.check()
    assert schema_of(folder) == schema_of(tmp_path / "new")


def schema_of(folder):
    """What a store's file says of its tables, in one order."""
    with closing(sqlite3.connect(folder / database.DATABASE)) as db:
        found = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return sorted((name, re.sub(r"\s+", " ", sql)) for name, sql in found)


def test_what_the_first_release_wrote_still_means_the_same(tmp_path):
    store = opened(thawed(tmp_path / "old"))
    store.upgrade()
    for row in store.configurations():
        assert store.find(row.configuration_id).configuration_id == row.configuration_id
        assert store.find(row.configuration_id).digest == row.digest
    told = in_production(store.events("risk"))
    assert (told.actor, told.reason, told.gate_report) == ("zo\u00eb", "it's better", 1)
    assert [event.to_status for event in store.events("risk")] == [
        *("production", "shadow", "deprecated", "production")
    ]
    (study,) = store.studies()
    assert store.trials(study.study_id)[1] == ({"l2": 0.25}, {"recall": None})
    first, second = store.cases("risk")
    assert first.features["text"] == "d\u00e9j\u00e0 vu; 'quoted'"
    assert (first.is_positive, second.is_positive) == (True, False)
    assert second.inclusion_probability == 0.0125
    assert store.attempt("sha256:" + "1f" * 32, told.configuration_id) == 2
    again = store.open_study("risk", "random_search", 3, study.identity)
    assert again == study.study_id


# --- lines


def test_times_are_those_of_the_clock(tmp_path):
    times = iter(START + timedelta(seconds=k) for k in range(9))
    store = GovernanceStore(tmp_path, lambda: next(times))
    for number in range(2):
        store.add(configuration(number), by="ada")
    newest_first = [row.created_at for row in store.configurations()]
    assert newest_first == ["2026-01-01T00:00:01.000000Z", "2026-01-01T00:00:00.000000Z"]


def test_a_beginning_that_fits_several_names_none(place):
    with pytest.raises(UsageError, match="3 configurations"):
        opened(place).find("cfg_")
    with pytest.raises(UsageError, match="no configuration"):
        opened(place).find("%")


def test_an_id_that_belongs_to_another_configuration_is_an_integrity_error(place):
    with closing(sqlite3.connect(place / database.DATABASE)) as db:
        db.execute("UPDATE configuration SET digest = 'sha256:' || configuration_id")
        db.commit()
    with pytest.raises(IntegrityError, match="is another configuration"):
        opened(place).add(configuration(1), by="ada")


def test_many_cases_are_taken_in_at_once(place):
    case = {
        "name": "risk",
        "features": {"x": 1.0},
        "is_positive": True,
        "stratum": "audit",
        "inclusion_probability": 0.5,
        "reviewers": 2,
        "used_for_training": False,
        "reviewed_at": "2026-01-01T00:00:00Z",
    }
    cases = [{**case, "case_id": str(k)} for k in range(20_000)]
    store = opened(place)
    assert store.import_cases(cases) == 20_000
    with pytest.raises(DataError, match="'7'"):
        store.import_cases([{**case, "case_id": "new"}, cases[7]])
    assert len(store.cases("risk")) == 20_000
    assert store.import_cases([]) == 0


# --- processes


def _race(place, gate, results, number):
    """Move, count and complete in a process of its own, each step at the same time as others."""
    store = opened(place)
    found = []
    for step in range(6):
        gate.wait()
        one = configuration(step // 2).configuration_id
        move = Move(one, (Status.SHADOW, Status.REJECTED)[step % 2], "m", f"p{number}", "race")
        try:
            found.append(("moved", store.move("risk", move)))
        except UsageError:
            found.append(("refused", None))
    gate.wait()
    k = store.attempt("sha256:race", configuration(number).configuration_id)
    results.put((number, found, k))


def test_of_eight_processes_that_move_at_once_exactly_one_wins_each_step(tmp_path):
    store = opened(tmp_path)
    for number in range(PROCESSES):
        store.add(configuration(number), by="ada")
    store.close()
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(PROCESSES), context.Queue()
    children = [
        context.Process(target=_race, args=(tmp_path, gate, results, k)) for k in range(PROCESSES)
    ]
    for child in children:
        child.start()
    told = [results.get(timeout=100) for _ in children]
    for child in children:
        child.join()
    for step in range(6):
        assert [found[step][0] for _, found, _ in told].count("moved") == 1
    assert sorted(k for _, _, k in told) == list(range(1, PROCESSES + 1))
    events = opened(tmp_path).events("risk")
    numbers = [event.number for event in events]
    assert [event.previous for event in events] == [0, *numbers[:-1]]
    assert [event.to_status for event in events] == ["shadow", "rejected"] * 3


def _first(place, gate, results):
    gate.wait()
    results.put(opened(place).add(configuration(), by="ada"))


def test_eight_processes_that_open_an_empty_store_at_once_make_one(tmp_path):
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(PROCESSES), context.Queue()
    children = [
        context.Process(target=_first, args=(tmp_path / "new", gate, results))
        for _ in range(PROCESSES)
    ]
    for child in children:
        child.start()
    assert len({results.get(timeout=100) for _ in children}) == 1
    for child in children:
        child.join()
    assert len(opened(tmp_path / "new").configurations()) == 1
    assert opened(tmp_path / "new").version() == database.HEAD
