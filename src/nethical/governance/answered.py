"""Closed cases as a sample of all decisions, and how far a model decides as people did.

Cases are answered in the order of their priority, so whoever looks before all are done sees the
uncertain ones alone. The closed cases of a stratum therefore stand for all of it that entered,
and while a stratum has none, nothing is said. What was reported or chosen otherwise is no
sample, and never among them.

Reference:
    Horvitz and Thompson 1952; Little 1986 (weighting by the response of each stratum).
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
from nethical.governance.reviews import Source, State
from nethical.record import learnt_by
from nethical.trained import TrainedModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nethical.bundle import Bundle
    from nethical.governance.store import GovernanceStore

__all__ = ["Answered", "AnsweredSample", "agreement_with_people", "answered_sample"]

SAMPLED = (Source.GRAY.value, Source.AUDIT.value)


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
        left_out: Closed cases that training may read, so they do not.
        waiting: Strata of which no case counts yet, while some are not closed.
    """

    cases: tuple[Answered, ...]
    left_out: int
    waiting: tuple[str, ...]


def answered_sample(store: GovernanceStore, name: str) -> AnsweredSample:
    """Return the closed cases of a model name that may judge a model."""
    case = t.review_case
    query = sa.select(case).where(case.c.name == name, case.c.source.in_(SAMPLED))
    with store.reading() as db:
        rows = db.execute(query.order_by(case.c.case_id)).all()
    strata: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        strata[row.stratum].append(row)
    cases: list[Answered] = []
    waiting = []
    for stratum, entered in strata.items():
        usable = [row for row in entered if _counts(row)]
        if not usable:
            if any(row.state != State.CLOSED for row in entered):
                waiting.append(stratum)
            continue
        response = _weight(usable) / _weight(entered)
        cases += [
            Answered(row.features, row.label, stratum, row.inclusion_probability * response)
            for row in usable
        ]
    left_out = sum(row.used_for_training and row.label is not None for row in rows)
    return AnsweredSample(tuple(cases), left_out, tuple(sorted(waiting)))


def _counts(row: sa.Row[Any]) -> bool:
    is_labelled = row.state == State.CLOSED and row.label is not None
    return is_labelled and row.features is not None and not row.used_for_training


def _weight(rows: Sequence[Any]) -> float:
    """Return how many decisions the cases stand for."""
    return float(sum(1 / row.inclusion_probability for row in rows))


def agreement_with_people(
    store: GovernanceStore, bundle: Bundle, row_keys: Sequence[bytes]
) -> Agreement | None:
    """Return how far a model decides as people did, None where nobody reviewed.

    Cases are those that were imported, and those that the queue closed, without those that this
    model learnt from or that training may read.

    Args:
        store: Where cases are kept.
        bundle: The model, whose name the cases are of.
        row_keys: Blind the digests of the rows that it learnt from.
    """
    import pyarrow as pa

    name = str(bundle.claims["name"])
    imported, sample = store.cases(name), answered_sample(store, name)
    cases: list[Any] = [case for case in imported if not case.used_for_training]
    left_out = len(imported) - len(cases) + sample.left_out
    if not sample.waiting:
        cases += sample.cases
    elif not cases:
        missing = f", none of them of {', '.join(sample.waiting)}" if sample.cases else ""
        return unknown(f"{len(sample.cases)} reviewed{missing}")
    if not cases:
        return None
    model = TrainedModel.from_files(bundle.files)
    columns = {key: [case.features.get(key) for case in cases] for key in model.reads}
    table = model.table(pa.table(columns))
    learnt = learnt_by(bundle, row_keys)
    rows = LabelledTable.unlabelled(table.frame, table.roles)
    free = np.zeros(len(cases), dtype=bool) if learnt is None else ~learnt(rows)
    positive = model.probabilities(table) >= model.thresholds.block
    agrees = positive == np.array([case.is_positive for case in cases])
    return agreement(
        agrees[free],
        np.array([case.inclusion_probability for case in cases])[free],
        [case.stratum for case, is_free in zip(cases, free, strict=True) if is_free],
        left_out=left_out + int((~free).sum()),
    )
