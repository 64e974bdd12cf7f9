"""Every model type beside the library that a data scientist would take, in one run.

    python benchmarks/model_types.py [--shared ../shared] [--pyod PYTHON] [--only SET,...]

Each line is a process of its own, one thread: quality on rows that were not learnt from, CPU
seconds of fitting (features included), CPU milliseconds of scoring a row among many and one row
alone, peak resident memory. A random 60 % of the rows is learnt from, or the past of a log;
``normals`` learn from rows of class 0 alone. pyod needs an older scikit-learn, so it runs with
the Python of an environment of its own (see ``type_anomaly.py``); without it it is skipped, and
a line says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SETS: dict[str, tuple[str, ...]] = {
    "campaign, table": (
        *("heuristic", "logistic", "boosted"),
        *("sklearn LogisticRegression", "sklearn HistGradientBoosting", "LightGBM"),
    ),
    "cardio, normals": ("anomaly", "sklearn IsolationForest", "pyod KNN", "pyod ECOD"),
    "HDFS sessions, normals": ("anomaly", "sklearn IsolationForest of n-grams"),
    "fraud log": ("correlation", "LightGBM of the classic 15"),
    "davidson, text": ("simple_transformer", "logistic", "sklearn TF-IDF + LogisticRegression"),
}
FILES = {
    "campaign, table": "tabular_5_campaign",
    "cardio, normals": "tabular_6_cardio",
    "HDFS sessions, normals": "sequence_hdfs_deeplog",
    "fraud log": "events_fraud_2018-06-10_to_07-15",
    "davidson, text": "text_davidson_hate",
}
COLUMNS = {"davidson, text": ["text", "label"], "HDFS sessions, normals": ["events", "label"]}
TEXT_ROWS = 8500
TEXT_SHARE = 6 / 8.5
FRAUD_ROLES = {"CUSTOMER_ID": "agent", "TERMINAL_ID": "resource", "TX_AMOUNT": "amount"}
NEVER_READ = ["TX_FRAUD_SCENARIO", "TRANSACTION_ID"]
DAY = 86_400_000_000
Scorer = Callable[[Any], np.ndarray]


def read(name: str, shared: Path) -> Any:  # noqa: ANN401 - LabelledTable
    """Return the rows of a set."""
    import pyarrow.parquet as pq

    from nethical.data.roles import Role, RoleHints, infer
    from nethical.data.table import LabelledTable, normalise

    frame = normalise(pq.read_table(shared / "data" / f"{FILES[name]}.parquet"))
    frame = frame.select(COLUMNS.get(name, frame.column_names))
    roles = {column: Role(role) for column, role in FRAUD_ROLES.items() if name == "fraud log"}
    if name == "fraud log":
        frame = frame.drop_columns(NEVER_READ)
    if name == "davidson, text":
        rows = np.sort(np.random.default_rng(1).choice(len(frame), TEXT_ROWS, replace=False))
        frame = frame.take(rows)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


def cut(name: str, table: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
    """Return the rows to learn from, and those to judge."""
    if name == "fraud log":
        day = table.frame.column("TX_DATETIME").cast("int64").to_numpy() // DAY
        last = day.max() + 1
        return np.flatnonzero(day < last - 14), np.flatnonzero(day >= last - 7)
    order = np.random.default_rng(1).permutation(len(table))
    first = int((TEXT_SHARE if name == "davidson, text" else 0.6) * len(table))
    return order[:first], order[first:]


def ours(model_type: str, table: Any, learnt: np.ndarray) -> tuple[Any, Scorer]:  # noqa: ANN401
    """Return the rows as a type of the project reads them, and its scores."""
    from nethical.data.events import EventLog, EventState
    from nethical.data.table import LabelledTable
    from nethical.models import catalog
    from nethical.models.base import Settings
    from nethical.run import silent

    if catalog.traits(model_type).reads_event_log:
        log = EventLog.of(table.roles)
        frame, _ = log.derive(table.frame, table.y, EventState.empty())
        table = LabelledTable(frame, log.derived_roles(table.roles), table.y)
    model = catalog.build(model_type, Settings(threads=1))
    model.fit(table.rows(learnt), rng=np.random.default_rng(1), progress=silent)
    return table, model.score


def theirs(peer: str, table: Any, learnt: np.ndarray) -> tuple[Any, Scorer]:  # noqa: ANN401
    """Return the rows as a bare library reads them, and its scores."""
    y = table.y[learnt]
    if peer == "sklearn TF-IDF + LogisticRegression":
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        texts = np.array(table.texts("text").to_pylist(), dtype=object)
        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
        letters = TfidfVectorizer(
            sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5), min_df=2
        )
        linear = LogisticRegression(C=10, max_iter=1000)
        model = make_pipeline(make_union(words, letters), linear).fit(texts[learnt], y)
        return texts, model.decision_function
    if peer == "sklearn IsolationForest of n-grams":
        from sklearn.ensemble import IsolationForest
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline

        steps = table.frame.column("events").to_pylist()
        texts = np.array([" ".join(items) for items in steps], dtype=object)
        grams = TfidfVectorizer(ngram_range=(1, 3), token_pattern=r"\S+")  # noqa: S106 - no password
        model = make_pipeline(grams, IsolationForest(random_state=1)).fit(texts[learnt][y == 0])
        return texts, lambda rows: -model.score_samples(rows)
    if peer == "LightGBM of the classic 15":
        sys.path.insert(0, str(HERE))
        from type_events import PARAMETERS, classic, fit_classic

        X = classic(table.frame, table.y)
        booster = fit_classic(X[learnt], y, PARAMETERS, 1)
        return X, lambda rows: booster.predict(rows, raw_score=True, num_threads=1)
    X = np.column_stack([table.numeric(feature.name) for feature in table.features])
    return X, _fit_numbers(peer, X[learnt], y)


def _fit_numbers(peer: str, X: np.ndarray, y: np.ndarray) -> Scorer:
    """Return the scores of a bare library that learns from numbers."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if peer == "sklearn LogisticRegression":
        from sklearn.linear_model import LogisticRegression

        linear = LogisticRegression(max_iter=1000)
        return make_pipeline(StandardScaler(), linear).fit(X, y).decision_function
    if peer == "sklearn HistGradientBoosting":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(random_state=1).fit(X, y).decision_function
    if peer == "LightGBM":
        import lightgbm

        settings = {"objective": "binary", "num_threads": 1, "verbosity": -1}
        booster = lightgbm.train(settings, lightgbm.Dataset(X, y), 100)
        return lambda rows: booster.predict(rows, raw_score=True, num_threads=1)
    if peer == "sklearn IsolationForest":
        from sklearn.ensemble import IsolationForest

        forest = make_pipeline(StandardScaler(), IsolationForest(random_state=1)).fit(X[y == 0])
        return lambda rows: -forest.score_samples(rows)
    from pyod.models.ecod import ECOD
    from pyod.models.knn import KNN

    detector = {"pyod KNN": KNN(n_neighbors=5), "pyod ECOD": ECOD()}[peer]
    scaler = StandardScaler().fit(X[y == 0])
    detector.fit(scaler.transform(X[y == 0]))
    return lambda rows: detector.decision_function(scaler.transform(rows))


def one(name: str, model: str, shared: Path) -> dict[str, float]:
    """Return the figures of one model on one set; ours are built in, theirs by name."""
    from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score
    from threadpoolctl import threadpool_limits

    table = read(name, shared)
    learnt, judged = cut(name, table)
    y = table.y[judged]
    with threadpool_limits(limits=1):
        began = time.process_time()
        rows, score = (theirs if " " in model or model == "LightGBM" else ours)(
            model, table, learnt
        )
        fitted = time.process_time()
        several = rows.take(judged) if hasattr(rows, "frame") else rows[judged]
        ready = time.process_time()
        scores = score(several)
        scored = time.process_time()
        single = several.slice(0, 1) if hasattr(several, "slice") else several[:1]
        score(single)
        alone = time.process_time()
        for _ in range(20):
            score(single)
        ended = time.process_time()
    cuts = np.quantile(scores, 1 - y.mean())  # as many called positive as there are
    return {
        "roc_auc": float(roc_auc_score(y, scores)),
        "average_precision": float(average_precision_score(y, scores)),
        "accuracy": float(accuracy_score(y, scores >= cuts)),
        "fit_cpu_s": fitted - began,
        "score_ms": (scored - ready) / len(y) * 1e3,
        "one_row_ms": (ended - alone) / 20 * 1e3,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measured(name: str, model: str, shared: Path, python: str) -> dict[str, Any] | None:
    """Return the figures of one model, from a process of its own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [python, __file__, "--one", name, model, "--shared", str(shared)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | threads
    )
    if done.returncode != 0:
        print(f"  {model:<38} skipped: {done.stderr.strip().splitlines()[-1]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table a set, and write all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    parser.add_argument("--pyod", default=sys.executable, help="a Python that has pyod")
    parser.add_argument("--only", help="sets, separated by semicolons")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(*args.one, args.shared)))
        return
    results: dict[str, dict[str, Any]] = {}
    for name in args.only.split(";") if args.only else SETS:
        print(f"\n{name}")
        head = ("ROC", "AP", "accuracy", "fit CPU s", "ms a row", "ms alone", "peak MB")
        print(f"  {'':<38}" + "".join(f"{word:>10}" for word in head))
        for model in SETS[name]:
            python = args.pyod if model.startswith("pyod") else sys.executable
            found = measured(name, model, args.shared, python)
            if found is not None:
                results.setdefault(name, {})[model] = found
                print(f"  {model:<38}" + "".join(f"{value:10.4g}" for value in found.values()))
    target = HERE / "results" / f"types_{time.strftime('%Y%m%dT%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten to {target}")


if __name__ == "__main__":
    main()
