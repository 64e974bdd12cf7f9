"""A run and those who watch it.

The pipeline says what happened by ``run.record(fact)``; every sink gets each fact at once, in
order. What a sink cannot keep did not happen: its error stops the run. Before a bundle is
published the run is sealed, and the receipt of the sealing sink goes into the signature.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from nethical.facts import StageFailed, Warned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nethical.facts import Fact

__all__ = ["Progress", "Receipt", "Run", "Sink", "silent"]


@dataclass(frozen=True)
class Receipt:
    """Where a log stood when a run was sealed.

    Args:
        origin: The name of the log.
        tree_size: Number of entries it then held.
        merkle_root: Its root hash, hex.
    """

    origin: str
    tree_size: int
    merkle_root: str


class Sink(Protocol):
    """Something that must see each fact of a run as it happens.

    ``record`` returns once the fact is kept, and raises when it cannot be: the run then stops.
    ``seal`` makes all facts so far tamper-evident and returns the receipt, or None when this
    sink keeps no log. Both are called from one thread.
    """

    def record(self, fact: Fact, *, run_id: str, at: datetime) -> None:
        """Keep one fact of the run, which happened at this UTC time."""

    def seal(self) -> Receipt | None:
        """Make the facts so far tamper-evident."""


class Progress(Protocol):
    """Told how far a long step has come."""

    def __call__(self, step: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` units of ``step`` are done."""


def silent(step: str, done: int, total: int) -> None:
    """Report no progress."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Run:
    """One training run: an identity, a clock, and the sinks that watch it.

    Args:
        sinks: Those who must see each fact.
        clock: Returns the current UTC time.
        progress: Told how far long steps have come.
    """

    def __init__(
        self,
        sinks: Sequence[Sink] = (),
        *,
        clock: Callable[[], datetime] = _utc_now,
        progress: Progress = silent,
    ) -> None:
        self._sinks = tuple(sinks)
        self.warnings: list[str] = []
        self.clock = clock
        self.progress = progress
        self.started_at = clock()
        self.run_id = f"run_{self.started_at:%Y%m%dT%H%M%SZ}_{secrets.token_hex(3)}"

    def record(self, fact: Fact) -> None:
        """Give a fact to every sink, in order; a sink that raises stops the run."""
        at = self.clock()
        for sink in self._sinks:
            sink.record(fact, run_id=self.run_id, at=at)

    def warn(self, message: str) -> None:
        """Record a warning that the user should see."""
        self.warnings.append(message)
        self.record(Warned(message))

    def seal(self) -> Receipt | None:
        """Seal every sink and return the receipt of the one that keeps a log, if any."""
        receipts = [sink.seal() for sink in self._sinks]
        return next((receipt for receipt in receipts if receipt is not None), None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record what goes wrong inside, and let it go on its way."""
        try:
            yield
        except BaseException as error:
            self.record(StageFailed(name, type(error).__name__, str(error)))
            raise
