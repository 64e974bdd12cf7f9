"""Measure the project against bare libraries, in the same run, on the same rows.

    python benchmarks/run.py [--rows 10000,100000,1000000] [--only overhead,predict,...]

Every measurement is a fresh process: CPU seconds (user and system, all threads) and peak
resident memory as the kernel counted them. The table goes to standard output, the figures to
benchmarks/results/*.json. Rows are generated with a known truth (``synthetic:risk``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARIES = "numpy, pyarrow.compute, pyarrow.parquet, scipy.special, cryptography"
SECTIONS = ("startup", "overhead", "row", "predict")


@dataclass(frozen=True)
class Cost:
    """What a process cost: CPU and wall seconds, peak resident memory in MB."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def measured(command: list[str], folder: Path, **variables: str) -> tuple[Cost, str]:
    """Run a command in a folder and return its cost and standard output."""
    environment = os.environ | {"NETHICAL_HOME": str(folder / "home")} | variables
    began = time.perf_counter()
    with (folder / "stdout").open("w+b") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}\n{text}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(cpu_s, time.perf_counter() - began, usage.ru_maxrss / 1024), text


def best(command: list[str], folder: Path, times: int, **variables: str) -> tuple[Cost, str]:
    """Return the cheapest of several runs, the one that other work disturbed least."""
    runs = []
    for _ in range(times):
        shutil.rmtree(folder / "models", ignore_errors=True)  # nothing to compare with
        runs.append(measured(command, folder, **variables))
    return min(runs, key=lambda run: run[0].cpu_s)


def nethical(*arguments: str) -> list[str]:
    """Return the command line of the project."""
    return [sys.executable, "-m", "nethical.cli.main", *arguments]


def bare(*arguments: str) -> list[str]:
    """Return the command line of the bare library."""
    return [sys.executable, str(HERE / "bare.py"), *arguments]


def startup(folder: Path) -> list[dict]:
    """Measure what a user waits for before anything is learnt."""
    rows = []
    for name, command in {
        "python -c pass": [sys.executable, "-c", "pass"],
        "the libraries of a heuristic run": [sys.executable, "-c", f"import {LIBRARIES}"],
        "--help": nethical("--help"),
        "train --help": nethical("train", "--help"),
        "heuristic, 1,000 rows": nethical(
            "train", "--model-type", "heuristic", "--num-samples", "1000"
        ),
        "logistic, 1,000 rows": nethical(
            "train", "--model-type", "logistic", "--num-samples", "1000"
        ),
        "boosted, 1,000 rows": nethical(
            "train", "--model-type", "boosted", "--num-samples", "1000"
        ),
    }.items():
        cost, _ = best(command, folder, 5)
        rows.append({"what": name, **asdict(cost)})
    return rows


def overhead(folder: Path, sizes: list[int]) -> list[dict]:
    """Measure the whole run beside read + fit + predict with the bare library."""
    rows = []
    for n in sizes:
        path = make_rows(folder, n, "csv")
        for kind in ("logistic", "boosted"):
            times = 3 if n <= 1_000_000 else 1
            ours, _ = best(
                nethical(
                    "train", "--model-type", kind, "--data", str(path), "--quiet", "--threads", "1"
                ),
                folder,
                times,
            )
            theirs, _ = best(bare("fit", kind, str(path)), folder, times, OMP_NUM_THREADS="1")
            rows.append(
                {
                    "what": f"{kind}, {n:,} rows",
                    "ours": asdict(ours),
                    "bare": asdict(theirs),
                    "cpu_ratio": ours.cpu_s / theirs.cpu_s,
                    "memory_ratio": ours.peak_mb / theirs.peak_mb,
                }
            )
        path.unlink()
    return rows


def row(folder: Path) -> list[dict]:
    """Measure one row through ``predict_row``, 20 numeric columns, and through bare libraries."""
    _, text = measured([sys.executable, str(HERE / "row.py")], folder, OMP_NUM_THREADS="1")
    return json.loads(text)


def predict(folder: Path, n: int) -> list[dict]:
    """Measure scoring of a Parquet folder."""
    train_on = make_rows(folder, 10_000, "parquet")
    kept = ("--models-dir", "kept")
    train = nethical("train", "--model-type", "logistic", "--data", str(train_on), *kept)
    measured(train, folder)
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    for i in range(10):
        make_rows(folder, n // 10, "parquet").rename(parts / f"part{i}.parquet")
    found = []
    for out in ("out.parquet", "out.csv"):
        command = nethical("predict", "logistic", str(parts), "-o", out, *kept)
        cost, _ = best(command, folder, 2)
        found.append(
            {
                "what": f"predict {n:,} rows to {out}",
                **asdict(cost),
                "rows_per_cpu_s": n / cost.cpu_s,
            }
        )
    return found


def make_rows(folder: Path, n: int, suffix: str) -> Path:
    """Write n generated rows."""
    path = folder / f"rows{n}.{suffix}"
    subprocess.run([sys.executable, str(HERE / "bare.py"), "make", str(n), str(path)], check=True)
    return path


def shown(section: str, rows: list[dict]) -> None:
    """Print a section's rows as a table."""
    print(f"\n{section}")
    for found in rows:
        print(f"  {found['what']:<40} {line(found)}")


def line(found: dict) -> str:
    """Return the figures of one row as text."""
    if "micros" in found:
        return f"{found['micros']:8.1f} us"
    if "ours" not in found:
        rate = f"   {found['rows_per_cpu_s']:,.0f} rows/CPU-s" if "rows_per_cpu_s" in found else ""
        return f"CPU {found['cpu_s']:7.3f} s   peak {found['peak_mb']:6.0f} MB{rate}"
    ours, theirs = found["ours"], found["bare"]
    return (
        f"CPU {ours['cpu_s']:8.2f} / {theirs['cpu_s']:8.2f} s = {found['cpu_ratio']:.2f}x   "
        f"memory {ours['peak_mb']:6.0f} / {theirs['peak_mb']:6.0f} MB"
        f" = {found['memory_ratio']:.2f}x"
    )


def main() -> None:
    """Run the sections that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="10000,100000,1000000", help="sizes for the overhead")
    parser.add_argument("--predict-rows", type=int, default=10_000_000)
    parser.add_argument("--only", default=",".join(SECTIONS))
    args = parser.parse_args()
    results = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    for section in args.only.split(","):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if section == "overhead":
                results[section] = overhead(folder, [int(n) for n in args.rows.split(",")])
            elif section == "predict":
                results[section] = predict(folder, args.predict_rows)
            else:
                results[section] = {"startup": startup, "row": row}[section](folder)
        shown(section, results[section])
    target = HERE / "results" / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten to {target}")


if __name__ == "__main__":
    main()
