"""Train with drift tracking, and read its reports: under pytest, and by itself.

    python tests/test_train_drift_tracking.py

By itself it prints what it does and ends with 1 if anything is not as it should be; it needs no
pytest for that.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "training" / "train_any_model.py"
TRAIN = "--model-type heuristic --epochs 10 --num-samples 1000".split()
DRIFT = "--enable-drift-tracking --drift-report-dir drift_reports --cohort-id cohort_alpha".split()
LINES = (
    "Ethical drift tracking enabled",
    "Training cohort ID: cohort_alpha",
    "Generating ethical drift report",
    "Drift Report ID: ",
)


def run(folder, *words, code=0):
    environment = {**os.environ, "NETHICAL_HOME": str(Path(folder).parent / "keys")}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stderr)
    return done


def nethical(folder, *words, code=0):
    return run(folder, "-m", "nethical.cli.main", *words, code=code)


def workplace(tmp_path):
    folder = Path(tmp_path) / "work"
    folder.mkdir()
    return folder


def report_of(folder, stdout):
    """Return the report that a run tells of, once all that scripts read is there."""
    report_id = re.search(r"Drift Report ID: (drift_\d{8}_\d{6}(_\d+)?)$", stdout, re.MULTILINE)[1]
    report = json.loads((folder / f"{report_id}.json").read_text())
    assert report["report_id"] == report_id
    assert {"start_time", "end_time", "cohorts", "drift_metrics", "recommendations"} <= set(report)
    for cohort_id, cohort in report["cohorts"].items():
        assert cohort["cohort_id"] == cohort_id
        assert cohort["action_count"] == sum(cohort["risk_distribution"].values())
        assert set(cohort["risk_distribution"]) <= {"low", "normal", "high", "elevated"}
        assert {"total_count", "by_type", "by_severity"} <= set(cohort["violation_stats"])
        assert 0 <= cohort["avg_risk_score"] <= 1
    assert isinstance(report["drift_metrics"]["has_drift"], bool)
    assert report["drift_metrics"]["message"]
    assert report["recommendations"]
    for ending in (".html", ".md"):
        assert (folder / f"{report_id}{ending}").read_text()
    return report


def test_the_command_of_the_readme_twice_in_a_row_joins_one_cohort(tmp_path):
    folder = workplace(tmp_path)
    for runs in (1, 2):
        done = run(folder, SCRIPT, *TRAIN, *DRIFT)
        for line in LINES:
            assert line in done.stdout, line
        report = report_of(folder / "drift_reports", done.stdout)
        (cohort,) = report["cohorts"].values()
        assert cohort["cohort_id"] == "cohort_alpha"
        assert len(cohort["runs"]) == runs
        assert cohort["action_count"] == 200
        metrics = report["drift_metrics"]
        assert metrics["message"] == "Insufficient cohorts for drift analysis"
        assert metrics["has_drift"] is False


def test_a_run_without_a_cohort_id_gets_one_of_its_type_and_time(tmp_path):
    folder = workplace(tmp_path)
    done = run(folder, SCRIPT, *TRAIN, "--enable-drift-tracking")
    assert re.search(r"Training cohort ID: heuristic_\d{8}_\d{6}$", done.stdout, re.MULTILINE)
    report_of(folder / "training_drift_reports", done.stdout)


def test_nothing_is_said_of_drift_where_it_is_off(tmp_path):
    folder = workplace(tmp_path)
    done = run(folder, SCRIPT, *TRAIN)
    assert not any(line in done.stdout for line in LINES)
    assert not (folder / "training_drift_reports").exists()


def test_three_trainings_a_side_compare_ways_of_training_and_one_does_not(tmp_path):
    folder = workplace(tmp_path)
    few = "--model-type logistic --num-samples 2000 --enable-drift-tracking".split()
    for cohort, seeds in (("before", (1, 2, 3)), ("after", (4, 5, 6))):
        for seed in seeds:
            done = run(folder, SCRIPT, *few, "--cohort-id", cohort, "--seed", seed)
            if seed == 4:
                report = report_of(folder / "training_drift_reports", done.stdout)
                (comparison,) = report["drift_metrics"]["comparisons"]
                assert comparison["kind"] == "single_retrain"
                assert comparison["verdict"] == "inconclusive"
                assert "not attributable to drift" in comparison["message"]
    (comparison,) = report_of(folder / "training_drift_reports", done.stdout)["drift_metrics"][
        "comparisons"
    ]
    assert comparison["kind"] == "training_process"
    assert comparison["verdict"] != "drift"


def test_the_example_answers_its_three_questions(tmp_path):
    folder = workplace(tmp_path)
    done = run(folder, ROOT / "examples" / "train_with_drift_tracking.py")
    for expected in (
        r"^two models, same rows: \w+ \(same_rows_two_models\)$",
        r"^one model, two periods: drift \(same_model_other_rows\)$",
    ):
        assert re.search(expected, done.stdout, re.MULTILINE), done.stdout
    assert "Drift Report ID: " in done.stdout


def main():
    """Run every test of this file by itself, and say how it went."""
    failed = 0
    for name, test in sorted(globals().items()):
        if not name.startswith("test_"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(folder)
            except Exception:  # noqa: BLE001 - each test is to be run
                traceback.print_exc()
                failed += 1
                print(f"FAILED {name}")
            else:
                print(f"ok     {name}")
    print(f"{failed} failed" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
