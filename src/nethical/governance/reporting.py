"""Rows that somebody reported, and the model in shadow that watches beside the one that decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nethical import decisions
from nethical.errors import DataError, UsageError
from nethical.governance.configurations import Status
from nethical.governance.reviews import SEVERITIES, Case, Source
from nethical.governance.sampling import draws_of, told_rows
from nethical.judgement import reads
from nethical.trained import TrainedModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from nethical.governance.queue import ReviewQueue
    from nethical.governance.store import GovernanceStore
    from nethical.registry import Registry

__all__ = ["deciding_model", "enter_reported", "reported_cases", "shadow_of", "table_of"]


def deciding_model(registry: Registry, reference: str) -> tuple[str, TrainedModel]:
    """Return the id of the model that decided about rows that are reported, and the model.

    Args:
        registry: Where it is.
        reference: A name that has one in production, an id, or what else the registry finds.

    Raises:
        IntegrityError: It is not what was signed.
        UsageError: There is none.
    """
    bundle = registry.verify(reference)
    return bundle.model_id, TrainedModel.from_files(bundle.files)


def table_of(model: TrainedModel, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table of the columns that a model reads.

    Args:
        model: What reads them.
        rows: Values by column; what a row lacks is missing in it, and what no model reads is
            left out.

    Raises:
        DataError: A column holds values of more than one kind, or a number beyond 64 bits.
    """
    import pyarrow as pa

    columns = {}
    for name in model.reads:
        if not any(name in row for row in rows):
            continue  # the model says that it is missing
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise DataError(
                f"column {name!r} cannot be read: {str(error).splitlines()[0]}",
                mend="give each column values of one kind, and numbers of 64 bits at most",
            ) from error
    return pa.table(columns)


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


def enter_reported(
    queue: ReviewQueue, model: TrainedModel, cases: Sequence[Case], severity: int
) -> dict[str, Any]:
    """Put reported rows into the queue, and return what is told of that.

    Args:
        queue: The queue.
        model: What decided about them.
        cases: The rows, as ``reported_cases`` gives them.
        severity: As it was said to be.

    Returns:
        The name of the model, the severity in a word, how many cases are new, and how many were
        in the queue already.
    """
    entered = queue.enter(cases)
    return {
        "name": model.name,
        "severity": SEVERITIES[severity],
        "entered": sum(entered.new.values()),
        "known": entered.known,
    }


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
