import os
import stat
import threading
from pathlib import Path

import pytest

from nethical.audit import files
from nethical.audit.checkpoint import open_checkpoint
from nethical.audit.entries import decode_entry, encode_entry
from nethical.audit.examine import examine
from nethical.audit.log import Log, new_origin
from nethical.audit.reading import LogReader
from nethical.errors import IntegrityError, StorageError, UsageError


def tree(folder):
    """Every file below a folder and its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sound(log, **options):
    found = examine(log.path, log.key, **options)
    assert found.faults == []
    return found


def documents(log):
    return [decode_entry(entry)["i"] for entry in LogReader(log.path, log.key).entries()]


def test_a_new_log_is_sealed_at_once_and_has_its_own_name(tmp_path, key):
    log = Log(tmp_path / "deep" / "log", key)
    other = Log(tmp_path / "other", key)
    assert log.origin != other.origin
    assert log.origin.startswith("nethical.local/")
    assert len(log) == 0
    assert sound(log).checkpoint.tree_size == 0
    assert sorted(tree(log.path)) == ["checkpoint", "checkpoints/0", "lock", "pending"]
    assert new_origin() != new_origin()


def test_an_entry_is_in_the_journal_once_it_is_acknowledged(make_log):
    log = make_log(0)
    assert [log.append({"i": i}) for i in range(3)] == [0, 1, 2]
    assert len(log) == 3
    assert b'{"i":2}' in (log.path / "pending").read_bytes()
    found = sound(log)
    assert (found.checkpoint.tree_size, found.unsealed) == (0, 3)


def test_sealing_moves_entries_into_tiles_and_signs_them(make_log):
    log = make_log(0)
    log.extend({"i": i} for i in range(3))
    sealed = log.seal()
    assert sealed.checkpoint.tree_size == 3
    assert open_checkpoint(sealed.note, log.key) == sealed.checkpoint
    assert tree(log.path).keys() == {
        *("checkpoint", "checkpoints/0", "checkpoints/3", "lock", "pending"),
        *("tile/0/000.p/3", "tile/entries/000.p/3"),
    }
    assert (log.path / "checkpoint").read_bytes() == sealed.note
    assert (log.path / "checkpoints/3").read_bytes() == sealed.note
    assert (log.path / "pending").read_bytes() == b""
    assert sound(log).checkpoints == 2


def test_sealing_nothing_new_gives_the_same_checkpoint_and_writes_nothing(make_log):
    log = make_log(3)
    before = tree(log.path)
    assert log.seal() == log.seal()
    assert tree(log.path) == before


def test_a_log_seals_itself_every_256_entries(make_log):
    log = make_log(0)
    for i in range(257):
        log.append({"i": i})
    found = sound(log)
    assert (found.checkpoint.tree_size, found.unsealed) == (256, 1)


def test_partial_tiles_go_once_the_full_one_is_there(make_log):
    log = make_log(0)
    for step in (3, 7, 250, 10):
        log.extend({"i": i} for i in range(step))
        log.seal()
    assert sorted(name for name in tree(log.path) if name.startswith("tile")) == [
        *("tile/0/000", "tile/0/001.p/14", "tile/0/001.p/4"),
        *("tile/1/000.p/1", "tile/entries/000"),
        *("tile/entries/001.p/14", "tile/entries/001.p/4"),
    ]
    assert sound(log).checkpoints == 5
    assert sound(log).warnings == []


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 70_000])
def test_a_log_of_any_size_is_sound_and_gives_its_entries_back(make_log, naive, size):
    log = make_log(size, seal_every=1 << 20)
    found = sound(log, contents=size < 1000)
    assert found.checkpoint.tree_size == size
    reader = LogReader(log.path, log.key)
    assert len(reader) == size
    if size < 1000:
        entries = [encode_entry(make_log.document(i)) for i in range(size)]
        assert list(reader.entries()) == entries
        assert found.checkpoint.root_hash == naive.root(entries)
    for index in {0, size // 2, size - 1} & set(range(size)):
        assert decode_entry(reader.entry(index))["i"] == index
        reader.receipt(index).verify(reader.entry(index), log.key)


def test_a_log_is_the_same_whatever_the_steps_it_grew_in(make_log):
    one, other = make_log(600, name="one"), make_log(0, name="other")
    for i in range(600):
        other.append(make_log.document(i))
        if i % 97 == 0:
            other.seal()
    assert one.seal().note == other.seal().note
    bundles = "tile/entries/000", "tile/entries/001", "tile/0/000", "tile/entries/002.p/88"
    for name in bundles:
        assert tree(one.path)[name] == tree(other.path)[name]


def test_a_log_goes_on_where_it_stood_when_it_is_opened_again(make_log, key):
    first = make_log(300, 5)
    again = Log(first.path, key)
    assert (again.origin, len(again)) == (first.origin, 305)
    assert again.append({"i": 305}) == 305
    assert first.append({"i": 306}) == 306
    first.seal()
    assert documents(again) == list(range(307))
    assert again.append({"i": 307}) == 307
    sound(again)


def test_two_writers_take_turns_and_none_believes_what_it_remembers(make_log, key):
    one = make_log(0, seal_every=7)
    other = Log(one.path, key, seal_every=5)
    for i in range(0, 400, 2):
        assert one.append({"i": i}) == i
        assert other.append({"i": i + 1}) == i + 1
    assert documents(one) == list(range(400))
    sound(one)


def test_a_journal_that_has_grown_back_to_the_same_length_is_read_again(make_log, key):
    one = make_log(0)
    other = Log(one.path, key)
    one.append({"i": 0})
    other.seal()
    other.append({"i": 1})  # the journal is as long as `one` left it
    assert one.append({"i": 2}) == 2
    one.seal()
    assert documents(one) == [0, 1, 2]


def test_a_seal_of_another_writer_is_noticed_though_the_journal_is_empty_as_before(make_log, key):
    one = make_log(0)
    other = Log(one.path, key)
    other.append({"i": 0})
    other.seal()
    assert one.append({"i": 1}) == 1
    one.seal()
    assert documents(one) == [0, 1]
    sound(one)


def test_a_seal_that_another_writer_could_not_finish_is_noticed(make_log, key, monkeypatch):
    one = make_log(0)
    one.append({"i": 0})
    other = Log(one.path, key)

    def full(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "ftruncate", full)
        with pytest.raises(StorageError, match="cannot cut"):
            other.seal()
    assert one.append({"i": 1}) == 1
    one.seal()
    assert documents(one) == [0, 1]
    sound(one)


def test_threads_that_share_a_log_lose_nothing(make_log):
    log = make_log(0, seal_every=20)
    indices = []

    def write(name):
        indices.extend((log.append({"i": f"{name}{i}"}), f"{name}{i}") for i in range(50))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.seal()
    assert documents(log) == [name for _, name in sorted(indices)]


def test_a_forked_process_writes_beside_its_parent(make_log):
    log = make_log(3)
    log.append({"i": 3})
    child = os.fork()
    if child == 0:
        try:
            log.append({"i": 4})
            log.seal()
            log.append({"i": 5})
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert log.append({"i": 6}) == 6
    log.seal()
    assert documents(log) == list(range(7))
    sound(log)


def test_a_lock_that_a_thread_holds_at_a_fork_is_not_held_on_by_the_child(make_log):
    log = make_log(0)
    held, done = threading.Event(), threading.Event()

    def hold():
        with files.Folder(log.path).lock():
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # lives on until the parent has written
        os._exit(0)
    done.set()
    thread.join()
    log.append({"i": 0})
    os.close(write)
    os.waitpid(child, 0)


def test_many_documents_are_acknowledged_in_groups(make_log):
    log = make_log(0)
    ranges = log.extend({"i": i} for i in range(5000))
    assert ranges == [range(4096), range(4096, 5000)]
    assert log.extend([]) == []
    large = [{"i": 0, "x": "x" * 60_000}] * 80
    assert [len(some) for some in log.extend(large)] == [70, 10]


@pytest.mark.parametrize("bad", [{"a": float("nan")}, {"a": "x" * 70_000}, {"a": object()}])
def test_a_document_that_cannot_be_logged_is_refused_and_the_log_goes_on(make_log, bad):
    log = make_log(0)
    with pytest.raises(StorageError):
        log.append(bad)
    with pytest.raises(StorageError):
        log.extend([{"i": 0}, bad])
    assert log.append({"i": 0}) == 0


def test_another_key_cannot_write_to_a_log(make_log, other_key):
    log = make_log(3)
    before = tree(log.path)
    with pytest.raises(IntegrityError, match="no believed key signed it"):
        Log(log.path, other_key)
    assert tree(log.path) == before


def test_a_log_of_another_name_is_not_taken_for_the_one_that_was_meant(make_log, key):
    log = make_log(3)
    with pytest.raises(UsageError, match=r"is the log nethical.local/test, not example\.com/b"):
        Log(log.path, key, origin="example.com/b")
    with pytest.raises(UsageError, match="cannot be the name"):
        Log(log.path, key, origin="a b")


def test_a_file_in_the_way_of_a_log_is_an_error(tmp_path, key):
    (tmp_path / "log").touch()
    with pytest.raises(StorageError, match="create the folder"):
        Log(tmp_path / "log", key)


def test_a_folder_that_may_not_be_written_is_an_error(make_log):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    log = make_log(3)
    log.path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StorageError):
        log.append({"i": 3})


def test_files_of_a_log_are_for_everybody_to_read(make_log):
    log = make_log(3)
    mask = os.umask(0)
    os.umask(mask)
    for name in tree(log.path):
        assert stat.S_IMODE((log.path / name).stat().st_mode) == 0o644 & ~mask


def test_after_a_fault_nothing_more_is_tried(make_log):
    log = make_log(3)
    (log.path / "checkpoint").write_bytes(b"")
    with pytest.raises(IntegrityError):
        log.append({"i": 3})
    with pytest.raises(StorageError, match="stopped at an earlier error"):
        log.append({"i": 3})


def test_no_file_stays_open_between_calls(make_log):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    log = make_log(3)
    before = descriptors()
    log.append({"i": 3})
    log.seal()
    LogReader(log.path, log.key).receipt(1)
    examine(log.path, log.key)
    assert descriptors() == before


def test_the_kind_of_file_system_is_told_when_it_is_a_network_one(tmp_path):
    assert files.network_file_system(tmp_path) is None
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mounts"
    line = f"1 1 {os.major(device)}:{os.minor(device)} / /mnt rw shared:1 - nfs4 server:/ rw\n"
    mounts.write_text(line)
    assert files.network_file_system(tmp_path, str(mounts)) == "nfs4"
    mounts.write_text(line.replace("nfs4", "ext4"))
    assert files.network_file_system(tmp_path, str(mounts)) is None
    assert files.network_file_system(tmp_path, str(tmp_path / "nowhere")) is None
