"""The queue among many processes, some of which are killed: each slot once, and none stuck."""

import multiprocessing
import os
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from nethical.errors import NethicalError, UsageError
from nethical.governance.queue import ReviewQueue
from nethical.governance.reviews import Answer, Case, Source
from nethical.governance.store import GovernanceStore

PROCESSES = 8
KILLED = 0.1


def now():
    return datetime.now(UTC)


def later():
    return datetime.now(UTC) + timedelta(hours=1)


def opened(place, clock=now):
    return ReviewQueue(GovernanceStore(place, clock), clock)


def cases(n):
    return [
        Case(
            "risk", Source.AUDIT, "allow", 0.5, 1 + k % 4, (k % 10) / 10, f"row:{k:032x}", {"x": k}
        )
        for k in range(n)
    ]


def _review(place, name, seed, results, share):
    """Review until nothing is left; now and then die with a claim, or in the middle of writing."""
    rng = np.random.default_rng(seed)
    queue = opened(place)
    served, errors = [], []
    while True:
        try:
            claimed = queue.claim(name)
            if claimed is None:
                break
            if rng.random() < share:
                results.put((name, served, errors))
                results.close()
                results.join_thread()
                os.kill(os.getpid(), signal.SIGKILL)
            queue.submit(claimed.case.case_id, name, Answer("allow"))
            served.append(claimed.case.case_id)
        except NethicalError as error:
            errors.append(f"{type(error).__name__}: {error.what}")
            if not isinstance(error, UsageError):
                break
    results.put((name, served, errors))


def run_round(place, names, seed, share):
    """Let as many review at once as there are names; return what they served, and how they died."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [
        context.Process(target=_review, args=(place, name, seed + k, results, share))
        for k, name in enumerate(names)
    ]
    for child in children:
        child.start()
    told = [results.get(timeout=300) for _ in children]
    for child in children:
        child.join()
    return told, [child.exitcode for child in children]


def serve_all(place, n):
    """Let eight review all cases, with deaths, and those who died be started again."""
    opened(place).enter(cases(n))
    served, errors, deaths = Counter(), [], 0
    names = [f"p{number}" for number in range(PROCESSES)]
    for turn in range(1000):
        told, codes = run_round(place, names, 100 * turn, KILLED)
        for _, found, said in told:
            served.update(found)
            errors += said
        died = [name for name, code in zip(names, codes, strict=True) if code]
        deaths += len(died)
        if not died:
            return served, errors, deaths
        names = died
    raise AssertionError("they never came to an end")


def check_served(place, n, served, errors):
    assert errors == []
    exported = opened(place).store.export()
    assert len(exported["review_answer"]) == 2 * n
    assert {slot["state"] for slot in exported["review_slot"]} == {"submitted"}
    assert len({answer["slot_id"] for answer in exported["review_answer"]}) == 2 * n
    pairs = {}
    for slot in exported["review_slot"]:
        pairs.setdefault(slot["case_id"], []).append(slot["reviewer"])
    assert all(len(set(pair)) == 2 for pair in pairs.values())
    assert {row["state"] for row in exported["review_case"]} == {"closed"}
    assert set(served.values()) == {2}


@pytest.mark.parametrize("n", [75, pytest.param(300, marks=pytest.mark.slow)])
def test_eight_processes_of_which_some_are_killed_serve_each_slot_once(tmp_path, n):
    served, errors, deaths = serve_all(tmp_path, n)
    assert deaths > 2 * n * KILLED / 3
    check_served(tmp_path, n, served, errors)


def test_what_a_dead_process_claimed_is_free_when_its_lease_is_over(tmp_path):
    opened(tmp_path).enter(cases(8))
    names = [f"p{number}" for number in range(4)]
    _, codes = run_round(tmp_path, names, 0, 1.0)
    assert codes == [-signal.SIGKILL] * 4
    fresh = opened(tmp_path, later)
    for who in ("ada", "bob"):
        while claimed := fresh.claim(who):
            fresh.submit(claimed.case.case_id, who, Answer("block"))
    assert fresh.counts() == {"open": 0, "adjudicating": 0, "closed": 8}


def _die_at_any_time(place, name):
    queue = opened(place)
    while claimed := queue.claim(name):
        queue.submit(claimed.case.case_id, name, Answer("block"))


def test_a_kill_at_any_moment_leaves_a_store_that_holds(tmp_path):
    queue = opened(tmp_path)
    queue.enter(cases(60))
    rng = np.random.default_rng(2)
    context = multiprocessing.get_context("fork")
    for turn in range(12):
        child = context.Process(target=_die_at_any_time, args=(tmp_path, "ada"))
        child.start()
        child.join(rng.uniform(0.02, 0.3))
        child.kill()
        child.join()
        exported = queue.store.export()
        answers = Counter(answer["slot_id"] for answer in exported["review_answer"])
        submitted = [s["slot_id"] for s in exported["review_slot"] if s["state"] == "submitted"]
        assert set(answers.values()) <= {1}, turn
        assert sorted(answers) == sorted(submitted), turn
    _die_at_any_time(tmp_path, "ada")
    assert len(queue.store.export()["review_answer"]) == 60


def _adjudicate(place, name, case_id, gate, results):
    queue = opened(place)
    queue.counts()
    gate.wait()
    try:
        results.put(queue.adjudicate(case_id, name, Answer("block")).state)
    except UsageError:
        results.put("refused")


def test_of_eight_who_adjudicate_at_once_one_does(tmp_path):
    queue = opened(tmp_path)
    (one,) = cases(1)
    queue.enter([one])
    for who, word in (("ada", "allow"), ("bob", "block")):
        queue.answer(one.case_id, who, Answer(word))
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(PROCESSES), context.Queue()
    children = [
        context.Process(target=_adjudicate, args=(tmp_path, f"p{k}", one.case_id, gate, results))
        for k in range(PROCESSES)
    ]
    for child in children:
        child.start()
    told = Counter(results.get(timeout=60) for _ in children)
    for child in children:
        child.join()
    assert told == {"closed": 1, "refused": PROCESSES - 1}
    assert len(queue.store.export()["adjudication"]) == 1


def _enter(place, gate, results):
    queue = opened(place)
    gate.wait()
    results.put(sum(queue.enter(cases(20)).new.values()))


def test_eight_who_hand_in_the_same_cases_at_once_enter_them_once(tmp_path):
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(PROCESSES), context.Queue()
    children = [
        context.Process(target=_enter, args=(tmp_path, gate, results)) for _ in range(PROCESSES)
    ]
    for child in children:
        child.start()
    assert sorted(results.get(timeout=60) for _ in children) == [0] * (PROCESSES - 1) + [20]
    for child in children:
        child.join()
    assert len(opened(tmp_path).listed()) == 20
