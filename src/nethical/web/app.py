"""The pages as one app: their routes, what answers errors, and the guard around it all."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from nethical.errors import DataError, IntegrityError, NethicalError, StorageError
from nethical.web import (
    api,
    pages_account,
    pages_configurations,
    pages_drift,
    pages_home,
    pages_models,
    pages_people,
    pages_review,
    pages_runs,
)
from nethical.web.access import TurnedAwayError, Visit, check_access
from nethical.web.attempts import TooOftenError
from nethical.web.desk import Desk
from nethical.web.rendering import page, readable
from nethical.web.security import SAFE, Door, Guard

__all__ = ["create_app"]

THREADS = 8
SUBJECTS = (
    *(pages_home, pages_runs, pages_models, pages_drift, pages_configurations),
    *(pages_review, pages_account, pages_people, api),
)


def create_app(desk: Desk, door: Door | None = None) -> Guard:
    """Return the app.

    Args:
        desk: What is behind the pages.
        door: By which names it is reached; by default those of the loopback.
    """
    door = door or Door()
    app = FastAPI(
        title="Nethical", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_few_threads
    )
    app.state.desk = desk
    app.state.is_https = door.is_https
    app.state.cookie = "__Host-nethical" if door.is_https else "nethical"
    app.state.form_cookie = f"{app.state.cookie}-form"
    for subject in SUBJECTS:
        for route in subject.router.routes:
            app.router.routes.append(route)
    check_access(app)
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return Guard(app, door)


@asynccontextmanager
async def _few_threads(_: FastAPI) -> AsyncIterator[None]:
    """Answer about as many at once as the store keeps connections open: more cost memory."""
    current_default_thread_limiter().total_tokens = THREADS
    yield


def _answer(request: Request, status: int, what: str, mend: str = "") -> Response:
    """Answer with what is wrong and how to mend it, as a page or as JSON."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": readable(what), "mend": readable(mend)}, status)
    visit = getattr(request.state, "visit", None)
    visit = visit or Visit(request, request.app.state.desk, None, {})
    title = HTTPStatus(status).phrase
    return page(visit, "error", status=status, title=title, what=what, mend=mend)


def _turned_away(request: Request, error: Any) -> Response:  # noqa: ANN401 - a TurnedAwayError
    is_page = not request.url.path.startswith("/api/")
    if error.status == HTTPStatus.UNAUTHORIZED and is_page:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back = f"?next={quote(path)}" if request.method in SAFE and path != "/" else ""
        return RedirectResponse(f"/sign-in{back}", HTTPStatus.SEE_OTHER)
    return _answer(request, error.status, error.why)


def _refused(request: Request, error: Any) -> Response:  # noqa: ANN401 - a NethicalError
    match error:
        case TooOftenError():
            status = HTTPStatus.TOO_MANY_REQUESTS
        case StorageError():
            status = HTTPStatus.SERVICE_UNAVAILABLE
        case DataError():
            status = HTTPStatus.UNPROCESSABLE_ENTITY
        case _:
            status = HTTPStatus.CONFLICT
    visit = getattr(request.state, "visit", None)
    is_stranger = visit is None or visit.session is None
    if is_stranger and isinstance(error, StorageError | IntegrityError):
        # Where the store lies is not theirs to know; who runs the server reads it there.
        logging.getLogger("uvicorn.error").error("%s; %s", error.what, error.mend)
        return _answer(request, status, "The pages cannot be made now.", "Tell who runs them.")
    return _answer(request, status, error.what, error.mend)


def _invalid(request: Request, error: Any) -> Response:  # noqa: ANN401 - a RequestValidationError
    """Say which fields are wrong, and not what they held: it may be a secret, or no text."""
    told = "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:10]
    )
    return _answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, told)


def _no_route(request: Request, error: Any) -> Response:  # noqa: ANN401 - an HTTPException
    return _answer(request, error.status_code, str(error.detail))


def _bug(request: Request, _: Exception) -> Response:
    return _answer(request, 500, "This is a bug of nethical.", "Tell who runs this server.")


HANDLERS: dict[Any, Callable[..., Response]] = {
    TurnedAwayError: _turned_away,
    NethicalError: _refused,
    RequestValidationError: _invalid,
    HTTPException: _no_route,
    Exception: _bug,
}
