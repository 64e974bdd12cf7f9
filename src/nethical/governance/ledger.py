"""The ledger of attempts: on which rows, and how many configurations were tried on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nethical.canonical import digest
from nethical.data.rows import seed_key

if TYPE_CHECKING:
    from nethical.data.table import LabelledTable

__all__ = ["rows_digest"]


def rows_digest(table: LabelledTable) -> str:
    """Return the digest of a set of rows, whatever their order or how often each is there."""
    rows = np.unique(table.digests(seed_key(0, "gate")), axis=0)
    return digest(np.ascontiguousarray(rows).tobytes())
