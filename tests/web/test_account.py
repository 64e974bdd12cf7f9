"""The own password: changed by whoever knows it, from a session that stays while others end."""

import pytest

from nethical.web.attempts import MOST_HERE

NEW = "a horse of another colour"
FIELDS = {"old": "correct horse battery", "password": NEW, "again": NEW}


def change(browser, **fields):
    return browser.send("/account/password", **{**FIELDS, **fields})


def test_a_person_changes_the_own_password_and_their_other_sessions_end(site):
    here, elsewhere, cleo = site.browser("ben"), site.browser("ben"), site.browser("cleo")
    assert 'href="/account"' in here.get("/review").text
    assert "You may act as reviewer" in here.get("/account").text
    answer = change(here)
    assert answer.headers["location"] == "/account?changed=1"
    assert "Your password is another one" in here.get("/account?changed=1").text
    assert elsewhere.get("/").status_code == 303
    assert here.get("/").status_code == cleo.get("/").status_code == 200
    assert site.browser().sign_in("ben").status_code == 403
    assert site.browser().sign_in("ben", NEW).status_code == 303


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"old": "a wrong password"}, "is another one"),
        ({"old": ""}, "is another one"),
        ({"again": NEW + "!"}, "passwords differ"),
        ({"password": "short", "again": "short"}, "5 characters"),
        ({"password": "x" * 1025, "again": "x" * 1025}, "1,025 characters"),
        ({"password": FIELDS["old"], "again": FIELDS["old"]}, "is the old one"),
    ],
)
def test_what_cannot_be_the_new_password_changes_nothing(site, wrong, said):
    here, elsewhere = site.browser("ben"), site.browser("ben")
    answer = change(here, **wrong)
    assert answer.status_code == 422
    assert said in answer.text
    assert 'role="alert"' in answer.text
    assert not any(text in answer.text for text in (NEW, "a wrong password", FIELDS["old"]))
    assert elsewhere.get("/").status_code == 200
    assert site.browser().sign_in("ben").status_code == 303


def test_who_guesses_at_a_session_that_was_left_open_is_kept_from_it_as_at_the_sign_in(site):
    here = site.browser("ben")
    statuses = [change(here, old=f"guess number {n}").status_code for n in range(MOST_HERE)]
    assert statuses == [422] * MOST_HERE
    assert change(here).status_code == 429
    assert site.browser().sign_in("ben").status_code == 429
    site.clock.go(minutes=16)
    assert change(here).status_code == 303


def meanwhile(monkeypatch, people, act):
    """Let something happen between the check of a password and what follows from it."""
    real = people.check

    def check(name, password):
        found = real(name, password)
        act()
        return found

    monkeypatch.setattr(people, "check", check)


def test_two_who_change_it_at_once_do_not_both_succeed(site, monkeypatch):
    ben, people = site.browser("ben"), site.desk.people
    meanwhile(monkeypatch, people, lambda: people.set_password("ben", "the first is quicker"))
    answer = change(ben)
    assert answer.status_code == 422
    assert "changed meanwhile" in answer.text
    monkeypatch.undo()
    assert people.check("ben", "the first is quicker")


@pytest.mark.parametrize("what", ["password", "disabled", "enabled"])
def test_nobody_slips_in_while_it_is_ended_for_them(site, monkeypatch, what):
    people = site.desk.people

    def act():
        if what == "password":
            people.set_password("ben", NEW)
        else:
            people.disable("ben")

    meanwhile(monkeypatch, people, act)
    ben = site.browser()
    assert ben.sign_in("ben").status_code == 403
    if what == "enabled":
        people.enable("ben")
    assert ben.get("/").status_code == 303


def test_it_is_logged_who_changed_it_and_not_what_was_typed(audited):
    ben = audited.browser("ben")
    assert change(ben).status_code == 303
    told = logged(audited)
    assert b"serve: account password" in told
    assert b'"person":"ben"' in told
    assert NEW.encode() not in told
    assert FIELDS["old"].encode() not in told


def logged(site):
    """All bytes of the audit log."""
    log = site.folder / "training_audit_logs" / "log"
    return b"".join(p.read_bytes() for p in log.rglob("*") if p.is_file())
