"""How long the pages that tell of the audit log take over a large log: first, and from then on.

A log is filled with runs of ten facts each and an operation after every tenth run, a server is
started beside it, and each page is asked for by one who is alone: at first, again, again after an
entry was added, then one run and what was done beside them. Whatever is asked for later has to
take 50 ms at most, and all of it to leave the server with less than 100 MB more than it had.
Before the log was followed, /runs took 4.8 s at 100,000 entries, and the server grew by 261 MB.

    python benchmarks/pages_log.py --entries 100000
"""

import argparse
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from nethical.audit.folder import AuditFolder
from nethical.audit.log import Log
from nethical.keys import Keys
from pages import fill, resident_mb, sign_in, start

MOST_LATER_MS, MOST_GROWTH_MB = 50, 100
AGAIN = 20
AT_ONCE = 2560
PADDING = "sha256:" + "5feceb66ffc86f38d952786c6d696c79" * 2
KINDS = (
    *("training_start", "data_loaded", "data_split", "training_completed", "calibrated"),
    *("validation_metrics", "gate_decided", "model_saved", "published", "run_ended"),
)


def facts(number: int) -> list[dict[str, object]]:
    """Return the facts of a run, of about 365 bytes each, and of what came after it."""
    run_id = f"run_20260101T{number % 240_000:06d}Z_{number:06x}"
    at = f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000000Z"
    found: list[dict[str, object]] = [
        {
            "event_type": kind,
            "run_id": run_id,
            "timestamp": at,
            "model_type": "logistic",
            "verdict": "PASS",
            "outcome": "completed",
            "model_id": f"actions_20260101T000000Z_{number:06x}",
            "digest": PADDING,
            "metrics": {"ece": 0.0312345, "brier": 0.1211, "accuracy": 0.9125},
        }
        for kind in KINDS
    ]
    if number % 10 == 0:
        told = {"event_type": "operation", "command": "govern move", "by": "ada", "timestamp": at}
        begun = {**told, "arguments": {"reason": "better"}, "phase": "begun"}
        found.append(begun)
    return found


def fill_log(folder: Path, entries: int) -> Log:
    """Return a log of so many entries or a few more, in the place where a server looks for it."""
    audit = AuditFolder(folder / "training_audit_logs")
    audit.make()
    log = Log(audit.log_path, Keys(folder / "keys").log_key())
    waiting: list[dict[str, object]] = []
    number = size = 0
    while size < entries:
        waiting += facts(number)
        number += 1
        if len(waiting) >= AT_ONCE or size + len(waiting) >= entries:
            log.extend(waiting)
            size += len(waiting)
            waiting = []
    log.seal()
    return log


def asked_ms(url: str, path: str, cookie: str) -> float:
    """Return how long a page took, in milliseconds."""
    request = urllib.request.Request(url + path, headers={"Cookie": cookie})  # noqa: S310 - of the server that was just started
    begun = time.perf_counter()
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - likewise
        answer.read()
    return (time.perf_counter() - begun) * 1000


def main() -> int:
    """Measure, print, and return 1 where something asked for was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, 1)
        log = fill_log(folder, given.entries)
        server, url = start(folder)
        try:
            cookie = sign_in(url)
            asked_ms(url, "/review", cookie)
            before = resident_mb(server.pid)
            told = {"/runs first": [asked_ms(url, "/runs", cookie)]}
            told["/runs again"] = [asked_ms(url, "/runs", cookie) for _ in range(AGAIN)]
            grown = []
            for number in range(AGAIN):
                log.append({"event_type": "recovered", "bytes_dropped": number})
                log.seal()
                grown.append(asked_ms(url, "/runs", cookie))
            told["/runs after an entry"] = grown
            one = f"/runs/{facts(7)[0]['run_id']}"
            told["/runs/{run_id}"] = [asked_ms(url, one, cookie) for _ in range(AGAIN)]
            told["/api/v1/runs"] = [asked_ms(url, "/api/v1/runs", cookie) for _ in range(AGAIN)]
            told["/operations"] = [asked_ms(url, "/operations", cookie) for _ in range(AGAIN)]
            growth = resident_mb(server.pid) - before
        finally:
            server.kill()
            server.wait()
    print(f"a log of {len(log):,} entries")
    for what, taken in told.items():
        print(f"  {what}: {statistics.median(taken):.1f} ms, at most {max(taken):.1f} ms")
    print(f"  memory {before:.0f} MB, grown by {growth:.1f} MB")
    later = [statistics.median(taken) for what, taken in told.items() if what != "/runs first"]
    is_met = max(later) <= MOST_LATER_MS and growth < MOST_GROWTH_MB
    print("  met" if is_met else "  MISSED")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
