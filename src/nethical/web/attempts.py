"""Who tries to sign in, and how often in vain: the more often, the later again."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

import sqlalchemy as sa

from nethical.canonical import digest
from nethical.errors import UsageError
from nethical.governance import tables as t
from nethical.governance.case_views import stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from nethical.governance.people import People, Person
    from nethical.governance.store import GovernanceStore

__all__ = ["WINDOW", "Attempts", "TooOftenError"]

WINDOW = timedelta(minutes=15)
KEPT = timedelta(days=1)
MOST_HERE = 5  # of one name from one address
MOST_OF_ADDRESS = 15  # of any name from one address
MOST_OF_NAME = 50  # of one name from anywhere: others cannot lock a person out with a few
AT_ONCE = 2  # each check takes 64 MiB and a whole core
PATIENCE_S = 10.0
NETWORK_BITS = 64
LONGEST_ADDRESS = 64

failed = t.failed_login


class TooOftenError(UsageError):
    """It was tried too often in vain."""


class Attempts:
    """The failed sign-ins of a store.

    Args:
        store: Where they are kept.
        clock: Returns the current UTC time.
    """

    def __init__(self, store: GovernanceStore, clock: Callable[[], datetime]) -> None:
        self.store = store
        self._clock = clock
        self._free = BoundedSemaphore(AT_ONCE)

    def check(self, people: People, name: str, password: str, address: str) -> Person | None:
        """Return the person whose password this is, None if it is nobody's.

        The attempt is noted before the password is looked at, so that many at once are counted.

        Raises:
            TooOftenError: It was tried too often; the password was not looked at.
        """
        whose = digest(name.encode("utf-8", "replace"))  # people type passwords as names
        address = _network(address)
        if not self._note(whose, address) or not self._free.acquire(timeout=PATIENCE_S):
            raise TooOftenError(
                "too many sign-ins failed", mend=f"wait {WINDOW.seconds // 60} minutes, then try"
            )
        try:
            person = people.check(name, password)
        finally:
            self._free.release()
        if person is not None:
            self._forget(whose, address)
        return person

    def _note(self, whose: str, address: str) -> bool:
        now = self._clock()
        of_name, of_address = failed.c.name == whose, failed.c.address == address
        limits = (
            (sa.and_(of_name, of_address), MOST_HERE),
            (of_address, MOST_OF_ADDRESS),
            (of_name, MOST_OF_NAME),
        )
        since = failed.c.at > stamp(now - WINDOW)
        with self.store.writing() as db:
            for which, most in limits:
                n = sa.select(sa.func.count()).select_from(failed).where(which, since)
                if int(db.execute(n).scalar() or 0) >= most:
                    return False
            db.execute(failed.delete().where(failed.c.at <= stamp(now - KEPT)))
            db.execute(failed.insert().values(name=whose, address=address, at=stamp(now)))
        return True

    def _forget(self, whose: str, address: str) -> None:
        with self.store.writing() as db:
            db.execute(failed.delete().where(failed.c.name == whose, failed.c.address == address))


def _network(address: str) -> str:
    """Return whose address it is: of IPv6 the first half, for one machine has all of the other.

    Example:
        >>> [_network(one) for one in ("2001:db8::7", "::ffff:192.0.2.1", "192.0.2.1", "unix:")]
        ['2001:db8::', '192.0.2.1', '192.0.2.1', 'unix:']
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:LONGEST_ADDRESS]
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((found, NETWORK_BITS), strict=False).network_address)
