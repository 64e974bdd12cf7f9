"""Strata as far as pages may tell of them: what became of cases that are closed, and of no others.

The stratum of a case follows from what the model said of it, and who may see figures may review
too. A stratum in which a case is open, or waits for a third person, would tell them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nethical.governance import tables as t
from nethical.governance.reviews import UNSURE, State
from nethical.metrics.intervals import Interval, clopper_pearson

if TYPE_CHECKING:
    from nethical.governance.store import GovernanceStore

__all__ = ["ClosedStratum", "closed_strata"]

LEVEL = 0.975  # of each bound: 95 % two-sided


@dataclass(frozen=True)
class ClosedStratum:
    """Closed cases of one stratum.

    Args:
        closed: How many.
        labelled: Those that have a label.
        alike: Share of those that two people decided in which they agree.
    """

    closed: int
    labelled: int
    alike: Interval

    def to_document(self) -> dict[str, Any]:
        """Return the figures as JSON values; what is unknown is null."""
        alike = {name: None if math.isnan(x) else x for name, x in asdict(self.alike).items()}
        return {"closed": self.closed, "labelled": self.labelled, "alike": alike}


def closed_strata(store: GovernanceStore) -> dict[str, ClosedStratum]:
    """Return the strata in which cases are closed, by name."""
    case, slot, answer = t.review_case, t.review_slot, t.review_answer
    is_closed = case.c.state == State.CLOSED.value
    with store.reading() as db:
        cases = db.execute(
            sa.select(case.c.case_id, case.c.stratum, case.c.label).where(is_closed)
        ).all()
        given = db.execute(
            sa.select(slot.c.case_id, answer.c.decision)
            .join(slot, slot.c.slot_id == answer.c.slot_id)
            .join(case, case.c.case_id == slot.c.case_id)
            .where(is_closed)
        ).all()
    words: dict[str, list[str]] = defaultdict(list)
    for answered in given:
        words[answered.case_id].append(answered.decision)
    by_name: dict[str, list[Any]] = defaultdict(list)
    for one in cases:
        by_name[one.stratum].append(one)
    return {name: _of(by_name[name], words) for name in sorted(by_name)}


def _of(cases: list[Any], words: dict[str, list[str]]) -> ClosedStratum:
    pairs = [words[one.case_id] for one in cases if len(words[one.case_id]) > 1]
    sure = [pair for pair in pairs if UNSURE not in pair]
    alike = sum(first == second for first, second in sure)
    return ClosedStratum(
        len(cases),
        sum(one.label is not None for one in cases),
        clopper_pearson(alike, len(sure), level=LEVEL),
    )
