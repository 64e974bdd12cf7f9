"""The files of a log: every call of the operating system that the log makes goes through here.

What a log needs beside ``nethical.durable``: files that are final once they have their name,
many of them synced together, a journal that grows by whole records, and reading that follows
no link. Nothing here retries: the first error of a file ends the run that met it.
"""

# Each call of the operating system stands here by its own name, so that tests can count them
# and let any one of them fail; paths are text, since joining them otherwise costs as much.
# ruff: noqa: PTH100, PTH102, PTH104, PTH106, PTH108, PTH112, PTH114, PTH116, PTH120, PTH123, PTH208

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from typing import TYPE_CHECKING, Self

from nethical.errors import IntegrityError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["TEMPORARY", "Folder", "network_file_system"]

TEMPORARY = ".tmp-"
_PIECE = 1 << 20
_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs", "lustre")


@contextlib.contextmanager
def _explained(path: str, verb: str) -> Iterator[None]:
    """Turn an OSError into two clear lines."""
    try:
        yield
    except OSError as error:
        raise _failed(path, verb, error) from error


def _failed(path: str, verb: str, error: OSError) -> StorageError:
    """Return the same error where an entry passes on its way to the disk: a ``with`` costs more."""
    return StorageError(
        f"cannot {verb} {path}: {error.strerror or error}",
        mend="check the path, its permissions and the free space, then run again",
    )


class Folder:
    """The folder of a log; paths are relative to it. Keeps no file open between calls.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = str(path)
        self._unsynced: dict[str, None] = {}

    def make(self) -> None:
        """Make the folder and its parents, durably; an existing one is left as it is."""
        with _explained(self._root, "create the folder"):
            self._make(os.path.abspath(self._root))

    def _make(self, folder: str) -> None:
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(folder).st_mode):
                raise
            return
        except FileNotFoundError:
            self._make(os.path.dirname(folder))
            self._make(folder)  # another process may have made it meanwhile
            return
        _sync_folder(os.path.dirname(folder))

    def lock(self) -> _Lock:
        """Hold the log's exclusive lock in a ``with``: one writer at a time."""
        return _Lock(f"{self._root}/lock")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold writers off while several files are read as of one moment.

        A log that was copied without its lock, or that may not be opened, has no writer here.
        """
        try:
            descriptor = os.open(f"{self._root}/lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            yield
            return
        try:
            with _explained(self._root, "lock"):
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield
        finally:
            _close(self._root, descriptor)

    def read(self, name: str, limit: int = 1 << 30) -> bytes | None:
        """Return the bytes of a file, None when it is not there.

        Args:
            name: Path below the folder.
            limit: Most bytes to read; a longer file is returned cut there.

        Raises:
            IntegrityError: It is no regular file: a link, or a folder.
            StorageError: It cannot be read.
        """
        path = f"{self._root}/{name}"
        with _explained(path, "read"):
            opened = _open_regular(path, os.O_RDONLY)
            if opened is None:
                return None
            try:
                return _read(opened[0], limit)
            finally:
                os.close(opened[0])

    def identity(self, name: str) -> tuple[int, int, int] | None:
        """Return what changes whenever a file is replaced; None when it is not there."""
        path = f"{self._root}/{name}"
        try:
            status = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(path, "read", error) from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def names(self, name: str) -> list[str]:
        """Return the names in a folder below, none when it is not there."""
        path = f"{self._root}/{name}"
        with _explained(path, "list"):
            try:
                return os.listdir(path)
            except FileNotFoundError:
                return []

    def walk(self, name: str = "") -> Iterator[str]:
        """Give the path of everything below that is no folder, in order of name."""
        path = f"{self._root}/{name}"
        with _explained(path, "list"):
            try:
                with os.scandir(path) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                return
        for entry in entries:
            below = f"{name}/{entry.name}" if name else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self.walk(below)
            else:
                yield below

    def create(self, name: str, content: bytes) -> None:
        """Write a final file; ``sync_folders`` makes its name durable.

        A file of that name with the same bytes is fine: it is from a seal that was interrupted.

        Raises:
            IntegrityError: A file of that name holds other bytes.
            StorageError: It cannot be written.
        """
        path = f"{self._root}/{name}"
        found = self.read(name, len(content) + 1)
        if found is not None and found != content:
            raise IntegrityError(
                f"{path} is there already and holds other bytes than belong there",
                mend="run `nethical audit verify` on the log, and keep a copy before you change it",
            )
        with _explained(path, "write"):
            if found is None:
                self._write(path, content)
            self._unsynced[os.path.dirname(path)] = None

    def replace(self, name: str, content: bytes) -> None:
        """Replace a file by these bytes, atomically and durably."""
        path = f"{self._root}/{name}"
        with _explained(path, "write"):
            self._write(path, content)
            _sync_folder(os.path.dirname(path))

    def sync_folders(self) -> None:
        """Make the names of the files created so far durable."""
        while self._unsynced:
            folder = next(iter(self._unsynced))
            with _explained(folder, "write"):
                _sync_folder(folder)
            del self._unsynced[folder]

    def remove(self, name: str) -> None:
        """Remove the folder of partial tiles of this name, if it is there."""
        path = f"{self._root}/{name}"
        with _explained(path, "remove"):
            for each in self.names(name):
                os.unlink(f"{path}/{each}")
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(path)

    def sweep(self) -> None:
        """Remove what a killed process left half-written; hold the lock."""
        for name in self.names("."):
            if name.startswith(TEMPORARY):
                path = f"{self._root}/{name}"
                with _explained(path, "remove"):
                    os.unlink(path)

    def _write(self, path: str, content: bytes) -> None:
        """Write a whole file under a temporary name, sync it, and give it its name."""
        temporary = f"{self._root}/{TEMPORARY}{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o644)
        try:
            try:
                _write_all(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            try:
                os.rename(temporary, path)
            except FileNotFoundError:
                self._make(os.path.dirname(path))
                os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):  # the error that brought us here counts
                os.unlink(temporary)
            raise

    def appending(self, name: str, *, create: bool = False) -> Appendable:
        """Open a file that grows by whole records, to be used in a ``with``.

        Raises:
            IntegrityError: It is missing and not to be created, or is no regular file.
            StorageError: It cannot be opened.
        """
        path = f"{self._root}/{name}"
        try:
            flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0)
            opened = _open_regular(path, flags)
        except OSError as error:
            raise _failed(path, "open", error) from error
        if opened is None:
            raise IntegrityError(
                f"{path} is missing, and with it what was not sealed yet",
                mend="restore it from a copy; if nothing was lost, make an empty file of that name",
            )
        if create:
            self._unsynced[self._root] = None
        return Appendable(path, *opened)


class Appendable:
    """An open file that grows by whole records.

    Args:
        path: Of the file, for errors.
        descriptor: Its open descriptor.
        size: Its length in bytes; the lock is held, so nobody else changes it.
    """

    def __init__(self, path: str, descriptor: int, size: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.size = size

    def __enter__(self) -> Self:
        """Return the open file."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the file."""
        _close(self._path, self._descriptor)

    def read(self, start: int, count: int) -> bytes:
        """Return up to ``count`` bytes from an offset."""
        pieces = []
        try:
            while count and (piece := os.pread(self._descriptor, min(count, _PIECE), start)):
                pieces.append(piece)
                start += len(piece)
                count -= len(piece)
        except OSError as error:
            raise _failed(self._path, "read", error) from error
        return b"".join(pieces)

    def append(self, content: bytes) -> None:
        """Append bytes with one write, and sync them."""
        try:
            if os.write(self._descriptor, content) != len(content):
                raise OSError(28, "No space left on device")
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise _failed(self._path, "append to", error) from error
        self.size += len(content)

    def cut(self, size: int) -> None:
        """Cut the file to a length, durably."""
        with _explained(self._path, "cut"):
            os.ftruncate(self._descriptor, size)
            os.fsync(self._descriptor)
        self.size = size

    def sync(self) -> None:
        """Make what others wrote into it durable too."""
        with _explained(self._path, "sync"):
            os.fdatasync(self._descriptor)


class _Lock:
    """The exclusive lock on a file, released even by a kill."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> None:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise _failed(self._path, "lock", error) from error
        _HELD.add(self._descriptor)

    def __exit__(self, *_error: object) -> None:
        _HELD.discard(self._descriptor)
        try:
            try:
                # A child that was forked meanwhile has it open too: closing is not enough.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            finally:
                os.close(self._descriptor)
        except OSError as error:
            raise _failed(self._path, "close", error) from error


_HELD: set[int] = set()


def _close_in_child() -> None:
    """Close the locks that another thread held at a fork, or its child would hold them on."""
    while _HELD:
        os.close(_HELD.pop())


os.register_at_fork(after_in_child=_close_in_child)


def _close(path: str, descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError as error:
        raise _failed(path, "close", error) from error


def _open_regular(path: str, flags: int) -> tuple[int, int] | None:
    """Return the descriptor and the length of a file, None when it is not there."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if os.path.islink(path) or os.path.isdir(path):
            raise _not_regular(path) from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status.st_size


def _not_regular(path: str) -> IntegrityError:
    return IntegrityError(
        f"{path} is not a regular file", mend="restore the file from a copy of the log"
    )


def _read(descriptor: int, limit: int) -> bytes:
    pieces = []
    while limit and (piece := os.read(descriptor, min(limit, _PIECE))):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        written = os.write(descriptor, rest)
        if not written:
            raise OSError(28, "No space left on device")
        rest = rest[written:]


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def network_file_system(path: Path, mounts: str = "/proc/self/mountinfo") -> str | None:
    """Return the kind of network file system a folder lies on, None on a local disk.

    Args:
        path: The folder.
        mounts: Where the system tells what is mounted.

    The lock of a log holds between processes of one machine only; whoever opens a log on such
    a file system says so.
    """
    try:
        with open(mounts, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    device = os.stat(path).st_dev
    named = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        mounted, _, kind = line.partition(" - ")
        if mounted.split(" ")[2] == named and kind.startswith(_NETWORK):
            return kind.split(" ")[0]
    return None
