"""How reviewing goes: what waits, what is late, how long it takes, and whether people agree."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from nethical.governance import tables as t
from nethical.governance.raters import RaterAgreement, rater_agreement
from nethical.governance.reviews import UNSURE, State
from nethical.metrics.intervals import Interval, clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["QueueFigures", "ReviewerFigures", "StratumFigures", "queue_figures"]

LEVEL = 0.975  # of each bound: 95 % two-sided
SECONDS_AN_HOUR = 3600


@dataclass(frozen=True)
class ReviewerFigures:
    """What one person did.

    Args:
        answers: All that they gave.
        unsure: Those that say so.
        with_peer: Share of cases that both decided in which they agree with the other one.
        with_label: Share of closed cases that they decided in which the label is theirs.
    """

    answers: int
    unsure: int
    with_peer: Interval
    with_label: Interval


@dataclass(frozen=True)
class StratumFigures:
    """What became of one stratum: cases that entered, were closed, and got a label; agreement."""

    entered: int
    closed: int
    labelled: int
    alike: Interval


@dataclass(frozen=True)
class QueueFigures:
    """How reviewing goes.

    Args:
        states: Cases by state.
        overdue: Cases that are not closed and whose due time is past.
        hours_to_close: Median and 95th percentile from entry to label, of all that have one;
            None where none has.
        adjudicated: Cases that a third person decided.
        unsure: Cases with two answers of which one says so.
        agreement: Of the cases that two people decided.
        reviewers: By name.
        strata: By stratum.
    """

    states: dict[str, int]
    overdue: int
    hours_to_close: tuple[float, float] | None
    adjudicated: int
    unsure: int
    agreement: RaterAgreement | None
    reviewers: dict[str, ReviewerFigures]
    strata: dict[str, StratumFigures]

    def to_document(self) -> dict[str, Any]:
        """Return the figures as JSON values; what is unknown is null."""
        document: dict[str, Any] = _finite(asdict(self))
        return document


def queue_figures(
    db: sa.Connection, now: str, *, name: str | None = None, seed: int = 0
) -> QueueFigures:
    """Return how reviewing goes.

    Args:
        db: A connection of the store.
        now: The current time, as the store writes it.
        name: Of the cases of this model name alone.
        seed: Of the draws that the bounds of alpha and AC1 rest on.
    """
    kept = t.review_case
    columns = [column for column in kept.c if column.name != "features"]
    chosen = sa.true() if name is None else kept.c.name == name
    cases = db.execute(sa.select(*columns).where(chosen)).all()
    given = db.execute(
        sa.select(t.review_slot.c.case_id, t.review_answer.c.reviewer, t.review_answer.c.decision)
        .join(t.review_slot, t.review_slot.c.slot_id == t.review_answer.c.slot_id)
        .join(kept, kept.c.case_id == t.review_slot.c.case_id)
        .where(chosen)
        .order_by(t.review_slot.c.case_id, t.review_slot.c.place)
    ).all()
    adjudicated = db.execute(
        sa.select(sa.func.count())
        .select_from(t.adjudication.join(kept, kept.c.case_id == t.adjudication.c.case_id))
        .where(chosen)
    ).scalar()
    by_case: dict[str, list[Any]] = defaultdict(list)
    for answer in given:
        by_case[answer.case_id].append(answer)
    pairs = {case_id: answers for case_id, answers in by_case.items() if len(answers) > 1}
    sure = {k: pair for k, pair in pairs.items() if all(one.decision != UNSURE for one in pair)}
    states = Counter(case.state for case in cases)
    return QueueFigures(
        {state.value: states[state.value] for state in State},
        sum(case.state != State.CLOSED and case.due_at < now for case in cases),
        _hours(cases),
        int(adjudicated or 0),
        len(pairs) - len(sure),
        _agreement(list(sure.values()), seed),
        _reviewers(given, sure, {case.case_id: case.label for case in cases}),
        _strata(cases, sure),
    )


def _agreement(pairs: Sequence[Sequence[Any]], seed: int) -> RaterAgreement | None:
    first, second = (np.array([pair[k].decision == "block" for pair in pairs]) for k in (0, 1))
    return rater_agreement(first, second, np.random.default_rng(seed))


def _hours(cases: Sequence[Any]) -> tuple[float, float] | None:
    hours = [
        max((_moment(case.closed_at) - _moment(case.created_at)).total_seconds(), 0.0)
        / SECONDS_AN_HOUR
        for case in cases
        if case.label is not None
    ]
    if not hours:
        return None
    return float(np.quantile(hours, 0.5)), float(np.quantile(hours, 0.95))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _reviewers(
    given: Sequence[Any], sure: dict[str, list[Any]], labels: dict[str, bool | None]
) -> dict[str, ReviewerFigures]:
    figures = {}
    for name in sorted({answer.reviewer for answer in given}):
        own = [answer for answer in given if answer.reviewer == name]
        decided = [answer for answer in own if answer.decision != UNSURE]
        alike = [
            sure[one.case_id][0].decision == sure[one.case_id][1].decision
            for one in decided
            if one.case_id in sure
        ]
        right = [
            labels[one.case_id] == (one.decision == "block")
            for one in decided
            if labels[one.case_id] is not None
        ]
        figures[name] = ReviewerFigures(
            len(own), len(own) - len(decided), _share(alike), _share(right)
        )
    return figures


def _strata(cases: Sequence[Any], sure: dict[str, list[Any]]) -> dict[str, StratumFigures]:
    figures = {}
    for name in sorted({case.stratum for case in cases}):
        own = [case for case in cases if case.stratum == name]
        pairs = [sure[case.case_id] for case in own if case.case_id in sure]
        figures[name] = StratumFigures(
            len(own),
            sum(case.state == State.CLOSED for case in own),
            sum(case.label is not None for case in own),
            _share([pair[0].decision == pair[1].decision for pair in pairs]),
        )
    return figures


def _share(hits: Sequence[bool]) -> Interval:
    return clopper_pearson(sum(hits), len(hits), level=LEVEL)


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a document in which NaN is null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
