"""Encoders that model types share: numbers, levels, n-grams.

Each encoder learns from one column of the train part and is plain values; each turns a column
into something a linear model or a tree can read, one row at a time independent of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nethical.data.roles import Role
from nethical.models.ngrams import grams
from nethical.models.scorecard import value_text

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable, Table

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

__all__ = [
    "LARGEST_SCORE",
    "Levels",
    "Ngrams",
    "Numbers",
    "SparseRows",
    "associated_grams",
    "gram_column",
    "gram_kinds",
    "level_text",
    "positives_weighted",
]

MAX_LEVELS = 255
LARGEST_SCORE = 3.0
FEWEST_LEVEL_ROWS = 2
MAX_GRAMS = 1 << 17
MAX_DOCUMENT_SHARE = 0.98


@dataclass(frozen=True)
class Numbers:
    """Standardises a numeric column, three standard deviations either way at most.

    Heavy tails would else decide a linear model; a missing value reads as the mean.

    Args:
        mean: Of the present values.
        scale: Their standard deviation, or 1.
    """

    mean: float
    scale: float

    def scaled(self, values: Floats) -> Floats:
        """Return standard scores, shape (n,), within LARGEST_SCORE; NaN stays NaN."""
        return np.clip((values - self.mean) / self.scale, -LARGEST_SCORE, LARGEST_SCORE)

    @classmethod
    def fit(cls, values: Floats) -> Numbers:
        """Learn from values of shape (n,), NaN where missing."""
        present = values[~np.isnan(values)] if np.isnan(values.sum()) else values
        if len(present) == 0:
            return cls(0.0, 1.0)
        mean, scale = float(np.mean(present)), float(np.std(present))
        usable = np.isfinite(mean) and np.isfinite(scale) and scale > 1e-12 * abs(mean)
        return cls(mean, scale) if usable else cls(mean if np.isfinite(mean) else 0.0, 1.0)


@dataclass(frozen=True)
class Levels:
    """Codes of a categorical column: frequent levels, then other, then missing.

    Args:
        levels: The frequent ones, most frequent first; their code is their place.
    """

    levels: tuple[str, ...]

    @classmethod
    def fit(cls, texts: pa.Array, *, most: int = MAX_LEVELS) -> Levels:
        """Learn from texts of shape (n,), null where missing."""
        import pyarrow.compute as pc

        counts = pc.value_counts(texts.drop_null())
        pairs = zip(
            counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True
        )
        ranked = sorted(
            ((text, n) for text, n in pairs if n >= FEWEST_LEVEL_ROWS), key=lambda p: (-p[1], p[0])
        )
        return cls(tuple(text for text, _ in ranked[:most]))

    @property
    def n_codes(self) -> int:
        """Number of codes: the levels, other, missing."""
        return len(self.levels) + 2

    def names(self) -> tuple[str, ...]:
        """Return what each code stands for."""
        return (*self.levels, "(other)", "(missing)")

    def encode(self, texts: pa.Array) -> Codes:
        """Return the code of each text, shape (n,)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.index_in(texts, pa.array(self.levels, pa.large_string()))
        codes = found.fill_null(len(self.levels)).to_numpy(zero_copy_only=False).astype(np.int64)
        if texts.null_count:
            codes[texts.is_null().to_numpy(zero_copy_only=False)] = len(self.levels) + 1
        return np.asarray(codes)


def level_text(value: object) -> str | None:
    """Return a single value as ``Table.texts`` reads it in a column."""
    if value is None or value == "" or value != value:  # noqa: PLR0124 - NaN is missing
        return None
    return value_text(value)


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix by rows: entry k stands in row ``rows[k]`` and column ``columns[k]``.

    Args:
        n_rows: Number of rows.
        rows: Increasing, shape (m,).
        columns: Shape (m,).
        values: Shape (m,).
    """

    n_rows: int
    rows: Codes
    columns: Codes
    values: Floats

    def dot(self, weights: Floats) -> Floats:
        """Return the matrix times a vector, shape (n_rows,); a row's sum knows only its row."""
        products = self.values * weights[self.columns]
        return np.asarray(
            np.bincount(self.rows, weights=products, minlength=self.n_rows), dtype=np.float64
        )


@dataclass(frozen=True)
class Ngrams:
    """TF-IDF of the n-grams of a text or sequence column, rows of unit length.

    Args:
        kind: words, characters or items.
        hashes: The known n-grams, increasing, shape (v,).
        idf: Their inverse document frequency, shape (v,).

    Reference:
        Salton and Buckley 1988; logarithmic counts, smoothed idf.
    """

    kind: str
    hashes: NDArray[np.uint64]
    idf: Floats

    @classmethod
    def fit(cls, column: pa.Array, kind: str) -> Ngrams:
        """Learn from texts, or lists of texts, of shape (n,)."""
        known: list[NDArray[np.uint64]] = []
        frequencies: list[Codes] = []
        for chunk in grams(column, kind):
            hashes, codes = np.unique(chunk.hashes, return_inverse=True)
            pairs = np.unique(chunk.rows * len(hashes) + codes)
            known.append(hashes)
            frequencies.append(np.bincount(pairs % max(len(hashes), 1), minlength=len(hashes)))
        if not known:
            return cls(kind, np.empty(0, dtype=np.uint64), np.empty(0))
        hashes, codes = np.unique(np.concatenate(known), return_inverse=True)
        frequency = np.bincount(codes, weights=np.concatenate(frequencies), minlength=len(hashes))
        n = len(column)
        keep = (frequency >= 2) & (frequency <= max(MAX_DOCUMENT_SHARE * n, 2))  # noqa: PLR2004
        if keep.sum() > MAX_GRAMS:
            cut = np.sort(frequency[keep])[-MAX_GRAMS]
            keep &= frequency > cut
        idf = np.log((1 + n) / (1 + frequency[keep])) + 1
        return cls(kind, hashes[keep], idf)

    def transform(self, column: pa.Array) -> SparseRows:
        """Return the TF-IDF rows of a column."""
        rows, columns, values = [], [], []
        for chunk in grams(column, self.kind):
            at, found = self._look_up(chunk.hashes)
            key = chunk.rows[found] * max(len(self.hashes), 1) + at
            pairs, counts = np.unique(key, return_counts=True)
            row, col = np.divmod(pairs, max(len(self.hashes), 1))
            weight = (1 + np.log(counts)) * self.idf[col]
            norms = np.sqrt(np.bincount(row, weights=weight**2, minlength=chunk.n_rows))
            rows.append(row + chunk.first_row)
            columns.append(col)
            values.append(weight / norms[row])
        if not rows:
            empty = np.empty(0, dtype=np.int64)
            return SparseRows(len(column), empty, empty, np.empty(0))
        return SparseRows(
            len(column), np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
        )

    def read_back(self, column: pa.Array, wanted: Codes) -> dict[int, str]:
        """Return the text of these n-grams as they stand in a column, by their place."""
        texts: dict[int, str] = {}
        is_wanted = np.zeros(len(self.hashes), dtype=bool)
        is_wanted[wanted] = True
        for chunk in grams(column, self.kind):
            at, found = self._look_up(chunk.hashes)
            for place in np.flatnonzero(is_wanted[at]).tolist():
                if int(at[place]) not in texts:
                    texts[int(at[place])] = chunk.texts[int(np.flatnonzero(found)[place])]
            if len(texts) == len(wanted):
                break
        return texts

    def _look_up(self, hashes: NDArray[np.uint64]) -> tuple[Codes, NDArray[np.bool_]]:
        """Return the place of each known hash, and which hashes are known."""
        if len(self.hashes) == 0:
            return np.empty(0, dtype=np.int64), np.zeros(len(hashes), dtype=bool)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        found = self.hashes[at] == hashes
        return at[found], found


def positives_weighted(table: LabelledTable, positive_weight: float) -> Floats | None:
    """Return the weight of each row, shape (n,), positives so many times heavier; None if all 1."""
    if positive_weight == 1:
        return table.weights
    heavier = np.where(table.y == 1, positive_weight, 1.0)
    return heavier if table.weights is None else heavier * table.weights


def gram_kinds(feature: Role | None) -> tuple[str, ...]:
    """Return the kinds of n-grams of a text or sequence feature; none for other features."""
    if feature == Role.TEXT:
        return ("words", "characters")
    return ("items",) if feature == Role.SEQUENCE else ()


def gram_column(table: Table, name: str, kind: str) -> pa.Array:
    """Return the column that n-grams of a kind are read from."""
    return table.items(name) if kind == "items" else table.texts(name)


def associated_grams(
    table: LabelledTable, name: str, grams_of: Ngrams, most: int
) -> tuple[Codes, SparseRows]:
    """Return the n-grams that tell the classes apart best, increasing, and all TF-IDF rows.

    Args:
        table: The train part.
        name: A text or sequence column.
        grams_of: Its fitted n-grams.
        most: How many to return at most.

    Reference:
        The chi-square of presence against label (Yang and Pedersen 1997).
    """
    rows = grams_of.transform(gram_column(table, name, grams_of.kind))
    size = len(grams_of.hashes)
    n, positives = len(table), float(table.y.sum())
    present = np.bincount(rows.columns, minlength=size).astype(np.float64)
    hits = np.bincount(rows.columns, weights=table.y[rows.rows], minlength=size)
    expected = present * positives / n
    spread = present * (1 - present / n) * (positives / n) * (1 - positives / n)
    chi_square = (hits - expected) ** 2 / np.maximum(spread, 1e-9)
    chi_square[present < max(5, 0.002 * n)] = 0.0
    order = np.lexsort((np.arange(size), -chi_square))[:most]
    return np.sort(order[chi_square[order] > 3.84]), rows  # noqa: PLR2004 - chi-square at .05
