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
    Source,
    State,
    is_same_person,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = [
    "CLAIMED",
    "FREE",
    "SUBMITTED",
    "WHICH",
    "WHO",
    "answers_to",
    "find_case",
    "find_slot",
    "is_who",
    "listed_case",
    "shown",
    "stamp",
    "view_of",
]

STAMP = len("2026-01-01T00:00:00.000000")
SUBMIT, ADJUDICATE = "submit", "adjudicate"
FREE, CLAIMED, SUBMITTED = "free", "claimed", "submitted"

case_, slot_, answer_ = t.review_case, t.review_slot, t.review_answer


WHO: sa.BindParameter[str] = sa.bindparam("who")


def stamp(moment: datetime) -> str:
    """Return a UTC time as it is stored: as text that sorts by time."""
    return moment.isoformat(timespec="microseconds")[:STAMP] + "Z"


def is_who(reviewer: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Return that a reviewer is the person who asks, as ``is_same_person`` says."""
    return sa.func.lower(reviewer) == sa.func.lower(WHO)


# Built once: to put a statement together takes longer than to run it.
WHICH: sa.BindParameter[str] = sa.bindparam("which")
_CASE = sa.select(case_).where(case_.c.case_id == WHICH)
_SLOT = sa.select(slot_).where(slot_.c.case_id == WHICH, is_who(slot_.c.reviewer))
_ANSWERS = (
    sa.select(answer_)
    .join(slot_, slot_.c.slot_id == answer_.c.slot_id)
    .where(slot_.c.case_id == WHICH)
    .order_by(slot_.c.place)
)
_THIRD = sa.select(t.adjudication).where(t.adjudication.c.case_id == WHICH)


def find_slot(db: sa.Connection, case_id: str, reviewer: str) -> sa.Row[Any] | None:
    """Return the slot of a case that a person has, None if they have none."""
    return db.execute(_SLOT, {"which": case_id, "who": reviewer}).first()


def find_case(db: sa.Connection, case_id: str) -> sa.Row[Any]:
    """Return a case.

    Raises:
        UsageError: There is none of that id.
    """
    found = db.execute(_CASE, {"which": case_id}).first()
    if found is None:
        raise UsageError(
            f"there is no case {case_id!r}", mend="name one that `nethical review list` shows"
        )
    return found


def answers_to(db: sa.Connection, case_id: str) -> dict[str, Given]:
    """Return the answers to a case by who gave them, in the order of its slots."""
    rows = db.execute(_ANSWERS, {"which": case_id})
    return {row.reviewer: _given(row, row.reviewer) for row in rows}


def _given(row: sa.Row[Any], by: str) -> Given:
    return Given(by, row.at, Answer(row.decision, tuple(row.tags), row.rationale, row.confidence))


def view_of(db: sa.Connection, case_id: str, reviewer: str) -> CaseView:
    """Return what a person may see of a case.

    Raises:
        UsageError: There is none of that id.
    """
    case = find_case(db, case_id)
    slot = find_slot(db, case_id, reviewer)
    given = answers_to(db, case_id)
    row = db.execute(_THIRD, {"which": case_id}).first() if case.state == State.CLOSED else None
    third = None if row is None else _given(row, row.adjudicator)
    return shown(case, given, reviewer, None if slot is None else slot.state, third)


def shown(
    case: Any,  # noqa: ANN401 - a row that holds the case
    given: Mapping[str, Given],
    reviewer: str,
    slot: str | None,
    third: Given | None = None,
) -> CaseView:
    """Return what a person may see of a case that was read.

    Args:
        case: The case.
        given: Its answers by who gave them.
        reviewer: Who asks.
        slot: The state of the slot that they have, None if they have none.
        third: What was adjudicated.
    """
    is_closed = case.state == State.CLOSED
    may = _may(case.state, reviewer, slot)
    own = next((one for name, one in given.items() if is_same_person(name, reviewer)), None)
    return CaseView(
        case.case_id,
        case.name,
        case.state,
        case.severity == EMERGENCY,
        case.created_at,
        case.features,
        may,
        own,
        tuple(given.values()) if is_closed or may == ADJUDICATE else (),
        third,
        case.label,
        _verdict(case) if is_closed or _is_told(case, own) else None,
    )


def _may(state: str, reviewer: str, slot: str | None) -> str:
    """Return what a person may do with a case, by the state of the slot that they have."""
    if state == State.OPEN and slot == CLAIMED:
        return SUBMIT
    if state == State.ADJUDICATING and reviewer and slot is None:
        return ADJUDICATE
    return ""


def _is_told(case: Any, own: Given | None) -> bool:  # noqa: ANN401 - a row that holds the case
    """Return whether the model's verdict on an open case is told to who answered it.

    That on a reported row is not: somebody could report one like a case that they have yet to
    answer, and read there what the model says of both.
    """
    return own is not None and case.source != Source.REPORTED


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
    own = next(
        (slot.state for slot in slots if is_same_person(slot.reviewer or "", reviewer or " ")), None
    )
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
