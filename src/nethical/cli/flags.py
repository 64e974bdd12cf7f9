"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["add_registry_flags"]


def add_registry_flags(parser: argparse.ArgumentParser) -> None:
    """Add where models lie, whose signatures are believed, and the output for programs."""
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="default: models")
    parser.add_argument(
        "--key",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="a public key to believe for this call (repeatable)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
