"""Several model types in one command, and interrupted runs that go on."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FAST = ("--num-samples", "600", "--epochs", "2")


@pytest.fixture(scope="module")
def three(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    words = ("--model-type", "heuristic, logistic,boosted,logistic", "--num-samples", "1000")
    return folder, command("train", *words, cwd=folder)


def test_types_are_trained_one_after_the_other_each_once(three):
    folder, done = three
    assert done.code == 0, done.err
    assert "Training 3 model types: heuristic, logistic, boosted" in done.out
    assert {path.name for path in (folder / "models" / "current").iterdir()} <= {
        "heuristic",
        "logistic",
        "boosted",
    }
    assert len(list((folder / "models" / "versions").iterdir())) == 3


def test_there_is_a_line_of_summary_a_type(three):
    summary = three[1].out.split("TRAINING SUMMARY")[1]
    for name in ("heuristic", "logistic", "boosted"):
        (line,) = [line for line in summary.splitlines() if line.startswith(f"  {name}: ")]
        assert "✓" in line
        assert "accuracy 0." in line
    assert "Total models trained: 3 of 3" in summary


def test_all_types_learn_from_the_same_rows(three):
    digests = {line.split("(")[1] for line in three[1].out.splitlines() if "Loaded" in line}
    assert len(digests) == 1


def test_json_is_one_document_of_all_runs(command, tmp_path):
    done = command("train", "--model-type", "heuristic,logistic", *FAST, "--json", cwd=tmp_path)
    runs = done.document["runs"]
    assert [run["model_type"] for run in runs] == ["heuristic", "logistic"]
    assert all({"verdict", "metrics", "criteria", "model_id"} <= set(run) for run in runs)


def test_a_type_that_fails_keeps_no_other_from_it_and_fails_the_command(command, tmp_path):
    rng = np.random.default_rng(0)
    texts = [
        f"{'bad' if bad else 'good'} words {i % 7} of some length here"
        for i, bad in enumerate(rng.integers(0, 2, 600))
    ]
    table = pa.table({"note": texts, "label": [int(t.startswith("bad")) for t in texts]})
    pq.write_table(table, tmp_path / "t.parquet")
    words = ("--model-type", "correlation,logistic", "--data", "t.parquet", "--accept-leak", "note")
    done = command("train", *words, cwd=tmp_path)
    assert done.code == 5
    assert "[ERROR]" in done.out
    assert "correlation: ✗ FAILED: " in done.out
    assert "logistic: ✓" in done.out
    assert "Total models trained: 1 of 2" in done.out
    done = command("train", *words, "--json", cwd=tmp_path)
    failed, trained = done.document["runs"]
    assert (failed["exit_code"], failed["model_type"]) == (5, "correlation")
    assert trained["model_type"] == "logistic"


def test_all_means_every_type(command, tmp_path):
    done = command(
        "train",
        "--model-type",
        "all",
        *FAST,
        "--dry-run",
        "--data",
        "synthetic:events",
        cwd=tmp_path,
    )
    assert "Training 6 model types: heuristic, logistic, boosted, anomaly, correlation" in done.out


@pytest.mark.parametrize(
    ("types", "flags", "said"),
    [
        ("heuristic,nobody", (), "no model type 'nobody'"),
        ("heuristic,", (), "no model type ''"),
        ("heuristic,logistic", ("--name", "one"), "--name is for one model"),
        ("all,heuristic", (), "all stands beside other types"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(
    command, tmp_path, types, flags, said
):
    done = command("train", "--model-type", types, *flags, *FAST, cwd=tmp_path)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_among_several_is_an_exit_code_when_asked(command, tmp_path):
    words = ("--model-type", "heuristic,logistic", *FAST, "--promotion-min-accuracy", "0.999")
    done = command("train", *words, "--fail-on-refusal", cwd=tmp_path)
    assert done.code == 3
    assert "Total models trained: 2 of 2" in done.out


def test_resume_is_told_where_it_has_no_effect(command, tmp_path):
    done = command("train", "--model-type", "heuristic", *FAST, "--resume", cwd=tmp_path)
    assert done.code == 0
    assert "--resume has no effect" in done.out
    (version,) = (tmp_path / "models" / "versions").iterdir()
    assert (
        "--resume has no effect"
        in json.loads((version / "run.json").read_text())["fitting"]["notes"][-1]
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--windows", "0"), "--windows is 0"),
        (("--windows", "7,-1"), "--windows is 7, -1"),
        (("--windows", "x"), "--windows"),
        (("--label-delay", "-1"), "--label-delay is -1"),
        (("--label-delay", "nan"), "--label-delay is nan"),
    ],
)
def test_windows_and_delays_that_make_no_sense_are_refused(command, tmp_path, flags, said):
    done = command("train", "--model-type", "correlation", *flags, cwd=tmp_path)
    assert done.code == 2
    assert said in done.err
