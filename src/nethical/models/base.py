"""What every model type is: the one protocol behind which they all stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable, Table
    from nethical.run import Progress

    Floats = NDArray[np.float64]

__all__ = ["Fitting", "Model", "Parts", "Reason", "Settings", "Snapshots", "Traits"]

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
class Settings:
    """What the user decides about fitting.

    Args:
        epochs: One is ten passes of a full-batch solver, ten boosting rounds, or a pass over
            the rows in batches; fitting stops earlier when it has converged.
        batch_size: Rows per gradient step, where a type trains in batches.
        threads: Threads of the libraries that can use several.
        snapshots: Where a type that fits for long leaves its state; None to keep none.
    """

    epochs: int = 10
    batch_size: int = 32
    threads: int = 1
    snapshots: Snapshots | None = None


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
    """

    learns_from_normals: bool = False
    reads_event_log: bool = False
    beside: str | None = None

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
