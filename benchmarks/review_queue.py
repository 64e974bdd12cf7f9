"""Measure the review queue against a bare claim loop on the same database.

    python benchmarks/review_queue.py [--slots 600] [--processes 8] [--rounds 7]

Both loops claim and answer every slot, each in two transactions that are on the disk when they
end; the bare one takes the slots in order and checks nothing. In each round both run in turn in
one new database, which of them first in turn too, and the ratio is the median of those of the
rounds: a disk of a shared machine is several times as fast at one minute as at another. The
table goes to standard output, the figures to benchmarks/results/*.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nethical.governance.queue import ReviewQueue

HERE = Path(__file__).resolve().parent
ASKED = 0.7
SETTINGS = (
    *("PRAGMA journal_mode = DELETE", "PRAGMA synchronous = EXTRA"),
    *("PRAGMA foreign_keys = ON", "PRAGMA secure_delete = ON"),
)
FREE = (
    "SELECT slot_id FROM review_slot s WHERE state='free' AND NOT EXISTS"
    " (SELECT 1 FROM review_slot o WHERE o.case_id=s.case_id AND o.reviewer=?) LIMIT 1"
)
TAKE = "UPDATE review_slot SET state='claimed', reviewer=?, lease_until='x' WHERE slot_id=?"
SUBMIT = "UPDATE review_slot SET state='submitted', submitted_at='x' WHERE slot_id=?"
ANSWER = (
    "INSERT INTO review_answer (slot_id, reviewer, decision, tags, rationale, at)"
    " VALUES (?, ?, 'allow', '[]', '', 'x')"
)


def now() -> datetime:
    """Return the current UTC time."""
    return datetime.now(UTC)


def queue_at(folder: Path) -> ReviewQueue:
    """Open the queue of a folder."""
    from nethical.governance.queue import ReviewQueue
    from nethical.governance.store import GovernanceStore

    return ReviewQueue(GovernanceStore(folder, now), now)


class WithQueue:
    """A reviewer who claims and answers by the queue."""

    def __init__(self, folder: Path, name: str) -> None:
        from nethical.governance.reviews import Answer

        self._queue, self._name, self._answer = queue_at(folder), name, Answer("allow")

    def serve(self) -> bool:
        """Answer one slot; False where none is left."""
        claimed = self._queue.claim(self._name)
        if claimed is not None:
            self._queue.submit(claimed.case.case_id, self._name, self._answer)
        return claimed is not None


class Bare:
    """Somebody who takes the next free slot by five statements, and checks nothing else."""

    def __init__(self, folder: Path, name: str) -> None:
        self._db = sqlite3.connect(folder / "governance.db", timeout=60, isolation_level=None)
        for setting in SETTINGS:
            self._db.execute(setting)
        self._name = name

    def serve(self) -> bool:
        """Answer one slot; False where none is left."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        row = db.execute(FREE, (self._name,)).fetchone()
        if row is None:
            db.execute("ROLLBACK")
            return False
        db.execute(TAKE, (self._name, row[0]))
        db.execute("COMMIT")
        db.execute("BEGIN IMMEDIATE")
        db.execute(SUBMIT, row)
        db.execute(ANSWER, (row[0], self._name))
        db.execute("COMMIT")
        return True


def _work(loop: type[WithQueue | Bare], folder: Path, name: str, gate: Any) -> None:  # noqa: ANN401 - a barrier
    reviewer = loop(folder, name)
    reviewer.serve()  # imports and first statements are not what is measured
    gate.wait()
    while reviewer.serve():
        pass


def slots_per_second(
    loop: type[WithQueue | Bare], folder: Path, first: int, slots: int, processes: int
) -> float:
    """Enter new cases and return how many slots a second many processes answer."""
    from nethical.governance.reviews import Case, Source

    queue = queue_at(folder)
    cases = [
        Case("risk", Source.AUDIT, "allow", 0.5, 1, 0, f"row:{first + k:032x}", {"x": k})
        for k in range((slots + processes) // 2)
    ]
    queue.enter(cases)
    gate = multiprocessing.Barrier(processes + 1)
    children = [
        multiprocessing.Process(target=_work, args=(loop, folder, f"p{k}", gate))
        for k in range(processes)
    ]
    for child in children:
        child.start()
    gate.wait()
    start = time.perf_counter()
    for child in children:
        child.join()
    took = time.perf_counter() - start
    with sqlite3.connect(folder / "governance.db") as db:
        (left,) = db.execute("SELECT count(*) FROM review_slot WHERE state<>'submitted'").fetchone()
        if left:
            raise SystemExit(f"{left} slots are not answered")
        db.execute("UPDATE review_case SET state='closed', closed_at='x'")
    return slots / took


def main() -> None:
    """Run both loops in turn and tell the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, default=600)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the database lies")
    args = parser.parse_args()
    rates: dict[str, list[float]] = {"queue": [], "bare": []}
    loops = (("bare", Bare), ("queue", WithQueue))
    for turn in range(args.rounds):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            for place, (name, loop) in enumerate(loops[:: -1 if turn % 2 else 1]):
                first = place * (args.slots + args.processes)
                rate = slots_per_second(loop, Path(folder), first, args.slots, args.processes)
                rates[name].append(rate)
                print(f"round {turn + 1}, {name}: {rate:.1f} slots/s")
    ratios = [ours / bare for ours, bare in zip(rates["queue"], rates["bare"], strict=True)]
    ratio = statistics.median(ratios)
    print(f"\n| loop | slots/s (median of {args.rounds}) |\n|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {statistics.median(found):.1f} |")
    spread = f"{min(ratios):.2f} to {max(ratios):.2f} in {args.rounds} rounds"
    print(f"| ratio | {ratio:.2f}, {spread} (asked: {ASKED}) |")
    document = {
        "slots": args.slots,
        "processes": args.processes,
        "slots_per_second": rates,
        "ratios": ratios,
        "ratio": ratio,
        "asked": ASKED,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "at": f"{now():%Y-%m-%dT%H:%M:%SZ}",
    }
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    text = json.dumps(document, indent=1) + "\n"
    (results / "review_queue.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
