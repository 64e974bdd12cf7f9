"""What every answer says to browsers, and what is too large or too slow."""

import pytest
from starlette.testclient import TestClient

from nethical.web import security
from nethical.web.app import create_app
from nethical.web.security import LARGEST_BODY, Door

ANSWERS = [
    ("/sign-in", 200),
    ("/", 303),
    ("/nowhere", 404),
    ("/api/v1/me", 401),
]


def check_headers(answer):
    policy = answer.headers["content-security-policy"]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    for name in ("style-src", "script-src", "img-src", "form-action", "connect-src"):
        assert directives[name] == "'self'"
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        *[(host, True) for host in ("LOCALHOST", "127.0.0.1:1", "[::1]:8321", "risk.example")],
        *[
            (host, False)
            for host in ("localhost/x", "localhost:", "localhost:8321/..", "a@localhost")
        ],
        *[
            (host, False)
            for host in ("localhost:80:80", "[::1", "::1", "localhost:123456", " localhost")
        ],
    ],
)
def test_a_host_is_a_name_and_perhaps_a_port_and_nothing_else(host, is_known):
    assert Door(frozenset({"risk.example"})).knows(host) is is_known


@pytest.mark.parametrize(
    ("origin", "host", "is_ours"),
    [
        ("http://localhost", "localhost:80", True),
        ("HTTP://LOCALHOST:8321", "localhost:8321", True),
        ("http://[::1]:8321", "[::1]:8321", True),
        ("http://localhost:8321/", "localhost:8321", False),
        ("http://localhost:8321 http://localhost:8321", "localhost:8321", False),
        ("http://127.0.0.1:8321", "localhost:8321", False),
        ("null", "localhost:8321", False),
    ],
)
def test_an_origin_is_ours_if_it_is_the_host_that_was_asked(origin, host, is_ours):
    assert Door().is_ours(origin, host) is is_ours


@pytest.mark.parametrize(("path", "status"), ANSWERS)
def test_every_answer_says_that_nothing_may_run_or_frame_or_be_kept(looked_at, path, status):
    answer = looked_at.browser().get(path)
    assert answer.status_code == status
    check_headers(answer)


def test_refusals_of_the_guard_say_so_too(looked_at):
    nobody = looked_at.browser()
    refused = [
        nobody.get("/", headers={"host": "evil.example"}),
        nobody.client.post("/sign-in"),
        nobody.client.post("/sign-in", headers=nobody.origin, content=b"x" * (LARGEST_BODY + 1)),
        nobody.client.post("/api/v1/review/claim"),
    ]
    assert [answer.status_code for answer in refused] == [400, 403, 413, 403]
    for answer in refused:
        check_headers(answer)
    assert refused[-1].json() == {"detail": "This was not sent from a page of this server."}


def test_only_static_files_may_be_kept(looked_at):
    answer = looked_at.browser().get("/static/style.css")
    assert answer.headers["cache-control"].endswith("immutable")
    assert answer.headers["content-type"].startswith("text/css")


def chunks(n):
    for _ in range(n):
        yield b"x" * 1024


def test_a_body_that_does_not_tell_its_size_is_cut_off_all_the_same(looked_at):
    nobody = looked_at.browser()
    answer = nobody.client.post("/sign-in", headers=nobody.origin, content=chunks(100))
    assert answer.status_code == 413


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_length_that_is_told_in_two_ways_is_refused_and_the_connection_closed(looked_at, method):
    """Where a proxy goes by the one and the server by the other, a second request hides in it."""
    nobody = looked_at.browser()
    both = {**nobody.origin, "content-length": "5", "transfer-encoding": "chunked"}
    answer = nobody.client.request(method, "/sign-in", headers=both, content=b"0\r\n\r\n")
    assert answer.status_code == 400
    assert answer.headers["connection"] == "close"
    check_headers(answer)


def test_a_size_that_is_no_number_is_refused(looked_at):
    nobody = looked_at.browser()
    headers = {**nobody.origin, "content-length": "9" * 400}
    assert nobody.client.post("/sign-in", headers=headers, content=b"x").status_code == 413


async def never():
    import asyncio

    await asyncio.sleep(10)


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    import asyncio

    monkeypatch.setattr(security, "BODY_SECONDS", 0.05)
    sent = []

    async def send(message):
        sent.append(message)

    async def app(*_):
        raise AssertionError("it was let through")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/sign-in",
        "headers": [(b"host", b"localhost"), (b"origin", b"http://localhost")],
    }
    asyncio.run(security.Guard(app, Door())(scope, never, send))
    assert sent[0]["status"] == 408


def test_a_form_with_many_fields_is_refused(looked_at):
    browser = looked_at.browser()
    answer = browser.client.post(
        "/sign-in", headers=browser.origin, data={f"f{n}": "1" for n in range(100)}
    )
    assert answer.status_code == 400


def test_over_https_cookies_are_for_https_alone(site):
    client = TestClient(
        create_app(site.desk, Door(frozenset({"risk.example"}), is_https=True)),
        base_url="https://risk.example",
        follow_redirects=False,
    )
    page = client.get("/sign-in")
    assert page.headers["strict-transport-security"] == "max-age=31536000"
    token = page.text.split('name="csrf" value="')[1].split('"')[0]
    answer = client.post(
        "/sign-in",
        data={"name": "ada", "password": site.password, "csrf": token},
        headers={"origin": "https://risk.example"},
    )
    cookies = answer.headers.get_list("set-cookie")
    own = next(one for one in cookies if one.startswith("__Host-nethical="))
    for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert word in own
    assert client.get("/").status_code == 200


def test_without_https_cookies_are_hidden_from_scripts_and_from_other_sites(site):
    answer = site.browser().sign_in("ada")
    own = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("nethical="))
    assert "HttpOnly" in own
    assert "SameSite=strict" in own


def test_a_bug_is_told_without_what_it_was(site, monkeypatch):
    browser = site.browser("ada")

    def broken():
        raise RuntimeError("a secret word")

    monkeypatch.setattr(site.desk.queue, "counts", broken)
    for path in ("/review", "/api/v1/review/counts"):
        answer = browser.get(path)
        assert answer.status_code == 500
        assert "a secret word" not in answer.text
        check_headers(answer)
