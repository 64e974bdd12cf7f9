"""Signing in and out, and the first page: what waits for me, and what changed."""

import re
import secrets
from hmac import compare_digest
from typing import Any

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from nethical.governance.approval import awaiting
from nethical.governance.reviews import State
from nethical.web.access import GuardedRoute, TurnedAwayError, Visit, Visiting
from nethical.web.attempts import TooOftenError
from nethical.web.pages_drift import newest_reports
from nethical.web.rendering import STATIC, page, sentence
from nethical.web.sessions import ABSOLUTE

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)

LOCAL = re.compile(r"/(?![/\\])[\w/.?=&%+-]{0,500}", re.ASCII)
A_DAY = 86_400
LATEST = 8


@router.get("/static/{name}", include_in_schema=False)
def static(visit: Visiting, name: str) -> Response:
    """Return the style, the script or the icon."""
    del visit
    if name not in STATIC:
        raise TurnedAwayError(404, "There is no such file.")
    kind, content = STATIC[name]
    kept = {"cache-control": f"public, max-age={365 * A_DAY}, immutable"}
    return Response(content, media_type=kind, headers=kept)


@router.get("/sign-in", include_in_schema=False)
def sign_in_form(visit: Visiting, next: str = "/") -> Response:  # noqa: A002 - the field's name
    """Show the form; it comes with a token that its answer must bring back."""
    if visit.session is not None:
        return RedirectResponse(_local(next), 303)
    return _form(visit, _local(next))


@router.post("/sign-in", include_in_schema=False)
def sign_in(visit: Visiting) -> Response:
    """Sign a person in with a session of its own."""
    state = visit.request.app.state
    expected = visit.request.cookies.get(state.form_cookie, "")
    given = visit.field("csrf")
    if not expected or not compare_digest(given.encode(), expected.encode()):
        raise TurnedAwayError(403, "This form is out of date: open its page again, and send it.")
    name, back = visit.field("name").strip(), _local(visit.field("next"))
    desk = visit.desk
    seal = desk.people.seal(name)
    try:
        person = desk.attempts.check(desk.people, name, visit.field("password"), visit.address)
    except TooOftenError as error:
        return _form(visit, back, status=429, message=sentence(error))
    begun = None if person is None else desk.sessions.begin(person.name, seal)
    if begun is None:
        return _form(visit, back, status=403, message="No such name, or not with this password.")
    old = visit.request.cookies.get(state.cookie)
    if old:
        desk.sessions.end(old)
    answer = RedirectResponse(back, 303)
    _set_cookie(visit, answer, state.cookie, begun.token, int(ABSOLUTE.total_seconds()))
    answer.delete_cookie(state.form_cookie, secure=state.is_https, httponly=True, samesite="strict")
    return answer


@router.post("/sign-out", include_in_schema=False)
def sign_out(visit: Visiting) -> Response:
    """End the session; its token is worth nothing from then on."""
    state = visit.request.app.state
    visit.desk.sessions.end(visit.request.cookies.get(state.cookie, ""))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(state.cookie, secure=state.is_https, httponly=True, samesite="strict")
    return answer


@router.get("/", include_in_schema=False)
def start(visit: Visiting) -> Response:
    """Show what waits for this person, and what changed."""
    desk = visit.desk
    me = visit.person
    counts = desk.queue.counts()
    mine: list[Any] = []
    if me.may_act_as("reviewer"):
        waiting = desk.queue.listed(State.ADJUDICATING.value, reviewer=me.name)
        mine = [case for case in waiting if case.may == "adjudicate"]
    return page(
        visit,
        "start",
        counts=counts,
        adjudicating=len(mine),
        approvals=awaiting(desk.store),
        moves=desk.store.events()[-LATEST:][::-1],
        published=desk.registry.versions()[-LATEST:][::-1],
        reports=newest_reports(desk.places.drift_report_dir, LATEST),
    )


def _form(visit: Visit, back: str, *, status: int = 200, message: str = "") -> Response:
    state = visit.request.app.state
    token = visit.request.cookies.get(state.form_cookie) or secrets.token_urlsafe(32)
    nobody = not visit.desk.people.listed()
    answer = page(
        visit,
        "sign_in",
        status=status,
        form_token=token,
        back=back,
        name=visit.field("name"),
        message=message,
        nobody=nobody,
    )
    _set_cookie(visit, answer, state.form_cookie, token, A_DAY)
    return answer


def _set_cookie(visit: Visit, answer: Response, name: str, value: str, seconds: int) -> None:
    answer.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/",
        secure=visit.request.app.state.is_https,
        httponly=True,
        samesite="strict",
    )


def _local(path: str) -> str:
    """Return a path of ours to go on to; the first page for anything else."""
    return path if LOCAL.fullmatch(path) else "/"
