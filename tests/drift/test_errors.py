"""The error rates of reports: a short form of benchmarks/drift_errors.py, with wide bounds."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "drift_errors.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("drift_errors", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # which its dataclasses look up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def measured(bench, section, seed, scale):
    """The shares of a section, by case, event and rows."""
    found = bench.SECTIONS[section](np.random.default_rng(seed), scale)
    return {(one.case, one.event, one.n): one for one in found}


def test_nothing_is_called_drift_where_nothing_changed(bench, monkeypatch):
    monkeypatch.setattr(bench, "SIZES", (100, 500, 2000))
    found = measured(bench, "null", 1, 0.03)
    for n in bench.SIZES:
        p_found = found["nothing", "any adjusted p < .01", n]
        assert p_found.reports == 150
        assert p_found.share <= 0.03
        assert found["nothing", "drift", n].share <= 0.01


def test_harm_is_found_and_what_is_harmless_is_not_called_drift(bench):
    found = measured(bench, "power", 2, 0.05)
    for (case, event, n), one in found.items():
        if event == "drift":
            if "harmless" in case:
                assert one.share == 0.0, case
            elif "over-confident" in case:
                assert one.share >= 0.5, case
            else:
                assert one.share >= (0.75 if n == 1000 else 0.95), case
        elif "harmless" not in case:
            assert one.share >= 0.9, case


def test_clustered_rows_are_not_taken_for_independent_ones(bench):
    found = measured(bench, "clusters", 3, 0.04)
    p_found = "any adjusted p < .01"
    for n in (600, 2000, 10_000):
        assert found["clusters given", p_found, n].share <= 0.05
        assert found["clusters given", "drift", n].share <= 0.02
    naive = [found["clusters not given", p_found, n].share for n in (600, 2000, 10_000)]
    assert np.mean(naive) > 0.04


def test_a_year_of_weekly_looks_is_seldom_a_false_alarm(bench):
    found = measured(bench, "weekly", 4, 0.01)
    assert found["52 weeks", "drift", 1000].share <= 0.07
    assert found["52 weeks", "any adjusted p below its alpha", 1000].share <= 0.1


def test_groups_that_are_alike_raise_no_alarm_and_one_that_is_not_does(bench):
    found = measured(bench, "fairness", 5, 0.06)
    for n in (500, 2000, 20_000):
        assert found["groups alike", "any alarm", n].share <= 0.04
    assert found["a group's recall 30 % lower", "alarm of that group", 20_000].share >= 0.95


def test_two_trainings_of_one_process_are_not_called_drift(bench, monkeypatch):
    monkeypatch.setattr(bench, "worse", lambda *_: [True])
    found = measured(bench, "retrain", 6, 0.015)
    for rows in ("the same rows", "own rows"):
        assert found[f"3 and 3 seeds, {rows}", "drift", 5000].share <= 0.1
    assert found["1 and 1 seed", "drift", 5000].share == 0.0
    assert found["1 and 1 seed", "any adjusted p < .01", 5000].share >= 0.3


def test_the_interval_of_the_calibration_error_holds_it(bench):
    found = measured(bench, "ece", 7, 0.03)
    assert len(found) == 36
    shares = [one.share for one in found.values()]
    assert 0.92 <= np.mean(shares) <= 0.98
    assert min(shares) >= 0.7
