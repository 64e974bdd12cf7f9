"""Nobody approves an own proposal."""

from datetime import UTC, datetime

import pytest

from nethical.errors import UsageError
from nethical.governance.approval import check_approver, proposers
from nethical.governance.configurations import Configuration
from nethical.governance.people import People
from nethical.governance.store import GovernanceStore

DECISION = {
    "classifier_threshold": 0.5,
    "confidence_threshold": 0.7,
    "gray_zone_lower": 0.4,
    "gray_zone_upper": 0.6,
}


@pytest.fixture
def store(tmp_path):
    store = GovernanceStore(tmp_path / "store", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    People(store).add("cleo", "approver", "a password of some length")
    return store


def test_who_made_a_configuration_and_who_had_it_judged_both_proposed_it(store):
    made = store.add(Configuration("logistic", {"epochs": 1}, DECISION), by="ada")
    assert proposers(store, made, "ben") == {"ada", "ben"}


@pytest.mark.parametrize("approver", ["ada", "ben"])
def test_a_proposer_cannot_approve(store, approver):
    made = store.add(Configuration("logistic", {"epochs": 1}, DECISION), by="ada")
    with pytest.raises(UsageError, match=f"{approver} proposed {made}"):
        check_approver(store, made, "ben", approver)


def test_who_works_alone_has_nobody_else_to_ask(tmp_path):
    alone = GovernanceStore(tmp_path / "alone", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    made = alone.add(Configuration("logistic", {"epochs": 1}, DECISION), by="ada")
    check_approver(alone, made, "ada", "ada")


def test_anybody_else_can(store):
    made = store.add(Configuration("logistic", {"epochs": 1}, DECISION), by="ada")
    check_approver(store, made, "ben", "cleo")
