"""Which rows decide when a fit stops: a cut of the train part that is not learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable

__all__ = ["stopping_rows"]

STOPPING_SHARE = 10
FEWEST_STOPPING_ROWS = 50


def stopping_rows(table: LabelledTable, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the tenth of the rows that decides when to stop, groups kept whole; maybe none."""
    units = np.arange(len(table)) if table.groups is None else table.groups
    drawn = rng.permutation(int(units.max()) + 1) % STOPPING_SHARE == 0
    held = np.asarray(drawn[units])
    sides = (table.y[held], table.y[~held])
    if held.sum() < FEWEST_STOPPING_ROWS or any(len(np.unique(side)) == 1 for side in sides):
        return np.zeros(len(table), dtype=bool)
    return held
