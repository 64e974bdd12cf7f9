"""The people who may sign in, and their roles."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from nethical.errors import UsageError
from nethical.governance.people import ROLES, SHORTEST_PASSWORD
from nethical.web.access import GuardedRoute, TurnedAwayError, Visit, Visiting
from nethical.web.rendering import page

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)


@router.get("/people", include_in_schema=False)
def people(visit: Visiting) -> Response:
    """List everybody, with a form for somebody new."""
    return _people(visit)


def _people(visit: Visit, *, status: int = 200, message: str = "", **typed: Any) -> Response:  # noqa: ANN401 - for the form
    return page(
        visit,
        "people",
        status=status,
        message=message,
        people=visit.desk.people.listed(),
        roles=ROLES,
        shortest=SHORTEST_PASSWORD,
        typed={"name": "", "role": "reviewer", **typed},
    )


@router.post("/people", include_in_schema=False)
def add(visit: Visiting) -> Response:
    """Add a person."""
    name, role = visit.field("name").strip(), visit.field("role")
    password = visit.field("password")
    try:
        if password != visit.field("again"):
            raise UsageError("the two passwords differ", mend="type the same one twice")
        with visit.desk.recorded("review users add", visit.name, name=name, role=role):
            visit.desk.people.add(name, role, password)
    except UsageError as error:
        said = f"{error.what[:1].upper()}{error.what[1:]}: {error.mend}."
        return _people(visit, status=422, message=said, name=name, role=role)
    return RedirectResponse("/people", 303)


@router.post("/people/{name}/disable", include_in_schema=False)
def disable(visit: Visiting, name: str) -> Response:
    """Let a person sign in no more."""
    if visit.desk.people.find(name) is None:
        raise TurnedAwayError(404, "There is nobody of that name.")
    if name == visit.name:
        raise TurnedAwayError(409, "Let another admin disable you, so that one is left.")
    with visit.desk.recorded("review users disable", visit.name, name=name):
        visit.desk.people.disable(name)
    return RedirectResponse("/people", 303)
