"""What every model type is: the one protocol behind which they all stand."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from nethical.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable, Table
    from nethical.run import Progress

    Floats = NDArray[np.float64]
    Value = float | int | str

__all__ = [
    "Fitting",
    "Model",
    "Parameter",
    "Parts",
    "Reason",
    "Settings",
    "Snapshots",
    "Traits",
    "filled",
]

FEWEST_RECALL_IN_BUDGET = 0.5


@dataclass(frozen=True)
class Parts:
    """A model without code: plain JSON, arrays and text files.

    Args:
        document: JSON values.
        arrays: Numeric arrays by name.
        texts: Text files by file name.
    """

    document: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


class Snapshots(Protocol):
    """Where a long fit leaves, epoch by epoch, all that it needs to go on after a kill."""

    def load(self) -> Parts | None:
        """Return the last snapshot of this very plan, or None to begin at the beginning."""

    def save(self, parts: Parts) -> None:
        """Keep a snapshot in place of the last one, durably; it is there when this returns."""


@dataclass(frozen=True)
class Parameter:
    """One number or word that ``fit`` reads, and all that it may be: an axis of a search.

    It is one of ``choices`` where there are some, else a number in [low, high].

    Args:
        name: What it is called, as in ``--parameter NAME=VALUE``.
        default: What it is where nobody says otherwise.
        low: The least number.
        high: The greatest number.
        is_log: Whether its orders of magnitude count, so that a search looks at them evenly;
            ``low`` is then above 0.
        is_whole: Whether only whole numbers make sense.
        choices: Everything that it may be.

    Example:
        >>> penalty = Parameter("penalty", 1.0, 0.01, 100.0, is_log=True)
        >>> penalty.check(1000.0)
        Traceback (most recent call last):
        nethical.errors.UsageError: the parameter 'penalty' is 1000.0
    """

    name: str
    default: Value
    low: float | None = None
    high: float | None = None
    _: KW_ONLY
    is_log: bool = False
    is_whole: bool = False
    choices: tuple[Value, ...] = ()

    def check(self, value: object) -> None:
        """Return if the parameter may have this value.

        Raises:
            UsageError: It may not; names the parameter, and its range.
        """
        if not self._allows(value):
            raise UsageError(f"the parameter {self.name!r} is {value!r}", mend=self._mend())

    def _allows(self, value: object) -> bool:
        if self.choices:
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int if self.is_whole else int | float):
            return False
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return low <= value <= high and math.isfinite(value)

    def _mend(self) -> str:
        if self.choices:
            return f"give one of {', '.join(map(str, self.choices))}"
        kind = "a whole number" if self.is_whole else "a number"
        limits = [("from", self.low), ("to", self.high)]
        told = [f"{word} {limit:g}" for word, limit in limits if limit is not None]
        return " ".join(["give", kind, *told])

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "choices": list(self.choices)}


def filled(space: Sequence[Parameter], given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the value of every parameter of a space: the given one, else the default.

    Args:
        space: Everything that there is to give.
        given: Some values by name.

    Raises:
        UsageError: A name is not in the space, or a value not in its range.

    Example:
        >>> space = (Parameter("rate", 0.1, 0.01, 1.0), Parameter("kind", "a", choices=("a", "b")))
        >>> filled(space, {"kind": "b"})
        {'rate': 0.1, 'kind': 'b'}
    """
    names = [parameter.name for parameter in space]
    if unknown := [name for name in given if name not in names]:
        raise UsageError(
            f"there is no parameter {unknown[0]!r}",
            mend=f"choose one of {', '.join(names)}"
            if names
            else "leave it out: this model type has no parameters",
        )
    values: dict[str, Value] = {}
    for parameter in space:
        value = given.get(parameter.name, parameter.default)
        parameter.check(value)
        is_real = not (parameter.choices or parameter.is_whole)
        values[parameter.name] = float(value) if is_real else value  # 1 is the same as 1.0
    return values


@dataclass(frozen=True)
class Settings:
    """What the user decides about fitting.

    Args:
        epochs: One is ten passes of a full-batch solver, ten boosting rounds, or a pass over
            the rows in batches; fitting stops earlier when it has converged.
        batch_size: Rows per gradient step, where a type trains in batches.
        threads: Threads of the libraries that can use several.
        snapshots: Where a type that fits for long leaves its state; None to keep none.
        parameters: Values of parameters of ``Traits.space``; others have their defaults.
    """

    epochs: int = 10
    batch_size: int = 32
    threads: int = 1
    snapshots: Snapshots | None = None
    parameters: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Traits:
    """What the flow must know of a type: the class attribute ``traits``, where it has one.

    Args:
        learns_from_normals: It learns from the rows of class 0 alone, so it can do without
            labels; every row then counts as one of class 0. Alerts keep to a budget, within
            which half of the positive rows must be found.
        reads_event_log: Where there are an agent, a resource and a time column, it reads what
            the log says of each event's past instead of the bare event.
        beside: A plainer type that is trained on the same rows, and that it must not be worse
            than; None for none.
        space: The parameters that ``fit`` reads from its settings, for users and searches to
            choose; epochs and batch size are none of them.
    """

    learns_from_normals: bool = False
    reads_event_log: bool = False
    beside: str | None = None
    space: tuple[Parameter, ...] = ()

    @property
    def min_recall(self) -> float:
        """Share of positives that must be called; 0 for any above 0."""
        return FEWEST_RECALL_IN_BUDGET if self.learns_from_normals else 0.0


@dataclass(frozen=True)
class Fitting:
    """How fitting went.

    Args:
        epochs_run: Epochs that were used, in the unit of ``Settings.epochs``; None if the
            type has none.
        notes: What the user should know, such as a setting that had no effect.
        details: Further JSON values for the record.
    """

    epochs_run: float | None
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    """Why a score is what it is: one column's share of it.

    Args:
        column: The column.
        detail: Its value, or what in it counted.
        contribution: What it adds to the score, beside the average row.
    """

    column: str
    detail: str
    contribution: float


class Model(Protocol):
    """A model type: learns from labelled rows, scores rows, explains scores, becomes parts.

    A type is built by ``build(settings)`` of its module. Scores are any real numbers, higher
    is riskier; calibration is done by others. A score depends on its own row alone: not on the
    other rows of the table, their order, or the number of threads. ``fit`` draws randomness
    only from ``rng``, reads only the feature columns, labels and weights, and keeps no row.
    Missing values, unseen levels and empty tables are scored, never refused.
    """

    @property
    def model_type(self) -> str:
        """The name of the type."""

    @property
    def fitting(self) -> Fitting:
        """How the last ``fit`` went."""

    def fit(self, table: LabelledTable, *, rng: np.random.Generator, progress: Progress) -> Self:
        """Learn from labelled rows and return self.

        Raises:
            TrainingError: The type cannot make sense of this table; says why in one line.
        """

    def score(self, table: Table) -> Floats:
        """Return a score for each row, shape (n,), finite, higher is riskier."""

    def row_scorer(self) -> Callable[[Mapping[str, Any]], float] | None:
        """Return a function that scores one row at the speed of plain Python, or None.

        It agrees with ``score`` within 1e-12; absent columns are missing values.
        """

    def explain(self, table: Table, top: int) -> list[list[Reason]]:
        """Return for each row its ``top`` reasons, the weightiest first.

        With ``top`` at least the number of columns, contributions sum to the score less that
        of the average training row.
        """

    def to_parts(self) -> Parts:
        """Return the model as plain values."""

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Return the model that ``to_parts`` gave, scoring bit for bit the same."""
