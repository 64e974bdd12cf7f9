"""Signing in and out: whose session it is, how long it holds, and who is kept from guessing."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from nethical.governance import tables as t
from nethical.web.attempts import MOST_HERE, MOST_OF_ADDRESS, TooOftenError


def test_who_signs_in_is_let_in_and_goes_where_they_wanted(site):
    browser = site.browser()
    assert browser.get("/models?x=1").headers["location"] == "/sign-in?next=/models%3Fx%3D1"
    assert browser.sign_in("ada", next="/models?x=1").headers["location"] == "/models?x=1"
    assert "<bdi>ada</bdi>, admin" in browser.get("/models").text


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/\nx",
        "",
    ],
)
def test_nobody_is_sent_elsewhere(site, path):
    assert site.browser().sign_in("ada", next=path).headers["location"] == "/"


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong horse battery"), ("nobody", "x" * 20), ("", ""), ("ada", "y" * 5000)],
)
def test_a_wrong_name_or_password_is_told_alike(site, name, password):
    answer = site.browser().sign_in(name, password)
    assert answer.status_code == 403
    assert "No such name, or not with this password." in answer.text
    assert not any(c.startswith("nethical=") for c in answer.headers.get_list("set-cookie"))


def test_a_stranger_is_not_told_where_a_store_is_that_cannot_be_read(site):
    ada, stranger = site.browser("ada"), site.browser()
    stranger.cookies.set("nethical", "x" * 43)
    site.desk.store.close()
    next((site.folder / "training_governance_data").glob("*.db")).write_bytes(b"no database" * 999)
    for path in ("/", "/review", "/api/v1/me"):
        for browser in (stranger, ada):
            answer = browser.get(path)
            assert answer.status_code in {409, 503}
            assert "The pages cannot be made now." in answer.text
            assert "governance" not in answer.text


def test_a_sign_in_without_the_form_is_refused(site):
    browser = site.browser()
    fields = {"name": "ada", "password": site.password}
    for data in (fields, {**fields, "csrf": ""}, {**fields, "csrf": "x" * 43}):
        answer = browser.client.post("/sign-in", data=data, headers=browser.origin)
        assert answer.status_code == 403
    browser.get("/sign-in")
    data = {**fields, "csrf": "x" * 43}
    assert browser.client.post("/sign-in", data=data, headers=browser.origin).status_code == 403


def test_the_store_holds_the_digest_of_a_token_and_not_the_token(site):
    browser = site.browser("ada")
    token = browser.cookies["nethical"]
    assert len(token) >= 43
    file = site.folder / "training_governance_data" / "governance.db"
    assert token.encode() not in file.read_bytes()
    (kept,) = sqlite3.connect(file).execute("SELECT token_digest FROM web_session").fetchone()
    assert kept.startswith("sha256:")
    assert site.desk.sessions.find(kept) is None


def test_each_sign_in_is_a_session_of_its_own_and_ends_the_one_before(site):
    browser = site.browser("ada")
    before = browser.cookies["nethical"]
    fields = {"name": "ben", "password": site.password}
    page = site.browser().get("/sign-in")
    token = page.text.split('name="csrf" value="')[1].split('"')[0]
    browser.cookies.set("nethical-form", token)
    browser.client.post("/sign-in", data={**fields, "csrf": token}, headers=browser.origin)
    assert site.desk.sessions.find(before) is None


def test_a_token_that_others_chose_is_not_taken_over(site):
    browser = site.browser()
    chosen = "z" * 43
    browser.cookies.set("nethical", chosen)
    answer = browser.sign_in("ada")
    given = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("nethical="))
    assert chosen not in given
    assert site.desk.sessions.find(chosen) is None


def test_after_signing_out_the_token_is_worth_nothing(site):
    browser = site.browser("ada")
    token = browser.cookies["nethical"]
    assert browser.send("/sign-out").headers["location"] == "/sign-in"
    browser.cookies.set("nethical", token)
    assert browser.get("/").status_code == 303


def test_a_session_ends_when_it_is_not_used_for_half_an_hour(site):
    browser = site.browser("ada")
    for _ in range(4):
        site.clock.go(minutes=29)
        assert browser.get("/").status_code == 200
    site.clock.go(minutes=30, seconds=1)
    assert browser.get("/").status_code == 303


def test_a_session_ends_after_twelve_hours_however_much_it_is_used(site):
    browser = site.browser("ada")
    for _ in range(12 * 4 - 1):
        site.clock.go(minutes=15)
        assert browser.get("/").status_code == 200
    site.clock.go(minutes=15)
    assert browser.get("/").status_code == 303


def test_sessions_that_are_over_are_forgotten(site):
    site.browser("ada")
    site.clock.go(hours=13)
    site.browser("ben")
    with site.desk.store.reading() as db:
        assert [row.name for row in db.execute(t.web_session.select())] == ["ben"]


def test_who_is_disabled_is_out_at_once(site):
    browser = site.browser("ben")
    site.desk.people.disable("ben")
    assert browser.get("/").status_code == 303
    assert site.browser().sign_in("ben").status_code == 403


def test_a_token_of_another_session_is_no_token(site):
    ada, ben = site.browser("ada"), site.browser("ben")
    headers = {**ada.origin, "x-csrf-token": ben.token()}
    assert ada.client.post("/api/v1/review/claim", headers=headers).status_code == 403


def test_after_five_wrong_passwords_even_the_right_one_waits(site):
    browser = site.browser()
    for _ in range(MOST_HERE):
        assert browser.sign_in("ada", "wrong horse battery").status_code == 403
    answer = browser.sign_in("ada")
    assert answer.status_code == 429
    assert "wait 15 minutes" in answer.text
    site.clock.go(minutes=15, seconds=1)
    assert browser.sign_in("ada").status_code == 303


def test_a_right_password_forgives_the_wrong_ones(site):
    browser = site.browser()
    for _ in range(3):
        for _ in range(MOST_HERE - 1):
            browser.sign_in("ada", "wrong horse battery")
        assert site.browser().sign_in("ada").status_code == 303


def test_of_a_thousand_tries_from_one_address_fifteen_are_looked_at(site, monkeypatch):
    looked = []
    monkeypatch.setattr(site.desk.people, "check", lambda *given: looked.append(given))
    refused = 0
    for n in range(1000):
        try:
            site.desk.attempts.check(site.desk.people, f"name{n}", "x" * 20, "203.0.113.9")
        except TooOftenError:
            refused += 1
        site.clock.go(seconds=0.06)
    assert len(looked) == MOST_OF_ADDRESS
    assert refused == 1000 - MOST_OF_ADDRESS
    assert site.browser().sign_in("ada").status_code == 403  # from another address: looked at


def test_many_at_once_are_counted_too(site, monkeypatch):
    looked = []
    monkeypatch.setattr(site.desk.people, "check", lambda *given: looked.append(given))

    def one(_):
        return site.browser().sign_in("ada", "x" * 20).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(one, range(24)))
    assert len(looked) == statuses.count(403) == MOST_HERE


def test_one_machine_is_one_address_however_many_ipv6_gives_it(site, monkeypatch):
    monkeypatch.setattr(site.desk.people, "check", lambda *_: None)

    def refused(address):
        try:
            site.desk.attempts.check(site.desk.people, "ada", "x" * 20, address)
        except TooOftenError:
            return True
        return False

    assert [refused(f"2001:db8::{n:x}") for n in range(MOST_HERE + 1)] == [False] * MOST_HERE + [
        True
    ]
    assert not refused("2001:db8:0:1::1")
    mapped = [refused(f"{'::ffff:' if n % 2 else ''}192.0.2.1") for n in range(MOST_HERE + 1)]
    assert mapped == [False] * MOST_HERE + [True]


def test_what_was_typed_as_a_name_is_not_kept(site):
    site.browser().sign_in("my secret passphrase", "x" * 20)
    with site.desk.store.reading() as db:
        (row,) = db.execute(t.failed_login.select())
    assert "secret" not in row.name


def test_nobody_added_yet_is_told_how_to_begin(site):
    with site.desk.store.writing() as db:
        db.execute(t.person.delete())
    assert "nethical review users add NAME --role admin" in site.browser().get("/sign-in").text
