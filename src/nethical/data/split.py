"""Disjoint parts of a table: train, tune, calibrate, gate.

Random and grouped splits are a keyed hash of the row (or of its group), not a shuffle: equal
and near-equal rows fall on the same side by construction, a row keeps its part while the table
grows, and whoever trains with the same seed later has never seen these gate rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.roles import Role
from nethical.data.rows import exact_words, keyed_digests, seed_key
from nethical.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable

__all__ = [
    "PARTS",
    "SHARES",
    "SHARES_WITH_SEARCH",
    "Split",
    "instants",
    "known_before",
    "shared",
    "split",
]

PARTS = ("train", "tune", "calibrate", "gate")
SHARES = {"gate": 0.2, "calibrate": 0.2, "train": 0.6}
SHARES_WITH_SEARCH = {"gate": 0.2, "calibrate": 0.15, "tune": 0.15, "train": 0.5}
RANKED_BELOW = 2000
SMALL_GATE = 200
FEW_DISTINCT = 100
LARGE_BLOCK = 0.05
TRAIN_WORDS = frozenset({"train", "training", "0"})
TEST_WORDS = frozenset({"test", "testing", "gate", "eval", "1"})


@dataclass(frozen=True)
class Split:
    """Which part each row is in.

    Args:
        part: Index into PARTS, shape (n,); negative for a row that is in none.
        strategy: random, grouped, temporal, or given (by a column or by test data).
        notes: What the user should know about it.
        duplicates: Rows that equal or nearly equal another row; each set is on one side.
    """

    part: NDArray[np.int8]
    strategy: str
    notes: tuple[str, ...]
    duplicates: int

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return which rows are in a part, shape (n,)."""
        return np.asarray(self.part == PARTS.index(name))

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each part that has any."""
        counts = np.bincount(self.part[self.part >= 0], minlength=len(PARTS))
        return {name: int(counts[i]) for i, name in enumerate(PARTS) if counts[i]}


def split(  # noqa: PLR0913 - what decides a split
    table: LabelledTable,
    *,
    strategy: str = "auto",
    column: str | None = None,
    seed: int,
    shares: Mapping[str, float] = SHARES,
    one_class_suffices: bool = False,
    label_delay_days: float = 0.0,
) -> Split:
    """Return the part of each row.

    Args:
        table: The labelled rows.
        strategy: auto, random, grouped or temporal; auto is grouped when there is a group
            column, temporal when there is a time column, else random.
        column: A column that says train or test for each row.
        seed: Decides the hash.
        shares: Part sizes, in the order in which they are cut from the hash.
        one_class_suffices: Whether a part may hold rows of one class only.
        label_delay_days: Days until a label is known: with a temporal split, rows whose labels
            were not known yet when the gate part begins are in no part.

    Raises:
        UsageError: The strategy needs a column that is not there.
        DataError: A part would hold nothing, or one class only where that does not suffice.
    """
    roles = table.roles
    if strategy == "auto":
        by_role = "temporal" if roles.one(Role.TIME) else "random"
        strategy = "grouped" if roles.one(Role.GROUP) else by_role
    rows, duplicates = _row_positions(table, seed)
    if column is not None:
        parts, notes, strategy = *_given(table, column, seed, rows, shares), "given"
    elif strategy == "temporal":
        parts, notes = _temporal(table, shares, label_delay_days)
    elif strategy == "grouped":
        parts, notes = _hashed(_group_positions(table, seed), shares)
    else:
        parts, notes = _hashed(rows, shares)
    if duplicates is None and strategy in {"random", "given"}:
        notes.append("few distinct rows: equal rows are taken for separate observations")
    result = Split(parts, strategy, tuple(notes), duplicates or 0)
    _check(table, result, shares, one_class_suffices=one_class_suffices)
    return result


def shared(rows: LabelledTable, among: LabelledTable, *, seed: int) -> NDArray[np.bool_]:
    """Return which rows another table holds too, shape (n,): equal ones, or of a same group.

    Where rows have few possible values, equal rows are separate observations and not counted.

    Args:
        rows: The rows to look at.
        among: The other table.
        seed: Any; decides the hash.
    """
    key = seed_key(seed, "split")
    theirs = _unit(among.digests(key))
    known = np.zeros(len(rows), dtype=bool)
    if _tell_apart(np.sort(theirs))[0]:
        known |= np.isin(_unit(rows.digests(key)), theirs)
    name = rows.roles.one(Role.GROUP)
    if name is not None:
        import pyarrow as pa

        mine, others = (exact_words(pa.chunked_array([t.texts(name)])) for t in (rows, among))
        grouped = ~rows.texts(name).is_null().to_numpy(zero_copy_only=False)
        known |= grouped & np.isin(mine, others)
    return known


def _tell_apart(ordered: NDArray[np.uint64]) -> tuple[bool, NDArray[np.int64], NDArray[np.int64]]:
    """Return whether sorted digests tell rows apart, where equal ones start, and how many."""
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(starts, len(ordered)))
    largest = max(LARGE_BLOCK * len(ordered), 2)
    return len(starts) >= FEW_DISTINCT and bool(sizes.max() <= largest), starts, sizes


def _unit(digests: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(digests[:, 0])


def _row_positions(table: LabelledTable, seed: int) -> tuple[NDArray[np.uint64], int | None]:
    """Return each row's place on the hash circle, and how many equal an earlier row.

    The number is None where the rows have few possible values: equal rows are then separate
    observations, told apart by their count.
    """
    key = seed_key(seed, "split")
    positions = _unit(table.digests(key))
    apart, starts, sizes = _tell_apart(np.sort(positions))
    if apart:
        return positions, len(table) - len(starts)
    occurrence = np.empty(len(positions), dtype=np.uint64)
    order = np.argsort(positions, kind="stable")
    occurrence[order] = np.arange(len(positions)) - np.repeat(starts, sizes)
    return _unit(keyed_digests([positions, occurrence], key)), None


def _group_positions(table: LabelledTable, seed: int) -> NDArray[np.uint64]:
    name = table.roles.one(Role.GROUP)
    if name is None:
        raise UsageError(
            "--split grouped needs a group column", mend="name one with --group-column COLUMN"
        )
    import pyarrow as pa

    texts = table.texts(name)
    key = seed_key(seed, "split")
    positions = _unit(keyed_digests([exact_words(pa.chunked_array([texts]))], key))
    alone = texts.is_null().to_numpy(zero_copy_only=False)
    return np.where(alone, _unit(table.digests(key)), positions)


def _hashed(
    positions: NDArray[np.uint64], shares: Mapping[str, float]
) -> tuple[NDArray[np.int8], list[str]]:
    """Return parts by place on the hash circle; of few blocks, by their rank on it."""
    edges = np.cumsum(list(shares.values()))[:-1]
    codes = np.array([PARTS.index(name) for name in shares], dtype=np.int8)
    ordered = np.sort(positions)
    distinct = 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
    if len(positions) >= RANKED_BELOW and distinct >= FEW_DISTINCT:
        return codes[np.searchsorted(edges, positions / 2.0**64, side="right")], []
    blocks, inverse, sizes = np.unique(positions, return_inverse=True, return_counts=True)
    middle = (np.cumsum(sizes) - sizes / 2) / len(positions)
    note = (
        f"fewer than {RANKED_BELOW} rows, or {FEW_DISTINCT} groups: "
        "more of them may later move a row to another part"
    )
    return codes[np.searchsorted(edges, middle, side="right")][inverse], [note] * bool(len(blocks))


def _temporal(
    table: LabelledTable, shares: Mapping[str, float], label_delay_days: float
) -> tuple[NDArray[np.int8], list[str]]:
    """Return parts in order of time: train first, gate last; one instant is in one part."""
    name = table.roles.one(Role.TIME)
    if name is None:
        raise UsageError(
            "--split temporal needs a time column", mend="name one with --time-column COLUMN"
        )
    times = instants(table, name)
    parts = _in_order(times, shares)
    is_gate = parts == PARTS.index("gate")
    if not label_delay_days or not is_gate.any():
        return parts, []
    known = times < times[is_gate].min() - label_delay_days * _day(table, name)
    waiting = ~known & ~is_gate
    parts[waiting] = -1
    rest = {part: share for part, share in shares.items() if part != "gate"}
    parts[known] = _in_order(times[known], rest)
    note = (
        f"{int(waiting.sum()):,} rows of the {label_delay_days:g} days before the gate part are in "
        "no part: their labels were not known yet"
    )
    return parts, [note]


def known_before(
    table: LabelledTable, judged: LabelledTable, label_delay_days: float
) -> NDArray[np.bool_]:
    """Return which rows' labels were known when the judged rows begin, shape (n,)."""
    name = str(table.roles.one(Role.TIME))
    first = instants(judged, name).min()
    return np.asarray(instants(table, name) < first - label_delay_days * _day(table, name))


def _in_order(times: NDArray[Any], shares: Mapping[str, float]) -> NDArray[np.int8]:
    """Return parts in order of time, the last one of ``shares`` first."""
    order = list(shares)[::-1]
    edges = np.cumsum([shares[part] for part in order])[:-1] / sum(shares.values())
    codes = np.array([PARTS.index(part) for part in order], dtype=np.int8)
    _, inverse, sizes = np.unique(times, return_inverse=True, return_counts=True)
    middle = (np.cumsum(sizes) - sizes / 2) / max(len(times), 1)
    return codes[np.searchsorted(edges, middle, side="right")][inverse]


def _day(table: LabelledTable, name: str) -> float:
    """Return how long a day is in the unit of ``instants``: numbers count seconds."""
    import pyarrow as pa

    kind = table.frame.schema.field(name).type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    return 86_400.0 if is_number else 86_400e6


def instants(table: LabelledTable, name: str) -> NDArray[Any]:
    """Return the times of a column as numbers that order them, shape (n,).

    Raises:
        DataError: A time is missing or cannot be read.
    """
    import pyarrow as pa

    column = table.frame.column(name)
    if pa.types.is_floating(column.type):
        numbers = table.numeric(name)
        return _complete(numbers, name, int(np.isnan(numbers).sum()))
    try:
        if pa.types.is_large_string(column.type):
            column = column.cast(pa.timestamp("us"))
        values = column.cast(pa.int64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"time column {name!r} cannot be read: {str(error).splitlines()[0]}",
            mend="write times as YYYY-MM-DD HH:MM:SS, or as numbers",
        ) from error
    return _complete(values.fill_null(0).to_numpy(), name, values.null_count)


def _complete(instants: NDArray[Any], name: str, missing: int) -> NDArray[Any]:
    if missing:
        raise DataError(
            f"time column {name!r} is missing in {missing} rows",
            mend="fill the times in, or pass --split random",
        )
    return instants


def _given(
    table: LabelledTable,
    column: str,
    seed: int,
    rows: NDArray[np.uint64],
    shares: Mapping[str, float],
) -> tuple[NDArray[np.int8], list[str]]:
    """Return parts as a column says: test rows are the gate, train rows are cut by the hash."""
    grouped = table.roles.one(Role.GROUP) is not None
    positions = _group_positions(table, seed) if grouped else rows
    codes, texts = table.codes(column)
    words = [text.lower() for text in texts]
    unknown = [text for text in texts if text.lower() not in TRAIN_WORDS | TEST_WORDS]
    if unknown:
        raise DataError(
            f"split column {column!r} holds {unknown[0]!r}",
            mend="use the values train and test",
        )
    is_test = np.array([word in TEST_WORDS for word in words])[codes]
    rest = {name: share for name, share in shares.items() if name != "gate"}
    total = sum(rest.values())
    parts = np.full(len(table), PARTS.index("gate"), dtype=np.int8)
    parts[~is_test], notes = _hashed(
        positions[~is_test], {name: share / total for name, share in rest.items()}
    )
    if equal := np.isin(rows[is_test], rows[~is_test]).sum():
        notes.append(f"{equal} test rows equal or nearly equal a train row")
    if grouped and (torn := len(np.intersect1d(positions[is_test], positions[~is_test]))):
        notes.append(f"{torn} groups have both train and test rows")
    return parts, notes


def _check(
    table: LabelledTable, result: Split, shares: Mapping[str, float], *, one_class_suffices: bool
) -> None:
    for name in sorted(shares, key=PARTS.index):
        labels = table.y[result.mask(name)]
        if len(labels) == 0 or (labels.min() == labels.max() and not one_class_suffices):
            held = "no rows" if len(labels) == 0 else f"one class only ({len(labels)} rows)"
            raise DataError(
                f"the {name} part has {held}, of {len(table)} rows by the {result.strategy} split",
                mend="add rows of the rarer class, or choose another --split",
            )
