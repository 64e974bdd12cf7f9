import json
import os
import subprocess
import sys

import pytest

from nethical.errors import UsageError
from nethical.models import catalog
from nethical.models.base import Settings

THIRD_PARTY = '''
import numpy as np
from nethical.models.base import Fitting, Parts, Reason


class OneColumn:
    """Scores by the column whose means differ most between the classes."""

    model_type = "one_column"

    def __init__(self):
        self.fitting = Fitting(None)

    def fit(self, table, *, rng, progress):
        gaps = {}
        for feature in table.features:
            values = np.nan_to_num(table.numeric(feature.name))
            gap = values[table.y == 1].mean() - values[table.y == 0].mean()
            gaps[feature.name] = float(gap / (values.std() or 1))
        self.column = max(gaps, key=lambda name: abs(gaps[name]))
        self.sign = float(np.sign(gaps[self.column]))
        return self

    def score(self, table):
        return self.sign * np.nan_to_num(table.numeric(self.column))

    def row_scorer(self):
        return None

    def explain(self, table, top):
        return [[Reason(self.column, "", float(score))] for score in self.score(table)][:top]

    def to_parts(self):
        return Parts({"column": self.column, "sign": self.sign})

    @classmethod
    def from_parts(cls, parts):
        model = cls()
        model.column, model.sign = parts.document["column"], parts.document["sign"]
        return model


def build(settings):
    return OneColumn()
'''


@pytest.fixture
def site(tmp_path):
    """A folder as pip leaves it that brings one model type, and one under a name of ours."""
    folder = tmp_path / "site"
    info = folder / "one_column-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "one_column.py").write_text(THIRD_PARTY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: one-column\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[nethical.models]\none_column = one_column:build\nlogistic = one_column:build\n"
    )
    return folder


def run(site, tmp_path, code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site), "NETHICAL_HOME": str(tmp_path / "home")},
    )


LISTED = """
from nethical.models import catalog
from nethical.models.base import Settings
print(catalog.names())
print(type(catalog.build("one_column", Settings())).__module__)
print(type(catalog.build("logistic", Settings())).__module__)
"""


def test_a_type_by_entry_point_is_listed_after_ours_and_cannot_take_our_name(site, tmp_path):
    ran = run(site, tmp_path, LISTED)
    assert ran.returncode == 0, ran.stderr
    names, third, ours = ran.stdout.splitlines()
    assert names == str((*catalog.BUILT_IN, "one_column"))
    assert third == "one_column"
    assert ours == "nethical.models.logistic"


MAIN = "import sys\nfrom nethical.cli.main import main\nsys.exit(main())"


def test_a_type_by_entry_point_is_trained_saved_and_used(site, tmp_path):
    trained = run(
        site,
        tmp_path,
        MAIN,
        *("train", "--model-type", "one_column", "--data", "synthetic:risk"),
        *("--num-samples", "800", "--json"),
    )
    assert trained.returncode == 0, trained.stderr
    document = json.loads(trained.stdout)
    assert document["model_type"] == "one_column"
    assert document["metrics"]["roc_auc"] > 0.65
    use = f"""
import pyarrow as pa
from nethical.trained import load
from nethical.data.synthetic import generate
model = load({str(tmp_path / document["model_path"])!r})
frame = generate("risk", 50, seed=1).table
print(type(model.model).__name__, model.predict_proba(frame).shape)
row = frame.to_pylist()[0]
print(model.predict_row(row) == model.predict_proba(frame)[0, 1])
"""
    used = run(site, tmp_path, use)
    assert used.returncode == 0, used.stderr
    assert used.stdout.splitlines() == ["OneColumn (50, 2)", "True"]
    gone = run(tmp_path, tmp_path, use)
    assert "there is no model type 'one_column'" in gone.stderr


def test_an_unknown_type_is_a_usage_error_that_lists_the_known_ones():
    with pytest.raises(UsageError, match="there is no model type 'magic'") as caught:
        catalog.build("magic", Settings())
    assert caught.value.mend.startswith("choose one of heuristic, logistic, boosted")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", catalog.BUILT_IN)
def test_our_types_are_built_under_their_own_names(name):
    assert catalog.build(name, Settings()).model_type == name
    assert catalog.names()[: len(catalog.BUILT_IN)] == catalog.BUILT_IN
