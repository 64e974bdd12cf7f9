"""What an admin changes of others: roles, passwords, and whether they may sign in."""

import pytest

NEW = "a horse of another colour"


@pytest.fixture
def ada(site):
    return site.browser("ada")


def test_an_admin_adds_people_ends_it_for_them_and_lets_them_in_again(site, ada):
    fields = {"name": "fay", "role": "viewer", "password": "p" * 12, "again": "p" * 12}
    assert ada.send("/people", **fields).status_code == 303
    fay = site.browser()
    assert fay.sign_in("fay", "p" * 12).status_code == 303
    assert ada.send("/people/fay/disable").status_code == 303
    assert fay.get("/").status_code == 303
    assert site.browser().sign_in("fay", "p" * 12).status_code == 403
    assert ada.send("/people/fay/enable").headers["location"] == "/people?done=enable"
    assert fay.get("/").status_code == 303  # the session that ended stays ended
    assert site.browser().sign_in("fay", "p" * 12).status_code == 303


def test_another_role_holds_at_once_in_a_session_that_is_open(site, ada):
    site.enter("block")
    ben = site.browser("ben")
    ben.send("/review/claim")
    case_id = site.desk.queue.listed()[0].case_id
    assert ada.send("/people/ben/role", role="viewer").status_code == 303
    page = ben.get(f"/review/cases/{case_id}").text
    assert "Your decision" not in page
    assert "ben</bdi>, viewer" in page
    assert ben.send(f"/review/cases/{case_id}/answer", decision="allow").status_code == 403
    assert ben.get(f"/api/v1/review/cases/{case_id}").json()["may"] == ""
    assert ben.get("/api/v1/review/cases").json()[0]["may"] == ""
    site.clock.go(minutes=16)
    assert site.answer("cleo", "allow") == case_id
    assert site.answer("rita", "allow") == case_id  # what was claimed is another's in time
    assert ada.send("/people/ben/role", role="approver").status_code == 303
    assert ben.get("/review/figures").status_code == 200


def test_another_password_ends_every_session_and_is_the_only_one_that_counts(site, ada):
    ben = site.browser("ben")
    assert ada.send("/people/ben/password", password=NEW, again=NEW).status_code == 303
    assert ben.get("/").status_code == 303
    assert site.browser().sign_in("ben").status_code == 403
    assert site.browser().sign_in("ben", NEW).status_code == 303


@pytest.mark.parametrize(
    ("what", "fields", "said"),
    [
        ("password", {"password": NEW, "again": NEW + "!"}, "passwords differ"),
        ("password", {"password": "short", "again": "short"}, "5 characters"),
        ("password", {}, "0 characters"),
        ("role", {"role": "boss"}, "no role"),
        ("role", {}, "no role"),
    ],
)
def test_what_cannot_be_is_told_above_everybody_and_changes_nothing(site, ada, what, fields, said):
    before = site.desk.people.find("ben"), site.desk.people.seal("ben")
    answer = ada.send(f"/people/ben/{what}", **fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert 'role="alert"' in answer.text
    assert NEW not in answer.text
    assert (site.desk.people.find("ben"), site.desk.people.seal("ben")) == before


ALL = {"role": {"role": "viewer"}, "password": {"password": NEW, "again": NEW}}


@pytest.mark.parametrize("what", ["disable", "enable", "role", "password"])
def test_no_admin_does_it_to_themselves_and_nobody_to_nobody(site, ada, what):
    before = site.desk.people.find("ada"), site.desk.people.seal("ada")
    assert ada.send(f"/people/ada/{what}", **ALL.get(what, {})).status_code == 409
    assert ada.send(f"/people/eve/{what}", **ALL.get(what, {})).status_code == 404
    assert (site.desk.people.find("ada"), site.desk.people.seal("ada")) == before
    assert ada.get("/").status_code == 200


@pytest.mark.parametrize("what", ["disable", "enable", "role", "password"])
def test_what_an_admin_changes_is_logged_and_no_password(audited, what):
    ada = audited.browser("ada")
    assert ada.send(f"/people/ben/{what}", **ALL.get(what, {})).status_code == 303
    log = audited.folder / "training_audit_logs" / "log"
    told = b"".join(p.read_bytes() for p in log.rglob("*") if p.is_file())
    assert f"serve: review users {what}".encode() in told
    assert b'"name":"ben"' in told
    assert NEW.encode() not in told


@pytest.mark.parametrize(
    "wrong",
    [
        {"again": "q" * 12},
        {"password": "short", "again": "short"},
        {"name": "a b"},
        {"role": "god"},
    ],
)
def test_what_cannot_be_a_person_is_told_beside_what_was_typed(ada, wrong):
    fields = {"name": "fay", "role": "viewer", "password": "p" * 12, "again": "p" * 12}
    answer = ada.send("/people", **{**fields, **wrong})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert "p" * 12 not in answer.text
