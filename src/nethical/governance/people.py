"""People who review and approve: their roles, and their passwords as argon2 hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from nethical.canonical import digest
from nethical.errors import IntegrityError, UsageError
from nethical.governance import tables as t
from nethical.governance.reviews import check_reviewer

if TYPE_CHECKING:
    from nethical.governance.store import GovernanceStore

__all__ = [
    "LONGEST_PASSWORD",
    "ROLES",
    "SHORTEST_PASSWORD",
    "Hasher",
    "People",
    "Person",
    "is_sealed",
]

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


class Hasher(Protocol):
    """Makes hashes of passwords, and tells whether a password is that of a hash."""

    def hash(self, password: str, /) -> str:
        """Return a hash of a password, another one each time."""

    def verify(self, password: str, hash: str, /) -> bool:  # noqa: A002 - what it is
        """Return whether a hash is that of a password."""


class People:
    """The people of a governance store.

    Where a method takes ``by``, it is the admin who asks: they must be one still when it is
    written, and cannot do it to themselves, so that one admin is always left. None is whoever
    may write the store anyway.

    Args:
        store: Where they are kept.
        hasher: What hashes passwords; None for argon2id with the parameters of RFC 9106.

    Raises:
        UsageError: There is no such person, ``by`` may not, a value cannot be taken, or passwords
            are needed and the extra ``[web]`` is not installed; raised by every method.
    """

    def __init__(self, store: GovernanceStore, hasher: Hasher | None = None) -> None:
        self.store = store
        self._given = hasher
        self._nobody: str | None = None

    # --- people come, change and go -----------------------------------------------------------

    def add(self, name: str, role: str, password: str, *, by: str | None = None) -> Person:
        """Keep a new person, whose name nobody has."""
        check_reviewer(name)
        _check_role(role)
        values = {
            "name": name,
            "role": role,
            "password_hash": self._hashed(password),
            "created_at": self.store.now(),
        }
        with self.store.writing() as db:
            _check_admin(db, by)
            if _row(db, name) is not None:
                raise UsageError(f"there is a {name} already", mend="choose another name")
            db.execute(t.person.insert().values(values))
        return Person(name, role, str(values["created_at"]))

    def disable(self, name: str, *, by: str | None = None) -> Person:
        """Let a person sign in no more, and end their sessions; what they answered stays."""
        with self.store.writing() as db:
            row = _other(db, name, by)
            at = row.disabled_at or self.store.now()
            return _changed(db, name, disabled_at=at)

    def enable(self, name: str, *, by: str | None = None) -> Person:
        """Let a person who was disabled sign in again, with the password that they had."""
        with self.store.writing() as db:
            _other(db, name, by)
            return _changed(db, name, disabled_at=None)

    def set_role(self, name: str, role: str, *, by: str | None = None) -> Person:
        """Give a person another role; it holds at once, in the sessions that they have too."""
        _check_role(role)
        with self.store.writing() as db:
            _other(db, name, by)
            return _changed(db, name, keep=None, role=role)

    def set_password(self, name: str, password: str, *, by: str | None = None) -> Person:
        """Give a person another password, and end all their sessions."""
        hashed = self._hashed(password)
        with self.store.writing() as db:
            _other(db, name, by)
            return _changed(db, name, password_hash=hashed)

    def change_own(self, name: str, password: str, *, seal: str, keep: str) -> Person:
        """Give a person the password that they chose, and end their other sessions.

        Args:
            name: Who.
            password: The new one.
            seal: Of the old one, which was checked; it must be theirs still.
            keep: The token digest of the session that stays.
        """
        hashed = self._hashed(password)
        with self.store.writing() as db:
            if not is_sealed(db, name, seal):
                raise UsageError(
                    "the password was changed meanwhile", mend="sign in with the new one"
                )
            return _changed(db, name, keep=keep, password_hash=hashed)

    # --- who is there -------------------------------------------------------------------------

    def listed(self) -> list[Person]:
        """Return everybody, those who were disabled too, by name."""
        with self.store.reading() as db:
            return [_person(row) for row in db.execute(sa.select(t.person).order_by("name"))]

    def find(self, name: str) -> Person | None:
        """Return a person, None if there is none of that name."""
        with self.store.reading() as db:
            row = _row(db, name)
        return None if row is None else _person(row)

    def seal(self, name: str) -> str:
        """Return what becomes another text when this person gets another password."""
        with self.store.reading() as db:
            return _seal(_row(db, name))

    def check(self, name: str, password: str) -> Person | None:
        """Return the person whose password this is, None if it is nobody's.

        It takes as long for a name that nobody has, or that is disabled, as for any other.

        Raises:
            IntegrityError: What is kept of their password is no hash.
        """
        hasher = self._hasher()
        if self._nobody is None:
            self._nobody = hasher.hash("nobody's password")
        with self.store.reading() as db:
            row = _row(db, name)
        kept = self._nobody if row is None else row.password_hash
        is_theirs = len(password) <= LONGEST_PASSWORD and self._verified(password, kept)
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

    # --- passwords ----------------------------------------------------------------------------

    def _hasher(self) -> Hasher:
        return self._given or _argon2()

    def _hashed(self, password: str) -> str:
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise UsageError(
                f"the password has {len(password):,} characters",
                mend=f"use {SHORTEST_PASSWORD} to {LONGEST_PASSWORD:,}",
            )
        if "\0" in password or any("\ud800" <= c <= "\udfff" for c in password):
            raise UsageError("the password is no text", mend="use characters that can be typed")
        return self._hasher().hash(password)

    def _verified(self, password: str, kept: str) -> bool:
        from pwdlib.exceptions import UnknownHashError

        try:
            return self._hasher().verify(password, kept)
        except UnknownHashError as error:
            raise IntegrityError(
                f"{self.store} keeps no hash of this password, or is damaged",
                mend="give the person another one with `nethical review users password NAME`",
            ) from error


def is_sealed(db: sa.Connection, name: str, seal: str) -> bool:
    """Return whether a person may sign in, and still with the password of which a seal is."""
    row = _row(db, name)
    return row is not None and row.disabled_at is None and _seal(row) == seal


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise UsageError(f"there is no role {role!r}", mend=f"choose one of {', '.join(ROLES)}")


def _check_admin(db: sa.Connection, by: str | None) -> None:
    """Refuse who is no admin any more: another one may have ended it since they asked."""
    asking = None if by is None else _row(db, by)
    if by is not None and (asking is None or not _person(asking).may_act_as("admin")):
        raise UsageError(f"{by} is no admin any more", mend="ask somebody who is")


def _other(db: sa.Connection, name: str, by: str | None) -> sa.Row[Any]:
    """Return a person whom an admin may change."""
    _check_admin(db, by)
    row = _row(db, name)
    if row is None:
        raise UsageError(
            f"there is nobody called {name!r}", mend="see `nethical review users list`"
        )
    if name == by:
        raise UsageError("this would be done to yourself", mend="let another admin do it")
    return row


def _changed(db: sa.Connection, name: str, *, keep: str | None = "", **values: Any) -> Person:  # noqa: ANN401 - of columns
    """Change a person, end their sessions but one (none if ``keep`` is None), and return them."""
    db.execute(t.person.update().where(t.person.c.name == name).values(values))
    if keep is not None:
        own = sa.and_(t.web_session.c.name == name, t.web_session.c.token_digest != keep)
        db.execute(t.web_session.delete().where(own))
    row = _row(db, name)
    assert row is not None  # noqa: S101 - the transaction found it
    return _person(row)


def _row(db: sa.Connection, name: str) -> sa.Row[Any] | None:
    return db.execute(sa.select(t.person).where(t.person.c.name == name)).first()


def _person(row: sa.Row[Any]) -> Person:
    return Person(row.name, row.role, row.created_at, row.disabled_at)


def _seal(row: sa.Row[Any] | None) -> str:
    return "" if row is None else digest(row.password_hash.encode())


def _argon2() -> Hasher:
    try:
        from pwdlib import PasswordHash
        from pwdlib.hashers.argon2 import Argon2Hasher
    except ImportError as error:
        raise UsageError(
            "passwords need the extra [web], which is not installed",
            mend="pip install 'nethical[web]'",
        ) from error
    return PasswordHash((Argon2Hasher(),))
