"""The first half of a run: from a source to disjoint parts that a model may learn from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nethical import intake
from nethical.canonical import digest
from nethical.data import leaks as leak_probes
from nethical.data import split
from nethical.data.rows import seed_key
from nethical.errors import DataError, UsageError
from nethical.facts import DataSplit, LeaksProbed
from nethical.intake import read_other
from nethical.models import catalog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nethical.data.events import EventLog
    from nethical.data.roles import Roles
    from nethical.data.split import Split
    from nethical.data.table import LabelledTable
    from nethical.facts import DataLoaded
    from nethical.intake import Past
    from nethical.plan import Plan
    from nethical.run import Run

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """Everything a model learns from and is judged on.

    Args:
        loaded: Where the rows came from, as it was recorded.
        roles: What the columns are, after leaks were dropped.
        leaks: What gives the label away, as it was recorded.
        unaccepted: Suspect columns that are still read and that nobody accepted; None where
            a class has too few rows to probe for any.
        event_log: How the columns of an event's past are made; None where there are none.
        split: How the rows were split, as it was recorded.
        notes: What the user should know about the split.
        parts: The labelled rows of train, calibrate, gate, and tune with a search.
        challenges: Further sets that must hold too, by name.
    """

    loaded: DataLoaded
    roles: Roles
    leaks: LeaksProbed
    unaccepted: tuple[str, ...] | None
    event_log: EventLog | None
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
        UsageError: The plan names columns or parameters that are not there.
    """
    catalog.parameters(plan.model_type, plan.parameters)
    with run.stage("source"):
        source = intake.find(plan, run)
    with run.stage("roles"):
        table, loaded, past = intake.read(plan, source, run)
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
        parts, how = _split(plan, table, past, run)
        challenges = {
            path: _challenge(plan, table, past, path, parts, run) for path in plan.challenge_data
        }
        split_fact = _record_split(parts, how, run)
    return Prepared(
        loaded,
        parts["gate"].roles,
        leaks,
        unaccepted,
        past.event_log if past else None,
        split_fact,
        how.notes,
        parts,
        challenges,
    )


def _probe(
    plan: Plan, table: LabelledTable, run: Run
) -> tuple[LabelledTable, LeaksProbed, tuple[str, ...] | None]:
    """Return the table without dropped columns, what was found, and what nobody accepted."""
    for column in plan.accept_leaks:
        if column not in table.frame.column_names:
            raise UsageError(
                f"--accept-leak {column!r} is not in the data", mend="correct the column's name"
            )
    found = leak_probes.Leaks((), sorted_by_label=False, probed=False)
    if table.is_labelled:
        found = leak_probes.probe(table, seed=plan.seed)
    dropped = tuple(found.columns) if plan.drop_leaks else ()
    unaccepted = tuple(c for c in found.columns if c not in {*dropped, *plan.accept_leaks})
    if dropped:
        table = table.with_roles(table.roles.without(set(dropped)))
        if not table.features:
            raise DataError(
                f"no column is left to learn from without {', '.join(map(repr, dropped))}",
                mend="add columns that do not give the label away",
            )
    fact = LeaksProbed(
        [suspect.to_document() for suspect in found.suspects],
        list(dropped),
        [c for c in plan.accept_leaks if c in found.columns],
        found.sorted_by_label,
        found.probed,
    )
    run.record(fact)
    if table.is_labelled and not found.probed:
        run.warn(f"a class has fewer than {leak_probes.FEWEST_PER_CLASS} rows: leaks not probed")
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
    return table, fact, unaccepted if found.probed else None


def _split(
    plan: Plan, table: LabelledTable, past: Past | None, run: Run
) -> tuple[dict[str, LabelledTable], Split]:
    """Return the parts, and how the rows of the table itself were split."""
    normals_suffice = catalog.traits(plan.model_type).learns_from_normals
    shares = split.SHARES_WITH_SEARCH if plan.has_search else split.SHARES
    strategy, delay_days = plan.split, 0.0
    if past is not None:
        strategy = "temporal" if plan.split == "auto" else plan.split
        delay_days = past.event_log.label_delay_days
        if strategy != "temporal" or plan.split_column is not None:
            run.warn("the log is not split by time: later events teach what earlier ones judge")
    if plan.test_data is None:
        how = split.split(
            table,
            strategy=strategy,
            column=plan.split_column,
            seed=plan.seed,
            shares=shares,
            one_class_suffices=normals_suffice,
            label_delay_days=delay_days,
        )
        parts = {name: table.rows(how.mask(name)) for name in how.counts()}
        return (parts if plan.split_column is None else _apart(plan, parts, run)), how
    if plan.split_column is not None:
        raise UsageError(
            "both --test-data and --split-column name the gate part", mend="pass one of them"
        )
    gate = read_other(plan, table, past, plan.test_data, run)
    if not gate.has_both_classes and not normals_suffice:
        raise DataError(
            f"{plan.test_data} holds one class only ({len(gate)} labelled rows)",
            mend="judge on rows of both classes",
        )
    if past is not None:
        table = _known_in_time(table, gate, delay_days, run)
    rest = 1 - shares["gate"]
    how = split.split(
        table,
        strategy=strategy,
        seed=plan.seed,
        shares={name: round(share / rest, 12) for name, share in shares.items() if name != "gate"},
        one_class_suffices=normals_suffice,
    )
    parts = {**{name: table.rows(how.mask(name)) for name in how.counts()}, "gate": gate}
    return _apart(plan, parts, run), replace(how, strategy="given")


def _known_in_time(
    table: LabelledTable, gate: LabelledTable, delay_days: float, run: Run
) -> LabelledTable:
    """Return the events whose labels were known when the gate part begins."""
    known = split.known_before(table, gate, delay_days)
    if known.all():
        return table
    run.warn(
        f"{int((~known).sum()):,} rows of the {delay_days:g} days before the gate part, or later, "
        "are left out: their labels were not known yet"
    )
    return table.rows(known)


def _apart(plan: Plan, parts: dict[str, LabelledTable], run: Run) -> dict[str, LabelledTable]:
    """Return given parts without the learning rows that a gate row equals, or groups with."""
    gate = parts["gate"]
    kept = {}
    for name, part in parts.items():
        known = split.shared(part, gate, seed=plan.seed)
        kept[name] = part.rows(~known) if name != "gate" and known.any() else part
    left_out = sum(len(parts[name]) - len(part) for name, part in kept.items())
    if left_out:
        run.warn(
            f"{left_out:,} training rows equal a test row or share its group; they are left out"
        )
    normals_suffice = catalog.traits(plan.model_type).learns_from_normals
    for name, part in kept.items():
        if len(part) == 0 or not (part.has_both_classes or normals_suffice):
            raise DataError(
                f"the {name} part holds {len(part)} rows of one class or none, "
                "once rows that the gate part holds too are left out",
                mend="give test rows that the training data do not hold",
            )
    return kept


def _challenge(
    plan: Plan,
    table: LabelledTable,
    past: Past | None,
    data: str,
    parts: dict[str, LabelledTable],
    run: Run,
) -> LabelledTable:
    """Return the rows of a challenge set that the model does not learn from."""
    rows = read_other(plan, table, past, data, run)
    if not rows.is_labelled:
        raise DataError(
            f"{data} has no labels to judge by", mend="add the label column, or leave it out"
        )
    known = np.zeros(len(rows), dtype=bool)
    for name, part in parts.items():
        if name != "gate":
            known |= split.shared(rows, part, seed=plan.seed)
    if known.all():
        raise DataError(
            f"{data} holds no row that the model does not learn from",
            mend="give a challenge set of other rows",
        )
    if known.any():
        run.warn(
            f"{int(known.sum()):,} rows of {data} equal a training row or share its group; "
            "they are left out"
        )
    return rows.rows(~known) if known.any() else rows


def _record_split(parts: dict[str, LabelledTable], how: Split, run: Run) -> DataSplit:
    gate = parts["gate"]
    fact = DataSplit(
        strategy=how.strategy,
        train_samples=len(parts["train"]),
        val_samples=sum(len(part) for name, part in parts.items() if name != "train"),
        parts={name: len(part) for name, part in parts.items()},
        positives={name: int(part.y.sum()) for name, part in parts.items() if part.is_labelled},
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
