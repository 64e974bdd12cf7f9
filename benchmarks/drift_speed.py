"""Measure what summarising and comparing cohorts costs, beside fairlearn and evidently.

    python benchmarks/drift_speed.py [--evidently PYTHON] [--repeats 9]

CPU seconds of one thread, the median and the least of repeats in one process. fairlearn answers
the question that groups raise: five rates of five groups, from the same 100,000 rows; the whole
of what is done here for it is counted, rows to cells to tests. evidently needs pandas below 3,
so it runs with the Python of an environment of its own (``pip install "evidently==0.7.23"
"pandas<3"``); it compares the same two columns of scores and calls. The figures go to
benchmarks/results/*.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
NAMES = ("A", "B", "C", "D", "E")
COMPARED = (10_000, 1_000_000)
GROUPED = 100_000


def draw(seed: int, n: int) -> dict[str, np.ndarray]:
    """Return balanced rows of two normal classes 2.2 apart, in five unequal groups."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.5).astype(np.int8)
    p = 1 / (1 + np.exp(-2.2 * rng.normal((y - 0.5) * 2.2)))
    group = rng.choice(5, n, p=(0.40, 0.25, 0.18, 0.10, 0.07))
    return {"p": p, "y": y, "group": group}


def cost(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return the CPU seconds of a call: the median of repeats after the first, and the least."""
    call()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return {"median_cpu_s": statistics.median(seconds), "least_cpu_s": min(seconds)}


def summarised(rows: dict[str, np.ndarray], *, groups: bool = False, clusters: bool = False) -> Any:  # noqa: ANN401 - Summary
    """Return the cells of rows."""
    from nethical.drift.cells import Scored, summarise

    codes = np.arange(len(rows["p"])) // 20 if clusters else None
    kinds = {"group": (rows["group"], NAMES)} if groups else {}
    return summarise(Scored(rows["p"], rows["y"], 0.5, codes, kinds))


def summaries(repeats: int) -> dict[str, Any]:
    """Measure the summary of a million rows."""
    rows = draw(1, 1_000_000)
    return {
        "1,000,000 rows": cost(lambda: summarised(rows), repeats),
        "and five groups": cost(lambda: summarised(rows, groups=True), repeats),
        "and clusters of 20": cost(lambda: summarised(rows, clusters=True), min(repeats, 3)),
    }


def comparisons(repeats: int) -> dict[str, Any]:
    """Measure one comparison: effects, tests and groups, from the cells on."""
    from nethical.drift import fairness, unpaired
    from nethical.drift.effects import Settings

    settings, found = Settings(), {}
    for n in COMPARED:
        a, b = (summarised(draw(seed, n), groups=True) for seed in (1, 2))

        def compare(a: Any = a, b: Any = b) -> None:  # noqa: ANN401 - Summary
            unpaired.effects(a.whole, b.whole, settings)
            unpaired.tests(a.whole, b.whole)
            fairness.disparities(a, alpha=0.01)
            fairness.disparities(b, alpha=0.01)
            fairness.changes(a, b, alpha=0.01)

        found[f"{n:,} rows a side"] = cost(compare, 5 * repeats)
    return found


def groups(repeats: int) -> dict[str, Any]:
    """Measure rates of groups beside fairlearn."""
    from fairlearn.metrics import (
        MetricFrame,
        false_positive_rate,
        selection_rate,
        true_positive_rate,
    )
    from sklearn.metrics import accuracy_score, precision_score

    from nethical.drift import fairness

    rows = draw(1, GROUPED)
    metrics = {
        "accuracy": accuracy_score,
        "recall": true_positive_rate,
        "false_positive_rate": false_positive_rate,
        "flag_rate": selection_rate,
        "precision": precision_score,
    }
    names = np.array(NAMES)[rows["group"]]
    called = (rows["p"] >= 0.5).astype(int)

    def theirs() -> object:
        frame = MetricFrame(
            metrics=metrics, y_true=rows["y"], y_pred=called, sensitive_features=names
        )
        return frame.by_group

    ours = cost(lambda: fairness.disparities(summarised(rows, groups=True), alpha=0.01), repeats)
    fairlearn = cost(theirs, min(repeats, 3))
    return {
        "rows": GROUPED,
        "ours, with tests and intervals": ours,
        "fairlearn MetricFrame": fairlearn,
        "ratio": fairlearn["median_cpu_s"] / ours["median_cpu_s"],
    }


EVIDENTLY = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd, evidently
from evidently import Report
from evidently.presets import DataDriftPreset
found = np.load(sys.argv[1])
a, b = (pd.DataFrame({"p": found[k + "p"], "called": (found[k + "p"] >= 0.5).astype(int)})
        for k in "ab")
seconds = []
for _ in range(int(sys.argv[2]) + 1):
    began = time.process_time()
    Report([DataDriftPreset()]).run(b, a).dict()
    seconds.append(time.process_time() - began)
seconds = sorted(seconds[1:])
print(json.dumps({"evidently": evidently.__version__, "pandas": pd.__version__,
                  "median_cpu_s": seconds[len(seconds) // 2], "least_cpu_s": seconds[0]}))
"""


def beside_evidently(python: str, repeats: int) -> dict[str, Any]:
    """Measure evidently's drift of two columns, and our whole way from the same rows."""
    from nethical.drift import unpaired
    from nethical.drift.effects import Settings

    found: dict[str, Any] = {}
    for n in COMPARED:
        sides = [draw(seed, n) for seed in (1, 2)]

        def ours(sides: list[dict[str, np.ndarray]] = sides) -> None:
            a, b = (summarised(side).whole for side in sides)
            unpaired.effects(a, b, Settings())
            unpaired.tests(a, b)

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.npz"
            np.savez(path, ap=sides[0]["p"], bp=sides[1]["p"])
            done = subprocess.run(
                [python, "-c", EVIDENTLY, str(path), "3"],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            return {"error": done.stderr.strip().splitlines()[-1]}
        theirs, own = json.loads(done.stdout.splitlines()[-1]), cost(ours, repeats)
        ratio = theirs["median_cpu_s"] / own["median_cpu_s"]
        found[f"{n:,} rows a side"] = {
            "ours, from rows": own,
            "evidently": theirs,
            "ratio": ratio,
        }
    return found


def shown(name: str, found: Any, indent: str = "") -> None:  # noqa: ANN401 - JSON
    """Print figures."""
    if isinstance(found, dict):
        print(f"{indent}{name}")
        for key, value in found.items():
            shown(key, value, indent + "  ")
    else:
        print(f"{indent}{name:<24} {found if isinstance(found, str) else f'{found:,.5f}'}")


def main() -> None:
    """Measure everything, on one thread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evidently", default=None, help="a Python that has evidently")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | one)  # noqa: S606
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "summarise": summaries(args.repeats),
        "compare": comparisons(args.repeats),
        "groups beside fairlearn": groups(args.repeats),
    }
    if args.evidently:
        results["beside evidently"] = beside_evidently(args.evidently, args.repeats)
    results["asked"] = {
        "summarise 1,000,000 rows, s": 0.1,
        "compare, s": 0.05,
        "times fairlearn": 20,
    }
    shown("drift", results)
    target = HERE / "results" / f"drift-speed-{time.strftime('%Y%m%dT%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten to {target}")


if __name__ == "__main__":
    main()
