"""Synthetic data whose truth is known: the probability behind every label comes with it.

The truth is fixed before any model is seen, so how well a model does against
:attr:`Synthetic.best_accuracy` is a fact about the model, not about the generator.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, SupportsFloat

import numpy as np

from nethical.data.synthetic_tasks import DAY, TASKS, Knobs, Task, World
from nethical.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Synthetic", "describe", "generate", "tasks"]

DAYS = 90
FIRST_MOMENT = np.datetime64("2024-01-01T00:00:00", "us")
GROUP_SPREAD = 1.5  # standard deviation of a group's effect on the log-odds

RANGES = {
    "overlap": (0.05, 20.0),
    "label_noise": (0.0, 0.5),
    "prevalence_shift": (-20.0, 20.0),
    "covariate_shift": (-3.0, 3.0),
    "missing": (0.0, 0.9),
    "informative_missing": (0, 1),
    "groups": (0, 1_000_000),
    "drift": (-20.0, 20.0),
}
WHOLE = frozenset({"informative_missing", "groups"})


@dataclass(frozen=True)
class Synthetic:
    """A table and the truth about it.

    Args:
        table: Features, then ``group`` (string) and ``time`` (timestamp, microseconds, sorted)
            where the task has them, and last ``label`` (int64, 0 or 1).
        probability: True probability that the label is 1 given the row (and, for ``events``,
            the rows before it), label noise included, shape (n,), in [0, 1].
    """

    table: pa.Table
    probability: NDArray[np.float64]

    @property
    def best_accuracy(self) -> float:
        """The accuracy that nobody can beat on average, in [.5, 1]: mean of max(p, 1 - p)."""
        return float(np.mean(np.maximum(self.probability, 1 - self.probability)))


def tasks() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return tuple(TASKS)


def describe(task: str) -> str:
    """Return what a task is, in one line.

    Raises:
        UsageError: There is no such task.

    Example:
        >>> describe("risk")
        'five scores in [0, 1], additive and monotone risk'
    """
    return _find(task).summary


def generate(task: str, n_rows: int, *, seed: int, **knobs: float) -> Synthetic:
    """Draw a table of a task; the same arguments give the same table.

    Args:
        task: One of :func:`tasks`.
        n_rows: Number of rows, at least 1.
        seed: Not negative; another seed draws other rows from the same law.
        **knobs: Fields of :class:`~nethical.data.synthetic_tasks.Knobs` that the task takes.

    Returns:
        The rows and the probability behind each label.

    Raises:
        UsageError: The task or a knob is unknown, or a value is out of its range.

    Example:
        >>> drawn = generate("risk", 1000, seed=1, label_noise=0.1)
        >>> drawn.table.num_rows, round(drawn.best_accuracy, 1)
        (1000, 0.9)
    """
    from scipy.special import expit

    law = _find(task)
    checked = _checked(task, law, knobs)
    _check_whole("n_rows", n_rows, 1)
    _check_whole("seed", seed, 0)
    rng, missing_rng, group_rng, time_rng, label_rng = np.random.default_rng(seed).spawn(5)
    time = np.sort(time_rng.integers(0, DAYS * DAY, n_rows))
    group = group_rng.integers(int(checked.groups), size=n_rows) if checked.groups else None
    columns, log_odds = law.law(World(n_rows, checked, rng, missing_rng, time, group))

    log_odds = log_odds / checked.overlap + checked.prevalence_shift
    log_odds = log_odds + checked.drift * (time / (DAYS * DAY) - 0.5)
    if group is not None:
        log_odds = log_odds + group_rng.normal(0, GROUP_SPREAD, int(checked.groups))[group]
    clean = expit(log_odds)
    probability = clean + checked.label_noise * (1 - 2 * clean)
    label = (label_rng.random(n_rows) < probability).astype(np.int64)
    timed = law.timed or checked.drift != 0
    return Synthetic(_table(columns, group, time if timed else None, label), probability)


def _table(
    columns: dict[str, pa.Array],
    group: NDArray[np.int64] | None,
    time: NDArray[np.int64] | None,
    label: NDArray[np.int64],
) -> pa.Table:
    import pyarrow as pa

    if group is not None:
        names = pa.array([f"group-{i}" for i in range(int(group.max()) + 1)])
        columns["group"] = names.take(pa.array(group))
    if time is not None:
        columns["time"] = pa.array(FIRST_MOMENT + time)
    columns["label"] = pa.array(label)
    return pa.table(columns)


def _find(task: str) -> Task:
    if task not in TASKS:
        raise UsageError(
            f"there is no synthetic task {task!r}", mend=f"choose one of {', '.join(TASKS)}"
        )
    return TASKS[task]


def _check_whole(name: str, value: int, least: int) -> None:
    if not isinstance(value, (int, np.integer)) or value < least:
        raise UsageError(
            f"{name} is {value!r}", mend=f"give {name} a whole number, at least {least}"
        )


def _checked(task: str, law: Task, knobs: dict[str, float]) -> Knobs:
    """Return the task's knobs with the given ones in their place."""
    taken = [knob.name for knob in fields(Knobs) if knob.name in law.knobs]
    for name, value in knobs.items():
        if name not in law.knobs:
            raise UsageError(
                f"the synthetic task {task} has no knob {name!r}",
                mend=f"use {', '.join(taken)}" if taken else "leave it out; this task has none",
            )
        low, high = RANGES[name]
        kind = "a whole number" if name in WHOLE else "a number"
        number = float(value) if isinstance(value, SupportsFloat) else float("nan")
        if not low <= number <= high or (name in WHOLE and not number.is_integer()):
            raise UsageError(
                f"the knob {name} is {value!r}", mend=f"give {name} {kind} from {low} to {high}"
            )
    return replace(law.defaults, **knobs)
