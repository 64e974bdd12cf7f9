"""The first half of a run: from a source to disjoint parts that a model may learn from."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nethical.canonical import digest
from nethical.data import leaks as leak_probes
from nethical.data import sources, split
from nethical.data.roles import Role, infer
from nethical.data.rows import seed_key
from nethical.data.table import LabelledTable, table_digest
from nethical.errors import DataError, UsageError
from nethical.facts import DataLoaded, DataSplit, LeaksProbed, RolesInferred, SourceFellBack
from nethical.trained import numbers_read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nethical.data.roles import Roles
    from nethical.data.sources import Source
    from nethical.data.split import Split
    from nethical.plan import Plan
    from nethical.run import Run

__all__ = ["Prepared", "prepare"]

NEEDED_ROLES = (Role.LABEL, Role.GROUP, Role.FAIRNESS)


@dataclass(frozen=True)
class Prepared:
    """Everything a model learns from and is judged on.

    Args:
        loaded: Where the rows came from, as it was recorded.
        roles: What the columns are, after leaks were dropped.
        leaks: What gives the label away, as it was recorded.
        unaccepted: Suspect columns that are still read and that nobody accepted.
        split: How the rows were split, as it was recorded.
        notes: What the user should know about the split.
        parts: The labelled rows of train, calibrate, gate, and tune with a search.
        challenges: Further sets that must hold too, by name.
    """

    loaded: DataLoaded
    roles: Roles
    leaks: LeaksProbed
    unaccepted: tuple[str, ...]
    split: DataSplit
    notes: tuple[str, ...]
    parts: Mapping[str, LabelledTable]
    challenges: Mapping[str, LabelledTable]

    @property
    def is_synthetic(self) -> bool:
        """Whether the rows were generated."""
        return self.loaded.source.startswith("synthetic:")


def prepare(plan: Plan, run: Run, *, data_digest: str | None = None) -> Prepared:
    """Return the parts of a plan's data, each step recorded.

    Args:
        plan: What to do.
        run: Who listens.
        data_digest: What the digest of the rows must be; None for any.

    Raises:
        DataError: The data cannot be had or make no sense, or are not those with this digest.
        UsageError: The plan names columns that are not there.
    """
    with run.stage("source"):
        source = _find(plan, run)
    with run.stage("roles"):
        table, loaded = _read(plan, source, run)
        if data_digest not in {None, loaded.digest}:
            raise DataError(
                f"the rows of {loaded.source} have the digest {loaded.digest}, "
                f"the run to repeat had {data_digest}",
                mend="give it the same data, or train anew without --from-run",
            )
        del source
    with run.stage("leaks"):
        table, leaks, unaccepted = _probe(plan, table, run)
    with run.stage("split"):
        parts, how = _split(plan, table)
        challenges = {path: _other(plan, table, path) for path in plan.challenge_data}
        split_fact = _record_split(parts, how, run)
    return Prepared(
        loaded, table.roles, leaks, unaccepted, split_fact, how.notes, parts, challenges
    )


def _find(plan: Plan, run: Run) -> Source:
    with _readable(plan.data):
        source = sources.find(
            plan.data,
            kaggle=plan.kaggle_datasets,
            model_type=plan.model_type,
            num_samples=plan.num_samples,
            seed=plan.seed,
            fall_back=plan.synthetic_fallback,
        )
    if source.fallback:
        run.record(SourceFellBack(source.name, source.fallback))
    return source


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


def _read(plan: Plan, source: Source, run: Run) -> tuple[LabelledTable, DataLoaded]:
    roles = infer(source.frame, plan.hints(source.hints))
    table, unlabelled = LabelledTable.read(source.frame, roles)
    loaded = DataLoaded(
        source.name,
        len(table),
        source.frame.num_columns,
        unlabelled,
        table_digest(source.frame),
        source.details,
    )
    run.record(loaded)
    run.record(RolesInferred(roles.to_document()))
    if unlabelled:
        run.warn(f"{unlabelled:,} rows have no label and are left out")
    return table, loaded


def _probe(
    plan: Plan, table: LabelledTable, run: Run
) -> tuple[LabelledTable, LeaksProbed, tuple[str, ...]]:
    """Return the table without dropped columns, what was found, and what nobody accepted."""
    for column in plan.accept_leaks:
        if column not in table.frame.column_names:
            raise UsageError(
                f"--accept-leak {column!r} is not in the data", mend="correct the column's name"
            )
    found = leak_probes.probe(table, seed=plan.seed)
    dropped = tuple(found.columns) if plan.drop_leaks else ()
    unaccepted = tuple(c for c in found.columns if c not in {*dropped, *plan.accept_leaks})
    if dropped:
        table = table.with_roles(table.roles.without(set(dropped)))
    fact = LeaksProbed(
        [suspect.to_document() for suspect in found.suspects],
        list(dropped),
        [c for c in plan.accept_leaks if c in found.columns],
        found.sorted_by_label,
    )
    run.record(fact)
    for suspect in found.suspects:
        if suspect.column in dropped:
            outcome = "it is left out"
        elif suspect.column in unaccepted:
            outcome = "no PASS until --drop-leaks or --accept-leak"
        else:
            outcome = "accepted" if suspect.is_feature else "it is not read"
        run.warn(
            f"Leak: column {suspect.column!r} nearly decides the label by {suspect.what} "
            f"(ROC {suspect.roc_auc:.3f}); {outcome}"
        )
    if found.sorted_by_label:
        run.warn("the rows are sorted by label; parts are drawn by hash, so each has both classes")
    return table, fact, unaccepted


def _split(plan: Plan, table: LabelledTable) -> tuple[dict[str, LabelledTable], Split]:
    """Return the parts, and how the rows of the table itself were split."""
    if plan.test_data is None:
        how = split.split(table, strategy=plan.split, column=plan.split_column, seed=plan.seed)
        return {name: table.rows(how.mask(name)) for name in how.counts()}, how
    if plan.split_column is not None:
        raise UsageError(
            "both --test-data and --split-column name the gate part", mend="pass one of them"
        )
    shares = {"calibrate": 0.25, "train": 0.75}
    how = split.split(table, strategy=plan.split, seed=plan.seed, shares=shares)
    gate = _other(plan, table, plan.test_data)
    if gate.y.min() == gate.y.max():
        raise DataError(
            f"{plan.test_data} holds one class only ({len(gate)} labelled rows)",
            mend="judge on rows of both classes",
        )
    key = seed_key(plan.seed, "split")
    known = int(np.isin(gate.digests(key)[:, 0], table.digests(key)[:, 0]).sum())
    shared = (f"{known:,} test rows equal or nearly equal a training row",) * bool(known)
    how = replace(how, strategy="given", notes=(*how.notes, *shared))
    return {**{name: table.rows(how.mask(name)) for name in how.counts()}, "gate": gate}, how


def _other(plan: Plan, table: LabelledTable, data: str) -> LabelledTable:
    """Return the labelled rows of another source, read as this table is."""
    with _readable(data):
        source = sources.find(
            data, model_type=plan.model_type, num_samples=None, seed=plan.seed, fall_back=False
        )
    needed = [c.name for c in table.roles.columns if c.feature or c.role in NEEDED_ROLES]
    missing = [name for name in needed if name not in source.frame.column_names]
    if missing:
        raise DataError(
            f"{data} lacks column {missing[0]!r}", mend="give it the columns of the training data"
        )
    other, _ = LabelledTable.read(numbers_read(source.frame, table.roles), table.roles)
    if len(other) == 0:
        raise DataError(f"{data} holds no labelled row", mend="fill the labels in")
    return other


def _record_split(parts: dict[str, LabelledTable], how: Split, run: Run) -> DataSplit:
    gate = parts["gate"]
    fact = DataSplit(
        strategy=how.strategy,
        train_samples=len(parts["train"]),
        val_samples=sum(len(part) for name, part in parts.items() if name != "train"),
        parts={name: len(part) for name, part in parts.items()},
        positives={name: int(part.y.sum()) for name, part in parts.items()},
        groups={
            name: len(np.unique(part.groups))
            for name, part in parts.items()
            if part.groups is not None
        },
        duplicate_rows=how.duplicates,
        gate_digest=digest(gate.digests(seed_key(0, "gate")).tobytes()),
    )
    run.record(fact)
    for note in how.notes:
        run.warn(note)
    if len(gate) < split.SMALL_GATE:
        run.warn(f"the gate part has {len(gate)} rows; bounds are wide below {split.SMALL_GATE}")
    return fact
