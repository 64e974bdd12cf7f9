"""The ledger of attempts: how often somebody could have been lucky on some rows.

Rows are known by the set of their digests, whatever their order or the table they lie in. What
counts is every configuration that was judged on them, or on others that share a good part of
them, as those of another seed do; every other result that a configuration had on them, by a
model of another seed; and, where a person chose the candidate, every model whose metrics on
these rows could be seen before.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from nethical.canonical import digest
from nethical.data.rows import seed_key
from nethical.errors import IntegrityError
from nethical.governance.configurations import configuration_of
from nethical.governance.promotion import Policy, decide
from nethical.keys import row_key_name
from nethical.registry import user

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from nethical.bundle import Bundle
    from nethical.data.table import LabelledTable
    from nethical.governance.promotion import Evidence
    from nethical.governance.store import GovernanceStore
    from nethical.registry import Registry

    Result = tuple[float | None, ...]

__all__ = ["Ledger", "rows_digest"]

SAME_EVIDENCE = 0.05  # share of the smaller set that two sets of rows have in common
JUDGED_BY = 2  # criteria that rest on the rows: recall and false positives


def rows_digest(rows: LabelledTable) -> str:
    """Return the digest of a set of rows, whatever their order or how often each is there."""
    found = np.unique(rows.digests(seed_key(0, "gate")), axis=0)
    return digest(np.ascontiguousarray(found).tobytes())


class Ledger:
    """Counts attempts.

    Args:
        store: Where they are kept.
        registry: Whose models were measured.
    """

    def __init__(self, store: GovernanceStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def attempt(
        self,
        candidate: Bundle,
        baseline: Bundle,
        rows: LabelledTable,
        evidence: Evidence,
        *,
        is_chosen_elsewhere: bool,
    ) -> int:
        """Return which attempt on some rows a candidate is, from 1; it is kept.

        The same configuration with the same result is the same attempt.

        Args:
            candidate: What is judged.
            baseline: What it is compared with.
            rows: What both sides are compared on.
            evidence: What they decide about them.
            is_chosen_elsewhere: Whether the candidate was chosen without a look at these rows,
                as a search chooses; else models that were only measured on them count as well.
        """
        gate_digest = rows_digest(rows)
        configuration_id = configuration_of(candidate).configuration_id
        lines = decide(evidence, Policy(), attempt=1).lines[:JUDGED_BY]
        mine = (configuration_id, baseline.model_id, tuple(line.estimate for line in lines))
        reports = self._store.reports()
        here = {_result(one): one.k for one in reports if one.gate_digest == gate_digest}
        if mine in here:
            return int(here[mine])
        judged = {report.candidate_model for report in reports}
        for bundle in self._measured(rows, {candidate.model_id, baseline.model_id}):
            if not is_chosen_elsewhere or bundle.model_id in judged:
                other = self._store.add(configuration_of(bundle), by=user())
                self._store.attempt(gate_digest, other)
        results = {mine, *here}
        again = len(results) - len({result[:2] for result in results})
        return self._store.attempt(gate_digest, configuration_id) + again

    def _measured(self, rows: LabelledTable, but: set[str]) -> Iterator[Bundle]:
        """Yield candidates, but some, whose gate part shares a good part of these rows."""
        keys = self._registry.keys.row_keys()
        for version in self._registry.versions():
            if version.status != "candidate" or version.model_id in but:
                continue
            try:
                bundle = self._registry.verify(version.model_id)
                is_shared = _shares(bundle, rows, keys)
            except IntegrityError:
                continue  # nobody can be misled by the metrics of what nobody can use
            if is_shared:
                yield bundle


def _result(report: Any) -> tuple[str, str, Result]:  # noqa: ANN401 - a line of the store
    estimates = tuple(line.get("estimate") for line in report.criteria[:JUDGED_BY])
    return report.candidate, report.baseline_model, estimates


def _shares(bundle: Bundle, rows: LabelledTable, keys: Sequence[bytes]) -> bool:
    """Return whether a model was measured on a good part of some rows."""
    import pyarrow.parquet as pq

    name = bundle.document("run.json")["row_key"]
    key = next((key for key in keys if row_key_name(key) == name), None)
    if key is None or not len(rows):
        return False
    stored = pq.read_table(io.BytesIO(bundle.files["scores.parquet"]), columns=["row"])
    column = stored.column("row").combine_chunks()
    theirs = np.frombuffer(column.buffers()[1], dtype=np.uint64).reshape(-1, 2)[:, 0]
    ours = np.unique(rows.digests(key)[:, 0])
    theirs = np.unique(theirs)
    shared = len(np.intersect1d(ours, theirs, assume_unique=True))
    return shared >= SAME_EVIDENCE * min(len(ours), len(theirs)) and shared > 0
