"""``anomaly``: how abnormal a row is, learnt from normal rows alone.

Numeric and categorical columns are read together (``outliers``), each sequence column by itself,
and each text column as the sequence of its lower-cased words (``novelty``). About a fifth of the
normals is held out, groups whole. Among them every detector's score has a conformal p-value; the
detectors of a part are joined into a p-value of the part, and the parts into one of the row. A
score is -log10 of the row's p-value: 1 is one normal in ten, 2 one in a hundred.

Risks are joined by their norm, the root of the sum of squares. One that stands out is heard as if
it were alone, and several that agree say more than one. Rows of class 1 are never read, nor are
weights.

Reference:
    Laxhammar and Falkman 2011 (conformal anomaly detection); ``outliers``, ``isolation``,
    ``novelty`` and ``conformal`` name those of their methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from nethical.data.roles import Role
from nethical.errors import TrainingError
from nethical.models.base import Fitting, Parameter, Parts, Reason, Settings, Traits, filled
from nethical.models.conformal import Conformal
from nethical.models.novelty import ORDER, Novelty, words
from nethical.models.outliers import NEIGHBOURS, TABLE_DETECTORS, Outliers
from nethical.models.reasons import ranked_reasons

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable, Table
    from nethical.run import Progress

    Floats = NDArray[np.float64]

__all__ = ["Anomaly", "build"]

FEWEST_NORMALS = 20
HELD_SHARE = 0.2
ENOUGH_HELD = 50
MOST_HELD = 50_000
BATCH_ROWS = 1 << 15
EXPLAINED_ROWS = 1 << 12
TYPICAL_RISK = float(-np.log10(0.5))  # half of the normals are less abnormal
SPACE = (
    Parameter("n_trees", 100, 25, 400, is_whole=True, is_log=True),
    Parameter("sample_rows", 256, 32, 2048, is_whole=True, is_log=True),
    Parameter("n_neighbors", NEIGHBOURS, 1, 32, is_whole=True, is_log=True),
    Parameter("order", ORDER, 1, ORDER, is_whole=True),
)


class _Part(Protocol):
    """Columns that are read together, and what normal rows hold in them."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""

    @property
    def detectors(self) -> tuple[str, ...]:
        """What they are called."""

    def risks(self, table: Table) -> Floats:
        """Return the risk of each row, shape (n,)."""

    def without(self, table: Table) -> list[Floats]:
        """Return for each column the risks that rows would have if its cell were typical."""

    def to_parts(self) -> Parts:
        """Return this as plain values."""


@dataclass(frozen=True)
class _Evidence:
    """Joins the raw scores of several detectors into a risk.

    Args:
        each: One for each detector.
        joined: Of the norm of the detectors' risks.
    """

    each: tuple[Conformal, ...]
    joined: Conformal

    @classmethod
    def fit(cls, scores: Sequence[Floats]) -> _Evidence:
        """Learn from the scores of held-out normals, one array of shape (n,) a detector."""
        each = tuple(Conformal.fit(score) for score in scores)
        return cls(
            each, Conformal.fit(_norm([c.risk(s) for c, s in zip(each, scores, strict=True)]))
        )

    def risk(self, scores: Sequence[Floats]) -> Floats:
        """Return the risk of each row, shape (n,)."""
        risks = [c.risk(score) for c, score in zip(self.each, scores, strict=True)]
        return self.joined.risk(_norm(risks))

    def to_parts(self) -> Parts:
        """Return this as plain values."""
        every = (*self.each, self.joined)
        arrays = {f"risk{i}.knots": c.knots for i, c in enumerate(every)}
        arrays |= {f"risk{i}.risks": c.risks for i, c in enumerate(every)}
        return Parts({"tails": [[c.beyond, c.scale] for c in every]}, arrays)

    @classmethod
    def from_parts(cls, parts: Parts) -> _Evidence:
        """Return what ``to_parts`` gave."""
        every = [
            Conformal(parts.arrays[f"risk{i}.knots"], parts.arrays[f"risk{i}.risks"], *tail)
            for i, tail in enumerate(parts.document["tails"])
        ]
        return cls(tuple(every[:-1]), every[-1])


def _norm(risks: Sequence[Floats]) -> Floats:
    """Return the root of the sum of squares, shape (n,)."""
    squares = risks[0] ** 2
    for risk in risks[1:]:
        squares = squares + risk**2
    return np.sqrt(squares)


@dataclass(frozen=True)
class _Cells:
    """The numeric and categorical columns."""

    outliers: Outliers
    evidence: _Evidence

    detectors = TABLE_DETECTORS

    @property
    def columns(self) -> tuple[str, ...]:
        return self.outliers.columns

    @classmethod
    def fit(
        cls, learnt: Table, held: Table, rng: np.random.Generator, values: Mapping[str, Any]
    ) -> _Cells:
        own = {name: values[name] for name in ("n_trees", "sample_rows", "n_neighbors")}
        outliers = Outliers.fit(learnt, rng, **own)
        return cls(outliers, _Evidence.fit(outliers.scores(outliers.read(held))))

    def risks(self, table: Table) -> Floats:
        return self.evidence.risk(self.outliers.scores(self.outliers.read(table)))

    def without(self, table: Table) -> list[Floats]:
        cells = self.outliers.read(table)
        found = []
        for place in range(len(cells)):
            typical = self.outliers.typical(place).repeated(len(table))
            changed = [*cells[:place], typical, *cells[place + 1 :]]
            found.append(self.evidence.risk(self.outliers.scores(changed)))
        return found

    def to_parts(self) -> Parts:
        return _merged({"kind": "cells"}, self.outliers.to_parts(), self.evidence)

    @classmethod
    def from_parts(cls, parts: Parts) -> _Cells:
        return cls(Outliers.from_parts(parts), _Evidence.from_parts(parts))


@dataclass(frozen=True)
class _Run:
    """A sequence column, or a text column as its words."""

    column: str
    is_text: bool
    novelty: Novelty
    evidence: _Evidence

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def detectors(self) -> tuple[str, ...]:
        return self.novelty.detectors

    @classmethod
    def fit(cls, learnt: Table, held: Table, column: str, order: int, *, is_text: bool) -> _Run:
        novelty = Novelty.fit(_lists(learnt, column, is_text=is_text), order)
        scores = novelty.scores(_lists(held, column, is_text=is_text))
        return cls(column, is_text, novelty, _Evidence.fit(scores))

    def lists(self, table: Table) -> pa.Array:
        """Return the column as lists of text, shape (n,)."""
        return _lists(table, self.column, is_text=self.is_text)

    def risks(self, table: Table) -> Floats:
        return self.evidence.risk(self.novelty.scores(self.lists(table)))

    def without(self, table: Table) -> list[Floats]:
        return [np.full(len(table), TYPICAL_RISK)]

    def to_parts(self) -> Parts:
        document = {"kind": "run", "column": self.column, "is_text": self.is_text}
        return _merged(document, self.novelty.to_parts(), self.evidence)

    @classmethod
    def from_parts(cls, parts: Parts) -> _Run:
        column, is_text = parts.document["column"], parts.document["is_text"]
        return cls(column, is_text, Novelty.from_parts(parts), _Evidence.from_parts(parts))


def _lists(table: Table, column: str, *, is_text: bool) -> pa.Array:
    return words(table.texts(column)) if is_text else table.items(column)


def _merged(document: dict[str, Any], parts: Parts, evidence: _Evidence) -> Parts:
    risks = evidence.to_parts()
    documents = {**document, **parts.document, **risks.document}
    return Parts(documents, {**parts.arrays, **risks.arrays})


def _fit_parts(
    learnt: Table, held: Table, rng: np.random.Generator, values: Mapping[str, Any]
) -> list[_Part]:
    """Return the parts, learnt from some normals and calibrated on others."""
    parts: list[_Part] = []
    if {feature.feature for feature in learnt.features} & {Role.NUMERIC, Role.CATEGORICAL}:
        parts.append(_Cells.fit(learnt, held, rng, values))
    for feature in learnt.features:
        if feature.feature in {Role.SEQUENCE, Role.TEXT}:
            is_text = feature.feature == Role.TEXT
            run = _Run.fit(learnt, held, feature.name, values["order"], is_text=is_text)
            parts.append(run)
    return parts


class Anomaly:
    """Novelty learnt from normals; see the module for what it reads."""

    model_type = "anomaly"
    traits = Traits(learns_from_normals=True, space=SPACE)

    def __init__(self, settings: Settings) -> None:
        self._values = filled(SPACE, settings.parameters)
        self._parts: list[_Part] = []
        self._evidence: Conformal | None = None
        self._usual = 0.0
        self.fitting = Fitting(None)

    def fit(self, table: LabelledTable, *, rng: np.random.Generator, progress: Progress) -> Self:
        """Learn from the rows of class 0 and return self."""
        normals = table.rows(table.y == 0)
        if len(normals) < FEWEST_NORMALS:
            raise TrainingError(
                f"{len(normals)} of the {len(table)} rows are of class 0, and what is normal "
                f"is learnt from {FEWEST_NORMALS} of them at least",
                mend="add normal rows, or check which label is the positive one",
            )
        held = _held_out(normals, rng)
        progress("fit anomaly", 0, 1)
        self._parts = _fit_parts(normals.rows(~held), normals.rows(held), rng, self._values)
        joined = self._joined(normals.rows(held))
        self._evidence = Conformal.fit(joined)
        self._usual = float(np.mean(self._evidence.risk(joined)))
        progress("fit anomaly", 1, 1)
        ignored = () if table.weights is None else ("weights have no effect",)
        self.fitting = Fitting(
            None,
            notes=("--epochs and --batch-size have no effect: normals are read once", *ignored),
            details={
                "normals": len(normals),
                "normals_held_out": int(held.sum()),
                "rows_not_read": len(table) - len(normals),
                "detectors": {", ".join(p.columns): list(p.detectors) for p in self._parts},
            },
        )
        return self

    def _joined(self, table: Table) -> Floats:
        """Return the joined risk of the parts, shape (n,)."""
        return _norm([part.risks(table) for part in self._parts])

    def _risk(self, joined: Floats) -> Floats:
        if self._evidence is None:
            raise TrainingError("the model is not fitted", mend="call fit first")
        return self._evidence.risk(joined)

    def score(self, table: Table) -> Floats:
        """Return -log10 of each row's p-value among normals, shape (n,)."""
        scores = np.empty(len(table))
        for start in range(0, len(table), BATCH_ROWS):
            part = table.slice(start, min(BATCH_ROWS, len(table) - start))
            scores[start : start + len(part)] = self._risk(self._joined(part))
        return scores

    def row_scorer(self) -> Callable[[Mapping[str, Any]], float] | None:
        """Return None: a row alone goes through ``score``."""
        return None

    def explain(self, table: Table, top: int) -> list[list[Reason]]:
        """Return for each row the columns that make it abnormal.

        A column's share is the drop of the score when its cell is typical: the median, the most
        frequent level, or a sequence as half of the normals have it. Drops do not add up by
        themselves; what is missing is shared out in proportion to their size.
        """
        found = []
        for start in range(0, len(table), EXPLAINED_ROWS):
            found += self._explained(table.slice(start, EXPLAINED_ROWS), top)
        return found

    def _explained(self, table: Table, top: int) -> list[list[Reason]]:
        risks = [part.risks(table) for part in self._parts]
        score = self._risk(_norm(risks))
        names: list[str] = []
        drops: list[Floats] = []
        for place, part in enumerate(self._parts):
            others = [*risks[:place], *risks[place + 1 :]]
            for name, without in zip(part.columns, part.without(table), strict=True):
                names.append(name)
                drops.append(score - self._risk(_norm([*others[:place], without, *others[place:]])))
        shares = _shared_out(np.stack(drops), score - self._usual)
        reasons = ranked_reasons(table, dict(zip(names, shares, strict=True)), top)
        return self._with_steps(table, reasons)

    def _with_steps(self, table: Table, reasons: list[list[Reason]]) -> list[list[Reason]]:
        """Return the reasons, those of sequences with their most surprising step."""
        runs = {part.column: part for part in self._parts if isinstance(part, _Run)}
        steps = {name: run.novelty.surprising_steps(run.lists(table)) for name, run in runs.items()}
        return [
            [
                Reason(r.column, steps[r.column][row], r.contribution) if r.column in steps else r
                for r in found
            ]
            for row, found in enumerate(reasons)
        ]

    def to_parts(self) -> Parts:
        """Return the model as plain values."""
        if self._evidence is None:
            raise TrainingError("the model is not fitted", mend="call fit first")
        arrays: dict[str, NDArray[Any]] = {
            "knots": self._evidence.knots,
            "risks": self._evidence.risks,
        }
        documents = []
        for i, part in enumerate(self._parts):
            parts = part.to_parts()
            documents.append(dict(parts.document))
            arrays |= {f"part{i}.{name}": array for name, array in parts.arrays.items()}
        document = {
            "parts": documents,
            "tail": [self._evidence.beyond, self._evidence.scale],
            "usual": self._usual,
        }
        return Parts(document, arrays)

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Return the model that ``to_parts`` gave."""
        model = cls(Settings())
        arrays, document = parts.arrays, parts.document
        model._evidence = Conformal(arrays["knots"], arrays["risks"], *document["tail"])
        model._usual = document["usual"]
        for i, part in enumerate(document["parts"]):
            start = f"part{i}."
            own = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
            kind: type[_Cells | _Run] = _Cells if part["kind"] == "cells" else _Run
            model._parts.append(kind.from_parts(Parts(part, own)))
        return model


def _held_out(normals: LabelledTable, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the normals that are kept out of learning, shape (n,): whole groups if possible."""
    n = len(normals)
    wanted = min(max(HELD_SHARE * n, min(ENOUGH_HELD, n / 3)), MOST_HELD)
    units = (
        np.arange(n)
        if normals.groups is None
        else np.unique(normals.groups, return_inverse=True)[1]
    )
    sizes = np.bincount(units)
    order = rng.permutation(len(sizes))
    chosen = order[: int(np.searchsorted(np.cumsum(sizes[order]), wanted)) + 1]
    held = np.isin(units, chosen)
    if not FEWEST_NORMALS // 5 <= held.sum() <= n / 2:  # one group is most of the table
        held = np.zeros(n, dtype=bool)
        held[rng.permutation(n)[: int(wanted)]] = True
    return held


def _shared_out(drops: Floats, totals: Floats) -> Floats:
    """Return drops, shape (columns, n), with the rest shared out so that they sum to totals."""
    sizes = np.abs(drops)
    whole = sizes.sum(axis=0)
    weights = np.where(whole > 0, sizes / np.where(whole > 0, whole, 1.0), 1 / len(drops))
    return np.asarray(drops + weights * (totals - drops.sum(axis=0)))


def build(settings: Settings) -> Anomaly:
    """Return an unfitted model."""
    return Anomaly(settings)
