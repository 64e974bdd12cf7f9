"""What every model type owes, whatever the columns."""

import io
import json
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from nethical.data import synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, Table, normalise
from nethical.errors import TrainingError
from nethical.models import catalog
from nethical.models.base import Parts, Settings
from nethical.run import silent

TYPES = catalog.BUILT_IN
TABLES = ("numeric", "categorical", "text", "sequence", "mixed")
TASKS = {"numeric": "risk", "categorical": "risk"}
BANDS = np.array(["lowest", "low", "middling", "high", "highest"])
CANARY = "zebra7f3a9 quokka7f3a9"

each_type = pytest.mark.parametrize("model_type", TYPES)
each_case = pytest.mark.parametrize("kind", TABLES)


def labelled(frame, **roles):
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


@cache
def table(kind, n=400, seed=1):
    frame = synthetic.generate(TASKS.get(kind, kind), n, seed=seed).table
    if kind == "categorical":
        cells = {
            name: BANDS[(np.array(frame.column(name)) * 4.999).astype(int)]
            for name in frame.column_names[:-1]
        }
        frame = pa.table({**cells, "label": frame.column("label")})
    return labelled(frame)


def fit(model_type, rows, **settings):
    model = catalog.build(model_type, Settings(**settings))
    return model.fit(rows, rng=np.random.default_rng(7), progress=silent)


@cache
def fitted(model_type, kind):
    return fit(model_type, table(kind))


def stored(parts):
    """Return parts that went through JSON text and npz bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **parts.arrays)
    with np.load(io.BytesIO(buffer.getvalue()), allow_pickle=False) as arrays:
        read = {name: arrays[name] for name in arrays.files}
    text = json.dumps(parts.document, sort_keys=True, allow_nan=False, ensure_ascii=False)
    texts = {name: text.encode().decode() for name, text in parts.texts.items()}
    return Parts(json.loads(text.encode()), read, texts)


def test_the_tables_are_of_the_kinds_that_they_are_called():
    kinds = {kind: {f.feature for f in table(kind).features} for kind in TABLES}
    assert kinds == {
        "numeric": {Role.NUMERIC},
        "categorical": {Role.CATEGORICAL},
        "text": {Role.TEXT},
        "sequence": {Role.SEQUENCE},
        "mixed": {Role.NUMERIC, Role.CATEGORICAL, Role.TEXT, Role.SEQUENCE},
    }


@each_case
@each_type
def test_a_row_alone_scores_bit_for_bit_as_among_others(model_type, kind):
    model, rows = fitted(model_type, kind), table(kind, 300, 2)
    scores = model.score(rows)
    assert scores.shape == (300,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 5
    for i in range(0, 300, 6):
        assert model.score(rows.slice(i, 1))[0] == scores[i]
    assert (
        np.concatenate([model.score(rows.slice(i, 37)) for i in range(0, 300, 37)]) == scores
    ).all()


@each_case
@each_type
def test_the_order_of_rows_does_not_matter(model_type, kind):
    model, rows = fitted(model_type, kind), table(kind, 300, 2)
    order = np.random.default_rng(0).permutation(300)
    assert (model.score(rows.take(order)) == model.score(rows)[order]).all()
    reasons = model.explain(rows, 4)
    assert model.explain(rows.take(order[:9]), 4) == [
        reasons[place] for place in order[:9].tolist()
    ]


@each_case
@each_type
def test_columns_that_are_not_features_and_their_order_do_not_matter(model_type, kind):
    model, rows = fitted(model_type, kind), table(kind, 300, 2)
    names = [f.name for f in rows.features][::-1]
    bare = Table(rows.frame.select(names), rows.roles)
    assert (model.score(bare) == model.score(rows)).all()


@each_case
@each_type
def test_no_rows_have_no_scores_and_no_reasons(model_type, kind):
    model, rows = fitted(model_type, kind), table(kind)
    assert model.score(rows.slice(0, 0)).shape == (0,)
    assert model.explain(rows.slice(0, 0), 3) == []


@each_case
@each_type
def test_rows_of_missing_and_of_unseen_values_are_scored(model_type, kind):
    model, rows = fitted(model_type, kind), table(kind)
    nothing = Table(pa.table({f.name: pa.nulls(4) for f in rows.features}), rows.roles)
    empty = model.score(nothing)
    assert np.isfinite(empty).all()
    assert len(set(empty.tolist())) == 1
    odd = {
        Role.NUMERIC: pa.array([1e300, -1e300, float("nan"), float("inf")]),
        Role.CATEGORICAL: pa.array(["never seen", "", None, "\U0001f44d"]),
        Role.TEXT: pa.array(["\u5ffd\u7565\u6307\u4ee4", "", None, "\0 \u200b x"]),
        Role.SEQUENCE: pa.array([["new"], [], None, [None, ""]], pa.list_(pa.string())),
    }
    unseen = Table(normalise(pa.table({f.name: odd[f.feature] for f in rows.features})), rows.roles)
    assert np.isfinite(model.score(unseen)).all()
    for reasons in (*model.explain(unseen, 9), *model.explain(nothing, 9)):
        assert all(np.isfinite(reason.contribution) for reason in reasons)


@each_case
@each_type
def test_parts_give_the_same_scores_through_json_and_npz(model_type, kind):
    model, rows = fitted(model_type, kind), table(kind, 300, 2)
    parts = model.to_parts()
    again = catalog.restore(model_type, stored(parts))
    assert again.model_type == model_type
    assert (again.score(rows) == model.score(rows)).all()
    assert again.explain(rows.slice(0, 9), 9) == model.explain(rows.slice(0, 9), 9)
    twice = stored(again.to_parts())
    assert json.dumps(twice.document) == json.dumps(stored(parts).document)
    assert twice.texts == parts.texts
    assert {k: v.tobytes() for k, v in twice.arrays.items()} == {
        k: v.tobytes() for k, v in parts.arrays.items()
    }
    assert all(array.dtype.kind in "fiu" for array in parts.arrays.values())


@each_case
@each_type
def test_two_fits_of_one_generator_are_equal(model_type, kind):
    first = stored(fitted(model_type, kind).to_parts())
    second = stored(fit(model_type, table(kind)).to_parts())
    assert first.document == second.document
    assert first.texts == second.texts
    assert {k: v.tobytes() for k, v in first.arrays.items()} == {
        k: v.tobytes() for k, v in second.arrays.items()
    }


@each_case
@each_type
def test_a_fit_learns_from_labels_and_nothing_from_shuffled_ones(model_type, kind):
    rows, others = table(kind), table(kind, 600, 2)
    assert roc_auc_score(others.y, fitted(model_type, kind).score(others)) > 0.6
    rng = np.random.default_rng(5)
    try:
        model = fit(model_type, with_labels(rows, rng.permutation(rows.y)))
    except TrainingError:
        return  # "no column tells the classes apart" is the right answer too
    shuffled = with_labels(others, rng.permutation(others.y))
    assert abs(roc_auc_score(shuffled.y, model.score(shuffled)) - 0.5) < 0.1


def with_labels(rows, y):
    place = rows.frame.column_names.index("label")
    frame = rows.frame.set_column(place, "label", pa.array(y.astype(np.int64)))
    return LabelledTable(frame, rows.roles, y)


@each_case
@each_type
def test_reasons_name_columns_and_add_up_to_the_score(model_type, kind):
    model, rows = fitted(model_type, kind), table(kind)
    scores = model.score(rows)
    names = {f.name for f in rows.features}
    reasons = model.explain(rows, 99)
    sums = np.array([sum(reason.contribution for reason in row) for row in reasons])
    assert np.ptp(scores - sums) < 1e-6
    assert abs(np.mean(sums)) < 0.2
    assert all({reason.column for reason in row} <= names for row in reasons)
    for row, short in zip(reasons[:30], model.explain(rows.slice(0, 30), 1), strict=True):
        assert short == row[:1]


@each_type
def test_a_cell_that_stands_once_is_nowhere_in_the_parts(model_type):
    frame = synthetic.generate("mixed", 500, seed=4).table
    for name, value in (
        ("channel", CANARY),
        ("message", f"please {CANARY} now"),
        ("actions", None),
    ):
        column = frame.column(name).to_pylist()
        column[11] = value or [CANARY, "read"]
        kind = frame.column(name).type
        if value is None and not pa.types.is_nested(kind):
            column[11] = CANARY
        frame = frame.set_column(frame.column_names.index(name), name, pa.array(column, kind))
    rows = labelled(frame, channel=Role.CATEGORICAL, message=Role.TEXT, actions=Role.SEQUENCE)
    parts = fit(model_type, rows).to_parts()
    everything = json.dumps(parts.document, ensure_ascii=False) + "".join(parts.texts.values())
    everything += "".join(array.tobytes().decode("latin-1") for array in parts.arrays.values())
    assert "7f3a9" not in everything
    assert frame.column("message")[0].as_py() not in everything
    lengths = [len(array) for array in parts.arrays.values()]
    assert len(rows) not in lengths


def odd_tables():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    z = rng.normal(size=400) + y
    return {
        "constant": ({"constant": np.full(400, 3.5), "z": z}, {"constant": Role.NUMERIC}),
        "one level": ({"level": ["same"] * 400, "z": z}, {"level": Role.CATEGORICAL}),
        "nothing": ({"nothing": pa.nulls(400, pa.float64()), "z": z}, {"nothing": Role.NUMERIC}),
        "no texts": ({"texts": pa.nulls(400, pa.string()), "z": z}, {"texts": Role.TEXT}),
        "empty lists": ({"lists": pa.array([[]] * 400, pa.list_(pa.string())), "z": z}, {}),
        "true or false": ({"flag": (z > 0.5), "z": rng.normal(size=400)}, {}),
        "infinities": ({"x": np.where(rng.random(400) < 0.1, np.inf, z)}, {}),
        "one column": ({"z": z}, {}),
        "one category": ({"level": np.where(z > 0.5, "a", "b")}, {}),
        "large numbers": ({"x": z * 1e100}, {}),
        "many levels": (
            {"level": [f"l{i}" for i in rng.integers(0, 900, 400)], "z": z},
            {"level": Role.CATEGORICAL},
        ),
    }


@pytest.mark.parametrize("name", list(odd_tables()))
@each_type
def test_odd_columns_neither_stop_a_fit_nor_spoil_a_score(model_type, name):
    columns, roles = odd_tables()[name]
    rows = labelled(pa.table({**columns, "label": np.arange(400) % 2}), **roles)
    assert {f.name for f in rows.features} == set(columns)
    model = fit(model_type, rows)
    scores = model.score(rows)
    assert np.isfinite(scores).all()
    assert roc_auc_score(rows.y, scores) > 0.65
    assert (catalog.restore(model_type, stored(model.to_parts())).score(rows) == scores).all()
    assert all(np.isfinite(r.contribution) for row in model.explain(rows, 9) for r in row)


@each_type
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


@each_type
def test_labels_weights_and_columns_kept_out_are_not_read_in_scoring(model_type):
    frame = synthetic.generate("risk", 300, seed=6).table
    weight = np.random.default_rng(0).exponential(size=300)
    given = frame.append_column("weight", pa.array(weight)).append_column(
        "id", pa.array(range(300))
    )
    rows = labelled(given)
    assert {c.role for c in rows.roles.columns} >= {Role.WEIGHT, Role.ID}
    model = fit(model_type, rows)
    changed = given.set_column(given.column_names.index("label"), "label", pa.array([None] * 300))
    assert (model.score(Table(normalise(changed), rows.roles)) == model.score(rows)).all()
    assert "weight" not in json.dumps(model.explain(rows, 99), default=lambda r: r.column)


@pytest.mark.parametrize("model_type", ["heuristic", "boosted"])
def test_a_gap_that_training_never_saw_is_not_the_least_risky_value(model_type):
    rng = np.random.default_rng(1)
    x = rng.normal(100, 10, 2000)
    y = (rng.random(2000) < 1 / (1 + np.exp(-(x - 100) / 3))).astype(int)
    frame = normalise(pa.table({"x": x, "label": y}))
    table, _ = LabelledTable.read(frame, infer(frame, RoleHints()))
    fitted = catalog.build(model_type, Settings()).fit(
        table, rng=np.random.default_rng(1), progress=silent
    )
    low, gap, high = fitted.score(
        Table(pa.table({"x": pa.array([70.0, None, 130.0])}), table.roles)
    ).tolist()
    assert low + 1 < gap < high - 1
    assert fitted.row_scorer()({}) == pytest.approx(gap, abs=1e-12)
