"""What a bundle keeps of the rows: digests, probabilities, labels, fairness groups.

No other value of a row is kept as it is. A row without a group has none here either: it is a
group of its own.

Row digests are keyed with the row key, so that rows with few possible values cannot be guessed
by whoever holds a bundle.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.bundle import Bundle
    from nethical.data.table import LabelledTable

    Floats = NDArray[np.float64]

__all__ = [
    "group_codes",
    "keyed_texts",
    "learnt_by",
    "rows_file",
    "scored_rows_file",
    "scores_file",
]

LEARNT_PARTS = ("train", "tune", "calibrate")


def scores_file(table: LabelledTable, y_proba: Floats, key: bytes) -> bytes:
    """Return scores.parquet: digest, probability, label and groups of each gate row."""
    group = table.roles.one(Role.GROUP)
    return scored_rows_file(
        table.digests(key),
        y_proba,
        table.y if table.is_labelled else np.full(len(table), -1, dtype=np.int8),
        None if group is None else keyed_texts(table.texts(group), key),
        {name: table.texts(name) for name in table.roles.named(Role.FAIRNESS)},
    )


def scored_rows_file(
    ids: NDArray[np.uint64],
    y_proba: Floats,
    y_true: NDArray[np.int8],
    groups: Any = None,  # noqa: ANN401 - a pyarrow array
    fairness: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a scores.parquet.

    Args:
        ids: Digest of each row, shape (n, 2).
        y_proba: Probability of class 1, shape (n,).
        y_true: 0, 1, or -1 where the label is unknown, shape (n,).
        groups: Digest of each row's group, null for a row without one; None without groups.
        fairness: Texts of each fairness column.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {
        "row": _digest_array(ids),
        "probability": pa.array(y_proba),
        "label": pa.array(y_true, mask=y_true < 0),
    }
    if groups is not None:
        columns["group"] = groups
    for name, texts in (fairness or {}).items():
        columns[f"fairness:{name}"] = texts.dictionary_encode()
    return _parquet(columns)


def rows_file(parts: Mapping[str, LabelledTable], key: bytes) -> bytes:
    """Return rows.parquet: digest and part of each row of the table."""
    import pyarrow as pa

    names = list(parts)
    codes = np.repeat(np.arange(len(names)), [len(part) for part in parts.values()])
    digests = np.concatenate([part.digests(key) for part in parts.values()])
    part = pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array(names))
    return _parquet({"row": _digest_array(digests), "part": part})


def learnt_by(
    bundle: Bundle, keys: Sequence[bytes]
) -> Callable[[LabelledTable], NDArray[np.bool_]] | None:
    """Return a function that tells which rows a model learnt from, shape (n,).

    None where the bundle's row digests were made with a key that is not at hand.
    """
    import pyarrow.parquet as pq

    from nethical.keys import row_key_name

    key = next((k for k in keys if row_key_name(k) == bundle.document("run.json")["row_key"]), None)
    if key is None:
        return None
    stored = pq.read_table(io.BytesIO(bundle.files["rows.parquet"]))
    learnt = np.isin(stored.column("part").to_numpy(), LEARNT_PARTS)
    rows = stored.column("row").combine_chunks()
    digests = np.frombuffer(rows.buffers()[1], dtype=np.uint64).reshape(-1, 2)[learnt, 0]
    return lambda table: np.isin(table.digests(key)[:, 0], digests)


def group_codes(column: Any) -> NDArray[np.int64]:  # noqa: ANN401 - a pyarrow column
    """Return group digests as codes in their order of appearance, shape (n,), as a run has them.

    Args:
        column: The group column of a scores.parquet.
    """
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    alone = np.flatnonzero(codes < 0)
    codes[alone] = len(encoded.dictionary) + np.arange(len(alone))
    return np.asarray(codes)


def keyed_texts(texts: pa.LargeStringArray, key: bytes) -> Any:  # noqa: ANN401 - pyarrow
    """Return a keyed digest of each text, null where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from nethical.data.rows import exact_words, keyed_digests

    digests = _digest_array(keyed_digests([exact_words(pa.chunked_array([texts]))], key))
    return pc.if_else(texts.is_null(), pa.scalar(None, digests.type), digests)


def _digest_array(digests: NDArray[np.uint64]) -> Any:  # noqa: ANN401 - a pyarrow array
    import pyarrow as pa

    buffer = pa.py_buffer(np.ascontiguousarray(digests))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(digests), [None, buffer])


def _parquet(columns: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(
        pa.table(dict(columns)),
        buffer,
        compression={name: "none" if name in {"row", "group"} else "zstd" for name in columns},
        use_dictionary=[name for name in columns if name not in {"row", "group", "probability"}],
    )
    return buffer.getvalue()
