"""People: roles that include each other, passwords as argon2 hashes, and nothing told of either."""

import sys
from datetime import UTC, datetime

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from nethical.errors import IntegrityError, UsageError
from nethical.governance import tables as t
from nethical.governance.people import ROLES, People, Person
from nethical.governance.store import GovernanceStore

PHRASE = "correct horse battery"
QUICK = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))


def now():
    return datetime.now(UTC)


@pytest.fixture
def people(tmp_path):
    return People(GovernanceStore(tmp_path, now))


@pytest.fixture
def quick(tmp_path):
    """Those whose passwords cost next to nothing, where it is not about passwords."""
    return People(GovernanceStore(tmp_path, now), QUICK)


def test_a_person_is_known_by_their_password_alone(people):
    people.add("ada", "reviewer", PHRASE)
    people.add("bob", "reviewer", PHRASE + "!")
    assert people.check("ada", PHRASE).role == "reviewer"
    for name, password in (("ada", PHRASE + "!"), ("bob", PHRASE), ("eve", PHRASE), ("ada", "")):
        assert people.check(name, password) is None


def test_no_password_and_no_hash_is_in_an_export_or_twice_the_same(quick):
    people = quick
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


def test_who_is_disabled_signs_in_no_more_and_loses_every_session(quick):
    people = quick
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
def test_who_cannot_be_added_is_refused_in_two_lines(quick, name, role, password, said):
    people = quick
    people.add("bob", "viewer", PHRASE)
    with pytest.raises(UsageError, match=said) as refused:
        people.add(name, role, password)
    assert refused.value.mend
    assert password not in refused.value.what + refused.value.mend
    assert len(people.listed()) == 1


def test_as_long_as_nobody_was_added_everybody_may_and_then_only_they(quick):
    people = quick
    assert people.may("ada", "admin") is None
    people.add("bob", "reviewer", PHRASE)
    assert people.may("bob", "reviewer").name == "bob"
    for name, role in (("ada", "viewer"), ("bob", "approver")):
        with pytest.raises(UsageError, match="may not act"):
            people.may(name, role)


CHANGES = {
    "disable": lambda people, name, by: people.disable(name, by=by),
    "enable": lambda people, name, by: people.enable(name, by=by),
    "role": lambda people, name, by: people.set_role(name, "admin", by=by),
    "password": lambda people, name, by: people.set_password(name, PHRASE + "!", by=by),
}


@pytest.mark.parametrize("what", CHANGES)
def test_nobody_to_change_is_told(people, what):
    with pytest.raises(UsageError, match="nobody called 'ada'"):
        CHANGES[what](people, "ada", None)


@pytest.mark.parametrize("what", CHANGES)
def test_whoever_is_no_admin_any_more_when_it_is_written_changes_nobody(quick, what):
    """So two admins who end it for each other at once leave one."""
    for name, role in (("ada", "admin"), ("bob", "admin"), ("cleo", "approver")):
        quick.add(name, role, PHRASE)
    quick.set_role("bob", "viewer", by="ada")
    before = quick.listed(), quick.seal("ada"), quick.seal("cleo")
    for by, name, said in (
        ("bob", "ada", "no admin any more"),
        ("cleo", "bob", "no admin any more"),
        ("eve", "cleo", "no admin any more"),
        ("ada", "ada", "done to yourself"),
    ):
        with pytest.raises(UsageError, match=said):
            CHANGES[what](quick, name, by)
    with pytest.raises(UsageError, match="no admin any more"):
        quick.add("fay", "admin", PHRASE, by="bob")
    assert (quick.listed(), quick.seal("ada"), quick.seal("cleo")) == before


def test_who_is_let_in_again_has_the_password_and_the_role_that_they_had(quick):
    quick.add("ada", "approver", PHRASE)
    quick.disable("ada")
    back = quick.enable("ada")
    assert (back.role, back.disabled_at) == ("approver", None)
    assert quick.check("ada", PHRASE) == back
    assert quick.enable("ada") == back


def test_another_role_is_kept_and_an_unknown_one_refused(quick):
    quick.add("ada", "viewer", PHRASE)
    assert quick.set_role("ada", "approver").role == "approver"
    assert quick.find("ada").role == "approver"
    with pytest.raises(UsageError, match="no role 'boss'"):
        quick.set_role("ada", "boss")


def test_another_password_is_the_only_one_that_counts(quick):
    quick.add("ada", "viewer", PHRASE)
    seal = quick.seal("ada")
    quick.set_password("ada", PHRASE + "!")
    assert quick.check("ada", PHRASE) is None
    assert quick.check("ada", PHRASE + "!")
    assert quick.seal("ada") != seal
    with pytest.raises(UsageError, match="changed meanwhile"):
        quick.change_own("ada", PHRASE + "?", seal=seal, keep="")
    for wrong in ("short", "a\0" + PHRASE, "\ud800" * 12):
        with pytest.raises(UsageError, match=r"5 characters|no text"):
            quick.set_password("ada", wrong)
    assert quick.check("ada", PHRASE + "!")


def test_what_is_no_hash_is_told_as_damage_and_lets_nobody_in(quick):
    quick.add("ada", "viewer", PHRASE)
    with quick.store.writing() as db:
        db.execute(t.person.update().values({"password_hash": "plain"}))
    with pytest.raises(IntegrityError, match="no hash"):
        quick.check("ada", "plain")


def test_unless_another_one_is_handed_in_passwords_are_dear_to_guess(people):
    """RFC 9106, the second recommended choice: 64 MiB, three passes, four lanes."""
    people.add("ada", "viewer", PHRASE)
    with people.store.reading() as db:
        (row,) = db.execute(t.person.select())
    assert row.password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


class Counting:
    """A hasher that remembers which hashes it looked at."""

    def __init__(self):
        self.seen = []

    def hash(self, password):
        return QUICK.hash(password)

    def verify(self, password, kept):
        self.seen.append(kept)
        return QUICK.verify(password, kept)


def test_for_every_name_one_hash_is_looked_at(tmp_path):
    counting = Counting()
    people = People(GovernanceStore(tmp_path, now), counting)
    people.add("ada", "viewer", PHRASE)
    people.add("bob", "viewer", PHRASE)
    people.disable("bob")
    for name in ("ada", "bob", "eve", ""):
        for password in (PHRASE, "wrong password"):
            counting.seen.clear()
            people.check(name, password)
            assert len(counting.seen) == 1


def test_the_hash_looked_at_for_a_name_that_nobody_has_costs_as_much_as_any(tmp_path):
    counting = Counting()
    people = People(GovernanceStore(tmp_path, now), counting)
    people.add("ada", "viewer", PHRASE)
    for name in ("ada", "eve"):
        people.check(name, "wrong password")
    known, unknown = (kept.split("$")[1:4] for kept in counting.seen)
    assert known == unknown == ["argon2id", "v=19", "m=8,t=1,p=1"]


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
