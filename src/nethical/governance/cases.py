"""Reviewed cases from a table: what people decided, and what they decided it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data import files
from nethical.data.labels import MISSING_WORDS, NEGATIVE_WORDS, POSITIVE_WORDS
from nethical.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

__all__ = ["column_of", "plain", "read_cases"]

OWN = (
    *("case_id", "stratum", "inclusion_probability"),
    *("reviewers", "used_for_training", "reviewed_at"),
)
DEFAULT_STRATUM = "all"


def read_cases(
    path: Path, *, name: str, label: str, positive: tuple[str, ...] = (), now: str
) -> list[dict[str, Any]]:
    """Return the reviewed cases of a table, as the store keeps them.

    The columns ``case_id`` and the label must be there; ``stratum`` (default ``all``),
    ``inclusion_probability`` (the probability at which a case entered the sample, default 1),
    ``reviewers``, ``used_for_training`` and ``reviewed_at`` may be. Every other column is a
    feature, kept so that any model can be asked about the case again.

    Args:
        path: A table file.
        name: The model name.
        label: The column that says what people decided.
        positive: Its values that are positive; by their meaning if empty.
        now: When a case without a time was reviewed.

    Raises:
        DataError: A column is missing, or a value is out of its range.
    """
    table = files.load(path)
    for wanted in ("case_id", label):
        if wanted not in table.column_names:
            raise DataError(
                f"{path} has no column {wanted!r}; found: {', '.join(table.column_names[:30])}",
                mend="give each reviewed case an id and what people decided",
            )
    features = [column for column in table.column_names if column not in {*OWN, label}]
    cases = []
    for place, row in enumerate(table.to_pylist(), 1):
        share = row.get("inclusion_probability")
        share = 1.0 if share is None else float(share)
        if not 0 < share <= 1:
            raise DataError(
                f"{path} row {place}: the inclusion probability is {share:g}",
                mend="give the probability at which the case entered the sample, in (0, 1]",
            )
        cases.append(
            {
                "case_id": _id(row["case_id"], path, place),
                "name": name,
                "features": {column: plain(row[column]) for column in features},
                "is_positive": _is_positive(row[label], positive, f"{path} row {place}"),
                "stratum": str(row.get("stratum") or DEFAULT_STRATUM)[:64],
                "inclusion_probability": share,
                "reviewers": int(row.get("reviewers") or 1),
                "used_for_training": bool(row.get("used_for_training") or False),
                "reviewed_at": str(row.get("reviewed_at") or now),
            }
        )
    return cases


def _id(value: object, path: Path, place: int) -> str:
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value or "")
    if not 0 < len(text) <= 128:  # noqa: PLR2004 - as long as the store takes
        raise DataError(f"{path} row {place}: {text[:40]!r} is no case id", mend="give it an id")
    return text


def _is_positive(value: object, positive: tuple[str, ...], where: str) -> bool:
    text = str(int(value)) if isinstance(value, float) and value == int(value) else str(value)
    word = text.strip().lower()
    if value is None or word in MISSING_WORDS:
        raise DataError(f"{where}: nobody decided it", mend="leave undecided cases out")
    if positive:
        return text in positive
    if word in POSITIVE_WORDS or word in NEGATIVE_WORDS:
        return word in POSITIVE_WORDS
    raise DataError(
        f"{where}: the label {text!r} is unknown",
        mend="use 0 and 1, or say which are positive with --positive-label VALUE",
    )


def column_of(cases: Sequence[Any], name: str) -> pa.Array:
    """Return a feature of cases as a column, null where one has none.

    Args:
        cases: Whose ``features`` are read.
        name: Of the feature.
    """
    import pyarrow as pa

    values = [case.features.get(name) for case in cases]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers here, words there
        return pa.array([None if value is None else str(value) for value in values])


def plain(value: object) -> object:
    """Return a value as JSON holds it: a missing number is null."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, int | float | str | list | type(None)):
        return value
    return str(value)
