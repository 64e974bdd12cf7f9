"""What is kept of scored rows: exact counts and sums per score bin, label and decision.

Everything that a comparison reads follows from these cells, so two cohorts are compared at the
same cost whatever their size, and nothing of a row is kept. All sums are of integers (values in
steps of 2^-32), so cells of parts add up to the cells of the whole, to the bit and in any order.

Rows that belong together (a session, an agent) carry less evidence than as many independent
rows. What their clustering costs each statistic follows from one more thing that adds up: the
scatter, the sum over clusters of the outer product of what the cluster holds of each feature.

Reference:
    Liang and Zeger 1986 (the variance of sums over clusters).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.canonical import canonical_json
from nethical.errors import DataError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Slice = tuple[tuple[str, str], ...]

__all__ = ["EDGES", "Cells", "Scored", "Summary", "merged", "summarise"]

COARSE = 40
FINE_LOW = (0.0001, 0.001, 0.005, 0.01)
FINE_HIGH = (0.99, 0.995, 0.999, 0.9999)
EDGES = np.array(
    [0.0, *FINE_LOW, *(step / COARSE for step in range(1, COARSE)), *FINE_HIGH, 1.0],
    dtype=np.float64,
)
N_BINS = len(EDGES) - 1
NEGATIVE, POSITIVE, UNKNOWN = 0, 1, 2
ROWS, PROBA, SQUARE, LOGIT, LOSS2 = range(5)
SHAPE = (N_BINS, 3, 2, 5)
N_CELLS = N_BINS * 3 * 2
UNIT = float(1 << 32)
LOGIT_UNIT = float(1 << 24)
SMALLEST = 1e-12
CHUNK = 1 << 20  # sums of a chunk stay below 2^53: exact as floats
TP, FP, FN, TN = range(4)
SCORE = 4
N_SCORES = 20
LABELLED = SCORE + N_SCORES
RESIDUAL = LABELLED + 10
LOSS = RESIDUAL + 10
SLOPE = LOSS + 1
N_FEATURES = SLOPE + 1
PAIRS_AT_ONCE = 1 << 15
MOST_GROUPS = 400
MOST_VALUES = 50
OTHER = "(other)"
FORMAT = 1


@dataclass(frozen=True)
class Scored:
    """Rows with their probabilities.

    Args:
        y_proba: Probability of class 1, shape (n,), in [0, 1].
        y_true: 0, 1, or -1 where the label is unknown, shape (n,).
        threshold: A row is called positive from this probability on.
        clusters: Codes of rows that belong together, shape (n,), or None.
        fairness: Kinds of rows to compare: codes, shape (n,), and the value of each code.
        windows: The span of time of each row, likewise; None without times.

    Raises:
        DataError: There are no rows, or a value is not in its range.
    """

    y_proba: Floats
    y_true: NDArray[np.int8]
    threshold: float
    clusters: Ints | None = None
    fairness: Mapping[str, tuple[Ints, Sequence[str]]] = field(default_factory=dict)
    windows: tuple[Ints, Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if len(self.y_proba) == 0:
            raise DataError("there are no scored rows", mend="give a table that has rows")
        wrong = ~((self.y_proba >= 0) & (self.y_proba <= 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"row {row + 1}: the probability is {self.y_proba[row]}; "
                f"{int(wrong.sum()):,} of {len(wrong):,} rows lie outside [0, 1]",
                mend="give probabilities of class 1, between 0 and 1",
            )
        if not np.isin(self.y_true, (-1, 0, 1)).all():
            raise DataError("a label is neither 0 nor 1", mend="map the labels to 0 and 1")


@dataclass(frozen=True, eq=False)
class Cells:
    """The counts and sums of some rows.

    Args:
        sums: Rows, sum of probabilities, of their squares, of their logits, and of the squared
            Brier losses, as integers; shape (48, 3, 2, 5): bin, label (0, 1, unknown), whether
            called positive, and which sum.
        clusters: How many clusters the rows are in; None where rows are independent.
        scatter: Over clusters, shape (46, 46); None where rows are independent.
    """

    sums: Ints
    clusters: int | None = None
    scatter: Floats | None = None

    def __add__(self, other: Cells) -> Cells:
        """Return the cells of both; clustered only if both are."""
        sums = self.sums + other.sums
        if self.clusters is None or other.clusters is None:
            return Cells(sums)
        assert self.scatter is not None and other.scatter is not None  # noqa: S101, PT018
        return Cells(sums, self.clusters + other.clusters, self.scatter + other.scatter)

    def __sub__(self, part: Cells) -> Cells:
        """Return the cells of the rows that are not in a part; their clustering is not known."""
        return Cells(self.sums - part.sums)

    @property
    def rows(self) -> int:
        """How many rows."""
        return int(self.sums[..., ROWS].sum())

    @property
    def labelled(self) -> int:
        """How many rows whose label is known."""
        return int(self.sums[:, :UNKNOWN, :, ROWS].sum())

    @property
    def confusion(self) -> tuple[int, int, int, int]:
        """Rows called positive rightly and wrongly, called negative wrongly and rightly."""
        (tn, fp), (fn, tp) = self.sums[:, :UNKNOWN, :, ROWS].sum(axis=0).tolist()
        return tp, fp, fn, tn

    @property
    def flagged(self) -> int:
        """How many rows are called positive."""
        return int(self.sums[:, :, 1, ROWS].sum())

    @property
    def mean_proba(self) -> float:
        """The mean probability of all rows."""
        return float(self.sums[..., PROBA].sum()) / UNIT / self.rows

    def scores(self, n_bins: int = N_BINS) -> Ints:
        """Return how many rows lie in each score bin, shape (n_bins,): 48, 40, or a part of 40."""
        fine: Ints = self.sums[..., ROWS].sum(axis=(1, 2))
        return fine if n_bins == N_BINS else _coarse(fine).reshape(n_bins, -1).sum(axis=1)

    def bins(self, n_bins: int = 10) -> tuple[Ints, Floats, Ints, Floats]:
        """Return of labelled rows per equal bin: rows, sum of p, positives, sum of p squared."""
        known = self.sums[:, :UNKNOWN].sum(axis=2)
        positives: Ints = known[:, POSITIVE, ROWS]
        both = known.sum(axis=1)
        parts = (both[:, ROWS], both[:, PROBA] / UNIT, positives, both[:, SQUARE] / UNIT)
        n, proba, y, square = (_coarse(p).reshape(n_bins, -1).sum(axis=1) for p in parts)
        return n, proba, y, square

    def variance(self, influence: Floats) -> float:
        """Return the variance of a sum over rows, by how much each feature weighs in it.

        Args:
            influence: Shape (46,); the weighted sum over all rows must be 0.
        """
        if self.clusters is None or self.scatter is None:
            raise TypeError("rows without clusters have no scatter")
        if self.clusters < 2:  # noqa: PLR2004 - no spread in one cluster
            return math.inf
        correction = self.clusters / (self.clusters - 1)
        return correction * max(float(influence @ self.scatter @ influence), 0.0)


def _coarse(fine: NDArray[Any]) -> NDArray[Any]:
    """Return values of the fine bins by the 40 equal ones."""
    low, high = len(FINE_LOW) + 1, N_BINS - len(FINE_HIGH) - 1
    return np.concatenate([[fine[:low].sum()], fine[low:high], [fine[high:].sum()]])


@dataclass(frozen=True, eq=False)
class Summary:
    """The cells of all rows, of each fairness group (to depth 2) and of each span of time."""

    whole: Cells
    groups: Mapping[Slice, Cells] = field(default_factory=dict)
    windows: Mapping[str, Cells] = field(default_factory=dict)

    def __add__(self, other: Summary) -> Summary:
        """Return the summary of the rows of both."""
        return Summary(
            self.whole + other.whole,
            _union(self.groups, other.groups),
            _union(self.windows, other.windows),
        )

    def to_bytes(self) -> bytes:
        """Return the summary as bytes: a line of canonical JSON, then the numbers, little-endian.

        Only cells that hold rows are written, so a cohort takes a few thousand bytes.
        """
        listed: list[tuple[Any, Cells]] = [
            ("whole", self.whole),
            *((list(map(list, key)), cells) for key, cells in sorted(self.groups.items())),
            *((name, cells) for name, cells in sorted(self.windows.items())),
        ]
        used = [np.flatnonzero(c.sums.reshape(N_CELLS, 5)[:, ROWS]) for _, c in listed]
        head = {
            "format": FORMAT,
            "cells": [
                [key, len(codes), cells.clusters]
                for (key, cells), codes in zip(listed, used, strict=True)
            ],
            "groups": len(self.groups),
        }
        parts = [canonical_json(head), b"\n"]
        for (_, cells), codes in zip(listed, used, strict=True):
            parts += [
                codes.astype("<u2").tobytes(),
                cells.sums.reshape(N_CELLS, 5)[codes].astype("<i8").tobytes(),
            ]
            if cells.scatter is not None:
                parts.append(cells.scatter[np.triu_indices(N_FEATURES)].astype("<f8").tobytes())
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, content: bytes) -> Summary:
        """Return the summary that ``to_bytes`` wrote.

        Raises:
            IntegrityError: The bytes are no summary.
        """
        line, _, rest = content.partition(b"\n")
        try:
            head = json.loads(line)
            if head["format"] != FORMAT:
                raise ValueError(f"format {head['format']}")
            place, found = 0, []
            for key, n_codes, clusters in head["cells"]:
                cells, place = _read_cells(rest, place, n_codes, clusters)
                found.append((key, cells))
            if place != len(rest):
                raise ValueError("of another length")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise IntegrityError(
                f"the cells of a cohort cannot be read: {type(error).__name__}: {error}",
                mend="restore cohorts.db from a copy, or use the release that wrote it",
            ) from error
        (_, whole), *others = found
        groups, windows = others[: head["groups"]], others[head["groups"] :]
        return cls(
            whole,
            {tuple((name, value) for name, value in key): cells for key, cells in groups},
            dict(windows),
        )


def _read_cells(
    content: bytes, place: int, n_codes: int, clusters: int | None
) -> tuple[Cells, int]:
    codes = np.frombuffer(content, "<u2", n_codes, place).astype(np.int64)
    place += 2 * n_codes
    sums = np.zeros((N_CELLS, 5), dtype=np.int64)
    sums[codes] = np.frombuffer(content, "<i8", 5 * n_codes, place).reshape(n_codes, 5)
    place += 40 * n_codes
    if clusters is None:
        return Cells(sums.reshape(SHAPE)), place
    upper = np.triu_indices(N_FEATURES)
    scatter = np.zeros((N_FEATURES, N_FEATURES))
    scatter[upper] = np.frombuffer(content, "<f8", len(upper[0]), place)
    scatter.T[upper] = scatter[upper]
    return Cells(sums.reshape(SHAPE), clusters, scatter), place + 8 * len(upper[0])


def _union(a: Mapping[Any, Cells], b: Mapping[Any, Cells]) -> dict[Any, Cells]:
    both = dict(a)
    for key, cells in b.items():
        both[key] = both[key] + cells if key in both else cells
    return both


def merged(summaries: Sequence[Summary]) -> Summary:
    """Return the summary of the rows of several."""
    first, *others = summaries
    for other in others:
        first = first + other
    return first


def summarise(scored: Scored) -> Summary:
    """Return the cells of scored rows, as a whole, by fairness group and by span of time.

    A fairness column keeps its 50 most frequent values, the others count as ``(other)``; of the
    groups of two columns those with most rows are kept, 400 groups in all.
    """
    rows = _Rows(scored)
    (whole,) = rows.cells(np.zeros(len(scored.y_proba), dtype=np.int64), 1)
    columns = {n: _most_frequent(codes, v) for n, (codes, v) in scored.fairness.items()}
    groups: dict[Slice, Cells] = {}
    for name, (codes, values) in columns.items():
        found = rows.cells(codes, len(values))
        groups |= {((name, v),): c for v, c in zip(values, found, strict=True) if c.rows}
    for first, second in combinations(sorted(columns.items()), 2):
        groups |= _crossed(rows, first, second)
    windows: dict[str, Cells] = {}
    if scored.windows is not None:
        codes, names = scored.windows
        cut = rows.cells(codes, len(names))
        windows = {name: cells for name, cells in zip(names, cut, strict=True) if cells.rows}
    return Summary(whole, _largest(groups), windows)


def _crossed(
    rows: _Rows,
    first: tuple[str, tuple[Ints, list[str]]],
    second: tuple[str, tuple[Ints, list[str]]],
) -> dict[Slice, Cells]:
    """Return the cells of each pair of values of two columns that has rows."""
    (name_a, (codes_a, values_a)), (name_b, (codes_b, values_b)) = first, second
    pairs, codes = np.unique(codes_a * len(values_b) + codes_b, return_inverse=True)
    found = rows.cells(codes.astype(np.int64), len(pairs))
    keys = [divmod(int(pair), len(values_b)) for pair in pairs]
    return {
        ((name_a, values_a[a]), (name_b, values_b[b])): cells
        for (a, b), cells in zip(keys, found, strict=True)
    }


def _most_frequent(codes: Ints, values: Sequence[str]) -> tuple[Ints, list[str]]:
    if len(values) <= MOST_VALUES:
        return codes, list(values)
    order = np.argsort(-np.bincount(codes, minlength=len(values)), kind="stable")
    place = np.full(len(values), MOST_VALUES, dtype=np.int64)
    place[order[:MOST_VALUES]] = np.arange(MOST_VALUES)
    return place[codes], [*(values[int(code)] for code in order[:MOST_VALUES]), OTHER]


def _largest(groups: dict[Slice, Cells]) -> dict[Slice, Cells]:
    """Return no more groups than are kept: those of one column first, then the larger ones."""
    ordered = sorted(groups, key=lambda key: (len(key), -groups[key].rows, key))
    return {key: groups[key] for key in ordered[:MOST_GROUPS]}


class _Rows:
    """Scored rows, ready to be summed by any code."""

    def __init__(self, scored: Scored) -> None:
        p = scored.y_proba
        self.y = scored.y_true
        self.clusters = scored.clusters
        self.bin = _bin_codes(p)
        self.called = (p >= scored.threshold).astype(np.int64)
        label = np.where(self.y < 0, UNKNOWN, self.y).astype(np.int64)
        self.cell = (self.bin * 3 + label) * 2 + self.called
        clipped = np.clip(p, SMALLEST, 1 - SMALLEST)
        self.logit = np.log(clipped / (1 - clipped))
        self.loss = np.where(self.y < 0, 0.0, (p - self.y) ** 2)
        self.p = p
        self.weights = (
            np.rint(p * UNIT),
            np.rint(p * p * UNIT),
            np.rint(self.logit * LOGIT_UNIT),
            np.rint(self.loss * self.loss * UNIT),
        )

    def cells(self, codes: Ints, n_codes: int) -> list[Cells]:
        """Return the cells of the rows of each code."""
        sums = np.zeros((n_codes * N_CELLS, 5), dtype=np.int64)
        for start in range(0, len(codes), CHUNK):
            part = slice(start, start + CHUNK)
            cell = self.cell[part] + N_CELLS * codes[part] if n_codes > 1 else self.cell[part]
            sums[:, ROWS] += np.bincount(cell, minlength=len(sums))
            for place, weights in enumerate(self.weights, 1):
                added = np.bincount(cell, weights=weights[part], minlength=len(sums))
                sums[:, place] += added.astype(np.int64)
        shaped = sums.reshape(n_codes, *SHAPE)
        if self.clusters is None:
            return [Cells(one) for one in shaped]
        scattered = self._scatters(codes, n_codes)
        return [Cells(one, *more) for one, more in zip(shaped, scattered, strict=True)]

    def _scatters(self, codes: Ints, n_codes: int) -> list[tuple[int, Floats]]:
        """Return for each code how many clusters its rows are in, and their scatter."""
        assert self.clusters is not None  # noqa: S101 - asked for only with clusters
        wide = int(self.clusters.max()) + 1
        pairs, member = np.unique(codes * wide + self.clusters, return_inverse=True)
        order = np.argsort(member, kind="stable")
        member = member[order]
        code_of = pairs // wide
        clusters = np.bincount(code_of, minlength=n_codes)
        scatter = np.zeros((n_codes, N_FEATURES, N_FEATURES))
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            stop = min(start + PAIRS_AT_ONCE, len(pairs))
            begin, end = np.searchsorted(member, (start, stop))
            held = self._held(order[begin:end], member[begin:end] - start, stop - start)
            codes_here = code_of[start:stop]
            for code in range(int(codes_here[0]), int(codes_here[-1]) + 1):
                of_code = held[slice(*np.searchsorted(codes_here, (code, code + 1)))]
                scatter[code] += of_code.T @ of_code
        return list(zip(clusters.tolist(), scatter, strict=True))

    def _held(self, rows: Ints, member: Ints, n: int) -> Floats:
        """Return what each cluster holds of each feature, shape (n, 46)."""
        y, called, fine = self.y[rows], self.called[rows], self.bin[rows]
        coarse = np.clip(fine - len(FINE_LOW), 0, COARSE - 1)
        known = y >= 0
        residual = np.where(known, y - self.p[rows], 0.0)
        outcome = np.where(y == 1, np.where(called, TP, FN), np.where(called, FP, TN))
        tenth = coarse // 4
        adds = (
            (outcome, known),
            (SCORE + coarse // 2, np.ones(len(rows))),
            (LABELLED + tenth, known),
            (RESIDUAL + tenth, residual),
            (np.full(len(rows), LOSS), self.loss[rows]),
            (np.full(len(rows), SLOPE), residual * self.logit[rows]),
        )
        held = np.zeros(n * N_FEATURES)
        for feature, weights in adds:
            held += np.bincount(member * N_FEATURES + feature, weights, minlength=len(held))
        return held.reshape(n, N_FEATURES)


def _bin_codes(y_proba: Floats) -> Ints:
    """Return the fine bin of each probability: 40 equal bins, the first and last cut finer."""
    codes = np.minimum((y_proba * COARSE).astype(np.int64), COARSE - 1)
    low, high = codes == 0, codes == COARSE - 1
    codes += len(FINE_LOW)
    codes[low] = np.searchsorted(FINE_LOW, y_proba[low], side="right")
    codes[high] += np.searchsorted(FINE_HIGH, y_proba[high], side="right")
    return codes
