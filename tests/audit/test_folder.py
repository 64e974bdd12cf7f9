"""The folder of an audit: what lies in it is read as somebody else may have left it."""

import os
from pathlib import Path

import pytest

from nethical.audit.folder import AuditFolder, Dead
from nethical.errors import IntegrityError, StorageError


def test_a_format_that_is_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "format.json").write_text("[" * 60_000)
    with pytest.raises(IntegrityError, match="no version"):
        AuditFolder(tmp_path).check_format()


def test_the_dead_are_found_among_many_by_name_and_a_planted_lock_is_not_passed_over(tmp_path):
    folder = AuditFolder(tmp_path)
    folder.make()
    names = [f"run_20260101T0000{second:02}Z_00000a" for second in range(30)]
    for number, name in enumerate(names):
        held = folder.hold(name, number)
        held.release(ended=number % 10 != 3)
    (folder.runs / "run_other").mkdir()
    (folder.runs / "run_other" / "lock").write_bytes(b"")
    assert folder.dead() == [Dead(names[number], number) for number in (3, 13, 23)]
    (folder.runs / names[5] / "lock").symlink_to("nowhere")
    with pytest.raises(StorageError, match="cannot open"):
        folder.dead()


@pytest.mark.parametrize(
    "put", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/etc/passwd")]
)
def test_a_format_that_is_no_file_is_refused_at_once(tmp_path, put):
    put(tmp_path / "format.json")
    with pytest.raises(IntegrityError, match="not a regular file"):
        AuditFolder(tmp_path).check_format()
