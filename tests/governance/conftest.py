"""A review queue in a store of its own, with a clock that is set by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from nethical.governance.queue import ReviewQueue
from nethical.governance.store import GovernanceStore


class Clock:
    """A clock that stands until it is moved on."""

    start = datetime(2026, 1, 1, tzinfo=UTC)

    def __init__(self):
        self.now = self.start

    def __call__(self):
        return self.now

    def on(self, **time):
        """Move it on."""
        self.now += timedelta(**time)


@pytest.fixture(scope="session")
def new_clock():
    """What makes further clocks, for tests that open several queues."""
    return Clock


@pytest.fixture
def clock():
    """The clock of the queue."""
    return Clock()


@pytest.fixture
def queue(tmp_path, clock):
    """An empty queue."""
    return ReviewQueue(GovernanceStore(tmp_path, clock), clock)


@pytest.fixture(scope="session")
def answered():
    """What claims the next case for somebody and answers it."""

    def answer(queue, reviewer, given):
        claimed = queue.claim(reviewer)
        return queue.submit(claimed.case.case_id, reviewer, given)

    return answer
