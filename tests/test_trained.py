import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from nethical import calibrators, decisions, trained
from nethical.data import files, synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, normalise
from nethical.errors import DataError, IntegrityError, UsageError
from nethical.keys import Keys, default_home
from nethical.models import catalog
from nethical.models.base import Settings
from nethical.run import silent
from nethical.signing import sign
from nethical.trained import TrainedModel, load

TYPES = ("heuristic", "logistic", "boosted", "anomaly")  # they take any of these tables
TASKS = ("risk", "mixed", "text")
TABULAR = ["severity_max", "frequency_score", "channel", "region"]


@cache
def frame(task, n=400, seed=2):
    return synthetic.generate(task, n, seed=seed).table


@cache
def model(model_type, task, columns=()):
    learnt = synthetic.generate(task, 1200 if task == "risk" else 600, seed=1).table
    learnt = normalise(learnt.select([*columns, "label"]) if columns else learnt)
    roles = infer(learnt, RoleHints())
    table = LabelledTable.read(learnt, roles)[0]
    learner = catalog.build(model_type, Settings(epochs=3))
    learner.fit(table, rng=np.random.default_rng(0), progress=silent)
    calibrator = calibrators.fit(learner.score(table), table.y)
    thresholds = decisions.Thresholds.around(0.5, "the default")
    return TrainedModel("line", model_type, roles, learner, calibrator, thresholds)


each_type = pytest.mark.parametrize("model_type", TYPES)
each_task = pytest.mark.parametrize("task", TASKS)


def test_both_calibrators_take_part():
    methods = {task: model("logistic", task).calibrator.method for task in TASKS}
    assert methods == {"risk": "isotonic", "mixed": "sigmoid", "text": "sigmoid"}


@each_task
@each_type
def test_pandas_polars_and_pyarrow_give_equal_probabilities(model_type, task):
    judge, arrow = model(model_type, task), frame(task)
    wanted = judge.predict_proba(arrow)
    assert wanted.shape == (400, 2)
    assert wanted.sum(axis=1) == pytest.approx(1, abs=1e-15)
    assert ((wanted[:, 1] > 0) & (wanted[:, 1] < 1)).all()
    assert len(np.unique(wanted[:, 1])) > 10
    chunks = pa.concat_tables([arrow.slice(0, 7), arrow.slice(7, 0), arrow.slice(7)])
    for other in (arrow.to_pandas(), pl.from_arrow(arrow), chunks):
        assert (judge.predict_proba(other) == wanted).all()
    batch = arrow.combine_chunks().to_batches()[0]
    assert (judge.predict_proba(batch) == wanted).all()


@each_type
def test_a_numpy_array_is_read_in_the_order_of_training(model_type):
    judge, arrow = model(model_type, "risk"), frame("risk")
    names = [f.name for f in judge.roles.features]
    array = np.column_stack([np.array(arrow.column(name)) for name in names])
    assert (judge.predict_proba(array) == judge.predict_proba(arrow)).all()
    assert (judge.predict_proba(array[:, ::-1]) != judge.predict_proba(arrow)).any()
    with pytest.raises(DataError, match=r"shape \(400, 4\) does not fit the 5 feature columns"):
        judge.predict_proba(array[:, :4])


def test_gaps_are_the_same_gaps_in_every_frame():
    judge = model("logistic", "mixed", tuple(TABULAR))
    arrow = frame("mixed").select(TABULAR)
    assert arrow.column("severity_max").null_count > 0
    wanted = judge.predict_proba(arrow)
    assert (judge.predict_proba(arrow.to_pandas()) == wanted).all()
    assert (judge.predict_proba(pl.from_arrow(arrow)) == wanted).all()
    assert (judge.predict_proba(arrow.to_pandas(types_mapper=pd.ArrowDtype)) == wanted).all()
    nan = pa.array(np.nan_to_num(arrow.column("severity_max").to_numpy(), nan=np.nan))
    assert np.isnan(nan.to_numpy()).any()
    assert (judge.predict_proba(arrow.set_column(0, "severity_max", nan)) == wanted).all()


def test_types_of_columns_do_not_matter_as_long_as_values_do():
    judge, arrow = model("logistic", "mixed", tuple(TABULAR)), frame("mixed").select(TABULAR)
    wanted = judge.predict_proba(arrow)
    channel = arrow.column("channel").combine_chunks()
    assert (
        judge.predict_proba(arrow.set_column(2, "channel", channel.dictionary_encode())) == wanted
    ).all()
    categories = arrow.to_pandas().astype({"channel": "category"})
    assert (judge.predict_proba(categories) == wanted).all()
    small = arrow.set_column(1, "frequency_score", arrow.column(1).cast(pa.float32()))
    assert judge.predict_proba(small) == pytest.approx(wanted, abs=1e-4)


@each_type
def test_a_scored_frame_is_of_the_same_kind_with_two_columns_more(model_type):
    judge, arrow = model(model_type, "mixed"), frame("mixed")
    positive = judge.predict_proba(arrow)[:, 1]
    words = np.array(decisions.DECISIONS)[decisions.decide(positive, judge.thresholds)]
    pandas = arrow.to_pandas().sample(frac=1, random_state=0)
    order = pandas.index.to_numpy()
    for given, rows in ((arrow, slice(None)), (pl.from_arrow(arrow), slice(None)), (pandas, order)):
        scored = judge.score_frame(given)
        assert type(scored) is type(given)
        names = scored.column_names if isinstance(scored, pa.Table) else list(scored.columns)
        assert names == [*arrow.column_names, "probability", "decision"]
        assert np.array_equal(np.array(scored["probability"]), positive[rows])
        assert np.array_equal(np.array(scored["decision"]).astype(str), words[rows])
    assert (judge.score_frame(pandas).index == pandas.index).all()
    assert len(set(words)) > 1


@pytest.mark.parametrize("task", [*TASKS, "sequence"])
@each_type
def test_one_row_has_the_probability_that_it_has_in_a_frame(model_type, task):
    judge = model(model_type, task)
    arrow = frame(task, 40)
    wanted = judge.predict_proba(arrow)[:, 1]
    for row, probability in zip(arrow.to_pylist(), wanted, strict=True):
        assert judge.predict_row(row) == pytest.approx(probability, abs=1e-12)


@each_type
def test_absent_columns_of_a_row_are_missing_values(model_type):
    for judge in (model(model_type, "mixed", tuple(TABULAR)), model(model_type, "mixed")):
        names = [f.name for f in judge.roles.features]
        missing = judge.predict_proba(pa.table({name: pa.nulls(1) for name in names}))[0, 1]
        for row in ({}, dict.fromkeys(names), {"unknown": 5}):
            assert judge.predict_row(row) == pytest.approx(missing, abs=1e-12)


def test_numbers_written_as_text_are_read_as_numbers():
    judge, arrow = model("logistic", "risk"), frame("risk")
    place = arrow.column_names.index("severity_max")
    texts = arrow.column("severity_max").cast(pa.string())
    assert (
        judge.predict_proba(arrow.set_column(place, "severity_max", texts))
        == judge.predict_proba(arrow)
    ).all()
    objects = arrow.to_pandas().astype({"severity_max": str})
    assert (judge.predict_proba(objects) == judge.predict_proba(arrow)).all()
    words = pa.array(["0.5", "many"] * 200)
    with pytest.raises(DataError, match="column 'severity_max' should hold numbers") as caught:
        judge.predict_proba(arrow.set_column(place, "severity_max", words))
    assert "many" in caught.value.what
    assert "\n" not in caught.value.what + caught.value.mend


def test_a_missing_column_is_told_in_two_lines():
    judge, arrow = model("logistic", "risk"), frame("risk")
    with pytest.raises(DataError) as caught:
        judge.predict_proba(arrow.drop_columns(["severity_max", "context_risk"]))
    assert caught.value.what == (
        "column 'severity_max' is missing, and 1 more; found: "
        "violation_count, recency_score, frequency_score, label"
    )
    assert caught.value.mend == "give the rows the columns that the model was trained on"
    with pytest.raises(DataError, match=r"column 'severity_max' is missing; found"):
        judge.score_frame(arrow.drop_columns("severity_max"))
    with pytest.raises(DataError, match="cannot read a table from dict"):
        judge.predict_proba({"severity_max": [1.0]})


@each_task
@each_type
def test_reasons_come_for_each_row_of_any_frame(model_type, task):
    judge, arrow = model(model_type, task), frame(task, 20)
    reasons = judge.explain(arrow)
    assert [len(row) for row in reasons] == [min(3, len(judge.roles.features))] * 20
    assert judge.explain(arrow.to_pandas()) == reasons
    assert judge.explain(arrow, top=1) == [row[:1] for row in reasons]


# --- files -------------------------------------------------------------------------------------


@each_task
@each_type
def test_the_files_give_the_same_model_bit_for_bit(model_type, task):
    judge, arrow = model(model_type, task), frame(task)
    stored = judge.to_files()
    again = TrainedModel.from_files(stored)
    assert (again.predict_proba(arrow) == judge.predict_proba(arrow)).all()
    assert again.explain(arrow.slice(0, 9)) == judge.explain(arrow.slice(0, 9))
    assert (again.name, again.model_type, again.roles) == (judge.name, model_type, judge.roles)
    assert (again.calibrator, again.thresholds) == (judge.calibrator, judge.thresholds)
    assert again.to_files() == stored
    assert set(stored) <= {"model.json", "arrays.npz", "trees.txt"}


def bundle(folder, judge, key):
    stored = judge.to_files()
    folder.mkdir(parents=True)
    signature = sign(stored, name=folder.name, key=key, claims={})
    for name, content in {**stored, "model.sig": signature}.items():
        (folder / name).write_bytes(content)
    return folder


FRESH = """
import json, sys
import numpy as np
from nethical.data import files
from nethical.trained import load
from pathlib import Path
for folder, data, out in json.loads(sys.argv[1]):
    np.save(out, load(folder).predict_proba(files.load(Path(data))))
"""


def test_another_process_gives_bit_equal_probabilities_from_raw_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "home"))
    key = Keys(default_home()).bundle_key()
    jobs = []
    for task, suffix in (("mixed", "parquet"), ("risk", "csv")):
        data = tmp_path / f"{task}.{suffix}"
        if suffix == "csv":
            pa.csv.write_csv(frame(task), data)
        else:
            pa.parquet.write_table(frame(task), data)
        for model_type in TYPES:
            folder = bundle(tmp_path / f"{model_type}-{task}", model(model_type, task), key)
            jobs.append([str(folder), str(data), str(tmp_path / f"{model_type}-{task}.npy")])
    subprocess.run([sys.executable, "-c", FRESH, json.dumps(jobs)], check=True, env={**os.environ})
    for folder, data, out in jobs:
        model_type, _, task = Path(folder).name.partition("-")
        here = model(model_type, task).predict_proba(files.load(Path(data)))
        assert (np.load(out) == here).all(), folder


def test_a_bundle_with_one_edited_byte_or_another_key_is_refused(tmp_path):
    keys = Keys(tmp_path / "home")
    folder = bundle(tmp_path / "m_1", model("logistic", "mixed"), keys.bundle_key())
    assert load(folder, keys=keys).model_type == "logistic"
    content = (folder / "model.json").read_bytes()
    (folder / "model.json").write_bytes(content.replace(b'"gray_low": 0.4', b'"gray_low": 0.3'))
    assert (folder / "model.json").read_bytes() != content
    with pytest.raises(IntegrityError, match=r"model\.json was edited"):
        load(folder, keys=keys)
    (folder / "model.json").write_bytes(content)
    assert load(folder, keys=keys).thresholds.gray_low == 0.4
    with pytest.raises(IntegrityError):
        load(folder, keys=Keys(tmp_path / "other home"))


def test_a_later_schema_is_refused_with_the_way_out():
    stored = dict(model("heuristic", "risk").to_files())
    document = json.loads(stored["model.json"])
    document["schema_version"] = 2
    stored["model.json"] = json.dumps(document).encode()
    with pytest.raises(IntegrityError, match=r"schema version 2; this program reads 1") as caught:
        TrainedModel.from_files(stored)
    assert caught.value.mend == "install the version of nethical that trained it"
    assert caught.value.exit_code == 6


def test_a_model_that_was_never_published_cannot_be_found(tmp_path):
    with pytest.raises(UsageError, match="nothing"):
        trained.find("nothing", models_dir=tmp_path / "models")


def test_the_stored_model_holds_no_row():
    for model_type in TYPES:
        judge = model(model_type, "mixed")
        stored = b"".join(judge.to_files().values()).decode("latin-1")
        learnt = synthetic.generate("mixed", 1200, seed=1).table
        for text in learnt.column("message").to_pylist()[:50]:
            assert text is None or len(text) < 12 or text not in stored


def test_a_flag_column_is_read_as_zero_and_one():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    flag = rng.random(600) < np.where(y == 1, 0.8, 0.2)
    learnt = normalise(pa.table({"flag": flag, "z": rng.normal(size=600), "label": y}))
    roles = infer(learnt, RoleHints())
    assert roles.features[0].feature == Role.NUMERIC
    table = LabelledTable.read(learnt, roles)[0]
    for model_type in TYPES:
        learner = catalog.build(model_type, Settings()).fit(
            table, rng=np.random.default_rng(0), progress=silent
        )
        calibrator = calibrators.fit(learner.score(table), table.y)
        judge = TrainedModel(
            "f", model_type, roles, learner, calibrator, decisions.Thresholds.around(0.5, "")
        )
        numbers = learnt.set_column(0, "flag", learnt.column("flag").cast(pa.int64()))
        assert (judge.predict_proba(numbers) == judge.predict_proba(learnt)).all()
        for row in learnt.slice(0, 20).to_pylist():
            got = judge.predict_row(row)
            assert got == pytest.approx(judge.predict_row({**row, "flag": int(row["flag"])}))
