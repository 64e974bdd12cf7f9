"""Isolation forest: how few random cuts set a row apart, as plain arrays.

All trees grow level by level at once and are stored as full binary trees, so that scoring is a
few array look-ups a level. A node that cannot be cut sends everything to the left.

Reference:
    Liu, Ting and Zhou 2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Forest", "average_path"]

TRIES = 8
CELLS_AT_ONCE = 1 << 22
LOOKUPS_AT_ONCE = 1 << 18


def average_path(n: NDArray[np.int64]) -> Floats:
    """Return the mean number of cuts that set apart one of n rows: c(n) of the paper.

    Example:
        >>> average_path(np.array([1, 2, 3])).round(3).tolist()
        [0.0, 1.0, 1.667]
    """
    harmonic = np.append(0.0, np.cumsum(1 / np.arange(1, max(int(n.max(initial=1)), 1) + 1)))
    return np.asarray(2 * harmonic[np.maximum(n - 1, 0)] - 2 * (n - 1) / np.maximum(n, 1))


@dataclass(frozen=True)
class Forest:
    """Fitted trees of one height h.

    Args:
        columns: The column that each inner node reads, shape (trees, 2**h - 1).
        cuts: A value above the cut goes right, shape (trees, 2**h - 1).
        paths: Cuts until a row is set apart, for each leaf, shape (trees, 2**h).
        sample_rows: Rows that each tree was grown on.
    """

    columns: NDArray[np.int32]
    cuts: Floats
    paths: Floats
    sample_rows: int

    @classmethod
    def fit(
        cls, X: Floats, rng: np.random.Generator, *, n_trees: int = 100, sample_rows: int = 256
    ) -> Forest:
        """Learn from rows of shape (n, d), without gaps, n and d at least 1.

        Args:
            X: The rows.
            rng: Draws rows, columns and cuts.
            n_trees: How many trees.
            sample_rows: The rows that each is grown on, drawn without replacement.
        """
        size = min(sample_rows, len(X))
        height = max(int(np.ceil(np.log2(size))), 1)
        at_once = max(CELLS_AT_ONCE // (size * X.shape[1]), 1)
        grown = []
        for start in range(0, n_trees, at_once):
            trees = range(start, min(start + at_once, n_trees))
            drawn = np.stack([rng.choice(len(X), size, replace=False) for _ in trees])
            grown.append(_grow(X[drawn], height, rng))
        columns, cuts, paths = (np.concatenate(arrays) for arrays in zip(*grown, strict=True))
        return cls(columns, cuts, paths, size)

    def score(self, X: Floats) -> Floats:
        """Return the anomaly score of each row, shape (n,), in (0, 1]; .5 is an average row."""
        scores = np.empty(len(X))
        at_once = max(LOOKUPS_AT_ONCE // len(self.paths), 1)
        usual = max(float(average_path(np.array([self.sample_rows]))[0]), 1.0)
        for start in range(0, len(X), at_once):
            paths = self._paths(np.ascontiguousarray(X[start : start + at_once]))
            scores[start : start + at_once] = np.exp2(-paths / usual)
        return scores

    def _paths(self, X: Floats) -> Floats:
        """Return the mean path of each row, shape (n,)."""
        trees, inner = self.columns.shape
        first = np.arange(trees) * inner
        row = np.arange(len(X))[:, None] * X.shape[1]
        node = np.zeros((len(X), trees), dtype=np.int64)
        for _ in range(inner.bit_length()):
            place = node + first
            values = X.ravel().take(row + self.columns.ravel().take(place))
            node = 2 * node + 1 + (values > self.cuts.ravel().take(place))
        leaves = node - inner + np.arange(trees) * (inner + 1)
        return np.asarray(np.add.reduce(self.paths.ravel().take(leaves), axis=1) / trees)


def _grow(
    rows: Floats, height: int, rng: np.random.Generator
) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Return columns, cuts and paths of trees grown on rows of shape (trees, size, d)."""
    trees, size, d = rows.shape
    cells = rows.reshape(trees * size, d)
    columns = np.zeros((trees, 2**height - 1), dtype=np.int32)
    cuts = np.full((trees, 2**height - 1), np.inf)
    tree = np.repeat(np.arange(trees), size)
    node = np.zeros(trees * size, dtype=np.int64)  # its place within the level
    depth = np.zeros(trees * size)
    for level in range(height):
        key = tree * 2**level + node
        order = np.argsort(key, kind="stable")
        groups, group = np.unique(key, return_inverse=True)
        column, cut = _cuts(cells[order], np.bincount(group), rng)
        at = (groups >> level, 2**level - 1 + groups % 2**level)
        columns[at], cuts[at] = column, cut
        depth += np.isfinite(cut[group])
        node = 2 * node + (cells[np.arange(len(cells)), column[group]] > cut[group])
    leaf = tree * 2**height + node
    paths = np.full(trees * 2**height, float(height))
    paths[leaf] = depth + average_path(np.bincount(leaf, minlength=len(paths))[leaf])
    return columns, cuts, paths.reshape(trees, -1)


def _cuts(
    cells: Floats, sizes: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """Return for each group of rows a random column in which they differ, and a cut in it.

    Rows stand group by group, shape (m, d). A few random columns are tried first; where all of
    them are constant, every column is looked at. A group of equal rows gets an infinite cut.
    """
    column = np.zeros(len(sizes), dtype=np.int64)
    low, high = np.zeros(len(sizes)), np.zeros(len(sizes))
    group = np.repeat(np.arange(len(sizes)), sizes)
    waiting = sizes > 1
    for _ in range(TRIES):
        if not waiting.any():
            break
        column[waiting] = rng.integers(cells.shape[1], size=int(waiting.sum()))
        rows = np.flatnonzero(waiting[group])
        values = cells[rows, column[group[rows]]]
        starts = np.cumsum(sizes[waiting]) - sizes[waiting]
        low[waiting] = np.minimum.reduceat(values, starts)
        high[waiting] = np.maximum.reduceat(values, starts)
        waiting = waiting & (low == high)
    if waiting.any():
        rows = np.flatnonzero(waiting[group])
        starts = np.cumsum(sizes[waiting]) - sizes[waiting]
        lows = np.minimum.reduceat(cells[rows], starts)
        highs = np.maximum.reduceat(cells[rows], starts)
        drawn = np.where(highs > lows, rng.random(lows.shape), -1.0).argmax(axis=1)
        each = np.arange(len(drawn))
        column[waiting], low[waiting], high[waiting] = drawn, lows[each, drawn], highs[each, drawn]
    cut = low + rng.random(len(sizes)) * (high - low)
    return column, np.where(high > low, cut, np.inf)
