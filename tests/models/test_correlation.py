"""Boosted trees on each event's past."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nethical.data import synthetic
from nethical.data.event_columns import LEGACY
from nethical.data.events import EventLog, EventState
from nethical.data.roles import RoleHints, infer
from nethical.data.table import LabelledTable, normalise
from nethical.errors import TrainingError
from nethical.models import catalog
from nethical.models.base import Settings
from nethical.models.correlation import Correlation, build
from nethical.run import silent


def labelled(frame, **roles):
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


def with_past(table):
    log = EventLog.of(table.roles, windows_days=(1.0, 7.0, 30.0), label_delay_days=7.0)
    frame, _ = log.derive(table.frame, table.y, EventState.empty())
    return LabelledTable(frame, log.derived_roles(table.roles), table.y)


def fitted(table):
    return build(Settings(threads=1)).fit(table, rng=np.random.default_rng(1), progress=silent)


def ordered(table):
    """Return the earlier two thirds and the rest."""
    order = np.argsort(table.frame.column("time").to_numpy())
    cut = len(order) * 2 // 3
    return table.rows(np.sort(order[:cut])), table.rows(np.sort(order[cut:]))


@pytest.fixture(scope="module")
def events():
    return labelled(synthetic.generate("events", 12_000, seed=3).table)


def test_the_catalogue_knows_it_and_that_it_reads_event_logs():
    assert isinstance(catalog.build("correlation", Settings()), Correlation)
    assert catalog.traits("correlation").reads_event_log


def test_the_past_tells_more_than_the_bare_event(events):
    roc_auc = []
    for table in (with_past(events), events):
        train, test = ordered(table)
        roc_auc.append(roc_auc_score(test.y, fitted(train).score(test)))
    assert roc_auc[0] > roc_auc[1] + 0.03


def test_it_reads_the_five_legacy_columns_directly():
    table = labelled(synthetic.generate("legacy_correlation", 600, seed=1).table)
    assert {feature.name for feature in table.features} == set(LEGACY)
    model = fitted(table.rows(np.arange(400)))
    rest = table.rows(np.arange(400, 600))
    assert roc_auc_score(rest.y, model.score(rest)) > 0.99


def test_a_table_that_is_neither_a_log_nor_has_the_five_columns_is_refused():
    table = labelled(synthetic.generate("risk", 200, seed=1).table)
    with pytest.raises(TrainingError, match="needs agent, resource and time columns") as caught:
        fitted(table)
    assert "--model-type boosted" in caught.value.mend
    assert all("\n" not in line for line in (caught.value.what, caught.value.mend))


def test_a_log_that_lacks_one_of_its_roles_is_refused(events):
    table = LabelledTable(events.frame, events.roles.without({"resource"}), events.y)
    with pytest.raises(TrainingError):
        fitted(table)


def test_stored_and_restored_it_scores_and_explains_the_same(events):
    table = with_past(events)
    train, test = ordered(table)
    model = fitted(train)
    again = Correlation.from_parts(model.to_parts())
    np.testing.assert_array_equal(again.score(test), model.score(test))
    few = test.slice(0, 5)
    assert again.explain(few, 3) == model.explain(few, 3)
    row = {name: test.frame.column(name)[0].as_py() for name in test.frame.column_names}
    assert again.row_scorer()(row) == pytest.approx(model.score(test)[0], abs=1e-12)


def test_it_says_how_fitting_went(events):
    model = fitted(ordered(with_past(events))[0])
    assert model.fitting.details["trees"] > 0
    assert model.model_type == "correlation"
