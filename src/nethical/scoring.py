"""Scoring and judging on other data, streamed: memory follows the batch, not the file."""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nethical import decisions, durable, gate
from nethical.data import files
from nethical.data.events import EventState
from nethical.data.roles import Role, RoleHints, find_label
from nethical.data.table import LabelledTable, Table
from nethical.errors import DataError, UsageError
from nethical.metrics.evaluation import Evaluation, evaluate
from nethical.models import catalog
from nethical.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import pyarrow as pa

    from nethical.data.roles import Roles
    from nethical.event_memory import History
    from nethical.gate import Decision, Limits
    from nethical.trained import TrainedModel

__all__ = ["Examination", "Scored", "examine", "predict"]

BATCH_ROWS = 1 << 17
EVENT_BATCH_ROWS = 1 << 20  # each batch of an event log looks at all that is remembered
OUTPUTS = (".csv", ".parquet", ".jsonl")
FORMULA_STARTS = r"^([=+\-@\t\r])"


@dataclass(frozen=True)
class Scored:
    """What a scoring run wrote.

    Args:
        rows: Rows scored.
        decisions: Rows by decision.
    """

    rows: int
    decisions: dict[str, int]


@dataclass(frozen=True)
class Examination:
    """How a model does on other data.

    Args:
        evaluation: Its metrics.
        decision: What the gate says of them.
        unlabelled: Rows left out because they have no label.
        learnt: Rows that equal one that the model learnt from, as far as is known.
    """

    evaluation: Evaluation
    decision: Decision
    unlabelled: int
    learnt: int


def predict(  # noqa: PLR0913 - what to score, and what to write
    model: TrainedModel,
    data: Path,
    out: Path,
    *,
    keep: Sequence[str] = (),
    reasons: int = 0,
    history: History | None = None,
    look: Callable[[pa.Table, Table, np.ndarray, np.ndarray], None] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Scored:
    """Score a file or folder of any size into a file, in row order.

    Args:
        model: The trained model.
        data: A table file, or a folder of them.
        out: A .csv, .parquet or .jsonl file; it appears whole, or not at all.
        keep: Columns of the data to copy beside ``probability`` and ``decision``.
        reasons: Reason codes to add for each row, in the column ``reasons``.
        history: Where an event log's model finds the past of these events, and leaves it for
            the next ones; None to know nothing before the first event, and to keep nothing.
        look: Shown each piece as it is scored: its raw rows, the rows as the model read them,
            their probabilities, and the place of each decision in ``decisions.DECISIONS``.
        progress: Told the number of rows scored so far.

    Raises:
        UsageError: The output's format is unknown, or a kept column is named as one of ours.
        DataError: The data cannot be read, or lack a column.
        StorageError: The output cannot be written.
    """
    if out.suffix not in OUTPUTS:
        raise UsageError(
            f"{out} has no known table format", mend=f"name it with one of {', '.join(OUTPUTS)}"
        )
    place = out.resolve()
    if data.exists() and (
        place == data.resolve() or (data.is_dir() and data.resolve() in place.parents)
    ):
        raise UsageError(f"{out} would overwrite the data", mend="write to another place")
    if history is not None and place in history.files:
        raise UsageError(
            f"{out} would overwrite the state or the late labels", mend="write to another place"
        )
    written = ("probability", "decision", *(("reasons",) if reasons else ()))
    clash = next((name for name in keep if name in written), None)
    if clash is not None:
        raise UsageError(
            f"a kept column {clash!r} would be overwritten by the model's own",
            mend="rename the column in the data, or do not keep it",
        )
    state = EventState.empty() if history is None else history.read()
    rows = 0
    counts = np.zeros(len(decisions.DECISIONS), dtype=np.int64)
    durable.make_folder(out.absolute().parent)
    with one_blas_thread(), durable.writing(out) as file, _writer(out.suffix, file) as writer:
        for batch in _batches(model, data, keep, verbatim=keep):
            table, state = model.follow(batch, state)
            y_proba = model.probabilities(table)
            codes = decisions.decide(y_proba, model.thresholds)
            counts += np.bincount(codes, minlength=len(counts))
            columns = _outputs(batch, keep, y_proba, codes)
            if reasons:
                columns["reasons"] = _reasons(model, table, reasons)
            writer.write(columns)
            if look is not None:
                look(batch, table, y_proba, codes)
            rows += len(table)
            progress(rows)
        if rows == 0:
            raise DataError(f"{data} has a header but no rows", mend="name a file with rows")
    if history is not None:  # after the output: a run that dies between can be repeated
        history.write(state)
    by_decision = dict(zip(decisions.DECISIONS, counts.tolist(), strict=True))
    return Scored(rows, by_decision)


def examine(  # noqa: PLR0913 - what to judge, by what, and how
    model: TrainedModel,
    data: Path,
    limits: Limits,
    *,
    budget: float = 0.01,
    learnt: Callable[[LabelledTable], np.ndarray] | None = None,
    label_column: str | None = None,
    history: History | None = None,
) -> Examination:
    """Return how a model does on labelled data that it never learnt from.

    Args:
        model: The trained model.
        data: A table file, or a folder of them, with the label column.
        limits: What the gate asks for.
        budget: Share of rows that may be alerted, in (0, 1).
        learnt: Tells which rows the model learnt from, to count them.
        label_column: The label, where the model learnt without any; None for its own, or the
            one that its name tells.
        history: Where an event log's model finds the past of these events; it is left as it is.

    Raises:
        UsageError: The budget is not between 0 and 1.
        DataError: The data cannot be read, or lack a column or labels.
    """
    if not 0 < budget < 1:
        raise UsageError(f"--alert-budget is {budget}", mend="give a number between 0 and 1")
    labels, probabilities = [], []
    state = EventState.empty() if history is None else history.read()
    unlabelled = known = 0
    kinds = (*model.roles.named(Role.GROUP), *model.roles.named(Role.FAIRNESS))
    cells: dict[str, list[Any]] = {name: [] for name in kinds}
    roles = _labelled_roles(model, data, label_column)
    needed = [*roles.named(Role.LABEL), *kinds]
    with one_blas_thread():
        for batch in _batches(model, data, needed):
            lacking = [name for name in kinds if name not in batch.column_names]
            if lacking:
                raise DataError(
                    f"column {lacking[0]!r} is missing from {data}",
                    mend="give the rows the group and fairness columns that training had",
                )
            rows, state = model.follow(batch, state)
            table, left_out = LabelledTable.read(rows.frame, roles)
            unlabelled += left_out
            known += 0 if learnt is None else int(learnt(table).sum())
            labels.append(table.y)
            probabilities.append(model.probabilities(table))
            for name in kinds:
                cells[name].append(
                    np.array(table.texts(name).to_pylist(), dtype=object).astype(str)
                )
    y_true = np.concatenate(labels) if labels else np.empty(0, dtype=np.int8)
    if len(np.unique(y_true)) < 2:  # noqa: PLR2004 - two classes
        raise DataError(
            f"{data} holds {len(y_true):,} labelled rows of one class or none",
            mend="evaluate on rows of both classes",
        )
    y_proba = np.concatenate(probabilities)
    by_kind = {name: np.concatenate(values) for name, values in cells.items()}
    group = model.roles.one(Role.GROUP)
    codes = np.unique(by_kind.pop(group), return_inverse=True)[1] if group else None
    threshold = model.thresholds.block
    evaluation = evaluate(y_true, y_proba, codes, threshold=threshold, budget=budget)
    scored = gate.ScoredSet(y_true, y_proba, codes)
    evidence = gate.Evidence(
        scored,
        threshold,
        fairness=by_kind,
        is_probed=False,
        min_recall=catalog.traits(model.model_type).min_recall,
        is_calibrated=model.calibrator.method != "percentile",
    )
    return Examination(evaluation, gate.decide(evidence, limits), unlabelled, known)


def _labelled_roles(model: TrainedModel, data: Path, label_column: str | None) -> Roles:
    """Return the model's roles; where it learnt without labels, with the label of these rows."""
    own = model.roles.one(Role.LABEL)
    if model.roles.labelling is not None and model.roles.labelling.positive:
        if label_column not in {None, own}:
            raise UsageError(
                f"the model learnt from the label {own!r}, not from {label_column!r}",
                mend="leave --label-column out",
            )
        return model.roles
    import pyarrow as pa

    hints = RoleHints({label_column: Role.LABEL} if label_column else {})
    header = next(files.batches(data, types={}, rows=1), pa.table({}))
    label = label_column or own or find_label(header, hints, needed=True)
    pieces = list(files.batches(data, types={}, columns=[str(label)]))
    if not pieces or label not in pieces[0].column_names:
        raise DataError(
            f"label column {label!r} is missing from {data}",
            mend="name it with --label-column COLUMN",
        )
    return model.roles.labelled_by(pa.concat_tables(pieces, promote_options="permissive"), hints)


def _batches(
    model: TrainedModel, data: Path, keep: Sequence[str], *, verbatim: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Yield the columns that are needed, as this model reads them.

    Cells of CSV columns that are only copied stay as they are written (00501).
    """
    import pyarrow as pa

    copied = dict.fromkeys(verbatim, pa.string())
    of_past = model.roles.named(Role.LABEL) if model.event_log else ()
    columns = list(dict.fromkeys([*model.reads, *of_past, *keep]))
    try:
        rows = EVENT_BATCH_ROWS if model.event_log else BATCH_ROWS
        first, others = _opened(data, copied | _types(model), columns, rows)
        if first is not None:
            yield first
        yield from others
    except OSError as error:
        raise DataError(
            f"cannot read {data}: {error.strerror or error}",
            mend="check the path and its permissions",
        ) from error


def _types(model: TrainedModel) -> dict[str, Any]:
    """Return what CSV cells hold, as in training."""
    import pyarrow as pa

    kinds = {Role.NUMERIC: pa.float64(), Role.CATEGORICAL: pa.string(), Role.TEXT: pa.string()}
    names = {} if model.event_log is None else dict.fromkeys(model.event_log.keys, pa.string())
    return names | {f.name: kinds[f.feature] for f in model.roles.features if f.feature in kinds}


def _opened(
    data: Path, types: dict[str, Any], columns: Sequence[str], rows: int
) -> tuple[pa.Table | None, Iterator[pa.Table]]:
    """Return the first batch, if any, and the others; true and false are read as numbers too."""
    import pyarrow as pa

    batches = files.batches(data, types=types, rows=rows, columns=columns)
    try:
        return next(batches, None), batches
    except DataError:
        seen = next(files.batches(data, types={}, rows=1, columns=columns), None)
        found = [] if seen is None else [c.name for c in seen.schema if pa.types.is_boolean(c.type)]
        flags = {name: pa.bool_() for name in found if types.get(name) == pa.float64()}
        if not flags:
            raise
    batches = files.batches(data, types=types | flags, rows=rows, columns=columns)
    return next(batches, None), batches


def _outputs(
    batch: pa.Table, keep: Sequence[str], y_proba: np.ndarray, codes: np.ndarray
) -> dict[str, Any]:
    import pyarrow as pa

    missing = [name for name in keep if name not in batch.column_names]
    if missing:
        raise DataError(
            f"column {missing[0]!r} to keep is missing; found: {', '.join(batch.column_names)}",
            mend="correct the name given with --keep",
        )
    words = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(decisions.DECISIONS))
    kept = {name: batch.column(name) for name in keep}
    return {**kept, "probability": pa.array(y_proba), "decision": words}


def _reasons(model: TrainedModel, table: Table, top: int) -> Any:  # noqa: ANN401 - pyarrow array
    import pyarrow as pa

    return pa.array(
        [
            "; ".join(f"{r.column}={r.detail} ({r.contribution:+.2f})" for r in row)
            for row in model.model.explain(table, top)
        ]
    )


class _Writer(Protocol):
    def write(self, columns: dict[str, Any]) -> None:
        """Write one batch."""


@contextmanager
def _writer(suffix: str, file: BinaryIO) -> Iterator[_Writer]:
    """Give a writer of a format."""
    if suffix == ".jsonl":
        yield _JsonLines(file)
        return
    kind = _Parquet if suffix == ".parquet" else _Csv
    writer = kind(file)
    try:
        yield writer
    finally:
        writer.close()


class _Parquet:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, columns: dict[str, Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(columns)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._file,
                table.schema,
                compression="zstd",
                use_dictionary=[name for name in columns if name != "probability"],
            )
        self._writer.write_table(_cast(table, self._writer.schema), row_group_size=BATCH_ROWS)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a batch with the types of the first one."""
    import pyarrow as pa

    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        odd = [c.name for c in schema if table.schema.field(c.name).type != c.type]
        raise DataError(
            f"column {odd[0]!r} to keep changes its type from file to file",
            mend="write .csv or .jsonl, or keep other columns",
        ) from error


class _Csv:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, columns: dict[str, Any]) -> None:
        import pyarrow as pa
        from pyarrow import csv

        safe = {_safe_name(name): _safe_cells(column) for name, column in columns.items()}
        table = pa.table(safe)
        if self._writer is None:
            self._writer = csv.CSVWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _safe_name(name: str) -> str:
    return re.sub(FORMULA_STARTS, r"'\1", name)


def _safe_cells(column: Any) -> Any:  # noqa: ANN401 - pyarrow arrays
    """Return a column that no spreadsheet takes for formulas."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        return column.cast(pa.string())
    if pa.types.is_large_list(column.type):
        column = pc.binary_join(column, pa.scalar("|", pa.large_string()))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.replace_substring_regex(column, FORMULA_STARTS, r"'\1")
    return column


class _JsonLines:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, columns: dict[str, Any]) -> None:
        import json

        import pyarrow as pa

        for row in pa.table(columns).to_pylist():
            finite = {name: _finite(value) for name, value in row.items()}
            line = json.dumps(finite, ensure_ascii=False, allow_nan=False, default=str)
            self._file.write(line.encode() + b"\n")


def _finite(value: object) -> object:
    """Return a cell as JSON has it: NaN and infinities are null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
