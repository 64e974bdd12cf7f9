"""``/api/v1``: what the pages show and what reviewers do, as JSON.

Whoever is signed in may ask; what changes something needs the header ``X-CSRF-Token``, whose
value ``/api/v1/me`` tells, and an ``Origin`` of this server.
"""

from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse, Response

from nethical.bundle import Bundle
from nethical.errors import UsageError
from nethical.governance.reporting import (
    deciding_model,
    enter_reported,
    reported_cases,
    table_of,
)
from nethical.governance.reviews import LEVELS, SEVERITIES, Answer, role_to_report
from nethical.web.access import GuardedRoute, TurnedAwayError, Visit, Visiting
from nethical.web.api_models import (
    AnswerIn,
    CaseId,
    CaseOut,
    ClaimedOut,
    Limit,
    ListedOut,
    MeOut,
    Offset,
    Problem,
    ReportIn,
    ReportOut,
    StateName,
    Word,
)
from nethical.web.closed_strata import closed_strata
from nethical.web.pages_configurations import listed, one_configuration, searches, study_of
from nethical.web.pages_drift import newest_reports, read_report
from nethical.web.pages_models import bundle_of, documents_of, find_version
from nethical.web.pages_review import answer_case, case_for, cases_for, claim_case, release_case
from nethical.web.pages_runs import logged_operations, logged_run, logged_runs, told_of

__all__ = ["router"]

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": what}
    for status, what in (
        (400, "the request cannot be read"),
        (401, "nobody is signed in"),
        (403, "not by this person, or not from this server"),
        (404, "there is none"),
        (409, "not now, or not any more"),
        (422, "a value is not one that is taken"),
    )
}
router = APIRouter(route_class=GuardedRoute, responses=REFUSALS)
V1 = "/api/v1"
Document = dict[str, Any]


@router.get(f"{V1}/openapi.json", include_in_schema=False)
def openapi(visit: Visiting) -> Response:
    """Return the description of this interface."""
    from nethical import __version__

    app = visit.request.app
    told = get_openapi(
        title="Nethical", version=__version__, routes=app.routes, description=__doc__ or ""
    )
    return JSONResponse(told)


@router.get(f"{V1}/me")
def me(visit: Visiting) -> MeOut:
    """Return who is signed in."""
    session = visit.session
    return MeOut(name=visit.name, role=visit.person.role, csrf=session.csrf if session else "")


@router.get(f"{V1}/runs")
def runs(visit: Visiting, limit: Limit = 50, offset: Offset = 0) -> list[Document]:
    """Return runs of the audit log, the newest first."""
    return logged_runs(visit.desk, limit=limit, offset=offset)


@router.get(f"{V1}/runs/{{run_id}}")
def run(visit: Visiting, run_id: Word) -> Document:
    """Return a run with its facts in order."""
    found, events = logged_run(visit.desk, run_id)
    return {**found, "facts": [{"index": event.index, **told_of(event)} for event in events]}


@router.get(f"{V1}/operations")
def operations(visit: Visiting, limit: Limit = 50, offset: Offset = 0) -> list[Document]:
    """Return what the audit log tells beside runs, the newest first; of answers only whose."""
    return logged_operations(visit.desk, limit=limit, offset=offset)


@router.get(f"{V1}/models")
def models(visit: Visiting) -> list[Document]:
    """Return the versions of the registry, the newest first."""
    return [
        {
            "model_id": version.model_id,
            "name": version.name,
            "status": version.status,
            "published_at": version.published_at,
            **version.details,
        }
        for version in visit.desk.registry.versions()[::-1]
    ]


@router.get(f"{V1}/models/{{model_id}}")
def model(visit: Visiting, model_id: Word) -> Document:
    """Return a model whose signature holds, with its metrics."""
    version = find_version(visit.desk, model_id)
    bundle = bundle_of(visit.desk, model_id)
    if not isinstance(bundle, Bundle):
        raise bundle
    return {
        "model_id": model_id,
        "name": version.name,
        "status": version.status,
        "fingerprint": bundle.fingerprint,
        "claims": dict(bundle.claims),
        "metrics": dict(documents_of(bundle)["metrics.json"].document),
    }


@router.get(f"{V1}/drift/reports")
def drift_reports(visit: Visiting) -> list[Document]:
    """Return what each drift report says in short, the newest first."""
    return newest_reports(visit.desk.places.drift_report_dir)


@router.get(f"{V1}/drift/reports/{{report_id}}")
def drift_report(visit: Visiting, report_id: Word) -> Document:
    """Return a drift report."""
    return dict(read_report(visit.desk.places.drift_report_dir, report_id).document)


@router.get(f"{V1}/configurations")
def configurations(visit: Visiting) -> list[Document]:
    """Return the configurations, the newest first."""
    return listed(visit.desk.store)


@router.get(f"{V1}/configurations/{{configuration_id}}")
def configuration(visit: Visiting, configuration_id: Word) -> Document:
    """Return a configuration: choices, figures, gate reports and moves."""
    return one_configuration(visit.desk.store, configuration_id)


@router.get(f"{V1}/searches")
def all_searches(visit: Visiting) -> list[Document]:
    """Return the searches, the newest first."""
    return searches(visit.desk.store)


@router.get(f"{V1}/searches/{{study}}")
def search(visit: Visiting, study: Word) -> Document:
    """Return a search with its trials; the first 12 hex digits of its id suffice."""
    return study_of(visit.desk.store, study)


@router.get(f"{V1}/review/counts")
def counts(visit: Visiting) -> dict[str, int]:
    """Return how many cases are in each state."""
    return visit.desk.queue.counts()


@router.get(f"{V1}/review/figures")
def figures(visit: Visiting) -> Document:
    """Return how reviewing goes; by stratum, of closed cases alone."""
    queue = visit.desk.queue
    strata = {name: one.to_document() for name, one in closed_strata(queue.store).items()}
    return {**queue.stats().to_document(), "strata": strata}


@router.get(f"{V1}/review/cases", response_model=list[ListedOut])
def cases(
    visit: Visiting, state: StateName | None = None, limit: Limit = 50, offset: Offset = 0
) -> Any:  # noqa: ANN401 - checked by the response model
    """Return cases in the order of their entry, without what a reviewer must not know."""
    found = cases_for(visit, state, limit=limit, offset=offset)
    return [case.to_document() for case in found]


@router.get(f"{V1}/review/cases/{{case_id}}", response_model=CaseOut)
def case(visit: Visiting, case_id: CaseId) -> Any:  # noqa: ANN401 - likewise
    """Return a case as this person may see it."""
    return case_for(visit, case_id).to_document()


@router.post(f"{V1}/review/reports", response_model=ReportOut)
def report(visit: Visiting, given: ReportIn) -> Any:  # noqa: ANN401 - likewise
    """Let people look at rows of what a name has in production, whatever it said of them."""
    desk = visit.desk
    current = desk.registry.current(given.name)
    if current is None:
        raise UsageError(
            f"{given.name} has nothing in production",
            mend="name one of the models that are, as /api/v1/models tells",
        )
    severity = LEVELS[given.severity] if isinstance(given.severity, str) else given.severity
    if not visit.person.may_act_as(needed := role_to_report(severity)):
        raise TurnedAwayError(403, f"Only an {needed} reports rows as {SEVERITIES[severity]}.")
    model_id, model = deciding_model(desk.registry, current.name)
    frame = table_of(model, given.rows)
    cases = reported_cases(model, model_id, desk.keys.row_key(), frame, severity)
    told = {"name": model.name, "severity": SEVERITIES[severity], "rows": str(len(given.rows))}
    with desk.recorded("review report", visit.name, **told):
        return enter_reported(desk.queue, model, cases, severity)


@router.post(f"{V1}/review/claim", response_model=ClaimedOut | None)
def claim(visit: Visiting) -> Any:  # noqa: ANN401 - likewise
    """Claim the case that comes first; null where there is none for this person."""
    claimed = claim_case(visit)
    return None if claimed is None else claimed.to_document()


@router.post(f"{V1}/review/cases/{{case_id}}/answer", response_model=CaseOut)
def answer(visit: Visiting, case_id: CaseId, given: AnswerIn) -> Any:  # noqa: ANN401 - likewise
    """Answer a case that this person claimed."""
    return _answered(visit, case_id, given, third=False)


@router.post(f"{V1}/review/cases/{{case_id}}/adjudicate", response_model=CaseOut)
def adjudicate(visit: Visiting, case_id: CaseId, given: AnswerIn) -> Any:  # noqa: ANN401 - likewise
    """Decide a case in which two people did not agree."""
    return _answered(visit, case_id, given, third=True)


@router.post(f"{V1}/review/cases/{{case_id}}/release", status_code=204)
def release(visit: Visiting, case_id: CaseId) -> None:
    """Give a claimed case back unanswered."""
    release_case(visit, case_id)


def _answered(visit: Visit, case_id: str, given: AnswerIn, *, third: bool) -> Document:
    try:
        whole = Answer(given.decision, tuple(given.tags), given.rationale, given.confidence)
    except UsageError as error:
        raise TurnedAwayError(422, f"{error.what}: {error.mend}") from error
    return answer_case(visit, case_id, whole, third=third).to_document()
