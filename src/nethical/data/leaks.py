"""What gives the label away: columns that nearly decide it, ids that follow it, sorted files.

Probes read at most 100,000 sampled rows, so that they cost about a CPU-second per million rows
of ten columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.roles import Role
from nethical.data.rows import seed_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable

__all__ = ["Leaks", "Suspect", "probe"]

SUSPECT_ROC = 0.995
SAMPLE_ROWS = 100_000
FEWEST_PER_CLASS = 20
QUANTILES = np.arange(1, 50) / 50


@dataclass(frozen=True)
class Suspect:
    """A column that nearly decides the label by itself.

    Args:
        column: Its name.
        roc_auc: Area under its ROC curve alone, in [.5, 1].
        what: Its values, whether it is missing, or its id.
        is_feature: Whether models would read it.
    """

    column: str
    roc_auc: float
    what: str
    is_feature: bool

    def to_document(self) -> dict[str, Any]:
        """Return the suspect as JSON values."""
        return {
            "column": self.column,
            "roc_auc": round(self.roc_auc, 4),
            "what": self.what,
            "is_feature": self.is_feature,
        }


@dataclass(frozen=True)
class Leaks:
    """What the probes found.

    Args:
        suspects: Columns that nearly decide the label.
        sorted_by_label: Whether the file has its classes one after the other.
        probed: Whether both classes have rows enough to probe columns.
    """

    suspects: tuple[Suspect, ...]
    sorted_by_label: bool
    probed: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """The suspect columns that models would read."""
        return tuple(dict.fromkeys(s.column for s in self.suspects if s.is_feature))


def probe(table: LabelledTable, *, seed: int) -> Leaks:
    """Return what gives the label away.

    Args:
        table: The labelled rows, in their order in the file.
        seed: Decides which rows are sampled.
    """
    changes = int(np.count_nonzero(np.diff(table.y)))
    positives = int(table.y.sum())
    sorted_by_label = changes == 1 and min(positives, len(table) - positives) >= FEWEST_PER_CLASS
    rng = np.random.default_rng(np.frombuffer(seed_key(seed, "leaks"), dtype=np.uint64))
    sample = table
    if len(table) > SAMPLE_ROWS:
        sample = table.rows(np.sort(rng.choice(len(table), SAMPLE_ROWS, replace=False)))
    if min(int(sample.y.sum()), int(len(sample) - sample.y.sum())) < FEWEST_PER_CLASS:
        return Leaks((), sorted_by_label, probed=False)
    half = rng.permutation(len(sample)) % 2 == 0
    suspects = [*_features(sample, half), *_ids(sample, sorted_by_label=sorted_by_label)]
    return Leaks(tuple(suspects), sorted_by_label)


def _features(table: LabelledTable, half: NDArray[np.bool_]) -> list[Suspect]:
    found = []
    for column in table.features:
        missing = table.frame.column(column.name).is_null().to_numpy()
        if column.feature == Role.NUMERIC:
            values = table.numeric(column.name)
            missing = missing | np.isnan(values)
            filled = np.where(missing, np.nanmin(values, initial=0.0), values)
            levels = np.searchsorted(np.unique(np.quantile(filled, QUANTILES)), filled)
            roc_auc = max(_rank_auc(filled, table.y), _level_auc(levels, table.y, half))
        else:
            roc_auc = _level_auc(table.codes(column.name)[0], table.y, half)
        gaps = _rank_auc(missing.astype(float), table.y)
        if gaps >= SUSPECT_ROC:
            found.append(Suspect(column.name, gaps, "where it is missing", is_feature=True))
        elif roc_auc >= SUSPECT_ROC:
            found.append(Suspect(column.name, roc_auc, "its values", is_feature=True))
    return found


def _ids(table: LabelledTable, *, sorted_by_label: bool) -> list[Suspect]:
    if sorted_by_label:
        return []  # said already: every running number follows the label then
    found = []
    for name in table.roles.named(Role.ID):
        texts = table.texts(name)
        order = np.argsort(np.array(texts.to_pylist(), dtype=object).astype(str), kind="stable")
        rank = np.empty(len(order))
        rank[order] = np.arange(len(order))
        if _is_number(table, name):
            rank = table.numeric(name)
        roc_auc = _rank_auc(rank, table.y)
        if roc_auc >= SUSPECT_ROC:
            found.append(Suspect(name, roc_auc, "its order", is_feature=False))
    return found


def _is_number(table: LabelledTable, name: str) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(table.frame.schema.field(name).type))


def _level_auc(codes: NDArray[np.int64], y: NDArray[np.int8], half: NDArray[np.bool_]) -> float:
    """Return the ROC area of the positive share of each value, learnt on the other half."""
    n_levels = int(codes.max()) + 1
    if n_levels > len(y) // 2:
        return 0.5
    scores = np.empty(len(y))
    for learnt, scored in ((half, ~half), (~half, half)):
        counts = np.bincount(codes[learnt], minlength=n_levels)
        hits = np.bincount(codes[learnt], weights=y[learnt], minlength=n_levels)
        scores[scored] = ((hits + y[learnt].mean()) / (counts + 1))[codes[scored]]
    return _rank_auc(scores, y)


def _rank_auc(values: NDArray[Any], y: NDArray[np.int8]) -> float:
    """Return the ROC area of values in either direction, ties counted half."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(starts, len(ordered)))
    middle = starts + (sizes - 1) / 2
    hits = np.add.reduceat(y[order].astype(np.float64), starts)
    positives = hits.sum()
    negatives = len(y) - positives
    area = (np.dot(hits, middle) - positives * (positives - 1) / 2) / (positives * negatives)
    return float(max(area, 1 - area))
