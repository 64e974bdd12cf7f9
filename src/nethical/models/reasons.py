"""Reason codes: the columns that move a row's score most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.models.base import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from nethical.data.table import Table

__all__ = ["ranked_reasons"]

SHOWN_CHARACTERS = 60


def ranked_reasons(
    table: Table, contributions: Mapping[str, NDArray[np.float64]], top: int
) -> list[list[Reason]]:
    """Return for each row its weightiest columns, the weightiest first.

    Args:
        table: The rows.
        contributions: What each column adds to each row's score, shape (n,) a column.
        top: How many reasons a row gets at most.
    """
    if not contributions:
        return [[] for _ in range(len(table))]
    names = list(contributions)
    matrix = np.column_stack([contributions[name] for name in names])
    order = np.argsort(-np.abs(matrix), axis=1, kind="stable")[:, :top]
    cells = {name: table.frame.column(name) for name in names}
    return [
        [
            Reason(names[k], _shown(cells[names[k]][row].as_py()), float(matrix[row, k]))
            for k in order[row].tolist()
        ]
        for row in range(len(table))
    ]


def _shown(value: Any) -> str:  # noqa: ANN401 - a cell
    if value is None or value != value:  # noqa: PLR0124 - NaN is missing
        return "(missing)"
    if isinstance(value, float):
        return f"{value:g}"
    text = " > ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
