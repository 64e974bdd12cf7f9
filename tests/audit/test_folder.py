"""The folder of an audit: what lies in it is read as somebody else may have left it."""

import os
from pathlib import Path

import pytest

from nethical.audit.folder import AuditFolder
from nethical.errors import IntegrityError


def test_a_format_that_is_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "format.json").write_text("[" * 60_000)
    with pytest.raises(IntegrityError, match="no version"):
        AuditFolder(tmp_path).check_format()


@pytest.mark.parametrize(
    "put", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/etc/passwd")]
)
def test_a_format_that_is_no_file_is_refused_at_once(tmp_path, put):
    put(tmp_path / "format.json")
    with pytest.raises(IntegrityError, match="not a regular file"):
        AuditFolder(tmp_path).check_format()
