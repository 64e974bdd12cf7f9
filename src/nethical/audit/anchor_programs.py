"""Programs that anchors start, and the anchor that is a program of the user's own.

No shell reads what is started, and no program may run, or print, without end.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from nethical.audit.anchor_files import MAX_NOTE_BYTES, sizes
from nethical.errors import IntegrityError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nethical.audit.checkpoint import Checkpoint

__all__ = ["CommandAnchor", "Ran", "run"]

TIMEOUT_S = 120.0
_MAX_LIST_BYTES = 1 << 20
_KEPT_COMPLAINT = 1 << 14
_SHOWN = 300
_PIECE = 1 << 16


@dataclass(frozen=True)
class Ran:
    """A program that ended.

    Args:
        code: Its exit code; negative, the signal that ended it.
        output: What it printed.
        complaint: The end of what it printed to standard error.
    """

    code: int
    output: bytes
    complaint: str

    @property
    def reason(self) -> str:
        """Return the last line that it complained in, or how it ended."""
        lines = [line.strip() for line in self.complaint.splitlines() if line.strip()]
        return printable(lines[-1]) if lines else f"it ended with exit code {self.code}"


def printable(line: str) -> str:
    """Return a line of somebody else's without what would steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in line[:_SHOWN])


def run(
    arguments: Sequence[str],
    *,
    given: bytes = b"",
    max_bytes: int,
    timeout_s: float = TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
) -> Ran:
    """Run a program to its end, without a shell and without a terminal.

    Args:
        arguments: The program and its arguments.
        given: What it reads from standard input.
        max_bytes: Most bytes that it may print.
        timeout_s: Seconds after which it, and what it started, are ended.
        environment: Its environment; that of this process when None.

    Raises:
        UsageError: It cannot be started.
        StorageError: It printed more, or took longer.
    """
    with _readable(given) as file:
        try:
            process = subprocess.Popen(  # noqa: S603 - what the user named, and no shell
                arguments,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UsageError(
                f"{arguments[0]} cannot be started: {error.strerror}",
                mend="check that it is installed, and that it may be run",
            ) from error
    with process:
        try:
            output, complaint = _read(process, arguments[0], max_bytes, timeout_s)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return Ran(process.returncode, output, complaint.decode(errors="replace"))


def _readable(content: bytes) -> IO[bytes]:
    """Return a file of these bytes: a program may read them when it likes, or not at all."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - who asked for it closes it
        file.write(content)
        file.seek(0)
    except OSError as error:
        raise StorageError(
            f"cannot write to {tempfile.gettempdir()}: {error.strerror}",
            mend="check its permissions and the free space, then run again",
        ) from error
    return file


def _read(
    process: subprocess.Popen[bytes], name: str, max_bytes: int, timeout_s: float
) -> tuple[bytes, bytes]:
    """Return what a program prints, and the end of its complaints, once it has closed both."""
    output, complaint = bytearray(), bytearray()
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as waiting:
        for stream, kept in ((process.stdout, output), (process.stderr, complaint)):
            waiting.register(_given(stream), selectors.EVENT_READ, kept)
        while waiting.get_map():
            for ready, _ in waiting.select(max(0.0, deadline - time.monotonic())):
                piece = os.read(ready.fd, _PIECE)
                ready.data.extend(piece)
                if not piece:
                    waiting.unregister(ready.fileobj)
            del complaint[:-_KEPT_COMPLAINT]
            if len(output) > max_bytes:
                raise StorageError(
                    f"{name} printed more than {max_bytes} bytes",
                    mend="have it print what was asked for and nothing else",
                )
            if time.monotonic() > deadline:
                raise _too_slow(name, timeout_s)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise _too_slow(name, timeout_s) from error
    return bytes(output), bytes(complaint)


def _given(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - both were asked for as pipes
    return stream


def _too_slow(name: str, timeout_s: float) -> StorageError:
    return StorageError(
        f"{name} took longer than {timeout_s:g} s, and was ended",
        mend="see what it waits for; it has no terminal to ask questions on",
    )


class CommandAnchor:
    """A program that keeps and gives notes. It is started with one of these at its end.

    - ``keep ORIGIN SIZE``: keeps what it reads. What it keeps of that size already, it leaves
      alone and says nothing: it is asked for it afterwards, and the two are compared here.
    - ``give ORIGIN SIZE``: prints the note that it keeps, or nothing.
    - ``list ORIGIN``: prints the sizes that it keeps, one a line.

    Any other exit code than 0 means that it failed; its last line on standard error says why.

    Args:
        spec: The anchor as the user wrote it.
        program: The program and its first arguments, quoted as for a shell.
        timeout_s: Seconds after which it is ended.
    """

    def __init__(self, spec: str, program: str, timeout_s: float = TIMEOUT_S) -> None:
        self.spec = spec
        self._timeout_s = timeout_s
        try:
            self._program = shlex.split(program)
        except ValueError as error:
            raise UsageError(f"{spec}: {error}", mend="close the quotation") from error
        if not self._program or not self._program[0]:
            raise UsageError(f"{spec} names no program", mend="write 'command:PROGRAM ARGUMENTS'")

    def keep(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Have the program keep a note.

        Raises:
            UsageError: The program cannot be started.
            StorageError: It failed.
        """
        self._run("keep", checkpoint.origin, str(checkpoint.tree_size), given=note)

    def give(self, origin: str, tree_size: int) -> bytes | None:
        """Return the note that the program gives, None when it gives nothing."""
        return self._run("give", origin, str(tree_size)) or None

    def kept(self, origin: str) -> list[bytes]:
        """Return every note that the program keeps of a log, in ascending order of size.

        Raises:
            UsageError: The program cannot be started.
            StorageError: It failed, or lists what is no size.
            IntegrityError: It lists a size and gives nothing for it.
        """
        listed = self._run("list", origin, max_bytes=_MAX_LIST_BYTES)
        names = listed.decode(errors="replace").split()
        found = sizes(names)
        if len(found) != len(names):
            raise StorageError(
                f"{self.spec} lists what is no size, or a size twice",
                mend="have its `list` print sizes alone, one a line",
            )
        return [self._listed(origin, size) for size in found]

    def _listed(self, origin: str, size: int) -> bytes:
        note = self.give(origin, size)
        if note is None:
            raise IntegrityError(
                f"{self.spec} lists a checkpoint of {size} entries of {origin} but gives none",
                mend="look at what changed there; an anchor keeps what it was given",
            )
        return note

    def _run(self, *arguments: str, given: bytes = b"", max_bytes: int = MAX_NOTE_BYTES) -> bytes:
        ran = run(
            [*self._program, *arguments],
            given=given,
            max_bytes=max_bytes,
            timeout_s=self._timeout_s,
        )
        if ran.code:
            raise StorageError(
                f"{self.spec} could not {' '.join(arguments)}: {ran.reason}",
                mend="mend what it says, then run again",
            )
        return ran.output
