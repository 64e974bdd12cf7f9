"""The error rates of promotion: benchmarks/promotion_errors.py in short, with wide bounds."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "promotion_errors.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("promotion_errors", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # which its dataclasses look up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def measured(bench, section, seed, scale):
    """The figures of a section, by case, event and n."""
    found = bench.SECTIONS[section](np.random.default_rng(seed), scale)
    return {(one.case, one.event, one.n): one.value for one in found}


@pytest.mark.parametrize("gain", [0.0, 0.05, -0.01])
def test_simulated_sides_have_the_rates_and_the_correlation_that_are_told(bench, gain):
    pairing = bench.Pairing.of(0.85, gain)
    rng = np.random.default_rng(1)
    n = 200_000
    baseline = rng.random(n) < 0.85
    candidate = rng.random(n) < np.where(baseline, pairing.where_hit, pairing.where_missed)
    assert candidate.mean() == pytest.approx(0.85 + gain, abs=0.004)
    assert np.corrcoef(baseline, candidate)[0, 1] == pytest.approx(0.6, abs=0.01)
    counts = bench.Counts.draw(rng, 500, 425, pairing, 20)
    for which in (0, 19):
        a, b = counts.calls(which)
        assert (a.sum(), (b.mean() - a.mean())) == (425, pytest.approx(counts.gains()[which]))


def test_the_gate_seldom_promotes_what_is_no_better_and_the_naive_rule_nearly_always(bench):
    found = measured(bench, "null", 2, 0.03)
    gated = [share for (_, event, _), share in found.items() if event == "promoted, gate"]
    naive = [share for (_, event, _), share in found.items() if event != "promoted, gate"]
    assert len(gated) == len(naive) == 4
    assert max(gated) <= 0.12
    assert np.mean(gated) <= 0.06
    assert min(naive) >= 0.6


def test_what_is_worse_is_refused_and_what_is_better_passes_with_enough_rows(bench):
    found = measured(bench, "power", 3, 0.05)
    event = "promoted, first attempt"
    assert max(found["recall truly .01 worse", event, n] for n in (100, 400, 2000)) <= 0.02
    assert found["recall truly .05 better", event, 2000] >= 0.93
    assert found["recall truly .05 better", event, 100] < 0.4


def test_sessions_in_which_nothing_changed_are_no_proof(bench):
    found = measured(bench, "sessions", 4, 0.1)
    assert len(found) == 6
    assert max(found.values()) <= 0.08


def test_the_gray_zone_keeps_both_limits_where_the_plug_in_rule_breaks_them(bench):
    found = measured(bench, "gray", 5, 0.08)
    for event in ("misses > 5 %", "false blocks > 5 %"):
        for n in (300, 1000, 5000, 20_000):
            assert found["gray zone", event, n] <= 0.13
            assert found["plug-in rule", event, n] >= 0.3
    price = {
        n: found["gray zone", "reviewed", n] - found["plug-in rule", "reviewed", n]
        for n in (300, 20_000)
    }
    assert price[300] > 0.1
    assert 0 < price[20_000] < 0.04


def test_a_model_is_never_slower_than_itself_on_a_busy_machine(bench):
    found = measured(bench, "latency", 6, 0.03)
    for name in ("against itself, all cores busy", "the same, a row as a table"):
        assert found[name, "FAIL", 200] == 0
        assert found[name, "p50 beyond the floor", 200] <= 0.5
        assert found[name, "floor", 200] < 2.5
    assert found["against itself, all cores busy", "PASS", 200] == 1


def test_prefix_sums_count_many_configurations_a_second(bench):
    found = measured(bench, "speed", 7, 0.3)
    assert found["prefix sums", "configurations", 100_000] >= 200_000


def test_agreement_is_unbiased_and_its_bound_holds_with_an_audit_beside_the_gray_cases(bench):
    found = measured(bench, "agreement", 8, 0.15)
    bias = [value for (_, event, n), value in found.items() if event == "bias" and n != 200]
    held = [value for (_, event, _), value in found.items() if event == "lower bound holds"]
    assert len(bias) == len(held) == 6
    assert np.abs(bias).max() < 0.02
    assert min(held) >= 0.9
    assert np.mean(held) >= 0.94
    assert found["gray cases only", "bias", 200] < -0.14
