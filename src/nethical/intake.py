"""From a source to rows: found, read by their roles, and of an event log given their past."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.data import sources
from nethical.data.events import EventLog, EventState
from nethical.data.roles import ROLE_NAMES, Role, infer
from nethical.data.table import LabelledTable, known_labels, table_digest
from nethical.errors import DataError
from nethical.facts import DataLoaded, PastDerived, RolesInferred, SourceFellBack
from nethical.models import catalog
from nethical.trained import numbers_read

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from nethical.data.roles import Roles
    from nethical.data.sources import Source
    from nethical.plan import Plan
    from nethical.run import Run

__all__ = ["Past", "find", "read", "read_other"]

NEEDED_ROLES = (Role.LABEL, Role.GROUP, Role.FAIRNESS)
EVENT_KEYS = (Role.AGENT, Role.RESOURCE)
CODED_ROLES = (
    *(Role.CATEGORICAL, Role.TEXT, Role.SEQUENCE, Role.ID),
    *(*EVENT_KEYS, *NEEDED_ROLES),
)


@dataclass(frozen=True)
class Past:
    """How columns of an event's past are made, and what further events look back on.

    Args:
        event_log: Makes the columns.
        state: What is known of the events of the table.
        roles: What the columns of the bare events are.
    """

    event_log: EventLog
    state: EventState
    roles: Roles


def find(plan: Plan, run: Run) -> Source:
    """Return the rows that a plan names, or those that take their place, which is recorded."""
    reads_log = catalog.traits(plan.model_type).reads_event_log
    texts = [name for name, role in plan.columns.items() if role in CODED_ROLES]
    if reads_log:
        texts += [name for role in EVENT_KEYS for name in ROLE_NAMES[role]]
    with _readable(plan.data):
        source = sources.find(
            plan.data,
            kaggle=plan.kaggle_datasets,
            model_type=plan.model_type,
            num_samples=None if reads_log and _is_named(plan) else plan.num_samples,
            seed=plan.seed,
            fall_back=plan.synthetic_fallback,
            texts=texts,
        )
    if source.fallback:
        run.record(SourceFellBack(source.name, source.fallback))
    return source


def _is_named(plan: Plan) -> bool:
    """Return whether rows are given, and not generated."""
    generated = plan.data is None or str(plan.data).startswith("synthetic:")
    return bool(plan.kaggle_datasets) or not generated


@contextmanager
def _readable(data: object) -> Iterator[None]:
    """Turn what the file system says of a path into two clear lines."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot read {data}: {error.strerror or error}",
            mend="check the path and its permissions",
        ) from error


def read(plan: Plan, source: Source, run: Run) -> tuple[LabelledTable, DataLoaded, Past | None]:
    """Return the labelled rows of a source, what was recorded of them, and their past.

    Of an event log every event is part of the past, labelled or not; only then are rows without
    a label left out, and a sample drawn if one was asked for.
    """
    traits = catalog.traits(plan.model_type)
    roles = infer(
        source.frame,
        plan.hints(source.hints),
        label_needed=not traits.learns_from_normals,
        features_needed=not traits.reads_event_log,
    )
    event_log = None
    if traits.reads_event_log:
        event_log = EventLog.of(roles, windows_days=plan.windows, label_delay_days=plan.label_delay)
    frame, past = source.frame, None
    if event_log is not None:
        frame, state = event_log.derive(frame, known_labels(frame, roles), EventState.empty())
        past = Past(event_log, state, roles)
    table, unlabelled = _labelled(frame, event_log.derived_roles(roles) if event_log else roles)
    if traits.reads_event_log and _is_named(plan) and len(table) > (plan.num_samples or len(table)):
        table = table.rows(sources.sample(len(table), plan.num_samples or 0, plan.seed))
    loaded = _loaded(source, table, unlabelled)
    run.record(loaded)
    run.record(RolesInferred(roles.to_document()))
    if past is not None:
        run.record(PastDerived(len(frame), len(past.event_log.names), past.event_log.to_document()))
    if not table.is_labelled:
        run.warn("no label column: every row is taken for a normal one")
    if unlabelled:
        run.warn(f"{unlabelled:,} rows have no label and are left out")
    if not table.features:
        raise DataError(
            f"no column is left to learn from; columns: {', '.join(frame.column_names)}",
            mend="name the agent, resource and time columns, or add features",
        )
    return table, loaded, past


def _labelled(frame: pa.Table, roles: Roles) -> tuple[LabelledTable, int]:
    """Return the rows that have a label, or all if there is none at all, and how many have none."""
    if roles.labelling is None:
        return LabelledTable.unlabelled(frame, roles), 0
    return LabelledTable.read(frame, roles)


def _loaded(source: Source, table: LabelledTable, unlabelled: int) -> DataLoaded:
    return DataLoaded(
        source.name,
        len(table),
        source.frame.num_columns,
        unlabelled,
        table_digest(source.frame),
        source.details,
        table.is_labelled,
    )


def read_other(
    plan: Plan, table: LabelledTable, past: Past | None, data: str, run: Run
) -> LabelledTable:
    """Return the labelled rows of another source, read as this table is, recorded.

    Args:
        plan: What to do.
        table: The rows to learn from.
        past: Of an event log, what the other rows look back on.
        data: The other source.
        run: Who listens.
    """
    roles = past.roles if past else table.roles
    coded = (Role.CATEGORICAL, Role.TEXT)
    texts = [c.name for c in roles.columns if c.feature in coded or c.role in CODED_ROLES]
    with _readable(data):
        source = sources.find(
            data,
            model_type=plan.model_type,
            num_samples=None,
            seed=plan.seed,
            fall_back=False,
            texts=texts,
        )
    roles = roles.labelled_by(source.frame, plan.hints(source.hints))
    needed = [c.name for c in roles.columns if c.feature or c.role in NEEDED_ROLES]
    missing = [name for name in needed if name not in source.frame.column_names]
    if missing:
        raise DataError(
            f"{data} lacks column {missing[0]!r}", mend="give it the columns of the training data"
        )
    frame = numbers_read(source.frame, roles)
    if past is not None:
        frame, _ = past.event_log.derive(frame, known_labels(frame, roles), past.state)
        roles = table.roles
    other, unlabelled = _labelled(frame, roles)
    run.record(_loaded(source, other, unlabelled))
    if unlabelled:
        run.warn(f"{unlabelled:,} rows of {data} have no label and are left out")
    if len(other) == 0:
        raise DataError(f"{data} holds no labelled row", mend="fill the labels in")
    return other
