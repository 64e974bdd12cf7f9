"""How a label column of any two values reads as 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Labelling", "read_labels"]

POSITIVE_WORDS = frozenset(
    [
        "1",
        "true",
        "yes",
        "y",
        "positive",
        "pos",
        "malicious",
        "unsafe",
        "harmful",
        "abnormal",
        "anomaly",
        "anomalous",
        "attack",
        "fraud",
        "fraudulent",
        "spam",
        "toxic",
        "bad",
        "outlier",
        "injection",
        "jailbreak",
        "violation",
        "block",
        "blocked",
        "danger",
        "dangerous",
        "risky",
        "high",
    ]
)
NEGATIVE_WORDS = frozenset(
    [
        "0",
        "-1",
        "false",
        "no",
        "n",
        "negative",
        "neg",
        "benign",
        "safe",
        "harmless",
        "normal",
        "legitimate",
        "legit",
        "genuine",
        "ham",
        "clean",
        "good",
        "ok",
        "inlier",
        "allow",
        "allowed",
        "low",
        "none",
    ]
)
MISSING_WORDS = frozenset(["", "na", "n/a", "nan", "null"])
MANY_CLASSES = 10
MEND_LENGTH = 300


@dataclass(frozen=True)
class Labelling:
    """Which label values mean 1 and which 0.

    Args:
        positive: Values that mean 1, as text.
        negative: Values that mean 0, as text.
        why: Why these are the positive ones, for people.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    why: str

    def to_document(self) -> dict[str, Any]:
        """Return the labelling as JSON values."""
        return {
            "positive": list(self.positive),
            "negative": list(self.negative),
            "why": self.why,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Labelling:
        """Return the labelling that ``to_document`` wrote."""
        return cls(tuple(document["positive"]), tuple(document["negative"]), document["why"])

    def encode(self, column: pa.ChunkedArray) -> NDArray[np.int8]:
        """Return labels, shape (n,): 1, 0, or -1 where the value is missing.

        Raises:
            DataError: A value is neither positive nor negative.
        """
        codes, values = _values(column)
        known = dict.fromkeys(self.positive, 1) | dict.fromkeys(self.negative, 0)
        unknown = [value for value in values if value not in known]
        if unknown:
            raise DataError(
                f"the label has unknown values: {', '.join(map(repr, unknown[:MANY_CLASSES]))}",
                mend=f"use {' and '.join(map(repr, known))} as in training"[:MEND_LENGTH],
            )
        lookup = np.array([known[value] for value in values] + [-1], dtype=np.int8)
        return lookup[codes]


def read_labels(
    column: pa.ChunkedArray,
    name: str,
    positive: tuple[str, ...] = (),
    *,
    negatives_suffice: bool = False,
) -> Labelling:
    """Return how a label column reads.

    Args:
        column: The label column.
        name: Its name, for errors.
        positive: The values that the user calls positive; empty to decide by their meaning.
        negatives_suffice: Whether one class will do, if its name means that nothing is wrong.

    Raises:
        UsageError: A value that was called positive does not occur.
        DataError: All labels are missing, there is one class, or more than two.
    """
    codes, values = _values(column)
    if not values:
        raise DataError(
            f"label column {name!r} holds no value at all",
            mend="fill the labels in, or name another column with --label-column",
        )
    if positive:
        missing = [value for value in positive if value not in values]
        if missing:
            raise UsageError(
                f"--positive-label {missing[0]!r} is not among the labels: {_listed(values)}",
                mend="name one of these values",
            )
        negative = tuple(value for value in values if value not in positive)
        if negative:
            return Labelling(positive, negative, "as given")
    if negatives_suffice and len(values) == 1 and values[0].lower() in NEGATIVE_WORDS:
        return Labelling((), (values[0],), "the only value")
    if len(values) == 1 or positive:
        raise DataError(
            f"label column {name!r} has one class only: {_listed(values)}",
            mend="add rows of the other class",
        )
    if len(values) > 2:  # noqa: PLR2004 - two classes
        raise DataError(
            f"label column {name!r} has {len(values)} classes: {_listed(values)}",
            mend="say which are positive with --positive-label VALUE (repeatable)",
        )
    counts = np.bincount(codes[codes < len(values)], minlength=len(values))
    return _by_meaning(values, counts)


def _by_meaning(values: list[str], counts: NDArray[np.int64]) -> Labelling:
    words = [value.lower() for value in values]
    for chosen in (0, 1):
        other = 1 - chosen
        if words[chosen] in POSITIVE_WORDS and words[other] not in POSITIVE_WORDS:
            return Labelling((values[chosen],), (values[other],), "by its meaning")
        if words[other] in NEGATIVE_WORDS and words[chosen] not in NEGATIVE_WORDS:
            return Labelling((values[chosen],), (values[other],), "by the other's meaning")
    rare = int(counts[1] <= counts[0])
    return Labelling((values[rare],), (values[1 - rare],), "the rarer value")


def _listed(values: list[str]) -> str:
    more = f" and {len(values) - MANY_CLASSES} more" if len(values) > MANY_CLASSES else ""
    return ", ".join(map(repr, values[:MANY_CLASSES])) + more


def _values(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Return codes into the sorted label texts, shape (n,), the number of texts if missing."""
    import pyarrow as pa

    if pa.types.is_nested(column.type):
        raise DataError("the label column holds lists", mend="name a column of single values")
    encoded = column.dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    texts = [_text(value) for value in encoded.dictionary.to_pylist()]
    order = sorted({text for text in texts if text is not None})
    place = {text: code for code, text in enumerate(order)}
    codes = [len(order) if text is None else place[text] for text in texts]
    lookup = np.array([*codes, len(order)], dtype=np.int64)
    indices = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    return lookup[indices.astype(np.int64)], order


def _text(value: object) -> str | None:
    if value is None or value != value:  # noqa: PLR0124 - NaN is a missing label
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return None if text.lower() in MISSING_WORDS else text
