"""Where cohorts come from: files of scored rows, and what they may not be."""

from dataclasses import fields
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical.drift import intake
from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import Cohorts
from nethical.drift.intake import MOST_COHORTS, PROCESS, Columns, violations
from nethical.drift.rows import read_rows
from nethical.errors import DataError, NethicalError, UsageError
from nethical.gate import Limits
from nethical.plan import Plan

AT = datetime(2026, 1, 1, tzinfo=UTC)


def table(n=400, seed=1, **more):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    p = 1 / (1 + np.exp(-2.2 * rng.normal(np.where(y, 1.1, -1.1))))
    return {"probability": p, "label": y.astype(int), "order": rng.integers(0, 10**9, n), **more}


@pytest.fixture
def read(tmp_path):
    def read(columns=None, *, cohort_id="a", key=b"k" * 32, **more):
        path = tmp_path / f"rows_{len(list(tmp_path.iterdir()))}.parquet"
        pq.write_table(pa.table(table() if columns is None else columns), path)
        words = {"model": "m", "threshold": 0.5, "window": "week", "limits": Limits(0.08, 0.85)}
        named = more.pop("named", {})
        return intake.from_file(
            path, Columns(**named), cohort_id=cohort_id, key=key, **{**words, **more}
        )

    return read


@pytest.fixture
def store(tmp_path):
    return Cohorts(tmp_path / "reports", lambda: AT)


def test_every_column_of_a_file_has_one_meaning(read):
    for named in (
        {"probability": "label"},  # the label beside it is found by its name
        {"label": "probability"},
        {"group": "label"},
        {"fairness": ("probability",)},
    ):
        with pytest.raises(UsageError, match="as something else"):
            read(named=named)
    with pytest.raises(DataError, match="no column 'when'; found: probability, label, order"):
        read(named={"time": "when"})


def test_a_cohort_is_the_rows_of_a_file(read, store):
    rows = table()
    (one,) = read(rows)
    assert intake.add(store, [one]) == [store.load(["a"])[0].runs[0].cells_digest]
    (cohort,) = store.load()
    wanted = summarise(Scored(rows["probability"], rows["label"].astype(np.int8), 0.5))
    assert cohort.summary.to_bytes() == wanted.to_bytes()
    kept = read_rows(cohort.runs[0], store.folder)
    assert sorted(kept.y_proba) == sorted(rows["probability"])
    assert (store.folder / cohort.runs[0].rows_path).stat().st_mode & 0o777 == 0o600


def test_rows_are_known_by_what_is_not_said_of_them(read):
    """A second model, labels that came later, and the decision change nothing of who a row is."""
    rows = table()
    (one,) = read(rows)
    other = {**rows, "probability": rows["probability"] ** 2, "decision": ["allow"] * 400}
    assert read(other)[0].run.rows_digest == one.run.rows_digest
    shuffled = np.random.default_rng(0).permutation(400)
    again = read({name: np.asarray(values)[shuffled] for name, values in rows.items()})[0]
    assert again.run.rows_digest == one.run.rows_digest
    assert read({**rows, "order": rows["order"] + 1})[0].run.rows_digest != one.run.rows_digest
    assert read(rows, key=b"o" * 32)[0].run.rows_digest != one.run.rows_digest


def test_rows_that_hold_nothing_else_are_known_by_place_and_probability(read):
    rows = {name: values for name, values in table().items() if name != "order"}
    (one,) = read(rows)
    assert read(rows)[0].run.rows_digest == one.run.rows_digest
    changed = {**rows, "probability": rows["probability"] * 0.99}
    assert read(changed)[0].run.rows_digest != one.run.rows_digest


def test_each_value_of_a_column_has_its_own_rows(read, store):
    where = np.random.default_rng(2).choice(["north", "south", None], 400)
    rows = table(where=pa.array(list(where), pa.string()))
    additions = read(rows, cohort_id=None, named={"cohort": "where"})
    assert {one.label for one in additions} == {"north", "south", "(missing)"}
    intake.add(store, additions)
    for cohort in store.load():
        here = where == (None if cohort.label == "(missing)" else cohort.label)
        wanted = summarise(Scored(rows["probability"][here], rows["label"][here], 0.5))
        assert cohort.summary.to_bytes() == wanted.to_bytes()
    assert len({cohort.created_at for cohort in store.load()}) == 1


def test_too_many_values_are_refused_before_anything_is_stored(read, store):
    enough = table(MOST_COHORTS, c=[f"v{i}" for i in range(MOST_COHORTS)])
    assert len(read(enough, cohort_id=None, named={"cohort": "c"})) == MOST_COHORTS
    many = table(10_000, c=[f"v{i}" for i in range(10_000)])
    with pytest.raises(DataError, match=r"column 'c' has 10,000 values; at most 200") as caught:
        read(many, cohort_id=None, named={"cohort": "c"})
    assert "--cohort-column" in caught.value.mend
    assert not store.folder.exists()


def test_several_cohorts_are_added_together_or_not_at_all(read, store):
    where = ["north", "south"] * 200
    additions = read(table(where=where), cohort_id=None, named={"cohort": "where"})
    intake.add(store, additions[1:])
    before = store.path.read_bytes()
    with pytest.raises(DataError, match="already"):
        intake.add(store, additions)  # the first is new, the second is not
    assert store.path.read_bytes() == before
    assert [cohort.label for cohort in store.load()] == ["south"]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (table(probability=["high"] * 400), "no probabilities"),
        (table(probability=[0.5] * 399 + [None]), "row 400"),
        (table(probability=[0.5] * 399 + [1.0000001]), "outside"),
        (table(label=[0.25] * 400), "unknown values"),
        (table(0), "no"),
    ],
)
def test_what_is_no_score_or_label_is_refused(read, columns, told):
    with pytest.raises(NethicalError, match=told):
        read(columns)


@pytest.mark.parametrize("threshold", [0.0, 1.0, float("nan"), -1])
def test_a_threshold_lies_between_nothing_and_all(read, threshold):
    with pytest.raises(UsageError, match="threshold"):
        read(threshold=threshold)


def test_labels_are_read_by_their_meaning_or_as_the_user_says(read):
    words = np.where(table()["label"] == 1, "yes", "no").tolist()
    words[:3] = [None, "", "NaN"]
    assert read(table(label=words))[0].run.summary.whole.labelled == 397
    risky = np.where(table()["label"] == 1, "stolen", "fine").tolist()
    (one,) = read(table(label=risky), positive=("stolen",))
    assert one.run.summary.whole.confusion == read()[0].run.summary.whole.confusion


# --- the way of training ----------------------------------------------------------------------


NO_WAY = {
    *("data", "kaggle_datasets", "synthetic_fallback", "num_samples", "seed"),  # rows and luck
    *("split", "split_column", "test_data", "challenge_data"),
    *("threads", "name", "models_dir", "replace", "as_candidate"),  # where it runs and lies
    *("max_ece", "min_accuracy"),  # how it is judged
}


def test_a_way_of_training_is_every_choice_but_rows_luck_and_names():
    assert {*PROCESS} | NO_WAY == {field.name for field in fields(Plan)}
    assert not {*PROCESS} & NO_WAY


# --- violations -------------------------------------------------------------------------------


def wrong(share, n=2000, *, over=1.0, clusters=None):
    """Cells of a model that is wrong in a share of rows, and too sure by a factor."""
    y = (np.arange(n) % 2).astype(np.int8)
    right = np.random.default_rng(3).permutation(n) >= round(share * n)
    p = np.where((y == 1) == right, 1 - share / over, share / over)
    return summarise(Scored(p, y, 0.5, clusters)).whole


def told(cells, **more):
    return {v["type"]: v["severity"] for v in violations(cells, Limits(0.08, 0.85), **more)}


def test_a_violation_is_certain_and_has_a_severity():
    assert told(wrong(0.05)) == {}
    assert told(wrong(0.16)) == {}  # .84 may be .85
    assert told(wrong(0.2)) == {"low_accuracy": "medium"}
    assert told(wrong(0.4)) == {"low_accuracy": "high"}
    assert told(wrong(0.14, over=5)) == {"calibration_error": "medium"}
    assert told(wrong(0.4, over=5)) == {"low_accuracy": "high", "calibration_error": "high"}


def test_percentiles_and_few_clusters_have_no_violation_of_calibration():
    assert told(wrong(0.14, over=5), is_calibrated=False) == {}
    assert told(wrong(0.4, over=5, clusters=np.arange(2000) // 100)) == {}
    assert "low_accuracy" in told(wrong(0.4, over=5, clusters=np.arange(2000) // 20))
