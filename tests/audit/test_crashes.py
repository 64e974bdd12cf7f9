"""Kills, failing disks, full disks, power cuts: what was acknowledged is in the log afterwards."""

# A disk is played here: its calls bear their own names.
# ruff: noqa: PTH102, PTH104, PTH106, PTH108, PTH120

import errno
import itertools
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from nethical.audit import files
from nethical.audit.entries import decode_entry
from nethical.audit.examine import examine
from nethical.audit.log import Log
from nethical.audit.notes import VerifierKey
from nethical.audit.reading import LogReader
from nethical.audit.rotation import rotated
from nethical.audit.verification import verify
from nethical.errors import StorageError

CALLS = (
    *("open", "read", "pread", "write", "fsync", "fdatasync", "ftruncate", "rename", "mkdir"),
    *("unlink", "rmdir", "scandir", "fstat", "stat", "close"),
)


CHANGING = ("write", "fsync", "fdatasync", "rename", "ftruncate", "unlink")
SYNCS = ("fsync", "fdatasync")


class Failing:
    """The operating system, in which the n-th of certain calls fails."""

    def __init__(self, at, error, calls=CALLS, *, forever=False):
        self._left, self._error, self._calls, self._forever = at, error, calls, forever
        self.failed = None

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in self._calls:
            return real

        def call(*arguments, **named):
            self._left -= 1
            if self._left == 0 or (self._left < 0 and self._forever):
                self.failed = name
                if name == "close":
                    real(*arguments)
                if name == "write" and self._error == errno.ENOSPC:
                    return real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise OSError(self._error, os.strerror(self._error))
            return None if name in SYNCS else real(*arguments, **named)

        return call


class Interrupting(Failing):
    """The operating system, at whose n-th call of some somebody presses control-C."""

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in self._calls:
            return real

        def call(*arguments, **named):
            self._left -= 1
            done = None if name in SYNCS else real(*arguments, **named)
            if self._left == 0:
                raise KeyboardInterrupt
            return done

        return call


@pytest.fixture
def unsynced(monkeypatch):
    """Spare the disk where it is played that it fails: what was synced is not looked at."""
    monkeypatch.setattr(files, "os", Failing(0, 0, SYNCS))


def work(path, key, acknowledged):
    """Write to a log in every way, noting what was acknowledged."""
    log = Log(path, key, seal_every=10)
    for i in range(3):
        acknowledged[log.append({"i": i})] = i
    log.seal()
    for some in log.extend({"i": i} for i in range(3, 8)):
        acknowledged.update(zip(some, range(3, 8), strict=True))
    log.seal()
    for some in log.extend({"i": i} for i in range(8, 260)):
        acknowledged.update(zip(some, range(8, 260), strict=True))
    acknowledged[log.append({"i": 260})] = 260


def holds(path, key, acknowledged, *, earlier=()):
    """Open a log again, and check that it has everything that was acknowledged, and is sound."""
    log = Log(path, key, earlier=earlier)
    log.append({"i": "after"})
    log.seal()
    found = examine(path, log.key)
    assert found.faults == []
    assert [w for w in found.warnings if w.kind != "stray"] == []
    entries = [decode_entry(entry) for entry in LogReader(path, log.key).entries()]
    for index, i in acknowledged.items():
        assert entries[index]["i"] == i
    return entries


def count(tmp_path, key, monkeypatch):
    """Return how many calls of the operating system the work makes."""
    counting = Failing(10**9, errno.EIO)
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", counting)
        work(tmp_path / "counted", key, {})
    return 10**9 - counting._left


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.usefixtures("unsynced")
def test_any_call_that_fails_stops_the_writer_and_loses_nothing(
    tmp_path, key, monkeypatch, error, forever
):
    total = count(tmp_path, key, monkeypatch)
    assert total > 200
    step = 5 if forever else 1
    failed, went_on = set(), set()
    for at in range(1, total + 1, step):
        failing, acknowledged = Failing(at, error, forever=forever), {}
        path = tmp_path / f"log{at}"
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", failing)
            with suppress(StorageError):
                work(path, key, acknowledged)
                went_on.add(failing.failed)
        failed.add(failing.failed)
        holds(path, key, acknowledged)
    assert forever or failed >= {"open", "mkdir", "close", *CHANGING}
    assert went_on <= {"write"}  # of which a part was written, and then the rest


def test_a_failing_sync_is_never_tried_again(make_log, monkeypatch):
    log = make_log(3)
    failing = Failing(1, errno.EIO, ("fdatasync",))
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", failing)
        with pytest.raises(StorageError, match="cannot append to"):
            log.append({"i": 3})
        with pytest.raises(StorageError, match="stopped at an earlier error"):
            log.append({"i": 4})
        with pytest.raises(StorageError, match="stopped at an earlier error"):
            log.seal()
    assert failing._left == 0


@pytest.mark.usefixtures("unsynced")
def test_an_interrupt_at_any_call_leaves_a_log_that_goes_on(tmp_path, key, monkeypatch):
    for at in range(1, 90, 2):
        log = Log(tmp_path / f"log{at}", key, seal_every=3)
        indices = {}
        interrupting = Interrupting(at, 0, ("write", "fsync", "fdatasync", "rename", "ftruncate"))
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", interrupting)
            for i in range(10):
                try:
                    indices[log.append({"i": i})] = i
                except KeyboardInterrupt:
                    continue
        indices[log.append({"i": 10})] = 10
        holds(log.path, key, indices)


# Rotations of the key, while another process writes


def writer_of(path, key, other_key, acknowledged):
    """Return a writer whose key another process will replace, with two entries acknowledged."""
    log = Log(path, key)
    log.follow(lambda: [other_key, key])
    acknowledged[log.append({"i": 0})] = 0
    log.seal()
    acknowledged[log.append({"i": 1})] = 1
    return log


def goes_on(log, acknowledged, numbers):
    for i in numbers:
        acknowledged[log.append({"i": i})] = i
    log.seal()


def count_of(monkeypatch, do):
    counting = Failing(10**9, errno.EIO)
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", counting)
        do()
    return 10**9 - counting._left


@pytest.mark.usefixtures("unsynced")
def test_a_hand_over_that_stops_at_any_call_stops_no_writer_and_loses_nothing(
    tmp_path, key, other_key, monkeypatch
):
    """What a kill leaves between two calls, a call leaves that fails and all after it too."""
    writer_of(tmp_path / "counted", key, other_key, {})
    total = count_of(monkeypatch, lambda: Log(tmp_path / "counted", other_key, earlier=[key]))
    signed_by = set()
    for at in range(1, total + 1):
        path, acknowledged = tmp_path / f"log{at}", {}
        log = writer_of(path, key, other_key, acknowledged)
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", Failing(at, errno.EIO, forever=True))
            with suppress(StorageError):
                Log(path, other_key, earlier=[key])
        goes_on(log, acknowledged, range(2, 4))
        signed_by.add(log.key.public_bytes)
        assert verify(path, [VerifierKey.of(log.origin, key)]).examined.faults == []
        holds(path, other_key, acknowledged, earlier=[key])
    assert total > 50
    assert len(signed_by) == 2


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("handed_over", ["whole", "acknowledged", "sealed"])
def test_a_writer_that_fails_while_it_follows_a_rotation_loses_nothing(
    tmp_path, key, other_key, monkeypatch, handed_over
):
    def prepared(path, acknowledged):
        log = writer_of(path, key, other_key, acknowledged)
        if handed_over == "whole":
            Log(path, other_key, earlier=[key])
        else:
            other = Log(path, key)
            other.append(rotated(*(VerifierKey.of(log.origin, each) for each in (key, other_key))))
            if handed_over == "sealed":
                other.seal()
        return log

    log = prepared(tmp_path / "counted", {})
    total = count_of(monkeypatch, lambda: goes_on(log, {}, range(2, 4)))
    for at in range(1, total + 1, 2):
        path, acknowledged = tmp_path / f"log{at}", {}
        log = prepared(path, acknowledged)
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", Failing(at, errno.EIO, forever=True))
            with suppress(StorageError):
                goes_on(log, acknowledged, range(2, 4))
        holds(path, other_key, acknowledged, earlier=[key])
        assert verify(path, [VerifierKey.of(log.origin, key)]).examined.faults == []
    assert total > 20


@pytest.mark.usefixtures("unsynced")
def test_a_writer_that_is_interrupted_while_it_follows_a_rotation_goes_on(
    tmp_path, key, other_key, monkeypatch
):
    for at in range(1, 60):
        path, acknowledged = tmp_path / f"log{at}", {}
        log = writer_of(path, key, other_key, acknowledged)
        other = Log(path, key)
        other.append(rotated(*(VerifierKey.of(log.origin, each) for each in (key, other_key))))
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", Interrupting(at, 0, CALLS))
            with suppress(KeyboardInterrupt):
                acknowledged[log.append({"i": 2})] = 2
        goes_on(log, acknowledged, [3])
        assert log.key.public_bytes == VerifierKey.of(log.origin, other_key).public_bytes
        holds(path, other_key, acknowledged, earlier=[key])


# Kills


def start_writer(path, key, name):
    """Fork a writer that logs until it is killed; it tells what was acknowledged by a pipe."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return SimpleNamespace(pid=child, pipe=read)
    try:
        os.close(read)
        rng = random.Random(name)
        log = Log(path, key, seal_every=rng.choice([3, 20, 256]))
        for i in itertools.count():
            if rng.random() < 0.1:
                for some in log.extend({"i": f"{name}-{i}-{j}"} for j in range(5)):
                    told = [f"{index} {name}-{i}-{j}\n" for j, index in enumerate(some)]
                    os.write(write, "".join(told).encode())
            else:
                index = log.append({"i": f"{name}-{i}"})
                os.write(write, f"{index} {name}-{i}\n".encode())
            if rng.random() < 0.1:
                log.seal()
    finally:
        os._exit(1)


def told(writer):
    """Return what a writer acknowledged, once it has ended."""
    with os.fdopen(writer.pipe) as pipe:
        lines = [line.split() for line in pipe.read().splitlines()]
    return {int(index): name for index, name in lines}


def kill_many(path, key, rounds, seed):
    """Kill two writers at a random moment, many times; check what they acknowledged."""
    rng, acknowledged, unsealed = random.Random(seed), {}, 0
    log = Log(path, key)
    for number in range(rounds):
        writers = [start_writer(path, key, f"{number}{side}") for side in "ab"]
        time.sleep(rng.uniform(0.002, 0.05))
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
        for writer in writers:
            _, status = os.waitpid(writer.pid, 0)
            assert os.WIFSIGNALED(status)
            new = told(writer)
            assert not new.keys() & acknowledged.keys()
            acknowledged |= new
        found = examine(path, log.key, contents=False)
        assert found.faults == []
        unsealed += bool(found.unsealed)
    entries = holds(path, key, acknowledged)
    assert len(acknowledged) > rounds
    return len(acknowledged), len(entries), unsealed


@pytest.mark.usefixtures("unsynced")
def test_killed_writers_lose_nothing_that_they_acknowledged(tmp_path, key):
    kill_many(tmp_path / "log", key, rounds=30, seed=1)


@pytest.mark.slow
def test_five_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path, key):
    acknowledged, total, unsealed = kill_many(tmp_path / "log", key, rounds=500, seed=os.getpid())
    print(f"{acknowledged} acknowledged, {total} in the log, {unsealed} rounds left some unsealed")


@pytest.mark.usefixtures("unsynced")
def test_a_log_is_sound_to_who_examines_it_while_others_write(tmp_path, key):
    path = tmp_path / "log"
    log = Log(path, key)
    writers = [start_writer(path, key, side) for side in "ab"]
    sizes = set()
    ends = time.monotonic() + 2
    try:
        while len(sizes) < 20 and time.monotonic() < ends:
            found = examine(path, log.key)
            assert found.faults == []
            sizes.add(found.checkpoint.tree_size)
            reader = LogReader(path, log.key)
            if reader.tree_size:
                reader.receipt(reader.tree_size - 1).verify(
                    reader.entry(reader.tree_size - 1), log.key
                )
    finally:
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            os.waitpid(writer.pid, 0)
            os.close(writer.pipe)
    assert len(sizes) > 3


# Power cuts


class Recorded:
    """The operating system, whose changes of the disk are recorded, to be played back in part."""

    def __init__(self, root):
        self.root, self.steps, self._open = root, [], {}

    def __getattr__(self, name):
        return getattr(os, name)

    def _note(self, *step):
        self.steps.append(step)

    def open(self, path, flags, *mode):
        existed = os.path.lexists(path)
        descriptor = os.open(path, flags, *mode)
        self._open[descriptor] = str(path)
        if flags & os.O_CREAT and not existed:
            self._note("create", str(path))
        return descriptor

    def write(self, descriptor, content):
        done = os.write(descriptor, content)
        self._note("write", self._open[descriptor], bytes(content)[:done])
        return done

    def fsync(self, descriptor):
        self._note("sync", self._open[descriptor])

    def fdatasync(self, descriptor):
        self._note("sync", self._open[descriptor])

    def ftruncate(self, descriptor, size):
        os.ftruncate(descriptor, size)
        self._note("cut", self._open[descriptor], size)

    def rename(self, old, new):
        os.rename(old, new)
        self._note("rename", str(old), str(new))

    def mkdir(self, path):
        os.mkdir(path)
        self._note("mkdir", str(path))

    def unlink(self, path):
        os.unlink(path)
        self._note("unlink", str(path))

    def rmdir(self, path):
        os.rmdir(path)
        self._note("rmdir", str(path))


class Disk:
    """A disk that keeps what was synced, and of the rest what chance lets it keep.

    Names and contents are kept apart: a file's content is durable after a sync of the file, its
    name after a sync of its folder (or, as journalling file systems do, of the file itself).
    """

    def __init__(self):
        self.names, self.contents = {}, {}  # as the program saw them: path -> number -> bytes
        self.kept_names, self.kept = {}, {}
        self._next = itertools.count()

    def do(self, step):
        kind, path, *rest = step
        getattr(self, f"_{kind}")(path, *rest)

    def _create(self, path):
        number = next(self._next)
        self.names[path] = number
        self.contents[number] = b""

    def _mkdir(self, path):
        self.names[path] = "folder"

    def _write(self, path, content):
        self.contents[self.names[path]] += content

    def _cut(self, path, size):
        self.contents[self.names[path]] = self.contents[self.names[path]][:size]

    def _rename(self, old, new):
        self.names[new] = self.names.pop(old)

    def _unlink(self, path):
        del self.names[path]

    _rmdir = _unlink

    def _sync(self, path):
        number = self.names.get(path, "folder")
        if number == "folder":
            inside = {
                name for name in {*self.names, *self.kept_names} if os.path.dirname(name) == path
            }
            for name in inside:
                if name in self.names:
                    self.kept_names[name] = self.names[name]
                else:
                    self.kept_names.pop(name, None)
        else:
            self.kept[number] = self.contents[number]

    def cut_power(self, rng, target, root):
        """Write what a power cut leaves into a folder."""
        left = dict(self.kept_names)
        for name in {*self.names, *self.kept_names}:
            if self.names.get(name) != self.kept_names.get(name) and rng.random() < 0.5:
                if name in self.names:
                    left[name] = self.names[name]
                else:
                    left.pop(name, None)
        for name in sorted(left):
            path = target / os.path.relpath(name, root)
            if any(str(parent) not in left for parent in _between(name, root)):
                continue
            if left[name] == "folder":
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(self._left_of(rng, left[name]))

    def _left_of(self, rng, number):
        kept, seen = self.kept.get(number, b""), self.contents.get(number, b"")
        if kept == seen:
            return kept
        if not seen.startswith(kept):  # cut, and perhaps written again, but not synced
            return rng.choice([kept, seen, b""] if not seen else [kept, seen])
        cut = seen[: rng.randrange(len(kept), len(seen) + 1)]
        sector = max(len(kept), len(cut) // 512 * 512)
        return rng.choice([kept, seen, cut, seen[:sector] + bytes(len(seen) - sector)])


def _between(name, root):
    parent = os.path.dirname(name)
    while parent != str(root):
        yield parent
        parent = os.path.dirname(parent)


def cut_everywhere(tmp_path, key, monkeypatch, trials, seed):
    """Cut the power after each step of the work, and check what is left each time."""
    root = tmp_path / "live"
    root.mkdir()
    recorded, acknowledged = Recorded(root), {}
    known = []  # how many steps there were when an entry was acknowledged

    class Noting(dict):
        def __setitem__(self, index, i):
            super().__setitem__(index, i)
            known.append((len(recorded.steps), index, i))

        def update(self, pairs):
            for index, i in pairs:
                self[index] = i

    acknowledged = Noting()
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", recorded)
        work(root / "log", key, acknowledged)
    rng, disk = random.Random(seed), Disk()
    for number, step in enumerate(recorded.steps, 1):
        disk.do(step)
        for trial in range(trials):
            target = tmp_path / f"cut{number}-{trial}"
            target.mkdir()
            disk.cut_power(rng, target, root)
            holds(target / "log", key, {index: i for at, index, i in known if at <= number})
            shutil.rmtree(target)


@pytest.mark.usefixtures("unsynced")
def test_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path, key, monkeypatch):
    cut_everywhere(tmp_path, key, monkeypatch, trials=2, seed=3)


@pytest.mark.slow
@pytest.mark.usefixtures("unsynced")
def test_many_more_power_cuts_lose_nothing_either(tmp_path, key, monkeypatch):
    cut_everywhere(tmp_path, key, monkeypatch, trials=20, seed=os.getpid())
