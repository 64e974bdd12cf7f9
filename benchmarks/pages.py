"""How many requests a second the queue page answers, how fast, and in how much memory.

A server is started over a store with cases; 32 connections ask for the queue page, each again as
soon as it has an answer. Asked are 300 requests a second or more, a 99th percentile of 250 ms at
most, no error, and less than 20 MB of growth; and for one who asks alone an answer in 20 ms. Client
and server share the machine's cores.

    python benchmarks/pages.py --seconds 60 --connections 32
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from nethical.governance.people import People
from nethical.governance.queue import ReviewQueue
from nethical.governance.reviews import Case, Source
from nethical.governance.store import GovernanceStore

PASSWORD = "a long password"  # noqa: S105 - of a store that is thrown away
ALONE_S, WARM_UP_S = 2.0, 3.0
LEAST_RATE, MOST_P99_MS, MOST_GROWTH_MB, MOST_ALONE_MS = 300, 250, 20, 20


def fill(folder: Path, cases: int) -> None:
    """Put a person and cases into a store."""
    store = GovernanceStore(folder / "training_governance_data", lambda: datetime.now(UTC))
    People(store).add("ada", "reviewer", PASSWORD)
    rows = (
        Case(
            "actions",
            Source.GRAY,
            "gray",
            1.0,
            3,
            0.5,
            f"row:{n:032x}",
            {"value": n},
            0.5,
            "review",
        )
        for n in range(cases)
    )
    ReviewQueue(store, lambda: datetime.now(UTC)).enter(rows)
    store.close()


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a server and return it with its address."""
    server = subprocess.Popen(
        [sys.executable, "-m", "nethical.cli.main", "serve", "--port", "0"],
        cwd=folder,
        env={**os.environ, "NETHICAL_HOME": str(folder / "keys")},
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in server.stdout or ():
        if " at http://" in line:
            return server, line.split(" at ")[1].split(" until")[0]
    raise SystemExit("the server did not start")


def sign_in(url: str) -> str:
    """Return the cookie of a session."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    opener = urllib.request.build_opener(Stay)
    page = opener.open(f"{url}/sign-in")
    token = re.search(r'name="csrf" value="([^"]*)"', page.read().decode())
    fields = {"name": "ada", "password": PASSWORD, "csrf": token[1] if token else ""}
    headers = {"Origin": url, "Cookie": page.headers["set-cookie"].split(";")[0]}
    asked = urllib.request.Request(  # noqa: S310 - of the server that was just started
        f"{url}/sign-in", urllib.parse.urlencode(fields).encode(), headers
    )
    try:
        opener.open(asked)
    except urllib.error.HTTPError as answer:
        found = [c for c in answer.headers.get_all("set-cookie") if c.startswith("nethical=")]
        return found[0].split(";")[0]
    raise SystemExit("nobody was signed in")


async def ask(host: str, port: int, request: bytes, until: float, taken: list[float]) -> int:
    """Ask again and again on one connection; return how many answers were no 200."""
    reader, writer = await asyncio.open_connection(host, port)
    errors = 0
    while time.perf_counter() < until:
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        taken.append(time.perf_counter() - begun)
        errors += not head.startswith(b"HTTP/1.1 200")
    writer.close()
    return errors


async def load(
    url: str, path: str, cookie: str, seconds: float, connections: int
) -> tuple[list[float], int]:
    """Return how long each answer took, in seconds, and how many were no 200."""
    host, port = url.removeprefix("http://").split(":")
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie}\r\n\r\n".encode()
    taken: list[float] = []
    until = time.perf_counter() + seconds
    errors = await asyncio.gather(
        *(ask(host, int(port), request, until, taken) for _ in range(connections))
    )
    return taken, sum(errors)


def resident_mb(pid: int) -> float:
    """Return how much memory a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main() -> int:
    """Measure, print, and return 1 where something asked for was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--path", default="/review")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, given.cases)
        server, url = start(folder)
        try:
            cookie = sign_in(url)
            alone, _ = asyncio.run(load(url, given.path, cookie, ALONE_S, 1))
            asyncio.run(load(url, given.path, cookie, WARM_UP_S, given.connections))
            before = resident_mb(server.pid)
            taken, errors = asyncio.run(
                load(url, given.path, cookie, given.seconds, given.connections)
            )
            growth = resident_mb(server.pid) - before
        finally:
            server.kill()
            server.wait()
    taken.sort()
    alone_ms = statistics.median(alone) * 1000
    rate = len(taken) / given.seconds
    p50, p99 = (taken[int(len(taken) * share)] * 1000 for share in (0.5, 0.99))
    print(
        f"{given.path}, {given.connections} connections, {given.seconds:g} s, {given.cases:,} cases"
    )
    print(f"  {rate:,.0f} requests/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms, {errors} errors")
    print(f"  one alone: p50 {alone_ms:.1f} ms")
    print(f"  memory {before:.0f} MB, grown by {growth:.1f} MB")
    is_met = rate >= LEAST_RATE and p99 <= MOST_P99_MS and growth < MOST_GROWTH_MB and not errors
    is_met = is_met and alone_ms <= MOST_ALONE_MS
    print("  met" if is_met else "  MISSED")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
