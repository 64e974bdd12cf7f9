"""What every model type of ours owes: the shipped kit, and that labels are learnt from."""

import importlib.util
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, Table, normalise
from nethical.errors import TrainingError
from nethical.models import catalog
from nethical.models.base import Settings
from nethical.run import silent
from nethical.testing import model_checks
from nethical.testing.cases import KINDS, Case, generated, labelled
from nethical.testing.checks import CHECKS

NEEDS_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("tokenizers") is None,
    reason="the extra [transformer] is not installed",
)
TYPES = [
    pytest.param(
        name,  # on one worker, so that each table is fitted once
        marks=[pytest.mark.xdist_group(name), *[NEEDS_TORCH] * (name == "simple_transformer")],
    )
    for name in catalog.BUILT_IN
]
LEARNERS = ("heuristic", "logistic", "boosted")


@cache
def checks_of(model_type):
    return {check.name: check for check in model_checks(model_type)}


@pytest.mark.parametrize("promise", [check.__name__ for check in CHECKS])
@pytest.mark.parametrize("model_type", TYPES)
def test_every_type_keeps_every_promise(model_type, promise):
    checks_of(model_type)[promise]()


def test_the_tables_are_of_the_kinds_that_they_are_called():
    kinds = {kind: {f.feature for f in generated(kind, 200, 1).features} for kind in KINDS}
    assert kinds == {
        "numeric": {Role.NUMERIC},
        "categorical": {Role.CATEGORICAL},
        "text": {Role.TEXT},
        "sequence": {Role.SEQUENCE},
        "mixed": {Role.NUMERIC, Role.CATEGORICAL, Role.TEXT, Role.SEQUENCE},
    }


@pytest.mark.parametrize("model_type", LEARNERS)
def test_a_learner_from_labels_takes_every_kind_of_table(model_type):
    assert Case(model_type).kinds == KINDS


@pytest.mark.parametrize("model_type", catalog.BUILT_IN)
def test_each_of_our_types_declares_a_few_parameters(model_type):
    space = catalog.traits(model_type).space
    assert 2 <= len(space) <= 5
    names = {parameter.name for parameter in space}
    assert not names & {"epochs", "batch_size", "threads", "seed"}


def fit(model_type, rows):
    model = catalog.build(model_type, Settings())
    return model.fit(rows, rng=np.random.default_rng(7), progress=silent)


def with_labels(rows, y):
    place = rows.frame.column_names.index("label")
    frame = rows.frame.set_column(place, "label", pa.array(y.astype(np.int64)))
    return LabelledTable(frame, rows.roles, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", LEARNERS)
def test_a_fit_learns_from_labels_and_nothing_from_shuffled_ones(model_type, kind):
    rows, others = generated(kind, 400, 1), generated(kind, 600, 2)
    assert roc_auc_score(others.y, fit(model_type, rows).score(others)) > 0.6
    rng = np.random.default_rng(5)
    try:
        model = fit(model_type, with_labels(rows, rng.permutation(rows.y)))
    except TrainingError:
        return  # "no column tells the classes apart" is the right answer too
    shuffled = with_labels(others, rng.permutation(others.y))
    assert abs(roc_auc_score(shuffled.y, model.score(shuffled)) - 0.5) < 0.1


@pytest.mark.parametrize("model_type", LEARNERS)
def test_a_table_without_any_information_gives_one_score_or_a_clear_refusal(model_type):
    rows = labelled(pa.table({"x": np.ones(200), "label": np.arange(200) % 2}), x=Role.NUMERIC)
    if model_type == "heuristic":
        with pytest.raises(TrainingError, match="nothing to put on a scorecard") as caught:
            fit(model_type, rows)
        assert caught.value.mend
        return
    scores = fit(model_type, rows).score(rows)
    assert len(set(scores.tolist())) == 1
    assert scores[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("model_type", LEARNERS)
def test_weights_and_ids_are_not_read_in_scoring(model_type):
    frame = generated("numeric", 300, 6).frame
    weight = np.random.default_rng(0).exponential(size=300)
    given = frame.append_column("weight", pa.array(weight)).append_column(
        "id", pa.array(range(300))
    )
    rows = labelled(given)
    assert {c.role for c in rows.roles.columns} >= {Role.WEIGHT, Role.ID}
    model = fit(model_type, rows)
    bare = Table(frame, rows.roles)
    assert (model.score(bare) == model.score(rows)).all()
    assert "weight" not in {r.column for row in model.explain(rows, 99) for r in row}


@pytest.mark.parametrize("model_type", ["heuristic", "boosted"])
def test_a_gap_that_training_never_saw_is_not_the_least_risky_value(model_type):
    rng = np.random.default_rng(1)
    x = rng.normal(100, 10, 2000)
    y = (rng.random(2000) < 1 / (1 + np.exp(-(x - 100) / 3))).astype(int)
    frame = normalise(pa.table({"x": x, "label": y}))
    table, _ = LabelledTable.read(frame, infer(frame, RoleHints()))
    fitted = fit(model_type, table)
    low, gap, high = fitted.score(
        Table(pa.table({"x": pa.array([70.0, None, 130.0])}), table.roles)
    ).tolist()
    assert low + 1 < gap < high - 1
    assert fitted.row_scorer()({}) == pytest.approx(gap, abs=1e-12)
