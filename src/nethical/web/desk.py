"""What the pages read and change: one store, one registry, one log, one folder of reports."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.audit.following import FollowedLog
from nethical.governance.governing import Governance
from nethical.governance.people import People
from nethical.governance.queue import ReviewQueue
from nethical.governance.store import GovernanceStore
from nethical.registry import Registry
from nethical.run import Run
from nethical.web.attempts import Attempts
from nethical.web.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from nethical.governance.people import Hasher
    from nethical.keys import Keys

__all__ = ["Desk", "Places"]


@dataclass(frozen=True)
class Places:
    """Where what is shown lies.

    Args:
        models_dir: The registry.
        drift_report_dir: Reports and cohorts.
        audit_path: The audit folder, which is read where it is there.
        storage: The governance store: a folder, or the URL of a database.
        is_audited: Whether what people do here is written to the log.
    """

    models_dir: Path
    drift_report_dir: Path
    audit_path: Path
    storage: str
    is_audited: bool = False


class Desk:
    """Everything behind the pages.

    Args:
        places: Where it lies.
        keys: Whose signatures are believed, and who signs the log.
        clock: Returns the current UTC time.
        hasher: What hashes passwords; None for the one that ``People`` takes.
    """

    def __init__(
        self,
        places: Places,
        keys: Keys,
        clock: Callable[[], datetime],
        hasher: Hasher | None = None,
    ) -> None:
        self.places = places
        self.keys = keys
        self.clock = clock
        self.store = GovernanceStore(places.storage, clock)
        self.log = FollowedLog(places.audit_path, keys)
        self.registry = Registry(places.models_dir, keys, clock)
        self.queue = ReviewQueue(self.store, clock)
        self.people = People(self.store, hasher)
        self.sessions = Sessions(self.store, clock)
        self.attempts = Attempts(self.store, clock)
        self.governance = Governance(self.store, self.registry, Run())

    @contextmanager
    def recorded(self, command: str, by: str, **arguments: str) -> Iterator[None]:
        """Log what somebody does, if that was asked for, around the block that does it.

        Raises:
            StorageError: The log cannot be written; then nothing was done.
        """
        if not self.places.is_audited:
            yield
            return
        from nethical.audit.operations import operation

        told = {"person": by, **arguments}
        with operation(self.places.audit_path, self.keys, f"serve: {command}", told):
            yield
