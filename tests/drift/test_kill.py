"""Processes that add cohorts are killed at any moment: what they acknowledged is there, whole."""

import os
import random
import signal
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import Cohorts, NewRun

COHORTS = 50


def summary(seed):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 0.5, 200)
    return summarise(Scored(p, (rng.random(200) < p).astype(np.int8), 0.5))


def name_of(side, number):
    return f"{side}-{number:02d}"


def store_in(folder):
    return Cohorts(folder, lambda: datetime(2026, 1, 1, tzinfo=UTC))


def start(folder, side, remaining):
    """Fork a process that adds cohorts; it tells of each by a pipe, once it is added."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return SimpleNamespace(pid=child, pipe=read, side=side)
    try:
        os.close(read)
        store = store_in(folder)
        for number in remaining:
            name = name_of(side, number)
            cells = summary(number)
            store.add(name, NewRun(f"run {name}", side, side, "process", f"rows {name}", "", cells))
            os.write(write, f"{name}\n".encode())
        os._exit(0)
    finally:
        os._exit(1)


def end(writer, *, kill):
    """End a writer, by a kill or by waiting; return what it acknowledged, and whether it fell."""
    if kill:
        os.kill(writer.pid, signal.SIGKILL)
    with os.fdopen(writer.pipe) as pipe:
        told = pipe.read().split()
    _, status = os.waitpid(writer.pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return told, os.WIFSIGNALED(status)


def check(folder, acknowledged):
    """The store opens, has all that was acknowledged, and nothing in it is half there."""
    loaded = {cohort.cohort_id: cohort for cohort in store_in(folder).load()}
    assert acknowledged <= loaded.keys()
    for name, cohort in loaded.items():
        (run,) = cohort.runs
        assert run.run_id == f"run {name}"
        assert run.summary.to_bytes() == summary(int(name[2:])).to_bytes()
    return set(loaded)


def start_rest(folder, side, there):
    """Start a writer of what a side has not added yet."""
    return start(folder, side, [n for n in range(COHORTS) if name_of(side, n) not in there])


def kill_often(root, kills, seed):
    """Kill one of two writers again and again, each time starting it anew, up to the end."""
    rng, fallen, rounds, unacknowledged = random.Random(seed), 0, 0, 0
    while fallen < kills:
        folder = root / f"store{rounds}"
        rounds += 1
        acknowledged, there = set(), set()
        writers = {side: start_rest(folder, side, there) for side in "ab"}
        while writers:
            side, kill = rng.choice(sorted(writers)), fallen < kills
            time.sleep(rng.uniform(0.001, 0.06) if kill else 0)
            told, fell = end(writers.pop(side), kill=kill)
            fallen += fell
            acknowledged |= set(told)
            there = check(folder, acknowledged)
            own = {name for name in there if name[0] == side}
            unacknowledged += len(own - acknowledged)
            acknowledged |= own
            if len(own) < COHORTS:
                writers[side] = start_rest(folder, side, there)
        assert len(there) == 2 * COHORTS
    return fallen, rounds, unacknowledged


def test_five_kills_lose_no_cohort_that_was_acknowledged(tmp_path):
    fallen, _, _ = kill_often(tmp_path, 5, seed=1)
    assert fallen >= 5


@pytest.mark.slow
def test_fifty_kills_lose_no_cohort_that_was_acknowledged(tmp_path):
    fallen, stores, more = kill_often(tmp_path, 50, seed=os.getpid())
    print(f"{fallen} kills in {stores} stores; {more} cohorts whole though not acknowledged")
