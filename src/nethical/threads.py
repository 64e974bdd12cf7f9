"""How many threads: the cores that are free, and one for linear algebra.

A sum over several threads depends on their number in its last bits; with one it is the same
bytes everywhere. Trees are deterministic for any number.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["free_cores", "one_blas_thread"]


def free_cores() -> int:
    """Return the number of cores that this process may use and that are idle, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, allowed - round(os.getloadavg()[0]))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run linear algebra in one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
