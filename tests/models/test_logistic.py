import json
import math

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from nethical.data import synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, Table, normalise
from nethical.models.base import Parts, Settings
from nethical.models.logistic import Logistic, build
from nethical.run import silent

TABULAR = ["severity_max", "frequency_score", "channel", "region", "label"]


def labelled(frame, **roles):
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


def fit(table, epochs=100, progress=silent):
    rng = np.random.default_rng(0)
    return build(Settings(epochs=epochs)).fit(table, rng=rng, progress=progress)


def with_rare_levels(frame):
    """Return rows some of whose channels occur once, and some are missing, by label."""
    draw, y = np.random.default_rng(0).random(len(frame)), np.array(frame.column("label"))
    cells = frame.column("channel").to_pylist()
    for i in np.flatnonzero(draw < np.where(y == 1, 0.2, 0.05)).tolist():
        cells[i] = f"rare {i}"
    for i in np.flatnonzero(draw > np.where(y == 1, 0.95, 0.8)).tolist():
        cells[i] = None
    return frame.set_column(frame.column_names.index("channel"), "channel", pa.array(cells))


def mixed(n, seed=1):
    frame = synthetic.generate("mixed", n, seed=seed).table.select(TABULAR)
    return labelled(with_rare_levels(frame))


def terms(model):
    return {term["column"]: term for term in model.to_parts().document["terms"]}


@pytest.fixture(scope="module")
def cancer():
    data = load_breast_cancer()
    names = [f"f{i}" for i in range(30)]
    columns = dict(zip(names, data.data.T, strict=True))
    return labelled(pa.table({**columns, "label": 1 - data.target}))


@pytest.fixture(scope="module")
def tabular():
    """Two numbers with gaps and two categories, and their model."""
    table = mixed(1500)
    assert np.isnan(table.numeric("severity_max")).any()
    return table, fit(table)


def peer(X, y, C=1.0):
    return LogisticRegression(C=C, tol=1e-10, max_iter=20_000).fit(X, y)


def standard(values):
    scaled = (values - np.nanmean(values)) / np.nanstd(values)
    return np.clip(scaled, -3, 3)


def test_weights_are_those_of_scikit_learn_on_the_same_design(cancer):
    X = np.column_stack([standard(cancer.numeric(f.name)) for f in cancer.features])
    assert (np.abs(X) == 3).any(), "some values are cut"
    wanted = peer(X, cancer.y)
    model = fit(cancer)
    weights = [term["weight"] for term in model.to_parts().document["terms"]]
    assert weights == pytest.approx(wanted.coef_[0], abs=1e-3)
    assert model.to_parts().document["intercept"] == pytest.approx(wanted.intercept_[0], abs=1e-3)
    assert model.score(cancer) == pytest.approx(wanted.decision_function(X), abs=1e-2)
    assert not any("not converged" in note for note in model.fitting.notes)


def test_levels_are_one_hot_and_gaps_have_an_indicator(tabular):
    table, model = tabular
    blocks, names = [], []
    for name in ("severity_max", "frequency_score"):
        values = table.numeric(name)
        blocks += [np.nan_to_num(standard(values)), np.isnan(values)]
        names += [(name, "weight"), (name, "missing")]
    found = terms(model)
    for name in ("channel", "region"):
        cells = table.texts(name).to_pylist()
        levels = found[name]["levels"]
        blocks += [[cell == level for cell in cells] for level in levels]
        blocks.append([cell is not None and cell not in levels for cell in cells])
        blocks.append([cell is None for cell in cells])
        names += [(name, place) for place in range(len(levels) + 2)]
    wanted = peer(np.column_stack(blocks).astype(float), table.y)
    for (name, what), weight in zip(names, wanted.coef_[0], strict=True):
        term = found[name]
        got = term["weights"][what] if isinstance(what, int) else term[what]
        assert got == pytest.approx(weight, abs=1e-3), (name, what)
    other, missing = found["channel"]["weights"][-2:]
    assert other > 0.5
    assert missing < -0.5
    assert not any(level.startswith("rare") for level in found["channel"]["levels"])


def test_a_level_and_a_gap_that_training_never_saw_add_nothing(cancer, tabular):
    model = tabular[1]
    assert terms(model)["region"]["weights"][-2] == pytest.approx(0, abs=1e-6)
    cancer_model = fit(cancer)
    means = {f.name: [float(np.mean(cancer.numeric(f.name)))] for f in cancer.features}
    gap = {**means, "f3": pa.array([None], pa.float64())}
    scores = [
        cancer_model.score(Table(normalise(pa.table(cells)), cancer.roles))[0]
        for cells in (means, gap)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-9)


def test_text_weights_are_those_of_scikit_learn_with_a_tenth_of_the_penalty():
    table = labelled(synthetic.generate("text", 400, seed=2).table, message=Role.TEXT)
    model = fit(table)
    blocks = []
    for term in model._terms:
        rows = term.ngrams.transform(table.texts("message"))
        block = np.zeros((len(table), len(term.ngrams.hashes)))
        block[rows.rows, rows.columns] = rows.values
        blocks.append(block)
    assert [term.ngrams.kind for term in model._terms] == ["words", "characters"]
    wanted = peer(np.hstack(blocks), table.y, C=10.0)
    got = np.concatenate([term.weights for term in model._terms])
    assert got == pytest.approx(wanted.coef_[0], abs=5e-3)
    assert model.score(table) == pytest.approx(
        wanted.decision_function(np.hstack(blocks)), abs=5e-3
    )


def test_a_weight_of_k_is_k_copies_of_the_row():
    rng = np.random.default_rng(0)
    frame = synthetic.generate("risk", 600, seed=3).table
    weight = rng.choice([0, 1, 2, 3], 600, p=[0.4, 0.3, 0.2, 0.1])
    weight[np.flatnonzero(weight == 0)[: max(0, 600 - weight.sum())]] = 1
    weight[np.flatnonzero(weight == 3)[: max(0, weight.sum() - 600)]] -= 1
    assert weight.mean() == pytest.approx(1, abs=0.02)
    weighted = labelled(frame.append_column("weight", pa.array(weight)))
    copied = labelled(frame.take(pa.array(np.repeat(np.arange(600), weight))))
    plain = labelled(frame)
    by_weight, by_copies = fit(weighted).score(plain), fit(copied).score(plain)
    unweighted = fit(plain).score(plain)
    gap = np.abs(by_weight - by_copies).max()
    assert gap < 0.05 * np.ptp(by_copies) / 2
    assert gap < np.abs(unweighted - by_copies).max() / 4


def test_rows_of_weight_zero_do_not_turn_a_slope():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 800)
    ignored = np.arange(800) >= 400
    x = rng.normal(size=800) + np.where(ignored, -4, 2) * y
    frame = pa.table({"x": x, "label": y, "weight": (~ignored) * 1.0})
    assert terms(fit(labelled(frame)))["x"]["weight"] > 0.5
    assert terms(fit(labelled(frame.drop_columns("weight"))))["x"]["weight"] < 0


@pytest.mark.parametrize("epochs", [1, 2])
def test_epochs_limit_the_passes_and_the_notes_say_not_converged(epochs):
    table = labelled(synthetic.generate("text", 400, seed=2).table, message=Role.TEXT)
    steps = []
    model = fit(table, epochs, lambda step, done, total: steps.append((step, done, total)))
    assert steps == [("fit logistic", i + 1, 10 * epochs) for i in range(10 * epochs)]
    assert model.fitting.epochs_run == epochs
    assert f"not converged in {10 * epochs} passes" in model.fitting.notes
    assert np.isfinite(model.score(table)).all()


def test_more_passes_never_give_a_larger_loss():
    table = mixed(600)

    def objective(model):
        z, y = model.score(table), table.y
        squares = sum(
            t.get("weight", 0) ** 2
            + t.get("missing", 0) ** 2
            + sum(w * w for w in t.get("weights", []))
            for t in model.to_parts().document["terms"]
        )
        return float(np.sum(np.logaddexp(0, z) - y * z)) + squares / 2

    losses = [objective(fit(table, epochs)) for epochs in (1, 2, 4, 50)]
    assert losses[0] >= losses[1] >= losses[2] >= losses[3] - 1e-9
    assert losses[0] < len(table) * math.log(2), "ten passes already beat a coin"


def rows_of_all_kinds(n):
    rng = np.random.default_rng(7)
    numbers = [None, math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300, 3, True, 0.25]
    levels = [None, math.nan, "never seen", "", "chat", 5, 2.0, True]
    rows = []
    for row in mixed(n, seed=9).frame.select(TABULAR[:4]).to_pylist():
        for name in ("severity_max", "frequency_score"):
            if rng.random() < 0.3:
                row[name] = numbers[rng.integers(len(numbers))]
        for name in ("channel", "region"):
            if rng.random() < 0.3:
                row[name] = levels[rng.integers(len(levels))]
        rows.append({k: v for k, v in row.items() if rng.random() > 0.1})
    return rows


def cell(row, name):
    """Return a cell as a column has it, where NaN is a missing value."""
    value = row.get(name)
    return None if isinstance(value, float) and math.isnan(value) else value


def one_row_table(row, roles):
    cells = {f.name: [cell(row, f.name)] for f in roles.features}
    return Table(normalise(pa.table(cells)), roles)


def test_one_row_scores_as_many_do_whatever_is_missing_or_new(tabular):
    table, model = tabular
    score_row = model.row_scorer()
    rows = rows_of_all_kinds(500)
    assert any(len(row) < 4 for row in rows)
    for row in rows:
        assert score_row(row) == pytest.approx(
            model.score(one_row_table(row, table.roles))[0], abs=1e-12
        ), row
    plain = table.frame.select(TABULAR[:4]).to_pylist()
    assert [score_row(row) for row in plain] == pytest.approx(model.score(table), abs=1e-12)


def test_texts_and_sequences_have_no_scorer_of_single_rows():
    table = labelled(synthetic.generate("sequence", 200, seed=2).table, actions=Role.SEQUENCE)
    assert fit(table, 1).row_scorer() is None


@pytest.mark.parametrize("task", ["risk", "mixed"])
def test_reasons_sum_to_the_score_less_its_mean_in_training(task):
    table = labelled(synthetic.generate(task, 500, seed=4).table)
    model = fit(table, 10)
    scores = model.score(table)
    for row, reasons in enumerate(model.explain(table, 99)):
        contributions = [reason.contribution for reason in reasons]
        assert sum(contributions) == pytest.approx(scores[row] - scores.mean(), abs=1e-9)
        assert sorted(map(abs, contributions), reverse=True) == list(map(abs, contributions))
        assert {reason.column for reason in reasons} == {f.name for f in table.features}
    assert [len(reasons) for reasons in model.explain(table.slice(0, 5), 2)] == [2] * 5


@pytest.mark.parametrize("task", ["risk", "mixed", "text", "sequence"])
def test_a_model_survives_its_parts_bit_for_bit(task):
    table = labelled(synthetic.generate(task, 400, seed=4).table)
    model = fit(table, 3)
    parts = model.to_parts()
    document = json.loads(json.dumps(parts.document, sort_keys=True))
    again = Logistic.from_parts(Parts(document, parts.arrays, parts.texts))
    assert (again.score(table) == model.score(table)).all()
    assert again.explain(table.slice(0, 20), 9) == model.explain(table.slice(0, 20), 9)
    assert json.dumps(again.to_parts().document) == json.dumps(parts.document)


def test_blocks_of_rows_change_nothing_but_the_last_bits(monkeypatch, tabular):
    table, model = tabular
    monkeypatch.setattr("nethical.models.logistic.BLOCK_ROWS", 100)
    assert fit(table).score(table) == pytest.approx(model.score(table), abs=1e-3)
