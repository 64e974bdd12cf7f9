"""The ledger counts every way to be lucky on some rows, and no honest one twice."""

from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from nethical.data import synthetic
from nethical.governance.governing import Governance
from nethical.governance.ledger import rows_digest
from nethical.governance.promotion import Policy
from nethical.governance.store import GovernanceStore
from nethical.keys import Keys
from nethical.pipeline import train
from nethical.plan import Plan
from nethical.registry import Registry
from nethical.run import Run


def now():
    return datetime.now(UTC)


class Place:
    """A table, a model of it in production, and candidates."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "rows.parquet"
        pq.write_table(synthetic.generate("risk", 1600, seed=3).table, self.data)
        self.registry = Registry(folder / "models", Keys(folder / "keys"), now)
        self.store = GovernanceStore(folder / "store", now)
        self.governance = Governance(self.store, self.registry, Run())
        self.base = self.train()

    def train(self, **settings):
        standard = {"data": str(self.data), "name": "actions", "seed": 1, "threads": 1}
        plan = {**standard, "models_dir": str(self.folder / "models"), **settings}
        return train(Plan("heuristic", **plan), registry=self.registry)

    def candidate(self, penalty, **settings):
        return self.train(parameters={"penalty": penalty}, as_candidate=True, **settings)

    def judge(self, outcome, table=None, **settings):
        """Return the report on a candidate."""
        self.governance.judge(
            self.registry.verify(outcome.published.model_id),
            self.registry.verify(self.base.published.model_id),
            outcome.prepared.parts["gate"] if table is None else table,
            **settings,
        )
        return self.store.reports()[-1]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_rows_are_the_same_in_any_order_and_however_often(place):
    gate = place.base.prepared.parts["gate"]
    turned = gate.rows(np.arange(len(gate))[::-1])
    twice = gate.rows(np.repeat(np.arange(len(gate)), 2))
    fewer = gate.rows(np.arange(len(gate) - 1))
    assert rows_digest(gate) == rows_digest(turned) == rows_digest(twice) != rows_digest(fewer)


def test_the_whole_table_is_the_gate_part_again_as_both_sides_learnt_from_the_rest(place):
    candidate = place.candidate(3.0)
    first = place.judge(candidate)
    config = place.governance.record(candidate).configuration_id
    place.governance.judge_on(config, place.data, waiver="", policy=Policy())
    second = place.store.reports()[-1]
    assert (first.number, second.number) == (1, 2)
    assert second.gate_digest == first.gate_digest
    assert (first.k, second.k) == (1, 1)


def test_a_search_s_choices_are_counted_as_they_are_judged(place):
    chosen = [place.candidate(penalty) for penalty in (3.0, 9.0, 27.0)]
    ks = [place.judge(one, is_chosen_elsewhere=True).k for one in chosen]
    assert ks == [1, 2, 3]
    assert place.judge(chosen[0], is_chosen_elsewhere=True).k == 1


def test_a_choice_among_models_that_were_measured_counts_them_all(place):
    measured = [place.candidate(penalty) for penalty in (3.0, 9.0, 27.0)]
    assert place.judge(measured[1]).k == 3


def test_another_name_is_no_other_ledger(place):
    place.candidate(3.0, name="elsewhere")
    assert place.judge(place.candidate(9.0)).k == 2


def test_a_model_that_was_measured_on_other_rows_is_no_attempt(place, tmp_path):
    other = tmp_path / "other.parquet"
    pq.write_table(synthetic.generate("risk", 1600, seed=4).table, other)
    place.candidate(3.0, data=str(other))
    assert place.judge(place.candidate(9.0)).k == 1


def test_gate_parts_of_other_seeds_share_rows_and_their_attempts(place):
    assert place.judge(place.candidate(3.0), is_chosen_elsewhere=True).k == 1
    for k, (seed, penalty) in enumerate(((2, 9.0), (3, 27.0)), 2):
        other = place.candidate(penalty, seed=seed)
        report = place.judge(other, is_chosen_elsewhere=True)
        assert report.k == k
    assert len({report.gate_digest for report in place.store.reports()}) == 3


def test_a_configuration_that_another_seed_made_another_model_of_is_another_attempt(
    place, tmp_path
):
    fresh = tmp_path / "fresh.parquet"
    pq.write_table(synthetic.generate("risk", 600, seed=5).table, fresh)
    models = [place.candidate(300.0, seed=seed, test_data=str(fresh)) for seed in (1, 2, 3)]
    reports = [place.judge(model, is_chosen_elsewhere=True) for model in models]
    assert len({report.gate_digest for report in reports}) == 1
    assert len({report.candidate for report in reports}) == 1
    results = [tuple(line["estimate"] for line in report.criteria[:2]) for report in reports]
    assert len(set(results)) == 3, "the test needs models that decide otherwise"
    assert [report.k for report in reports] == [1, 2, 3]
    again = place.candidate(300.0, seed=2, test_data=str(fresh))
    assert place.judge(again, is_chosen_elsewhere=True).k == 2


def test_where_the_row_key_is_gone_nothing_is_shared_and_nothing_is_judged(place):
    place.candidate(3.0)
    candidate = place.candidate(9.0)
    for file in (place.folder / "keys").glob("row*.key"):
        file.unlink()
    report = place.judge(candidate)
    assert (report.k, report.verdict) == (1, "INSUFFICIENT_EVIDENCE")


def test_after_a_rotation_of_the_row_key_what_was_learnt_and_measured_is_still_known(place):
    place.candidate(3.0)
    before = place.candidate(9.0)
    place.registry.keys.rotate("row")
    report = place.judge(before)
    assert report.k == 2
    assert report.gate_digest == rows_digest(before.prepared.parts["gate"])
