"""``logistic``: penalised logistic regression on numbers, levels and n-grams.

Numbers are standardised, with an indicator where missing, levels are one-hot, texts and
sequences are TF-IDF n-grams. The solver is L-BFGS over a loss and gradient that are summed over
blocks of rows in order, so the same data give the same bytes whatever the threads. A score is
the log-odds: a sum of one contribution a column, computed in the same order for one row as for
many.

Reference:
    Hastie, Tibshirani and Friedman 2009, section 4.4; Liu and Nocedal 1989 (L-BFGS).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from nethical.data.roles import Role
from nethical.models.base import Fitting, Parameter, Parts, Reason, Settings, Traits, filled
from nethical.models.features import (
    LARGEST_SCORE,
    Levels,
    Ngrams,
    Numbers,
    gram_column,
    gram_kinds,
    level_text,
    positives_weighted,
)
from nethical.models.reasons import ranked_reasons

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable, Table
    from nethical.models.features import SparseRows
    from nethical.run import Progress

    Floats = NDArray[np.float64]

__all__ = ["Logistic", "build"]

BLOCK_ROWS = 1 << 14
PASSES_PER_EPOCH = 10
TOLERANCE = 1e-6
SPACE = (
    Parameter("penalty", 1.0, 0.01, 1000.0, is_log=True),
    # Each row has unit length over many n-grams: their weights must be larger.
    Parameter("gram_penalty", 0.1, 0.001, 100.0, is_log=True),
    Parameter("positive_weight", 1.0, 1.0, 10.0, is_log=True),
)


class _Design(Protocol):
    """Columns of the design matrix that belong to one term."""

    @property
    def width(self) -> int:
        """Number of columns."""

    def add_dot(self, z: Floats, weights: Floats, rows: slice) -> None:
        """Add this block times weights to z, for some rows."""

    def add_transposed(self, gradient: Floats, residual: Floats, rows: slice) -> None:
        """Add this block, transposed, times the residual of some rows to the gradient."""


@dataclass(frozen=True)
class _Dense:
    matrix: Floats

    @property
    def width(self) -> int:
        return int(self.matrix.shape[1])

    def add_dot(self, z: Floats, weights: Floats, rows: slice) -> None:
        z += self.matrix[rows] @ weights

    def add_transposed(self, gradient: Floats, residual: Floats, rows: slice) -> None:
        gradient += residual @ self.matrix[rows]


@dataclass(frozen=True)
class _OneHot:
    codes: NDArray[np.int64]
    width: int

    def add_dot(self, z: Floats, weights: Floats, rows: slice) -> None:
        z += weights[self.codes[rows]]

    def add_transposed(self, gradient: Floats, residual: Floats, rows: slice) -> None:
        gradient += np.bincount(self.codes[rows], weights=residual, minlength=self.width)


class _Sparse:
    def __init__(self, entries: SparseRows, width: int) -> None:
        from scipy.sparse import csr_array

        self.width = width
        pointers = np.searchsorted(entries.rows, np.arange(entries.n_rows + 1))
        matrix = csr_array(
            (entries.values, entries.columns, pointers), shape=(entries.n_rows, width)
        )
        starts = range(0, entries.n_rows, BLOCK_ROWS)
        self._blocks = {start: matrix[start : start + BLOCK_ROWS] for start in starts}

    def add_dot(self, z: Floats, weights: Floats, rows: slice) -> None:
        z += self._blocks[rows.start] @ weights

    def add_transposed(self, gradient: Floats, residual: Floats, rows: slice) -> None:
        gradient += self._blocks[rows.start].T @ residual


class _Term(Protocol):
    """One column's share of the log-odds."""

    @property
    def column(self) -> str:
        """The column it reads."""

    def design(self, table: Table) -> _Design:
        """Return what the solver multiplies by this term's weights."""

    def with_weights(self, weights: Floats) -> _Term:
        """Return the term with its weights, shape (width,)."""

    def shares(self, table: Table) -> Floats:
        """Return the share of each row, shape (n,)."""

    def to_parts(self) -> Parts:
        """Return the term as plain values."""


@dataclass(frozen=True)
class _Number:
    column: str
    numbers: Numbers
    weight: float = 0.0
    missing: float = 0.0

    def design(self, table: Table) -> _Dense:
        values = table.numeric(self.column)
        scaled = self.numbers.scaled(values)
        gaps = np.isnan(values)
        if not gaps.any():
            return _Dense(scaled[:, None])
        return _Dense(np.column_stack([np.where(gaps, 0.0, scaled), gaps]))

    def with_weights(self, weights: Floats) -> _Number:
        missing = float(weights[1]) if len(weights) > 1 else 0.0
        return _Number(self.column, self.numbers, float(weights[0]), missing)

    def shares(self, table: Table) -> Floats:
        values = table.numeric(self.column)
        shares = self.numbers.scaled(values) * self.weight
        gaps = np.isnan(shares)
        return np.where(gaps, self.missing, shares) if gaps.any() else shares

    def to_parts(self) -> Parts:
        values = {"mean": self.numbers.mean, "scale": self.numbers.scale}
        values |= {"weight": self.weight, "missing": self.missing}
        return Parts({"kind": "number", "column": self.column, **values})


@dataclass(frozen=True)
class _Level:
    column: str
    levels: Levels
    weights: tuple[float, ...] = ()

    def design(self, table: Table) -> _OneHot:
        return _OneHot(self.levels.encode(table.texts(self.column)), self.levels.n_codes)

    def with_weights(self, weights: Floats) -> _Level:
        return _Level(self.column, self.levels, tuple(weights.tolist()))

    def shares(self, table: Table) -> Floats:
        return np.array(self.weights)[self.levels.encode(table.texts(self.column))]

    def to_parts(self) -> Parts:
        values = {"levels": list(self.levels.levels), "weights": list(self.weights)}
        return Parts({"kind": "levels", "column": self.column, **values})


@dataclass(frozen=True)
class _Gram:
    column: str
    ngrams: Ngrams
    weights: Floats

    def design(self, table: Table) -> _Sparse:
        entries = self.ngrams.transform(gram_column(table, self.column, self.ngrams.kind))
        return _Sparse(entries, len(self.ngrams.hashes))

    def with_weights(self, weights: Floats) -> _Gram:
        return _Gram(self.column, self.ngrams, weights)

    def shares(self, table: Table) -> Floats:
        column = gram_column(table, self.column, self.ngrams.kind)
        return self.ngrams.transform(column).dot(self.weights)

    def to_parts(self) -> Parts:
        document = {"kind": "ngrams", "column": self.column, "grams": self.ngrams.kind}
        arrays = {"hashes": self.ngrams.hashes, "idf": self.ngrams.idf, "weights": self.weights}
        return Parts(document, arrays)


def _fit_terms(table: Table) -> list[_Term]:
    """Return the unweighted terms of a table: numbers, then levels, then n-grams."""
    named = {role: [f.name for f in table.features if f.feature == role] for role in Role}
    terms: list[_Term] = [
        _Number(name, Numbers.fit(table.numeric(name))) for name in named[Role.NUMERIC]
    ]
    terms += [_Level(name, Levels.fit(table.texts(name))) for name in named[Role.CATEGORICAL]]
    for feature in table.features:
        for kind in gram_kinds(feature.feature):
            ngrams = Ngrams.fit(gram_column(table, feature.name, kind), kind)
            terms.append(_Gram(feature.name, ngrams, np.zeros(len(ngrams.hashes))))
    return terms


def _joined(designs: list[_Design]) -> list[_Design]:
    """Return the designs with the dense ones, which come first, as one matrix."""
    dense = [design.matrix for design in designs if isinstance(design, _Dense)]
    rest = [design for design in designs if not isinstance(design, _Dense)]
    return [_Dense(np.hstack(dense)), *rest] if dense else rest


class _Problem:
    """Mean log-loss with an L2 penalty over the weights, the intercept left free."""

    def __init__(self, terms: list[_Term], table: LabelledTable, values: Mapping[str, Any]) -> None:
        designs = [term.design(table) for term in terms]
        self._term_edges = np.cumsum([0, *(design.width for design in designs)])
        self._designs = _joined(designs)
        self._edges = np.cumsum([0, *(design.width for design in self._designs)])
        self._y = table.y.astype(np.float64)
        self._weights = positives_weighted(table, values["positive_weight"])
        self._total = float(len(table) if self._weights is None else self._weights.sum())
        self.width = int(self._edges[-1]) + 1
        grams = [isinstance(term, _Gram) for term in terms]
        widths = np.diff(self._term_edges)
        penalties = np.repeat(np.where(grams, values["gram_penalty"], values["penalty"]), widths)
        self._penalties = np.append(penalties, 0.0)

    def blocks(self) -> list[slice]:
        """Return the rows of each block."""
        n = len(self._y)
        return [slice(i, min(i + BLOCK_ROWS, n)) for i in range(0, n, BLOCK_ROWS)]

    def log_odds(self, beta: Floats, rows: slice) -> Floats:
        """Return the log-odds of some rows."""
        z = np.full(rows.stop - rows.start, beta[-1])
        for design, low, high in zip(self._designs, self._edges[:-1], self._edges[1:], strict=True):
            design.add_dot(z, beta[low:high], rows)
        return z

    def loss(self, beta: Floats) -> tuple[float, Floats]:
        """Return the objective and its gradient."""
        value = 0.0
        gradient = np.zeros(self.width)
        for rows in self.blocks():
            z = self.log_odds(beta, rows)
            y = self._y[rows]
            tail = np.exp(-np.abs(z))
            losses = np.log1p(tail) + np.maximum(z, 0) - y * z
            residual = np.where(z >= 0, 1.0, tail) / (1 + tail) - y
            if self._weights is not None:
                losses *= self._weights[rows]
                residual *= self._weights[rows]
            value += float(losses.sum())
            for design, low, high in zip(
                self._designs, self._edges[:-1], self._edges[1:], strict=True
            ):
                design.add_transposed(gradient[low:high], residual, rows)
            gradient[-1] += residual.sum()
        pull = self._penalties * beta
        value += float(pull @ beta) / 2
        gradient += pull
        return value / self._total, gradient / self._total

    def solve(self, passes: int, on_pass: Callable[[int], None]) -> _Solution:
        """Return the minimiser, in at most this many passes over the rows."""
        from scipy.optimize import minimize

        used, lowest, best = 0, np.inf, np.zeros(self.width)

        def objective(beta: Floats) -> tuple[float, Floats]:
            nonlocal used, lowest, best
            if used == passes:
                raise _SpentError
            used += 1
            on_pass(used)
            value, gradient = self.loss(beta)
            if value < lowest:
                lowest, best = value, beta.copy()
            return value, gradient

        try:
            found = minimize(
                objective,
                np.zeros(self.width),
                jac=True,
                method="L-BFGS-B",
                options={"maxfun": passes, "maxiter": passes, "gtol": TOLERANCE, "ftol": 1e-10},
            )
        except _SpentError:
            return _Solution(best, used, converged=False)
        return _Solution(np.asarray(found.x), used, converged=bool(found.success))

    def split_edges(self, beta: Floats) -> list[Floats]:
        """Return the weights of each term."""
        edges = self._term_edges
        return [beta[low:high] for low, high in pairwise(edges)]


class _SpentError(Exception):
    """All passes are used, maybe in the middle of a line search."""


@dataclass(frozen=True)
class _Solution:
    beta: Floats
    passes: int
    converged: bool


class Logistic:
    """Penalised logistic regression; see the module for what it reads and how it is solved."""

    model_type = "logistic"
    traits = Traits(space=SPACE)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._values = filled(SPACE, settings.parameters)
        self._terms: list[_Term] = []
        self._intercept = 0.0
        self._centres: list[float] = []
        self.fitting = Fitting(None)

    def fit(self, table: LabelledTable, *, rng: np.random.Generator, progress: Progress) -> Self:
        """Learn from labelled rows and return self."""
        del rng  # nothing is drawn
        passes = self._settings.epochs * PASSES_PER_EPOCH

        def on_pass(used: int) -> None:
            progress("fit logistic", used, passes)

        terms = _fit_terms(table)
        problem = _Problem(terms, table, self._values)
        solution = problem.solve(passes, on_pass)
        weights = problem.split_edges(solution.beta)
        self._terms = [term.with_weights(w) for term, w in zip(terms, weights, strict=True)]
        self._intercept = float(solution.beta[-1])
        self._centres = [float(np.mean(term.shares(table))) for term in self._terms]
        stopped = () if solution.converged else (f"not converged in {solution.passes} passes",)
        self.fitting = Fitting(
            epochs_run=solution.passes / PASSES_PER_EPOCH,
            notes=("--batch-size has no effect: each pass reads all rows", *stopped),
            details={"weights": problem.width},
        )
        return self

    def score(self, table: Table) -> Floats:
        """Return the log-odds of each row, shape (n,)."""
        z = np.full(len(table), self._intercept)
        for term in self._terms:
            z += term.shares(table)
        return z

    def row_scorer(self) -> Callable[[Mapping[str, Any]], float] | None:
        """Return a plain scorer of one row; None with texts or sequences."""
        numbers = [t for t in self._terms if isinstance(t, _Number)]
        levels = [t for t in self._terms if isinstance(t, _Level)]
        if len(numbers) + len(levels) < len(self._terms):
            return None
        linear = [(t.column, t.numbers.mean, t.numbers.scale, t.weight, t.missing) for t in numbers]
        one_hot = [
            (
                t.column,
                dict(zip(t.levels.levels, t.weights, strict=False)),
                t.weights[-2],
                t.weights[-1],
            )
            for t in levels
        ]
        intercept = self._intercept

        def score_row(row: Mapping[str, Any]) -> float:
            z = intercept
            for column, mean, scale, weight, missing in linear:
                value = row.get(column)
                if value is None or value - value != 0:
                    z += missing
                else:
                    score = (value - mean) / scale
                    if score > LARGEST_SCORE:
                        score = LARGEST_SCORE
                    elif score < -LARGEST_SCORE:
                        score = -LARGEST_SCORE
                    z += score * weight
            for column, by_level, other, absent in one_hot:
                text = level_text(row.get(column))
                z += absent if text is None else by_level.get(text, other)
            return float(z)

        return score_row

    def explain(self, table: Table, top: int) -> list[list[Reason]]:
        """Return for each row the columns that move its log-odds most."""
        by_column: dict[str, Floats] = {}
        for term, centre in zip(self._terms, self._centres, strict=True):
            share = term.shares(table) - centre
            by_column[term.column] = by_column.get(term.column, 0.0) + share
        return ranked_reasons(table, by_column, top)

    def to_parts(self) -> Parts:
        """Return the model as plain values."""
        arrays: dict[str, NDArray[Any]] = {}
        documents = []
        for i, term in enumerate(self._terms):
            parts = term.to_parts()
            documents.append(dict(parts.document))
            arrays |= {f"term{i}.{name}": array for name, array in parts.arrays.items()}
        return Parts(
            {"intercept": self._intercept, "terms": documents, "centres": self._centres}, arrays
        )

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Return the model that ``to_parts`` gave."""
        model = cls(Settings())
        model._intercept = parts.document["intercept"]
        model._centres = list(parts.document["centres"])
        for i, document in enumerate(parts.document["terms"]):
            model._terms.append(_read_term(document, parts.arrays, f"term{i}."))
        return model


def _read_term(
    document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], prefix: str
) -> _Term:
    column = document["column"]
    if document["kind"] == "number":
        numbers = Numbers(document["mean"], document["scale"])
        return _Number(column, numbers, document["weight"], document["missing"])
    if document["kind"] == "levels":
        return _Level(column, Levels(tuple(document["levels"])), tuple(document["weights"]))
    ngrams = Ngrams(document["grams"], arrays[f"{prefix}hashes"], arrays[f"{prefix}idf"])
    return _Gram(column, ngrams, arrays[f"{prefix}weights"])


def build(settings: Settings) -> Logistic:
    """Return an unfitted model."""
    return Logistic(settings)
