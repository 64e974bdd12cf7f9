"""Every route, walked: nobody is let in without a session, and nothing changes without a token."""

import pytest

from nethical.governance.people import ROLES
from nethical.web.access import ACCESS, OPEN, check_access

GUARDED = [(method, path) for (method, path), role in ACCESS.items() if role != OPEN]
UNSAFE = [(method, path) for method, path in GUARDED if method == "POST"]
EVERY_UNSAFE = [(method, path) for method, path in ACCESS if method == "POST"]
PEOPLE = {"viewer": "vera", "reviewer": "ben", "approver": "dan", "admin": "ada"}


def filled(path):
    """A path with something in its variable places."""
    for name in ("run_id", "model_id", "report_id", "configuration_id", "study", "case_id", "name"):
        path = path.replace("{" + name + "}", "something")
    assert "{" not in path
    return path


@pytest.fixture(scope="module")
def people(looked_at):
    """A browser for each role."""
    return {role: looked_at.browser(name) for role, name in PEOPLE.items()}


def test_the_table_tells_of_every_route(looked_at):
    check_access(looked_at.app.app)
    assert len(GUARDED) > 40


def test_a_route_that_is_not_in_the_table_keeps_the_app_from_being_made(looked_at):
    app = looked_at.app.app
    app.router.routes.append(app.router.routes[0].__class__("/secret", lambda: None))
    try:
        with pytest.raises(AssertionError, match="/secret"):
            check_access(app)
    finally:
        app.router.routes.pop()


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_session_a_route_leads_to_the_sign_in_or_says_401(looked_at, method, path):
    nobody = looked_at.browser()
    answer = nobody.client.request(method, filled(path), headers=nobody.origin)
    if path.startswith("/api/"):
        assert answer.status_code == 401
    else:
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in")


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("content", ["application/json", "text/plain"])
def test_without_a_session_what_was_sent_is_not_looked_at(looked_at, method, path, content):
    nobody = looked_at.browser()
    headers = {**nobody.origin, "content-type": content}
    answer = nobody.client.request(method, filled(path), headers=headers, content=b"{broken")
    assert answer.status_code in {401, 303}


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_token_that_was_never_given_is_no_session(looked_at, method, path):
    nobody = looked_at.browser()
    nobody.cookies.set("nethical", "x" * 43)
    answer = nobody.client.request(method, filled(path), headers=nobody.origin)
    assert answer.status_code in {401, 303}


@pytest.mark.parametrize(("method", "path"), UNSAFE)
@pytest.mark.parametrize("token", [None, "", "x" * 43])
def test_what_changes_something_is_refused_without_the_token(people, method, path, token):
    admin = people["admin"]
    data = {} if token is None else {"csrf": token}
    answer = admin.client.request(method, filled(path), data=data, headers=admin.origin)
    assert answer.status_code == 403
    headers = {**admin.origin, **({} if token is None else {"x-csrf-token": token})}
    assert admin.client.request(method, filled(path), headers=headers).status_code == 403


@pytest.mark.parametrize(("method", "path"), EVERY_UNSAFE)
@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "https://localhost:8321",
        "http://localhost:9000",
        "http://localhost",
        "http://evil.example",
        "http://localhost:8321.evil.example",
        "http://localhost:8321/path",
        "http://ada@localhost:8321",
        "http://[broken",
    ],
)
def test_what_changes_something_is_refused_from_a_foreign_page(people, method, path, origin):
    admin = people["admin"]
    headers = {"x-csrf-token": admin.token(), **({} if origin is None else {"origin": origin})}
    answer = admin.client.request(method, filled(path), headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(("method", "path"), list(ACCESS))
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "localhost.evil.example", ""]
)
def test_every_route_is_refused_to_a_foreign_host(people, method, path, host):
    admin = people["admin"]
    headers = {"host": host, "origin": f"http://{host}", "x-csrf-token": admin.token()}
    assert admin.client.request(method, filled(path), headers=headers).status_code == 400


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_each_role_is_let_in_where_the_table_says_so_and_nowhere_else(people, method, path):
    needed = ROLES.index(ACCESS[method, path])
    for role, browser in people.items():
        if path in {"/sign-out", "/runs/verify"}:
            continue  # held elsewhere: they do what they say
        headers = {**browser.origin, "x-csrf-token": browser.token()}
        status = browser.client.request(method, filled(path), headers=headers).status_code
        assert (status == 403) == (ROLES.index(role) < needed), (role, status)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_other_methods_change_nothing(people, method):
    admin = people["admin"]
    headers = {**admin.origin, "x-csrf-token": admin.token()}
    assert admin.client.request(method, "/models", headers=headers).status_code == 405


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nowhere", "/../etc/passwd", "/static/x.css"])
def test_what_is_not_there_is_404_with_the_headers_of_all_answers(people, path):
    answer = people["viewer"].get(path)
    assert answer.status_code == 404
    assert "default-src 'none'" in answer.headers["content-security-policy"]
