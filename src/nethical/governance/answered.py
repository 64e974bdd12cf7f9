"""Closed cases as a sample of all decisions, and how far a model decides as people did.

Cases are answered in the order of their priority, so whoever looks before all are done sees the
uncertain ones alone. The closed cases of a cell, which is what the queue serves in an order that
says nothing of them (one stratum, one severity, one tenth of uncertainty), therefore stand for
all of it that entered; while a cell has none and is still being answered, nothing is said. What
was reported or chosen otherwise is no sample, and never among them.

Reference:
    Horvitz and Thompson 1952; Little 1986 (weighting by the response of each cell).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from nethical.data.table import LabelledTable
from nethical.governance import tables as t
from nethical.governance.agreement import Agreement, agreement, unknown
from nethical.governance.cases import column_of
from nethical.governance.reviews import SAMPLED, State, tenth
from nethical.record import learnt_by
from nethical.trained import TrainedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from nethical.bundle import Bundle
    from nethical.governance.store import GovernanceStore

    Mask = NDArray[np.bool_]

__all__ = ["Answered", "AnsweredSample", "agreement_with_people", "answered_sample"]


@dataclass(frozen=True)
class Answered:
    """A case that people decided.

    Args:
        features: What they decided on.
        is_positive: What they decided.
        stratum: Of the sample.
        inclusion_probability: At which it entered and was answered, in (0, 1].
    """

    features: Mapping[str, Any]
    is_positive: bool
    stratum: str
    inclusion_probability: float


@dataclass(frozen=True)
class AnsweredSample:
    """What people decided of a model name.

    Args:
        cases: That count.
        left_out: Closed cases that training may read, or that may not judge this model.
        waiting: Strata of which nothing can be said yet.
    """

    cases: tuple[Answered, ...]
    left_out: int
    waiting: tuple[str, ...]


def answered_sample(
    store: GovernanceStore,
    name: str,
    may_judge: Callable[[Sequence[Any]], Mask] | None = None,
) -> AnsweredSample:
    """Return the closed cases of a model name that may judge a model.

    Whatever keeps a case from it (nobody answered yet, training may read it, the model learnt
    from it, its features are deleted), the others of its cell stand for it.

    Args:
        store: Where cases are kept.
        name: The model name.
        may_judge: Tells which of closed cases may judge the model, shape (n,); None for all.
    """
    case, third = t.review_case, t.adjudication
    query = (
        sa.select(case, third.c.adjudicator)
        .outerjoin(third, third.c.case_id == case.c.case_id)
        .where(case.c.name == name, case.c.source.in_([one.value for one in SAMPLED]))
        .order_by(case.c.case_id)
    )
    with store.reading() as db:
        rows = db.execute(query).all()
    decided = [row for row in rows if row.label is not None and row.features is not None]
    free = [row for row in decided if not row.used_for_training]
    if free and may_judge is not None:
        free = [row for row, may in zip(free, may_judge(free), strict=True) if may]
    usable = {row.case_id for row in free}
    cases: list[Answered] = []
    waiting = []
    for stratum, entered in _grouped(rows, lambda row: row.stratum):
        found = _of_stratum(stratum, entered, usable)
        if found is None:
            waiting.append(stratum)
        else:
            cases += found
    used = sum(row.used_for_training and row.label is not None for row in rows)
    learnt = sum(not row.used_for_training for row in decided) - len(free)
    return AnsweredSample(tuple(cases), used + learnt, tuple(sorted(waiting)))


def _of_stratum(stratum: str, entered: list[Any], usable: set[str]) -> list[Answered] | None:
    """Return the usable cases of a stratum, weighted to stand for all of it; None if it waits.

    A cell that nobody is asked about any more, and that has no usable case, is stood for by the
    other cells of its stratum. A stratum of which nobody could tell a single case is left out.
    """
    cells = []
    for _, cell in _grouped(entered, lambda row: (row.severity, tenth(row.uncertainty))):
        own = [row for row in cell if row.case_id in usable]
        if own:
            cells.append((own, _weight(own) / _weight(cell), _weight(cell)))
        elif any(row.state != State.CLOSED for row in cell):
            return None
    if not cells:
        return [] if all(map(_nobody_could_tell, entered)) else None
    told = sum(weight for _, _, weight in cells) / _weight(entered)
    return [
        Answered(row.features, row.label, stratum, row.inclusion_probability * response * told)
        for own, response, _ in cells
        for row in own
    ]


def _nobody_could_tell(row: sa.Row[Any]) -> bool:
    return row.state == State.CLOSED and row.label is None and row.adjudicator is not None


def _grouped(rows: Iterable[Any], key: Callable[[Any], Any]) -> Iterator[tuple[Any, list[Any]]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    yield from groups.items()


def _weight(rows: Sequence[Any]) -> float:
    """Return how many decisions the cases stand for."""
    return float(sum(1 / row.inclusion_probability for row in rows))


class _Replay:
    """A model that decides once more what people decided."""

    def __init__(self, bundle: Bundle, row_keys: Sequence[bytes]) -> None:
        self.model = TrainedModel.from_files(bundle.files)
        self._learnt = learnt_by(bundle, row_keys)
        self.lacking = 0

    def may_judge(self, cases: Sequence[Any]) -> Mask:
        """Return which cases hold all that the model reads, and are none that it learnt from."""
        reads = set(self.model.reads)
        may = np.array([reads <= case.features.keys() for case in cases], dtype=bool)
        self.lacking += int((~may).sum())
        if self._learnt is None:  # nobody can say what it learnt from
            return np.zeros(len(cases), dtype=bool)
        if may.any():
            table = self._table([case for case, one in zip(cases, may, strict=True) if one])
            may[may] = ~self._learnt(LabelledTable.unlabelled(table.frame, table.roles))
        return may

    def agrees(self, cases: Sequence[Any]) -> Mask:
        """Return whether the model decides each case as people did."""
        positive = self.model.probabilities(self._table(cases)) >= self.model.thresholds.block
        return np.asarray(positive == np.array([case.is_positive for case in cases]))

    def _table(self, cases: Sequence[Any]) -> Any:  # noqa: ANN401 - a table as the model reads it
        import pyarrow as pa

        return self.model.table(
            pa.table({name: column_of(cases, name) for name in self.model.reads})
        )


def agreement_with_people(
    store: GovernanceStore, bundle: Bundle, row_keys: Sequence[bytes]
) -> Agreement | None:
    """Return how far a model decides as people did, None where nobody reviewed.

    Cases are those that were imported, and those that the queue closed, without those that this
    model learnt from, that training may read, or that lack a column that it reads.

    Args:
        store: Where cases are kept.
        bundle: The model, whose name the cases are of.
        row_keys: Blind the digests of the rows that it learnt from.
    """
    name, replay = str(bundle.claims["name"]), _Replay(bundle, row_keys)
    imported = _imported(store, name)
    free: list[Any] = [case for case in imported if not case.used_for_training]
    if free:
        free = [case for case, may in zip(free, replay.may_judge(free), strict=True) if may]
    sample = answered_sample(store, name, replay.may_judge)
    left_out = len(imported) - len(free) + sample.left_out
    cases = free if sample.waiting else [*free, *sample.cases]
    if not cases:
        if not (sample.waiting or left_out):
            return None
        return unknown(_missing(sample, left_out, replay.lacking), left_out=left_out)
    return agreement(
        replay.agrees(cases),
        np.array([case.inclusion_probability for case in cases]),
        [case.stratum for case in cases],
        left_out=left_out,
    )


def _imported(store: GovernanceStore, name: str) -> list[Any]:
    """Return imported cases that still have features, and are none of the queue's own.

    What a release wrote may come back as a table of reviewed cases; it is the queue that knows
    what became of those.
    """
    case = t.review_case
    with store.reading() as db:
        own = set(db.execute(sa.select(case.c.case_id).where(case.c.name == name)).scalars())
    return [one for one in store.cases(name) if one.features and one.case_id not in own]


def _missing(sample: AnsweredSample, left_out: int, lacking: int) -> str:
    """Return in words why nothing is known."""
    told = f"{len(sample.cases)} reviewed"
    if sample.waiting and sample.cases:
        told += f", none of them of {', '.join(sample.waiting)}"
    if left_out:
        told += f"; {left_out} may not judge it"
    return f"{told}, {lacking} of them lack a column that it reads" if lacking else told
