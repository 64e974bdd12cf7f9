"""Latency is compared call by call in random order, and the clock is told from the model."""

import time

import numpy as np
import pytest

from nethical.governance.latency import CALLS, WARM_UP, compare_latency

ROWS = [{"x": float(k)} for k in range(30)]


class Machine:
    """A machine whose clock is advanced by what it runs, with noise of its own."""

    def __init__(self, *, noise=0.0, drift=0.0):
        self.now = 0
        self.rng = np.random.default_rng(1)
        self.noise, self.drift = noise, drift
        self.order = []

    def model(self, name, micros, *, per_row=0.0, tail=0.0):
        def score(row):
            self.order.append((name, row["x"]))
            spent = micros + per_row * row["x"] + self.drift * len(self.order)
            spent += self.noise * self.rng.exponential()
            spent += tail * (self.rng.random() < 0.1)
            self.now += int(1000 * spent)
            return 0.5

        return score

    def clock(self):
        return self.now


def compared(machine, baseline, candidate, seed=2):
    rng = np.random.default_rng(seed)
    return compare_latency(baseline, candidate, ROWS, rng=rng, clock=machine.clock)


def test_what_a_model_takes_longer_is_found_at_median_and_tail():
    machine = Machine(noise=20.0)
    slower = machine.model("b", 900.0, tail=3000.0)
    found = compared(machine, machine.model("a", 300.0), slower)
    assert found.p50.low <= 0.6 <= found.p50.high
    assert found.p50.estimate == pytest.approx(0.6, abs=0.02)
    assert found.p95.estimate > 2.5
    assert found.baseline_ms == pytest.approx(0.314, abs=0.01)
    assert found.candidate_ms == pytest.approx(0.914, abs=0.02)
    assert found.floor_ms < 0.1


def test_what_rows_cost_cancels_out():
    machine = Machine()
    found = compared(
        machine, machine.model("a", 100.0, per_row=50.0), machine.model("b", 130.0, per_row=50.0)
    )
    assert found.p50.estimate == pytest.approx(0.03, abs=1e-9)
    assert found.p50.low == pytest.approx(found.p50.high, abs=1e-9)
    assert found.floor_ms == 0.0


def test_a_machine_that_slows_down_slows_both_models_alike():
    machine = Machine(drift=2.0)
    found = compared(machine, machine.model("a", 100.0), machine.model("b", 100.0))
    assert abs(found.p50.estimate) <= found.floor_ms
    assert found.floor_ms < 0.2 * found.baseline_ms


def test_each_call_of_the_candidate_stands_beside_two_of_the_baseline_on_the_same_row():
    machine = Machine()
    found = compared(machine, machine.model("a", 1.0), machine.model("b", 1.0))
    assert found.calls == CALLS
    measured = machine.order[3 * WARM_UP :]
    assert len(measured) == 3 * CALLS
    turns = [measured[k : k + 3] for k in range(0, len(measured), 3)]
    assert all(sorted(name for name, _ in turn) == ["a", "a", "b"] for turn in turns)
    assert all(len({x for _, x in turn}) == 1 for turn in turns)
    assert len({turn[0][1] for turn in turns}) > 20
    places = {[name for name, _ in turn].index("b") for turn in turns}
    assert places == {0, 1, 2}


def test_models_are_warm_before_they_are_timed():
    machine = Machine()
    plain = machine.model("a", 10.0)
    calls = []

    def cold(row):
        calls.append(row)
        machine.now += 50_000_000 if len(calls) <= WARM_UP else 0
        return plain(row)

    found = compared(machine, plain, cold)
    assert found.p95.estimate == 0.0


def test_the_same_generator_compares_the_same_rows():
    first, second = Machine(noise=5.0), Machine(noise=5.0)
    found = [compared(m, m.model("a", 10.0), m.model("b", 12.0), seed=7) for m in (first, second)]
    assert found[0] == found[1]
    assert first.order == second.order


def test_unless_another_one_is_handed_in_the_clock_is_the_cpu_time_of_this_thread():
    def score(row):
        return sum(row["x"] * k for k in range(200))

    begun = time.thread_time_ns()
    found = compare_latency(score, score, ROWS, rng=np.random.default_rng(3))
    spent_ms = (time.thread_time_ns() - begun) / 1e6
    assert 0 < (found.baseline_ms + found.candidate_ms) * CALLS / 2 < spent_ms
    assert found.p50.low <= found.p50.estimate <= found.p50.high
