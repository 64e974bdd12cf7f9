"""Cases come into the queue: each row once, with the chance at which all that was drawn had it.

Whoever says that a row is more severe than it was thought to be moves it forward, as long as
nobody's answer is in the way: severity never falls, and never tells what the model said.

Tables are scored more than once, by another model or with another limit. Whether a row is drawn
follows from its digest alone, so of all draws the widest one decides: a row is in the queue if
its draw is below the largest of the shares that it was ever drawn at. That share is its
inclusion probability, then and afterwards, or rows that were scored twice would count twice.

Reference:
    Cohen and Kaplan 2009 (samples of several sets that share their draws).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nethical.errors import DataError
from nethical.governance import tables as t
from nethical.governance.case_views import FREE, stamp
from nethical.governance.reviews import EMERGENCY, SAMPLED, SEVERITIES, Case, Entered, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["DUE", "PLACES", "enter_cases"]

PLACES = (1, 2)
DUE = {
    1: timedelta(days=7),
    2: timedelta(days=3),
    3: timedelta(days=1),
    4: timedelta(hours=8),
    EMERGENCY: timedelta(hours=1),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TENTHS = 10
CHANGING = ("source", "stratum", "inclusion_probability", "severity", "rank", "due_at")
AT_ONCE = 500  # ids in one question

case_, slot_ = t.review_case, t.review_slot


def enter_cases(db: sa.Connection, cases: Iterable[Case], now: datetime) -> Entered:
    """Keep cases with two free slots each; of those that are there, what their draws say.

    Raises:
        DataError: A severity is none.
    """
    given: dict[str, Case] = {}
    for case in cases:
        _check(case)
        before = given.setdefault(case.case_id, case)
        given[case.case_id] = _wider(before, case)
    known = _known(db, list(given))
    fresh = [case for case_id, case in given.items() if case_id not in known]
    if fresh:
        db.execute(case_.insert(), [_line(case, now) for case in fresh])
        slots = [
            {"case_id": case.case_id, "place": place, "state": FREE}
            for case in fresh
            for place in PLACES
        ]
        db.execute(slot_.insert(), slots)
    changed = [
        {"which": case_id, **change}
        for case_id, row in known.items()
        if (change := {**_drawn(row, given[case_id]), **_urgent(row, given[case_id], now)})
    ]
    if changed:
        db.execute(
            case_.update()
            .where(case_.c.case_id == sa.bindparam("which"))
            .values({name: sa.bindparam(name) for name in CHANGING}),
            [{**_kept(known[change["which"]]), **change} for change in changed],
        )
    by_source: dict[str, int] = {}
    for case in fresh:
        by_source[case.source.value] = by_source.get(case.source.value, 0) + 1
    return Entered(by_source, len(given) - len(fresh))


def _check(case: Case) -> None:
    if case.severity not in SEVERITIES:
        raise DataError(f"the severity is {case.severity}", mend="give 1 (LOW) to 5 (EMERGENCY)")


def _wider(first: Case, second: Case) -> Case:
    """Return one entry out of two of a row: as it was drawn at the larger share, if it was."""
    severity = max(first.severity, second.severity)
    is_wider = second.inclusion_probability >= first.inclusion_probability
    if first.source not in SAMPLED or (second.source in SAMPLED and is_wider):
        return replace(second, severity=severity)
    return replace(first, severity=severity)


def _known(db: sa.Connection, ids: list[str]) -> dict[str, sa.Row[Any]]:
    columns = (
        *(case_.c.case_id, case_.c.source, case_.c.stratum, case_.c.inclusion_probability),
        *(case_.c.severity, case_.c.rank, case_.c.due_at, case_.c.state),
    )
    found: dict[str, sa.Row[Any]] = {}
    for start in range(0, len(ids), AT_ONCE):
        query = sa.select(*columns).where(case_.c.case_id.in_(ids[start : start + AT_ONCE]))
        found.update({row.case_id: row for row in db.execute(query)})
    return found


def _kept(row: sa.Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in CHANGING}


def _urgent(row: sa.Row[Any], case: Case, now: datetime) -> Mapping[str, Any]:
    """Return what a higher severity changes of a case that is still open."""
    if case.severity <= row.severity or row.state != State.OPEN:
        return {}
    due = now + DUE[case.severity]
    return {
        "severity": case.severity,
        "rank": _rank(case, due),
        "due_at": min(stamp(due), row.due_at),
    }


def _drawn(row: sa.Row[Any], case: Case) -> Mapping[str, Any]:
    """Return what a draw changes of a case that is there: its sample, and nothing people saw.

    A case that somebody reported is one of the sample as soon as its row is drawn: without it
    the sample would lack what people complain about.
    """
    if case.source not in SAMPLED:
        return {}
    drawn = case.inclusion_probability
    if row.source not in SAMPLED:
        return {
            "source": case.source.value,
            "stratum": case.stratum,
            "inclusion_probability": drawn,
        }
    if drawn <= row.inclusion_probability:
        return {}
    return {"source": row.source, "stratum": row.stratum, "inclusion_probability": drawn}


def _line(case: Case, now: datetime) -> dict[str, Any]:
    due = now + DUE[case.severity]
    return {
        "case_id": case.case_id,
        "name": case.name,
        "source": case.source.value,
        "stratum": case.stratum,
        "inclusion_probability": case.inclusion_probability,
        "severity": case.severity,
        "uncertainty": case.uncertainty,
        "rank": _rank(case, due),
        "probability": case.probability,
        "decision": case.decision,
        "model_id": case.model_id,
        "row_digest": case.row_digest,
        "features": dict(case.features),
        "state": State.OPEN.value,
        "created_at": stamp(now),
        "due_at": stamp(due),
        "used_for_training": False,
    }


def _rank(case: Case, due: datetime) -> int:
    """Return the place of a case in the queue, the smaller the sooner.

    Emergencies come before all; the others in the order in which they are due, so that what is
    less severe waits longer and not for ever; what is due in the same minute by its uncertainty.
    """
    least = TENTHS - 1 - case.tenth
    if case.severity == EMERGENCY:
        return least
    return TENTHS * (1 + (due - EPOCH) // MINUTE) + least
