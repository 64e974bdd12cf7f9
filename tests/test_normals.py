"""The flow of a type that learns from normal rows: with labels, with some, with none."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical import Plan, load, train
from nethical.data import synthetic
from nethical.errors import DataError
from nethical.facts import Calibrated, Evaluated, GateDecided, ModelFitted, Warned
from nethical.models import catalog
from nethical.models.base import Settings
from nethical.run import Run, silent
from nethical.testing.cases import labelled, stored

N = 1500


class Listener:
    def __init__(self):
        self.facts = []

    def record(self, fact, **_):
        self.facts.append(fact)

    def seal(self):
        return None

    def of(self, kind):
        return [fact for fact in self.facts if isinstance(fact, kind)]


def rows(n=N, seed=1, share=0.1):
    """Return normal rows around 0 and a share of abnormal ones far from it."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    x = rng.normal(size=(n, 3)) + np.where(y, 2.8, 0.0)[:, None] * rng.choice([-1, 1], size=(n, 3))
    return pa.table({**{f"x{i}": x[:, i] for i in range(3)}, "label": y})


def trained(folder, data, **plan):
    listener = Listener()
    plan = Plan("anomaly", data=data, models_dir=str(folder / "models"), **plan)
    return train(plan, run=Run([listener])), listener


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled")
    return trained(folder, rows(share=0).drop_columns("label"))


def test_labels_calibrate_and_judge_what_was_learnt_from_normal_rows(tmp_path):
    outcome, listener = trained(tmp_path, rows())
    metrics = outcome.judged.evaluation.metrics_document()
    assert metrics["roc_auc"] > 0.95
    assert metrics["ece_debiased"] < 0.05
    assert listener.of(Calibrated)[0].method == "sigmoid"
    assert outcome.judged.decision.verdict == "PASS"
    advice = [note for note in listener.of(ModelFitted)[0].notes if "boosted" in note]
    assert len(advice) == 1


def test_few_positives_are_no_reason_for_another_type(tmp_path):
    _, listener = trained(tmp_path, rows(share=0.02))
    assert not [note for note in listener.of(ModelFitted)[0].notes if "boosted" in note]


def test_positive_rows_never_teach():
    """Whatever the positive rows hold, the same is learnt."""
    table = rows()
    y = table.column("label").to_numpy()
    names = ("x0", "x1", "x2")
    changed = {n: np.where(y == 1, 99.0, table.column(n).to_numpy()) for n in names}
    parts = []
    for frame in (table, pa.table({**changed, "label": y})):
        model = catalog.build("anomaly", Settings())
        model.fit(labelled(frame), rng=np.random.default_rng(1), progress=silent)
        parts.append(stored(model.to_parts()))
    assert parts[0].document == parts[1].document
    assert {k: v.tobytes() for k, v in parts[0].arrays.items()} == {
        k: v.tobytes() for k, v in parts[1].arrays.items()
    }


def test_without_labels_it_trains_and_nothing_is_claimed(unlabelled):
    outcome, listener = unlabelled
    assert outcome.judged.decision.verdict == "INSUFFICIENT_EVIDENCE"
    assert not outcome.published.promoted
    (evaluated,) = listener.of(Evaluated)
    assert set(evaluated.metrics.values()) == {None}
    assert {v for pair in evaluated.intervals.values() for v in pair} == {None}
    (decided,) = listener.of(GateDecided)
    assert {c["verdict"] for c in decided.criteria} == {"INSUFFICIENT_EVIDENCE"}
    said = " ".join(fact.message for fact in listener.of(Warned))
    assert "no label column" in said
    assert "percentile" in said


def test_without_labels_the_bundle_says_unknown_wherever_it_speaks(unlabelled):
    folder = unlabelled[0].published.path
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["positives"] is None
    assert metrics["accuracy"] is None
    assert metrics["reliability"]["n"] == []
    assert pq.read_table(folder / "scores.parquet").column("label").null_count == metrics["rows"]
    card = (folder / "card.md").read_text()
    assert "**Unknown.** Not one of the" in card
    assert "its percentile among rows that are taken for normal, which is no probability" in card
    assert "no label that could leak" in card
    assert "rows without a label" in (folder / "scores.svg").read_text()
    assert "negatives" not in (folder / "scores.svg").read_text()


def test_without_labels_a_probability_is_the_percentile_among_normal_rows(unlabelled):
    model = load(unlabelled[0].published.path)
    fresh = model.predict_proba(rows(6000, seed=9, share=0).drop_columns("label"))[:, 1]
    for share in (0.5, 0.9):
        assert np.mean(fresh > share) == pytest.approx(1 - share, abs=0.06)
    far = model.predict_proba(pa.table({f"x{i}": [9.0, 40.0] for i in range(3)}))[:, 1]
    assert far.min() > 0.99


def test_alerts_keep_to_the_budget(tmp_path):
    outcome, _ = trained(tmp_path, rows(8000, share=0), alert_budget=0.05)
    fresh = rows(20_000, seed=3, share=0)
    decisions = outcome.model.score_frame(fresh).column("decision").to_pylist()
    alerted = sum(word != "allow" for word in decisions) / len(decisions)
    assert alerted == pytest.approx(0.05, abs=0.02)
    assert 0 < decisions.count("block") < decisions.count("review")
    assert "alert budget of 0.05" in outcome.model.thresholds.rule


def test_a_label_of_normal_rows_only_is_no_error(tmp_path):
    outcome, _ = trained(tmp_path, rows(share=0))
    assert outcome.judged.decision.verdict == "INSUFFICIENT_EVIDENCE"
    assert outcome.prepared.roles.labelling.positive == ()


def test_labels_that_only_the_test_table_has_judge(tmp_path):
    pq.write_table(rows(1000, seed=5), tmp_path / "judged.parquet")
    for name, table in (("none", rows(share=0).drop_columns("label")), ("zeros", rows(share=0))):
        outcome, _ = trained(tmp_path / name, table, test_data=str(tmp_path / "judged.parquet"))
        assert outcome.judged.evaluation.metrics_document()["roc_auc"] > 0.95
        assert outcome.prepared.roles.labelling.positive == ("1",)
        assert outcome.model.calibrator.method == "percentile"
        loaded = load(outcome.published.path)
        assert loaded.roles.labelling.positive == ("1",)


def test_other_types_still_need_labels(tmp_path):
    table = rows(share=0)
    for data in (table, table.drop_columns("label")):
        with pytest.raises(DataError):
            train(Plan("logistic", data=data, models_dir=str(tmp_path)))


def test_recent_normal_rows_set_the_threshold_where_times_are_known(tmp_path):
    """What is normal moves: the threshold of the later half is above that of all."""
    n = 12_000
    rng = np.random.default_rng(0)
    drift = np.linspace(1.0, 3.0, n)
    x = rng.normal(size=(n, 2)) * drift[:, None]
    when = np.datetime64("2026-01-01T00:00:00", "us") + np.arange(n) * np.timedelta64(60, "s")
    table = pa.table({"x0": x[:, 0], "x1": x[:, 1], "when": pa.array(when)})
    timed, _ = trained(tmp_path / "timed", table, split="random")
    bare, _ = trained(tmp_path / "bare", table, split="random", columns={"when": "ignore"})
    assert "on 1,1" in timed.model.thresholds.rule
    later = table.slice(n - 2000)
    share = {
        name: np.mean(np.array(o.model.score_frame(later)["decision"].to_pylist()) != "allow")
        for name, o in (("timed", timed), ("bare", bare))
    }
    assert share["timed"] < share["bare"]


def test_swapping_actions_changes_the_score(tmp_path):
    frame = synthetic.generate("sequence", 1500, seed=1).table
    outcome, _ = trained(tmp_path, frame)
    pair = ["plan", "read_secret"]
    swapped = pa.table({"actions": [[*pair, "run_tests"], [*pair[::-1], "run_tests"]]})
    one, other = outcome.model.predict_proba(swapped)[:, 1]
    assert one != other


def test_evaluate_judges_a_model_that_learnt_without_labels(unlabelled, command, tmp_path):
    pq.write_table(rows(1000, seed=7), tmp_path / "judged.parquet")
    folder = unlabelled[0].published.path
    keys = {"NETHICAL_HOME": os.environ["NETHICAL_HOME"]}
    done = command("evaluate", folder, "judged.parquet", "--json", cwd=tmp_path, env=keys)
    assert done.code == 0, done.err
    assert done.document["metrics"]["roc_auc"] > 0.95
    pq.write_table(rows(10).rename_columns(["x0", "x1", "x2", "bad"]), tmp_path / "named.parquet")
    done = command("evaluate", folder, "named.parquet", cwd=tmp_path, env=keys)
    assert done.code == 4
    assert "--label-column" in done.err


def test_percentiles_are_never_judged_as_probabilities(tmp_path):
    pq.write_table(rows(1000, seed=5), tmp_path / "judged.parquet")
    outcome, _ = trained(
        tmp_path, rows(share=0), test_data=str(tmp_path / "judged.parquet"), alert_budget=0.05
    )
    verdicts = {c.name: c.verdict for c in outcome.judged.decision.criteria}
    assert verdicts["ECE <= 0.08"] == "INSUFFICIENT_EVIDENCE"
    assert verdicts["Skill over the base rate > 0"] == "INSUFFICIENT_EVIDENCE"
    assert verdicts["Recall >= 0.5"] == "PASS"
    assert verdicts["Accuracy >= 0.85"] == "PASS"
    assert outcome.judged.decision.verdict == "INSUFFICIENT_EVIDENCE"


def test_a_challenge_set_without_labels_is_refused(tmp_path):
    pq.write_table(rows(200, share=0).drop_columns("label"), tmp_path / "bare.parquet")
    for data in (rows(), rows(share=0).drop_columns("label")):
        with pytest.raises(
            DataError, match=r"no labels to judge by|label column 'label' is missing|lacks"
        ):
            trained(tmp_path, data, challenge_data=(str(tmp_path / "bare.parquet"),))


def test_a_gate_part_of_one_class_has_no_metric(tmp_path):
    outcome, listener = trained(tmp_path, rows(share=0))
    (evaluated,) = listener.of(Evaluated)
    assert set(evaluated.metrics.values()) == {None}
    assert "is of the other class" in (outcome.published.path / "card.md").read_text()
