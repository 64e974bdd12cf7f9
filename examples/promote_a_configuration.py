"""A configuration that is promoted on evidence: more recall, few false positives, people agree.

    python examples/promote_a_configuration.py

One row of eight is positive, so a model that blocks at .5 misses many; a search finds thresholds
and parameters that find more of them. People have reviewed 600 cases, each drawn with a known
probability. Everything is written to a temporary folder; the rows are synthetic, and the people
are, too: they decide as the rows are labelled, but for one case in fifty.
"""

# ruff: noqa: INP001, PLR2004, S603, T201 - a program that is started, with plain numbers, and prints

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nethical.data import synthetic

SEARCH = "--enable-phase89 --optimize-config --optimization-iterations 20".split()  # noqa: SIM905


def nethical(folder: Path, *words: str) -> str:
    """Run a command of nethical and return what it prints."""
    command = [sys.executable, "-m", "nethical.cli.main", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def main(folder: Path) -> None:
    """Write rows and reviewed cases, train, search, and be judged."""
    drawn = synthetic.generate("risk", 44_000, seed=3, prevalence_shift=-5.1, overlap=2.0)
    pq.write_table(drawn.table.slice(0, 43_000), folder / "actions.parquet")

    rng = np.random.default_rng(1)
    cases = drawn.table.slice(43_000)
    share = np.where(rng.random(1000) < 0.5, 0.9, 0.3)  # how likely each was to be reviewed
    reviewed = rng.random(1000) < share
    label = cases["label"].to_numpy()
    decided = np.where(rng.random(1000) < 0.02, 1 - label, label)
    cases = cases.drop_columns(["label"]).append_column("label", pa.array(decided))
    cases = cases.append_column("case_id", pa.array([f"case-{i}" for i in range(1000)]))
    cases = cases.append_column("inclusion_probability", pa.array(share))
    cases = cases.append_column("stratum", pa.array(np.where(share > 0.5, "often", "seldom")))
    pq.write_table(cases.filter(pa.array(reviewed)), folder / "reviewed.parquet")

    print(nethical(folder, "review", "import", "reviewed.parquet", "--name", "actions"))
    train = ("train", "--model-type", "logistic", "--data", "actions.parquet", "--name", "actions")
    print(nethical(folder, *train, *SEARCH))
    print(nethical(folder, "govern", "history"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
