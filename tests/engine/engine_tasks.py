"""What the workers of the tests do; they import it by its name."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from nethical.errors import DataError


def square(number):
    return number * number


def slow_first(number):
    """Take the longer the earlier the task."""
    time.sleep(max(0.0, 0.3 - 0.06 * number))
    return number, os.getpid()


def die(task):
    """Kill the own process so many times, then return; a folder keeps the count."""
    folder, number, times = task
    deaths = len(list(Path(folder).glob(f"{number}.*")))
    if deaths < times:
        (Path(folder) / f"{number}.{deaths}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def be_a_target(task):
    """Say which process does a task, and take a while over it."""
    folder, number = task
    place = Path(folder) / f"{number}.pid"
    place.with_suffix(".new").write_text(str(os.getpid()))
    place.with_suffix(".new").rename(place)
    time.sleep(0.15)
    place.unlink(missing_ok=True)  # who killed the last one may have taken it
    return number


def return_much(task):
    """Return more than a pipe holds, the first task excepted."""
    folder, number = task
    (Path(folder) / f"{number}.{os.getpid()}").touch()
    return b"x" * (number * 5_000_000)


def leave_a_mark(task):
    folder, number = task
    (Path(folder) / f"{number}.pid").write_text(str(os.getpid()))
    time.sleep(60)


def fail_at_three(number):
    if number == 3:
        raise DataError("row 3 is odd", mend="mend row 3")
    time.sleep(0.02)
    return number


class NeedyError(Exception):
    def __init__(self, code, *, reason):
        super().__init__(f"{code}: {reason}")
        self.reason = reason


def fail_needily(number):
    raise NeedyError(number, reason="so it is")


def fail_untold(number):
    raise ValueError(number, lambda: None)


def untold(number):
    return lambda: number


def leave(number):
    os._exit(number)


def threads_of(_):
    """Return how many threads each library has here, and what is told to those to come."""
    from threadpoolctl import threadpool_info

    np.ones((4, 4)) @ np.ones((4, 4))
    found = [library["num_threads"] for library in threadpool_info()]
    return found, os.environ["OMP_NUM_THREADS"]


def product(seed):
    """Return the bytes of a product of matrices, whose last bits depend on how it is summed."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(150, 400)) @ rng.normal(size=(400, 150))).tobytes()
