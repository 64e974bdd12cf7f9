"""Runs and operations as the audit log tells them, and the log verified in place."""

from threading import Lock
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from nethical.audit.following import RunSummary
from nethical.audit.logged_operations import OPERATION, LoggedOperation
from nethical.audit.runs import Event
from nethical.audit.verification import Verified, believed, located, verify
from nethical.errors import IntegrityError, NethicalError
from nethical.reports.blocks import seconds_between
from nethical.web.access import GuardedRoute, TurnedAwayError, Visit, Visiting
from nethical.web.desk import Desk
from nethical.web.rendering import PER_PAGE, page, page_number

__all__ = [
    "has_log",
    "logged_operations",
    "logged_run",
    "logged_runs",
    "router",
    "run_document",
    "told_of",
]

router = APIRouter(route_class=GuardedRoute)

ONE_AT_A_TIME = Lock()
OWN = {"event_type", "run_id", "timestamp"}
MOST_FAULTS = 50
# Of what kinds the cases of a run are, for who reads it may be asked about them: where all are of
# one kind that is what the model said of each. The log has it, and `nethical audit show` tells it.
UNTOLD = {"reviews_asked": {"drawn"}}
# Who answers a case next must not learn what was answered to which case, nor which cases were
# reported: of these it is told that somebody did it, and a case that is closed tells the rest.
BLIND = {"review submit", "review adjudicate", "review report"}
TOLD_OF_BLIND = {"person"}
# Where the store is may hold the password of a database.
UNTOLD_ARGUMENTS = {"phase89_storage"}
BRIEF = 120


def has_log(desk: Desk) -> bool:
    """Return whether there is a log to read."""
    return (desk.places.audit_path / "log" / "checkpoint").exists()


def logged_runs(desk: Desk, *, limit: int, offset: int = 0) -> list[dict[str, Any]]:
    """Return what a list tells of runs, the newest first; none where there is no log."""
    so_far = desk.log.look()
    return [run_document(run) for run in so_far.runs(limit, offset)] if so_far else []


def logged_run(desk: Desk, run_id: str) -> tuple[dict[str, Any], list[Event]]:
    """Return what a list tells of a run, and its entries in order.

    Raises:
        TurnedAwayError: There is none of that id.
    """
    so_far = desk.log.look()
    found = so_far.run(run_id) if so_far else None
    if so_far is None or found is None:
        raise TurnedAwayError(404, "The log holds no such run.")
    return run_document(found), so_far.events_of(found)


def logged_operations(desk: Desk, *, limit: int, offset: int = 0) -> list[dict[str, Any]]:
    """Return what was done beside runs, the newest first; nothing where there is no log."""
    so_far = desk.log.look()
    return [_operation_document(one) for one in so_far.operations(limit, offset)] if so_far else []


def _operation_document(one: LoggedOperation) -> dict[str, Any]:
    """Return what may be told of an operation to whoever is signed in."""
    told = one.begun.document.get("arguments")
    if one.begun.event_type != OPERATION:
        told = {key: value for key, value in one.begun.document.items() if key not in OWN}
    arguments = dict(told) if isinstance(told, dict) else {}
    if one.command.removeprefix("serve: ") in BLIND:
        arguments = {key: arguments[key] for key in TOLD_OF_BLIND & arguments.keys()}
    return {
        "index": one.begun.index,
        "began": one.begun.at,
        "ended": one.ended.at if one.ended else None,
        "command": one.command,
        "by": one.by,
        "arguments": {k: v for k, v in arguments.items() if k not in UNTOLD_ARGUMENTS},
        "outcome": one.outcome,
    }


def run_document(run: RunSummary) -> dict[str, Any]:
    """Return what a list tells of a run."""
    return {
        "run_id": run.run_id,
        "began": run.began,
        "seconds": seconds_between(run.began, run.last),
        "model_type": run.model_type,
        "verdict": run.verdict or "",
        "outcome": run.outcome,
        "model_id": run.model_id or "",
        "events": len(run.indices),
    }


@router.get("/runs", include_in_schema=False)
def runs(visit: Visiting, number: str = "1") -> Response:
    """List the runs, the newest first."""
    return _listed(visit, number=page_number(number))


@router.post("/runs/verify", include_in_schema=False)
def verify_log(visit: Visiting) -> Response:
    """Verify the log, and show what was proved above the list of runs."""
    desk = visit.desk
    if not has_log(desk):
        raise TurnedAwayError(409, "There is no audit log to verify.")
    if not ONE_AT_A_TIME.acquire(blocking=False):
        raise TurnedAwayError(429, "The log is being verified already: try again when it is done.")
    try:
        log_path = located(desk.places.audit_path)[1]
        found = verify(desk.places.audit_path, believed(log_path, desk.keys, ()))
    except IntegrityError as error:
        return _listed(visit, refusal=error)
    finally:
        ONE_AT_A_TIME.release()
    return _listed(visit, verified=found)


def _listed(
    visit: Visit,
    *,
    number: int = 1,
    verified: Verified | None = None,
    refusal: NethicalError | None = None,
) -> Response:
    desk = visit.desk
    told: list[dict[str, Any]] = []
    broken, is_there = refusal, has_log(desk)
    try:
        told = logged_runs(desk, limit=PER_PAGE + 1, offset=(number - 1) * PER_PAGE)
    except NethicalError as error:
        broken = broken or error
    return page(
        visit,
        "runs",
        runs=told[:PER_PAGE],
        number=number,
        has_more=len(told) > PER_PAGE,
        has_log=is_there or broken is not None,
        path=desk.places.audit_path,
        verified=verified,
        broken=broken,
        most=MOST_FAULTS,
    )


@router.get("/operations", include_in_schema=False)
def operations(visit: Visiting, number: str = "1") -> Response:
    """List what was done beside runs, the newest first."""
    place = page_number(number)
    found = logged_operations(visit.desk, limit=PER_PAGE + 1, offset=(place - 1) * PER_PAGE)
    return page(
        visit,
        "operations",
        operations=found[:PER_PAGE],
        number=place,
        has_more=len(found) > PER_PAGE,
        here="/runs",
    )


@router.get("/runs/{run_id}", include_in_schema=False)
def run(visit: Visiting, run_id: str) -> Response:
    """Show one run's facts in order."""
    found, events = logged_run(visit.desk, run_id)
    facts = [
        {
            "index": event.index,
            "at": event.at,
            "after": seconds_between(found["began"], event.at),
            "kind": event.event_type,
            "told": {k: v for k, v in told_of(event).items() if k not in OWN},
            "brief": _brief(event),
            "leaf_hash": event.leaf_hash.hex(),
        }
        for event in events
    ]
    return page(visit, "run", run=found, facts=facts)


def told_of(event: Event) -> dict[str, Any]:
    """Return what pages tell of a fact."""
    untold = UNTOLD.get(event.event_type, set())
    return {key: value for key, value in event.document.items() if key not in untold}


def _brief(event: Event) -> str:
    """Return the short values of a fact on one line."""
    told = ", ".join(
        f"{key.replace('_', ' ')} {value}"
        for key, value in event.document.items()
        if key not in OWN and isinstance(value, str | int) and not str(value).startswith("sha256:")
    )
    return told if len(told) <= BRIEF else f"{told[: BRIEF - 1].rstrip()}…"
