"""The engine of one machine: processes, each with a pipe of its own.

A worker that is killed or runs out of memory costs its own task alone, which is sent to a new
one; in a pool with shared queues it would take the tasks of all others along, and nobody could
tell which of them it was. Workers are spawned, compute with one thread each, leave Ctrl-C to
this process, and end when this process does, even if that is killed.

With one worker tasks are done in this process, one thread at linear algebra as well, so that
sums are the same bytes as with many.

Whoever starts more than one worker from a script needs its ``if __name__ == "__main__":``.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from nethical.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection

    Task = TypeVar("Task")
    Result = TypeVar("Result")

__all__ = ["run"]

MOST_LOSSES = 2  # of workers, that a task may cost before it is given up
IN_FLIGHT = 2  # tasks per worker that are begun and whose results are not yet handed out
SECONDS_TO_LEAVE = 5.0
THREADS_OF = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def run(fn: Callable[[Task], Result], tasks: Iterable[Task], *, workers: int) -> Iterator[Result]:
    """Return the result of each task, in the order of the tasks; see ``base.Engine``.

    Args:
        fn: A function of a module, or a partial of one.
        tasks: Plain values; taken one by one, at most ``2 * workers`` ahead of the results.
        workers: How many tasks are done at once; with 1 in this process, without any other.

    Raises:
        UsageError: ``workers`` is below 1.
        TrainingError: A task's worker was lost three times.

    Example:
        >>> list(run(abs, [-3, 2], workers=1))
        [3, 2]
    """
    if workers < 1:
        raise UsageError(f"{workers} workers cannot do anything", mend="give 1 worker or more")
    return _here(fn, tasks) if workers == 1 else _spread(fn, tasks, workers)


def _here(fn: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    from threadpoolctl import threadpool_limits

    for task in tasks:
        with threadpool_limits(limits=1, user_api="blas"):
            result = fn(task)
        yield result


def _spread(fn: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    with closing(_Crew(fn, workers)) as crew:
        for number, task in enumerate(tasks):
            while crew.is_full or crew.has_failed or number - crew.told >= IN_FLIGHT * workers:
                crew.collect()
                yield from crew.tell()
            crew.begin(_Job(number, pickle.dumps(task)))
        while crew.is_at_work:
            crew.collect()
            yield from crew.tell()


@dataclass
class _Job:
    """A task under way.

    Args:
        number: Its place among the tasks, from 0.
        task: What ``fn`` gets, pickled.
        losses: How many workers were lost over it.
    """

    number: int
    task: bytes
    losses: int = 0


@dataclass(frozen=True)
class _Outcome:
    """What came of a task: what ``fn`` returned, or the parts of what it raised."""

    result: Any = None
    raised: tuple[type[BaseException], tuple[Any, ...], dict[str, Any]] | None = None

    @classmethod
    def of(cls, error: Exception) -> _Outcome:
        """Return the outcome of a task that raised this."""
        error.add_note("in a worker: " + "".join(traceback.format_exception(error)).rstrip())
        return cls(raised=(type(error), error.args, error.__dict__))

    def get(self) -> Any:  # noqa: ANN401 - whatever fn returns
        """Return the result, or raise what was raised, of its own class and with its fields."""
        if self.raised is None:
            return self.result
        kind, arguments, fields = self.raised
        error = kind.__new__(kind, *arguments)
        error.args = arguments  # __init__ is left out: it may want other arguments than these
        error.__dict__.update(fields)
        raise error


class _Worker:
    """A process that does one task after the other.

    Args:
        fn: What does them, pickled.
        job: The first one.
    """

    def __init__(self, fn: bytes, job: _Job) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe ends with the process
        self._send(fn)
        self.begin(job)

    def begin(self, job: _Job) -> None:
        """Send a task."""
        self.job = job
        self._send(job.task)

    def _send(self, pickled: bytes) -> None:
        try:
            self.connection.send_bytes(pickled)
        except OSError:
            return  # the process is gone, which is seen where its answer is read

    def outcome(self) -> _Outcome | None:
        """Return what came of the task, None if the process is gone."""
        try:
            found: _Outcome = pickle.loads(self.connection.recv_bytes())  # noqa: S301 - our process
        except (EOFError, OSError):  # before its answer, or in the middle of it
            return None
        return found

    def end(self, *, patient: bool) -> int | None:
        """End the process, an idle one by itself, and return its exit code."""
        self.connection.close()
        if patient:
            self._process.join(SECONDS_TO_LEAVE)
        self._process.kill()
        self._process.join()
        return self._process.exitcode


class _Crew:
    """Some workers, the tasks that they are at, and what came of the tasks."""

    def __init__(self, fn: Callable[[Any], Any], size: int) -> None:
        self._fn = pickle.dumps(fn)
        self._size = size
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}
        self._done: dict[int, _Outcome] = {}
        self.told = 0
        self.has_failed = False

    @property
    def is_full(self) -> bool:
        """Whether every worker is at a task."""
        return len(self._busy) == self._size

    @property
    def is_at_work(self) -> bool:
        """Whether any worker is at a task."""
        return bool(self._busy)

    def begin(self, job: _Job) -> None:
        """Give a task to an idle worker, or to a new one."""
        if self._idle:
            worker = self._idle.pop()
            worker.begin(job)
        else:
            worker = _Worker(self._fn, job)
        self._busy[worker.connection] = worker

    def collect(self) -> None:
        """Wait for outcomes; the task of a worker that was lost is begun again."""
        ready = wait(list(self._busy))
        for connection in [one for one in self._busy if one in ready]:
            worker = self._busy.pop(connection)
            outcome = worker.outcome()
            if outcome is None:
                self._begin_again(worker.job, worker.end(patient=False))
                continue
            self._idle.append(worker)
            self._done[worker.job.number] = outcome
            self.has_failed = self.has_failed or outcome.raised is not None

    def _begin_again(self, job: _Job, exit_code: int | None) -> None:
        job.losses += 1
        if job.losses > MOST_LOSSES:
            how, mend = _loss(exit_code)
            raise TrainingError(
                f"the worker of task {job.number + 1} was lost {job.losses} times, at last {how}",
                mend=mend,
            )
        self.begin(job)

    def tell(self) -> Iterator[Any]:
        """Yield the results that are next in order; raise what the next task raised."""
        while self.told in self._done:
            outcome = self._done.pop(self.told)
            self.told += 1
            yield outcome.get()

    def close(self) -> None:
        """End every worker, whatever it is at."""
        for worker in self._busy.values():
            worker.end(patient=False)
        for worker in self._idle:
            worker.end(patient=True)


def _loss(exit_code: int | None) -> tuple[str, str]:
    """Return how a process came to its end, and what to do about it."""
    if exit_code is not None and exit_code < 0:
        how = f"by {signal.Signals(-exit_code).name}"
        return how, "give the machine more memory, or use fewer workers"
    mend = "read what it wrote above; a script that starts workers needs `if __name__ == ...`"
    return f"with exit code {exit_code}", mend


def _serve(connection: Connection) -> None:
    """Do tasks until the pipe ends: what a worker's process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    Thread(target=_end_with_parent, daemon=True).start()
    _compute_alone()
    try:
        fn = connection.recv_bytes()
        while True:
            connection.send_bytes(_answer(fn, connection.recv_bytes()))
    except (EOFError, OSError):  # nobody is there any more
        return


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, whatever it is at."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _compute_alone() -> None:
    """Let libraries use one thread: those that are yet to be loaded, and those that are."""
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(THREADS_OF, "1"))
    threadpool_limits(limits=1)


def _answer(fn: bytes, task: bytes) -> bytes:
    """Return the outcome of a task, pickled."""
    try:
        return pickle.dumps(_Outcome(_function(fn)(pickle.loads(task))))  # noqa: S301 - our parent
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where fn was asked for
        outcome = _Outcome.of(error)
        told = "".join(traceback.format_exception(error))
    try:
        return pickle.dumps(outcome)
    except (pickle.PicklingError, TypeError, AttributeError):  # what was raised cannot travel
        return pickle.dumps(_Outcome.of(RuntimeError(told)))


@cache
def _function(pickled: bytes) -> Callable[[Any], Any]:
    fn: Callable[[Any], Any] = pickle.loads(pickled)  # noqa: S301 - it came from our parent
    return fn
