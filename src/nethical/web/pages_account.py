"""What is one's own: name, role, and the password, which whoever has it may change."""

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from nethical.errors import UsageError
from nethical.governance.people import LONGEST_PASSWORD, SHORTEST_PASSWORD
from nethical.web.access import GuardedRoute, Visit, Visiting
from nethical.web.attempts import TooOftenError
from nethical.web.rendering import page, sentence

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)


@router.get("/account", include_in_schema=False)
def account(visit: Visiting, changed: str = "") -> Response:
    """Show who is signed in, and the form for another password."""
    return _account(visit, changed=bool(changed))


@router.post("/account/password", include_in_schema=False)
def change_password(visit: Visiting) -> Response:
    """Change the own password: the old one is asked, for a session alone may be somebody else's."""
    desk, me, session = visit.desk, visit.name, visit.session
    old, new = visit.field("old"), visit.field("password")
    if new != visit.field("again"):
        return _account(visit, status=422, message="The two new passwords differ.")
    seal = desk.people.seal(me)
    try:
        if desk.attempts.check(desk.people, me, old, visit.address) is None:
            return _account(visit, status=422, message="The password until now is another one.")
        if new == old:
            raise UsageError("the new password is the old one", mend="choose another one")
        keep = session.token_digest if session else ""
        with desk.recorded("account password", me):
            desk.people.change_own(me, new, seal=seal, keep=keep)
    except TooOftenError as error:
        return _account(visit, status=429, message=sentence(error))
    except UsageError as error:
        return _account(visit, status=422, message=sentence(error))
    return RedirectResponse("/account?changed=1", 303)


def _account(
    visit: Visit, *, status: int = 200, message: str = "", changed: bool = False
) -> Response:
    return page(
        visit,
        "account",
        status=status,
        message=message,
        changed=changed,
        person=visit.person,
        shortest=SHORTEST_PASSWORD,
        longest=LONGEST_PASSWORD,
    )
