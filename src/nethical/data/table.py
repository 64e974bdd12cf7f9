"""Tables: a pyarrow table with roles, read column by column into numpy."""

from __future__ import annotations

import hashlib
import re
import struct
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.roles import ColumnRole, Role, Roles
from nethical.data.rows import column_words, keyed_digests
from nethical.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["LabelledTable", "Table", "known_labels", "normalise", "table_digest", "to_arrow"]


def to_arrow(frame: Any, names: tuple[str, ...] = ()) -> pa.Table:  # noqa: ANN401 - any frame
    """Return a frame of any kind as a normalised pyarrow table.

    Args:
        frame: A pandas, polars or pyarrow frame, or a numpy array of shape (n, len(names)).
        names: The columns of a numpy array, in order.

    Raises:
        DataError: The frame is of no known kind, or an array has another number of columns.
    """
    import pyarrow as pa

    if isinstance(frame, pa.Table):
        return normalise(frame)
    if isinstance(frame, pa.RecordBatch):
        return normalise(pa.Table.from_batches([frame]))
    if isinstance(frame, np.ndarray):
        if frame.ndim != 2 or frame.shape[1] != len(names):  # noqa: PLR2004 - rows and columns
            raise DataError(
                f"an array of shape {frame.shape} does not fit the {len(names)} feature columns",
                mend=f"pass shape (n, {len(names)}) in the order {', '.join(names[:20])}",
            )
        return normalise(pa.table({name: pa.array(frame[:, i]) for i, name in enumerate(names)}))
    import narwhals as nw

    try:
        eager = nw.from_native(frame, eager_only=True)
    except TypeError as error:
        raise DataError(
            f"cannot read a table from {type(frame).__name__}",
            mend="pass a pandas, polars or pyarrow frame, or a numpy array",
        ) from error
    try:
        return normalise(eager.to_arrow())
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"a column of the frame cannot be read: {str(error).splitlines()[0]}",
            mend="give each column values of one kind",
        ) from error


def normalise(frame: pa.Table) -> pa.Table:
    """Return the table with one type for each kind of value.

    Integers become int64, other numbers float64, text large_string, times timestamp[us] (UTC),
    lists large_list of text; columns of nested values become null; a column without
    a name is named by its place. The same content thus is
    the same table, whatever file it came from.

    Raises:
        DataError: Two columns share a name, or a column holds bytes.
    """
    import pyarrow as pa

    names = [name or f"column {i}" for i, name in enumerate(frame.column_names, 1)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"two columns are named {twice!r}", mend="give each column a name of its own"
        )
    columns = [_normal(name, frame.column(i)) for i, name in enumerate(names)]
    return pa.table(columns, names=names)


def _normal(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    kind = column.type
    types = pa.types
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        raise DataError(
            f"column {name!r} holds bytes that are not UTF-8 text",
            mend="save the file in UTF-8",
        )
    target: pa.DataType | None = None
    if types.is_boolean(kind) or types.is_null(kind):
        target = kind
    elif types.is_integer(kind) and kind != pa.uint64():
        target = pa.int64()
    elif types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        target = pa.float64()
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        target = pa.large_string()
    elif types.is_date(kind) or types.is_timestamp(kind):
        target = pa.timestamp("us")
    elif (types.is_list(kind) or types.is_large_list(kind)) and not types.is_nested(
        kind.value_type
    ):
        target = pa.large_list(pa.large_string())
    if target is None:
        return pa.chunked_array([pa.nulls(len(column))])
    if target == pa.large_string():
        return _without_empty(column.cast(target))
    if types.is_timestamp(kind) and kind.tz is not None:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    return column if kind == target else column.cast(target, safe=False)


def _without_empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts with the empty one missing, as CSV files cannot tell them apart."""
    import pyarrow as pa
    import pyarrow.compute as pc

    empty = pc.equal(column, pa.scalar("", pa.large_string()))
    if not pc.any(empty).as_py():
        return column
    return pc.if_else(empty, pa.scalar(None, pa.large_string()), column)


def table_digest(frame: pa.Table) -> str:
    """Return ``sha256:`` and a digest of the table's columns, types and values, in order.

    The digest knows nothing of files, chunks or the bytes under missing values.
    """
    state = hashlib.sha256()
    for name in frame.column_names:
        column = frame.column(name)
        header = f"{name}\0{column.type}\0{len(column)}\0".encode()
        state.update(struct.pack("<Q", len(header)) + header)
        _update(state, column)
    return "sha256:" + state.hexdigest()


def _update(state: Any, column: pa.ChunkedArray) -> None:  # noqa: ANN401 - a hash object
    """Hash where values are missing, then their lengths if they have any, then the values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_null(kind):
        return
    state.update(b"\1" if column.null_count else b"\0")
    if column.null_count:
        state.update(np.packbits(column.is_null().to_numpy()))
    if pa.types.is_large_list(kind):
        _numbers(state, pc.list_value_length(column))
        _update(state, pc.list_flatten(column))
    elif pa.types.is_large_string(kind):
        _numbers(state, pc.binary_length(column))
        for array in column.chunks:
            filled = array.fill_null("")
            offsets = np.frombuffer(filled.buffers()[1], dtype=np.int64)
            first, last = offsets[filled.offset], offsets[filled.offset + len(filled)]
            if last > first:
                state.update(memoryview(filled.buffers()[2])[first:last])
    else:
        _numbers(state, column)


def _numbers(state: Any, column: pa.ChunkedArray) -> None:  # noqa: ANN401 - a hash object
    import pyarrow as pa

    for chunk in column.chunks:
        array = chunk if pa.types.is_floating(chunk.type) else chunk.cast(pa.int64())
        values = array.fill_null(0).to_numpy(zero_copy_only=False)
        state.update(np.ascontiguousarray(values + values.dtype.type(0)))


class Table:
    """Rows that a model reads: a normalised pyarrow table and the roles of its columns.

    Args:
        frame: A normalised table that holds every feature column.
        roles: What the columns are.
    """

    def __init__(self, frame: pa.Table, roles: Roles) -> None:
        self.frame = frame
        self.roles = roles

    def __len__(self) -> int:
        return int(self.frame.num_rows)

    @property
    def features(self) -> tuple[ColumnRole, ...]:
        """The columns that models read."""
        return self.roles.features

    def numeric(self, name: str) -> NDArray[np.float64]:
        """Return a column's numbers, shape (n,), NaN where missing; infinities are missing."""
        import pyarrow as pa

        column = self.frame.column(name)
        if column.type != pa.float64():
            column = column.cast(pa.float64(), safe=False)
        values = column.to_numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(values.sum())
        if not finite:
            values = np.where(np.isfinite(values), values, np.nan)
        return np.asarray(values, dtype=np.float64)

    def texts(self, name: str) -> pa.LargeStringArray:
        """Return a column's values as text, shape (n,), null where missing."""
        import pyarrow as pa

        column = self.frame.column(name)
        if pa.types.is_large_list(column.type):
            import pyarrow.compute as pc

            column = pc.binary_join(column, pa.scalar(" ", pa.large_string()))
        if pa.types.is_floating(column.type):
            return _number_texts(column)
        return _single(column.cast(pa.large_string()), pa.large_string())

    def items(self, name: str) -> pa.LargeListArray:
        """Return a sequence column as lists of text, shape (n,), null where missing."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.frame.column(name)
        kind = pa.large_list(pa.large_string())
        if not pa.types.is_large_list(column.type):
            role = next(role for role in self.features if role.name == name)
            delimiter = role.delimiter or " "
            spaced = rf"\s*{re.escape(delimiter)}\s*"  # "a | b" holds "a" and "b"
            column = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
            column = pc.replace_substring_regex(column, spaced, delimiter)
            column = pc.split_pattern(column, delimiter).cast(kind)
        return _single(column, kind)

    def slice(self, start: int, rows: int) -> Table:
        """Return consecutive rows as a table of their own, without a copy."""
        return Table(self.frame.slice(start, rows), self.roles)

    def take(self, rows: NDArray[Any]) -> Table:
        """Return the rows of a mask of shape (n,), or of indices, as a table of their own."""
        return Table(_take(self.frame, rows), self.roles)


def known_labels(frame: pa.Table, roles: Roles) -> NDArray[np.int8]:
    """Return what a table says of its rows, shape (n,): 1, 0, or -1 where it says nothing."""
    label = roles.one(Role.LABEL)
    if roles.labelling is None or label not in frame.column_names:
        return np.full(len(frame), -1, dtype=np.int8)
    return roles.labelling.encode(frame.column(label))


def _single(column: pa.ChunkedArray, kind: pa.DataType) -> Any:  # noqa: ANN401 - pyarrow array
    import pyarrow as pa

    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)


def _number_texts(column: pa.ChunkedArray) -> pa.LargeStringArray:
    """Return numbers as text, each by itself: whole ones as integers, so that 1.0 is 1."""
    import pyarrow as pa

    encoded = _single(column, pa.float64()).dictionary_encode()
    values = encoded.dictionary
    texts = [
        None if value != value else str(int(value)) if value.is_integer() else text  # noqa: PLR0124
        for value, text in zip(
            values.to_pylist(), values.cast(pa.large_string()).to_pylist(), strict=True
        )
    ]
    return pa.array(texts, pa.large_string()).take(encoded.indices)


def _take(frame: pa.Table, rows: NDArray[Any]) -> pa.Table:
    import pyarrow as pa

    return frame.filter(pa.array(rows)) if rows.dtype == bool else frame.take(pa.array(rows))


class LabelledTable(Table):
    """A table with labels.

    Args:
        frame: A normalised table.
        roles: What the columns are; without a labelling nothing is known of the rows, and
            whoever learns from normal rows takes each for one.
        y: Labels, shape (n,), 0 or 1; all 0 where nothing is known.
    """

    def __init__(self, frame: pa.Table, roles: Roles, y: NDArray[np.int8]) -> None:
        super().__init__(frame, roles)
        self.y = y

    @classmethod
    def unlabelled(cls, frame: pa.Table, roles: Roles) -> LabelledTable:
        """Return rows of which nothing is known."""
        return cls(frame, roles, np.zeros(frame.num_rows, dtype=np.int8))

    @property
    def is_labelled(self) -> bool:
        """Whether anything is known of the rows."""
        return self.roles.labelling is not None

    @property
    def has_both_classes(self) -> bool:
        """Whether there are rows of class 0 and of class 1."""
        return bool(len(self.y)) and self.y.min() != self.y.max()

    @classmethod
    def read(cls, frame: pa.Table, roles: Roles) -> tuple[LabelledTable, int]:
        """Return the rows of a table that have a label, and the number that have none.

        Raises:
            DataError: The label column is missing, or holds unknown values.
        """
        label = roles.one(Role.LABEL)
        if label is None or roles.labelling is None:
            raise DataError("the table has no label", mend="name it with --label-column COLUMN")
        if label not in frame.column_names:
            raise DataError(
                f"label column {label!r} is missing; found: {', '.join(frame.column_names[:30])}",
                mend="add the column, or use `nethical predict`, which needs no label",
            )
        y = roles.labelling.encode(frame.column(label))
        labelled = y >= 0
        unlabelled = int(len(y) - labelled.sum())
        if unlabelled:
            frame, y = _take(frame, labelled), y[labelled]
        return cls(frame, roles, y), unlabelled

    def rows(self, rows: NDArray[Any]) -> LabelledTable:
        """Return the labelled rows of a mask of shape (n,), or of indices."""
        return LabelledTable(_take(self.frame, rows), self.roles, self.y[rows])

    def with_roles(self, roles: Roles) -> LabelledTable:
        """Return the same rows read by other roles."""
        return LabelledTable(self.frame, roles, self.y)

    @cached_property
    def words(self) -> list[NDArray[np.uint64]]:
        """What tells each row from others, one array of shape (n,) a column."""
        import pyarrow as pa

        words = []
        for feature in self.roles.identifying:
            column = self.frame.column(feature.name)
            if feature.feature == Role.SEQUENCE:
                column = pa.chunked_array([self.items(feature.name)])
            elif feature.feature != Role.NUMERIC:
                column = pa.chunked_array([self.texts(feature.name)])
            words.append(column_words(column, blurred=feature.feature == Role.TEXT))
        return words

    def digests(self, key: bytes) -> NDArray[np.uint64]:
        """Return a keyed 128-bit digest of each row's content, shape (n, 2)."""
        return keyed_digests(self.words, key)

    @cached_property
    def groups(self) -> NDArray[np.int64] | None:
        """The group of each row as a code, shape (n,), or None without a group column.

        A row without a group is a group of its own.
        """
        name = self.roles.one(Role.GROUP)
        if name is None:
            return None
        codes = self.codes(name)[0]
        missing = self.texts(name).is_null().to_numpy(zero_copy_only=False)
        if missing.any():
            codes = codes.copy()
            codes[missing] = codes.max() + 1 + np.arange(missing.sum())
        return codes

    @cached_property
    def weights(self) -> NDArray[np.float64] | None:
        """The weight of each row, shape (n,), mean 1, or None without a weight column.

        Raises:
            DataError: A weight is missing or negative, or all are zero.
        """
        name = self.roles.one(Role.WEIGHT)
        if name is None:
            return None
        values = self.numeric(name)
        if np.isnan(values).any() or (values < 0).any() or not values.any():
            raise DataError(
                f"weight column {name!r} holds missing or negative values, or only zeros",
                mend=f"fill it with numbers of at least 0, or pass --column {name}=numeric",
            )
        return np.asarray(values / values.mean())

    def codes(self, name: str) -> tuple[NDArray[np.int64], list[str]]:
        """Return a column as codes, shape (n,), and the texts they stand for."""
        encoded = self.texts(name).fill_null("(missing)").dictionary_encode()
        return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()
