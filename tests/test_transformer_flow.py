"""simple_transformer from the command line: beside the linear reference, killed and resumed."""

import importlib.util
import json
import os
import signal
import time

import numpy as np
import pytest

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None or importlib.util.find_spec("tokenizers") is None,
        reason="the extra [transformer] is not installed",
    ),
    pytest.mark.xdist_group("transformer flow"),
]
TRAIN = (
    *("train", "--model-type", "simple_transformer", "--data", "synthetic:text"),
    *("--num-samples", "600", "--epochs", "4", "--threads", "1"),
)
COMPARED = ("model.json", "arrays.npz", "tokenizer.json", "metrics.json", "scores.parquet")


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """A folder with a model that was trained without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    done = command(*TRAIN, "--json", cwd=folder)
    assert done.code == 0, done.err
    return folder, done


def version(folder):
    (found,) = (folder / "models" / "versions").iterdir()
    return found


def test_the_linear_reference_is_trained_beside_it_and_judged_against(whole):
    folder, done = whole
    assert "Beside it, logistic on the same rows: accuracy" in done.err
    names = [criterion["name"] for criterion in done.document["criteria"]]
    assert "Brier loss less that of logistic <= 0" in names
    metrics = json.loads((version(folder) / "metrics.json").read_text())
    assert metrics["reference"]["model_type"] == "logistic"
    assert metrics["reference"]["rows"] == metrics["rows"]
    card = (version(folder) / "card.md").read_text()
    assert "### Beside it: `logistic`" in card


def test_a_worse_model_than_the_reference_does_not_pass(whole):
    _, done = whole
    metrics = json.loads((version(whole[0]) / "metrics.json").read_text())
    worse = metrics["metrics"]["brier"] > metrics["reference"]["metrics"]["brier"]
    assert not (worse and done.document["verdict"] == "PASS")


def test_no_snapshot_is_left_of_a_run_that_came_to_its_end(whole):
    assert not list((whole[0] / "models").glob("snapshots/*"))


def kill_after(command, folder, epochs, delay):
    """Start a training and kill it so many seconds after so many snapshots."""
    seen = set()
    with command.started(*TRAIN, cwd=folder) as (pid, wait):
        deadline = time.monotonic() + 120
        while len(seen) < epochs and not list(folder.glob("models/versions/*")):
            assert time.monotonic() < deadline
            seen |= {f.stat().st_mtime_ns for f in folder.glob("models/snapshots/*/snapshot.npz")}
            time.sleep(0.005)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        wait()


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_point_and_resumed_it_ends_in_the_same_bytes(whole, command, tmp_path, kills):
    rng = np.random.default_rng(kills)
    resumed = 0
    for kill in range(kills):
        folder = tmp_path / str(kill)
        folder.mkdir()
        kill_after(command, folder, epochs=1 + kill % 3, delay=rng.uniform(0, 0.3))
        if not list(folder.glob("models/versions/*")):
            done = command(*TRAIN, "--resume", cwd=folder)
            assert done.code == 0, done.err
            resumed += "resumed from a snapshot" in done.out
        for name in COMPARED:
            kept = (version(whole[0]) / name).read_bytes()
            assert (version(folder) / name).read_bytes() == kept
    assert resumed > kills / 2


def test_an_edited_snapshot_is_refused(command, tmp_path):
    kill_after(command, tmp_path, epochs=1, delay=0)
    (snapshot,) = tmp_path.glob("models/snapshots/*/snapshot.npz")
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 1
    snapshot.write_bytes(content)
    done = command(*TRAIN, "--resume", cwd=tmp_path)
    assert done.code == 6
    assert "not what was written" in done.err
    assert done.err.count("\n") == 2
