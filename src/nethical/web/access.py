"""Who may do what: one table of all routes, and the one kind of route that is held to it.

A request is let in before anything of it is read but its headers, its cookie and its form.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from nethical.governance.people import Person
from nethical.web.desk import Desk
from nethical.web.security import SAFE
from nethical.web.sessions import Session

__all__ = ["ACCESS", "OPEN", "GuardedRoute", "TurnedAwayError", "Visit", "Visiting", "check_access"]

OPEN = "open"
VIEWER, REVIEWER, APPROVER, ADMIN = "viewer", "reviewer", "approver", "admin"
MOST_FIELDS = 60
NUL = "\0"

ACCESS: Mapping[tuple[str, str], str] = {
    ("GET", "/static/{name}"): OPEN,
    ("GET", "/sign-in"): OPEN,
    ("POST", "/sign-in"): OPEN,
    ("POST", "/sign-out"): VIEWER,
    ("GET", "/"): VIEWER,
    ("GET", "/runs"): VIEWER,
    ("GET", "/runs/{run_id}"): VIEWER,
    ("POST", "/runs/verify"): VIEWER,
    ("GET", "/operations"): VIEWER,
    ("GET", "/models"): VIEWER,
    ("GET", "/models/compare"): VIEWER,
    ("GET", "/models/{model_id}"): VIEWER,
    ("GET", "/drift"): VIEWER,
    ("GET", "/drift/{report_id}"): VIEWER,
    ("GET", "/drift/{report_id}/page"): VIEWER,
    ("GET", "/configurations"): VIEWER,
    ("GET", "/configurations/{configuration_id}"): VIEWER,
    ("POST", "/configurations/{configuration_id}/promote"): APPROVER,
    ("POST", "/configurations/{configuration_id}/move"): APPROVER,
    ("POST", "/production/{name}/rollback"): APPROVER,
    ("GET", "/searches/{study}"): VIEWER,
    ("GET", "/review"): VIEWER,
    ("GET", "/review/cases"): VIEWER,
    ("GET", "/review/figures"): APPROVER,
    ("POST", "/review/claim"): REVIEWER,
    ("GET", "/review/cases/{case_id}"): VIEWER,
    ("POST", "/review/cases/{case_id}/answer"): REVIEWER,
    ("POST", "/review/cases/{case_id}/release"): REVIEWER,
    ("POST", "/review/cases/{case_id}/adjudicate"): REVIEWER,
    ("GET", "/account"): VIEWER,
    ("POST", "/account/password"): VIEWER,
    ("GET", "/people"): ADMIN,
    ("POST", "/people"): ADMIN,
    ("POST", "/people/{name}/disable"): ADMIN,
    ("POST", "/people/{name}/enable"): ADMIN,
    ("POST", "/people/{name}/role"): ADMIN,
    ("POST", "/people/{name}/password"): ADMIN,
    ("GET", "/api/v1/openapi.json"): VIEWER,
    ("GET", "/api/v1/me"): VIEWER,
    ("GET", "/api/v1/runs"): VIEWER,
    ("GET", "/api/v1/runs/{run_id}"): VIEWER,
    ("GET", "/api/v1/operations"): VIEWER,
    ("GET", "/api/v1/models"): VIEWER,
    ("GET", "/api/v1/models/{model_id}"): VIEWER,
    ("GET", "/api/v1/drift/reports"): VIEWER,
    ("GET", "/api/v1/drift/reports/{report_id}"): VIEWER,
    ("GET", "/api/v1/configurations"): VIEWER,
    ("GET", "/api/v1/configurations/{configuration_id}"): VIEWER,
    ("GET", "/api/v1/searches"): VIEWER,
    ("GET", "/api/v1/searches/{study}"): VIEWER,
    ("GET", "/api/v1/review/counts"): VIEWER,
    ("GET", "/api/v1/review/figures"): APPROVER,
    ("GET", "/api/v1/review/cases"): VIEWER,
    ("GET", "/api/v1/review/cases/{case_id}"): VIEWER,
    ("POST", "/api/v1/review/reports"): REVIEWER,
    ("POST", "/api/v1/review/claim"): REVIEWER,
    ("POST", "/api/v1/review/cases/{case_id}/answer"): REVIEWER,
    ("POST", "/api/v1/review/cases/{case_id}/release"): REVIEWER,
    ("POST", "/api/v1/review/cases/{case_id}/adjudicate"): REVIEWER,
}


class TurnedAwayError(Exception):
    """A request that is answered with a status and a sentence.

    Args:
        status: Of the answer.
        why: For the person who asked.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(frozen=True)
class Visit:
    """A request that was let in.

    Args:
        request: The request.
        desk: What is behind the pages.
        session: Whose it is; None only where a route is open.
        form: The fields that were sent, each with its values.
    """

    request: Request
    desk: Desk
    session: Session | None
    form: Mapping[str, list[str]]

    @property
    def person(self) -> Person:
        """Who asks.

        Raises:
            TurnedAwayError: Nobody is signed in.
        """
        if self.session is None:
            raise TurnedAwayError(401, "Sign in first.")
        return self.session.person

    @property
    def name(self) -> str:
        """Whose name what is done here gets."""
        return self.person.name

    @property
    def address(self) -> str:
        """Where the request came from; empty where that is not known."""
        client = self.request.client
        return client.host if client else ""

    def field(self, name: str) -> str:
        """Return the first value of a field, empty if it was not sent."""
        return (self.form.get(name) or [""])[0]


class GuardedRoute(APIRoute):
    """A route of the table."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Return what answers a request, once it was let in."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            await run_in_threadpool(admitted, request, self.path)
            return await inner(request)

        return handler


def admitted(request: Request, path: str) -> Visit:
    """Let a request in if the table of routes allows it.

    Args:
        request: The request.
        path: Of its route, with the names of what varies.

    Raises:
        TurnedAwayError: Nobody is signed in, or somebody who may not, or the token is missing.
    """
    role = ACCESS[request.method, path]
    desk: Desk = request.app.state.desk
    token = request.cookies.get(request.app.state.cookie)
    session = desk.sessions.find(token) if token and not _is_static(request) else None
    visit = request.state.visit = Visit(request, desk, session, _form(request))
    if role != OPEN:
        if session is None:
            raise TurnedAwayError(401, "Sign in first.")
        if not session.person.may_act_as(role):
            raise TurnedAwayError(403, f"This needs somebody who may act as {role}.")
        if request.method not in SAFE:
            _check_token(visit, session.csrf)
    return visit


async def _visit(request: Request) -> Visit:
    visit: Visit = request.state.visit
    return visit


Visiting = Annotated[Visit, Depends(_visit)]


def _is_static(request: Request) -> bool:
    return request.url.path.startswith("/static/")


def _check_token(visit: Visit, expected: str) -> None:
    given = visit.request.headers.get("x-csrf-token") or visit.field("csrf")
    if not compare_digest(given.encode(), expected.encode()):
        raise TurnedAwayError(403, "This form is out of date: open its page again, and send it.")


def _form(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form; only the plain kind of form is read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body: bytes = getattr(request.state, "body", b"")
    found: dict[str, list[str]] = {}
    if kind != "application/x-www-form-urlencoded" or not body:
        return found
    try:
        pairs = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS
        )
    except ValueError as error:
        raise TurnedAwayError(400, "This form has too many fields.") from error
    for name, value in pairs:
        if NUL in value:
            raise TurnedAwayError(422, f"The field {name[:40]!r} holds a character that is none.")
        found.setdefault(name, []).append(value.replace("\r\n", "\n"))
    return found


def check_access(app: FastAPI) -> None:
    """Refuse an app of which a route is not in the table, or the table of which has others.

    Raises:
        AssertionError: There is such a route.
    """
    routes = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, GuardedRoute)
        for method in route.methods or ()
    }
    others = [route for route in app.routes if not isinstance(route, GuardedRoute)]
    if routes != set(ACCESS) or others:
        differing = sorted(routes ^ set(ACCESS))
        raise AssertionError(f"routes and their table differ: {differing}, {others}")
