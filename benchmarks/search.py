"""What a search costs apart from training: proposals in memory, trials in a store, a resumption.

    python benchmarks/search.py

Asked: at most 1 ms a trial in memory, at most 10 ms stored on SQLite, 1,000 trials resumed in at
most .5 s. Training is left out by a trial that returns at once. Beside it stands what this
machine's disk needs for one durable write, for each stored lot waits for some.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import optuna  # noqa: F401 - its import is no part of a search
import pyarrow as pa  # noqa: F401 - likewise

from nethical.data import synthetic
from nethical.governance import search as searches
from nethical.governance.search import Limits, Trial, search
from nethical.governance.store import GovernanceStore
from nethical.models import catalog
from nethical.plan import Plan
from nethical.preparation import prepare
from nethical.run import Run

RESULTS = Path(__file__).parent / "results"
TRIALS = 1000
OUTCOME = {
    "recall": 0.5,
    "precision": 0.5,
    "false_positive_rate": 0.1,
    "brier": 0.1,
    "review_share": 0.1,
    "latency_ms": 0.01,
    "thresholds": {"block": 0.5, "gray_low": 0.4, "gray_high": 0.6, "confidence": 0.7},
}


def now() -> datetime:
    """Return the current UTC time."""
    return datetime.now(UTC)


def in_memory(technique: str) -> float:
    """Return the milliseconds of a proposal that is asked for and told."""
    space = catalog.traits("boosted").space
    began = time.process_time()
    proposals = searches._proposer(technique, space, TRIALS, 1)  # noqa: SLF001 - what is measured
    done = 0
    while batch := proposals.ask():
        trials = [Trial(done + k, "", parameters, OUTCOME) for k, parameters in enumerate(batch, 1)]
        proposals.tell(trials)
        done += len(batch)
    return (time.process_time() - began) / done * 1e3


def one_sync(folder: Path) -> float:
    """Return the milliseconds of a durable write of one block."""
    times = []
    for _ in range(50):
        began = time.perf_counter()
        descriptor = os.open(folder / "block", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"x" * 4096)
        os.fsync(descriptor)
        os.close(descriptor)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2] * 1e3


def main() -> None:
    """Measure, print, and store."""
    found = {
        f"{technique}, in memory, ms": in_memory(technique) for technique in searches.TECHNIQUES
    }
    table = synthetic.generate("risk", 2000, seed=1, overlap=2.0).table
    plan = Plan("boosted", data=table, has_search=True, threads=1)
    prepared = prepare(plan, Run())
    searches._measured = lambda *_: dict(OUTCOME)  # noqa: SLF001 - training is left out
    with tempfile.TemporaryDirectory() as folder:
        store = GovernanceStore(Path(folder) / "store", now)
        store.check()
        settings = {"technique": "random_search", "iterations": TRIALS, "limits": Limits(0.1, 0.05)}
        for name in ("stored, ms", "resumed, s"):
            began = time.perf_counter()
            search(plan, prepared, store, **settings)
            took = time.perf_counter() - began
            found[name] = (
                took if name.endswith("s, s") or "resumed" in name else took / TRIALS * 1e3
            )
        found["one durable write, ms"] = one_sync(Path(folder))
    for name, value in found.items():
        print(f"{name:32} {value:.3f}")
    stamp = f"{now():%Y%m%dT%H%M%S}"
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"search-{stamp}.json").write_text(json.dumps({**machine, **found}, indent=1))


if __name__ == "__main__":
    main()
