"""Governance over a registry: what may go into production, and what the store makes of it."""

from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from nethical.errors import UsageError
from nethical.governance.approval import awaiting
from nethical.governance.configurations import Status
from nethical.governance.governing import Governance
from nethical.governance.promotion import Policy
from nethical.governance.store import GovernanceStore, Move, in_production, models_needed
from nethical.keys import Keys
from nethical.pipeline import train
from nethical.plan import Plan
from nethical.registry import Registry
from nethical.run import Run

NAME = "actions"


def now():
    return datetime.now(UTC)


class Place:
    """A registry, with a model in production, and a store beside it."""

    def __init__(self, folder, *, is_empty=False):
        self.folder = folder
        self.registry = Registry(folder / "models", Keys(folder / "keys"), now)
        self.open("store")
        self.base = self.train(as_candidate=is_empty)

    def open(self, name):
        self.store = GovernanceStore(self.folder / name, now)
        self.governance = Governance(self.store, self.registry, Run())

    def train(self, **settings):
        standard = {
            "data": "synthetic:risk",
            "num_samples": 1200,
            "threads": 1,
            "models_dir": str(self.folder / "models"),
            "name": NAME,
            "seed": 1,
        }
        return train(Plan("heuristic", **{**standard, **settings}), registry=self.registry)

    def candidate(self, penalty, **settings):
        """Return a candidate's configuration and its model."""
        outcome = self.train(parameters={"penalty": penalty}, as_candidate=True, **settings)
        return self.governance.record(outcome).configuration_id, outcome.published.model_id

    def report(self, candidate, verdict, against=None, name=NAME):
        config, model_id = candidate
        return self.store.record_report(
            {
                "candidate": config,
                "baseline": config,
                "candidate_model": model_id,
                "baseline_model": against or self.current(),
                "name": name,
                "gate_digest": "sha256:" + "0" * 64,
                "k": 1,
                "alpha": 0.03,
                "policy": {},
                "criteria": [],
                "verdict": verdict,
                "waiver": None,
                "actor": "test",
            }
        )

    def promoted(self, penalty):
        """Return a candidate that passed and is in production now."""
        candidate = self.candidate(penalty)
        self.report(candidate, "PASS")
        self.governance.production.promote(candidate[0])
        return candidate

    def current(self):
        return self.registry.current(NAME).name


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# --- what may be promoted


def test_a_report_that_passed_and_failed_later_promotes_nothing(place):
    candidate = place.candidate(3.0)
    for verdict in ("PASS", "INSUFFICIENT_EVIDENCE", "FAIL"):
        place.report(candidate, verdict)
    before = place.current()
    with pytest.raises(UsageError, match="failed the promotion gate last"):
        place.governance.production.promote(candidate[0])
    assert place.current() == before
    place.report(candidate, "PASS")
    place.report(candidate, "INSUFFICIENT_EVIDENCE")  # fewer rows say nothing against it
    assert place.governance.production.promote(candidate[0]) == candidate[1]


def test_what_passed_last_against_production_waits_for_approval_the_newest_first(place):
    passed, failed, rejected, old = (place.candidate(p) for p in (3.0, 4.0, 5.0, 6.0))
    for one in (failed, passed, rejected):
        place.report(one, "PASS")
    place.report(failed, "FAIL")
    place.report(old, "PASS", against=passed[1])
    place.governance.production.reconcile(NAME)
    place.governance.production.move(rejected[0], "rejected", reason="too strict for us")
    place.report(passed, "INSUFFICIENT_EVIDENCE")
    assert [report.candidate for report in awaiting(place.store)] == [passed[0]]
    place.report(failed, "PASS")
    assert [report.candidate for report in awaiting(place.store)] == [failed[0], passed[0]]
    place.governance.production.promote(passed[0])
    assert [report.candidate for report in awaiting(place.store)] == [old[0]]


def test_a_configuration_that_passed_under_two_names_needs_to_be_told_which(place):
    candidate = place.candidate(3.0)
    place.train(parameters={"penalty": 9.0}, name="others")
    place.report(candidate, "PASS")
    place.report(candidate, "PASS", name="others")
    place.report(candidate, "FAIL", name="thirds")
    with pytest.raises(UsageError, match="several names: actions, others"):
        place.governance.production.promote(candidate[0])
    assert place.governance.production.promote(candidate[0], name=NAME) == candidate[1]
    with pytest.raises(UsageError, match="failed the promotion gate last"):
        place.governance.production.promote(candidate[0], name="thirds")


def test_what_was_rejected_is_not_promoted_and_nothing_is_stuck(place):
    candidate = place.candidate(3.0)
    place.report(candidate, "PASS")
    place.governance.production.move(candidate[0], "rejected", reason="too strict for us")
    before = place.current()
    with pytest.raises(UsageError, match="rejected cannot become production"):
        place.governance.production.promote(candidate[0])
    assert place.current() == before
    place.governance.production.reconcile(NAME)


def test_a_rejected_configuration_is_not_even_judged(place):
    config, model_id = place.candidate(3.0)
    place.governance.production.move(config, "rejected", reason="too strict for us")
    sides = [place.registry.verify(one) for one in (model_id, place.current())]
    with pytest.raises(UsageError, match="rejected"):
        place.governance.judge(*sides, place.base.prepared.parts["gate"])
    assert place.store.export()["attempt"] == []


def test_a_person_may_put_back_what_was_rejected_and_the_store_follows(place):
    config, model_id = place.candidate(3.0)
    place.governance.production.move(config, "rejected", reason="too strict for us")
    place.registry.promote(model_id, reason="it is needed after all")
    place.governance.production.reconcile(NAME)
    told = in_production(place.store.events(NAME))
    assert (told.model_id, told.from_status) == (model_id, "rejected")
    place.registry.rollback(NAME, reason="it was not")
    place.governance.production.reconcile(NAME)
    mine = [e for e in place.store.events(NAME) if e.configuration_id == config]
    assert mine[-1].to_status == "deprecated"


def test_what_passed_against_the_default_of_its_run_is_promoted_where_nothing_is(tmp_path):
    place = Place(tmp_path, is_empty=True)
    candidate = place.candidate(3.0)
    place.report(candidate, "PASS", against=place.base.published.model_id)
    assert place.governance.production.promote(candidate[0]) == candidate[1]


# --- rollbacks, lost stores, races


def test_what_a_rollback_puts_back_still_came_by_its_configuration(place):
    first, _ = place.promoted(3.0), place.promoted(5.0)
    place.governance.production.rollback(NAME, reason="too many alerts")
    installed = place.registry.installed(NAME)
    assert (installed["configuration_id"], installed["model_id"]) == first
    assert installed["reason"] == "too many alerts"
    passing = place.train(seed=2)
    assert passing.published.promoted is False
    assert "govern gate" in passing.judged.reason


def test_what_a_run_or_a_person_installed_came_by_no_configuration(place):
    candidate = place.promoted(3.0)
    place.governance.production.rollback(NAME, reason="too many alerts")
    assert "configuration_id" not in place.registry.installed(NAME)
    place.registry.promote(candidate[1], reason="by hand")
    assert "configuration_id" not in place.registry.installed(NAME)


def test_a_store_that_was_lost_is_begun_anew_without_the_reports_that_it_held(place):
    candidate = place.promoted(3.0)
    place.open("another")
    place.governance.production.reconcile(NAME)
    told = in_production(place.store.events(NAME))
    assert (told.model_id, told.gate_report) == (candidate[1], None)


def test_a_registry_that_moves_while_the_store_follows_is_followed_to_its_end(place, monkeypatch):
    first, second = place.candidate(3.0), place.candidate(5.0)
    unknown = place.train(parameters={"penalty": 7.0}, as_candidate=True).published.model_id
    place.registry.promote(first[1], reason="by hand")
    follow, left = place.store.reconcile, [unknown, second[1]]

    def overtaken(name, look):
        if left:
            place.registry.promote(left.pop(), reason="meanwhile")
        return follow(name, look)

    monkeypatch.setattr(place.store, "reconcile", overtaken)
    place.governance.production.reconcile(NAME)
    assert in_production(place.store.events(NAME)).model_id == unknown


# --- what is kept


def test_models_that_a_promotion_may_need_are_kept(place):
    passed, failed, shadow, rejected, stale = (place.candidate(float(p)) for p in range(3, 8))
    for candidate, verdict in ((passed, "PASS"), (failed, "FAIL"), (rejected, "PASS")):
        place.report(candidate, verdict)
    place.report(stale, "PASS", against="actions_long_gone")
    place.store.move(NAME, Move(shadow[0], Status.SHADOW, shadow[1], "test", "to look at"))
    place.governance.production.move(rejected[0], "rejected", reason="no")
    assert models_needed(place.store, [place.current()]) == {passed[1], shadow[1]}


def test_a_configuration_is_judged_by_the_last_of_its_models_that_is_kept(place, tmp_path):
    (config, first), (same, second) = place.candidate(3.0), place.candidate(3.0)
    assert config == same
    pq.write_table(place.base.prepared.parts["gate"].frame, tmp_path / "gate.parquet")
    assert second in place.registry.prune(0, name=NAME, protected=[first])
    place.governance.judge_on(config, tmp_path / "gate.parquet", waiver="", policy=Policy())
    assert place.store.reports(config)[-1].candidate_model == first
