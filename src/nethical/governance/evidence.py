"""What the promotion gate reads: two models on rows new to both, and what people say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.roles import Role
from nethical.errors import DataError
from nethical.governance.latency import compare_latency
from nethical.governance.promotion import Evidence
from nethical.governance.search import rows_of
from nethical.judgement import reads
from nethical.record import learnt_by
from nethical.trained import TrainedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nethical.bundle import Bundle
    from nethical.data.table import LabelledTable
    from nethical.governance.agreement import Agreement

__all__ = ["gather"]

LATENCY_ROWS = 200


def gather(
    candidate: Bundle,
    baseline: Bundle,
    table: LabelledTable,
    *,
    agreement: Agreement | None,
    row_keys: Sequence[bytes],
    waiver: str,
) -> tuple[Evidence, LabelledTable]:
    """Return what both sides decide about rows that neither learnt from, and these rows.

    Args:
        candidate: What may take the place of the other.
        baseline: What it is compared with.
        table: Rows of the gate.
        agreement: How far the candidate decides as people did; None if that is unknown.
        row_keys: By which it is known what each side learnt from; where none fits, nothing is
            known to be unseen.
        waiver: Why agreement of people is not asked for; empty if it is.

    Raises:
        DataError: The two read other columns or labels.
    """
    models = [TrainedModel.from_files(bundle.files) for bundle in (baseline, candidate)]
    if reads(models[0]) != reads(models[1]):
        raise DataError(
            f"{candidate.model_id} and {baseline.model_id} read other columns or labels",
            mend="compare models of one table; pass --name for a slot of its own",
        )
    seen = np.zeros(len(table), dtype=bool)
    for bundle in (baseline, candidate):
        learnt = learnt_by(bundle, row_keys)
        seen |= np.ones(len(table), dtype=bool) if learnt is None else learnt(table)
    rows = table.rows(~seen)
    called = [model.probabilities(rows) >= model.thresholds.block for model in models]
    sample = list(rows_of(rows, np.arange(min(len(rows), LATENCY_ROWS))))
    latency = None
    if sample:
        calls = (models[0].predict_row, models[1].predict_row)
        latency = compare_latency(*calls, sample, rng=np.random.default_rng(len(rows)))
    found = Evidence(
        rows.y,
        called[0],
        called[1],
        rows.groups,
        int(seen.sum()),
        latency,
        agreement,
        waiver,
        {name: _kinds(rows, name) for name in rows.roles.named(Role.FAIRNESS)},
    )
    return found, rows


def _kinds(rows: LabelledTable, name: str) -> np.ndarray[Any, Any]:
    codes, values = rows.codes(name)
    return np.array(values, dtype=str)[codes] if values else np.array([], dtype=str)
