"""``heuristic``: a monotone additive scorecard with integer points that a person can read.

Numbers fall into quantile bins and each further bin can only add points (or only take them
away, by the column's own direction); levels, words and items carry points whose sign is that of
their own association with the label. The weights are a sign-constrained ridge logistic
regression, found by projected Newton steps, then rounded: 20 points double the odds.

Reference:
    Bertsekas 1982 (projected Newton); Siddiqi 2006 (scorecards, points to double the odds).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nethical.data.roles import Role
from nethical.errors import TrainingError
from nethical.models.base import Fitting, Parameter, Parts, Reason, Settings, Traits, filled
from nethical.models.features import (
    Levels,
    Ngrams,
    associated_grams,
    gram_column,
    gram_kinds,
    positives_weighted,
)
from nethical.models.reasons import ranked_reasons
from nethical.models.scorecard import point_counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable, Table
    from nethical.run import Progress

    Floats = NDArray[np.float64]

__all__ = ["Heuristic", "build"]

POINTS_TO_DOUBLE_ODDS = 20
POINTS_PER_LOG_ODDS = POINTS_TO_DOUBLE_ODDS / math.log(2)
FEWEST_BIN_ROWS = 20
MOST_LEVELS = 30
STEPS_PER_EPOCH = 10
BLOCK_ROWS = 1 << 15
TOLERANCE = 1e-6
SPACE = (
    Parameter("penalty", 1.0, 0.01, 1000.0, is_log=True),
    Parameter("n_bins", 10, 2, 40, is_whole=True),
    Parameter("n_tokens", 100, 10, 500, is_whole=True, is_log=True),
    Parameter("positive_weight", 1.0, 1.0, 10.0, is_log=True),
)


@dataclass(frozen=True)
class _Draft:
    """A term before its points: which design columns a row switches on.

    Args:
        document: What the card says of the term, without points.
        codes: For bins and levels: the code of each row, shape (n,).
        design: Maps a code to design columns, shape (n_codes, width); None for tokens.
        tokens: For tokens: rows and columns of the ones.
        signs: The only sign that each design column's weight may have, 1 or -1, shape (width,).
    """

    document: dict[str, Any]
    codes: NDArray[np.int64]
    design: Floats
    signs: Floats
    tokens: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def block(self, rows: slice) -> Floats:
        """Return the design of some rows, shape (rows, width)."""
        if self.tokens is None:
            return np.asarray(self.design[self.codes[rows]])
        block = np.zeros((rows.stop - rows.start, len(self.signs)))
        low, high = np.searchsorted(self.tokens[0], [rows.start, rows.stop])
        block[self.tokens[0][low:high] - rows.start, self.tokens[1][low:high]] = 1.0
        return block


def _signs_of(codes: NDArray[np.int64], n_codes: int, table: LabelledTable) -> Floats:
    """Return the sign of each code's association with the label, shape (n_codes,)."""
    mass = np.ones(len(table)) if table.weights is None else table.weights
    n = np.bincount(codes, weights=mass, minlength=n_codes)
    hits = np.bincount(codes, weights=mass * table.y, minlength=n_codes)
    base = float(np.average(table.y, weights=mass))
    return np.asarray(np.where(hits >= base * n, 1.0, -1.0), dtype=np.float64)


def _number_draft(table: LabelledTable, name: str, most_bins: int) -> _Draft | None:
    values = table.numeric(name)
    gaps = np.isnan(values)
    present = values[~gaps]
    if len(present) == 0:
        return None
    bins = int(min(most_bins, max(len(present) // FEWEST_BIN_ROWS, 2)))
    edges = np.unique(np.quantile(present, np.arange(1, bins) / bins))
    distinct, place, counts = np.unique(present, return_inverse=True, return_counts=True)
    if len(distinct) <= most_bins:
        edges = distinct[1:]
    edges = edges[edges > present.min()]
    if len(edges) == 0:
        return None
    codes = np.searchsorted(edges, values, side="right")
    codes[gaps] = len(edges) + 1
    # Equal values share one rank: ranks by position would lean with a file sorted by label.
    rank = (np.cumsum(counts) - (counts + 1) / 2)[place]
    mass = np.ones(len(present)) if table.weights is None else table.weights[~gaps]
    above = mass * (rank - np.average(rank, weights=mass if mass.any() else None))
    direction = 1.0 if float(np.dot(above, table.y[~gaps])) >= 0 else -1.0
    steps = np.tril(np.ones((len(edges) + 1, len(edges))), k=-1)
    design = np.zeros((len(edges) + 2, len(edges) + 1))
    design[:-1, :-1] = steps
    design[-1, -1] = 1.0
    missing = _signs_of(gaps.astype(np.int64), 2, table)[1]
    signs = np.append(np.full(len(edges), direction), missing)
    document = {"kind": "bins", "column": name, "edges": edges.tolist()}
    return _Draft(document, codes, design, signs)


def _level_draft(table: LabelledTable, name: str) -> _Draft:
    levels = Levels.fit(table.texts(name), most=MOST_LEVELS)
    codes = levels.encode(table.texts(name))
    signs = _signs_of(codes, levels.n_codes, table)
    document = {"kind": "levels", "column": name, "levels": list(levels.levels)}
    return _Draft(document, codes, np.eye(levels.n_codes), signs)


def _token_draft(
    table: LabelledTable, name: str, kind: str, most_tokens: int
) -> tuple[_Draft, Ngrams] | None:
    column = gram_column(table, name, kind)
    ngrams = Ngrams.fit(column, kind)
    chosen, entries = associated_grams(table, name, ngrams, most_tokens)
    if len(chosen) == 0:
        return None
    place = np.full(len(ngrams.hashes), -1)
    place[chosen] = np.arange(len(chosen))
    columns = place[entries.columns]
    rows, columns = entries.rows[columns >= 0], columns[columns >= 0]
    mass = np.ones(len(table)) if table.weights is None else table.weights
    present = np.bincount(columns, weights=mass[rows], minlength=len(chosen))
    hits = np.bincount(columns, weights=(mass * table.y)[rows], minlength=len(chosen))
    base = float(np.average(table.y, weights=mass))
    signs = np.where(hits >= base * present, 1.0, -1.0)
    texts = ngrams.read_back(column, chosen)
    document = {
        "kind": "tokens",
        "column": name,
        "grams": kind,
        "tokens": [texts[int(i)] for i in chosen],
    }
    kept = Ngrams(kind, ngrams.hashes[chosen], np.ones(len(chosen)))
    empty = np.empty((0, 0))
    return _Draft(document, np.empty(0, dtype=np.int64), empty, signs, (rows, columns)), kept


class _Constrained:
    """Ridge logistic regression whose weights keep a sign, by projected Newton steps."""

    def __init__(
        self, drafts: list[_Draft], table: LabelledTable, values: Mapping[str, Any]
    ) -> None:
        self._drafts = drafts
        self._y = table.y.astype(np.float64)
        weights = positives_weighted(table, values["positive_weight"])
        self._weights = np.ones(len(table)) if weights is None else weights
        self._penalty: float = values["penalty"]
        self._signs = np.concatenate([*(draft.signs for draft in drafts), [1.0]])
        self._kept: Floats | None = None
        self._edges = np.cumsum([0, *(len(draft.signs) for draft in drafts)])

    def _blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield rows and their design; a small table's design is kept between steps."""
        n = len(self._y)
        if n <= BLOCK_ROWS:
            self._kept = self._design(slice(0, n)) if self._kept is None else self._kept
            yield slice(0, n), self._kept
            return
        for start in range(0, n, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, n))
            yield rows, self._design(rows)

    def _design(self, rows: slice) -> Floats:
        ones = np.ones((rows.stop - rows.start, 1))
        blocks = [draft.block(rows) for draft in self._drafts]
        return np.asarray(np.hstack([*blocks, ones]) * self._signs, dtype=np.float64)

    def solve(self, steps: int, on_step: Callable[[int], None]) -> tuple[list[Floats], float, int]:
        """Return the weights of each draft, the intercept, and the steps taken."""
        width = len(self._signs)
        beta = np.zeros(width)
        share = float(np.average(self._y, weights=self._weights))
        beta[-1] = math.log(share / (1 - share))
        value = self._loss(beta)
        taken = 0
        while taken < steps:
            taken += 1
            on_step(taken)
            gradient, hessian = self._slopes(beta)
            free = ~((beta <= 0) & (gradient > 0))
            free[-1] = True
            step = np.zeros(width)
            square = hessian[np.ix_(free, free)] + 1e-9 * np.eye(int(free.sum()))
            step[free] = np.linalg.solve(square, gradient[free])
            size, previous = 1.0, value
            while size > 1e-6:  # noqa: PLR2004 - smaller steps change nothing
                trial = beta - size * step
                trial[:-1] = np.maximum(trial[:-1], 0.0)
                value = self._loss(trial)
                if value <= previous:
                    break
                size /= 2
            beta = trial
            if previous - value <= TOLERANCE * max(abs(value), 1.0):
                break
        signed = beta * self._signs
        weights = [signed[a:b] for a, b in zip(self._edges[:-1], self._edges[1:], strict=True)]
        return weights, float(beta[-1]), taken

    def _loss(self, beta: Floats) -> float:
        """Return the objective."""
        value = self._penalty * float(np.sum(beta[:-1] ** 2)) / 2
        for rows, design in self._blocks():
            z = design @ beta
            value += float(np.sum(self._weights[rows] * (np.logaddexp(0, z) - self._y[rows] * z)))
        return value

    def _slopes(self, beta: Floats) -> tuple[Floats, Floats]:
        """Return the gradient and the Hessian of the objective."""
        ridge = np.append(np.full(len(beta) - 1, self._penalty), 0.0)
        gradient = ridge * beta
        hessian = np.diag(ridge)
        for rows, design in self._blocks():
            z = design @ beta
            y, weights = self._y[rows], self._weights[rows]
            p = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
            gradient += design.T @ (weights * (p - y))
            hessian += (design * (weights * p * (1 - p))[:, None]).T @ design
        return gradient, hessian


class Heuristic:
    """A scorecard; ``card`` is the JSON table that says everything about it."""

    model_type = "heuristic"
    traits = Traits(space=SPACE)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._values: dict[str, Any] = dict(filled(SPACE, settings.parameters))
        self.card: dict[str, Any] = {"terms": []}
        self._ngrams: dict[int, Ngrams] = {}
        self._centres: list[float] = []
        self.fitting = Fitting(None)

    def fit(self, table: LabelledTable, *, rng: np.random.Generator, progress: Progress) -> Self:
        """Learn from labelled rows and return self."""
        del rng  # nothing is drawn
        drafts = self._drafts(table)
        if not drafts:
            raise TrainingError(
                "no column tells the classes apart, so there is nothing to put on a scorecard",
                mend="add columns, or try --model-type boosted",
            )
        share = float(np.average(table.y, weights=table.weights))
        if not 0 < share < 1:
            raise TrainingError(
                "the rows to learn from are all of one class", mend="add rows of the other class"
            )
        steps = self._settings.epochs * STEPS_PER_EPOCH
        weights, intercept, taken = _Constrained(drafts, table, self._values).solve(
            steps, lambda step: progress("fit heuristic", step, steps)
        )
        self.card = {
            "points_to_double_odds": POINTS_TO_DOUBLE_ODDS,
            "intercept": intercept,
            "terms": [_term(d, w) for d, w in zip(drafts, weights, strict=True)],
        }
        shares = [self._points(i, term, table) for i, term in enumerate(self.card["terms"])]
        self._centres = [float(np.mean(share)) for share in shares]
        self.fitting = Fitting(
            epochs_run=taken / STEPS_PER_EPOCH,
            notes=("--batch-size has no effect: each step reads all rows",),
            details={"terms": len(drafts)},
        )
        return self

    def _drafts(self, table: LabelledTable) -> list[_Draft]:
        """Return the terms of a table before they have points, and keep their n-grams."""
        drafts: list[_Draft] = []
        self._ngrams = {}
        for feature in table.features:
            name, kind = feature.name, feature.feature
            if kind == Role.NUMERIC:
                draft = _number_draft(table, name, self._values["n_bins"])
                drafts += [draft] if draft else []
            elif kind == Role.CATEGORICAL:
                drafts.append(_level_draft(table, name))
            for grams in gram_kinds(kind):
                if grams == "characters":
                    continue
                found = _token_draft(table, name, grams, self._values["n_tokens"])
                if found:
                    self._ngrams[len(drafts)] = found[1]
                    drafts.append(found[0])
        return drafts

    def score(self, table: Table) -> Floats:
        """Return the log-odds of each row, shape (n,)."""
        points = np.zeros(len(table))
        for i, term in enumerate(self.card["terms"]):
            points += self._points(i, term, table)
        return points / POINTS_PER_LOG_ODDS + float(self.card["intercept"])

    def _points(self, place: int, term: Mapping[str, Any], table: Table) -> Floats:
        """Return the points that each row gets from a term, shape (n,)."""
        name = term["column"]
        if term["kind"] == "bins":
            values = table.numeric(name)
            points = np.array([*term["points"], term["missing"]], dtype=np.float64)
            codes = np.searchsorted(np.array(term["edges"]), values, side="right")
            codes[np.isnan(values)] = len(points) - 1
            return np.asarray(points[codes], dtype=np.float64)
        if term["kind"] == "levels":
            levels = Levels(tuple(term["points"]))
            points = np.array([*term["points"].values(), term["other"], term["missing"]], float)
            return np.asarray(points[levels.encode(table.texts(name))], dtype=np.float64)
        entries = self._ngrams[place].transform(gram_column(table, name, term["grams"]))
        points = np.array([point for _, point in term["points"]], dtype=np.float64)
        hits = np.bincount(entries.rows, weights=points[entries.columns], minlength=len(table))
        return np.asarray(hits, dtype=np.float64)

    def row_scorer(self) -> Callable[[Mapping[str, Any]], float] | None:
        """Return a plain scorer of one row; None with texts or sequences."""
        if self._ngrams:
            return None
        count = point_counter(self.card)
        intercept = float(self.card["intercept"])
        return lambda row: count(row) / POINTS_PER_LOG_ODDS + intercept

    def explain(self, table: Table, top: int) -> list[list[Reason]]:
        """Return for each row the columns that move its log-odds most."""
        by_column: dict[str, Floats] = {}
        for i, (term, centre) in enumerate(zip(self.card["terms"], self._centres, strict=True)):
            share = (self._points(i, term, table) - centre) / POINTS_PER_LOG_ODDS
            by_column[term["column"]] = by_column.get(term["column"], np.zeros(len(table))) + share
        return ranked_reasons(table, by_column, top)

    def to_parts(self) -> Parts:
        """Return the model as plain values."""
        arrays = {f"term{i}.hashes": ngrams.hashes for i, ngrams in self._ngrams.items()}
        return Parts({"card": self.card, "centres": self._centres}, arrays)

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Return the model that ``to_parts`` gave."""
        model = cls(Settings())
        model.card = dict(parts.document["card"])
        model._centres = list(parts.document["centres"])
        for i, term in enumerate(model.card["terms"]):
            if term["kind"] == "tokens":
                hashes = parts.arrays[f"term{i}.hashes"]
                model._ngrams[i] = Ngrams(term["grams"], hashes, np.ones(len(hashes)))
        return model


def _term(draft: _Draft, weights: Floats) -> dict[str, Any]:
    """Return a term of the card: a draft with its weights as points."""
    document = dict(draft.document)
    if document["kind"] == "bins":
        points = _rounded(draft.design @ weights)
        missing, seen = points[-1], np.bincount(draft.codes, minlength=len(points))
        if not seen[-1]:  # a gap that training never saw is worth the average row's points
            missing = round(float(np.average(points, weights=seen)))
        return {**document, "points": points[:-1], "missing": missing}
    points = _rounded(weights)
    if document["kind"] == "levels":
        levels = document.pop("levels")
        by_level = dict(zip(levels, points, strict=False))
        return {**document, "points": by_level, "other": points[-2], "missing": points[-1]}
    tokens = document.pop("tokens")
    return {**document, "points": [list(pair) for pair in zip(tokens, points, strict=True)]}


def _rounded(log_odds: Floats) -> list[int]:
    return [int(point) for point in np.rint(log_odds * POINTS_PER_LOG_ODDS)]


def build(settings: Settings) -> Heuristic:
    """Return an unfitted model."""
    return Heuristic(settings)
