"""How a check of the kit says that a promise is broken."""

from __future__ import annotations

import numpy as np

__all__ = ["BrokenPromiseError", "require", "require_equal"]


class BrokenPromiseError(AssertionError):
    """A model type does not keep what its protocol promises."""


def require(kept: object, said: str) -> None:
    """Raise unless this is true; ``said`` tells what broke, and on which table."""
    if not kept:
        raise BrokenPromiseError(said)


def _first(differs: np.ndarray) -> str:
    return f"first in row {int(np.flatnonzero(differs)[0])} of {len(differs)}"


def require_equal(scores: np.ndarray, others: np.ndarray, said: str) -> None:
    """Raise unless two arrays of one shape are equal; tells the first row where they differ."""
    differs = np.asarray(scores != others)
    require(not differs.any(), f"{said}, {_first(differs)}" if differs.any() else said)
