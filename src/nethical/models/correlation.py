"""``correlation``: boosted trees on what an event log says of each event's past.

The log becomes columns before the rows are split (see ``nethical.data.events``); the five
columns of the ancestor are read directly where a table brings them instead of a log.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from nethical.data.event_columns import LEGACY
from nethical.data.roles import Role
from nethical.errors import TrainingError
from nethical.models import boosted
from nethical.models.base import Traits
from nethical.models.boosted import Boosted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable, Table
    from nethical.models.base import Fitting, Parts, Reason, Settings
    from nethical.run import Progress

    Floats = NDArray[np.float64]

__all__ = ["Correlation", "build"]

# Positives of a log are rare, so trees are smaller and slower to trust a leaf (decision 0011).
RARE_POSITIVES = {"learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 100}
SPACE = tuple(
    replace(parameter, default=RARE_POSITIVES.get(parameter.name, parameter.default))
    for parameter in boosted.SPACE
)


class Correlation:
    """Boosted trees on the numbers of events and of their past."""

    model_type = "correlation"
    traits = Traits(reads_event_log=True, space=SPACE)

    def __init__(self, boosted: Boosted) -> None:
        self._boosted = boosted

    @property
    def fitting(self) -> Fitting:
        """How the last ``fit`` went."""
        return self._boosted.fitting

    def fit(self, table: LabelledTable, *, rng: np.random.Generator, progress: Progress) -> Self:
        """Learn from labelled rows and return self.

        Raises:
            TrainingError: The rows come from no event log and lack the five legacy columns.
        """
        _check_columns(table)
        self._boosted.fit(table, rng=rng, progress=progress)
        return self

    def score(self, table: Table) -> Floats:
        """Return the log-odds of each row, shape (n,)."""
        return self._boosted.score(table)

    def row_scorer(self) -> Callable[[Mapping[str, Any]], float] | None:
        """Return a scorer of one row that has its past as columns."""
        return self._boosted.row_scorer()

    def explain(self, table: Table, top: int) -> list[list[Reason]]:
        """Return for each row the columns that move its log-odds most (tree SHAP)."""
        return self._boosted.explain(table, top)

    def to_parts(self) -> Parts:
        """Return the model as plain values."""
        return self._boosted.to_parts()

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Return the model that ``to_parts`` gave."""
        return cls(Boosted.from_parts(parts))


def _check_columns(table: LabelledTable) -> None:
    features = {feature.name for feature in table.features}
    is_log = all(table.roles.one(role) for role in (Role.AGENT, Role.RESOURCE, Role.TIME))
    if not is_log and not features.issuperset(LEGACY):
        raise TrainingError(
            "correlation needs agent, resource and time columns, or the five columns "
            f"{', '.join(LEGACY)}",
            mend="name them with --column NAME=agent, --column NAME=resource and --time-column "
            "NAME, or choose --model-type boosted",
        )


def build(settings: Settings) -> Correlation:
    """Return an unfitted model."""
    return Correlation(Boosted(settings, SPACE))
