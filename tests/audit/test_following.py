"""A log followed: told as a whole reading tells it, each entry read once, and no other log."""

import random
import shutil
import threading

import pytest

from nethical.audit import following
from nethical.audit.following import FollowedLog
from nethical.audit.log import Log
from nethical.audit.logged_operations import all_operations
from nethical.audit.notes import VerifierKey
from nethical.audit.operations import operation
from nethical.audit.reading import LogReader, SealedTree
from nethical.audit.rotation import open_log
from nethical.audit.runs import all_runs
from nethical.errors import IntegrityError
from nethical.keys import Keys

KINDS = ("training_start", "data_loaded", "gate_decided", "model_saved", "gate_decided")


class Audit:
    """An audit folder that runs are written to, and what follows it."""

    def __init__(self, path):
        self.path = path / "logs"
        self.keys = Keys(path / "home")
        self.log = Log(self.path / "log", self.keys.log_key())
        self.followed = FollowedLog(self.path, self.keys)

    def write(self, run, *kinds):
        """Log some facts of a run."""
        self.log.extend(
            {
                "event_type": kind,
                "run_id": f"run_20260101T000000Z_{run:06x}",
                "timestamp": f"2026-01-01T00:00:{len(self.log) % 60:02d}.000000Z",
                "model_type": "logistic",
                "verdict": "PASS" if place < 3 else "FAIL",
                "outcome": "aborted" if kind == "training_aborted" else "completed",
                "model_id": f"model_{run}_{place}",
            }
            for place, kind in enumerate(kinds)
        )

    def run(self, number, *, more=0):
        """Log a whole run and seal it."""
        self.write(number, *KINDS, *["warned"] * more, "run_ended")
        self.log.seal()

    def read_whole(self):
        """The runs and the operations as who reads the whole log finds them, the newest first."""
        key = VerifierKey.of(self.log.origin, self.keys.log_key())
        reader = open_log(self.path / "log", [key])
        return all_runs(reader)[::-1], all_operations(reader)[::-1]

    def look(self):
        """Look, and hold what is found against what a whole reading finds."""
        found = self.followed.look()
        runs, operations = self.read_whole()
        summaries = found.runs(1000)
        assert [(r.run_id, r.outcome) for r in summaries] == [(r.run_id, r.outcome) for r in runs]
        for summary, run in zip(summaries, runs, strict=True):
            assert found.events_of(summary) == list(run.events)
            assert (summary.began, summary.last) == (run.events[0].at, run.events[-1].at)
            for kind, told in {"gate_decided": "verdict", "model_saved": "model_id"}.items():
                first = run.first(kind)
                assert getattr(summary, told) == (first and first.document[told])
        assert found.operations(1000) == operations
        assert (found.n_runs, found.n_operations) == (len(runs), len(operations))
        return found


@pytest.fixture
def audit(tmp_path):
    return Audit(tmp_path)


def test_what_is_told_is_what_a_whole_reading_tells_however_the_log_grows(audit):
    rng = random.Random(5)
    open_runs = []
    for step in range(60):
        match rng.randrange(5):
            case 0:
                open_runs.append(step)
                audit.write(step, "training_start")
            case 1 if open_runs:
                audit.write(rng.choice(open_runs), *rng.choices(KINDS[1:], k=rng.randrange(1, 40)))
            case 2 if open_runs:
                audit.write(open_runs.pop(), "run_ended", "training_aborted")
            case 3:
                audit.log.seal()
            case _:
                with operation(audit.path, audit.keys, "govern move", {"reason": str(step)}):
                    pass
        if step % 3 == 0:
            audit.look()
    assert audit.look().n_runs > 5


def test_a_page_of_a_list_begins_where_it_is_asked_to(audit):
    for number in range(7):
        audit.run(number)
    found = audit.look()
    assert [run.run_id[-1] for run in found.runs(3, 2)] == ["4", "3", "2"]
    assert found.runs(3, 9) == []
    assert found.run("run_20260101T000000Z_00000f") is None


def test_where_there_is_no_log_there_is_nothing(tmp_path):
    assert FollowedLog(tmp_path / "none", Keys(tmp_path / "home")).look() is None


def test_what_was_told_once_does_not_change_while_the_log_grows(audit):
    audit.write(1, "training_start")
    audit.log.seal()
    before = audit.look()
    audit.write(1, *KINDS[1:], "run_ended")
    audit.run(2)
    audit.look()
    (run,) = before.runs(10)
    assert (run.outcome, len(run.indices), run.verdict) == ("not ended", 1, None)


def read_by(monkeypatch):
    """The indices of entries that are taken in, in the order in which they are."""
    read = []
    real = following.events

    def counted(entries, first, **settings):
        kept = list(entries)
        if settings:  # of the sealed ones that are new
            read.extend(range(first, first + len(kept)))
        return real(kept, first, **settings)

    monkeypatch.setattr(following, "events", counted)
    return read


def test_no_entry_is_read_twice_whoever_looks_at_once(audit, monkeypatch):
    read = read_by(monkeypatch)
    told = []
    for round_ in range(4):
        for number in range(60):
            audit.run(100 * round_ + number, more=5)
        gate = threading.Barrier(8)

        def looking(gate=gate):
            gate.wait()
            found = audit.followed.look()
            told.append([(run.run_id, len(run.indices)) for run in found.runs(1000)])

        threads = [threading.Thread(target=looking) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(one == told[-1] for one in told[-8:])
        assert len(told) == 8 * (round_ + 1)
    assert read == list(range(len(audit.log)))
    audit.look()


def test_a_run_is_read_by_its_own_entries_alone(audit, monkeypatch):
    for number in range(200):
        audit.run(number)
    found = audit.look()
    bundles = []
    real = SealedTree.entries
    monkeypatch.setattr(
        SealedTree, "entries", lambda tree, index: (bundles.append(index), real(tree, index))[1]
    )
    assert len(found.events_of(found.runs(1, 150)[0])) == 6
    assert 1 <= len(bundles) <= 2


def test_what_is_not_sealed_is_told_and_not_remembered(audit):
    audit.run(1)
    audit.write(1, "warned")
    audit.write(2, "training_start")
    for _ in range(2):
        found = audit.look()
        assert [len(run.indices) for run in found.runs(10)] == [1, 7]
    audit.log.seal()
    assert [len(run.indices) for run in audit.look().runs(10)] == [1, 7]


def test_what_is_neither_of_a_run_nor_an_operation_is_not_told(audit):
    audit.run(1)
    for odd in ({"event_type": "reviews_asked", "drawn": {"gray": 9}}, {"note": 1}):
        audit.log.append(odd)
        assert audit.look().n_operations == 0
    audit.log.seal()
    assert audit.look().n_operations == 0


def test_a_log_is_followed_beyond_the_key_that_it_was_read_by(audit):
    audit.run(1)
    audit.look()
    with operation(audit.path, audit.keys, "keys rotate", {"kind": "log"}):
        audit.keys.rotate("log")
    audit.log = Log(audit.path / "log", audit.keys.log_key())
    audit.run(2)
    found = audit.look()
    assert [each.command for each in found.operations(9)] == ["key_rotated", "keys rotate"]
    assert found.n_runs == 2


# --- another log than the one that was read ------------------------------------------------------


def put_back(audit, copy):
    """Put a copy of the log in its place."""
    shutil.rmtree(audit.path / "log")
    shutil.copytree(copy, audit.path / "log")


def branched(audit, tmp_path, number):
    """A copy of the log that goes on with another run than the log will."""
    shutil.copytree(audit.path / "log", tmp_path / "branch")
    branch = Log(tmp_path / "branch", audit.keys.log_key())
    there, audit.log = audit.log, branch
    audit.run(number)
    audit.log = there
    return branch


@pytest.mark.parametrize("more", [0, 1, 400])
def test_a_log_that_was_written_anew_is_told_each_time_and_not_read(audit, tmp_path, more):
    audit.run(1)
    branch = branched(audit, tmp_path, 3)
    audit.run(2)
    audit.look()
    shutil.copytree(audit.path / "log", tmp_path / "true")
    branch.extend({"event_type": "warned", "i": i} for i in range(more))
    branch.seal()
    put_back(audit, branch.path)
    for _ in range(3):
        with pytest.raises(IntegrityError, match="does not go on from the 12 entries") as told:
            audit.followed.look()
        assert "restore it from a copy" in told.value.mend
    assert FollowedLog(audit.path, audit.keys).look().n_runs == 2
    put_back(audit, tmp_path / "true")
    assert audit.look().n_runs == 2


def test_a_log_that_was_set_back_is_told(audit, tmp_path):
    audit.run(1)
    shutil.copytree(audit.path / "log", tmp_path / "old")
    audit.run(2)
    audit.look()
    put_back(audit, tmp_path / "old")
    for _ in range(2):
        with pytest.raises(IntegrityError, match="the log shrank from 12 to 6 entries"):
            audit.followed.look()


def test_another_log_in_its_place_and_none_are_told(audit, tmp_path):
    audit.run(1)
    audit.look()
    other = Log(tmp_path / "other", audit.keys.log_key())
    other.extend({"event_type": "warned", "i": i} for i in range(9))
    other.seal()
    put_back(audit, other.path)
    with pytest.raises(IntegrityError, match=f"it is the log {other.origin}"):
        audit.followed.look()
    shutil.rmtree(audit.path / "log")
    with pytest.raises(IntegrityError, match="holds no log any more; 6 entries"):
        audit.followed.look()


def change(audit, old, new):
    """Change an entry of the log where it is stored."""
    tiles = audit.path / "log" / "tile" / "entries"
    paths = [p for p in tiles.rglob("*") if p.is_file() and old in p.read_bytes()]
    assert paths
    for path in paths:
        path.write_bytes(path.read_bytes().replace(old, new))


def test_a_new_entry_that_was_changed_is_told_and_the_others_are_not_taken_in(audit):
    audit.run(1)
    audit.look()
    audit.run(2)
    change(audit, b"model_2_3", b"model_9_3")
    for _ in range(2):
        with pytest.raises(IntegrityError, match="entries from 6 to 12 are not those"):
            audit.followed.look()
    change(audit, b"model_9_3", b"model_2_3")
    audit.look()


def test_an_entry_that_was_changed_since_it_was_read_is_not_shown(audit):
    audit.run(1)
    with operation(audit.path, audit.keys, "govern move", {"reason": "better"}):
        pass
    audit.look()
    change(audit, b"model_1_3", b"model_9_3")
    change(audit, b"better", b"botter")
    found = audit.followed.look()
    with pytest.raises(IntegrityError, match=r"entry 3 of .* is not the one that was sealed"):
        found.events_of(found.runs(1)[0])
    with pytest.raises(IntegrityError, match=r"entry 6 of .* is not the one that was sealed"):
        found.operations(1)


def test_a_log_of_a_key_that_is_not_believed_is_not_told(audit, tmp_path):
    audit.run(1)
    stranger = FollowedLog(audit.path, Keys(tmp_path / "stranger"))
    with pytest.raises(IntegrityError, match="is believed here, so nothing says that"):
        stranger.look()
    assert LogReader(audit.path / "log").tree_size == 6
