"""Runs of several kinds, logged for real, and then derived again from what their models keep."""

import importlib.util
import io
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical import Plan, Run, train
from nethical.audit.entries import encode_entry
from nethical.audit.log import Log
from nethical.audit.reading import LogReader
from nethical.audit.recompute import Agreement, Item, recompute
from nethical.audit.runs import Event, LoggedRun, find_run
from nethical.bundle import read
from nethical.canonical import canonical_json, digest
from nethical.data import synthetic
from nethical.errors import IntegrityError, UsageError
from nethical.keys import Keys, default_home
from nethical.registry import Registry
from nethical.signing import SIGNATURE_FILE, sign

NO_TRANSFORMER = importlib.util.find_spec("torch") is None


class ToLog:
    """A sink that writes each fact of a run to a log, and gives no receipt."""

    def __init__(self, log):
        self.log = log

    def record(self, fact, *, run_id, at):
        told = {"run_id": run_id, "timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"}
        self.log.append({**fact.to_document(), **told})

    def seal(self):
        self.log.seal()


@pytest.fixture(scope="module")
def learn(tmp_path_factory, key):
    """Train into a real log and a real registry; give the run as logged, and its model."""
    folder = tmp_path_factory.mktemp("recompute")
    registry = Registry(folder / "models", Keys(default_home()), lambda: datetime.now(UTC))
    log = Log(folder / "log", key)

    def run(data, model_type="heuristic", **settings):
        plan = Plan(model_type, data=data, threads=1, models_dir=str(folder / "models"), **settings)
        outcome = train(plan, run=Run([ToLog(log)]), registry=registry)
        model = registry.verify(outcome.published.model_id)
        return SimpleNamespace(
            run=find_run(LogReader(log.path, log.key), outcome.run_id), model=model
        )

    run.keys = registry.keys
    return run


def people(table, **shares):
    rng = np.random.default_rng(2)
    names = [None if name == "nobody" else name for name in shares]
    drawn = rng.choice(len(names), len(table), p=list(shares.values()))
    return table.append_column("region", pa.array([names[i] for i in drawn], pa.string()))


@pytest.fixture(scope="module")
def plain(learn):
    """Logistic on real rows."""
    return learn("sklearn:breast_cancer", "logistic", name="plain")


@pytest.fixture(scope="module")
def grouped(learn):
    """Rows in groups, of kinds of people, some of whom are too few and some unknown."""
    rows = synthetic.generate("risk", 5000, seed=1, groups=400, overlap=2).table
    table = people(rows, north=0.5, south=0.47, west=0.02, nobody=0.01)
    return learn(table, "boosted", name="grouped", columns={"region": "fairness"})


@pytest.fixture(scope="module")
def unlabelled(learn):
    """Novelty learnt from rows that nobody has judged."""
    rng = np.random.default_rng(1)
    table = pa.table({f"x{i}": rng.normal(size=900) for i in range(3)})
    return learn(table, "anomaly", name="unlabelled")


def item(found, name):
    return next(item for item in found.items if item.name == name)


def edited(run, event_type, **members):
    """The run as it would be, had the log held other members in the first event of a kind."""
    event = run.first(event_type)
    document = {**event.document, **members}
    other = Event(event.index, encode_entry(document), document)
    return LoggedRun(run.run_id, tuple(other if e is event else e for e in run.events))


def edited_criterion(run, words, **members):
    criteria = [
        {**c, **members} if words in c["name"] else c
        for c in run.first("gate_decided").document["criteria"]
    ]
    return edited(run, "gate_decided", criteria=criteria)


def resigned(case, folder, keys, **contents):
    """The model with other files, signed anew, and the run as it would then be."""
    files = {n: case.model.files[n] for n in case.model.files if n != SIGNATURE_FILE} | contents
    model_id, claims = case.model.model_id, case.model.claims
    signature = sign(files, name=model_id, key=keys.bundle_key(), claims=claims)
    for name, content in {**files, SIGNATURE_FILE: signature}.items():
        (folder / name).write_bytes(content)
    model = read(folder, keys.trusted())
    run = edited(case.run, "model_saved", signature_digest=model.signature_digest)
    return SimpleNamespace(run=run, model=model)


# --- what was logged follows from the scores ----------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "grouped", "unlabelled"])
def test_each_number_of_an_honest_run_follows_from_its_scores_to_the_last_bit(kind, request):
    case = request.getfixturevalue(kind)
    found = recompute(case.run, case.model)
    assert found.equal
    assert not found.having(Agreement.CLOSE)
    logged = case.run.first("validation_metrics").document["metrics"]
    criteria = case.run.first("gate_decided").document["criteria"]
    names = {item.name for item in found.having(Agreement.EXACT)}
    assert names >= {*logged, *(c["name"] for c in criteria), "verdict", "thresholds"}


def test_metrics_come_with_their_intervals_in_the_order_of_the_project(plain):
    found = recompute(plain.run, plain.model)
    recall = item(found, "recall")
    logged = plain.run.first("validation_metrics").document
    assert recall.logged == recall.derived
    assert [recall.derived["low"], recall.derived["high"]] == logged["intervals"]["recall"]
    names = [item.name for item in found.items]
    assert names.index("precision") < names.index("recall") < names.index("recall_at_budget")


def test_groups_and_kinds_of_people_are_read_from_what_the_model_keeps(grouped):
    found = recompute(grouped.run, grouped.model)
    kinds = item(found, "ECE of each fairness group <= 0.08")
    assert kinds.derived["n"] == 2
    assert "region=(missing)" in kinds.derived["note"]
    assert (
        item(found, "Groups in the gate part >= 30").derived["n"]
        == (grouped.run.first("data_split").document["groups"]["gate"])
    )


def test_without_labels_every_metric_is_unknown_and_nothing_is_decided(unlabelled):
    found = recompute(unlabelled.run, unlabelled.model)
    assert item(found, "recall").row() == ("recall", "unknown", "unknown", "exact")
    assert item(found, "Recall >= 0.5").derived["verdict"] == "INSUFFICIENT_EVIDENCE"
    assert item(found, "verdict").derived == "INSUFFICIENT_EVIDENCE"
    assert item(found, "cleared for production").derived is False
    assert "positives of the gate part" not in [item.name for item in found.items]


def test_percentiles_are_judged_as_percentiles(learn, tmp_path):
    """Learnt from normal rows alone, and judged by rows of both classes."""
    rng = np.random.default_rng(3)
    normal = pa.table({**{f"x{i}": rng.normal(size=900) for i in range(2)}, "label": [0] * 900})
    y = np.arange(400) % 4 == 0
    tested = {f"x{i}": rng.normal(size=400) + 4 * y for i in range(2)}
    pq.write_table(pa.table({**tested, "label": y.astype(int)}), tmp_path / "test.parquet")
    case = learn(normal, "anomaly", name="percentile", test_data=str(tmp_path / "test.parquet"))
    assert case.run.first("calibrated").document["method"] == "percentile"
    found = recompute(case.run, case.model)
    assert found.equal
    assert not found.having(Agreement.CLOSE)
    assert "percentiles are no probabilities" in item(found, "ECE <= 0.08").derived["note"]
    assert item(found, "recall").derived["estimate"] > 0.5


def test_a_threshold_and_limits_that_were_given_are_those_that_judge(learn):
    settings = {"threshold": 0.2, "max_ece": 0.02, "min_accuracy": 0.97, "alert_budget": 0.05}
    case = learn("sklearn:breast_cancer", name="limits", **settings)
    found = recompute(case.run, case.model)
    assert found.equal
    assert item(found, "thresholds").derived["block"] == 0.2
    names = {item.name for item in found.items}
    assert {"ECE <= 0.02", "Accuracy >= 0.97"} <= names


def test_leaks_are_judged_as_they_were_logged(learn):
    rows = synthetic.generate("risk", 2000, seed=1).table
    leaking = rows.append_column("answer", rows["label"])
    refused = learn(leaking, name="leaking")
    found = recompute(refused.run, refused.model)
    assert found.equal
    assert item(found, "No unaccepted leak").derived["verdict"] == "FAIL"
    accepted = learn(leaking, name="accepted", accept_leaks=("answer",))
    found = recompute(accepted.run, accepted.model)
    assert found.equal
    assert item(found, "No unaccepted leak").derived["verdict"] == "PASS"
    found = recompute(edited(refused.run, "leaks_probed", suspects=[]), refused.model)
    assert item(found, "No unaccepted leak").agreement == Agreement.DIFFERENT


# --- what cannot be derived ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def challenged(learn, tmp_path_factory):
    """Judged by two further sets, one of them of one class."""
    folder = tmp_path_factory.mktemp("challenges")
    rows = synthetic.generate("risk", 900, seed=9).table
    pq.write_table(rows, folder / "both.parquet")
    pq.write_table(rows.filter(pa.compute.equal(rows["label"], 1)), folder / "one.parquet")
    sets = (str(folder / "both.parquet"), str(folder / "one.parquet"))
    data = synthetic.generate("risk", 2500, seed=1).table
    return learn(data, name="challenged", challenge_data=sets)


def test_criteria_of_challenge_sets_are_called_underivable_and_taken_as_logged(challenged):
    found = recompute(challenged.run, challenged.model)
    assert found.equal
    of_sets = [i for i in found.having(Agreement.UNDERIVABLE) if ".parquet: " in i.name]
    assert len(of_sets) == 5  # a set of one class has no skill to judge
    assert {i.reason for i in of_sets} == {"the rows of challenge sets are not kept"}
    assert item(found, "verdict").reason == "with 5 criteria as they were logged"
    failed = edited_criterion(challenged.run, "both.parquet: ECE", verdict="FAIL")
    assert item(recompute(failed, challenged.model), "verdict").derived == "FAIL"


def test_a_challenge_set_that_the_log_passes_over_in_silence_shows(challenged):
    criteria = challenged.run.first("gate_decided").document["criteria"]
    fewer = [c for c in criteria if "one.parquet: Accuracy" not in c["name"]]
    found = recompute(edited(challenged.run, "gate_decided", criteria=fewer), challenged.model)
    (lacking,) = found.having(Agreement.DIFFERENT)
    assert lacking.name.endswith("one.parquet: Accuracy >= 0.85")
    assert lacking.reason == "the log lacks it"


@pytest.mark.skipif(NO_TRANSFORMER, reason="the extra [transformer] is not installed")
def test_what_a_plainer_model_said_is_called_underivable(learn):
    case = learn("synthetic:text", "simple_transformer", num_samples=400, epochs=1)
    found = recompute(case.run, case.model)
    assert found.equal
    beside = item(found, "Brier loss less that of logistic <= 0")
    assert beside.agreement == item(found, "metrics of logistic").agreement == "not derivable"
    criteria = case.run.first("gate_decided").document["criteria"]
    fewer = [c for c in criteria if c["name"] != beside.name]
    found = recompute(edited(case.run, "gate_decided", criteria=fewer), case.model)
    assert item(found, beside.name).agreement == Agreement.DIFFERENT


def test_the_comparison_with_the_current_model_is_called_underivable(learn):
    rows = synthetic.generate("risk", 4000, seed=1).table
    learn(rows.slice(0, 2000), name="succession")
    case = learn(rows, name="succession")
    found = recompute(case.run, case.model)
    assert found.equal
    names = [item.name for item in found.having(Agreement.UNDERIVABLE)]
    assert names == ["comparison with the current model", "cleared for production"]


def test_each_row_without_a_group_is_a_group_of_its_own_here_as_in_the_run(learn):
    rows = synthetic.generate("risk", 5000, seed=1, groups=400, overlap=2).table
    groups = [None if i % 97 == 0 else name for i, name in enumerate(rows["group"].to_pylist())]
    place = rows.column_names.index("group")
    case = learn(rows.set_column(place, "group", pa.array(groups)), name="groupless")
    found = recompute(case.run, case.model)
    assert found.equal
    for name in ("recall", "ece_debiased", "Accuracy >= 0.85", "groups of the gate part"):
        assert item(found, name).agreement == Agreement.EXACT
    for told in (3, 100_000):
        split = {**case.run.first("data_split").document["groups"], "gate": told}
        found = recompute(edited(case.run, "data_split", groups=split), case.model)
        assert item(found, "groups of the gate part").agreement == Agreement.DIFFERENT


# --- what does not follow shows -----------------------------------------------------------------


def test_an_edited_metric_shows_with_both_numbers_in_full(plain):
    logged = plain.run.first("validation_metrics").document
    better = {**logged["metrics"], "brier": logged["metrics"]["brier"] * (1 - 1e-6)}
    found = recompute(edited(plain.run, "validation_metrics", metrics=better), plain.model)
    assert not found.equal
    (brier,) = found.having(Agreement.DIFFERENT)
    assert brier.row() == (
        "brier",
        f"estimate {better['brier']!r}",
        f"estimate {logged['metrics']['brier']!r}",
        "different",
    )
    assert found.to_document()["counts"]["different"] == 1
    assert not found.to_document()["equal"]


def test_a_number_that_is_off_by_less_than_a_rounding_is_close_and_not_exact(plain):
    logged = plain.run.first("validation_metrics").document
    near = {**logged["metrics"], "brier": logged["metrics"]["brier"] * (1 + 1e-12)}
    found = recompute(edited(plain.run, "validation_metrics", metrics=near), plain.model)
    assert found.equal
    assert [item.name for item in found.having(Agreement.CLOSE)] == ["brier"]


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"intervals": {"recall": [0.99, 1.0]}}, "recall"),
        ({"metrics": {"recall": None}}, "recall"),
        ({"metrics": {"beauty": 1.0}, "intervals": {"beauty": [1.0, 1.0]}}, "beauty"),
        ({"rows": 115}, "rows measured"),
    ],
)
def test_an_edited_interval_count_or_name_shows(plain, members, name):
    logged = plain.run.first("validation_metrics").document
    merged = {
        key: {**logged[key], **value} if isinstance(value, dict) else value
        for key, value in members.items()
    }
    found = recompute(edited(plain.run, "validation_metrics", **merged), plain.model)
    assert [item.name for item in found.having(Agreement.DIFFERENT)] == [name]


def test_an_edited_verdict_shows(plain):
    decided = plain.run.first("gate_decided").document
    assert decided["verdict"] == "PASS"
    found = recompute(edited(plain.run, "gate_decided", verdict="FAIL"), plain.model)
    assert not found.equal
    assert item(found, "verdict").row() == ("verdict", "FAIL", "PASS", "different")


def test_a_refused_model_that_was_logged_as_cleared_shows(unlabelled):
    found = recompute(
        edited(unlabelled.run, "gate_decided", verdict="PASS", cleared=True), unlabelled.model
    )
    names = [item.name for item in found.having(Agreement.DIFFERENT)]
    assert names == ["verdict", "cleared for production"]


@pytest.mark.parametrize(
    "members",
    [{"verdict": "FAIL"}, {"bound": 0.01}, {"n": 7}, {"threshold": 0.5}, {"note": "as agreed"}],
)
def test_an_edited_criterion_shows(plain, members):
    found = recompute(edited_criterion(plain.run, "ECE", **members), plain.model)
    assert "ECE <= 0.08" in [item.name for item in found.having(Agreement.DIFFERENT)]


def test_a_criterion_that_the_gate_does_not_have_or_that_was_left_out_shows(plain):
    criteria = plain.run.first("gate_decided").document["criteria"]
    other = [{**criteria[0], "name": "Beauty >= 0.5"}, *criteria[1:]]
    found = recompute(edited(plain.run, "gate_decided", criteria=other), plain.model)
    names = [item.name for item in found.having(Agreement.DIFFERENT)]
    assert names == ["Beauty >= 0.5", criteria[0]["name"]]


def test_other_limits_in_the_plan_do_not_lead_to_the_criteria_that_were_logged(plain):
    plan = {**plain.run.first("training_start").document["plan"], "min_accuracy": 0.999}
    found = recompute(edited(plain.run, "training_start", plan=plan), plain.model)
    names = [item.name for item in found.having(Agreement.DIFFERENT)]
    assert names == ["Accuracy >= 0.85", "Accuracy >= 0.999", "verdict", "cleared for production"]


def test_another_cut_than_the_model_decides_by_shows(plain):
    cut = {**plain.run.first("calibrated").document["thresholds"], "block": 0.9}
    found = recompute(edited(plain.run, "calibrated", thresholds=cut), plain.model)
    (thresholds,) = found.having(Agreement.DIFFERENT)
    assert thresholds.row()[1:3] == ("block 0.9", "block 0.5")
    more = {**cut, "block": 0.5, "soft": 0.3}
    found = recompute(edited(plain.run, "calibrated", thresholds=more), plain.model)
    assert item(found, "thresholds").row()[1:3] == ("soft 0.3", "nothing")


def test_scores_that_were_signed_anew_lead_to_other_numbers(plain, tmp_path, learn):
    table = pq.read_table(io.BytesIO(plain.model.files["scores.parquet"]))
    worse = np.clip(table["probability"].to_numpy() * 0.5, 0.001, 0.999)
    buffer = io.BytesIO()
    pq.write_table(table.set_column(1, "probability", pa.array(worse)), buffer)
    case = resigned(plain, tmp_path, learn.keys, **{"scores.parquet": buffer.getvalue()})
    found = recompute(case.run, case.model)
    assert {"brier", "ece", "recall"} <= {item.name for item in found.having(Agreement.DIFFERENT)}


# --- what is not there, or too large for the log ------------------------------------------------


def test_another_model_than_the_run_published_is_refused(plain, grouped):
    with pytest.raises(IntegrityError, match="logged a model with the signature sha256:") as caught:
        recompute(plain.run, grouped.model)
    assert caught.value.mend


def test_a_run_that_published_nothing_has_nothing_to_derive(plain):
    short = LoggedRun(plain.run.run_id, plain.run.events[:3])
    with pytest.raises(UsageError, match="has no model_saved event"):
        recompute(short, plain.model)


def test_members_that_were_too_large_for_an_entry_are_read_from_the_model(plain):
    def by_digest(value):
        content = canonical_json(value)
        return {"digest": digest(content), "bytes": len(content)}

    plan = plain.run.first("training_start").document["plan"]
    criteria = plain.run.first("gate_decided").document["criteria"]
    run = edited(plain.run, "training_start", plan=by_digest(plan))
    run = edited(run, "gate_decided", criteria=by_digest(criteria))
    assert recompute(run, plain.model) == recompute(plain.run, plain.model)
    other = edited(run, "training_start", plan=by_digest({**plan, "seed": 1}))
    with pytest.raises(IntegrityError, match="does not hold what the log has by its digest"):
        recompute(other, plain.model)


def test_the_outcome_can_be_printed_and_stored(plain):
    found = recompute(plain.run, plain.model)
    assert all(len(row) == 4 and all(isinstance(cell, str) for cell in row) for row in found.rows())
    document = found.to_document()
    assert canonical_json(document)
    assert document["equal"] is True
    assert document["model_id"] == plain.model.model_id
    assert sum(document["counts"].values()) == len(document["items"])


def test_values_of_any_kind_are_told_in_one_line():
    row = Item("x", {"a": True, "b": {}}, None, Agreement.UNDERIVABLE, "not kept").row()
    assert row == ("x", "a yes, b nothing", "", "not derivable: not kept")
    assert replace(Item("x", 1, 2, Agreement.DIFFERENT), logged=None).row()[1] == "unknown"
