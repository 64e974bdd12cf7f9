"""Which rows of a scored table people review: the gray zone, and a random audit of the rest.

Beside these two, which are a sample of all decisions, go the rows that a model in shadow decides
otherwise, and those that the table itself calls critical; they say where to look, and how often
a model is right cannot be told from them.

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
from nethical.errors import DataError, UsageError
from nethical.governance.cases import plain
from nethical.governance.reviews import CRITICAL, Case, Source, severity_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.table import Table
    from nethical.decisions import Thresholds
    from nethical.trained import TrainedModel

    Floats = NDArray[np.float64]

__all__ = [
    "AUDIT_RATE",
    "MOST",
    "CaseSampler",
    "Drawn",
    "Rates",
    "Watched",
    "draws_of",
    "gray_severity",
    "told_rows",
]

AUDIT_RATE = 0.1
MOST = 200  # with as many of each kind agreement is known to within about .04
REVIEW = DECISIONS.index("review")
AUDITED = 1  # the severity of a decision that stands, and is looked at afterwards
DISPUTED = 2  # and of one that a model in shadow would not have made
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


@dataclass(frozen=True)
class Watched:
    """What else people look at, wherever it lies.

    Args:
        shadow: A model beside the one that decides: rows that it decides otherwise.
        severity_column: A column that says how severe a row is: rows of the two highest levels.
    """

    shadow: TrainedModel | None = None
    severity_column: str | None = None


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
        watched: What else they look at.

    Raises:
        UsageError: The model reads an event log: a case by itself has no past to decide on.
    """

    def __init__(
        self,
        model: TrainedModel,
        model_id: str,
        key: bytes,
        rates: Rates | None = None,
        watched: Watched | None = None,
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
        self._watched = watched or Watched()
        if self._watched.shadow is not None:
            self._kinds[Source.DISAGREEMENT] = _Kind(1.0)
        if self._watched.severity_column is not None:
            self._kinds[Source.CRITICAL] = _Kind(1.0)

    def look(
        self, frame: pa.Table, table: Table, y_proba: Floats, decided: NDArray[np.int8]
    ) -> None:
        """Take note of a piece of the table.

        Args:
            frame: Its raw rows.
            table: The same rows as the model read them.
            y_proba: Probability of class 1, shape (n,).
            decided: Place of each decision in ``DECISIONS``, shape (n,).

        Raises:
            DataError: The column of the severity is missing, or says what no severity is.
        """
        digests, draws = draws_of(table, self._key)
        severity = self._severity(frame)
        for source, kind in self._kinds.items():
            is_of_it = self._is_of(source, frame, y_proba, decided, severity)
            kind.seen += int(is_of_it.sum())
            drawn = draws
            if source == Source.CRITICAL:  # emergencies before all others, whatever the limit
                drawn = draws / 2 + np.where(severity > CRITICAL, 0.0, 0.5)
            rows = np.flatnonzero(is_of_it & (drawn < kind.bound(self.rates.most)))
            rows = rows[np.argsort(drawn[rows], kind="stable")]
            rows = rows[_first_of_equal(drawn[rows])][: self.rates.most + 1]
            told = told_rows(self._model, frame, y_proba, decided, rows)
            for place, row in zip(rows, told, strict=True):
                digest = f"row:{digests[place].tobytes().hex()}"
                row["severity"] = int(severity[place])
                kind.add(float(drawn[place]), digest, row, self.rates.most)

    def _severity(self, frame: pa.Table) -> NDArray[np.int8]:
        """Return how severe the table calls each row, 0 where it does not, shape (n,)."""
        name = self._watched.severity_column
        if name is None:
            return np.zeros(len(frame), dtype=np.int8)
        if name not in frame.column_names:
            raise DataError(f"there is no column {name!r}", mend="name one that the table has")
        return np.array([severity_of(value) for value in frame[name].to_pylist()], dtype=np.int8)

    def _is_of(
        self,
        source: Source,
        frame: pa.Table,
        y_proba: Floats,
        decided: NDArray[np.int8],
        severity: NDArray[np.int8],
    ) -> NDArray[np.bool_]:
        """Return which rows are of a kind, shape (n,)."""
        if source == Source.CRITICAL:
            return severity >= CRITICAL
        shadow = self._watched.shadow
        if source == Source.DISAGREEMENT and shadow is not None:
            other = shadow.probabilities(shadow.table(frame)) >= shadow.thresholds.block
            return np.asarray((y_proba >= self._model.thresholds.block) != other)
        return np.asarray((decided == REVIEW) == (source == Source.GRAY))

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
                told = {key: value for key, value in row.items() if key != "severity"}
                severity, stratum, uncertainty = self._ranked(source, row)
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
                        **told,
                    )
                )
        return found

    def _ranked(self, source: Source, row: Mapping[str, Any]) -> tuple[int, str, float]:
        """Return severity, stratum and uncertainty of a row."""
        thresholds = self._model.thresholds
        uncertainty = _uncertainty(row["probability"], thresholds.block)
        match source:
            case Source.GRAY:
                severity, stratum = gray_severity(row["probability"], thresholds)
                return severity, stratum, uncertainty
            case Source.DISAGREEMENT:
                return DISPUTED, source.value, uncertainty
            case Source.CRITICAL:
                return row["severity"], source.value, uncertainty
        return AUDITED, row["decision"], 0.0

    def _of(self, kind: _Kind) -> tuple[float, list[tuple[float, str, dict[str, Any]]]]:
        """Return the probability at which rows of a kind entered, and the rows that did."""
        rows = sorted((-negative, digest, row) for negative, digest, row in kind.smallest)
        if len(rows) <= self.rates.most:
            return kind.share, rows
        return rows[-1][0], rows[:-1]


def draws_of(table: Table, key: bytes) -> tuple[NDArray[np.uint64], Floats]:
    """Return the keyed digest of each row, shape (n, 2), and its draw in [0, 1), shape (n,)."""
    digests = LabelledTable.unlabelled(table.frame, table.roles).digests(key)
    return digests, (digests[:, 1] >> np.uint64(64 - FRACTION_BITS)) / 2.0**FRACTION_BITS


def told_rows(
    model: TrainedModel,
    frame: pa.Table,
    y_proba: Floats,
    decided: NDArray[np.int8],
    rows: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Return what a case holds of some rows: their features, and what the model made of them.

    Args:
        model: What decided.
        frame: Raw rows, n of them.
        y_proba: Probability of class 1, shape (n,).
        decided: Place of each decision in ``DECISIONS``, shape (n,).
        rows: Which of them, shape (m,).
    """
    columns = frame.select(list(model.reads)).take(rows).to_pylist()
    return [
        {
            "features": {name: plain(value) for name, value in features.items()},
            "probability": float(y_proba[place]),
            "decision": DECISIONS[decided[place]],
        }
        for place, features in zip(rows, columns, strict=True)
    ]


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
