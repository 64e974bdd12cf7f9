"""Runs as the audit log tells them, and the log verified in place."""

from threading import Lock
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from nethical.audit.rotation import open_log
from nethical.audit.runs import Event, LoggedRun, all_runs
from nethical.audit.verification import believed, located, verify
from nethical.errors import IntegrityError, NethicalError
from nethical.reports.blocks import seconds_between
from nethical.web.access import GuardedRoute, TurnedAwayError, Visit, Visiting
from nethical.web.desk import Desk
from nethical.web.rendering import page

__all__ = ["has_log", "router", "run_document", "runs_of", "told_of"]

router = APIRouter(route_class=GuardedRoute)

ONE_AT_A_TIME = Lock()
OWN = {"event_type", "run_id", "timestamp"}
MOST_FAULTS = 50
# Of what kinds the cases of a run are, for who reads it may be asked about them: where all are of
# one kind that is what the model said of each. The log has it, and `nethical audit show` tells it.
UNTOLD = {"reviews_asked": {"drawn"}}
BRIEF = 120


def has_log(desk: Desk) -> bool:
    """Return whether there is a log to read."""
    return (desk.places.audit_path / "log" / "checkpoint").exists()


def runs_of(desk: Desk) -> list[LoggedRun]:
    """Return the runs of the log, the newest first; none where there is no log."""
    if not has_log(desk):
        return []
    log_path = located(desk.places.audit_path)[1]
    return all_runs(open_log(log_path, believed(log_path, desk.keys, ())))[::-1]


def run_document(run: LoggedRun) -> dict[str, Any]:
    """Return what a list tells of a run."""
    first, last = run.events[0], run.events[-1]
    decided, saved = run.first("gate_decided"), run.first("model_saved")
    return {
        "run_id": run.run_id,
        "began": first.at,
        "seconds": seconds_between(first.at, last.at),
        "model_type": str(first.document.get("model_type", "")),
        "verdict": str(decided.document.get("verdict", "")) if decided else "",
        "outcome": run.outcome,
        "model_id": str(saved.document.get("model_id", "")) if saved else "",
        "events": len(run.events),
    }


@router.get("/runs", include_in_schema=False)
def runs(visit: Visiting) -> Response:
    """List the runs."""
    return _listed(visit)


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


def _listed(visit: Visit, *, verified: Any = None, refusal: Any = None) -> Response:  # noqa: ANN401 - shown as they are
    desk = visit.desk
    told, broken = [], refusal
    try:
        told = [run_document(run) for run in runs_of(desk)]
    except NethicalError as error:
        broken = broken or error
    return page(
        visit,
        "runs",
        runs=told,
        has_log=has_log(desk),
        path=desk.places.audit_path,
        verified=verified,
        broken=broken,
        most=MOST_FAULTS,
    )


@router.get("/runs/{run_id}", include_in_schema=False)
def run(visit: Visiting, run_id: str) -> Response:
    """Show one run's facts in order."""
    found = next((each for each in runs_of(visit.desk) if each.run_id == run_id), None)
    if found is None:
        raise TurnedAwayError(404, "The log holds no such run.")
    begun = found.events[0].at
    facts = [
        {
            "index": event.index,
            "at": event.at,
            "after": seconds_between(begun, event.at),
            "kind": event.event_type,
            "told": {k: v for k, v in told_of(event).items() if k not in OWN},
            "brief": _brief(event),
            "leaf_hash": event.leaf_hash.hex(),
        }
        for event in found.events
    ]
    return page(visit, "run", run=run_document(found), facts=facts)


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
