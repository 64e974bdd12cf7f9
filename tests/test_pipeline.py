import io
import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical import Plan, Run, calibrators, load, train
from nethical.data import synthetic
from nethical.data.roles import Role
from nethical.errors import DataError, StorageError, UsageError
from nethical.metrics.evaluation import evaluate

TYPES = ("heuristic", "logistic", "boosted")
SIX = ["training_start", "data_loaded", "data_split"]
SIX += ["training_completed", "validation_metrics", "model_saved"]
EXACT = ("model.json", "arrays.npz", "trees.txt", "metrics.json", "scores.parquet")


class Witness:
    """A sink that keeps what it sees."""

    def __init__(self):
        self.facts = []

    def record(self, fact, *, run_id, at):
        del run_id, at
        self.facts.append(fact.to_document())

    def seal(self):
        return None

    def of(self, event_type):
        return [fact for fact in self.facts if fact["event_type"] == event_type]

    @property
    def warnings(self):
        return " | ".join(fact["message"] for fact in self.of("warning"))


@pytest.fixture
def learn(tmp_path):
    """Train into a folder of the test's own; the outcome has what a sink saw as ``seen``."""

    def run(data, model_type="heuristic", **settings):
        seen = Witness()
        settings = {"models_dir": str(tmp_path / "models"), "threads": 1, **settings}
        outcome = train(Plan(model_type, data=data, **settings), run=Run([seen]))
        return outcome, seen

    return run


def risk(n_rows=2500, seed=1, **knobs):
    return synthetic.generate("risk", n_rows, seed=seed, **knobs).table


def with_column(table, name, values):
    return table.append_column(name, pa.array(values))


def with_label(table, values):
    return table.set_column(table.column_names.index("label"), "label", pa.array(values))


def verdict(outcome):
    return outcome.judged.decision.verdict.value


def criterion(outcome, words):
    return next(c for c in outcome.judged.decision.criteria if words in c.name)


def metrics(outcome):
    return json.loads((outcome.published.path / "metrics.json").read_text())


def record(outcome):
    return json.loads((outcome.published.path / "run.json").read_text())


def bundle_table(outcome, name):
    return pq.read_table(io.BytesIO((outcome.published.path / name).read_bytes()))


# --- what a model may and may not learn ---------------------------------------------------------


@pytest.mark.parametrize("model_type", TYPES)
def test_a_label_of_pure_noise_is_not_learnt(learn, model_type):
    noise = np.random.default_rng(0).integers(0, 2, 3000)
    outcome, _ = learn(with_label(risk(3000), noise), model_type)
    assert 0.42 < metrics(outcome)["accuracy"] < 0.58  # four standard errors of 600 rows
    assert verdict(outcome) == "FAIL"
    assert not outcome.published.promoted


@pytest.mark.parametrize("words", [("malicious", "benign"), ("yes", "no"), ("fine", "odd")])
def test_labels_may_be_words(learn, words):
    table = risk()
    labels = np.array([words[1], words[0]])[table["label"].to_numpy()]
    outcome, _ = learn(with_label(table, labels.tolist()), positive_labels=(words[0],))
    assert outcome.model.roles.labelling.positive == (words[0],)
    assert outcome.prepared.loaded.num_samples == len(table)
    assert metrics(outcome)["accuracy"] > 0.9
    assert outcome.prepared.loaded.source == "frame"


@pytest.fixture(scope="module")
def leaky():
    table = risk()
    return with_column(table, "verdict_code", table["label"].to_numpy() * 3 + 1)


def test_a_copy_of_the_label_is_reported_and_withholds_pass(learn, leaky):
    outcome, seen = learn(leaky)
    assert "'verdict_code' nearly decides the label" in seen.warnings
    assert [s["column"] for s in seen.of("leaks_probed")[0]["suspects"]] == ["verdict_code"]
    assert metrics(outcome)["accuracy"] > 0.99
    assert verdict(outcome) == "FAIL"
    assert "verdict_code" in criterion(outcome, "leak").note
    assert not outcome.published.promoted


def test_a_dropped_leak_is_not_read_and_pass_is_possible(learn, leaky):
    outcome, _ = learn(leaky, drop_leaks=True)
    assert verdict(outcome) == "PASS"
    assert "verdict_code" not in [f.name for f in outcome.model.roles.features]
    assert 0.9 < metrics(outcome)["accuracy"] < 0.99
    assert record(outcome)["leaks"]["dropped"] == ["verdict_code"]


def test_an_accepted_leak_is_read_and_pass_is_possible(learn, leaky):
    outcome, _ = learn(leaky, accept_leaks=("verdict_code",))
    assert verdict(outcome) == "PASS"
    assert metrics(outcome)["accuracy"] > 0.99
    assert record(outcome)["leaks"]["accepted"] == ["verdict_code"]
    with pytest.raises(UsageError, match="'nope'"):
        learn(leaky, accept_leaks=("nope",))


def test_a_file_sorted_by_label_has_both_classes_in_every_part(learn):
    outcome, seen = learn(risk().sort_by("label"))
    split = seen.of("data_split")[0]
    for part, rows in split["parts"].items():
        assert 0.3 < split["positives"][part] / rows < 0.7
    assert "sorted by label" in seen.warnings
    assert metrics(outcome)["accuracy"] < 0.99


@pytest.fixture(scope="module")
def rare():
    """Rows of which 3 % are positive."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(8000, 4))
    odds = -5.2 + x @ [1.2, 0.9, 0.6, 0.0]
    label = (rng.random(8000) < 1 / (1 + np.exp(-odds))).astype(int)
    assert 0.02 < label.mean() < 0.04
    return pa.table({**{f"x{i}": x[:, i] for i in range(4)}, "label": label})


@pytest.mark.parametrize("model_type", TYPES)
def test_rare_positives_get_a_threshold_by_rule_and_are_found(learn, rare, model_type):
    outcome, _ = learn(rare, model_type)
    thresholds = outcome.model.thresholds
    assert thresholds.rule.startswith("largest F1 at the accuracy floor")
    assert 0 < thresholds.block < 0.5
    assert metrics(outcome)["recall"] > 0.1
    assert metrics(outcome)["accuracy"] > 0.85
    assert metrics(outcome)["thresholds"]["block"] == thresholds.block


def test_the_rule_for_the_threshold_keeps_to_the_accuracy_floor(learn, rare):
    def reached(floor):
        outcome, _ = learn(rare, min_accuracy=floor)
        part = outcome.prepared.parts["calibrate"]
        called = outcome.model.probabilities(part) >= outcome.model.thresholds.block
        return np.mean(called == part.y)

    assert reached(0.5) < 0.965 <= reached(0.965)


def test_calibration_reads_the_calibrate_part_alone(learn):
    outcome, seen = learn(risk())
    part = outcome.prepared.parts["calibrate"]
    model = outcome.model
    alone = calibrators.fit(model.model.score(part), part.y, part.weights)
    assert model.calibrator.to_document() == alone.to_document()
    assert seen.of("calibrated")[0]["rows"] == len(part)


def test_a_given_threshold_is_used(learn):
    outcome, _ = learn(risk(), threshold=0.9)
    assert outcome.model.thresholds.block == 0.9
    default, _ = learn(risk())
    assert metrics(outcome)["recall"] < metrics(default)["recall"]
    assert metrics(outcome)["metrics"]["roc_auc"] == metrics(default)["metrics"]["roc_auc"]


def test_configured_thresholds_are_used(learn):
    given = {"block": 0.3, "gray_low": 0.25, "gray_high": 0.6, "confidence": 0.8}
    for model_type in ("heuristic", "anomaly"):
        outcome, _ = learn(risk(800), model_type, thresholds=given)
        cut = json.loads((outcome.published.path / "model.json").read_bytes())["thresholds"]
        assert cut == {**given, "rule": "as configured"}
    with pytest.raises(UsageError, match="both threshold and thresholds"):
        Plan("heuristic", thresholds=given, threshold=0.3)
    with pytest.raises(UsageError, match="thresholds are block"):
        Plan("heuristic", thresholds={**given, "block": 0.7})


def test_parameters_reach_the_model_and_are_kept_in_the_plan(learn):
    plain, _ = learn(risk(800), "boosted")
    small, _ = learn(risk(800), "boosted", parameters={"num_leaves": 2, "learning_rate": 0.05})
    texts = [(o.published.path / "trees.txt").read_text() for o in (plain, small)]
    assert "num_leaves=2\n" not in texts[0]
    assert texts[1].count("num_leaves=2\n") == texts[1].count("num_leaves=") > 0
    assert record(small)["plan"]["parameters"] == {"num_leaves": 2, "learning_rate": 0.05}
    again = Plan.from_document({**record(small)["plan"], "data": None})
    assert again.parameters == small.plan.parameters
    card = (small.published.path / "card.md").read_text()
    assert "num\\_leaves 2, learning\\_rate 0.05" in card


def test_a_wrong_parameter_is_refused_before_anything_is_read(learn):
    for parameters, words in (
        ({"leaves": 3}, "no parameter 'leaves'"),
        ({"num_leaves": 1}, "'num_leaves' is 1"),
    ):
        with pytest.raises(UsageError, match=words):
            learn("nowhere.csv", "boosted", parameters=parameters)


@pytest.mark.parametrize("way", ["random", "grouped", "temporal", "given", "test data"])
def test_a_search_has_a_part_to_choose_on_and_the_same_gate_part(learn, tmp_path, way):
    rows, settings = risk(2003), {}
    if way == "test data":
        path = tmp_path / "judged.parquet"
        pq.write_table(risk(500, seed=5), path)
        settings = {"test_data": str(path)}
    elif way != "random":
        column = {
            "grouped": np.arange(2003) % 150,
            "temporal": np.arange(2003) * 1e5,
            "given": np.where(np.arange(2003) % 5, "train", "test"),
        }[way]
        role = {"grouped": "group", "temporal": "time", "given": "ignore"}[way]
        rows, settings = with_column(rows, "extra", column), {"columns": {"extra": role}}
        settings |= {"split_column": "extra"} if way == "given" else {"split": way}
    plain, _ = learn(rows, **settings)
    search, seen = learn(rows, **settings, has_search=True)
    splits = [outcome.prepared.split for outcome in (plain, search)]
    assert splits[0].gate_digest == splits[1].gate_digest
    assert list(splits[0].parts) == ["train", "calibrate", "gate"]
    n, parts = sum(splits[1].parts.values()), splits[1].parts
    rest = n - parts["gate"]
    for name, share in {"train": 0.625, "tune": 0.1875, "calibrate": 0.1875}.items():
        assert parts[name] / rest == pytest.approx(share, abs=0.05)
    places = bundle_table(search, "rows.parquet").column("part").to_pylist()
    assert places.count("tune") == parts["tune"]
    assert seen.of("data_split")[0]["parts"] == parts


def test_xor_is_learnt_by_boosted_alone(learn):
    boosted, _ = learn("synthetic:xor", "boosted", num_samples=4000)
    best = boosted.prepared.loaded.details["best_accuracy"]
    assert metrics(boosted)["accuracy"] > best - 0.05
    logistic, _ = learn("synthetic:xor", "logistic", num_samples=4000)
    assert metrics(logistic)["accuracy"] < 0.65
    assert verdict(logistic) == "FAIL"


@pytest.mark.parametrize(
    "task", ["legacy_tabular", "legacy_anomaly", "legacy_correlation", "text", "sequence", "events"]
)
def test_every_synthetic_task_trains_and_is_better_than_guessing(learn, task):
    outcome, _ = learn(f"synthetic:{task}", "logistic", num_samples=1500)
    assert metrics(outcome)["metrics"]["roc_auc"] > 0.55
    assert outcome.prepared.is_synthetic


# --- raw rows in, the same probabilities out ----------------------------------------------------


def mixed_rows(n_rows=1500):
    """A row of every kind of column, one feature in the thousands, with gaps."""
    rng = np.random.default_rng(8)
    table = synthetic.generate("mixed", n_rows, seed=8, groups=200, missing=0.05).table
    large = rng.normal(5000, 2000, n_rows) + 3000 * table["label"].to_numpy()
    return table.add_column(0, "large", pa.array(large))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The same rows of every kind, learnt by all types; the rows, the folder, the outcomes."""
    folder = tmp_path_factory.mktemp("mixed")
    table = mixed_rows()
    outcomes = {}
    for model_type in TYPES:
        plan = Plan(model_type, data=table, threads=1, models_dir=str(folder / "models"))
        outcomes[model_type] = train(plan)
    return table, folder, outcomes


@pytest.mark.parametrize("model_type", TYPES)
def test_all_kinds_of_columns_are_read_together(mixed, model_type):
    _, _, outcomes = mixed
    outcome = outcomes[model_type]
    kinds = {feature.feature for feature in outcome.model.roles.features}
    assert kinds == {Role.NUMERIC, Role.CATEGORICAL, Role.TEXT, Role.SEQUENCE}
    assert outcome.model.roles.one(Role.GROUP) == "group"
    assert outcome.prepared.split.strategy == "grouped"
    assert metrics(outcome)["metrics"]["roc_auc"] > 0.8


RELOAD = """
import sys
import numpy as np
import pyarrow.parquet as pq
from nethical import load
rows, *models = sys.argv[1:]
frame = pq.read_table(rows)
np.savez(rows + ".npz", **{m: load(m).predict_proba(frame) for m in models})
"""


def test_a_model_loaded_elsewhere_gives_the_same_probabilities_of_raw_rows(mixed):
    table, folder, outcomes = mixed
    rows = folder / "rows.parquet"
    pq.write_table(table.drop_columns(["label"]), rows)
    paths = {t: str(o.published.path) for t, o in outcomes.items()}
    subprocess.run([sys.executable, "-c", RELOAD, rows, *paths.values()], cwd=folder, check=True)
    with np.load(f"{rows}.npz") as found:
        for model_type, path in paths.items():
            expected = outcomes[model_type].model.predict_proba(table)
            assert found[path].shape == (len(table), 2)
            assert np.ptp(expected[:, 1]) > 0.3
            np.testing.assert_array_equal(found[path], expected)


@pytest.mark.parametrize("model_type", TYPES)
def test_one_row_alone_has_the_probability_it_has_among_others(mixed, model_type):
    table, _, outcomes = mixed
    model = load(outcomes[model_type].published.path)
    expected = model.predict_proba(table)[:40, 1]
    found = [model.predict_row(row) for row in table.slice(0, 40).to_pylist()]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


REPEAT = """
import sys
import pyarrow.parquet as pq
from nethical import Plan, train
rows, models, threads = sys.argv[1:]
for model_type in ("heuristic", "logistic", "boosted"):
    frame = pq.read_table(rows)
    train(Plan(model_type, data=frame, threads=int(threads), models_dir=models))
"""


def test_the_same_plan_gives_the_same_bytes_in_any_surroundings(mixed, tmp_path):
    table, folder, outcomes = mixed
    pq.write_table(table, folder / "all.parquet")
    surroundings = {
        "PYTHONHASHSEED": "77",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "2",
    }
    subprocess.run(
        [sys.executable, "-c", REPEAT, folder / "all.parquet", "again", "2"],
        cwd=tmp_path,
        env={**os.environ, **surroundings},
        check=True,
    )
    again = {path.name.partition("_")[0]: path for path in (tmp_path / "again/versions").iterdir()}
    for model_type, outcome in outcomes.items():
        compared = [name for name in EXACT if (outcome.published.path / name).exists()]
        assert {"model.json", "metrics.json", "scores.parquet"} <= set(compared)
        for name in compared:
            first = (outcome.published.path / name).read_bytes()
            assert (again[model_type] / name).read_bytes() == first, (model_type, name)
    assert (again["boosted"] / "trees.txt").exists()
    assert (again["logistic"] / "arrays.npz").exists()


def test_another_seed_gives_another_split_and_model(learn):
    first, _ = learn(risk())
    second, _ = learn(risk(), seed=43)
    assert first.prepared.split.gate_digest != second.prepared.split.gate_digest
    assert first.model.to_files()["model.json"] != second.model.to_files()["model.json"]


# --- groups, given parts, other sets, people, weights -------------------------------------------


def test_groups_stay_together_and_widen_the_bounds(learn):
    outcome, _ = learn(risk(3000, groups=150, overlap=2))
    parts = outcome.prepared.parts
    assert outcome.prepared.split.strategy == "grouped"
    held = {name: set(part.frame["group"].to_pylist()) for name, part in parts.items()}
    for one, other in itertools.combinations(held.values(), 2):
        assert not one & other
    gate = parts["gate"]
    found = outcome.judged.evaluation.intervals_document()["accuracy"]
    alone = evaluate(
        gate.y,
        outcome.judged.y_proba,
        None,
        threshold=outcome.model.thresholds.block,
        budget=0.01,
    ).intervals_document()["accuracy"]
    assert found[1] - found[0] > 1.1 * (alone[1] - alone[0])
    assert criterion(outcome, "Groups in the gate part").verdict == "PASS"


def test_too_few_groups_are_no_evidence(learn):
    outcome, _ = learn(risk(3000, groups=40))
    few = criterion(outcome, "Groups in the gate part")
    assert few.estimate < 30
    assert few.verdict == "INSUFFICIENT_EVIDENCE"
    assert verdict(outcome) != "PASS"


def test_a_group_column_may_be_named(learn):
    table = with_column(risk(2000), "who", [f"p{i % 300}" for i in range(2000)])
    outcome, _ = learn(table, columns={"who": "group"})
    assert outcome.prepared.split.strategy == "grouped"
    assert sum(outcome.prepared.split.groups.values()) == 300


def test_time_decides_the_parts_when_there_is_a_time_column(learn):
    outcome, _ = learn(risk(2500, drift=1.0))
    assert outcome.prepared.split.strategy == "temporal"
    times = {n: p.frame["time"].to_numpy() for n, p in outcome.prepared.parts.items()}
    assert times["train"].max() <= times["calibrate"].min()
    assert times["calibrate"].max() <= times["gate"].min()


def test_a_split_column_decides_which_rows_judge(learn):
    given = np.where(np.arange(2500) % 4 == 0, "test", "train")
    outcome, _ = learn(with_column(risk(), "fold", given.tolist()), split_column="fold")
    assert outcome.prepared.split.strategy == "given"
    assert set(outcome.prepared.parts["gate"].frame["fold"].to_pylist()) == {"test"}
    assert outcome.prepared.split.parts["gate"] == 625
    assert "fold" not in [feature.name for feature in outcome.model.roles.features]
    with pytest.raises(UsageError, match="--test-data"):
        learn(risk(), split_column="violation_count", test_data="x.csv")


def test_test_data_judge_instead_of_the_gate_part(learn, tmp_path):
    pq.write_table(risk(900, seed=9), tmp_path / "test.parquet")
    outcome, _ = learn(risk(2000), test_data=str(tmp_path / "test.parquet"))
    assert outcome.prepared.split.parts["gate"] == 900
    train_rows = outcome.prepared.split.parts["train"], outcome.prepared.split.parts["calibrate"]
    assert sum(train_rows) == 2000
    assert metrics(outcome)["rows"] == 900
    assert verdict(outcome) == "PASS"


def test_no_row_that_judges_is_learnt_from(learn, tmp_path):
    pq.write_table(risk(2000).slice(0, 300), tmp_path / "test.parquet")
    outcome, seen = learn(risk(2000), test_data=str(tmp_path / "test.parquet"))
    said = "300 training rows equal a test row or share its group; they are left out"
    assert said in seen.warnings
    assert sum(outcome.prepared.split.parts.values()) == 2000


def test_a_challenge_set_of_training_rows_is_refused(learn, tmp_path):
    pq.write_table(risk(900), tmp_path / "same.parquet")
    with pytest.raises(DataError, match="no row that the model does not learn from"):
        learn(
            risk(900), test_data="synthetic:risk", challenge_data=(str(tmp_path / "same.parquet"),)
        )


def test_groups_on_both_sides_of_a_split_column_are_not_learnt_from(learn):
    table = with_column(risk(3000), "session", [f"s{i % 300}" for i in range(3000)])
    sides = ["test" if i < 600 else "train" for i in range(3000)]
    table = with_column(table, "side", sides)
    with pytest.raises(DataError, match="rows that the gate part holds too are left out"):
        learn(table, columns={"session": "group"}, split_column="side")


def test_a_challenge_set_must_hold_too(learn, tmp_path):
    good, bad = tmp_path / "good.parquet", tmp_path / "bad.parquet"
    pq.write_table(risk(900, seed=9), good)
    spoilt = risk(900, seed=10)
    pq.write_table(with_label(spoilt, 1 - spoilt["label"].to_numpy()), bad)
    held, _ = learn(risk(), challenge_data=(str(good),))
    assert verdict(held) == "PASS"
    assert metrics(held)["challenges"][str(good)]["rows"] == 900
    failed, _ = learn(risk(), challenge_data=(str(good), str(bad)))
    assert verdict(failed) == "FAIL"
    names = [c.name for c in failed.judged.decision.criteria if c.verdict == "FAIL"]
    assert names
    assert all(name.startswith(f"{bad}: ") for name in names)
    assert metrics(failed)["accuracy"] == metrics(held)["accuracy"]


def test_fairness_columns_are_judged_and_not_read(learn):
    people = np.random.default_rng(2).choice(["north", "south"], 4000)
    table = with_column(risk(4000), "region", people.tolist())
    outcome, _ = learn(table, columns={"region": "fairness"})
    assert "region" not in [feature.name for feature in outcome.model.roles.features]
    assert criterion(outcome, "fairness group").verdict == "PASS"
    assert criterion(outcome, "fairness group").n == 2
    assert bundle_table(outcome, "scores.parquet").column_names[-1] == "fairness:region"
    told, _ = learn(table, columns={"region": "fairness"}, use_fairness_columns=True)
    assert "region" in [feature.name for feature in told.model.roles.features]


def test_a_group_of_people_that_is_wronged_withholds_pass(learn):
    rng = np.random.default_rng(2)
    table = risk(6000)
    people = rng.choice(["north", "south"], 6000, p=[0.9, 0.1])
    label = np.where(people == "south", rng.random(6000) < 0.5, table["label"].to_numpy())
    table = with_column(with_label(table, label.astype(int)), "region", people.tolist())
    outcome, _ = learn(table, columns={"region": "fairness"})
    unfair = criterion(outcome, "fairness group")
    assert unfair.verdict == "FAIL"
    assert "region=south" in unfair.note
    assert not outcome.published.promoted


@pytest.mark.parametrize("model_type", TYPES)
def test_weights_say_which_rows_count(learn, model_type):
    table = risk(3000)
    rng = np.random.default_rng(3)
    wrong = rng.random(3000) < 0.6
    label = np.where(wrong, 1 - table["label"].to_numpy(), table["label"].to_numpy())
    table = with_label(table, label)
    fresh = risk(1000, seed=77)
    truth = fresh["label"].to_numpy()

    def right(outcome):
        score = outcome.model.model.score(outcome.model.table(fresh))
        return np.mean((score >= 0) == truth)

    misled, _ = learn(table, model_type)
    weighted = with_column(table, "weight", np.where(wrong, 1e-3, 1.0))
    guided, _ = learn(weighted, model_type)
    assert guided.model.roles.one(Role.WEIGHT) == "weight"
    assert right(misled) < 0.5
    assert right(guided) > 0.85


# --- who replaces whom --------------------------------------------------------------------------


def current(outcome, name):
    return (outcome.published.path.parents[1] / "current" / name).resolve().name


def test_synthetic_rows_never_replace_a_model_of_real_ones(learn):
    real, _ = learn(risk(seed=12))
    assert real.published.promoted
    for replacing in (False, True):
        made, _ = learn("synthetic:risk", num_samples=2500, replace=replacing)
        assert verdict(made) == "PASS"
        assert not made.published.promoted
        assert "synthetic" in made.judged.reason
        assert current(made, "heuristic") == real.published.model_id


def test_real_rows_replace_a_model_of_synthetic_ones(learn):
    made, _ = learn("synthetic:risk", num_samples=2500)
    assert made.published.promoted
    real, _ = learn(risk(seed=12))
    assert real.published.promoted
    assert current(real, "heuristic") == real.published.model_id


def test_a_model_of_other_columns_needs_a_name_of_its_own(learn):
    first, _ = learn(risk())
    other = with_column(risk(), "further", np.random.default_rng(0).normal(size=2500))
    second, _ = learn(other)
    assert verdict(second) == "PASS"
    assert not second.published.promoted
    assert "--name" in second.judged.reason
    named, _ = learn(other, name="wider")
    assert named.published.promoted
    assert current(named, "wider") == named.published.model_id
    assert current(named, "heuristic") == first.published.model_id


def test_a_significantly_worse_newcomer_becomes_a_candidate_unless_it_is_to_replace(
    learn, tmp_path
):
    pq.write_table(risk(1500, seed=9), tmp_path / "test.parquet")
    settings = {"test_data": str(tmp_path / "test.parquet"), "max_ece": 0.5, "min_accuracy": 0.6}
    good, _ = learn(risk(), **settings)
    noisy = risk(seed=3, label_noise=0.3)
    worse, seen = learn(noisy, **settings)
    assert verdict(worse) == "PASS"
    assert not worse.published.promoted
    assert "significantly worse" in worse.judged.reason
    comparison = seen.of("gate_decided")[0]["comparison"]
    assert comparison["current"] == good.published.model_id
    assert (comparison["n"], comparison["worse"]) == (1500, True)
    assert 0 < comparison["difference"][1] < comparison["difference"][0]
    assert current(worse, "heuristic") == good.published.model_id
    replacing, _ = learn(noisy, replace=True, **settings)
    assert replacing.published.promoted
    assert current(replacing, "heuristic") == replacing.published.model_id


def test_a_newcomer_that_is_not_worse_replaces_the_current_one(learn):
    learn(risk(2500))
    grown = pa.concat_tables([risk(2500), risk(1500, seed=2)])
    second, seen = learn(grown)
    comparison = seen.of("gate_decided")[0]["comparison"]
    assert comparison["n"] == second.prepared.split.parts["gate"]
    assert not comparison["worse"]
    assert second.published.promoted


# --- facts, sinks, and what goes wrong ----------------------------------------------------------


def test_the_six_facts_come_in_their_order_and_agree_with_the_outcome(learn):
    outcome, seen = learn(risk())
    names = [fact["event_type"] for fact in seen.facts]
    assert [name for name in names if name in SIX] == SIX
    started, loaded, split, done, measured, saved = (seen.of(name)[0] for name in SIX)
    assert (started["run_id"], started["seed"]) == (outcome.run_id, 42)
    assert loaded["num_samples"] == 2500
    assert split["train_samples"] + split["val_samples"] == 2500
    assert done["model_type"] == "heuristic"
    assert measured["metrics"] == metrics(outcome)["metrics"]
    assert saved["model_path"] == str(outcome.published.path)
    assert saved["promoted"] is outcome.published.promoted is True
    assert json.loads(json.dumps(seen.facts, allow_nan=False)) == seen.facts


class Failing(Witness):
    """A sink that cannot keep one kind of fact."""

    def __init__(self, event_type):
        super().__init__()
        self._event_type = event_type

    def record(self, fact, **settings):
        if fact.event_type == self._event_type:
            raise StorageError("the log is full", mend="make room")
        super().record(fact, **settings)


BEFORE_PUBLISHING = [name for name in SIX if name != "model_saved"]
BEFORE_PUBLISHING += ["roles_inferred", "leaks_probed", "calibrated", "gate_decided"]


@pytest.mark.parametrize("event_type", BEFORE_PUBLISHING)
def test_a_sink_that_raises_stops_the_run_before_anything_is_stored(tmp_path, event_type):
    first, failing = Witness(), Failing(event_type)
    plan = Plan("heuristic", data=risk(600), models_dir=str(tmp_path / "models"))
    with pytest.raises(StorageError, match="the log is full"):
        train(plan, run=Run([first, failing]))
    assert list(tmp_path.iterdir()) == []
    assert event_type not in [fact["event_type"] for fact in failing.facts]
    if event_type != "training_start":
        assert failing.facts[-1]["event_type"] == "stage_failed"


def test_a_sink_that_cannot_seal_stops_the_run_before_anything_is_stored(tmp_path):
    class Unsealed(Witness):
        def seal(self):
            raise StorageError("the log is full", mend="make room")

    plan = Plan("heuristic", data=risk(600), models_dir=str(tmp_path / "models"))
    with pytest.raises(StorageError, match="the log is full"):
        train(plan, run=Run([Unsealed()]))
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_fails_is_recorded_with_its_error(learn, tmp_path):
    seen = Witness()
    plan = Plan("heuristic", data=with_label(risk(600), [1] * 600), models_dir=str(tmp_path / "m"))
    with pytest.raises(DataError):
        train(plan, run=Run([seen]))
    (failed,) = seen.of("stage_failed")
    assert (failed["stage"], failed["error"]) == ("roles", "DataError")
    assert "one class" in failed["message"]
    assert seen.facts[-1] == failed
    assert list(tmp_path.iterdir()) == []
    del learn


def test_other_rows_than_those_asked_for_are_refused_before_training(learn, tmp_path):
    outcome, _ = learn(risk(600))
    digest = outcome.prepared.loaded.digest
    plan = replace(outcome.plan, models_dir=str(tmp_path / "other"))
    train(plan, data_digest=digest)
    seen = Witness()
    with pytest.raises(DataError, match="digest"):
        train(replace(plan, data=risk(600, seed=2)), run=Run([seen]), data_digest=digest)
    assert seen.of("training_completed") == []
    assert len(list((tmp_path / "other" / "versions").iterdir())) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"seed": -1},
        {"num_samples": 0},
        {"threshold": 1.0},
        {"name": "../up"},
        {"columns": {"x": "colour"}},
    ],
)
def test_a_plan_that_makes_no_sense_cannot_be_made(settings):
    with pytest.raises(UsageError) as caught:
        Plan("heuristic", **settings)
    assert caught.value.mend


def test_a_plan_survives_its_document():
    plan = Plan("logistic", data=Path("rows.csv"), columns={"x": "id"}, accept_leaks=("a", "b"))
    again = Plan.from_document(json.loads(json.dumps(plan.to_document())))
    assert again == replace(plan, data="rows.csv")
    with pytest.raises(UsageError, match="'colour'"):
        Plan.from_document({**plan.to_document(), "colour": "red"})


# --- what the bundle says -----------------------------------------------------------------------


def test_metrics_have_the_names_that_scripts_look_for(mixed):
    for outcome in mixed[2].values():
        document = metrics(outcome)
        for name in ("precision", "recall", "accuracy", "f1", "ece"):
            assert document[name] == document["metrics"][name]
            assert 0 <= document[name] <= 1
        assert document["verdict"] == verdict(outcome)
        assert {c["name"] for c in document["criteria"]} >= {"ECE <= 0.08", "Accuracy >= 0.85"}


def test_the_card_tells_verdict_rows_and_columns(mixed):
    for outcome in mixed[2].values():
        card = (outcome.published.path / "card.md").read_text()
        assert card.startswith(f"# Model card: `{outcome.published.model_id}`")
        assert verdict(outcome) in card
        assert "large" in card


def test_scores_and_rows_hold_no_raw_value(mixed):
    table, _, outcomes = mixed
    outcome = outcomes["heuristic"]
    scores = bundle_table(outcome, "scores.parquet")
    rows = bundle_table(outcome, "rows.parquet")
    assert scores.column_names == ["row", "probability", "label", "group"]
    assert rows.column_names == ["row", "part"]
    assert len(rows) == len(table)
    assert len(scores) == outcome.prepared.split.parts["gate"]
    np.testing.assert_array_equal(scores["probability"].to_numpy(), outcome.judged.y_proba)
    stored = b"".join(
        (outcome.published.path / name).read_bytes() for name in ("scores.parquet", "rows.parquet")
    )
    groups = set(table["group"].to_pylist())
    assert not [group for group in groups if group.encode() in stored]
    texts = [c for c in table.column_names if pa.types.is_string(table[c].type)]
    values = {v for c in texts for v in table[c].to_pylist() if v is not None and len(v) > 6}
    assert len(values) > 100
    assert not [value for value in values if value.encode() in stored]


def test_the_row_key_decides_the_digests_and_nothing_else(learn, monkeypatch, tmp_path):
    first, _ = learn(risk(800))
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "another"))
    second, _ = learn(risk(800), models_dir=str(tmp_path / "elsewhere"))
    one, two = (bundle_table(o, "scores.parquet") for o in (first, second))
    assert one["probability"] == two["probability"]
    assert not set(one["row"].to_pylist()) & set(two["row"].to_pylist())
    assert record(first)["row_key"] != record(second)["row_key"]


def test_readings_of_one_gate_part_are_counted(learn):
    readings = [record(learn(risk())[0])["gate_readings"] for _ in range(2)]
    other = record(learn(risk(seed=5))[0])["gate_readings"]
    assert (readings, other) == ([1, 2], 1)


# --- what a review found -------------------------------------------------------------------------


def test_a_leak_in_the_middle_of_a_numeric_column_is_found(learn):
    rng = np.random.default_rng(4)
    kind = rng.integers(0, 3, 2000)
    table = pa.table({"kind": kind, "noise": rng.normal(size=2000), "label": (kind == 1) * 1})
    outcome, seen = learn(table, "boosted")
    assert verdict(outcome) == "FAIL"
    assert "'kind' nearly decides the label" in str(seen.warnings)


def test_nothing_left_after_dropped_leaks_is_told(learn):
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, 600)
    table = pa.table({"copy": label + rng.random(600) / 9, "label": label})
    with pytest.raises(DataError, match="no column is left to learn from without 'copy'"):
        learn(table, drop_leaks=True)


def test_too_few_rows_to_probe_for_leaks_is_no_pass(learn):
    label = np.zeros(2000, dtype=int)
    label[::120] = 1
    rng = np.random.default_rng(5)
    outcome, _ = learn(pa.table({"copy": label + rng.random(2000) / 9, "label": label}))
    assert criterion(outcome, "leak").verdict == "INSUFFICIENT_EVIDENCE"
    card = (outcome.published.path / "card.md").read_text()
    assert "Not probed for leaks" in card
    assert "none stood out" not in card


def test_codes_that_differ_by_a_digit_are_other_rows(learn):
    rng = np.random.default_rng(6)
    table = pa.table(
        {
            "code": [f"user{i % 500}" for i in range(4000)],
            "level": rng.integers(0, 4, 4000),
            "label": rng.integers(0, 2, 4000),
        }
    )
    outcome, _ = learn(table)
    assert outcome.prepared.split.duplicate_rows == 4000 - len(
        set(zip(table["code"].to_pylist(), table["level"].to_pylist(), strict=True))
    )
