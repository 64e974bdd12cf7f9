import io
import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from nethical.data import synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, Table, normalise
from nethical.errors import TrainingError
from nethical.models.anomaly import Anomaly, build
from nethical.models.base import Parts, Settings
from nethical.run import silent

ACTIONS = ["plan", "read", "call", "write", "done"]


def labelled(frame, **roles):
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


def unlabelled(columns):
    frame = normalise(pa.table(columns))
    return LabelledTable.unlabelled(frame, infer(frame, RoleHints(), label_needed=False))


def fit(rows, seed=7):
    return build(Settings()).fit(rows, rng=np.random.default_rng(seed), progress=silent)


def stored(parts):
    buffer = io.BytesIO()
    np.savez(buffer, **parts.arrays)
    with np.load(io.BytesIO(buffer.getvalue()), allow_pickle=False) as arrays:
        read = {name: arrays[name] for name in arrays.files}
    return Parts(json.loads(json.dumps(parts.document, sort_keys=True, allow_nan=False)), read)


def sessions(n=400, seed=0):
    """Return sessions of a fixed order in which each step may be repeated."""
    rng = np.random.default_rng(seed)
    return [[a for a in ACTIONS for _ in range(rng.integers(1, 3))] for _ in range(n)]


def mixed(n=500, seed=0, share=0.1):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    y[:2] = 0, 1
    actions = [s[::-1] if odd else s for s, odd in zip(sessions(n, seed), y, strict=True)]
    return labelled(
        pa.table(
            {
                "amount": rng.normal(size=n) + 4 * y,
                "kind": rng.choice(["a", "b", "c"], n, p=[0.7, 0.2, 0.1]),
                "actions": actions,
                "label": y,
            }
        )
    )


def test_it_says_that_it_learns_from_normals():
    model = build(Settings())
    assert model.model_type == "anomaly"
    assert model.traits.learns_from_normals


def test_positives_change_nothing_that_is_learnt():
    rows = mixed()
    with_positives = stored(fit(rows).to_parts())
    normals_alone = stored(fit(rows.rows(rows.y == 0)).to_parts())
    assert with_positives.document == normals_alone.document
    assert {k: v.tobytes() for k, v in with_positives.arrays.items()} == {
        k: v.tobytes() for k, v in normals_alone.arrays.items()
    }


@pytest.mark.parametrize(("normals", "said"), [(0, "0 of the 60 rows"), (19, "19 of the 60 rows")])
def test_too_few_normals_are_refused_in_two_lines(normals, said):
    y = (np.arange(60) >= normals).astype(np.int8)
    rows = unlabelled({"x": np.random.default_rng(0).normal(size=60)})
    rows = LabelledTable(rows.frame, rows.roles, y)
    with pytest.raises(TrainingError, match=said) as caught:
        fit(rows)
    assert caught.value.mend


def test_twenty_normals_suffice():
    rows = unlabelled({"x": np.random.default_rng(0).normal(size=20)})
    model = fit(rows)
    assert model.fitting.details["normals_held_out"] == 7
    low, high = model.score(Table(pa.table({"x": [0.0, 50.0]}), rows.roles))
    assert high > low


def test_the_record_says_what_was_learnt_from():
    rows = mixed()
    details = fit(rows).fitting.details
    assert details["normals"] == int((rows.y == 0).sum())
    assert details["rows_not_read"] == int(rows.y.sum())
    assert details["normals_held_out"] == pytest.approx(0.2 * details["normals"], abs=1)
    assert details["detectors"] == {
        "amount, kind": ["tails", "isolation forest", "nearest prototypes"],
        "actions": ["mean surprise, order 5", "greatest surprises, order 3", "windows never seen"],
    }
    json.dumps(details)


def test_a_score_is_the_p_value_of_a_new_normal_row():
    rows = mixed(6000, share=0.0)
    scores = fit(rows).score(mixed(6000, seed=1, share=0.0))[2:]
    for p in (0.05, 0.2, 0.5):
        assert np.mean(10**-scores <= p) == pytest.approx(p, abs=0.02 + p / 10)
    assert scores.min() >= 0


def test_rows_beyond_all_normals_keep_their_order():
    rows = unlabelled({"x": np.random.default_rng(0).normal(size=500)})
    far = Table(pa.table({"x": [5.0, 10.0, 100.0, 1e6, 1e100]}), rows.roles)
    scores = fit(rows).score(far)
    assert (np.diff(scores) > 0).all()
    assert scores[0] > 2


def test_each_part_of_a_row_can_make_it_abnormal():
    model = fit(mixed())
    rows = mixed(200, seed=2, share=0.0)
    usual = np.quantile(model.score(rows), 0.95)
    one = {"amount": [0.0] * 4, "kind": ["a"] * 4, "actions": [sessions(1)[0]] * 4}
    one["amount"][1] = 30.0
    one["kind"][2] = "new"
    one["actions"][3] = one["actions"][0][::-1]
    scores = model.score(Table(normalise(pa.table(one)), rows.roles))
    assert scores[0] < usual
    assert (scores[1:] > usual).all()


def test_a_sequence_of_unseen_items_is_the_most_abnormal_and_order_counts():
    rows = unlabelled({"actions": sessions()})
    odd = [
        ["x1", "x2", "x3"],
        ["done", "write", "call", "read", "plan"],
        sessions(1, 5)[0],
        [],
        None,
    ]
    table = Table(normalise(pa.table({"actions": pa.array(odd)})), rows.roles)
    unseen, backward, usual, empty, missing = fit(rows).score(table)
    assert unseen > backward > usual
    assert empty == missing
    assert np.isfinite(empty)


def test_all_unseen_attacks_of_the_ancestor_are_told_apart_from_its_normals():
    rows, others = (
        labelled(synthetic.generate("legacy_anomaly", 600, seed=seed).table) for seed in (1, 2)
    )
    assert roc_auc_score(others.y, fit(rows).score(others)) > 0.999


def test_texts_are_read_as_words():
    rng = np.random.default_rng(0)
    words = ["please", "send", "the", "weekly", "report", "to", "me", "today"]
    said = [" ".join(words[i:] + words[:i]) for i in rng.integers(0, 8, 300)]
    rows = unlabelled({"said": said})
    roles = infer(rows.frame, RoleHints({"said": Role.TEXT}), label_needed=False)
    model = fit(LabelledTable.unlabelled(rows.frame, roles))
    odd = [
        "Please send the WEEKLY report, to me today.",
        "drop all tables; now",
        "today to send the",
    ]
    usual, unseen, shuffled = model.score(Table(normalise(pa.table({"said": odd})), roles))
    assert unseen > shuffled > usual
    assert unseen > 2


def test_it_tells_real_tumours_from_benign_ones():
    data = load_breast_cancer()
    columns = {f"x{i}": data.data[:, i] for i in range(data.data.shape[1])}
    rows = labelled(pa.table({**columns, "label": 1 - data.target}))
    order = np.random.default_rng(0).permutation(len(rows))
    model = fit(rows.rows(order[:340]))
    assert roc_auc_score(rows.y[order[340:]], model.score(rows.rows(order[340:]))) > 0.93


def test_rows_of_a_group_are_held_out_together():
    x = np.repeat(np.random.default_rng(0).normal(size=100), 5)
    frame = pa.table({"x": x, "session": np.repeat([f"s{i}" for i in range(100)], 5)})
    frame = normalise(frame)
    roles = infer(frame, RoleHints({"session": Role.GROUP}), label_needed=False)
    rows = LabelledTable.unlabelled(frame, roles)
    model = fit(rows)
    held = model.fitting.details["normals_held_out"]
    assert held == 100
    assert held % 5 == 0


def test_one_group_of_all_rows_is_cut_by_rows():
    frame = normalise(
        pa.table({"x": np.random.default_rng(0).normal(size=300), "g": ["one"] * 300})
    )
    roles = infer(frame, RoleHints({"g": Role.GROUP}), label_needed=False)
    assert fit(LabelledTable.unlabelled(frame, roles)).fitting.details["normals_held_out"] == 60


def test_weights_are_not_read_and_the_user_is_told():
    x = np.random.default_rng(0).normal(size=200)
    notes = fit(unlabelled({"x": x, "weight": x**2})).fitting.notes
    assert notes[-1] == "weights have no effect"
    assert "weights" not in " ".join(fit(unlabelled({"x": x})).fitting.notes)


def test_reasons_sum_to_the_score_less_that_of_the_held_out_normals():
    rows = mixed()
    model = fit(rows)
    scores = model.score(rows)
    sums = np.array([sum(r.contribution for r in found) for found in model.explain(rows, 9)])
    assert np.ptp(scores - sums) < 1e-9
    assert (scores - sums)[0] == pytest.approx(np.mean(scores[rows.y == 0]), abs=0.1)


def test_the_column_that_is_odd_is_the_first_reason():
    model = fit(mixed())
    one = {"amount": [30.0, 0.0, 0.0], "kind": ["a", "new", "a"], "actions": [sessions(1)[0]] * 3}
    one["actions"] = [one["actions"][0]] * 2 + [["plan", "read", "done", "call"]]
    first = [found[0] for found in model.explain(Table(normalise(pa.table(one)), mixed().roles), 3)]
    assert [reason.column for reason in first] == ["amount", "kind", "actions"]
    assert [reason.detail for reason in first][:2] == ["30", "new"]
    assert first[2].detail == "read > done (never seen)"
    assert all(reason.contribution > 0.5 for reason in first)


def test_explaining_in_blocks_gives_the_same_reasons(monkeypatch):
    model, rows = fit(mixed()), mixed(50, seed=3)
    whole = model.explain(rows, 9)
    monkeypatch.setattr("nethical.models.anomaly.EXPLAINED_ROWS", 7)
    assert model.explain(rows, 9) == whole


def test_scoring_in_blocks_gives_the_same_scores(monkeypatch):
    model, rows = fit(mixed()), mixed(200, seed=3)
    whole = model.score(rows)
    monkeypatch.setattr("nethical.models.anomaly.BATCH_ROWS", 7)
    assert (model.score(rows) == whole).all()
    assert (model.score(rows.slice(11, 1)) == whole[11]).all()


def test_parts_score_and_explain_the_same():
    model, rows = fit(mixed()), mixed(100, seed=3)
    again = Anomaly.from_parts(stored(model.to_parts()))
    assert (again.score(rows) == model.score(rows)).all()
    assert again.explain(rows, 9) == model.explain(rows, 9)
    assert all(a.dtype.kind in "fiu" for a in model.to_parts().arrays.values())


def test_a_model_that_was_not_fitted_says_so():
    with pytest.raises(TrainingError, match="not fitted"):
        build(Settings()).to_parts()


ODD = {
    "constant": {"x": np.full(60, 3.5)},
    "nothing": {"x": pa.nulls(60, pa.float64()), "z": np.arange(60.0)},
    "half missing": {"x": [None, 1.0] * 30, "z": np.random.default_rng(0).normal(size=60)},
    "large numbers": {"x": np.random.default_rng(0).normal(size=60) * 1e300},
    "duplicates": {"x": [1.0, 2.0] * 30, "level": ["a", "b"] * 30},
    "one level": {"level": ["same"] * 60},
    "all levels differ": {"level": [f"l{i}" for i in range(60)]},
    "empty lists": {"lists": pa.array([[]] * 60, pa.list_(pa.string()))},
    "no texts": {"said": pa.nulls(60, pa.string())},
}
KINDS = {"x": Role.NUMERIC, "z": Role.NUMERIC, "level": Role.CATEGORICAL, "lists": Role.SEQUENCE}
KINDS["said"] = Role.TEXT


@pytest.mark.parametrize("name", ODD)
def test_odd_columns_are_learnt_from_and_scored(name):
    frame = normalise(pa.table(ODD[name]))
    hints = RoleHints({column: KINDS[column] for column in ODD[name]})
    rows = LabelledTable.unlabelled(frame, infer(frame, hints, label_needed=False))
    model = fit(rows)
    scores = model.score(rows)
    assert np.isfinite(scores).all()
    assert model.score(rows.slice(0, 0)).shape == (0,)
    assert model.explain(rows.slice(0, 0), 3) == []
    again = Anomaly.from_parts(stored(model.to_parts()))
    assert (again.score(rows) == scores).all()
    missing = Table(pa.table({f.name: pa.nulls(2) for f in rows.features}), rows.roles)
    assert np.isfinite(model.score(missing)).all()
    assert all(np.isfinite(r.contribution) for found in model.explain(rows, 9) for r in found)


def test_normals_that_are_all_alike_score_nothing():
    frame = normalise(pa.table({"x": np.ones(100)}))
    roles = infer(frame, RoleHints({"x": Role.NUMERIC}), label_needed=False)
    assert set(fit(LabelledTable.unlabelled(frame, roles)).score(Table(frame, roles))) == {0}
