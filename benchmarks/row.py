"""Time one row through ``predict_row``; prints JSON."""

from __future__ import annotations

import json
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from nethical import Plan, train

COLUMNS = 20
CALLS = 2000


def micros(call: object, argument: object) -> float:
    """Return the median time of a call over batches, in microseconds."""
    times = []
    for _ in range(15):
        began = time.perf_counter()
        for _ in range(CALLS // 10):
            call(argument)  # type: ignore[operator]
        times.append((time.perf_counter() - began) / (CALLS // 10))
    return float(np.median(times)) * 1e6


def main() -> None:
    """Train each type on 20 numeric columns and time single rows."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20_000, COLUMNS))
    y = (rng.random(20_000) < 1 / (1 + np.exp(-X[:, :5].sum(axis=1)))).astype(int)
    names = [f"x{i}" for i in range(COLUMNS)]
    frame = pa.table({**{n: X[:, i] for i, n in enumerate(names)}, "label": y})
    line = dict(zip(names, X[0].tolist(), strict=True))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("heuristic", "logistic", "boosted"):
            plan = Plan(kind, data=frame, models_dir=str(Path(folder) / "models"), threads=1)
            model = train(plan).model
            found.append(
                {"what": f"{kind}: predict_row", "micros": micros(model.predict_row, line)}
            )
            if kind == "boosted":
                predict = partial(model.model._booster.predict, raw_score=True, num_threads=1)  # noqa: SLF001
                bare = micros(predict, X[:1].copy())
                found.append({"what": "LightGBM: Booster.predict, bare", "micros": bare})
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    found.append({"what": "scikit-learn pipeline", "micros": micros(pipeline.predict_proba, X[:1])})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
