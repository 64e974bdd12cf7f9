"""A case as somebody may see it: blind until they have answered.

What is told of a case follows from who asks. Nothing here writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nethical.errors import UsageError
from nethical.governance import tables as t
from nethical.governance.reviews import (
    EMERGENCY,
    Answer,
    CaseView,
    Given,
    ListedCase,
    ModelVerdict,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = [
    "CLAIMED",
    "FREE",
    "SUBMITTED",
    "answers_to",
    "find_case",
    "find_slot",
    "listed_case",
    "stamp",
    "view_of",
]

SUBMIT, ADJUDICATE = "submit", "adjudicate"
FREE, CLAIMED, SUBMITTED = "free", "claimed", "submitted"

case_, slot_, answer_ = t.review_case, t.review_slot, t.review_answer


def stamp(moment: datetime) -> str:
    """Return a UTC time as it is stored: as text that sorts by time."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"


def find_slot(db: sa.Connection, case_id: str, reviewer: str) -> sa.Row[Any] | None:
    """Return the slot of a case that a person has, None if they have none."""
    query = sa.select(slot_).where(slot_.c.case_id == case_id, slot_.c.reviewer == reviewer)
    return db.execute(query).first()


def find_case(db: sa.Connection, case_id: str) -> sa.Row[Any]:
    """Return a case.

    Raises:
        UsageError: There is none of that id.
    """
    found = db.execute(sa.select(case_).where(case_.c.case_id == case_id)).first()
    if found is None:
        raise UsageError(
            f"there is no case {case_id!r}", mend="name one that `nethical review list` shows"
        )
    return found


def answers_to(db: sa.Connection, case_id: str) -> dict[str, Given]:
    """Return the answers to a case by who gave them, in the order of its slots."""
    query = (
        sa.select(answer_)
        .join(slot_, slot_.c.slot_id == answer_.c.slot_id)
        .where(slot_.c.case_id == case_id)
        .order_by(slot_.c.place)
    )
    return {row.reviewer: _given(row, row.reviewer) for row in db.execute(query)}


def _given(row: sa.Row[Any], by: str) -> Given:
    return Given(by, row.at, Answer(row.decision, tuple(row.tags), row.rationale, row.confidence))


def view_of(db: sa.Connection, case_id: str, reviewer: str) -> CaseView:
    """Return what a person may see of a case.

    Raises:
        UsageError: There is none of that id.
    """
    case = find_case(db, case_id)
    given = answers_to(db, case_id)
    slot = find_slot(db, case_id, reviewer)
    is_closed = case.state == State.CLOSED
    may = _may(case.state, reviewer, None if slot is None else slot.state)
    decided = None
    if is_closed:
        query = sa.select(t.adjudication).where(t.adjudication.c.case_id == case_id)
        row = db.execute(query).first()
        decided = None if row is None else _given(row, row.adjudicator)
    return CaseView(
        case_id,
        case.name,
        case.state,
        case.severity == EMERGENCY,
        case.created_at,
        case.features,
        may,
        given.get(reviewer),
        tuple(given.values()) if is_closed or may == ADJUDICATE else (),
        decided,
        case.label,
        _verdict(case) if is_closed or reviewer in given else None,
    )


def _may(state: str, reviewer: str, slot: str | None) -> str:
    """Return what a person may do with a case, by the state of the slot that they have."""
    if state == State.OPEN and slot == CLAIMED:
        return SUBMIT
    if state == State.ADJUDICATING and reviewer and slot is None:
        return ADJUDICATE
    return ""


def _verdict(case: sa.Row[Any]) -> ModelVerdict:
    return ModelVerdict(
        case.probability,
        case.decision,
        case.model_id,
        case.source,
        case.stratum,
        case.inclusion_probability,
        case.severity,
        case.uncertainty,
        case.due_at,
    )


def listed_case(case: sa.Row[Any], slots: Sequence[sa.Row[Any]], reviewer: str) -> ListedCase:
    """Return a case with its slots as a line of a list, for one person."""
    own = next((slot.state for slot in slots if slot.reviewer == reviewer and reviewer), None)
    return ListedCase(
        case.case_id,
        case.name,
        case.state,
        case.severity == EMERGENCY,
        case.created_at,
        sum(slot.state == SUBMITTED for slot in slots),
        _may(case.state, reviewer, own),
        case.label,
    )
