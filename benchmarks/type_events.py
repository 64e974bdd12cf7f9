"""Measure ``correlation`` beside LightGBM on the classic features, and how features scale.

    python benchmarks/type_events.py [--shared ../shared] [--only fraud,growth]

``fraud`` is a month of simulated card payments (345,225 events). Whoever judges the last seven
days learns from rows whose labels were known by then: the training part ends seven days before.
Its last 22 % calibrate, for both models. The classic 15 features are those of Le Borgne et al.
2022 (amount, weekend, night, and over 1, 7 and 30 days the customer's payments and mean amount,
the terminal's payments and risk with labels seven days late). ``--week validation`` judges the
week before instead, on which the features were chosen. ``growth`` derives the columns of
synthetic logs, each in a fresh process, and of one log day by day with the state between.
Everything runs on one thread; seconds are CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nethical import calibrators
from nethical.data.event_columns import DAY, microseconds
from nethical.data.events import EventLog, EventState
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, normalise
from nethical.data.windows import Past, Timeline
from nethical.metrics.calibration import ece_debiased
from nethical.metrics.classification import average_precision, roc_auc
from nethical.models.base import Settings
from nethical.models.boosted import PARAMETERS
from nethical.models.correlation import RARE_POSITIVES, build
from nethical.run import silent
from nethical.threads import one_blas_thread

HERE = Path(__file__).resolve().parent
FRAUD = "events_fraud_2018-06-10_to_07-15.parquet"
NEVER_READ = ["TX_FRAUD_SCENARIO", "TRANSACTION_ID"]
ROLES = {
    "CUSTOMER_ID": Role.AGENT,
    "TERMINAL_ID": Role.RESOURCE,
    "TX_DATETIME": Role.TIME,
    "TX_AMOUNT": Role.AMOUNT,
}
WINDOWS = (1, 7, 30)
DELAY_DAYS = 7
JUDGED_DAYS = 7
CALIBRATE_SHARE = 0.22
SEEDS = (1, 2, 3)
ROUNDS = 100
SIZES = (345_225, 1_000_000, 3_000_000, 10_000_000)
NIGHT_ENDS = 6
SATURDAY = 5
AGENTS, RESOURCES = 50_000, 10_000


def classic(frame: pa.Table, y: np.ndarray) -> np.ndarray:
    """Return the classic 15 features, shape (n, 15); the customer's hold the payment itself."""
    time_us = frame.column("TX_DATETIME").cast(pa.int64()).to_numpy()
    amount = frame.column("TX_AMOUNT").to_numpy()
    everyone = np.ones(len(y), dtype=bool)
    timeline = Timeline(time_us)
    pasts = [
        Past(frame.column(name).to_numpy(), timeline, everyone, everyone)
        for name in ("CUSTOMER_ID", "TERMINAL_ID")
    ]
    weekend = (time_us // DAY + 3) % 7 >= SATURDAY
    found = [amount, weekend, time_us % DAY // (DAY // 24) <= NIGHT_ENDS]
    cents = np.rint(amount * 100).astype(np.int64)

    def put(past: Past, values: np.ndarray) -> None:
        column = np.empty(len(y))
        column[past.rows] = values
        found.append(column)

    customer, terminal = pasts
    paid, frauds = customer.sums(cents), terminal.sums(y)
    for days in WINDOWS:
        window = customer.window(microseconds(days))
        count = window.count + 1
        put(customer, count)
        put(customer, (paid.within(window) + cents[customer.rows]) / 100 / count)
        window = terminal.window(microseconds(days), delay=microseconds(DELAY_DAYS))
        put(terminal, window.count)
        put(terminal, frauds.within(window) / np.maximum(window.count, 1))
    return np.column_stack(found)


def fit_classic(X: np.ndarray, y: np.ndarray, parameters: dict, seed: int):  # noqa: ANN201
    """Return LightGBM fitted as ``boosted`` does: early stopping on a tenth of the rows."""
    import lightgbm

    held = np.random.default_rng(seed).permutation(len(y)) % 10 == 0
    train = lightgbm.Dataset(X[~held], y[~held])
    watched = [lightgbm.Dataset(X[held], y[held], reference=train)]
    stop = lightgbm.early_stopping(20, verbose=False)
    threads = {"num_threads": 1, "seed": seed, "verbosity": -1}
    return lightgbm.train(parameters | threads, train, ROUNDS, valid_sets=watched, callbacks=[stop])


def judged(y: np.ndarray, scores: np.ndarray, cal_y: np.ndarray, cal: np.ndarray) -> dict:
    """Return the figures of scores that are calibrated as the pipeline does."""
    y_proba = calibrators.fit(cal, cal_y).predict(scores)
    ranked = 1 / (1 + np.exp(-scores))  # before calibration, which ties ranks
    return {
        "average_precision": average_precision(y, ranked).estimate,
        "roc_auc": roc_auc(y, ranked).estimate,
        "ece_debiased": ece_debiased(y, y_proba).estimate,
    }


def fraud(shared: Path, *, week: str = "test") -> list[dict]:
    """Return the figures of each model on the judged week, means over seeds."""
    frame = normalise(pq.read_table(shared / "data" / FRAUD).drop(NEVER_READ))
    roles = infer(frame, RoleHints(ROLES | {"label": Role.LABEL}))
    y = frame.column("label").to_numpy().astype(np.int8)
    log = EventLog.of(roles, windows_days=WINDOWS, label_delay_days=DELAY_DAYS)
    began = time.process_time()
    derived, _ = log.derive(frame, y, EventState.empty())
    ours_s = time.process_time() - began
    table = LabelledTable(derived, log.derived_roles(roles), y)
    began = time.process_time()
    X = classic(frame, y)
    theirs_s = time.process_time() - began

    day = frame.column("TX_DATETIME").cast(pa.int64()).to_numpy() // DAY
    end = day.max() + 1 - (JUDGED_DAYS if week == "validation" else 0)
    learnt = np.flatnonzero(day < end - JUDGED_DAYS - DELAY_DAYS)
    cut = round(len(learnt) * (1 - CALIBRATE_SHARE))
    train, cal = learnt[:cut], learnt[cut:]
    gate = np.flatnonzero((day >= end - JUDGED_DAYS) & (day < end))
    rows = []
    for name, parameters in (
        (f"correlation, {len(log.names) + 1} features", None),
        ("LightGBM as correlation sets it, classic 15", PARAMETERS | RARE_POSITIVES),
        ("LightGBM as boosted sets it, classic 15", PARAMETERS),
        ("LightGBM defaults, classic 15", {"objective": "binary"}),
    ):
        figures = []
        for seed in SEEDS:
            began = time.process_time()
            if parameters is None:
                model = build(Settings(threads=1))
                model.fit(table.rows(train), rng=np.random.default_rng(seed), progress=silent)
                fit_s = time.process_time() - began
                scores, of_cal = model.score(table.take(gate)), model.score(table.take(cal))
            else:
                booster = fit_classic(X[train], y[train], parameters, seed)
                fit_s = time.process_time() - began
                scores = booster.predict(X[gate], raw_score=True, num_threads=1)
                of_cal = booster.predict(X[cal], raw_score=True, num_threads=1)
            figures.append(judged(y[gate], scores, y[cal], of_cal) | {"fit_cpu_s": fit_s})
        means = {key: float(np.mean([f[key] for f in figures])) for key in figures[0]}
        features_s = ours_s if parameters is None else theirs_s
        rows.append({"what": f"fraud, {week} week: {name}", **means, "features_cpu_s": features_s})
    return rows


def drawn(n: int, seed: int = 1) -> tuple[pa.Table, np.ndarray]:
    """Return a synthetic log of a year in order of time, and its labels."""
    rng = np.random.default_rng(seed)
    frame = pa.table(
        {
            "agent": rng.integers(AGENTS, size=n),
            "resource": rng.integers(RESOURCES, size=n),
            "time": pa.array(np.sort(rng.integers(365 * DAY, size=n)), pa.timestamp("us")),
            "amount": np.round(np.exp(rng.normal(3, 1, n)), 2),
        }
    )
    return frame, (rng.random(n) < 0.01).astype(np.int8)


def derive_one(n: int, pieces: int) -> dict:
    """Return what deriving the columns of a synthetic log costs, in this process."""
    frame, labels = drawn(n)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    log, state = EventLog("agent", "resource", "time", "amount"), EventState.empty()
    edges = np.linspace(0, n, pieces + 1).astype(int)
    began = time.process_time()
    for start, end in pairwise(edges):
        part = frame.slice(start, end - start)
        _, state = log.derive(part, labels[start:end], state)
    cpu_s = time.process_time() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "what": f"{len(log.names)} columns of {n:,} events" + f", {pieces} pieces" * (pieces > 1),
        "cpu_s": cpu_s,
        "us_per_event": cpu_s / n * 1e6,
        "peak_mb": peak_mb,
        "log_itself_mb": before_mb,
    }


def growth() -> list[dict]:
    """Return the costs of logs of growing size, each measured in a process of its own."""
    rows = []
    for n, pieces in [(n, 1) for n in SIZES] + [(1_000_000, 365)]:
        output = subprocess.run(
            [sys.executable, __file__, "--derive", str(n), str(pieces)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        rows.append(json.loads(output))
    return rows


def rows(shared: Path) -> list[dict]:
    """Return all figures."""
    with one_blas_thread():
        return [*fraud(shared), *growth()]


def main() -> None:
    """Print the figures, one line a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    parser.add_argument("--only", choices=("fraud", "growth"))
    parser.add_argument("--week", choices=("test", "validation"), default="test")
    parser.add_argument("--derive", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.derive:
        print(json.dumps(derive_one(*args.derive)))
        return
    with one_blas_thread():
        found = fraud(args.shared, week=args.week) if args.only != "growth" else []
    found += growth() if args.only != "fraud" else []
    for row in found:
        figures = ", ".join(f"{k} {v:.4g}" for k, v in row.items() if k != "what")
        print(f"{row['what']}: {figures}")


if __name__ == "__main__":
    main()
