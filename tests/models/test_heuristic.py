import json
import math
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer

from nethical.data import synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, Table, normalise
from nethical.errors import TrainingError
from nethical.models import heuristic, scorecard
from nethical.models.base import Parts, Settings, filled
from nethical.models.heuristic import Heuristic, build
from nethical.run import silent

LOG_ODDS = math.log(2) / 20
TABULAR = ["severity_max", "frequency_score", "channel", "region", "label"]


def labelled(frame, **roles):
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


def fit(table, epochs=10):
    return build(Settings(epochs=epochs)).fit(table, rng=np.random.default_rng(0), progress=silent)


def with_rare_levels(frame):
    """Return rows some of whose channels occur once, and some are missing, by label."""
    draw, y = np.random.default_rng(0).random(len(frame)), np.array(frame.column("label"))
    cells = frame.column("channel").to_pylist()
    for i in np.flatnonzero(draw < np.where(y == 1, 0.2, 0.05)).tolist():
        cells[i] = f"rare {i}"
    for i in np.flatnonzero(draw > np.where(y == 1, 0.95, 0.8)).tolist():
        cells[i] = None
    return frame.set_column(frame.column_names.index("channel"), "channel", pa.array(cells))


@cache
def case(name):
    """A table and its model."""
    if name == "cancer":
        data = load_breast_cancer()
        columns = {f"f{i}": data.data[:, i] for i in range(8)}
        table = labelled(pa.table({**columns, "label": 1 - data.target}))
    elif name == "tabular":
        frame = synthetic.generate("mixed", 1500, seed=1).table.select(TABULAR)
        table = labelled(with_rare_levels(frame))
    else:
        table = labelled(synthetic.generate(name, 500, seed=1).table)
    return table, fit(table)


def bins(model):
    return {term["column"]: term for term in model.card["terms"] if term["kind"] == "bins"}


def assert_monotone(table, model):
    """Check each numeric column on the card, and by moving it through a copy of the rows."""
    for name, term in bins(model).items():
        steps = np.diff(term["points"])
        assert (steps >= 0).all() or (steps <= 0).all(), name
        assert (np.diff(term["edges"]) > 0).all()
        assert len(term["points"]) == len(term["edges"]) + 1
        place = table.frame.column_names.index(name)
        base = table.frame.slice(0, 3)
        values = np.sort(np.append(table.numeric(name)[:40], [-1e300, 1e300]))
        scores = [
            model.score(Table(base.set_column(place, name, pa.array([v] * len(base))), table.roles))
            for v in values[~np.isnan(values)].tolist()
        ]
        direction = 1 if steps.sum() >= 0 else -1
        assert (np.diff(scores, axis=0) * direction >= 0).all()


@pytest.mark.parametrize("name", ["cancer", "tabular", "risk", "xor", "legacy_tabular"])
def test_each_number_only_adds_points_or_only_takes_them_away(name):
    assert_monotone(*case(name))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.4), st.integers(40, 250))
def test_cards_of_any_rows_are_monotone(seed, missing, n_rows):
    table = labelled(synthetic.generate("risk", n_rows, seed=seed, missing=missing).table)
    if 0 < table.y.mean() < 1:
        assert_monotone(table, fit(table))


def test_each_column_goes_its_own_way():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    table = labelled(
        pa.table({"up": y + rng.normal(size=1000), "down": rng.normal(size=1000) - y, "label": y})
    )
    cards = bins(fit(table))
    assert np.sum(np.diff(cards["up"]["points"])) > 20
    assert np.sum(np.diff(cards["down"]["points"])) < -20


def test_a_column_with_ties_keeps_its_direction_in_a_file_sorted_by_label():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 1000)
    flag = rng.random(2000) < np.where(y == 1, 0.05, 0.10)
    frame = pa.table({"flag": flag * 1.0, "other": rng.normal(size=2000) + y, "label": y})
    ordered = bins(fit(labelled(frame)))["flag"]
    shuffled = bins(fit(labelled(frame.take(pa.array(rng.permutation(2000))))))["flag"]
    assert ordered == shuffled
    assert ordered["points"][1] < 0


def test_a_column_that_is_constant_in_the_first_rows_is_still_read():
    rng = np.random.default_rng(0)
    late = np.arange(24_000) >= 12_000
    y = late ^ (rng.random(24_000) < 0.2)
    table = labelled(pa.table({"late": late * 1.0, "label": y.astype(int)}))
    assert np.diff(bins(fit(table))["late"]["points"]) > 20


def test_weights_decide_the_direction_too():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1200)
    heavy = np.arange(1200) < 400
    x = np.where(heavy, y, -y) + rng.normal(size=1200) / 2
    level = np.where(heavy == (y == 1), "a", "b")
    columns = {"x": x, "level": level, "label": y}
    weighted = fit(labelled(pa.table({**columns, "weight": np.where(heavy, 20.0, 0.1)})))
    plain = fit(labelled(pa.table(columns)))
    assert np.sum(np.diff(bins(weighted)["x"]["points"])) > 10
    assert np.sum(np.diff(bins(plain)["x"]["points"])) < -10
    of_level = {
        m: next(t for t in m.card["terms"] if t["column"] == "level") for m in (weighted, plain)
    }
    assert of_level[weighted]["points"]["a"] > 0 > of_level[plain]["points"]["a"]


def numbers_of(card):
    for term in card["terms"]:
        points = term["points"]
        if term["kind"] == "bins":
            yield from points
        elif term["kind"] == "levels":
            yield from points.values()
        else:
            yield from (pair[1] for pair in points)
        if term["kind"] != "tokens":
            yield from (term["missing"], *((term["other"],) if "other" in term else ()))


@pytest.mark.parametrize("name", ["cancer", "mixed", "text"])
def test_points_are_whole_numbers_and_twenty_double_the_odds(name):
    table, model = case(name)
    points = list(numbers_of(model.card))
    assert points
    assert all(type(point) is int for point in points)
    assert any(points)
    assert model.card["points_to_double_odds"] == 20
    counted = (model.score(table) - model.card["intercept"]) / LOG_ODDS
    assert counted == pytest.approx(np.rint(counted), abs=1e-6)
    assert np.ptp(counted) > 20


def test_levels_and_tokens_have_the_sign_of_their_own_association():
    table, model = case("mixed")
    base = table.y.mean()
    judged = 0
    for term in model.card["terms"]:
        if term["kind"] == "levels":
            cells = table.texts(term["column"]).to_pylist()
            groups = {k: [c == k for c in cells] for k in term["points"]}
            points = term["points"]
        elif term["column"] == "message":
            cells = [f" {' '.join(c.lower().split())} " for c in table.texts("message").to_pylist()]
            points = {k: p for k, p in term["points"] if k.isalnum()}
            groups = {k: [f" {k} " in c for c in cells] for k in points}
        else:
            continue
        for name, inside in groups.items():
            share = table.y[np.array(inside)].mean()
            assert points[name] * (share - base) >= 0, (term["column"], name)
            judged += points[name] != 0
    assert judged > 5


def design_of(drafts, table):
    """Return the design matrix, column by column, with an intercept."""
    columns = []
    for draft in drafts:
        document = draft.document
        if document["kind"] == "bins":
            values = table.numeric(document["column"])
            columns += [values >= edge for edge in document["edges"]]
            columns.append(np.isnan(values))
        elif document["kind"] == "levels":
            cells = table.texts(document["column"]).to_pylist()
            known = document["levels"]
            columns += [[cell == level for cell in cells] for level in known]
            columns.append([cell is not None and cell not in known for cell in cells])
            columns.append([cell is None for cell in cells])
        else:
            block = np.zeros((len(table), len(draft.signs)))
            block[draft.tokens] = 1.0
            columns += list(block.T)
    return np.column_stack([*columns, np.ones(len(table))]).astype(float)


SETTINGS = {"plain": {}, "set": {"penalty": 7.0, "n_bins": 5, "positive_weight": 4.0}}


@pytest.mark.parametrize("chosen", SETTINGS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["cancer", "tabular", "xor", "text", "sequence"])
def test_the_weights_are_the_optimum_of_the_constrained_problem(name, weighted, chosen):
    values = filled(heuristic.SPACE, SETTINGS[chosen])
    table = case(name)[0]
    if weighted:
        mass = np.random.default_rng(0).exponential(size=len(table))
        frame = table.frame.append_column("weight", pa.array(mass))
        table = labelled(frame)
    drafts = build(Settings(parameters=values))._drafts(table)
    problem = heuristic._Constrained(drafts, table, values)
    weights, intercept, steps = problem.solve(500, lambda _: None)
    assert steps < 100
    signs = np.concatenate([draft.signs for draft in drafts])
    w = np.concatenate(weights)
    assert (w * signs >= 0).all()
    X = design_of(drafts, table)
    p = 1 / (1 + np.exp(-(X @ np.append(w, intercept))))
    mass = np.ones(len(table)) if table.weights is None else table.weights
    mass = mass * np.where(table.y == 1, values["positive_weight"], 1.0)
    slopes = X.T @ (mass * (p - table.y)) + np.append(values["penalty"] * w, 0.0)
    tolerance = 0.002 * math.sqrt(len(table)) + 0.05
    assert abs(slopes[-1]) < tolerance
    free = w != 0
    assert free.any()
    assert np.abs(slopes[:-1][free]).max() < tolerance
    assert (slopes[:-1][~free] * signs[~free] > -tolerance).all()
    with np.errstate(over="ignore"):
        unmoved = X.T @ (mass * (table.y.mean() - table.y))
    assert np.abs(unmoved).max() > 10 * tolerance, "the test would see a bad optimum"


ALONE = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("scorecard", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
given = json.load(sys.stdin)
count = module.point_counter(given["card"])
points = [count(row) for row in given["rows"]]
alien = [name for name in sys.modules if name.split(".")[0] in {"numpy", "pyarrow", "nethical"}]
print(json.dumps({"points": points, "alien": alien}))
"""


@pytest.mark.parametrize("name", ["cancer", "tabular"])
def test_the_card_and_the_standard_library_alone_give_the_same_scores(name):
    table, model = case(name)
    rows = table.frame.select([f.name for f in table.features]).to_pylist()
    rows += [{}, {"channel": "never seen", "severity_max": 1e9}]
    sent = json.dumps({"card": model.card, "rows": rows})
    ran = subprocess.run(
        [sys.executable, "-S", "-c", ALONE, scorecard.__file__],
        input=sent,
        capture_output=True,
        text=True,
        check=True,
    )
    got = json.loads(ran.stdout)
    assert got["alien"] == []
    scores = np.array(got["points"]) * LOG_ODDS + model.card["intercept"]
    assert scores[:-2] == pytest.approx(model.score(table), abs=1e-12)
    assert len(set(got["points"])) > 10


def cell(row, name):
    """Return a cell as a column has it, where NaN is a missing value."""
    value = row.get(name)
    return None if isinstance(value, float) and math.isnan(value) else value


def test_the_scorer_of_single_rows_agrees_whatever_is_missing_or_new():
    table, model = case("tabular")
    score_row = model.row_scorer()
    rng = np.random.default_rng(3)
    numbers = [
        None,
        math.nan,
        math.inf,
        -math.inf,
        -0.0,
        1e300,
        1,
        True,
        *bins(model)["severity_max"]["edges"],
    ]
    levels = [None, math.nan, "never seen", "", 5, 2.0, 1e-5, False]
    for row in table.frame.select(TABULAR[:4]).slice(0, 500).to_pylist():
        for name, odd in zip(TABULAR[:4], (numbers, numbers, levels, levels), strict=True):
            if rng.random() < 0.3:
                row[name] = odd[rng.integers(len(odd))]
            elif rng.random() < 0.1:
                del row[name]
        cells = {name: [cell(row, name)] for name in TABULAR[:4]}
        score = model.score(Table(normalise(pa.table(cells)), table.roles))[0]
        assert score_row(row) == pytest.approx(score, abs=1e-12), row


def test_texts_have_no_scorer_of_single_rows():
    assert case("text")[1].row_scorer() is None


@pytest.mark.parametrize(("name", "column"), [("text", "message"), ("sequence", "actions")])
def test_the_card_spells_its_tokens_as_the_rows_do(name, column):
    table, model = case(name)
    (term,) = model.card["terms"]
    assert (term["kind"], term["column"]) == ("tokens", column)
    if name == "text":
        rows = [text.lower() for text in table.texts(column).to_pylist()]
    else:
        rows = [" > ".join(row) for row in table.items(column).to_pylist()]
    for token, point in term["points"]:
        having = np.array([token in row for row in rows])
        assert having.any(), token
        assert isinstance(point, int)


def test_items_that_look_alike_when_joined_keep_their_own_points():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    rows = [(["a > b"] if rng.random() < 0.9 else ["a", "b"]) if k else ["a", "b"] for k in y]
    table = labelled(pa.table({"s": rows, "label": y}))
    model = fit(table)
    tokens = [token for token, _ in model.card["terms"][0]["points"]]
    assert tokens.count("a > b") == 2
    both = Table(normalise(pa.table({"s": [["a > b"], ["a", "b"]]})), table.roles)
    assert model.score(both)[0] > model.score(both)[1] + 1
    assert (reloaded(model).score(both) == model.score(both)).all()


def reloaded(model):
    parts = model.to_parts()
    text = json.dumps(parts.document, sort_keys=True, indent=1, ensure_ascii=False)
    return Heuristic.from_parts(Parts(json.loads(text), parts.arrays, parts.texts))


@pytest.mark.parametrize("name", ["cancer", "tabular", "text", "sequence", "mixed"])
def test_a_card_in_json_with_sorted_keys_scores_bit_for_bit_the_same(name):
    table, model = case(name)
    again = reloaded(model)
    assert (again.score(table) == model.score(table)).all()
    assert again.card == model.card
    assert again.explain(table.slice(0, 20), 9) == model.explain(table.slice(0, 20), 9)


@pytest.mark.parametrize("name", ["tabular", "mixed"])
def test_reasons_sum_to_the_score_less_its_mean_in_training(name):
    table, model = case(name)
    scores = model.score(table)
    for row, reasons in enumerate(model.explain(table, 99)):
        contributions = [reason.contribution for reason in reasons]
        assert sum(contributions) == pytest.approx(scores[row] - scores.mean(), abs=1e-9)
        assert sorted(map(abs, contributions), reverse=True) == list(map(abs, contributions))
    assert len(model.explain(table.slice(0, 1), 1)[0]) == 1


def test_fitting_again_forgets_the_first_table():
    model = build(Settings())
    for name in ("text", "cancer"):
        model.fit(case(name)[0], rng=np.random.default_rng(0), progress=silent)
    assert model.card == case("cancer")[1].card
    assert model.row_scorer() is not None
    assert dict(model.to_parts().arrays) == {}


def test_rows_of_one_class_or_without_a_telling_column_are_refused():
    table = case("cancer")[0]
    with pytest.raises(TrainingError, match="all of one class"):
        fit(table.rows(table.y == 1))
    frame = pa.table({"x": np.ones(50), "label": np.arange(50) % 2})
    with pytest.raises(TrainingError, match="no column tells the classes apart"):
        fit(labelled(frame, x=Role.NUMERIC))


def test_epochs_limit_the_steps():
    table = case("mixed")[0]
    steps = []
    model = build(Settings(epochs=1)).fit(
        table, rng=np.random.default_rng(0), progress=lambda *step: steps.append(step)
    )
    assert [step[1] for step in steps] == list(range(1, len(steps) + 1))
    assert len(steps) <= 10
    assert model.fitting.epochs_run == len(steps) / 10


def test_the_module_of_the_scorer_is_one_file_of_the_standard_library():
    source = Path(scorecard.__file__).read_text()
    imported = {
        line.split()[1] for line in source.splitlines() if line.startswith(("from ", "import "))
    }
    assert imported <= {"__future__", "bisect", "decimal", "typing"}
