"""What a person sees: ``[INFO]`` and ``[WARN]`` lines, plain tables, one JSON document."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Console", "printable"]


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

    def line(self, text: str = "") -> None:
        """Print a line as it is."""
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
        print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
