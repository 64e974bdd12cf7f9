"""The one place that writes files: nothing is acknowledged before it is on the disk.

A file or folder appears under its name whole or not at all: it is written under a temporary
name, synced, renamed, and its folder is synced. Temporary names start with ``.tmp-`` and are
written under the lock of their folder (or, for a long result, a lock of their own), so whoever
holds the lock may sweep what a killed process left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from typing import TYPE_CHECKING

from nethical.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

__all__ = [
    "append",
    "lock",
    "make_folder",
    "publish_folder",
    "read",
    "remove",
    "replace_link",
    "sweep",
    "write",
    "writing",
]

TEMPORARY = ".tmp-"


@contextlib.contextmanager
def _explained(path: Path, verb: str) -> Iterator[None]:
    """Turn an OSError into two clear lines."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {verb} {path}: {error.strerror or error}",
            mend="check the path, its permissions and the free space, then run again",
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and its parents, durably; an existing one is left as it is."""
    with _explained(folder, "create the folder"):
        missing = []
        parent = folder
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for new in reversed(missing):
            new.mkdir(mode=mode, exist_ok=True)
            _sync_folder(new.parent)
        if not folder.is_dir():
            raise NotADirectoryError(20, "a file is in the way", str(folder))


def read(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        StorageError: The file cannot be read.
    """
    with _explained(path, "read"):
        return path.read_bytes()


def write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace a file by these bytes, atomically and durably."""
    temporary = _temporary(path)
    with _explained(path, "write"):
        try:
            _write_new(temporary, content, mode)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write a long result into; it appears under its name whole, or not at all.

    The temporary name follows from the path, so that the next writer takes over what a killed
    one left; two at once are told apart by a lock on it.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    with _explained(path, "write"):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(16, "another process is writing it") from None
            try:
                file.truncate()
                yield file
                file.flush()
                os.fsync(descriptor)
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        _sync_folder(path.parent)


def append(path: Path, content: bytes) -> None:
    """Append bytes to a file with one write and sync it; hold the lock of its folder.

    A line that a power cut tore off is cut back first, so that the file stays whole lines.
    """
    with _explained(path, "append to"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            _cut_torn_line(file.fileno())
            if file.write(content) != len(content):
                raise OSError(28, "No space left on device")
            os.fsync(descriptor)
        _sync_folder(path.parent)


def _cut_torn_line(descriptor: int) -> None:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    end = size
    while end:
        start = max(0, end - 4096)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)


def publish_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Create a folder with these files so that it appears whole; hold the parent's lock."""
    temporary = _temporary(folder)
    with _explained(folder, "publish"):
        try:
            temporary.mkdir()
            for name, content in files.items():
                _write_new(temporary / name, content, 0o644)
            _sync_folder(temporary)
            if folder.exists():
                raise FileExistsError(17, "it exists already", str(folder))
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(folder.parent)


def replace_link(link: Path, target: str) -> None:
    """Point a symbolic link at a target by one atomic rename."""
    temporary = _temporary(link)
    with _explained(link, "replace the link"):
        try:
            temporary.symlink_to(target)
            temporary.rename(link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(link.parent)


def remove(path: Path) -> None:
    """Take a link or a folder away at once; what a kill leaves of it is swept later.

    Hold the lock of the folder that it lies in.
    """
    with _explained(path, "remove"):
        path.rename(path.with_name(f"{TEMPORARY}{path.name}"))
    sweep(path.parent)


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder; hold its lock."""
    with _explained(folder, "clean up"):
        for leftover in folder.glob(f"{TEMPORARY}*"):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the folder's exclusive lock: one writer at a time, released even by a kill."""
    with _explained(folder, "lock"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _explained(folder, "lock"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
