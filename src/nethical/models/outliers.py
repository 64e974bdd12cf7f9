"""Novelty of table rows, learnt from normal ones: tails, isolation, nearness.

Each column becomes a short sketch. Three detectors read it: how far out in the tails of the
normals the cells lie, each by itself (``Tails`` and ``Rarity``); how few random cuts set the row
apart (an isolation forest); how far it is from where normals lie (``Prototypes``).

Reference:
    Li et al. 2022 (ECOD); Liu et al. 2008 (isolation forest); Ramaswamy et al. 2000 (nearest
    neighbours); Bentley 1975 (k-d trees).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.roles import Role
from nethical.models.base import Parts
from nethical.models.features import Levels
from nethical.models.isolation import Forest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.table import Table

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

__all__ = ["TABLE_DETECTORS", "Cells", "Outliers", "Prototypes", "Rarity", "Tails"]

TABLE_DETECTORS = ("tails", "isolation forest", "nearest prototypes")
MOST_KNOTS = 256
LARGEST = 1e300
FEWEST_LEAF_ROWS = 5
MOST_PROTOTYPES = 4096
MOST_ROWS_READ = 1 << 17
NEIGHBOURS = 4
ONE_HOT_LEVELS = 16


@dataclass(frozen=True)
class Cells:
    """What the detectors read of one column.

    Args:
        nats: How far out each cell lies, shape (n,).
        values: What the forest cuts, shape (n,).
        places: Where the cell lies, shape (n, w).
        gaps: How surprising a gap is, shape (n,); 0 without one.
    """

    nats: Floats
    values: Floats
    places: Floats
    gaps: Floats

    def repeated(self, n: int) -> Cells:
        """Return the one cell that this holds, n times."""
        return Cells(
            np.repeat(self.nats, n),
            np.repeat(self.values, n),
            np.repeat(self.places, n, axis=0),
            np.repeat(self.gaps, n),
        )


@dataclass(frozen=True)
class Tails:
    """Where the normals of a numeric column lie.

    Args:
        knots: Some of their values, increasing, shape (k,), at most MOST_KNOTS.
        below: How many normals lie below each knot, shape (k,).
        upto: How many lie at it or below, shape (k,).
        present: How many have a value.
        n: How many there are.
    """

    knots: Floats
    below: Floats
    upto: Floats
    present: int
    n: int

    @classmethod
    def fit(cls, values: Floats) -> Tails:
        """Learn from values of shape (n,), NaN where missing."""
        ordered = np.sort(np.clip(values[~np.isnan(values)], -LARGEST, LARGEST))
        present = len(ordered)
        if present == 0:
            return cls(np.zeros(1), np.zeros(1), np.zeros(1), 0, len(values))
        knots, below = np.unique(ordered, return_index=True)
        upto = np.append(below[1:], present)
        if len(knots) > MOST_KNOTS:  # even in standard deviations, so fine where normals are few
            normal = NormalDist()
            end = normal.inv_cdf(1 - 0.5 / present)
            shares = np.array([normal.cdf(z) for z in np.linspace(-end, end, MOST_KNOTS)])
            ranks = np.clip(np.rint(shares * present - 0.5), 0, present - 1)
            places = np.unique(np.searchsorted(below, ranks, side="right") - 1)
            knots, below, upto = knots[places], below[places], upto[places]
        return cls(knots, below.astype(np.float64), upto.astype(np.float64), present, len(values))

    @cached_property
    def median(self) -> float:
        """The value that a typical row has."""
        return float(self.knots[int(np.searchsorted(self.upto, self.present / 2))])

    @cached_property
    def _curves(self) -> tuple[Floats, Floats]:
        """What is read at each knot: nats of the two-sided tail, normal score of the rank."""
        total = self.present + 1
        left = (self.upto + 1) / total
        right = (self.present - self.below + 1) / total
        two_sided = -np.log(np.minimum(2 * np.minimum(left, right), 1.0))
        ranks = (self.below + self.upto) / 2 / max(self.present, 1)
        edge = 0.5 / max(self.present, 1)
        normal = NormalDist()
        scores = [normal.inv_cdf(min(max(r, edge), 1 - edge)) for r in ranks.tolist()]
        return two_sided, np.array(scores) / self._spread(scores)

    def _spread(self, scores: list[float]) -> float:
        """Return the root mean square of the normals' scores, or 1."""
        weights = np.diff(np.append(0.0, self.upto))
        squares = float(np.sum(weights * np.square(scores)))
        return float(np.sqrt(squares / max(self.present, 1))) or 1.0

    @cached_property
    def _end(self) -> float:
        """The score that every value beyond all normals has at least."""
        edge = NormalDist().inv_cdf(1 - 0.5 / max(self.present, 1)) if self.present > 1 else 1.0
        return max(edge, float(np.max(np.abs(self._curves[1]))))

    def cells(self, values: Floats) -> Cells:
        """Return what the detectors read of values of shape (n,), NaN where missing.

        ``nats`` is -log of the share of normals as far out; a gap is as surprising as gaps are
        rare. ``places`` is the normal score of the value's rank among normals, 0 for a gap;
        beyond all normals it grows with the logarithm of the distance.
        """
        gaps = np.isnan(values)
        x = np.where(gaps, self.median, values)
        x = np.minimum(np.maximum(x, -LARGEST), LARGEST)
        two_sided, scores = self._curves
        nats = np.maximum(np.interp(x, self.knots, two_sided), 0.0)
        places = np.interp(x, self.knots, scores)
        excess = np.maximum(x - self.knots[-1], 0.0) - np.maximum(self.knots[0] - x, 0.0)
        outside = excess != 0
        if outside.any():
            nats[outside] = max(np.log((self.present + 1) / 2), 0.0)
            places[outside] = self._beyond(excess[outside])
        rare, nats = np.zeros(len(x)), nats - np.log((self.present + 1) / (self.n + 1))
        if gaps.any():
            rare[gaps] = nats[gaps] = -np.log((self.n - self.present + 1) / (self.n + 1))
            places[gaps] = 0.0
        return Cells(nats, x, places[:, None], rare)

    def _beyond(self, excess: Floats) -> Floats:
        """Return the scores of values that lie that far above or below all normals."""
        low, high = float(self.knots[0]), float(self.knots[-1])
        reach = high - low or abs(high) or 1.0
        with np.errstate(over="ignore"):
            far = np.log1p(np.minimum(np.abs(excess) / reach, LARGEST))
        return np.asarray(np.sign(excess) * (self._end + far))


@dataclass(frozen=True)
class Rarity:
    """How common the levels of a categorical column are among normals.

    Args:
        levels: The levels that stand in at least two rows, most frequent first.
        counts: Normals of each level, of any other, of none, shape (len(levels) + 2,).
    """

    levels: Levels
    counts: Floats

    @classmethod
    def fit(cls, texts: pa.Array) -> Rarity:
        """Learn from texts of shape (n,), null where missing."""
        levels = Levels.fit(texts)
        counts = np.bincount(levels.encode(texts), minlength=levels.n_codes)
        return cls(levels, counts.astype(np.float64))

    @cached_property
    def nats(self) -> Floats:
        """-log of the share of normals whose level is as rare or rarer, by code."""
        other = self.counts[-2]  # an unknown level is rarer than any known one
        as_rare = np.array([self.counts[self.counts <= n].sum() for n in self.counts])
        as_rare = np.where(self.counts < other, as_rare + other, as_rare)
        as_rare[-2] = other
        return np.asarray(-np.log((as_rare + 1) / (self.counts.sum() + 1)))

    @property
    def typical(self) -> int:
        """The code that most normals have."""
        return int(np.argmax(self.counts))

    @property
    def width(self) -> int:
        """Number of places in ``one_hot``."""
        return min(len(self.levels.levels), ONE_HOT_LEVELS) + 2

    def cells(self, codes: Codes) -> Cells:
        """Return what the detectors read of codes of shape (n,)."""
        nats = self.nats[codes]
        return Cells(nats, nats, self.one_hot(codes), np.zeros(len(codes)))

    def one_hot(self, codes: Codes) -> Floats:
        """Return an indicator of frequent levels, of others and of a gap, shape (n, width)."""
        hot = np.zeros((len(codes), self.width))
        frequent = np.minimum(codes, self.width - 2)
        place = np.where(codes == self.levels.n_codes - 1, self.width - 1, frequent)
        hot[np.arange(len(codes)), place] = 1.0
        return hot


def halves(places: Floats, fewest: int) -> Iterator[Codes]:
    """Yield groups of near rows: halved at the median of the widest column while that goes."""
    waiting = [np.arange(len(places))]
    while waiting:
        rows = waiting.pop()
        if len(rows) < 2 * fewest:
            yield rows
            continue
        widest = int(np.argmax(np.var(places[rows], axis=0)))
        order = np.argsort(places[rows, widest], kind="stable")
        half = len(rows) // 2
        waiting += [rows[order[:half]], rows[order[half:]]]


class Prototypes:
    """Where normals lie: the means of groups of near rows; no row is kept.

    Args:
        centres: Shape (p, d), at most MOST_PROTOTYPES, each the mean of FEWEST_LEAF_ROWS or more.
        n_neighbors: How many of the nearest count.
    """

    def __init__(self, centres: Floats, n_neighbors: int = NEIGHBOURS) -> None:
        self.centres = centres
        self.n_neighbors = n_neighbors

    @classmethod
    def fit(cls, places: Floats, n_neighbors: int = NEIGHBOURS) -> Prototypes:
        """Learn from rows of shape (n, d)."""
        fewest = max(FEWEST_LEAF_ROWS, -(-len(places) // MOST_PROTOTYPES))
        centres = np.stack([places[rows].mean(axis=0) for rows in halves(places, fewest)])
        return cls(centres, n_neighbors)

    @cached_property
    def _tree(self) -> Any:  # noqa: ANN401 - scipy has no types
        from scipy.spatial import cKDTree

        return cKDTree(self.centres)

    def distance(self, places: Floats) -> Floats:
        """Return the mean distance to the nearest prototypes, shape (n,)."""
        k = min(self.n_neighbors, len(self.centres))
        distances = np.reshape(self._tree.query(places, k=k)[0], (len(places), k))
        total = np.zeros(len(places))
        for nearest in distances.T:
            total += nearest
        return total / k


@dataclass(frozen=True)
class Outliers:
    """The fitted detectors of the numeric and categorical columns.

    Args:
        numbers: By numeric column.
        levels: By categorical column.
        forest: Reads the values and, last, the gaps.
        prototypes: Read the places and, last, the gaps.
    """

    numbers: Mapping[str, Tails]
    levels: Mapping[str, Rarity]
    forest: Forest
    prototypes: Prototypes

    @classmethod
    def fit(
        cls, table: Table, rng: np.random.Generator, *, n_neighbors: int = NEIGHBOURS, **forest: int
    ) -> Outliers:
        """Learn from normal rows with at least one numeric or categorical column.

        Args:
            table: The rows.
            rng: Draws rows, and what the forest draws.
            n_neighbors: How many of the nearest prototypes count.
            forest: What else ``Forest.fit`` takes.
        """
        numbers, levels = {}, {}
        for feature in table.features:
            if feature.feature == Role.NUMERIC:
                numbers[feature.name] = Tails.fit(table.numeric(feature.name))
            elif feature.feature == Role.CATEGORICAL:
                levels[feature.name] = Rarity.fit(table.texts(feature.name))
        if len(table) > MOST_ROWS_READ:
            table = table.take(np.sort(rng.choice(len(table), MOST_ROWS_READ, replace=False)))
        cells = _read(numbers, levels, table)
        grown = Forest.fit(_values(cells), rng, **forest)
        return cls(numbers, levels, grown, Prototypes.fit(_places(cells), n_neighbors))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (*self.numbers, *self.levels)

    def read(self, table: Table) -> list[Cells]:
        """Return the cells of each column."""
        return _read(self.numbers, self.levels, table)

    def typical(self, place: int) -> Cells:
        """Return the typical cell of a column: the median, the most frequent level, or a gap."""
        name = self.columns[place]
        if name in self.numbers:
            tails = self.numbers[name]
            usual = tails.median if 2 * tails.present >= tails.n else np.nan
            return tails.cells(np.array([usual]))
        rarity = self.levels[name]
        return rarity.cells(np.array([rarity.typical]))

    def scores(self, cells: Sequence[Cells]) -> list[Floats]:
        """Return the raw score of each detector, each of shape (n,), higher is more abnormal."""
        tails = np.zeros(len(cells[0].nats))
        for column in cells:
            tails += column.nats**2  # one cell far out counts more than many that are a bit out
        return [
            tails,
            self.forest.score(_values(cells)),
            self.prototypes.distance(_places(cells)),
        ]

    def to_parts(self) -> Parts:
        """Return this as plain values."""
        numbers, levels = self.numbers.values(), self.levels.values()
        arrays: dict[str, NDArray[Any]] = {
            "knots": _joined([t.knots for t in numbers]),
            "below": _joined([t.below for t in numbers]),
            "upto": _joined([t.upto for t in numbers]),
            "counts": _joined([r.counts for r in levels]),
            "forest.columns": self.forest.columns,
            "forest.cuts": self.forest.cuts,
            "forest.paths": self.forest.paths,
            "prototypes": self.prototypes.centres,
        }
        document: dict[str, Any] = {
            "numbers": [[name, len(t.knots), t.present, t.n] for name, t in self.numbers.items()],
            "levels": [[name, list(r.levels.levels)] for name, r in self.levels.items()],
            "sample_rows": self.forest.sample_rows,
        }
        if self.prototypes.n_neighbors != NEIGHBOURS:
            document["n_neighbors"] = self.prototypes.n_neighbors
        return Parts(document, arrays)

    @classmethod
    def from_parts(cls, parts: Parts) -> Outliers:
        """Return what ``to_parts`` gave."""
        a, numbers, levels, at = parts.arrays, {}, {}, 0
        for name, size, present, n in parts.document["numbers"]:
            rows = slice(at, at + size)
            numbers[name] = Tails(a["knots"][rows], a["below"][rows], a["upto"][rows], present, n)
            at += size
        at = 0
        for name, known in parts.document["levels"]:
            size = len(known) + 2
            levels[name] = Rarity(Levels(tuple(known)), a["counts"][at : at + size])
            at += size
        forest = Forest(
            a["forest.columns"], a["forest.cuts"], a["forest.paths"], parts.document["sample_rows"]
        )
        n_neighbors = parts.document.get("n_neighbors", NEIGHBOURS)
        return cls(numbers, levels, forest, Prototypes(a["prototypes"], n_neighbors))


def _read(numbers: Mapping[str, Tails], levels: Mapping[str, Rarity], table: Table) -> list[Cells]:
    cells = [tails.cells(table.numeric(name)) for name, tails in numbers.items()]
    for name, rarity in levels.items():
        cells.append(rarity.cells(rarity.levels.encode(table.texts(name))))
    return cells


def _gaps(cells: Sequence[Cells]) -> Floats:
    total = np.zeros(len(cells[0].gaps))
    for column in cells:
        total += column.gaps
    return total


def _values(cells: Sequence[Cells]) -> Floats:
    return np.column_stack([*(column.values for column in cells), _gaps(cells)])


def _places(cells: Sequence[Cells]) -> Floats:
    return np.column_stack([*(column.places for column in cells), _gaps(cells)])


def _joined(arrays: list[Floats]) -> Floats:
    return np.concatenate([np.empty(0), *arrays])
