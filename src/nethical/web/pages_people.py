"""The people who may sign in: their roles, and what an admin changes of them."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from nethical.errors import UsageError
from nethical.governance.people import LONGEST_PASSWORD, ROLES, SHORTEST_PASSWORD
from nethical.web.access import GuardedRoute, TurnedAwayError, Visit, Visiting
from nethical.web.rendering import page, sentence

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)

DONE = {
    "add": "They may sign in now.",
    "disable": "They sign in no more, and their sessions are ended.",
    "enable": "They may sign in again, with the password that they had.",
    "role": "The role is another one, from now on and in the sessions that they have.",
    "password": "The password is another one, and their sessions are ended.",
}


@router.get("/people", include_in_schema=False)
def people(visit: Visiting, done: str = "") -> Response:
    """List everybody, with what can be changed of each and a form for somebody new."""
    return _people(visit, done=DONE.get(done, ""))


def _people(visit: Visit, *, status: int = 200, **shown: Any) -> Response:  # noqa: ANN401 - for the template
    return page(
        visit,
        "people",
        status=status,
        people=visit.desk.people.listed(),
        roles=ROLES,
        shortest=SHORTEST_PASSWORD,
        longest=LONGEST_PASSWORD,
        **{"message": "", "refusal": "", "done": "", "typed": {"name": "", "role": "reviewer"}}
        | shown,
    )


@router.post("/people", include_in_schema=False)
def add(visit: Visiting) -> Response:
    """Add a person."""
    name, role = visit.field("name").strip(), visit.field("role")
    try:
        password = _password(visit)
        with visit.desk.recorded("review users add", visit.name, name=name, role=role):
            visit.desk.people.add(name, role, password, by=visit.name)
    except UsageError as error:
        typed = {"name": name, "role": role}
        return _people(visit, status=422, message=sentence(error), typed=typed)
    return RedirectResponse("/people?done=add", 303)


@router.post("/people/{name}/disable", include_in_schema=False)
def disable(visit: Visiting, name: str) -> Response:
    """Let a person sign in no more."""
    return _change(visit, name, "disable", lambda: visit.desk.people.disable(name, by=visit.name))


@router.post("/people/{name}/enable", include_in_schema=False)
def enable(visit: Visiting, name: str) -> Response:
    """Let a person sign in again."""
    return _change(visit, name, "enable", lambda: visit.desk.people.enable(name, by=visit.name))


@router.post("/people/{name}/role", include_in_schema=False)
def role(visit: Visiting, name: str) -> Response:
    """Give a person another role."""
    new = visit.field("role")
    change = lambda: visit.desk.people.set_role(name, new, by=visit.name)  # noqa: E731 - said once
    return _change(visit, name, "role", change, role=new)


@router.post("/people/{name}/password", include_in_schema=False)
def password(visit: Visiting, name: str) -> Response:
    """Give a person another password."""
    return _change(
        visit,
        name,
        "password",
        lambda: visit.desk.people.set_password(name, _password(visit), by=visit.name),
    )


def _change(
    visit: Visit, name: str, what: str, change: Callable[[], object], **told: str
) -> Response:
    """Change a person, and show everybody; or say above them why it was refused.

    Args:
        visit: Of an admin.
        name: Who is changed.
        what: As the command line calls it.
        change: Does it.
        told: What the log is told beside that.
    """
    if visit.desk.people.find(name) is None:
        raise TurnedAwayError(404, "There is nobody of that name.")
    if name == visit.name:
        raise TurnedAwayError(
            409,
            "Let another admin do this, so that one is left. Your own password you change on the "
            "page that your name leads to.",
        )
    try:
        with visit.desk.recorded(f"review users {what}", visit.name, name=name, **told):
            change()
    except UsageError as error:
        return _people(visit, status=422, refusal=f"{name}: {sentence(error)}")
    return RedirectResponse(f"/people?done={what}", 303)


def _password(visit: Visit) -> str:
    """Return a password that was typed twice.

    Raises:
        UsageError: The two differ.
    """
    typed = visit.field("password")
    if typed != visit.field("again"):
        raise UsageError("the two passwords differ", mend="type the same one twice")
    return typed
