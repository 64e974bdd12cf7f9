"""Which rows of a scored table people review: the gray zone, and a random audit of the rest.

Whether a row is drawn follows from its keyed digest, so the same rows are drawn again when the
same table is scored again, and nobody without the key can tell which. Of more rows than people
should get, those with the smallest draws are kept, and the smallest draw that was left out is
the probability at which the others entered; equal rows are one case.

Reference:
    Horvitz and Thompson 1952; Cohen and Kaplan 2007 (bottom-k: that probability is unbiased).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.table import LabelledTable
from nethical.decisions import DECISIONS
from nethical.errors import UsageError
from nethical.governance.cases import plain
from nethical.governance.reviews import Case, Source

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.table import Table
    from nethical.decisions import Thresholds
    from nethical.trained import TrainedModel

    Floats = NDArray[np.float64]

__all__ = ["AUDIT_RATE", "MOST", "CaseSampler", "Drawn", "Rates", "gray_severity"]

AUDIT_RATE = 0.1
MOST = 200  # with as many of each kind agreement is known to within about .04
REVIEW = DECISIONS.index("review")
AUDITED = 1  # the severity of a decision that stands, and is looked at afterwards
BANDS = ((4, "gray-near"), (3, "gray-middle"), (2, "gray-far"))
FRACTION_BITS = 53


@dataclass(frozen=True)
class Rates:
    """How many rows people get.

    Args:
        gray: Share of the gray zone, in (0, 1].
        audit: Share of the automatic decisions, in (0, 1].
        most: Rows of each of the two kinds, at most.

    Raises:
        UsageError: A value is out of its range.
    """

    gray: float = 1.0
    audit: float = AUDIT_RATE
    most: int = MOST

    def __post_init__(self) -> None:
        for name, share in (("gray", self.gray), ("audit", self.audit)):
            if not 0 < share <= 1:
                raise UsageError(
                    f"the {name} share to review is {share:g}",
                    mend="give a number above 0, and at most 1",
                )
        if self.most < 1:
            raise UsageError(f"at most {self.most} rows are reviewed", mend="give 1 or more")


@dataclass(frozen=True)
class Drawn:
    """What was drawn of one kind.

    Args:
        seen: Rows of it.
        taken: Cases.
        inclusion_probability: At which each of its rows was drawn.
    """

    seen: int
    taken: int
    inclusion_probability: float


@dataclass
class _Kind:
    """One kind of rows, and the rows of it with the smallest draws."""

    share: float
    seen: int = 0
    smallest: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    held: set[str] = field(default_factory=set)

    def add(self, draw: float, digest: str, row: dict[str, Any], most: int) -> None:
        if digest in self.held:
            return
        self.held.add(digest)
        heapq.heappush(self.smallest, (-draw, digest, row))
        if len(self.smallest) > most + 1:  # one more tells the probability of the others
            self.held.discard(heapq.heappop(self.smallest)[1])

    def bound(self, most: int) -> float:
        """Return the draw from which on no row can be among the smallest any more."""
        return -self.smallest[0][0] if len(self.smallest) > most else self.share


class CaseSampler:
    """Draws cases from a table that is scored in pieces.

    Args:
        model: What decided.
        model_id: Its id, or its name.
        key: 32 bytes that blind the digests of rows.
        rates: How many rows people get.

    Raises:
        UsageError: The model reads an event log: a case by itself has no past to decide on.
    """

    def __init__(
        self, model: TrainedModel, model_id: str, key: bytes, rates: Rates | None = None
    ) -> None:
        if model.event_log is not None:
            raise UsageError(
                f"{model.name} reads an event log, and a single event has no past to review",
                mend="leave --review out",
            )
        self._model = model
        self.name = model.name
        self.model_id = model_id
        self._key = key
        self.rates = rates or Rates()
        self._kinds = {
            Source.GRAY: _Kind(self.rates.gray),
            Source.AUDIT: _Kind(self.rates.audit),
        }

    def look(
        self, frame: pa.Table, table: Table, y_proba: Floats, decided: NDArray[np.int8]
    ) -> None:
        """Take note of a piece of the table.

        Args:
            frame: Its raw rows.
            table: The same rows as the model read them.
            y_proba: Probability of class 1, shape (n,).
            decided: Place of each decision in ``DECISIONS``, shape (n,).
        """
        digests = LabelledTable.unlabelled(table.frame, table.roles).digests(self._key)
        draws = (digests[:, 1] >> np.uint64(64 - FRACTION_BITS)) / 2.0**FRACTION_BITS
        for source, kind in self._kinds.items():
            is_of_it = (decided == REVIEW) == (source == Source.GRAY)
            kind.seen += int(is_of_it.sum())
            rows = np.flatnonzero(is_of_it & (draws < kind.bound(self.rates.most)))
            rows = rows[np.argsort(draws[rows], kind="stable")]
            rows = rows[_first_of_equal(draws[rows])][: self.rates.most + 1]
            columns = frame.select(list(self._model.reads)).take(rows).to_pylist()
            for place, features in zip(rows, columns, strict=True):
                row = {
                    "features": {name: plain(value) for name, value in features.items()},
                    "probability": float(y_proba[place]),
                    "decision": DECISIONS[decided[place]],
                }
                digest = f"row:{digests[place].tobytes().hex()}"
                kind.add(float(draws[place]), digest, row, self.rates.most)

    def drawn(self) -> dict[Source, Drawn]:
        """Return how many of each kind were seen and drawn."""
        return {
            source: Drawn(kind.seen, len(self._of(kind)[1]), self._of(kind)[0])
            for source, kind in self._kinds.items()
        }

    def cases(self) -> list[Case]:
        """Return the cases that were drawn, in the order of their draws."""
        found = []
        for source, kind in self._kinds.items():
            probability, rows = self._of(kind)
            for _, digest, row in rows:
                severity, stratum, uncertainty = AUDITED, row["decision"], 0.0
                if source == Source.GRAY:
                    severity, stratum = gray_severity(row["probability"], self._model.thresholds)
                    uncertainty = _uncertainty(row["probability"], self._model.thresholds.block)
                found.append(
                    Case(
                        self.name,
                        source,
                        stratum,
                        probability,
                        severity,
                        uncertainty,
                        digest,
                        model_id=self.model_id,
                        **row,
                    )
                )
        return found

    def _of(self, kind: _Kind) -> tuple[float, list[tuple[float, str, dict[str, Any]]]]:
        """Return the probability at which rows of a kind entered, and the rows that did."""
        rows = sorted((-negative, digest, row) for negative, digest, row in kind.smallest)
        if len(rows) <= self.rates.most:
            return kind.share, rows
        return rows[-1][0], rows[:-1]


def gray_severity(probability: float, thresholds: Thresholds) -> tuple[int, str]:
    """Return severity and stratum of a row in the gray zone: the nearer to the threshold, the more.

    Example:
        >>> from nethical.decisions import Thresholds
        >>> gray_severity(0.51, Thresholds.around(0.5, "given"))
        (4, 'gray-near')
    """
    edge = thresholds.gray_high if probability >= thresholds.block else thresholds.gray_low
    width = abs(edge - thresholds.block)
    far = abs(probability - thresholds.block) / width if width > 0 else 0.0
    return BANDS[min(int(far * len(BANDS)), len(BANDS) - 1)]


def _uncertainty(probability: float, block: float) -> float:
    """Return 1 at the threshold and 0 where a probability is as far from it as it can be."""
    widest = max(block, 1 - block)
    return max(0.0, 1 - abs(probability - block) / widest)


def _first_of_equal(ordered: Floats) -> NDArray[np.bool_]:
    """Return which of ascending numbers is not equal to the one before it, shape (n,)."""
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return first
