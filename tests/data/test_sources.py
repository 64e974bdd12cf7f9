import sys

import numpy as np
import pyarrow as pa
import pytest

from nethical import Plan, train
from nethical.data import kaggle, sources
from nethical.data.roles import Role
from nethical.errors import DataError, UsageError
from nethical.facts import SourceFellBack
from nethical.keys import Keys
from nethical.registry import Registry
from nethical.run import Run

fake_kaggle = sys.modules["fake_kaggle"]  # loaded by conftest.py
pytestmark = pytest.mark.usefixtures("bare_machine")


def find(data=None, **settings):
    return sources.find(
        data, **{"model_type": "logistic", "num_samples": None, "seed": 1, **settings}
    )


def churn_like(n_rows=600):
    """Return a CSV of the catalogue's churn set: its columns, our numbers."""
    rng = np.random.default_rng(1)
    months = rng.integers(1, 72, n_rows)
    leaves = rng.random(n_rows) < 1 / (1 + np.exp((months - 36) / 4))
    lines = [
        f"id{i},{m},{'Yes' if left else 'No'}"
        for i, (m, left) in enumerate(zip(months, leaves, strict=True))
    ]
    return ("customerID,tenure,Churn\n" + "\n".join(lines) + "\n").encode()


def test_a_path_is_used_whole_unless_a_sample_is_asked_for(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,label\n" + "".join(f"{i},{i % 2}\n" for i in range(500)))
    assert find(str(path)).frame.num_rows == 500
    sample = find(str(path), num_samples=100)
    assert sample.details["sampled_from"] == 500
    values = sample.frame.column("a").to_pylist()
    assert values == sorted(values)
    assert len(set(values)) == 100
    assert values == find(str(path), num_samples=100).frame.column("a").to_pylist()
    assert values != find(str(path), num_samples=100, seed=2).frame.column("a").to_pylist()


def test_a_shipped_set_has_its_words_as_labels():
    source = find("sklearn:breast_cancer")
    assert set(source.frame.column("label").to_pylist()) == {"malignant", "benign"}
    assert source.frame.num_rows == 569


@pytest.mark.parametrize(
    "data", ["sklearn:nothing", "synthetic:nothing", "synthetic:risk,overlap=x"]
)
def test_a_name_that_makes_no_sense_is_a_usage_error(data):
    with pytest.raises(UsageError):
        find(data)


def test_knobs_reach_the_generator():
    source = find("synthetic:risk,label_noise=0.2", num_samples=3000)
    assert source.details["best_accuracy"] < 0.8
    assert source.is_synthetic


def test_nothing_named_and_no_credentials_falls_back_and_says_why():
    source = find(num_samples=50)
    assert source.name == "synthetic:risk"
    assert "no Kaggle credentials" in source.fallback
    with pytest.raises(DataError):
        find(fall_back=False)


def test_two_sources_are_refused():
    with pytest.raises(UsageError):
        find("sklearn:wine", kaggle=["owner/name"])


@pytest.mark.usefixtures("server")
def test_a_kaggle_set_is_downloaded_and_read():
    source = find(kaggle=["owner/name"])
    assert source.name == "kaggle:owner/name/versions/3"
    assert source.frame.column_names == ["a", "label"]
    assert "rows.csv" in source.details["files"]["owner/name/versions/3"]


def test_a_kaggle_set_of_several_tables_wants_a_file(server):
    server.archive = fake_kaggle.zipped(one__csv=b"a,label\n1,0\n", two__csv=b"b\n1\n")
    with pytest.raises(DataError, match="2 table files"):
        find(kaggle=["owner/name"])
    assert find(kaggle=["owner/name:one.csv"]).frame.column_names == ["a", "label"]


@pytest.mark.usefixtures("server")
def test_a_file_outside_the_download_is_refused(tmp_path):
    (tmp_path / "secret.csv").write_text("a,label\n1,0\n")
    for name in (str(tmp_path / "secret.csv"), "../../../../../../secret.csv"):
        with pytest.raises(DataError):
            find(kaggle=[f"owner/name:{name}"])


def test_a_named_kaggle_set_that_cannot_be_had_is_never_replaced(server):
    server.answers[fake_kaggle.GET].append(fake_kaggle.refusal(404))
    with pytest.raises(DataError):
        find(kaggle=["owner/name"])


def test_credentials_bring_the_catalogue_when_nothing_was_named(server, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "0" * 32)
    entry = kaggle.CATALOGUE["boosted"][0]
    server.archive = fake_kaggle.zipped(**{entry.file.replace(".", "__"): churn_like()})
    source = find(model_type="boosted", num_samples=400)
    assert source.name == f"kaggle:{entry.handle}"
    assert source.frame.num_rows == 400
    assert source.hints.roles == {entry.label_column: Role.LABEL}


def test_a_catalogue_that_cannot_be_reached_falls_back_and_says_so(server, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "0" * 32)
    server.stop()
    monkeypatch.setattr(kaggle, "PAUSES_S", (0.0, 0.0))
    source = find(num_samples=50)
    assert source.is_synthetic
    assert "cannot be had" in source.fallback


def test_a_kaggle_set_trains_a_model_end_to_end(server, tmp_path):
    server.archive = fake_kaggle.zipped(churn__csv=churn_like())
    registry = Registry(tmp_path / "models", Keys(tmp_path / "keys"), Run().clock)
    plan = Plan("heuristic", kaggle_datasets=("owner/name",), columns={"Churn": "label"})
    outcome = train(plan, registry=registry)
    assert outcome.prepared.loaded.source == "kaggle:owner/name/versions/3"
    assert outcome.judged.evaluation.intervals["roc_auc"].estimate > 0.8


def test_the_fallback_is_a_recorded_fact(tmp_path):
    seen = []

    class Listener:
        def record(self, fact, **_):
            seen.append(fact)

        def seal(self):
            return None

    registry = Registry(tmp_path / "models", Keys(tmp_path / "keys"), Run().clock)
    train(Plan("heuristic", num_samples=400), run=Run([Listener()]), registry=registry)
    assert [f.source for f in seen if isinstance(f, SourceFellBack)] == ["synthetic:risk"]


def test_a_frame_in_memory_is_a_source():
    assert find(pa.table({"a": [1, 2], "label": [0, 1]})).name == "frame"
