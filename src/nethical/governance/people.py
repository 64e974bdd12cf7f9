"""People who review and approve: their roles, and their passwords as argon2 hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nethical.errors import UsageError
from nethical.governance import tables as t
from nethical.governance.reviews import check_reviewer

if TYPE_CHECKING:
    from pwdlib import PasswordHash

    from nethical.governance.store import GovernanceStore

__all__ = ["ROLES", "SHORTEST_PASSWORD", "People", "Person"]

ROLES = ("viewer", "reviewer", "approver", "admin")
SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 1024


@dataclass(frozen=True)
class Person:
    """Somebody with a name and a role.

    Args:
        name: As answers and moves are signed with.
        role: One of ``ROLES``; each may do what those before it may.
        created_at: UTC.
        disabled_at: UTC; None while they may sign in.
    """

    name: str
    role: str
    created_at: str
    disabled_at: str | None = None

    def may_act_as(self, role: str) -> bool:
        """Return whether this person may do what a role may.

        Example:
            >>> Person("ada", "approver", "2026-01-01").may_act_as("reviewer")
            True
        """
        return self.disabled_at is None and ROLES.index(self.role) >= ROLES.index(role)


class People:
    """The people of a governance store.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: GovernanceStore) -> None:
        self.store = store
        self._nobody: str | None = None

    def add(self, name: str, role: str, password: str) -> Person:
        """Keep a new person.

        Raises:
            UsageError: The name is taken or cannot be one, the role is unknown, the password is
                too short, or the extra ``[web]`` is not installed.
        """
        check_reviewer(name)
        if role not in ROLES:
            raise UsageError(f"there is no role {role!r}", mend=f"choose one of {', '.join(ROLES)}")
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise UsageError(
                f"the password has {len(password):,} characters",
                mend=f"use {SHORTEST_PASSWORD} to {LONGEST_PASSWORD:,}",
            )
        values = {
            "name": name,
            "role": role,
            "password_hash": _hasher().hash(password),
            "created_at": self.store.now(),
        }
        with self.store.writing() as db:
            if _row(db, name) is not None:
                raise UsageError(f"there is a {name} already", mend="choose another name")
            db.execute(t.person.insert().values(values))
        return Person(name, role, str(values["created_at"]))

    def listed(self) -> list[Person]:
        """Return everybody, those who were disabled too, by name."""
        with self.store.reading() as db:
            return [_person(row) for row in db.execute(sa.select(t.person).order_by("name"))]

    def find(self, name: str) -> Person | None:
        """Return a person, None if there is none of that name."""
        with self.store.reading() as db:
            row = _row(db, name)
        return None if row is None else _person(row)

    def disable(self, name: str) -> Person:
        """Let a person sign in no more, and end their sessions; what they answered stays.

        Raises:
            UsageError: There is no such person.
        """
        with self.store.writing() as db:
            row = _row(db, name)
            if row is None:
                raise UsageError(
                    f"there is nobody called {name!r}", mend="see `nethical review users list`"
                )
            at = row.disabled_at or self.store.now()
            db.execute(t.person.update().where(t.person.c.name == name).values(disabled_at=at))
            db.execute(t.web_session.delete().where(t.web_session.c.name == name))
        return Person(row.name, row.role, row.created_at, at)

    def check(self, name: str, password: str) -> Person | None:
        """Return the person whose password this is, None if it is nobody's.

        It takes as long for a name that nobody has, or that is disabled, as for any other.
        """
        hasher = _hasher()
        if self._nobody is None:
            self._nobody = hasher.hash("nobody's password")
        with self.store.reading() as db:
            row = _row(db, name)
        kept = self._nobody if row is None else row.password_hash
        is_theirs = len(password) <= LONGEST_PASSWORD and hasher.verify(password, kept)
        if not is_theirs or row is None or row.disabled_at is not None:
            return None
        return _person(row)

    def may(self, name: str, role: str) -> Person | None:
        """Return a person who may act as a role; None where nobody was added at all.

        Raises:
            UsageError: People were added, and this is none of them, or not of that role.
        """
        everybody = {person.name: person for person in self.listed()}
        if not everybody:
            return None
        person = everybody.get(name)
        if person is None or not person.may_act_as(role):
            raise UsageError(
                f"{name} may not act as {role}",
                mend="see `nethical review users list`, and name somebody who may",
            )
        return person


def _row(db: sa.Connection, name: str) -> sa.Row[Any] | None:
    return db.execute(sa.select(t.person).where(t.person.c.name == name)).first()


def _person(row: sa.Row[Any]) -> Person:
    return Person(row.name, row.role, row.created_at, row.disabled_at)


def _hasher() -> PasswordHash:
    try:
        from pwdlib import PasswordHash
        from pwdlib.hashers.argon2 import Argon2Hasher
    except ImportError as error:
        raise UsageError(
            "passwords need the extra [web], which is not installed",
            mend="pip install 'nethical[web]'",
        ) from error
    return PasswordHash((Argon2Hasher(),))
