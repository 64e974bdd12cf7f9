import csv
import gzip
import json
import zipfile
from functools import cache
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from nethical import calibrators, decisions, scoring
from nethical.data import files, synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, normalise
from nethical.errors import DataError, StorageError, UsageError
from nethical.gate import Limits
from nethical.metrics.evaluation import evaluate
from nethical.models import catalog
from nethical.models.base import Settings
from nethical.run import silent
from nethical.scoring import examine, predict
from nethical.trained import TrainedModel

N = 700


def trained(model_type, learnt, **roles):
    learnt = normalise(learnt)
    read = infer(learnt, RoleHints(roles))
    table = LabelledTable.read(learnt, read)[0]
    learner = catalog.build(model_type, Settings(epochs=3))
    learner.fit(table, rng=np.random.default_rng(0), progress=silent)
    calibrator = calibrators.fit(learner.score(table), table.y)
    thresholds = decisions.Thresholds.around(0.5, "the default")
    return TrainedModel("line", model_type, read, learner, calibrator, thresholds)


def drawn(seed, n=N):
    """Return rows of every kind that CSV can hold: actions are joined by a delimiter."""
    frame = synthetic.generate("mixed", n, seed=seed).table
    place = frame.column_names.index("actions")
    rows = [
        None if row is None else "|".join(row) if isinstance(row, list) else row
        for row in frame.column("actions").to_pylist()
    ]
    return frame.set_column(place, "actions", pa.array(rows))


@cache
def model():
    return trained("logistic", drawn(1, 1200))


@pytest.fixture(scope="module")
def rows():
    return drawn(2).append_column("row", pa.array(range(N)))


@pytest.fixture(scope="module")
def wanted(rows):
    return model().predict_proba(rows)[:, 1]


def write_csv(frame, path, delimiter=","):
    pa.csv.write_csv(frame, path, pa.csv.WriteOptions(delimiter=delimiter))
    return path


def write_jsonl(frame, path):
    lines = (json.dumps(row, default=str) for row in frame.to_pylist())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_gz(frame, path):
    path.write_bytes(gzip.compress(write_csv(frame, path.with_suffix("")).read_bytes()))
    return path


def write_zip(frame, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in (("b.csv", frame.slice(300)), ("a.csv", frame.slice(0, 300))):
            archive.write(write_csv(part, path.parent / name), name)
    return path


def write_folder(frame, path):
    path.mkdir()
    write_csv(frame.slice(0, 200), path / "1.csv")
    pq.write_table(frame.slice(200, 300), path / "2.parquet")
    write_jsonl(frame.slice(500), path / "3.jsonl")
    return path


WAYS = {
    "csv": lambda frame, path: write_csv(frame, path / "rows.csv"),
    "tsv": lambda frame, path: write_csv(frame, path / "rows.tsv", "\t"),
    "parquet": lambda frame, path: (
        pq.write_table(frame, path / "rows.parquet"),
        path / "rows.parquet",
    )[1],
    "jsonl": lambda frame, path: write_jsonl(frame, path / "rows.jsonl"),
    "gz": lambda frame, path: write_gz(frame, path / "rows.csv.gz"),
    "zip": lambda frame, path: write_zip(frame, path / "rows.zip"),
    "folder": lambda frame, path: write_folder(frame, path / "rows"),
}


def read_out(path):
    """Return the columns of an output file."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return {name: table.column(name).to_pylist() for name in table.column_names}
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {name: [line[name] for line in lines] for name in lines[0]}
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    columns = {name: [line[name] for line in lines] for name in lines[0]}
    return columns | {"probability": [float(p) for p in columns["probability"]]}


@pytest.mark.parametrize("way", list(WAYS))
def test_any_file_gives_the_probabilities_of_its_rows_in_order(way, rows, wanted, tmp_path):
    data = WAYS[way](rows, tmp_path)
    out = tmp_path / "out.parquet"
    seen = []
    scored = predict(model(), data, out, keep=["row"], progress=seen.append)
    got = read_out(out)
    assert list(map(int, got["row"])) == list(range(N))
    assert got["probability"] == wanted.tolist()
    words = np.array(decisions.DECISIONS)[decisions.decide(wanted, model().thresholds)]
    assert got["decision"] == words.tolist()
    assert scored.rows == N == seen[-1]
    assert scored.decisions == {word: int((words == word).sum()) for word in decisions.DECISIONS}


@pytest.mark.parametrize("suffix", scoring.OUTPUTS)
def test_every_output_format_holds_the_same(suffix, rows, wanted, tmp_path):
    data = WAYS["parquet"](rows, tmp_path)
    out = tmp_path / f"out{suffix}"
    predict(model(), data, out, keep=["channel", "row"])
    got = read_out(out)
    assert list(got) == ["channel", "row", "probability", "decision"]
    assert got["probability"] == pytest.approx(wanted.tolist(), abs=1e-15)
    assert [int(row) for row in got["row"]] == list(range(N))
    assert [cell or None for cell in got["channel"]] == rows.column("channel").to_pylist()


@pytest.mark.parametrize("way", ["csv", "parquet", "jsonl", "folder"])
def test_where_batches_end_does_not_matter(way, rows, wanted, tmp_path, monkeypatch):
    data = WAYS[way](rows, tmp_path)
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    predict(model(), data, whole, reasons=2)
    monkeypatch.setattr(scoring, "BATCH_ROWS", 37)
    seen = []
    predict(model(), data, cut, reasons=2, progress=seen.append)
    assert len(seen) >= N // 37
    assert seen == sorted(seen)
    assert cut.read_bytes() == whole.read_bytes()
    assert read_out(cut)["probability"] == wanted.tolist()


@pytest.mark.parametrize("model_type", ["heuristic", "boosted"])
def test_other_types_score_files_as_frames_too(model_type, rows, tmp_path):
    judge = trained(model_type, drawn(1, 400))
    out = tmp_path / "out.parquet"
    predict(judge, WAYS["csv"](rows, tmp_path), out)
    assert read_out(out)["probability"] == judge.predict_proba(rows)[:, 1].tolist()


def flagged(n=600):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    likely = np.where(rng.random(n) < 0.85, y, 1 - y)
    return rng, y, likely


@pytest.mark.parametrize(
    ("spelt", "role"),
    [
        (("False", "True"), None),
        (("false", "true"), Role.CATEGORICAL),
        (("00210", "07030"), Role.CATEGORICAL),
        (("1.0", "2.0"), Role.CATEGORICAL),
        (("0.000010", "2.50"), Role.CATEGORICAL),
        (("no", "yes"), None),
        (("no", "yes"), Role.CATEGORICAL),
    ],
)
def test_cells_of_csv_are_read_as_in_training_however_they_are_spelt(spelt, role, tmp_path):
    rng, y, likely = flagged()
    lines = [
        f"{spelt[k]},{z:.3f},{label}"
        for k, z, label in zip(likely, rng.normal(size=600), y, strict=True)
    ]
    data = tmp_path / "rows.csv"
    data.write_text("\n".join(["x,z,label", *lines]) + "\n")
    frame = files.load(data, texts=["x"] if role else ())
    judge = trained("logistic", frame, **({"x": role} if role else {}))
    predict(judge, data, tmp_path / "out.parquet")
    got = read_out(tmp_path / "out.parquet")["probability"]
    assert got == judge.predict_proba(frame)[:, 1].tolist()
    assert np.corrcoef(got, y)[0, 1] > 0.5, "the column counts"


def test_levels_that_were_text_in_training_stay_text_where_all_look_like_numbers(tmp_path):
    _, y, likely = flagged()
    train = pa.table({"code": np.array(["A1", "007"])[likely], "label": y})
    judge = trained("logistic", train)
    (tmp_path / "rows.csv").write_text("code\n007\n007\n")
    predict(judge, tmp_path / "rows.csv", tmp_path / "out.parquet")
    same = judge.predict_proba(pa.table({"code": ["007", "007"]}))[:, 1]
    assert read_out(tmp_path / "out.parquet")["probability"] == same.tolist()
    assert same[0] > 0.7


# --- what is written ---------------------------------------------------------------------------


def test_cells_and_names_that_a_spreadsheet_would_run_are_prefixed_in_csv(rows, tmp_path):
    cells = ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", "plain", "a=b", None, "'quoted"] * 70
    odd = rows.append_column("=note", pa.array(cells)).append_column("minus", pa.array([-5] * N))
    data = WAYS["parquet"](odd, tmp_path)
    predict(model(), data, tmp_path / "out.csv", keep=["=note", "minus"])
    got = read_out(tmp_path / "out.csv")
    assert list(got) == ["'=note", "minus", "probability", "decision"]
    assert got["'=note"][:10] == [
        *("'=1+1", "'+1", "'-1", "'@sum", "'\tx", "'\rx", "plain", "a=b", "", "'quoted")
    ]
    assert got["minus"][0] == "-5"
    predict(model(), data, tmp_path / "out.jsonl", keep=["=note"])
    assert read_out(tmp_path / "out.jsonl")["=note"] == cells


def test_reasons_are_those_that_explain_gives(rows, tmp_path):
    data = WAYS["parquet"](rows.slice(0, 50), tmp_path)
    predict(model(), data, tmp_path / "out.jsonl", reasons=2)
    got = read_out(tmp_path / "out.jsonl")
    assert list(got) == ["probability", "decision", "reasons"]
    for text, reasons in zip(got["reasons"], model().explain(rows.slice(0, 50), 2), strict=True):
        assert text == "; ".join(f"{r.column}={r.detail} ({r.contribution:+.2f})" for r in reasons)
        assert text.count("(+") + text.count("(-") >= 2


def test_lists_numbers_that_are_none_and_times_are_written_in_every_format(tmp_path):
    frame = synthetic.generate("mixed", 6, seed=3).table
    extra = {
        "number": pa.array([1.5, float("nan"), float("inf"), None, -0.0, 1e300]),
        "list": pa.array([["=a", "b"], [], None, ["c"], ["d"], ["e"]]),
    }
    for name, column in extra.items():
        frame = frame.append_column(name, column)
    pq.write_table(frame, tmp_path / "rows.parquet")
    judge = trained("logistic", synthetic.generate("mixed", 600, seed=1).table)
    for suffix in scoring.OUTPUTS:
        out = tmp_path / f"out{suffix}"
        predict(judge, tmp_path / "rows.parquet", out, keep=["number", "list", "time"])
        assert len(read_out(out)["probability"]) == 6
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    parsed = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [line["number"] for line in parsed] == [1.5, None, None, None, -0.0, 1e300]
    assert parsed[0]["list"] == ["=a", "b"]
    assert parsed[0]["time"].startswith("2024-")
    assert read_out(tmp_path / "out.csv")["list"][:4] == ["'=a|b", "", "", "c"]


def test_a_kept_column_may_be_empty_in_one_file_of_a_folder(rows, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    notes = pa.array(range(300)), pa.nulls(400, pa.string())
    for name, part, note in zip("ab", (rows.slice(0, 300), rows.slice(300)), notes, strict=True):
        write_csv(part.append_column("note", note), folder / f"{name}.csv")
    for suffix in scoring.OUTPUTS:
        predict(model(), folder, tmp_path / f"out{suffix}", keep=["note"])
        notes = read_out(tmp_path / f"out{suffix}")["note"]
        assert [None if n in {"", None} else int(n) for n in notes] == [*range(300), *[None] * 400]


def test_a_kept_column_that_changes_its_type_is_told_for_parquet(rows, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    numbers = rows.slice(0, 300).append_column("note", pa.array(range(300)))
    words = rows.slice(300).append_column("note", pa.array(["x"] * (N - 300)))
    pq.write_table(numbers, folder / "a.parquet")
    pq.write_table(words, folder / "b.parquet")
    with pytest.raises(DataError, match="column 'note' to keep changes its type") as caught:
        predict(model(), folder, tmp_path / "out.parquet", keep=["note"])
    assert "write .csv or .jsonl" in caught.value.mend
    predict(model(), folder, tmp_path / "out.csv", keep=["note"])
    assert read_out(tmp_path / "out.csv")["note"][299:301] == ["299", "x"]


def test_the_output_may_lie_in_a_new_folder_and_replaces_an_old_one(rows, tmp_path):
    data = WAYS["csv"](rows, tmp_path)
    out = tmp_path / "new" / "deep" / "out.csv"
    predict(model(), data, out)
    first = out.read_bytes()
    out.write_text("old")
    predict(model(), data, out)
    assert out.read_bytes() == first
    assert [p.name for p in out.parent.iterdir()] == ["out.csv"]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("suffix", scoring.OUTPUTS)
def test_an_output_is_whole_or_absent_when_reading_fails_midway(suffix, rows, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    write_csv(rows.slice(0, 400), folder / "a.csv")
    broken = write_csv(rows.slice(400), tmp_path / "b.csv").read_bytes()
    (folder / "b.csv").write_bytes(broken[:-30] + b"\n1,2,3\n")
    place = tmp_path / "out"
    place.mkdir()
    seen = []
    with pytest.raises(DataError, match=r"b\.csv"):
        predict(model(), folder, place / f"out{suffix}", progress=seen.append)
    assert seen == [400]
    assert list(place.iterdir()) == []
    (place / f"out{suffix}").write_text("old")
    with pytest.raises(DataError, match=r"b\.csv"):
        predict(model(), folder, place / f"out{suffix}")
    assert [p.name for p in place.iterdir()] == [f"out{suffix}"]
    assert (place / f"out{suffix}").read_text() == "old"


# --- what is refused ---------------------------------------------------------------------------


def refused(error, match, *arguments, **settings):
    with pytest.raises(error, match=match) as caught:
        predict(model(), *arguments, **settings)
    assert caught.value.mend
    assert "\n" not in caught.value.what + caught.value.mend


def test_what_cannot_be_scored_is_told_in_two_lines_and_writes_nothing(rows, tmp_path):
    data, out = WAYS["csv"](rows, tmp_path), tmp_path / "out.csv"
    refused(UsageError, r"out\.xlsx has no known table format", data, tmp_path / "out.xlsx")
    refused(DataError, "does not exist", tmp_path / "none.csv", out)
    refused(DataError, "column 'nope' to keep is missing", data, out, keep=["nope"])
    lacking = write_csv(rows.drop_columns("region"), tmp_path / "lacking.csv")
    refused(DataError, "column 'region' is missing", lacking, out)
    words = rows.set_column(0, "severity_max", pa.array(["high"] * N))
    refused(DataError, "severity_max|CSV column #0", write_csv(words, tmp_path / "words.csv"), out)
    (tmp_path / "header.csv").write_text(",".join(rows.column_names) + "\n")
    refused(DataError, "no rows|is empty", tmp_path / "header.csv", out)
    (tmp_path / "rows.xyz").write_text("x")
    refused(DataError, "no known table format", tmp_path / "rows.xyz", out)
    refused(StorageError, "create the folder", data, data / "under" / "out.csv")
    assert not out.exists()


@pytest.mark.parametrize(("name", "reasons"), [("probability", 0), ("decision", 0), ("reasons", 1)])
def test_a_kept_column_never_hides_behind_one_of_ours(name, reasons, rows, tmp_path):
    data = WAYS["parquet"](rows.append_column(name, pa.array(["mine"] * N)), tmp_path)
    refused(
        UsageError, f"{name}.*overwritten", data, tmp_path / "out.csv", keep=[name], reasons=reasons
    )


# --- examining ---------------------------------------------------------------------------------


def close(one, other):
    return one.low == pytest.approx(other.low, nan_ok=True) and one.high == pytest.approx(
        other.high, nan_ok=True
    )


@pytest.mark.parametrize("way", ["csv", "folder"])
def test_examining_a_file_is_evaluating_its_rows(way, rows, wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "BATCH_ROWS", 101)
    found = examine(model(), WAYS[way](rows, tmp_path), Limits(), budget=0.05)
    y = np.array(rows.column("label"))
    codes = np.unique(np.array(rows.column("group").to_pylist()), return_inverse=True)[1]
    same = evaluate(y, wanted, codes, threshold=0.5, budget=0.05)
    assert found.unlabelled == 0
    assert found.evaluation.rows == N
    assert found.evaluation.metrics_document() == pytest.approx(same.metrics_document())
    for name, interval in found.evaluation.intervals.items():
        assert close(interval, same.intervals[name]), name
    alone = evaluate(y, wanted, threshold=0.5, budget=0.05)
    assert not close(alone.intervals["accuracy"], same.intervals["accuracy"]), "groups count"
    assert found.decision.verdict in {"PASS", "FAIL", "INSUFFICIENT_EVIDENCE"}


def test_rows_without_a_label_are_counted_and_left_out(rows, wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "BATCH_ROWS", 101)
    labels = rows.column("label").to_pylist()
    gaps = [None if i % 7 == 0 else label for i, label in enumerate(labels)]
    place = rows.column_names.index("label")
    data = write_csv(rows.set_column(place, "label", pa.array(gaps)), tmp_path / "rows.csv")
    found = examine(model(), data, Limits())
    kept = [i for i, label in enumerate(gaps) if label is not None]
    assert (found.unlabelled, found.evaluation.rows) == (100, 600)
    y = np.array([labels[i] for i in kept])
    called = wanted[kept] >= 0.5
    assert found.evaluation.intervals["accuracy"].estimate == pytest.approx(np.mean(called == y))


def test_a_file_of_a_folder_may_have_no_labels_at_all(rows, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    place = rows.column_names.index("label")
    write_csv(rows.slice(0, 400), folder / "a.csv")
    bare = rows.slice(400).set_column(place, "label", pa.nulls(300, pa.string()))
    write_csv(bare, folder / "b.csv")
    found = examine(model(), folder, Limits())
    assert (found.unlabelled, found.evaluation.rows) == (300, 400)


def test_labels_are_read_by_the_meaning_they_had_in_training(tmp_path):
    frame = synthetic.generate("risk", 800, seed=1).table
    words = pa.array(np.array(["benign", "malicious"])[np.array(frame.column("label"))])
    spelt = frame.set_column(frame.column_names.index("label"), "label", words)
    judge = trained("logistic", spelt)
    data = write_csv(spelt, tmp_path / "rows.csv")
    assert examine(judge, data, Limits()).evaluation.intervals["roc_auc"].estimate > 0.8
    other = spelt.set_column(spelt.column_names.index("label"), "label", pa.array(["odd"] * 800))
    with pytest.raises(DataError, match="the label has unknown values: 'odd'"):
        examine(judge, write_csv(other, tmp_path / "odd.csv"), Limits())


def test_what_cannot_be_examined_is_told_in_two_lines(rows, tmp_path):
    y = np.array(rows.column("label"))
    cases = SimpleNamespace(
        one_class=(rows.filter(pa.array(y == 1)), "labelled rows of one class"),
        no_label=(rows.drop_columns("label"), "label column 'label' is missing"),
        no_group=(rows.drop_columns("group"), "column 'group' is missing"),
    )
    for name, (frame, told) in vars(cases).items():
        data = write_csv(frame, tmp_path / f"{name}.csv")
        with pytest.raises(DataError, match=told) as caught:
            examine(model(), data, Limits())
        assert caught.value.mend
        assert "\n" not in caught.value.what + caught.value.mend


def test_rows_that_the_model_learnt_from_are_counted(rows, tmp_path):
    data = WAYS["csv"](rows, tmp_path)
    found = examine(model(), data, Limits(), learnt=lambda table: np.ones(len(table), dtype=bool))
    assert found.learnt == N
    with pytest.raises(UsageError, match="alert-budget"):
        examine(model(), data, Limits(), budget=2.0)


def test_kept_cells_of_csv_are_copied_as_they_are_written(rows, tmp_path):
    codes = [f"{i:05d}" for i in range(N - 1)] + ["18446744073709551615"]
    data = write_csv(rows.append_column("code", pa.array(codes)), tmp_path / "coded.csv")
    predict(model(), data, tmp_path / "out.csv", keep=["code"])
    lines = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0].strip('"') for line in lines] == codes
