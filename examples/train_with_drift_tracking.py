"""Three questions about drift, each answered from real cohorts.

    python examples/train_with_drift_tracking.py

1. Two models on the same rows: is one better than the other?
2. One model on two periods: did something change between them?
3. Groups of one period: does the model treat them alike?

Everything is written to a temporary folder. The rows are synthetic, with a truth that is fixed
before any model is seen; those of autumn are harder to tell apart.
"""

# ruff: noqa: INP001, S603, T201 - a program that is started, starts what it names, and prints

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from nethical.data import synthetic

ROOT = Path(__file__).resolve().parent.parent


def nethical(folder: Path, *words: str) -> str:
    """Run a command of nethical and return what it prints."""
    command = [sys.executable, "-m", "nethical.cli.main", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def main(folder: Path) -> None:
    """Train, score, compare, and say what came out."""
    for name, seed, overlap in (("spring", 1, 1.0), ("summer", 2, 1.0), ("autumn", 3, 3.0)):
        table = synthetic.generate("mixed", 6_000, seed=seed, groups=0, overlap=overlap).table
        pq.write_table(table, folder / f"{name}.parquet")

    track = ("--enable-drift-tracking", "--data", "spring.parquet")
    for model_type in ("heuristic", "logistic"):
        nethical(folder, "train", "--model-type", model_type, *track, "--cohort-id", model_type)
    tell(folder, "two models, same rows", "heuristic", "logistic")

    for period in ("summer", "autumn"):
        scored = f"{period}_scored.parquet"
        keep = [word for name in ("label", "channel", "time") for word in ("--keep", name)]
        nethical(folder, "predict", "logistic", f"{period}.parquet", "-o", scored, *keep)
        told = ("--fairness-column", "channel", "--time-column", "time", "--model", "logistic")
        nethical(folder, "drift", "add", scored, "--cohort", period, *told)
    tell(folder, "one model, two periods", "summer", "autumn")
    print(nethical(folder, "drift", "report", "summer", "autumn"))


def tell(folder: Path, question: str, reference: str, cohort: str) -> None:
    """Print the verdict on two cohorts."""
    found = json.loads(nethical(folder, "drift", "compare", reference, cohort, "--json"))
    print(f"{question}: {found['verdict']} ({found['kind']})\n  {found['message']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
