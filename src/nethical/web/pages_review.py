"""The review queue: counts, a case at a time, blind until it is answered; and adjudication."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from nethical.errors import UsageError
from nethical.governance.reviews import TAGS, Answer, CaseView, ListedCase, State
from nethical.web.access import GuardedRoute, TurnedAwayError, Visit, Visiting
from nethical.web.answers import answer_of, laid_out, typed
from nethical.web.closed_strata import closed_strata
from nethical.web.rendering import PER_PAGE, page, page_number, sentence

__all__ = ["answer_case", "case_for", "cases_for", "claim_case", "release_case", "router"]

router = APIRouter(route_class=GuardedRoute)

WAITING = 20
NOTHING = {"decision": "", "tags": [], "rationale": "", "confidence": ""}


def case_for(visit: Visit, case_id: str) -> CaseView:
    """Return a case as this person may see it.

    Raises:
        TurnedAwayError: There is none of that id.
    """
    try:
        found = visit.desk.queue.case(case_id, visit.name)
    except UsageError as error:
        raise TurnedAwayError(404, "There is no such case.") from error
    return found if visit.person.may_act_as("reviewer") else replace(found, may="")


def cases_for(visit: Visit, state: str | None, *, limit: int, offset: int) -> list[ListedCase]:
    """Return cases as this person may see them in a list; a viewer may do nothing with them."""
    found = visit.desk.queue.listed(state, reviewer=visit.name, limit=limit, offset=offset)
    if visit.person.may_act_as("reviewer"):
        return found
    return [replace(one, may="") for one in found]


def claim_case(visit: Visit) -> Any:  # noqa: ANN401 - a Claimed or None
    """Claim what comes first."""
    with visit.desk.recorded("review claim", visit.name):
        return visit.desk.queue.claim(visit.name)


def release_case(visit: Visit, case_id: str) -> None:
    """Give a case back unanswered."""
    case_for(visit, case_id)
    with visit.desk.recorded("review release", visit.name, case=case_id):
        visit.desk.queue.release(case_id, visit.name)


def answer_case(visit: Visit, case_id: str, answer: Answer, *, third: bool) -> CaseView:
    """Keep an answer, and return the case as this person may see it now.

    Args:
        visit: Whose answer it is.
        case_id: The case.
        answer: The answer.
        third: Whether it decides between two others.
    """
    case_for(visit, case_id)
    queue = visit.desk.queue
    keep, what = (queue.adjudicate, "adjudicate") if third else (queue.submit, "submit")
    told = {"case": case_id, "answer": answer.sealed(case_id, visit.desk.keys.row_key())}
    if third:  # nobody is to answer after them
        told["decision"] = answer.decision
    with visit.desk.recorded(f"review {what}", visit.name, **told):
        return keep(case_id, visit.name, answer)


@router.get("/review", include_in_schema=False)
def review(visit: Visiting, none: str = "") -> Response:
    """Show what waits, and a button that gives the next case."""
    queue, me = visit.desk.queue, visit.person
    counts, waiting = queue.counts(), []
    if counts[State.ADJUDICATING] and me.may_act_as("reviewer"):
        waiting = queue.listed(State.ADJUDICATING.value, reviewer=me.name, limit=PER_PAGE)
    return page(
        visit,
        "review",
        counts=counts,
        waiting=[case for case in waiting if case.may == "adjudicate"][:WAITING],
        has_none=bool(none),
    )


@router.get("/review/cases", include_in_schema=False)
def cases(visit: Visiting, state: str = "", number: str = "1") -> Response:
    """List cases, without what a reviewer must not know."""
    chosen = state if state in {one.value for one in State} else None
    place = page_number(number)
    found = cases_for(visit, chosen, limit=PER_PAGE + 1, offset=(place - 1) * PER_PAGE)
    return page(
        visit,
        "cases",
        state=chosen or "",
        cases=found[:PER_PAGE],
        number=place,
        has_more=len(found) > PER_PAGE,
    )


@router.get("/review/figures", include_in_schema=False)
def figures(visit: Visiting) -> Response:
    """Show how reviewing goes."""
    queue = visit.desk.queue
    return page(visit, "figures", figures=queue.stats(), strata=closed_strata(queue.store))


@router.post("/review/claim", include_in_schema=False)
def claim(visit: Visiting) -> Response:
    """Claim the next case, and go there."""
    claimed = claim_case(visit)
    if claimed is None:
        return RedirectResponse("/review?none=1", 303)
    return RedirectResponse(f"/review/cases/{claimed.case.case_id}", 303)


@router.get("/review/cases/{case_id}", include_in_schema=False)
def case(visit: Visiting, case_id: str, whole: str = "") -> Response:
    """Show a case, and what this person may do with it."""
    return _case(visit, case_for(visit, case_id), NOTHING, whole=bool(whole))


def _case(
    visit: Visit,
    found: CaseView,
    given: dict[str, Any],
    *,
    whole: bool = False,
    status: int = 200,
    message: str = "",
) -> Response:
    return page(
        visit,
        "case",
        status=status,
        case=found,
        may=found.may,
        layout=laid_out(found.features, whole=whole),
        typed=given,
        tags=TAGS,
        message=message,
    )


@router.post("/review/cases/{case_id}/answer", include_in_schema=False)
def answer(visit: Visiting, case_id: str) -> Response:
    """Keep an answer, and show what the model said."""
    return _answered(visit, case_id, third=False)


@router.post("/review/cases/{case_id}/adjudicate", include_in_schema=False)
def adjudicate(visit: Visiting, case_id: str) -> Response:
    """Decide between two answers."""
    return _answered(visit, case_id, third=True)


def _answered(visit: Visit, case_id: str, *, third: bool) -> Response:
    found = case_for(visit, case_id)
    try:
        given = answer_of(visit)
    except UsageError as error:
        return _case(visit, found, typed(visit), status=422, message=sentence(error))
    answer_case(visit, case_id, given, third=third)
    return RedirectResponse(f"/review/cases/{case_id}", 303)


@router.post("/review/cases/{case_id}/release", include_in_schema=False)
def release(visit: Visiting, case_id: str) -> Response:
    """Give a case back unanswered."""
    release_case(visit, case_id)
    return RedirectResponse("/review", 303)
