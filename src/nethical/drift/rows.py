"""The rows of a run, kept apart from its cells: what only a paired comparison reads.

A row is known by its keyed digest; what it held is not kept.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical import durable
from nethical.canonical import digest
from nethical.errors import IntegrityError
from nethical.record import group_codes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nethical.drift.cohorts import CohortRun

__all__ = ["RowSet", "overlap", "paired", "read_rows", "rows_digest", "sketch"]

SKETCHED = 128
LEAST_DISTINCT = 0.9


@dataclass(frozen=True, eq=False)
class RowSet:
    """Scored rows in the order of their digests.

    Args:
        ids: Two words of each row's digest, shape (n, 2).
        y_proba: Probability of class 1, shape (n,).
        y_true: 0, 1, or -1 where unknown, shape (n,).
        clusters: Codes of rows that belong together, shape (n,), or None.
    """

    ids: NDArray[np.uint64]
    y_proba: NDArray[np.float64]
    y_true: NDArray[np.int8]
    clusters: NDArray[np.int64] | None

    def ordered(self) -> RowSet:
        """Return the rows in the order of their digests, equal rows by label."""
        order = np.lexsort((self.y_true, self.ids[:, 1], self.ids[:, 0]))
        return RowSet(
            self.ids[order],
            self.y_proba[order],
            self.y_true[order],
            None if self.clusters is None else self.clusters[order],
        )


def rows_digest(ids: NDArray[np.uint64], y_true: NDArray[np.int8]) -> str:
    """Return the digest of a set of rows with their labels, whatever their order.

    Args:
        ids: Two words of each row's digest, shape (n, 2).
        y_true: 0, 1, or -1 where unknown, shape (n,).
    """
    order = np.lexsort((y_true, ids[:, 1], ids[:, 0]))
    state = hashlib.sha256(ids[order].astype("<u8").tobytes())
    state.update(y_true[order].tobytes())
    return "sha256:" + state.hexdigest()


def sketch(ids: NDArray[np.uint64]) -> dict[str, Any] | None:
    """Return what tells how many rows two sets share: how many there are, the smallest digests.

    None where more than a tenth of the rows repeat another: equal rows may be different ones.

    Args:
        ids: Two words of each row's digest, shape (n, 2).

    Reference:
        Beyer et al. 2007 (k minimum values).
    """
    distinct = np.unique(ids[:, 0])
    if len(distinct) < LEAST_DISTINCT * len(ids):
        return None
    smallest = distinct[:SKETCHED].astype(">u8").tobytes().hex()
    return {"distinct": len(distinct), "smallest": smallest}


def overlap(a: dict[str, Any] | None, b: dict[str, Any] | None) -> float:
    """Return about which share of the smaller set of rows the other holds too; 0 if unknown.

    Args:
        a: What ``sketch`` returned of one.
        b: Of the other.
    """
    if a is None or b is None:
        return 0.0
    one, other = (np.frombuffer(bytes.fromhex(each["smallest"]), ">u8").tolist() for each in (a, b))
    both = sorted({*one, *other})[:SKETCHED]
    alike = len({*both} & {*one} & {*other}) / len(both)
    shared = alike * (a["distinct"] + b["distinct"]) / (1 + alike)
    return min(float(shared / min(a["distinct"], b["distinct"])), 1.0)


def from_parquet(content: bytes) -> RowSet:
    """Return the rows of a scores.parquet."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    rows = table.column("row").combine_chunks()
    ids = np.frombuffer(rows.buffers()[1], np.uint64, 2 * len(rows), 16 * rows.offset)
    label = table.column("label").fill_null(-1).to_numpy().astype(np.int8)
    clusters = group_codes(table.column("group")) if "group" in table.column_names else None
    proba = table.column("probability").to_numpy()
    return RowSet(ids.reshape(-1, 2), proba, label, clusters)


def read_rows(run: CohortRun, folder: Path) -> RowSet | None:
    """Return the rows of a run; None where they are not kept any more.

    Args:
        run: The run.
        folder: The folder of the drift reports, for what was added as a file.

    Raises:
        IntegrityError: The file is not the one that the cells were made from.
    """
    path = folder / run.rows_path  # a bundle's path is absolute and stays as it is
    if not run.rows_path or not path.exists():
        return None
    content = durable.read(path)
    if digest(content) != run.details.get("rows_file"):
        raise IntegrityError(
            f"{path} is not the file that run {run.run_id} was summarised from",
            mend="restore the file from a copy",
        )
    return from_parquet(content).ordered()


def paired(a: RowSet | None, b: RowSet | None) -> tuple[RowSet, RowSet] | None:
    """Return both, row by row the same; None where they are not the same rows."""
    if a is None or b is None or not np.array_equal(a.ids, b.ids):
        return None
    return (a, b) if np.array_equal(a.y_true, b.y_true) else None
