"""Measure ``anomaly`` beside pyod and scikit-learn, on the same rows in the same run.

    python benchmarks/type_anomaly.py [--shared ../shared] [--only tables,sequences,others]

pyod is no dependency of the project and needs an older scikit-learn, so it gets an environment
of its own, which then runs this file:

    python3 -m venv /tmp/pyod
    /tmp/pyod/bin/pip install pyod==2.0.5 scikit-learn==1.6.1 -e .
    /tmp/pyod/bin/python benchmarks/type_anomaly.py

Without it its detectors are skipped, and a line says so. Every detector learns from the normals
of a random 60 % of the rows and is judged on the rest, seeds 1 to 3; pyod and scikit-learn get
numbers standardised by those normals. ``others`` are sets that served for no choice. Figures are
means over seeds, CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from threadpoolctl import threadpool_limits

from nethical.data import synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, normalise
from nethical.models.anomaly import build
from nethical.models.base import Settings
from nethical.run import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
SEEDS = (1, 2, 3)
SETS = (
    "2_annthyroid",
    "6_cardio",
    "23_mammography",
    "32_shuttle",
    "27_PageBlocks",
    "35_SpamBase",
    "5_campaign",
)
SECTIONS = ("tables", "sequences", "others")
FIGURES = ("roc_auc", "average_precision", "fit_cpu_s", "score_ms_per_row")


def labelled(frame: pa.Table, **roles: Role) -> LabelledTable:
    """Return a frame as the project reads it."""
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


def matrix(table: LabelledTable) -> np.ndarray:
    """Return the features as numbers, shape (n, d)."""
    return np.column_stack([table.numeric(feature.name) for feature in table.features])


def cut(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and those to judge."""
    order = np.random.default_rng(seed).permutation(n)
    return order[: int(0.6 * n)], order[int(0.6 * n) :]


def judged(y: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return how well scores rank rows."""
    scores = np.nan_to_num(scores, posinf=1e300, neginf=-1e300)
    return {
        "roc_auc": float(roc_auc_score(y, scores)),
        "average_precision": float(average_precision_score(y, scores)),
    }


def ours(train: LabelledTable, test: LabelledTable, seed: int) -> dict[str, float]:
    """Return the figures of our type."""
    began = time.process_time()
    model = build(Settings()).fit(train, rng=np.random.default_rng(seed), progress=silent)
    fitted = time.process_time()
    scores = model.score(test)
    scored = time.process_time()
    one = test.slice(0, 1)
    model.score(one)
    single = time.process_time()
    for _ in range(50):
        model.score(one)
    alone = (time.process_time() - single) / 50
    normal = scores[test.y == 0]
    return judged(test.y, scores) | {
        "fit_cpu_s": fitted - began,
        "score_ms_per_row": (scored - fitted) / len(test) * 1e3,
        "one_row_ms": alone * 1e3,
        "normals_with_p_under_5_percent": float(np.mean(normal >= -np.log10(0.05))),
    }


@cache
def detectors() -> dict[str, Callable[[int], Any]]:
    """Return the peers by name, each a function of the seed."""
    found: dict[str, Callable[[int], Any]] = {
        "sklearn IsolationForest": lambda seed: IsolationForest(random_state=seed),
        "sklearn LOF": lambda _: LocalOutlierFactor(novelty=True),
    }
    try:
        from pyod.models.copod import COPOD
        from pyod.models.ecod import ECOD
        from pyod.models.hbos import HBOS
        from pyod.models.iforest import IForest
        from pyod.models.knn import KNN
        from pyod.models.lof import LOF
    except ImportError as error:
        print(f"pyod is skipped: {error}; see the top of this file for how to install it")
        return found
    return found | {
        "pyod KNN": lambda _: KNN(n_neighbors=5),
        "pyod IForest": lambda seed: IForest(random_state=seed),
        "pyod ECOD": lambda _: ECOD(),
        "pyod LOF": lambda _: LOF(),
        "pyod HBOS": lambda _: HBOS(),
        "pyod COPOD": lambda _: COPOD(),
    }


def theirs(
    build_one: Callable[[int], Any], train: LabelledTable, test: LabelledTable, seed: int
) -> dict[str, float]:
    """Return the figures of a peer."""
    normals, rows = matrix(train)[train.y == 0], matrix(test)
    spread = normals.std(axis=0)
    scale = np.where(spread > 0, spread, 1)
    normals, rows = (normals - normals.mean(axis=0)) / scale, (rows - normals.mean(axis=0)) / scale
    began = time.process_time()
    detector = build_one(seed).fit(normals)
    fitted = time.process_time()
    by_sklearn = hasattr(detector, "score_samples")
    scores = -detector.score_samples(rows) if by_sklearn else detector.decision_function(rows)
    scored = time.process_time()
    return judged(test.y, scores) | {
        "fit_cpu_s": fitted - began,
        "score_ms_per_row": (scored - fitted) / len(test) * 1e3,
    }


def means(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure."""
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}


def compared(
    what: str, cuts: Callable[[int], tuple[LabelledTable, LabelledTable]], *, peers: bool
) -> Iterator[dict[str, Any]]:
    """Yield the figures of each model on one set."""
    pairs = [(seed, *cuts(seed)) for seed in SEEDS]
    yield {
        "what": what,
        "model": "anomaly",
        **means([ours(train, test, seed) for seed, train, test in pairs]),
    }
    for name, one in detectors().items() if peers else ():
        runs = [theirs(one, train, test, seed) for seed, train, test in pairs]
        yield {"what": what, "model": name, **means(runs)}


def random_cuts(table: LabelledTable) -> Callable[[int], tuple[LabelledTable, LabelledTable]]:
    """Return a function that cuts a table at random."""

    def cuts(seed: int) -> tuple[LabelledTable, LabelledTable]:
        learnt, kept = cut(len(table), seed)
        return table.rows(learnt), table.rows(kept)

    return cuts


def tables(shared: Path) -> list[dict[str, Any]]:
    """Measure the seven outlier sets; they also served to choose how detectors are joined."""
    found: list[dict[str, Any]] = []
    for name in SETS:
        path = shared / "data" / f"tabular_{name}.parquet"
        if not path.exists():
            print(f"{name} is skipped: {path} is not there")
            continue
        found += compared(name, random_cuts(labelled(pq.read_table(path))), peers=True)
    models = dict.fromkeys(row["model"] for row in found)
    for model in models:
        own = [{f: row[f] for f in FIGURES} for row in found if row["model"] == model]
        found.append({"what": f"mean of {len(own)} sets", "model": model, **means(own)})
    return found


def sequences(shared: Path) -> list[dict[str, Any]]:
    """Measure sessions of logs, and the ancestor's attacks of unseen actions."""
    found: list[dict[str, Any]] = []
    path = shared / "data" / "sequence_hdfs_deeplog.parquet"
    if path.exists():
        table = labelled(pq.read_table(path), split=Role.IGNORE)
        found += compared("hdfs_deeplog", random_cuts(table), peers=False)
    else:
        print(f"hdfs_deeplog is skipped: {path} is not there")
    path = shared / "data" / "sequence_hdfs100k.parquet"
    if path.exists():
        frame = pq.read_table(path)
        table = labelled(frame, split=Role.IGNORE)
        is_train = np.array(frame.column("split").to_pylist()) == "train"
        pair = (table.rows(is_train), table.rows(~is_train))
        found += compared("hdfs100k, as split", lambda _: pair, peers=False)
    else:
        print(f"hdfs100k is skipped: {path} is not there")
    legacy = labelled(synthetic.generate("legacy_anomaly", 4000, seed=1).table)
    found += compared("legacy_anomaly", random_cuts(legacy), peers=False)
    return found


def others(shared: Path) -> list[dict[str, Any]]:
    """Measure sets that served for no choice: those that scikit-learn ships."""
    del shared
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine

    found: list[dict[str, Any]] = []
    cases = [("breast_cancer", load_breast_cancer(), 1)]
    cases += [(f"wine, class {k} is normal", load_wine(), k) for k in range(3)]
    cases += [(f"digits, {k} is normal", load_digits(), k) for k in range(10)]
    for what, data, normal in cases:
        columns = {f"x{i}": data.data[:, i].astype(float) for i in range(data.data.shape[1])}
        frame = pa.table({**columns, "label": (data.target != normal).astype(np.int64)})
        roles = dict.fromkeys(columns, Role.NUMERIC)
        found += compared(what, random_cuts(labelled(frame, **roles)), peers=True)
    for model in dict.fromkeys(row["model"] for row in found):
        for kind in ("wine", "digits"):
            own = [row for row in found if row["model"] == model and row["what"].startswith(kind)]
            figures = means([{f: row[f] for f in FIGURES} for row in own])
            found.append({"what": f"mean of {len(own)} {kind}", "model": model, **figures})
    return found


def rows(shared: Path, sections: tuple[str, ...] = SECTIONS) -> list[dict[str, Any]]:
    """Return the figures of all models on all sets of some sections."""
    found: list[dict[str, Any]] = []
    for section in sections:
        found += {"tables": tables, "sequences": sequences, "others": others}[section](shared)
    return found


def main() -> None:
    """Print the figures as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    print(f"{'':26} {'':24} {'ROC':>6} {'AP':>6} {'fit s':>7} {'ms/row':>8} {'1 row ms':>8}")
    with threadpool_limits(1):
        found = rows(args.shared, tuple(args.only.split(",")))
    for row in found:
        alone = f"{row['one_row_ms']:8.2f}" if "one_row_ms" in row else ""
        print(
            f"{row['what']:26} {row['model']:24} {row['roc_auc']:6.4f} "
            f"{row['average_precision']:6.4f} {row['fit_cpu_s']:7.3f} "
            f"{row['score_ms_per_row']:8.4f} {alone}"
        )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
