"""Measure the audit log against the disk, against OpenSSL, and against pymerkle if it is there.

    python benchmarks/audit.py [--entries 1000000] [--runs 4000]
                               [--only append,group,events,verify,runs]

What is compared runs interleaved or one after the other in one process, on one disk, and is
told as a ratio: the disk of a shared machine is twice as fast at one minute as at another.
Memory is the peak of a process of its own. The table goes to standard output, the figures to
benchmarks/results/*.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from run import measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
SECTIONS = ("append", "group", "events", "verify", "runs")
GROUP = 256


def fact(i: int) -> dict[str, Any]:
    """Return a fact like those of runs, of about 365 bytes."""
    return {
        "event_type": "validation_metrics",
        "run_id": "run_20240501T120000Z_abcdef",
        "at": "2024-05-01T12:00:00.123456Z",
        "sequence": i,
        "metrics": {"ece": 0.0312345 + i * 1e-9, "brier": 0.1211 + i * 1e-9, "accuracy": 0.9125},
        "rows": 2000,
        "digest": "sha256:" + "5feceb66ffc86f38d952786c6d696c79" * 2,
        "notes": ["x" * 40],
    }


def new_log(path: Path, **options: int):  # noqa: ANN201 - the module is imported where it is used
    """Return a log signed by a fixed key."""
    from nethical.audit.log import Log

    return Log(path, fixed_key(), origin="nethical.local/benchmark", **options)


def append(folder: Path, n: int = 3000) -> dict[str, Any]:
    """Acknowledge one entry at a time, in turn with a bare append and fdatasync."""
    from nethical.audit.entries import encode_entry

    log = new_log(folder / "append", seal_every=1 << 30)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    descriptor = os.open(folder / "bare", flags, 0o644)
    content = encode_entry(fact(0)) + bytes(44)
    ours, bare, others = [], [], []
    tree = pymerkle_tree(folder)
    for i in range(n):
        document = fact(i)
        began = time.perf_counter()
        log.append(document)
        between = time.perf_counter()
        os.write(descriptor, content)
        os.fdatasync(descriptor)
        after = time.perf_counter()
        ours.append(between - began)
        bare.append(after - between)
        if tree and i < n // 3:
            tree.append_entry(content)
            others.append(time.perf_counter() - after)
    os.close(descriptor)
    return {
        "ours_per_s": n / sum(ours),
        "bare_per_s": n / sum(bare),
        "ratio": sum(bare) / sum(ours),
        "ratio_of_medians": statistics.median(bare) / statistics.median(ours),
        "pymerkle_per_s": len(others) / sum(others) if others else None,
        "ratio_to_pymerkle": sum(others) / len(others) / (sum(ours) / n) if others else None,
    }


def pymerkle_tree(folder: Path):  # noqa: ANN201 - a class of an optional package
    """Return pymerkle's tree in SQLite, None when it is not installed."""
    try:
        from pymerkle import SqliteTree
    except ImportError:
        return None
    return SqliteTree(str(folder / "pymerkle.db"))


def group(folder: Path, n: int = 51_200) -> dict[str, Any]:
    """Acknowledge 256 entries at a time: alone, with the seals, and without waiting for a disk."""
    found: dict[str, Any] = {}
    documents = [fact(i) for i in range(n)]
    gc.freeze()  # so many documents at once are the benchmark's, not the log's
    for name, path, seal_every in (
        ("acknowledged", folder, 1 << 30),
        ("acknowledged and sealed each 256", folder, GROUP),
        ("acknowledged and sealed each 4096", folder, 4096),
        ("acknowledged, in memory", Path("/dev/shm"), 1 << 30),  # noqa: S108 - a disk of memory
        ("acknowledged and sealed, in memory", Path("/dev/shm"), GROUP),  # noqa: S108 - the same
    ):
        with tempfile.TemporaryDirectory(dir=path) as place:
            log = new_log(Path(place) / "log", seal_every=seal_every)
            began, cpu = time.perf_counter(), time.process_time()
            for at in range(0, n, GROUP):
                log.extend(documents[at : at + GROUP])
                if seal_every > n and at % 10_240 == 0:
                    log.seal()  # the journal has a largest size
            found[name] = {
                "facts_per_s": n / (time.perf_counter() - began),
                "facts_per_cpu_s": n / (time.process_time() - cpu),
            }
    return found


def events(folder: Path, runs: int = 100) -> dict[str, Any]:
    """Log a run of six events as the pipeline does: seal at the start, before the bundle, last."""
    log = new_log(folder / "events")
    began, cpu = time.perf_counter(), time.process_time()
    for i in range(runs):
        for event in range(6):
            log.append(fact(i * 6 + event))
            if event in (0, 4, 5):
                log.seal()
    return {
        "cpu_ms_per_run": (time.process_time() - cpu) / runs * 1000,
        "wall_ms_per_run": (time.perf_counter() - began) / runs * 1000,
    }


def verify(folder: Path, n: int) -> dict[str, Any]:
    """Append and examine a large log, each in a process of its own, and prove entries of it."""
    found: dict[str, Any] = {"entries": n}
    path = folder / "large"
    _, text = child(folder, "build", str(path), str(n))
    found["append_peak_mb"] = json.loads(text)["peak_mb"]
    limit = openssl_seconds(366, n) + openssl_seconds(65, n)
    for name, contents in (("hashes", "no"), ("hashes and contents", "yes")):
        costs = [child(folder, "examine", str(path), contents) for _ in range(3)]
        times = [json.loads(text) for _, text in costs]
        seconds = min(each["seconds"] for each in times)
        found[name] = {
            "entries_per_s": n / seconds,
            "entries_per_cpu_s": n / min(each["cpu_seconds"] for each in times),
            "of_openssl": limit / seconds,
            "peak_mb": max(each["peak_mb"] for each in times),
        }
    _, text = child(folder, "prove", str(path), str(n))
    return found | json.loads(text)


def runs(folder: Path, n: int) -> dict[str, Any]:
    """Log whole runs as the pipeline does, and do what ``nethical audit verify`` does."""
    path = folder / "audit"
    _, text = child(folder, "build_runs", str(path), str(n))
    found: dict[str, Any] = json.loads(text)
    costs = [child(folder, "verify_runs", str(path)) for _ in range(3)]
    times = [json.loads(text) for _, text in costs]
    return found | min(times, key=lambda each: each["verify_cpu_s"])


def child(folder: Path, *arguments: str):  # noqa: ANN201 - what `measured` returns
    """Run a part of this file in a process of its own."""
    return measured([sys.executable, __file__, *arguments], folder)


def openssl_seconds(size: int, count: int) -> float:
    """Return how long OpenSSL itself takes to hash so many messages of a size."""
    command = ["openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", str(size)]
    done = subprocess.run([*command, "-evp", "sha256"], capture_output=True, text=True, check=True)
    told = re.search(r"(\d+) \w+ ops in ([\d.]+)s|(\d+) sha256's in ([\d.]+)s", done.stderr)
    if not told:
        raise SystemExit(f"openssl speed said:\n{done.stderr}")
    operations, seconds = [each for each in told.groups() if each]
    return count * float(seconds) / int(operations)


def peak_mb() -> float:
    """Return the most memory that this process had; the kernel counts it from its own start."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def build(path: str, n: str) -> None:
    """Append n entries."""
    log = new_log(Path(path), seal_every=1 << 14)
    log.extend(fact(i) for i in range(int(n)))
    log.seal()
    print(json.dumps({"peak_mb": peak_mb()}))


class Kept:
    """Keeps the facts of a run, and None where it was sealed, to tell them again."""

    def __init__(self) -> None:
        self.facts: list[Any] = []

    def record(self, fact: object, **_when: object) -> None:
        """Keep a fact."""
        self.facts.append(fact)

    def seal(self) -> None:
        """Keep that it was sealed."""
        self.facts.append(None)


def build_runs(path: str, n: str) -> None:
    """Train once, and log n runs that have the facts of that one."""
    from datetime import UTC, datetime

    from nethical import Plan, train
    from nethical.audit.sink import AuditSink
    from nethical.keys import Keys, default_home
    from nethical.registry import Registry
    from nethical.run import Run

    kept, keys = Kept(), Keys(default_home())
    registry = Registry(Path("models"), keys, lambda: datetime.now(UTC))
    train(Plan("logistic", data="sklearn:breast_cancer"), run=Run([kept]), registry=registry)
    cpu, piece = [], max(1, int(n) // 20)
    for _ in range(int(n)):
        began = time.process_time()
        with AuditSink(Path(path), keys) as sink:
            run = Run([sink])
            for each in kept.facts:
                if each is None:
                    run.seal()
                else:
                    run.record(each)
        cpu.append(time.process_time() - began)
    found = {
        "entries_per_run": len([each for each in kept.facts if each]) + 1,
        "first_cpu_ms_per_run": statistics.median(cpu[:piece]) * 1000,
        "last_cpu_ms_per_run": statistics.median(cpu[-piece:]) * 1000,
    }
    print(json.dumps(found))


def verify_runs(path: str) -> None:
    """Verify an audit folder, and tell how long it took."""
    from nethical.audit.verification import believed, verify
    from nethical.keys import Keys, default_home

    began = time.process_time()
    found = verify(Path(path), believed(Path(path) / "log", Keys(default_home()), ()))
    took = time.process_time() - began
    found.examined.check()
    size = found.examined.checkpoint.tree_size
    told = {
        "entries": size,
        "checkpoints": found.examined.checkpoints,
        "verify_cpu_s": took,
        "entries_per_cpu_s": size / took,
        "peak_mb": peak_mb(),
    }
    print(json.dumps(told))


def examine_once(path: str, contents: str) -> None:
    """Examine a log, and tell how long it took."""
    from nethical.audit.examine import examine
    from nethical.audit.notes import VerifierKey

    origin = (Path(path) / "checkpoint").read_text(encoding="utf-8").split("\n")[0]
    key = VerifierKey.of(origin, fixed_key())
    began, cpu = time.perf_counter(), time.process_time()
    examine(Path(path), key, contents=contents == "yes").check()
    took = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps(took | {"peak_mb": peak_mb()}))


def fixed_key():  # noqa: ANN201 - the library is imported where it is used
    """Return the key of the benchmark's logs."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(bytes(32))


def prove(path: str, n: str) -> None:
    """Prove entries from all over a log, by readers just opened and by one that was not."""
    from nethical.audit.merkle import leaf_hash, verify_inclusion
    from nethical.audit.reading import LogReader

    indices = [i * 7_919_993 % int(n) for i in range(1000)]

    def timed(do: Callable[[int], object], some: list[int]) -> float:
        def each() -> Iterator[float]:
            for index in some:
                began = time.perf_counter()
                do(index)
                yield time.perf_counter() - began

        return statistics.median(each()) * 1000

    warm = LogReader(Path(path))
    proofs = {index: warm.inclusion_proof(index) for index in indices}
    leaves = {index: leaf_hash(warm.entry(index)) for index in indices}
    root = warm.checkpoint.root_hash

    def check(index: int) -> None:
        verify_inclusion(leaves[index], index, warm.tree_size, proofs[index], root)

    cold_ms = timed(lambda index: LogReader(Path(path)).inclusion_proof(index), indices[:200])
    found = {
        "proof_cold_ms": cold_ms,
        "proof_warm_ms": timed(warm.inclusion_proof, indices),
        "receipt_ms": timed(warm.receipt, indices[:200]),
        "check_per_s": 1000 / timed(check, indices),
    }
    print(json.dumps(found))


def shown(section: str, found: dict[str, Any], indent: str = "  ") -> None:
    """Print a section's figures."""
    print(f"{indent[2:]}{section}")
    for name, value in found.items():
        if isinstance(value, dict):
            shown(name, value, indent + "  ")
        else:
            print(f"{indent}{name:<28} {value if value is None else f'{value:,.3f}'}")


def main() -> None:
    """Run the sections that were asked for."""
    parts = {"build": build, "examine": examine_once, "prove": prove}
    parts |= {"build_runs": build_runs, "verify_runs": verify_runs}
    if len(sys.argv) > 1 and sys.argv[1] in parts:
        parts[sys.argv[1]](*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--folder", default=None, help="where to write: the disk to measure")
    args = parser.parse_args()
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    for section in args.only.split(","):
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            if section == "verify":
                results[section] = verify(folder, args.entries)
            elif section == "runs":
                results[section] = runs(folder, args.runs)
            else:
                results[section] = {"append": append, "group": group, "events": events}[section](
                    folder
                )
        shown(section, results[section])
    target = HERE / "results" / f"audit-{time.strftime('%Y%m%dT%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten to {target}")


if __name__ == "__main__":
    main()
