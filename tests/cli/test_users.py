"""``nethical review users``: what is changed of a person from the command line."""

from datetime import UTC, datetime

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from nethical.governance.people import People
from nethical.governance.store import GovernanceStore

PHRASE = "correct horse battery"
NEW = "a horse of another colour"
QUICK = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))


@pytest.fixture
def people(tmp_path):
    """Two people of the store that commands find in the folder."""
    store = GovernanceStore(tmp_path / "training_governance_data", lambda: datetime.now(UTC))
    found = People(store, QUICK)
    for name, role in (("ada", "admin"), ("ben", "reviewer")):
        found.add(name, role, PHRASE)
    yield found
    store.close()


@pytest.fixture
def users(command, tmp_path):
    """Run an action."""

    def run(*words, code=0, **more):
        done = command("review", "users", *words, cwd=tmp_path, **more)
        assert done.code == code, done.err
        return done

    return run


def test_a_person_gets_another_role_and_is_let_in_again(users, people):
    assert "ben may act as approver" in users("role", "ben", "approver").out
    assert people.find("ben").role == "approver"
    users("disable", "ben")
    assert "ben may sign in again, as approver" in users("enable", "ben").out
    assert people.check("ben", PHRASE).role == "approver"


def test_a_person_gets_another_password_from_standard_input(people, tmp_path):
    done = piped(tmp_path, f"{NEW}\n".encode(), "password", "ben", "--json")
    assert done.returncode == 0, done.stderr
    assert people.check("ben", NEW)
    assert people.check("ben", PHRASE) is None
    assert NEW not in done.stdout.decode() + done.stderr.decode()
    assert "argon2" not in done.stdout.decode()


@pytest.mark.parametrize("typed", [b"short\n", b"", b"\xff\xfe no text at all\n"])
def test_what_cannot_be_a_password_is_refused_in_two_lines(people, tmp_path, typed):
    done = piped(tmp_path, typed, "password", "ben")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: the password ")
    assert done.stderr.count(b"\n") == 2
    assert people.check("ben", PHRASE)


def piped(folder, typed, *words):
    """Run an action with something on its standard input."""
    import subprocess
    import sys

    return subprocess.run(
        [sys.executable, "-m", "nethical.cli.main", "review", "users", *words],
        cwd=folder,
        input=typed,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    "words", [("role", "eve", "viewer"), ("enable", "eve"), ("role", "ben", "boss")]
)
def test_nobody_and_no_role_is_told(users, people, words):
    before = people.listed()
    users(*words, code=2)
    assert people.listed() == before


def test_what_was_changed_is_logged(people, users, tmp_path):
    users("role", "ben", "approver", "--enable-audit")
    log = tmp_path / "training_audit_logs" / "log"
    told = b"".join(p.read_bytes() for p in log.rglob("*") if p.is_file())
    assert b'"what":"role"' in told
    assert b'"role":"approver"' in told
    assert people.find("ben").role == "approver"
