"""What a person sees: ``[INFO]`` and ``[WARN]`` lines, plain tables, one JSON document."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nethical.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nethical.errors import NethicalError

__all__ = ["Console", "OutputError", "printable"]


class OutputError(StorageError):
    """What was printed could not be written: a closed pipe, a full disk."""


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write the output: {error.strerror or error}",
            mend="let it go to a terminal, an open pipe, or a disk with free space",
        ) from error


def printable(text: str) -> str:
    r"""Return text that came from data with control characters made visible.

    Example:
        >>> printable("a" + chr(27) + "[31mb")
        'a\\x1b[31mb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Console:
    """Prints for people, or one JSON document for programs.

    Args:
        json_output: Keep standard output for one JSON document; people read standard error.
        quiet: Print warnings and results only.
    """

    def __init__(self, *, json_output: bool = False, quiet: bool = False) -> None:
        self.json_output = json_output
        self.quiet = quiet
        self._stream = sys.stderr if json_output else sys.stdout

    def info(self, message: str) -> None:
        """Print an ``[INFO]`` line."""
        if not self.quiet:
            self.line(f"[INFO] {message}")

    def warn(self, message: str) -> None:
        """Print a ``[WARN]`` line."""
        self.line(f"[WARN] {message}")

    def error(self, error: NethicalError) -> None:
        """Print what is wrong and how to mend it, where the command goes on all the same."""
        self.line(f"[ERROR] {' '.join(error.what.split())}")
        self.line(f"[ERROR] {' '.join(error.mend.split())}")

    def line(self, text: str = "") -> None:
        """Print a line as it is."""
        with _written():
            print("\n".join(printable(part) for part in text.split("\n")), file=self._stream)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows in aligned columns under their headers."""
        cells = [[printable(cell) for cell in row] for row in (headers, *rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
        for row in cells:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.line(("  " + "  ".join(padded)).rstrip())

    def json(self, document: Any) -> None:  # noqa: ANN401 - any JSON value
        """Print the one JSON document on standard output."""
        ascii_only = (getattr(sys.stdout, "encoding", None) or "").lower() not in {"utf-8", "utf8"}
        with _written():
            print(json.dumps(document, indent=2, ensure_ascii=ascii_only, allow_nan=False))

    def flush(self) -> None:
        """Bring everything that was printed on its way."""
        with _written():
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # closed from the start
                    stream.flush()
