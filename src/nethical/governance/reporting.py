"""Rows that somebody reported, and the model in shadow that watches beside the one that decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nethical import decisions
from nethical.errors import UsageError
from nethical.governance.configurations import Status
from nethical.governance.reviews import Case, Source
from nethical.governance.sampling import draws_of, told_rows
from nethical.judgement import reads
from nethical.trained import TrainedModel

if TYPE_CHECKING:
    import pyarrow as pa

    from nethical.governance.store import GovernanceStore
    from nethical.registry import Registry

__all__ = ["reported_cases", "shadow_of"]


def reported_cases(
    model: TrainedModel, model_id: str, key: bytes, frame: pa.Table, severity: int
) -> list[Case]:
    """Return rows as cases that somebody wants people to look at.

    They are no sample of all decisions, so how often a model is right is never told from them.

    Args:
        model: What decided about them.
        model_id: Its id.
        key: Blinds the digests of rows, as for those that are drawn: one row is one case.
        frame: The rows.
        severity: 1 (LOW) to 5 (EMERGENCY), as whoever reports them says.

    Raises:
        DataError: A column that the model reads is missing.
        UsageError: The model reads an event log.
    """
    if model.event_log is not None:
        raise UsageError(
            f"{model.name} reads an event log, and a single event has no past to review",
            mend="report rows of a model of tables",
        )
    table = model.table(frame)
    y_proba = model.probabilities(table)
    decided = decisions.decide(y_proba, model.thresholds)
    digests, _ = draws_of(table, key)
    rows = told_rows(model, frame, y_proba, decided, np.arange(len(table)))
    return [
        Case(
            model.name,
            Source.REPORTED,
            Source.REPORTED.value,
            1.0,
            severity,
            1.0,
            f"row:{digest.tobytes().hex()}",
            model_id=model_id,
            **row,
        )
        for digest, row in zip(digests, rows, strict=True)
    ]


def shadow_of(
    store: GovernanceStore, registry: Registry, model: TrainedModel
) -> tuple[str, TrainedModel] | None:
    """Return the model in shadow of a name and its id; None if there is none that reads the same.

    Args:
        store: Where it is told which configuration is in shadow.
        registry: Where its model is.
        model: What decides.
    """
    last = {event.configuration_id: event for event in store.events(model.name)}
    in_shadow = [e for e in last.values() if e.to_status == Status.SHADOW.value and e.model_id]
    for event in sorted(in_shadow, key=lambda event: event.number, reverse=True):
        found = TrainedModel.from_files(registry.verify(event.model_id).files)
        if reads(found) == reads(model):
            return event.model_id, found
    return None
