"""Who is signed in: sessions of the store, known by the digest of a token that a browser has."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from nethical.canonical import digest
from nethical.governance import tables as t
from nethical.governance.case_views import stamp
from nethical.governance.people import Person, is_sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from nethical.governance.store import GovernanceStore

__all__ = ["ABSOLUTE", "IDLE", "Begun", "Session", "Sessions"]

IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)
SEEN_EVERY = timedelta(minutes=1)  # a use is noted no oftener, for a note is a write
TOKEN_BYTES = 32

session_ = t.web_session


@dataclass(frozen=True)
class Session:
    """A session that holds.

    Args:
        person: Who is signed in.
        csrf: The token that comes with everything that this person changes.
        token_digest: Of the browser's token.
    """

    person: Person
    csrf: str
    token_digest: str


@dataclass(frozen=True)
class Begun:
    """A session that just began: its token, which is stored nowhere here."""

    token: str
    csrf: str


class Sessions:
    """The sessions of a store.

    Args:
        store: Where they are kept.
        clock: Returns the current UTC time.
    """

    def __init__(self, store: GovernanceStore, clock: Callable[[], datetime]) -> None:
        self.store = store
        self._clock = clock

    def begin(self, name: str, seal: str) -> Begun | None:
        """Sign a person in, and forget the sessions that are over.

        Args:
            name: Who.
            seal: Of the password that was checked. To check one takes a while, in which somebody
                may have ended it for them, or given them another password.

        Returns:
            The session; None if that password is not theirs any more.
        """
        now = self._clock()
        begun = Begun(secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES))
        over = sa.or_(
            session_.c.expires_at <= stamp(now), session_.c.last_seen_at <= stamp(now - IDLE)
        )
        values = {
            "token_digest": _digest(begun.token),
            "name": name,
            "csrf": begun.csrf,
            "created_at": stamp(now),
            "last_seen_at": stamp(now),
            "expires_at": stamp(now + ABSOLUTE),
        }
        with self.store.writing() as db:
            if not is_sealed(db, name, seal):
                return None
            db.execute(session_.delete().where(over))
            db.execute(session_.insert().values(values))
        return begun

    def find(self, token: str) -> Session | None:
        """Return the session of a token; None if there is none, or it is over."""
        now = self._clock()
        query = (
            sa.select(session_, t.person.c.role, t.person.c.created_at.label("since"))
            .join(t.person, t.person.c.name == session_.c.name)
            .where(session_.c.token_digest == _digest(token), t.person.c.disabled_at.is_(None))
        )
        with self.store.reading() as db:
            row = db.execute(query).first()
        if row is None or row.expires_at <= stamp(now) or row.last_seen_at <= stamp(now - IDLE):
            return None
        if row.last_seen_at <= stamp(now - SEEN_EVERY):
            self._seen(row.token_digest, stamp(now))
        return Session(Person(row.name, row.role, row.since), row.csrf, row.token_digest)

    def _seen(self, token_digest: str, at: str) -> None:
        kept = session_.update().where(session_.c.token_digest == token_digest)
        with self.store.writing() as db:
            db.execute(kept.values(last_seen_at=at))

    def end(self, token: str) -> None:
        """End the session of a token, if there is one."""
        with self.store.writing() as db:
            db.execute(session_.delete().where(session_.c.token_digest == _digest(token)))


def _digest(token: str) -> str:
    return digest(token.encode("utf-8", "replace"))
