"""One door to production: many who promote at once, and those who die while they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from nethical.governance.governing import Governance, configuration_of
from nethical.governance.store import GovernanceStore, in_production
from nethical.keys import Keys
from nethical.pipeline import train
from nethical.plan import Plan
from nethical.registry import Registry
from nethical.run import Run

CANDIDATES = 8


def now():
    return datetime.now(UTC)


class Place:
    """A registry with one model in production, and candidates that all passed against it."""

    def __init__(self, folder):
        self.folder = folder
        self.keys = Keys(folder / "keys")
        self.registry = Registry(folder / "models", self.keys, now)
        self.store = GovernanceStore(folder / "training_governance_data", now)
        self.governance = Governance(self.store, self.registry, Run())
        self.base = self.train(seed=1)
        self.configs = [self.candidate(number) for number in range(CANDIDATES)]

    def train(self, **settings):
        plan = Plan(
            "heuristic",
            data="synthetic:risk",
            num_samples=1200,
            threads=1,
            models_dir=str(self.folder / "models"),
            name="actions",
            **settings,
        )
        return train(plan, registry=self.registry)

    def candidate(self, number):
        outcome = self.train(parameters={"penalty": 1.0 + number}, as_candidate=True)
        self.governance.record(outcome)
        return configuration_of(
            self.registry.verify(outcome.published.model_id)
        ).configuration_id, outcome.published.model_id

    def pass_all(self, baseline):
        """Keep a report that each candidate passed against what is in production."""
        for config, model_id in self.configs:
            self.store.record_report(
                {
                    "candidate": config,
                    "baseline": config,
                    "candidate_model": model_id,
                    "baseline_model": baseline,
                    "name": "actions",
                    "gate_digest": "sha256:" + "0" * 64,
                    "k": 1,
                    "alpha": 0.03,
                    "policy": {},
                    "criteria": [],
                    "verdict": "PASS",
                    "waiver": None,
                    "actor": "test",
                }
            )

    def start(self, *words):
        return subprocess.Popen(
            [sys.executable, "-m", "nethical.cli.main", *words],
            cwd=self.folder,
            env={**os.environ, "NETHICAL_HOME": str(self.folder / "keys")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def check_agreement(self):
        """Store and registry tell the same, and the chain of moves is unbroken."""
        self.governance.production.reconcile("actions")
        current = self.registry.current("actions").name
        events = self.store.events("actions")
        assert in_production(events).model_id == current
        numbers = [event.number for event in events]
        assert [event.previous for event in events] == [0, *numbers[:-1]]
        installed = [e.model_id for e in events if e.to_status == "production"]
        promoted = [e["model_id"] for e in self.registry.history("actions")]
        assert set(installed) <= set(promoted)
        return current


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_of_eight_who_promote_at_once_one_is_let_in_and_the_stale_are_refused(place):
    base = place.registry.current("actions").name
    place.pass_all(base)
    promoting = [
        place.start("govern", "promote", config, "--models-dir", "models")
        for config, _ in place.configs
    ]
    passing = place.start(
        *("train --model-type heuristic --num-samples 1200 --seed 9 --name actions").split()
    )
    ended = [(process.communicate()[0], process.returncode) for process in promoting]
    assert passing.wait() == 0, passing.stdout.read()
    passing.stdout.close()
    codes = [code for _, code in ended]
    assert set(codes) <= {0, 2}, ended
    assert codes.count(0) <= 1
    current = place.check_agreement()
    if codes.count(0) == 1:
        chosen = place.configs[codes.index(0)][1]
        history = [e["model_id"] for e in place.registry.history("actions")]
        assert chosen in history
        assert current == chosen  # a run that passes later becomes a candidate
    for told, code in ended:
        if code == 2:
            assert "in production" in told


def test_a_promotion_that_is_killed_leaves_both_sides_to_agree(place):
    rng = np.random.default_rng(3)
    for turn, (config, _) in enumerate(place.configs[:6]):
        place.pass_all(place.registry.current("actions").name)
        process = place.start("govern", "promote", config, "--models-dir", "models")
        time.sleep(rng.uniform(0.3, 1.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        current = place.check_agreement()
        assert place.registry.verify(current).model_id == current, turn


def test_a_kill_between_the_registry_and_the_store_heals_at_the_next_call(place, monkeypatch):
    base = place.registry.current("actions").name
    place.pass_all(base)
    config, model_id = place.configs[0]

    def killed(*_arguments, **_settings):
        raise KeyboardInterrupt

    place.governance.production.reconcile("actions")
    monkeypatch.setattr(place.store, "reconcile", killed)
    with pytest.raises(KeyboardInterrupt):
        place.governance.production.promote(config)
    monkeypatch.undo()
    assert place.registry.current("actions").name == model_id
    assert in_production(place.store.events("actions")).model_id == base
    assert place.check_agreement() == model_id
    events = place.store.events("actions")
    assert events[-1].configuration_id == config
    assert events[-1].gate_report == 1


def test_models_rollback_and_promote_by_hand_are_followed(place):
    place.pass_all(place.registry.current("actions").name)
    place.governance.production.promote(place.configs[0][0])
    place.registry.rollback("actions", reason="too many alerts")
    place.check_agreement()
    place.registry.promote(place.configs[3][1], reason="by hand")
    assert place.check_agreement() == place.configs[3][1]
    reasons = [event.reason for event in place.store.events("actions")]
    assert "too many alerts" in reasons
    assert reasons[-1] == "by hand"
