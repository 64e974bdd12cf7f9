"""Where cohorts come from: the gate rows of a run, or a file of scored rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical import durable, record
from nethical.canonical import canonical_json, digest
from nethical.data import files
from nethical.data.labels import MISSING_WORDS, NEGATIVE_WORDS, POSITIVE_WORDS
from nethical.data.roles import Role
from nethical.data.rows import column_words, keyed_digests
from nethical.data.table import Table
from nethical.drift import measures
from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import NewRun, check_id, cohort_id_of
from nethical.drift.rows import from_parquet, rows_digest, sketch
from nethical.drift.windows import windows
from nethical.errors import DataError, UsageError
from nethical.gate import FEWEST_GROUPS, Limits
from nethical.metrics.intervals import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nethical.drift.cells import Cells
    from nethical.drift.cohorts import Cohorts
    from nethical.pipeline import Outcome

    Codes = tuple[NDArray[np.int64], list[str]]

__all__ = ["Addition", "Columns", "add", "check", "from_file", "from_run", "violations"]

# What decides how a model is made, whatever rows and whatever seed.
PROCESS = (
    *("model_type", "epochs", "batch_size", "parameters", "has_search", "windows", "label_delay"),
    *("threshold", "thresholds", "alert_budget"),
    *("use_fairness_columns", "drop_leaks", "accept_leaks", "positive_labels", "columns"),
)
ROWS = "rows"
LABEL = "label"
MISSING = "(missing)"
NO_ROLES_NEEDED: Any = None
GATE_LEVEL = 0.95
HIGH_LOW_ACCURACY = 0.15
MOST_COHORTS = 200


@dataclass(frozen=True)
class Addition:
    """A run that is to be added to a cohort, and the file of its rows, if it is to be kept."""

    cohort_id: str
    label: str
    run: NewRun
    rows_file: bytes | None = None


@dataclass(frozen=True)
class Columns:
    """What the columns of a file of scored rows are called.

    Args:
        probability: The probability of class 1.
        label: What was true; None for the column ``label`` where there is one.
        group: Rows that belong together.
        fairness: Kinds of rows to compare.
        time: When a row happened.
        cohort: One cohort for each of its values, instead of one for all rows.
    """

    probability: str = "probability"
    label: str | None = None
    group: str | None = None
    fairness: tuple[str, ...] = ()
    time: str | None = None
    cohort: str | None = None

    def names(self) -> list[str]:
        """Return every column that must be there.

        Raises:
            UsageError: One is named as two things that exclude each other.
        """
        given = (self.probability, self.label, self.group, self.time, self.cohort, *self.fairness)
        names = [name for name in given if name is not None]
        for name in (self.probability, self.label):
            if name is not None and names.count(name) > 1:
                raise UsageError(
                    f"column {name!r} is named as the probability or label and as something else",
                    mend="name a column of its own for each",
                )
        return names


@dataclass(frozen=True)
class _Rows:
    """Rows to be summarised: scored, with their digests, and the cohort of each."""

    scored: Scored
    ids: NDArray[np.uint64]
    cohorts: Codes | None

    def part(self, rows: NDArray[np.int64]) -> _Rows:
        s = self.scored
        return _Rows(
            Scored(
                s.y_proba[rows],
                s.y_true[rows],
                s.threshold,
                None if s.clusters is None else s.clusters[rows],
                {name: (codes[rows], values) for name, (codes, values) in s.fairness.items()},
                None if s.windows is None else (s.windows[0][rows], s.windows[1]),
            ),
            self.ids[rows],
            None,
        )


def add(cohorts: Cohorts, additions: Sequence[Addition]) -> list[str]:
    """Add runs to a store, all of them or none, and return the digests of their cells.

    The file of their rows is on the disk before the store tells of it; its name is its digest.
    """
    for addition in additions:
        if addition.rows_file is not None:
            path = cohorts.folder / addition.run.rows_path
            durable.make_folder(path.parent)
            if not path.exists():
                durable.write(path, addition.rows_file, mode=0o600)
    return cohorts.add_all([(one.cohort_id, one.label, one.run) for one in additions])


def from_run(
    outcome: Outcome, *, cohort_id: str, cohort_column: str | None, window: str
) -> list[Addition]:
    """Return the gate rows of a run, as one cohort or as one for each value of a column."""
    gate, path = outcome.prepared.parts["gate"], outcome.published.path / "scores.parquet"
    content = durable.read(path)
    kept = from_parquet(content)
    time = gate.roles.one(Role.TIME)
    scored = Scored(
        kept.y_proba,
        kept.y_true,
        outcome.model.thresholds.block,
        kept.clusters,
        {name: gate.codes(name) for name in gate.roles.named(Role.FAIRNESS)},
        None if time is None else windows(gate.frame.column(time), time, window),
    )
    cohort_codes = None if cohort_column is None else _cohort_codes(gate, cohort_column)
    plan = outcome.plan.to_document()
    files_of = {name: digest(part) for name, part in outcome.model.to_files().items()}
    details = {
        "source": "training",
        "data": outcome.prepared.loaded.source,
        "seed": outcome.plan.seed,
        "model_type": outcome.plan.model_type,
        "is_calibrated": outcome.model.calibrator.method != "percentile",
        "rows_file": digest(content),
    }
    made = _Made(
        outcome.run_id,
        outcome.published.model_id,
        digest(canonical_json(files_of)),
        digest(canonical_json({key: plan[key] for key in PROCESS})),
        "" if cohort_codes else str(path.absolute()),
        details,
        Limits(outcome.plan.max_ece, outcome.plan.min_accuracy),
    )
    return _additions(_Rows(scored, kept.ids, cohort_codes), cohort_id, made)


def _codes(table: Table, name: str) -> Codes:
    """Return a column as codes, shape (n,), and the texts they stand for."""
    encoded = table.texts(name).fill_null(MISSING).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _cohort_codes(table: Table, name: str) -> Codes:
    codes, values = _codes(table, name)
    if len(values) > MOST_COHORTS:
        raise DataError(
            f"column {name!r} has {len(values):,} values; at most {MOST_COHORTS} cohorts are made "
            "at once",
            mend="name a column of few values with --cohort-column",
        )
    return codes, values


def check(gate: Table, *, cohort_column: str | None, window: str) -> None:
    """Refuse gate rows that could not be tracked, before anything is learnt.

    Args:
        gate: The gate rows.
        cohort_column: One cohort for each of its values; or None.
        window: The width of the spans of time.

    Raises:
        DataError: The column has too many values, or times cannot be read.
    """
    if cohort_column is not None:
        _cohort_codes(gate, cohort_column)
    if (time := gate.roles.one(Role.TIME)) is not None:
        windows(gate.frame.column(time), time, window)


@dataclass(frozen=True)
class _Made:
    """What all additions of one source have in common."""

    run_id: str
    model: str
    model_digest: str
    process: str
    rows_path: str
    details: dict[str, Any]
    limits: Limits


def _additions(rows: _Rows, cohort_id: str | None, made: _Made) -> list[Addition]:
    if rows.cohorts is None:
        name = check_id(cohort_id or "")
        return [_addition(rows, name, name, made)]
    codes, values = rows.cohorts
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(values) + 1))
    return [
        _addition(rows.part(order[start:stop]), cohort_id_of(value), value, made)
        for value, start, stop in zip(values, edges[:-1], edges[1:], strict=True)
    ]


def _addition(rows: _Rows, cohort_id: str, label: str, made: _Made) -> Addition:
    summary = summarise(rows.scored)
    details = {
        **made.details,
        "threshold": float(rows.scored.threshold),
        "rows_sketch": sketch(rows.ids),
        "limits": vars(made.limits),
        "violations": violations(
            summary.whole, made.limits, is_calibrated=made.details["is_calibrated"]
        ),
    }
    run = NewRun(
        made.run_id,
        made.model,
        made.model_digest,
        made.process,
        rows_digest(rows.ids, rows.scored.y_true),
        made.rows_path,
        summary,
        details,
    )
    return Addition(cohort_id, label, run)


def violations(cells: Cells, limits: Limits, *, is_calibrated: bool = True) -> list[dict[str, str]]:
    """Return which limits rows break for certain, as the gate judges them.

    ``low_accuracy`` and ``calibration_error`` are told when the 95 % bound lies on the wrong
    side of the limit; their severity is ``high`` when it lies .15 below the limit, or at more
    than twice the limit, and ``medium`` otherwise. Percentiles have no calibration error.
    """
    if cells.labelled == 0 or (cells.clusters is not None and cells.clusters < FEWEST_GROUPS):
        return []
    found = []
    rate = measures.rate(cells, "accuracy")
    high = clopper_pearson(rate.hits / rate.effect, rate.n / rate.effect, level=GATE_LEVEL).high
    if high < limits.min_accuracy:
        severity = "high" if high < limits.min_accuracy - HIGH_LOW_ACCURACY else "medium"
        found.append({"type": "low_accuracy", "severity": severity})
    error = measures.calibration_error(cells) if is_calibrated else None
    if error is not None and (low := error.interval(GATE_LEVEL).low) > limits.max_ece:
        severity = "high" if low > 2 * limits.max_ece else "medium"
        found.append({"type": "calibration_error", "severity": severity})
    return found


def from_file(  # noqa: PLR0913 - a table, its columns, and what made it
    path: Path,
    columns: Columns,
    *,
    cohort_id: str | None,
    model: str,
    threshold: float,
    positive: tuple[str, ...] = (),
    window: str,
    limits: Limits,
    key: bytes,
) -> list[Addition]:
    """Return scored rows of any origin, as one cohort or as one for each value of a column.

    Args:
        path: A table file, or a folder of them.
        columns: What its columns are.
        cohort_id: The cohort; None where a column names it.
        model: Who scored them, as the user calls it.
        threshold: A row is called positive from this probability on.
        positive: Label values that are positive; by their meaning if empty.
        window: The width of the spans of time.
        limits: What counts as a violation.
        key: The row key.

    Raises:
        DataError: The file cannot be read, or a value is out of its range.
    """
    if not 0 < threshold < 1:
        raise UsageError(f"the threshold is {threshold}", mend="give a number between 0 and 1")
    frame = files.load(path)
    if columns.label is None and LABEL in frame.column_names:
        columns = replace(columns, label=LABEL)
    table = Table(frame, NO_ROLES_NEEDED)
    for name in columns.names():
        if name not in frame.column_names:
            raise DataError(
                f"{path} has no column {name!r}; found: {', '.join(frame.column_names[:30])}",
                mend="name the column that holds it",
            )
    cohort_codes = None if columns.cohort is None else _cohort_codes(table, columns.cohort)
    y_true = _labels(table, columns.label, positive)
    groups = None if columns.group is None else record.keyed_texts(table.texts(columns.group), key)
    y_proba = _probabilities(table, columns.probability)
    ids = _ids(table, columns, y_proba, key)
    content = record.scored_rows_file(ids, y_proba, y_true, groups)
    scored = Scored(
        y_proba,
        y_true,
        threshold,
        from_parquet(content).clusters,
        {name: _codes(table, name) for name in columns.fairness},
        None if columns.time is None else windows(frame.column(columns.time), columns.time, window),
    )
    by_value = columns.cohort is not None
    made = _Made(
        digest(y_proba.tobytes()),
        model,
        digest(model.encode()),
        digest(model.encode()),
        "" if by_value else f"{ROWS}/{digest(content).removeprefix('sha256:')}.parquet",
        {
            "source": "scores",
            "data": str(path),
            "is_calibrated": True,
            "rows_file": digest(content),
        },
        limits,
    )
    found = _additions(_Rows(scored, ids, cohort_codes), cohort_id, made)
    if by_value:
        return found
    return [Addition(one.cohort_id, one.label, one.run, content) for one in found]


def _probabilities(table: Table, name: str) -> NDArray[np.float64]:
    import pyarrow as pa

    column = table.frame.column(name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise DataError(
            f"column {name!r} holds {column.type} values, no probabilities",
            mend="name the column of probabilities with --column probability=NAME",
        )
    return np.asarray(column.cast(pa.float64()).fill_null(np.nan).to_numpy(), dtype=np.float64)


def _labels(table: Table, name: str | None, positive: tuple[str, ...]) -> NDArray[np.int8]:
    """Return labels, shape (n,): 1, 0, or -1 where nothing is known."""
    if name is None:
        return np.full(len(table), -1, dtype=np.int8)
    codes, texts = _codes(table, name)
    values, unknown = [], []
    for text in texts:
        word = text.strip().lower()
        if text == MISSING or word in MISSING_WORDS:
            values.append(-1)
        elif positive:
            values.append(int(text in positive))
        elif word in POSITIVE_WORDS or word in NEGATIVE_WORDS:
            values.append(int(word in POSITIVE_WORDS))
        else:
            unknown.append(text)
    if unknown:
        raise DataError(
            f"label column {name!r} has unknown values: {', '.join(map(repr, unknown[:10]))}",
            mend="use 0 and 1, or say which are positive with --positive-label VALUE",
        )
    return np.array(values, dtype=np.int8)[codes]


def _ids(
    table: Table, columns: Columns, y_proba: NDArray[np.float64], key: bytes
) -> NDArray[np.uint64]:
    """Return a keyed digest of each row: of all that it holds but what was said of it.

    Where it holds nothing else, its place and probability stand for it, so that no other file
    is ever taken for the same rows.
    """
    import pyarrow as pa

    said = {columns.probability, columns.label, "decision"}
    words = [
        column_words(table.frame.column(name))
        if not pa.types.is_temporal(table.frame.schema.field(name).type)
        else column_words(pa.chunked_array([table.texts(name)]))
        for name in table.frame.column_names
        if name not in said
    ]
    if not words:
        words = [np.arange(len(table), dtype=np.uint64), y_proba.view(np.uint64)]
    return keyed_digests(words, key)
