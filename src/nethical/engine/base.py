"""What every engine is: something that does tasks and gives their results in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Engine"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class Engine(Protocol):
    """An engine, such as the module ``nethical.engine.local``.

    Results are the same bytes whatever the engine and the number of workers if ``fn`` depends on
    its task alone, and tasks are fixed by the data and never by the number of workers.
    """

    def run(
        self, fn: Callable[[Task], Result], tasks: Iterable[Task], *, workers: int
    ) -> Iterator[Result]:
        """Return the result of each task, in the order of the tasks.

        A task whose worker was lost is done again, so what a task writes must be whole at any
        moment. A task's own exception is raised where its result would stand, and what is under
        way is then given up; so it is when the iterator is closed.

        Args:
            fn: A function of a module, or a partial of one.
            tasks: Plain values; taken one by one, few ahead of the results.
            workers: How many tasks are done at once.

        Raises:
            UsageError: ``workers`` is below 1.
            TrainingError: A task's worker was lost again and again.
        """
