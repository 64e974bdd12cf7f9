"""People: roles that include each other, passwords as argon2 hashes, and nothing told of either."""

import sys
import time
from datetime import UTC, datetime

import pytest

from nethical.errors import UsageError
from nethical.governance import tables as t
from nethical.governance.people import ROLES, People, Person
from nethical.governance.store import GovernanceStore

PHRASE = "correct horse battery"


def now():
    return datetime.now(UTC)


@pytest.fixture
def people(tmp_path):
    return People(GovernanceStore(tmp_path, now))


def test_a_person_is_known_by_their_password_alone(people):
    people.add("ada", "reviewer", PHRASE)
    people.add("bob", "reviewer", PHRASE + "!")
    assert people.check("ada", PHRASE).role == "reviewer"
    for name, password in (("ada", PHRASE + "!"), ("bob", PHRASE), ("eve", PHRASE), ("ada", "")):
        assert people.check(name, password) is None


def test_no_password_and_no_hash_is_in_an_export_or_twice_the_same(people):
    for name in ("ada", "bob"):
        people.add(name, "viewer", PHRASE)
    with people.store.reading() as db:
        hashes = [row.password_hash for row in db.execute(t.person.select())]
    assert len(set(hashes)) == 2
    assert all(one.startswith("$argon2id$") for one in hashes)
    exported = str(people.store.export())
    assert "argon2" not in exported
    assert PHRASE not in exported
    assert "csrf" not in exported


def test_who_is_disabled_signs_in_no_more_and_loses_every_session(people):
    people.add("ada", "admin", PHRASE)
    session = {
        "token_digest": "sha256:1",
        "name": "ada",
        "created_at": "x",
        "last_seen_at": "x",
        "expires_at": "x",
        "csrf": "y",
    }
    with people.store.writing() as db:
        db.execute(t.web_session.insert().values(session))
    gone = people.disable("ada")
    assert gone.disabled_at
    assert people.disable("ada") == gone
    assert people.check("ada", PHRASE) is None
    assert people.store.export()["web_session"] == []
    assert not people.find("ada").may_act_as("viewer")
    assert [person.name for person in people.listed()] == ["ada"]


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_what_those_before_it_may(role):
    person = Person("ada", role, "2026-01-01")
    place = ROLES.index(role)
    assert [person.may_act_as(other) for other in ROLES] == [k <= place for k in range(len(ROLES))]


@pytest.mark.parametrize(
    ("name", "role", "password", "said"),
    [
        ("ada lovelace", "viewer", PHRASE, "name of a person"),
        ("<b>", "viewer", PHRASE, "name of a person"),
        ("ada", "boss", PHRASE, "no role"),
        ("ada", "viewer", "short", "5 characters"),
        ("ada", "viewer", "x" * 1025, "1,025 characters"),
        ("bob", "viewer", PHRASE, "already"),
    ],
)
def test_who_cannot_be_added_is_refused_in_two_lines(people, name, role, password, said):
    people.add("bob", "viewer", PHRASE)
    with pytest.raises(UsageError, match=said) as refused:
        people.add(name, role, password)
    assert refused.value.mend
    assert password not in refused.value.what + refused.value.mend
    assert len(people.listed()) == 1


def test_as_long_as_nobody_was_added_everybody_may_and_then_only_they(people):
    assert people.may("ada", "admin") is None
    people.add("bob", "reviewer", PHRASE)
    assert people.may("bob", "reviewer").name == "bob"
    for name, role in (("ada", "viewer"), ("bob", "approver")):
        with pytest.raises(UsageError, match="may not act"):
            people.may(name, role)


def test_nobody_to_disable_is_told(people):
    with pytest.raises(UsageError, match="nobody called 'ada'"):
        people.disable("ada")


def test_a_name_that_nobody_has_takes_as_long_as_one_that_somebody_has(people):
    people.add("ada", "viewer", PHRASE)
    people.check("eve", "warm up")

    def fastest(name):
        took = []
        for _ in range(5):
            start = time.thread_time()
            people.check(name, "wrong password")
            took.append(time.thread_time() - start)
        return min(took)

    known, unknown = fastest("ada"), fastest("eve")
    assert 0.5 < known / unknown < 2


def test_without_the_extra_two_lines_say_what_to_install(people, monkeypatch):
    monkeypatch.setitem(sys.modules, "pwdlib", None)
    for act in (
        lambda: people.add("ada", "viewer", PHRASE),
        lambda: people.check("ada", PHRASE),
    ):
        with pytest.raises(UsageError, match=r"extra \[web\]") as refused:
            act()
        assert refused.value.mend == "pip install 'nethical[web]'"
    assert people.listed() == []
