"""Train every model type on real data: under pytest, and by itself.

    python tests/test_train_model_real_data.py [--slow]

Reads the sets that scikit-learn ships and, where the folder ``../shared/data`` of the project
is there, a small set of it; with ``--slow`` more of them. By itself it prints what it does and
ends with 1 if anything is not as it should be; it needs no pytest for that.
"""

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from unittest import SkipTest

import numpy as np

from nethical import Plan, load, train
from nethical.data import files, sources
from nethical.keys import Keys, default_home
from nethical.registry import Registry

TYPES = ("heuristic", "logistic", "boosted")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
# What each set must reach, by ROC area of the gate part; well below what was measured. Columns
# that say the label in other words are no features.
SMALL = {"tabular_6_cardio": (0.95, {})}
LARGE = {
    "tabular_2_annthyroid": (0.8, {}),
    "tabular_23_mammography": (0.85, {}),
    "tabular_27_PageBlocks": (0.88, {}),
    "tabular_32_shuttle": (0.97, {}),
    "tabular_35_SpamBase": (0.94, {}),
    "tabular_5_campaign": (0.9, {}),
    "sequence_hdfs_deeplog": (0.95, {"split": "ignore"}),
    "text_davidson_hate": (0.9, {"class3": "ignore"}),
    "text_openai_moderation": (
        0.75,
        dict.fromkeys(["S", "H", "V", "HR", "SH", "S3", "H2", "V2"], "ignore"),
    ),
    "agent_xinject_traces": (0.85, {}),
}


def shared_path(name):
    path = SHARED / f"{name}.parquet"
    if not path.exists():
        raise SkipTest(f"{path} is not there")
    return path


def check(model_type, data, folder, least, columns):
    """Train, and check metrics, signature and reloading; return what metrics.json says."""
    plan = Plan(model_type, data=str(data), columns=columns, models_dir=str(folder), threads=1)
    outcome = train(plan)
    path = outcome.published.path
    document = json.loads((path / "metrics.json").read_text())
    metrics = document["metrics"]
    assert metrics["roc_auc"] >= least, f"ROC area {metrics['roc_auc']:.3f} is below {least}"
    assert metrics["brier_skill"] > 0, "no better than the base rate"
    assert metrics["ece_debiased"] <= 0.08, f"calibration error {metrics['ece_debiased']:.3f}"
    for name, value in metrics.items():
        low, high = document["intervals"].get(name, [None, None])
        known = None not in {value, low, high}
        assert not known or low <= value <= high, f"{name} {value} lies outside [{low}, {high}]"
    registry = Registry(folder, Keys(default_home()), lambda: None)
    assert registry.verify(path.name).model_id == outcome.published.model_id
    promoted = (folder / "current" / model_type).exists()
    assert promoted == (document["verdict"] == "PASS"), "only what passed is current"
    check_reloaded(outcome, path, data)
    return document


def check_reloaded(outcome, path, data):
    """The bundle, loaded again, gives the same probabilities of raw rows."""
    if str(data).startswith("sklearn:"):
        frame = sources.find(data, model_type="", num_samples=None, seed=0).frame
    else:
        frame = files.load(Path(data))
    some = np.unique(np.linspace(0, len(frame) - 1, 2000).astype(int))
    raw = frame.take(some).drop_columns([outcome.model.roles.named("label")[0]])
    found = load(path).predict_proba(raw)
    assert found.shape == (len(raw), 2)
    assert np.isfinite(found).all()
    assert np.ptp(found[:, 1]) > 0.1
    assert np.array_equal(found, outcome.model.predict_proba(raw)), "reloaded, it differs"


def pytest_generate_tests(metafunc):
    """Run each set with each type; the larger ones with ``--slow``."""
    if "model_type" in metafunc.fixturenames:
        metafunc.parametrize("model_type", TYPES)
    if "shared_set" in metafunc.fixturenames:
        slow = metafunc.config.getoption("--slow")
        metafunc.parametrize("shared_set", [*SMALL, *(LARGE if slow else ())])


def test_breast_cancer_is_learnt_signed_and_reloaded(tmp_path, model_type):
    document = check(model_type, "sklearn:breast_cancer", tmp_path / "models", 0.95, {})
    assert document["accuracy"] > 0.88


def test_a_shared_real_set_is_learnt_signed_and_reloaded(tmp_path, model_type, shared_set):
    check(model_type, shared_path(shared_set), tmp_path / "models", *(SMALL | LARGE)[shared_set])


def main(arguments):
    """Train on every set with every type; return the number of failures."""
    sets = {"sklearn:breast_cancer": (0.95, {})} | SMALL | (LARGE if "--slow" in arguments else {})
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NETHICAL_HOME"] = str(Path(folder) / "home")
        for name, demands in sets.items():
            for model_type in TYPES:
                place = Path(folder) / "models" / name.replace(":", "-") / model_type
                try:
                    data = name if name.startswith("sklearn:") else shared_path(name)
                    found = check(model_type, data, place, *demands)
                except SkipTest as reason:
                    print(f"skipped  {model_type:<10} {name}: {reason}")
                except Exception:  # noqa: BLE001 - each failure is shown, and counted
                    failures += 1
                    traceback.print_exc()
                    print(f"FAILED   {model_type:<10} {name}")
                else:
                    shown = ("accuracy", "roc_auc", "ece_debiased")
                    text = ", ".join(f"{key} {found['metrics'][key]:.3f}" for key in shown)
                    print(f"ok       {model_type:<10} {name}: {text}; {found['verdict']}")
    print(f"{failures} failed" if failures else "all as it should be")
    return failures


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
