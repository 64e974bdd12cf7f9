import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nethical import durable
from nethical.errors import StorageError


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def run_python(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_written_file_has_its_content_and_mode_and_leaves_nothing_beside_it(tmp_path):
    durable.write(tmp_path / "a", b"one")
    durable.write(tmp_path / "a", b"two", mode=0o600)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert names_in(tmp_path) == ["a"]


def test_a_private_file_stays_private_under_an_open_umask(tmp_path):
    script = """
        import os, sys
        from pathlib import Path
        from nethical import durable
        os.umask(0)
        durable.make_folder(Path(sys.argv[1]), mode=0o700)
        durable.write(Path(sys.argv[1]) / "key", b"k", mode=0o600)
    """
    folder = tmp_path / "home"
    assert run_python(script, folder).returncode == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600


def test_a_file_that_does_not_fit_leaves_the_old_one_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    script = """
        import resource, signal, sys
        from pathlib import Path
        from nethical import durable
        from nethical.errors import StorageError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            durable.write(Path(sys.argv[1]), b"x" * 2000)
        except StorageError as error:
            print(error.what)
    """
    done = run_python(script, tmp_path / "a")
    assert "cannot write" in done.stdout
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_a_missing_file_cannot_be_read_and_the_error_names_it(tmp_path):
    with pytest.raises(StorageError, match="nowhere") as caught:
        durable.read(tmp_path / "nowhere")
    assert caught.value.mend


def test_a_folder_is_made_with_its_parents_and_an_existing_one_is_left_alone(tmp_path):
    durable.make_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "kept").touch()
    durable.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "kept").exists()


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="create the folder"):
        durable.make_folder(tmp_path / path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"new\n"),
        (b"one\n", b"one\nnew\n"),
        (b"one\ntor", b"one\nnew\n"),
        (b"tor", b"new\n"),
        (b"one\n" + b"x" * 10_000, b"one\nnew\n"),
        (b"x" * 10_000, b"new\n"),
    ],
)
def test_append_cuts_a_torn_line_back_and_keeps_whole_ones(tmp_path, before, after):
    (tmp_path / "lines").write_bytes(before)
    durable.append(tmp_path / "lines", b"new\n")
    assert (tmp_path / "lines").read_bytes() == after


def test_append_makes_the_file_and_refuses_a_link(tmp_path):
    durable.append(tmp_path / "lines", b"a\n")
    assert (tmp_path / "lines").read_bytes() == b"a\n"
    (tmp_path / "link").symlink_to("lines")
    with pytest.raises(StorageError):
        durable.append(tmp_path / "link", b"b\n")


def test_an_append_that_does_not_fit_raises_and_the_next_one_repairs_it(tmp_path):
    script = """
        import resource, signal, sys
        from pathlib import Path
        from nethical import durable
        from nethical.errors import StorageError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        durable.append(Path(sys.argv[1]), b"first\\n")
        try:
            durable.append(Path(sys.argv[1]), b"second\\n")
        except StorageError as error:
            print(error.what)
    """
    assert "append to" in run_python(script, tmp_path / "lines").stdout
    durable.append(tmp_path / "lines", b"third\n")
    assert (tmp_path / "lines").read_bytes() == b"first\nthird\n"


def test_a_published_folder_is_whole_and_is_never_replaced(tmp_path):
    durable.publish_folder(tmp_path / "b", {"x": b"1", "y": b"2"})
    assert {file.name: file.read_bytes() for file in (tmp_path / "b").iterdir()} == {
        "x": b"1",
        "y": b"2",
    }
    with pytest.raises(StorageError, match="exists already"):
        durable.publish_folder(tmp_path / "b", {"x": b"3"})
    assert (tmp_path / "b" / "x").read_bytes() == b"1"
    assert names_in(tmp_path) == ["b"]


def test_a_folder_whose_content_fails_to_arrive_is_not_there_at_all(tmp_path):
    with pytest.raises(StorageError):
        durable.publish_folder(tmp_path / "b", {"x": b"1", "no/folder": b"2"})
    assert names_in(tmp_path) == []


def test_a_link_is_replaced_and_never_missing(tmp_path):
    durable.replace_link(tmp_path / "link", "one")
    durable.replace_link(tmp_path / "link", "two")
    assert (tmp_path / "link").readlink() == Path("two")
    assert names_in(tmp_path) == ["link"]


def test_sweep_removes_temporary_things_only(tmp_path):
    (tmp_path / ".tmp-folder").mkdir()
    (tmp_path / ".tmp-folder" / "x").touch()
    (tmp_path / ".tmp-file").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / ".tmp-link").symlink_to("kept")
    durable.sweep(tmp_path)
    assert names_in(tmp_path) == ["kept"]


def test_a_lock_holds_others_off_until_it_is_given_back_even_by_a_kill(tmp_path):
    script = """
        import sys, time
        from pathlib import Path
        from nethical import durable
        print("trying", flush=True)
        with durable.lock(Path(sys.argv[1])):
            print("held", flush=True)
            time.sleep(float(sys.argv[2]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen([*command, "60"], stdout=subprocess.PIPE) as holder:
        assert [holder.stdout.readline(), holder.stdout.readline()] == [b"trying\n", b"held\n"]
        with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE) as waiter:
            waiter.stdout.readline()
            time.sleep(0.3)
            held_off = waiter.poll() is None
            holder.send_signal(signal.SIGKILL)
            assert waiter.stdout.readline() == b"held\n"
    assert held_off


def test_a_folder_that_is_not_there_cannot_be_locked(tmp_path):
    with pytest.raises(StorageError, match="lock"), durable.lock(tmp_path / "nowhere"):
        pass


def test_a_long_result_takes_over_what_a_killed_writer_left(tmp_path):
    target = tmp_path / "out.csv"
    (tmp_path / ".tmp-out.csv").write_bytes(b"left behind by a kill, and longer than the next")
    with durable.writing(target) as file:
        file.write(b"whole")
        with pytest.raises(StorageError, match="another process"), durable.writing(target):
            pass
    assert target.read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
