import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pytest

from nethical.canonical import digest
from nethical.drift import cohorts as module
from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import Cohorts, Look, NewRun, check_id, cohort_id_of
from nethical.errors import DataError, IntegrityError, StorageError, UsageError


def summary(seed, n=200, **more):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 0.5, n)
    return summarise(Scored(p, (rng.random(n) < p).astype(np.int8), 0.5, **more))


def new_run(name="run_a", *, rows="rows_1", model="model_1", seed=1, details=None):
    return NewRun(
        name, f"name of {model}", model, "process", rows, "a/path", summary(seed), details or {}
    )


def look(number, cohort="b"):
    return Look({cohort: 1}, number, 0.001, "no_drift", f"report_{number}", f"2026-01-0{number}")


@pytest.fixture
def store(tmp_path):
    ticks = count()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return Cohorts(tmp_path / "reports", lambda: start + timedelta(seconds=next(ticks)))


@pytest.fixture
def filled(store):
    store.add("a", new_run())
    store.add("b", new_run("run_b", rows="rows_2", seed=2), label="The second")
    return store


def change(store, statement, *values):
    with closing(sqlite3.connect(store.path)) as db:
        db.execute(statement, values)
        db.commit()


def explained(caught):
    """An error that tells the file, in one line each of cause and mend."""
    assert caught.value.what
    assert caught.value.mend
    assert "\n" not in caught.value.what + caught.value.mend
    return caught.value.what


# --- what is kept ----------------------------------------------------------------------------


def test_an_empty_store_has_nothing_and_makes_nothing(store):
    assert store.ids() == []
    assert store.load() == []
    assert store.reference() is None
    assert store.looks() == []
    assert not store.folder.exists()


def test_what_is_loaded_is_what_was_added_and_in_that_order(store):
    runs = [
        NewRun(
            f"run {i}",
            f"model {i % 2}",
            f"digest {i % 2}",
            "process",
            f"rows {i}",
            "bundles/x",
            summary(
                i,
                clusters=np.arange(200) // 4,
                fairness={"região": (np.arange(200) % 2, ["north", "süd"])},
                windows=(np.arange(200) // 100, ["w1", "w2"]),
            ),
            {"threshold": 0.5, "source": "ä\n'\"; DROP TABLE run;", "limits": {"ece": 0.08}},
        )
        for i in range(5)
    ]
    digests = [store.add(name, run) for name, run in zip("babcb", runs, strict=True)]
    assert store.ids() == ["b", "a", "c"]
    b, a, c = store.load()
    assert [run.run_id for run in b.runs] == ["run 0", "run 2", "run 4"]
    assert [cohort.label for cohort in (a, b, c)] == ["a", "b", "c"]
    loaded = {run.run_id: run for cohort in (a, b, c) for run in cohort.runs}
    for run, cells_digest in zip(runs, digests, strict=True):
        again = loaded[run.run_id]
        assert again.summary.to_bytes() == run.summary.to_bytes()
        assert again.cells_digest == cells_digest == digest(run.summary.to_bytes())
        for name in ("model", "model_digest", "process", "rows_digest", "rows_path", "details"):
            assert getattr(again, name) == getattr(run, name)
    assert [run.added_at for run in b.runs] == sorted(run.added_at for run in b.runs)
    assert b.created_at == b.runs[0].added_at
    assert b.models == ("digest 0",)


def test_cohorts_are_loaded_as_they_are_named_and_each_once(filled):
    assert [c.cohort_id for c in filled.load(["b", "a", "b"])] == ["b", "a"]
    assert filled.load(["b"])[0].label == "The second"
    assert filled.load([]) == []


def test_a_label_is_given_once_and_stays(filled):
    filled.add("b", new_run("run_c", rows="rows_3", seed=3), label="Another")
    assert filled.load(["b"])[0].label == "The second"


def test_the_same_rows_by_the_same_model_count_once(store):
    store.add("a", new_run("first", seed=1))
    store.add("a", new_run("again", seed=1))
    store.add("a", new_run("other model", model="model_2", seed=1))
    store.add("a", new_run("other rows", rows="rows_2", seed=2))
    (cohort,) = store.load()
    assert [run.run_id for run in cohort.counted] == ["first", "other model", "other rows"]
    assert cohort.summary.whole.rows == 600
    assert len(cohort.runs) == 4


def test_only_its_owner_can_read_the_store(filled):
    assert filled.path.stat().st_mode & 0o777 == 0o600
    filled.add("c", new_run("run_c"))
    assert [p.name for p in filled.folder.iterdir()] == ["cohorts.db"]


# --- what is refused -------------------------------------------------------------------------


def test_the_same_run_twice_is_refused_and_the_store_untouched(filled):
    before = filled.path.read_bytes()
    with pytest.raises(DataError, match="holds these rows, scored by name of model_1") as caught:
        filled.add("a", new_run(seed=9))
    explained(caught)
    assert filled.path.read_bytes() == before
    assert filled.load(["a"])[0].summary.to_bytes() == summary(1).to_bytes()
    filled.add("c", new_run())  # another cohort may have it


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "a b", "a/b", "ä", "a\n", "x" * 65, "../a", "a'; DROP TABLE run"]
)
def test_a_bad_id_is_an_error_of_use_and_makes_nothing(store, name):
    with pytest.raises(UsageError, match="is no cohort id"):
        store.add(name, new_run())
    assert not store.folder.exists()


@pytest.mark.parametrize("name", ["a", "0", "A.b_c-d", "x" * 64])
def test_a_plain_id_is_one(name):
    assert check_id(name) == name


@pytest.mark.parametrize("value", ["Weather & news", "", "日本", "a" * 300, "--", "x/../y"])
def test_any_value_of_a_column_makes_an_id_of_its_own(value):
    assert check_id(cohort_id_of(value)) != check_id(cohort_id_of(value + " "))


def test_an_unknown_cohort_is_an_error_of_use(filled):
    with pytest.raises(UsageError, match="there is no cohort 'c'"):
        filled.load(["a", "c"])


def test_a_reference_must_exist_and_have_a_horizon(filled):
    with pytest.raises(UsageError, match="there is no cohort 'c'"):
        filled.set_reference("c", horizon=5)
    with pytest.raises(UsageError, match="the horizon is 0"):
        filled.set_reference("a", horizon=0)
    assert filled.reference() is None


# --- the reference and its looks -------------------------------------------------------------


def test_looks_are_kept_in_order_and_none_can_be_taken_twice(filled):
    with pytest.raises(UsageError, match="no reference is set"):
        filled.add_look(look(1))
    filled.set_reference("a", horizon=10)
    assert filled.reference() == ("a", 10)
    filled.add_look(look(1))
    filled.add_look(look(2))
    for number in (1, 2, 4):
        with pytest.raises(StorageError, match=f"look {number} ") as caught:
            filled.add_look(look(number, 7))
        explained(caught)
    assert filled.looks() == [look(1), look(2)]


@pytest.mark.parametrize("name", ["a", "b"])
def test_setting_the_reference_anew_starts_afresh(filled, name):
    filled.set_reference("a", horizon=10)
    filled.add_look(look(1))
    filled.set_reference(name, horizon=3)
    assert filled.reference() == (name, 3)
    assert filled.looks() == []
    filled.add_look(look(1))
    assert filled.looks() == [look(1)]


# --- what is damaged -------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2", "0", "two"])
def test_another_schema_is_told_and_left_as_it_is(filled, version):
    change(filled, "UPDATE meta SET value = ? WHERE name = 'schema_version'", version)
    before = filled.path.read_bytes()
    for attempt in (
        filled.load,
        lambda: filled.add("c", new_run("run_c")),
        lambda: filled.set_reference("a", horizon=2),
    ):
        with pytest.raises(StorageError, match=f"has schema {version}") as caught:
            attempt()
        assert "release" in caught.value.mend
    assert filled.path.read_bytes() == before
    assert [p.name for p in filled.folder.iterdir()] == ["cohorts.db"]


def test_a_file_that_is_no_database_is_told_and_left_as_it_is(filled):
    filled.path.write_bytes(b"cohort,rows\n" * 500)
    for attempt in (filled.ids, lambda: filled.add("c", new_run("run_c"))):
        with pytest.raises(IntegrityError, match="is no store of cohorts") as caught:
            attempt()
        explained(caught)
    assert filled.path.read_bytes() == b"cohort,rows\n" * 500


def test_a_database_of_another_kind_is_told_and_left_as_it_is(store):
    store.folder.mkdir()
    change(store, "CREATE TABLE songs (title TEXT)")
    before = store.path.read_bytes()
    for attempt in (store.ids, lambda: store.add("c", new_run("run_c"))):
        with pytest.raises(IntegrityError, match="is no store of cohorts") as caught:
            attempt()
        explained(caught)
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9])
def test_a_truncated_store_is_told(filled, part):
    content = filled.path.read_bytes()
    filled.path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(IntegrityError, match=r"cohorts\.db") as caught:
        filled.load()
    assert "restore" in explained_mend(caught)


def explained_mend(caught):
    explained(caught)
    return caught.value.mend


@pytest.mark.parametrize("kind", ["bit", "other cells", "empty"])
def test_edited_cells_are_told(filled, kind):
    with closing(sqlite3.connect(filled.path)) as db:
        (mine,), (others,) = db.execute("SELECT cells FROM run ORDER BY number").fetchall()
    edited = {
        "bit": mine[:50] + bytes([mine[50] ^ 1]) + mine[51:],
        "other cells": others,
        "empty": b"",
    }[kind]
    change(filled, "UPDATE run SET cells = ? WHERE run_id = 'run_a'", edited)
    with pytest.raises(IntegrityError, match="the cells of run run_a are not what was stored"):
        filled.load()
    assert filled.load(["b"])[0].summary.whole.rows == 200


def test_details_that_are_no_json_are_told(filled):
    change(filled, "UPDATE run SET details = '{' WHERE run_id = 'run_a'")
    with pytest.raises(IntegrityError, match="the details of run run_a"):
        filled.load()


def test_a_flipped_bit_anywhere_is_told_or_does_not_matter(filled):
    content, whole = filled.path.read_bytes(), [c.summary.to_bytes() for c in filled.load()]
    rng = np.random.default_rng(4)
    told = 0
    for place in rng.integers(0, len(content), 150).tolist():
        filled.path.write_bytes(
            content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]
        )
        try:
            loaded = filled.load(["a", "b"])
        except (IntegrityError, StorageError, UsageError):
            told += 1
            continue
        assert [c.summary.to_bytes() for c in loaded] == whole
    assert told > 5


# --- what stands in the way ------------------------------------------------------------------


def test_a_locked_store_is_told_in_two_lines_and_works_again(filled, monkeypatch):
    monkeypatch.setattr(module, "LOCKED_SECONDS", 0.05)
    with closing(sqlite3.connect(filled.path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        for attempt in (filled.ids, lambda: filled.add("c", new_run("run_c"))):
            with pytest.raises(StorageError, match="locked") as caught:
                attempt()
            assert str(filled.path) in explained(caught)
    filled.add("c", new_run("run_c"))
    assert filled.ids() == ["a", "b", "c"]


def test_whoever_writes_waits_for_another_writer(filled, monkeypatch):
    monkeypatch.setattr(module, "LOCKED_SECONDS", 30)
    child = os.fork()
    if not child:
        try:
            filled.add("child", new_run("run_c"))
        finally:
            os._exit(0)
    filled.add("parent", new_run("run_p"))
    os.waitpid(child, 0)
    assert sorted(filled.ids()) == ["a", "b", "child", "parent"]


def test_a_folder_that_cannot_be_written_is_told_in_two_lines(filled, monkeypatch):
    """Root may write anywhere, so there the refusal of the system is played."""
    before = filled.path.read_bytes()
    if os.geteuid() == 0:
        for name in ("mkdir", "open"):
            monkeypatch.setattr(os, name, refusing(getattr(os, name)))
        monkeypatch.setattr(module.Cohorts, "path", property(lambda self: self.folder / "new.db"))
    else:
        filled.path.chmod(0o400)
        filled.folder.chmod(0o500)
    with pytest.raises(StorageError) as caught:
        filled.add("c", new_run("run_c"))
    assert str(filled.path) in explained(caught)
    monkeypatch.undo()
    filled.folder.chmod(0o700)
    assert filled.path.read_bytes() == before
    assert filled.ids() == ["a", "b"]


def refusing(real):
    def call(path, flags=os.O_CREAT, *more, **named):
        if isinstance(flags, int) and flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *more, **named)

    return call


def test_a_folder_in_the_place_of_the_store_is_told(filled):
    filled.path.unlink()
    filled.path.mkdir()
    with pytest.raises(StorageError, match="unable to open") as caught:
        filled.ids()
    explained(caught)


def test_a_file_in_the_place_of_the_folder_is_told(filled):
    shutil.rmtree(filled.folder)
    filled.folder.write_text("no folder")
    with pytest.raises(StorageError) as caught:
        filled.add("c", new_run("run_c"))
    assert str(filled.folder) in explained(caught)


def test_what_is_public_is_what_is_listed():
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    }
    assert own == set(module.__all__)
