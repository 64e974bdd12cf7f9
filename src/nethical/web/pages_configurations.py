"""Configurations, searches and gate reports; what is in production, and who moves it."""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from nethical.governance.approval import awaiting, proposers
from nethical.governance.configurations import MOVES, Status
from nethical.governance.store import GovernanceStore, in_production
from nethical.history import NAME
from nethical.web.access import GuardedRoute, TurnedAwayError, Visit, Visiting
from nethical.web.rendering import chart, page
from nethical.web.scatter import Tried, scatter

__all__ = ["listed", "one_configuration", "router", "searches", "study_of"]

router = APIRouter(route_class=GuardedRoute)

CONFIGURATION_ID = re.compile(r"cfg_[0-9a-f]{12}", re.ASCII)
STUDY = re.compile(r"[0-9a-f]{12,64}", re.ASCII)
LONGEST_REASON = 500
SHOWN_DIGITS = 12


def listed(store: GovernanceStore) -> list[dict[str, Any]]:
    """Return every configuration with what was measured of it last, the newest first."""
    measured = {row.configuration_id: row for row in store.evaluations()}
    status = store.statuses()
    found = []
    for row in store.configurations():
        last = measured.get(row.configuration_id)
        metrics: Mapping[str, Any] = last.metrics if last else {}
        found.append(
            {
                "configuration_id": row.configuration_id,
                "model_type": row.model_type,
                "name": last.name if last else None,
                "status": status.get(row.configuration_id, Status.CANDIDATE.value),
                "recall": metrics.get("recall"),
                "false_positive_rate": metrics.get("false_positive_rate"),
                "human_agreement": last.human_agreement if last else None,
                "fitness_score": last.fitness_score if last else None,
                "terms": last.terms if last else 0,
                "created_at": row.created_at,
                "created_by": row.created_by,
            }
        )
    return found


def one_configuration(store: GovernanceStore, configuration_id: str) -> dict[str, Any]:
    """Return all that is known of a configuration.

    Raises:
        TurnedAwayError: There is none of that id.
    """
    known = {row.configuration_id: row for row in store.configurations()}
    if not CONFIGURATION_ID.fullmatch(configuration_id) or configuration_id not in known:
        raise TurnedAwayError(404, "There is no such configuration.")
    row = known[configuration_id]
    choices = {key: value for key, value in row.training.items() if key != "parameters"}
    choices |= {**(row.training.get("parameters") or {}), **row.decision}
    events = [event for event in store.events() if event.configuration_id == configuration_id]
    return {
        "configuration_id": configuration_id,
        "model_type": row.model_type,
        "status": store.statuses().get(configuration_id, Status.CANDIDATE.value),
        "choices": choices,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "evaluations": [_of(one, EVALUATION) for one in store.evaluations(configuration_id)],
        "reports": [_of(one, REPORT) for one in store.reports(configuration_id)][::-1],
        "moves": [_of(event, MOVE) for event in events],
    }


EVALUATION = (
    *("name", "model_id", "gate_digest", "metrics", "human_agreement", "fitness_score"),
    *("terms", "at"),
)
REPORT = (
    *("number", "candidate", "baseline", "candidate_model", "baseline_model", "name"),
    *("gate_digest", "k", "alpha", "criteria", "verdict", "waiver", "actor", "at"),
)
MOVE = (
    *("number", "configuration_id", "name", "from_status", "to_status", "model_id"),
    *("gate_report", "actor", "reason", "at"),
)
STUDY_KEYS = ("study_id", "name", "technique", "iterations", "created_at")


def _of(row: Any, names: tuple[str, ...]) -> dict[str, Any]:  # noqa: ANN401 - a line of the store
    return {name: getattr(row, name) for name in names}


def searches(store: GovernanceStore) -> list[dict[str, Any]]:
    """Return the searches, the newest first."""
    return [
        {
            **_of(study, STUDY_KEYS),
            "short": _short(study.study_id),
            "trials": len(store.trials(study.study_id)),
        }
        for study in store.studies()
    ]


def _short(study_id: str) -> str:
    return study_id.removeprefix("sha256:")[:SHOWN_DIGITS]


def study_of(store: GovernanceStore, study: str) -> dict[str, Any]:
    """Return a search with its trials.

    Args:
        store: Where it is kept.
        study: The beginning of its digest, at least 12 hex digits.

    Raises:
        TurnedAwayError: There is none.
    """
    found = [
        each
        for each in store.studies()
        if STUDY.fullmatch(study) and each.study_id.removeprefix("sha256:").startswith(study)
    ]
    if len(found) != 1:
        raise TurnedAwayError(404, "There is no such search.")
    trials = [
        {"number": number, "parameters": parameters, "outcome": outcome}
        for number, (parameters, outcome) in store.trials(found[0].study_id).items()
    ]
    return {**_of(found[0], STUDY_KEYS), "short": _short(found[0].study_id), "trials": trials}


def _production(store: GovernanceStore) -> dict[str, Any]:
    """Return the move that put into production what is there, by model name."""
    by_name: dict[str, list[Any]] = {}
    for event in store.events():
        by_name.setdefault(event.name, []).append(event)
    found = {name: in_production(events) for name, events in by_name.items()}
    return {name: event for name, event in found.items() if event is not None}


@router.get("/configurations", include_in_schema=False)
def configurations(visit: Visiting) -> Response:
    """List what is in production, what may be approved, configurations and searches."""
    store = visit.desk.store
    return page(
        visit,
        "configurations",
        production=list(_production(store).values()),
        approvals=awaiting(store),
        configurations=listed(store),
        searches=searches(store),
        store=str(store),
    )


@router.get("/configurations/{configuration_id}", include_in_schema=False)
def configuration(visit: Visiting, configuration_id: str) -> Response:
    """Show a configuration: choices, figures, gate reports, moves, and what may be done."""
    return _shown(visit, configuration_id)


def _shown(visit: Visit, configuration_id: str, **more: Any) -> Response:  # noqa: ANN401 - for the template
    store = visit.desk.store
    told = one_configuration(store, configuration_id)
    ready = [one for one in awaiting(store) if one.candidate == configuration_id]
    own = [one.name for one in ready if visit.name in proposers(store, configuration_id, one.actor)]
    moves = [
        status.value
        for status in (Status.SHADOW, Status.REJECTED)
        if status in MOVES[Status(told["status"])] and told["evaluations"]
    ]
    return page(visit, "configuration", one=told, ready=ready, own=own, may_become=moves, **more)


@router.post("/configurations/{configuration_id}/promote", include_in_schema=False)
def promote(visit: Visiting, configuration_id: str) -> Response:
    """Put a configuration into production that passed, by somebody who did not propose it."""
    one_configuration(visit.desk.store, configuration_id)
    reason = _reason(visit)
    with visit.desk.recorded(
        "govern promote", visit.name, configuration=configuration_id, reason=reason
    ):
        visit.desk.governance.production.promote(
            configuration_id, name=visit.field("name"), reason=reason, by=visit.name
        )
    return RedirectResponse(f"/configurations/{configuration_id}", 303)


@router.post("/configurations/{configuration_id}/move", include_in_schema=False)
def move(visit: Visiting, configuration_id: str) -> Response:
    """Make a configuration shadow, or reject it."""
    one_configuration(visit.desk.store, configuration_id)
    reason, status = _reason(visit), visit.field("status")
    if status not in {Status.SHADOW.value, Status.REJECTED.value}:
        raise TurnedAwayError(422, "Choose what it becomes: shadow or rejected.")
    with visit.desk.recorded(
        "govern move", visit.name, configuration=configuration_id, status=status, reason=reason
    ):
        visit.desk.governance.production.move(
            configuration_id, status, reason=reason, by=visit.name
        )
    return RedirectResponse(f"/configurations/{configuration_id}", 303)


@router.post("/production/{name}/rollback", include_in_schema=False)
def rollback(visit: Visiting, name: str) -> Response:
    """Put back what was in production before."""
    if not NAME.fullmatch(name) or name not in visit.desk.registry.names():
        raise TurnedAwayError(404, "Nothing is in production under this name.")
    reason = _reason(visit)
    with visit.desk.recorded("govern rollback", visit.name, name=name, reason=reason):
        visit.desk.governance.production.rollback(name, reason=reason, by=visit.name)
    return RedirectResponse("/configurations", 303)


def _reason(visit: Visit) -> str:
    reason = " ".join(visit.field("reason").split())
    if not reason or len(reason) > LONGEST_REASON:
        raise TurnedAwayError(422, f"Say why, in at most {LONGEST_REASON} characters.")
    return reason


@router.get("/searches/{study}", include_in_schema=False)
def search(visit: Visiting, study: str) -> Response:
    """Show a search: its trials as dots, and as a table."""
    told = study_of(visit.desk.store, study)
    done = [one for one in told["trials"] if None not in _drawn(one["outcome"])]
    best = max(done, key=_rank, default=None)
    tried = [
        Tried(
            one["number"],
            one["outcome"]["recall"],
            one["outcome"]["false_positive_rate"],
            one is best,
        )
        for one in done
    ]
    drawn = chart(scatter(tried, title=f"{told['name']}: {told['technique'].replace('_', ' ')}"))
    return page(visit, "search", study=told, best=best, drawn=drawn if tried else "")


def _drawn(outcome: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return recall and false positive rate of a trial, None where it has none."""
    return outcome.get("recall"), outcome.get("false_positive_rate")


def _rank(trial: Mapping[str, Any]) -> tuple[float, float, int]:
    """Return what orders trials: recall, then fewer false positives, then who came first."""
    outcome = trial["outcome"]
    return (outcome["recall"], -outcome["false_positive_rate"], -trial["number"])
