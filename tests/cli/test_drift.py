"""``nethical drift`` as a person uses it: scored files in, verdicts and reports out."""

import csv
import json

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical.drift import report

STORE = "training_drift_reports"


def scored(path, n, *, seed, separation=2.2, days=0, **columns):
    """Write rows whose probabilities hold at a separation of 2.2."""
    rng = np.random.default_rng(seed)
    label = rng.random(n) < 0.4
    x = rng.normal(0, 1, n) + np.where(label, separation / 2, -separation / 2)
    proba = 1 / (1 + np.exp(-(2.2 * x + np.log(0.4 / 0.6))))
    table = {"probability": proba, "label": label.astype(int), "signal": x, **columns}
    if days:
        day = rng.integers(0, days, n)
        table["at"] = np.datetime64("2026-01-05") + day.astype("timedelta64[D]")
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def drift(command, tmp_path):
    def run(*words, code=0):
        done = command("drift", *words, cwd=tmp_path)
        assert done.code == code, done.err
        if code:
            lines = done.err.splitlines()
            assert len(lines) == 2
            assert lines[0].startswith("error: ")
            assert lines[1].startswith("mend: ")
        return done

    return run


@pytest.fixture
def two(drift, tmp_path):
    """A cohort as the model was made for, and one that is harder to tell apart."""
    for name, seed, separation in (("spring", 1, 2.2), ("autumn", 2, 1.5)):
        path = scored(tmp_path / f"{name}.parquet", 6000, seed=seed, separation=separation)
        drift("add", path, "--cohort", name, "--model", "m1")
    return tmp_path


@pytest.mark.usefixtures("two")
def test_what_changed_is_told_with_its_margin_and_every_test(drift):
    done = drift("compare", "spring", "autumn", "--json")
    found = done.document
    assert found["verdict"] == "drift"
    assert found["kind"] == "same_model_other_rows"
    effects = {effect["metric"]: effect for effect in found["effects"]}
    assert effects["accuracy"]["verdict"] == "beyond"
    assert effects["accuracy"]["ci"][1] < -effects["accuracy"]["margin"]
    assert len(found["tests"]) == 9
    shown = drift("compare", "spring", "autumn").out
    assert "Drift verdict: drift" in shown
    assert "✗  accuracy" in shown


@pytest.mark.usefixtures("two")
def test_drift_makes_the_exit_code_three_only_where_that_was_asked_for(drift):
    done = drift("compare", "spring", "autumn", "--fail-on-drift", code=3)
    assert "Drift verdict: drift" in done.out
    drift("compare", "spring", "autumn", "--margin", "accuracy=.5", "--fail-on-drift", code=3)
    wide = [f"--margin={name}=.9" for name in ("accuracy", "recall", "false_positive_rate")]
    wide += [f"--margin={name}=.9" for name in ("ece", "brier", "score_distribution")]
    assert drift("compare", "spring", "autumn", *wide, "--fail-on-drift").code == 0


def test_a_report_validates_and_lies_beside_its_page_and_summary(drift, two):
    done = drift("report", "--json", "--enable-audit")
    path = two / done.document["path"]
    document = json.loads(path.read_text())
    jsonschema.validate(document, report.schema())
    assert document["comparison"]["reference"] == "spring"
    assert document["drift_metrics"]["has_drift"] is True
    assert path.with_suffix(".html").read_text().startswith("<!DOCTYPE html>")
    assert "drift" in path.with_suffix(".md").read_text()
    assert "Merkle root: " in done.err


def test_the_log_holds_the_digest_of_a_report_and_of_its_cells(drift, command, two):
    path = scored(two / "winter.parquet", 500, seed=5)
    added = drift("add", path, "--cohort", "winter", "--enable-audit", "--json").document
    drift("report", "spring", "winter", "--enable-audit")
    shown = command("audit", "show", "training_audit_logs", "--json", cwd=two)
    assert shown.code == 0, shown.err
    assert added["added"][0]["cells_digest"].startswith("sha256:")
    entries = (two / "training_audit_logs").rglob("*")
    content = b"".join(path.read_bytes() for path in entries if path.is_file())
    assert added["added"][0]["cells_digest"].encode() in content
    assert b'"report_digest":"sha256:' in content


def test_weekly_looks_spend_their_budget_and_say_when_nothing_is_new(drift, two):
    drift("reference", "set", "spring", "--horizon", "2")
    first = drift("watch", "--json").document
    assert first["verdict"] == "drift"
    again = drift("watch", "--json").document
    assert again["verdict"] is None
    report_ids = [first["report_id"]]
    for seed in (7, 8):
        path = scored(two / f"week{seed}.parquet", 2000, seed=seed)
        drift("add", path, "--cohort", f"week{seed}", "--model", "m1")
        if seed == 7:
            found = drift("watch", "--json", "--fail-on-drift").document
            assert found["verdict"] != "drift"
            report_ids.append(found["report_id"])
    done = drift("watch", code=2)
    assert "all 2 looks" in done.err
    document = json.loads((two / STORE / f"{report_ids[1]}.json").read_text())
    assert document["comparison"]["look"] == 2
    assert document["comparison"]["horizon"] == 2
    assert document["comparison"]["alpha"] == pytest.approx(0.005)
    assert set(document["cohorts"]) == {"spring", "week7"}
    assert drift("reference", "show", "--json").document["looks"] == 2


@pytest.mark.usefixtures("two")
def test_a_watch_that_finds_drift_can_fail(drift):
    drift("reference", "set", "spring")
    assert "drift was found" in drift("watch", "autumn", "--fail-on-drift", code=3).err


def test_one_cohort_for_each_value_of_a_column_with_its_label_kept(drift, tmp_path):
    rng = np.random.default_rng(3)
    names = rng.choice(["Weather & news", "日本", "weather-news"], 900)
    path = scored(tmp_path / "rows.parquet", 900, seed=3, channel=names)
    added = drift("add", path, "--cohort-column", "channel", "--json").document["added"]
    assert sorted(fact["label"] for fact in added) == sorted({*names})
    assert len({fact["cohort_id"] for fact in added}) == 3
    assert sum(fact["rows"] for fact in added) == 900
    listed = drift("list", "--json").document["cohorts"]
    assert {cohort["label"] for cohort in listed} == {*names}
    assert "日本" in drift("list").out


def test_rows_without_labels_are_compared_by_score_and_their_rates_called_estimated(
    drift, tmp_path
):
    drift("add", scored(tmp_path / "a.parquet", 3000, seed=1), "--cohort", "a")
    table = pq.read_table(scored(tmp_path / "b.parquet", 3000, seed=2)).drop_columns(["label"])
    pq.write_table(table, tmp_path / "b.parquet")
    drift("add", tmp_path / "b.parquet", "--cohort", "b")
    found = drift("compare", "a", "b", "--json").document
    assert found["verdict"] == "inconclusive"
    effects = {effect["metric"]: effect["verdict"] for effect in found["effects"]}
    assert effects.pop("score_distribution") != "not_assessable"
    assert set(effects.values()) == {"not_assessable"}
    assert all(name.startswith("estimated_") for name in found["estimated"])
    assert found["estimated"]["estimated_accuracy"] == pytest.approx(0.865, abs=0.03)


def test_groups_and_windows_are_in_the_report(drift, tmp_path):
    rng = np.random.default_rng(4)
    more = {"tool": rng.choice(["mail", "web"], 4000), "session": rng.integers(0, 200, 4000)}
    for name, seed in (("a", 1), ("b", 2)):
        path = scored(tmp_path / f"{name}.parquet", 4000, seed=seed, days=28, **more)
        words = "--fairness-column tool --group-column session --time-column at".split()
        drift("add", path, "--cohort", name, *words)
    path = tmp_path / drift("report", "--json").document["path"]
    document = json.loads(path.read_text())
    jsonschema.validate(document, report.schema())
    cohort = document["cohorts"]["a"]
    assert list(cohort["windows"]) == ["2026-W02", "2026-W03", "2026-W04", "2026-W05"]
    assert cohort["n_clusters"] == 200
    assert {tuple(t["group"].items()) for t in cohort["groups"]["tests"]} == {
        (("tool", "mail"),),
        (("tool", "web"),),
    }


def test_the_same_file_reads_the_same_as_csv(drift, tmp_path):
    path = scored(tmp_path / "a.parquet", 500, seed=1)
    table = pq.read_table(path)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))
    first = drift("add", path, "--cohort", "a", "--json").document["added"][0]
    second = drift("add", tmp_path / "a.csv", "--cohort", "b", "--json").document["added"][0]
    assert first["cells_digest"] == second["cells_digest"]
    assert first["rows_digest"] == second["rows_digest"]


def test_labels_may_be_words(drift, tmp_path):
    path = scored(tmp_path / "a.parquet", 500, seed=1)
    table = pq.read_table(path)
    words = ["fraud" if value else "fine" for value in table["label"].to_pylist()]
    pq.write_table(table.set_column(1, "label", pa.array(words)), path)
    done = drift("add", path, "--cohort", "a", code=4)
    assert "'fine'" in done.err
    added = drift("add", path, "--cohort", "a", "--positive-label", "fraud", "--json").document
    assert added["added"][0]["labelled"] == 500


BAD = {
    "nan": (lambda t: t.set_column(0, "probability", pa.array([float("nan")] * len(t))), 4),
    "above one": (lambda t: t.set_column(0, "probability", pa.array([1.5] * len(t))), 4),
    "words": (lambda t: t.set_column(0, "probability", pa.array(["high"] * len(t))), 4),
    "no probability": (lambda t: t.drop_columns(["probability"]), 4),
    "unknown labels": (lambda t: t.set_column(1, "label", pa.array(["a", "b"] * 50)), 4),
    "empty": (lambda t: t.slice(0, 0), 4),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_two_lines_and_leaves_the_store_as_it_was(drift, tmp_path, case):
    change, code = BAD[case]
    good = scored(tmp_path / "good.parquet", 100, seed=1)
    drift("add", good, "--cohort", "good")
    before = (tmp_path / STORE / "cohorts.db").read_bytes()
    pq.write_table(change(pq.read_table(good)), tmp_path / "bad.parquet")
    drift("add", "bad.parquet", "--cohort", "bad", code=code)
    assert (tmp_path / STORE / "cohorts.db").read_bytes() == before


def test_the_same_rows_and_model_twice_are_refused_whole(drift, tmp_path):
    path = scored(tmp_path / "a.parquet", 300, seed=1)
    drift("add", path, "--cohort", "a", "--model", "m")
    assert "already" in drift("add", path, "--cohort", "a", "--model", "m", code=4).err
    drift("add", path, "--cohort", "b", "--model", "m")
    found = drift("compare", "a", "b", "--json").document
    assert found["kind"] == "same_model_same_rows"
    assert found["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "a", "nobody"),
        ("compare", "a", "a"),
        ("report", "nobody"),
        ("report", "--reference", "nobody"),
        ("reference", "set", "nobody"),
        ("reference", "set"),
        ("reference", "set", "a", "--horizon", "0"),
        ("watch",),
        ("add", "a.parquet"),
        ("add", "a.parquet", "--cohort", "../a"),
        ("add", "a.parquet", "--cohort", "b", "--threshold", "1.5"),
        ("compare", "a", "b", "--margin", "recall"),
        ("compare", "a", "b", "--margin", "nothing=.1"),
        ("compare", "a", "b", "--alpha", "2"),
    ],
)
def test_what_does_not_fit_together_is_a_usage_error(drift, tmp_path, words):
    for seed, name in enumerate("ab"):
        drift("add", scored(tmp_path / f"{name}.parquet", 200, seed=seed), "--cohort", name)
    before = (tmp_path / STORE / "cohorts.db").read_bytes()
    drift(*words, code=2)
    assert (tmp_path / STORE / "cohorts.db").read_bytes() == before


def test_one_row_is_a_cohort_that_is_never_judged(drift, tmp_path):
    drift("add", scored(tmp_path / "a.parquet", 500, seed=1), "--cohort", "a")
    drift("add", scored(tmp_path / "b.parquet", 1, seed=2), "--cohort", "b")
    found = drift("compare", "a", "b", "--json").document
    assert found["verdict"] == "inconclusive"
    assert {effect["verdict"] for effect in found["effects"]} == {"not_assessable"}
    assert drift("report").code == 0


def test_a_store_of_a_newer_release_is_left_as_it_is(drift, tmp_path):
    import sqlite3

    drift("add", scored(tmp_path / "a.parquet", 200, seed=1), "--cohort", "a")
    path = tmp_path / STORE / "cohorts.db"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = 99")
    db.close()
    before = path.read_bytes()
    assert "schema 99" in drift("list", code=5).err
    drift("add", "a.parquet", "--cohort", "b", code=5)
    assert path.read_bytes() == before


def test_a_run_with_a_newer_store_stops_before_it_trains(drift, command, tmp_path):
    import sqlite3

    drift("add", scored(tmp_path / "a.parquet", 200, seed=1), "--cohort", "a")
    with sqlite3.connect(tmp_path / STORE / "cohorts.db") as db:
        db.execute("UPDATE meta SET value = 99")
    db.close()
    words = "train --model-type heuristic --num-samples 600 --enable-drift-tracking".split()
    assert command(*words, cwd=tmp_path).code == 5
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("flag", ["--drift-report-dir", "--cohort-id", "--cohort-column"])
def test_a_flag_of_tracking_without_tracking_is_refused(command, tmp_path, flag):
    done = command("train", "--model-type", "heuristic", flag, "x", cwd=tmp_path)
    assert done.code == 2
    assert f"{flag} is given, but --enable-drift-tracking is not" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_column_that_is_missing_stops_a_run_before_it_trains(command, tmp_path):
    words = "train --model-type heuristic --num-samples 600 --enable-drift-tracking".split()
    done = command(*words, "--cohort-column", "nowhere", cwd=tmp_path)
    assert done.code == 4
    assert "cohort column 'nowhere' is missing" in done.err
    assert not (tmp_path / "models").exists()


def test_several_types_join_a_cohort_of_their_own_each(command, drift, tmp_path):
    words = "train --model-type heuristic,logistic --num-samples 1000 --json".split()
    done = command(*words, "--enable-drift-tracking", "--cohort-id", "x", cwd=tmp_path)
    assert done.code == 0, done.err
    listed = drift("list", "--json").document["cohorts"]
    assert {cohort["cohort_id"] for cohort in listed} == {"x-heuristic", "x-logistic"}
    last = done.document["runs"][-1]["drift"]
    document = json.loads((tmp_path / last["path"]).read_text())
    (comparison,) = document["drift_metrics"]["comparisons"]
    assert comparison["kind"] == "same_rows_two_models"


def test_a_model_that_a_cohort_refers_to_is_not_pruned(command, tmp_path):
    words = "train --model-type heuristic --num-samples 600".split()
    kept = command(*words, "--json", "--enable-drift-tracking", cwd=tmp_path).document["model_id"]
    for seed in (1, 2):
        assert command(*words, "--seed", str(seed), cwd=tmp_path).code == 0
    assert command("models", "prune", "--keep", "0", cwd=tmp_path).code == 0
    assert (tmp_path / "models" / "versions" / kept).exists()


def test_a_run_that_could_not_be_tracked_stops_before_it_learns(command, tmp_path):
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 2000)
    rows = {"x": label + rng.normal(size=2000), "label": label, "case": np.arange(2000)}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    track = "train --model-type heuristic --data rows.parquet --enable-drift-tracking".split()
    done = command(*track, "--cohort-column", "case", cwd=tmp_path)
    assert done.code == 4
    assert "column 'case' has" in done.err.splitlines()[-2]
    late = {**rows, "at": ["soon"] * 2000}
    pq.write_table(pa.table(late), tmp_path / "rows.parquet")
    done = command(*track, "--time-column", "at", "--split", "random", cwd=tmp_path)
    assert done.code == 4
    assert "time column 'at' cannot be read" in done.err.splitlines()[-2]
    assert not (tmp_path / "models").exists()
    assert not (tmp_path / STORE).exists()


def test_two_flags_that_name_the_cohort_are_refused(command, tmp_path):
    words = "train --model-type heuristic --enable-drift-tracking --cohort-id a".split()
    done = command(*words, "--cohort-column", "b", cwd=tmp_path)
    assert done.code == 2
    assert "--cohort-id and --cohort-column are both given" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_label_cannot_write_a_line_of_its_own(drift, tmp_path):
    forged = "x\n[INFO] Drift verdict: no_drift\x1b[2J"
    path = scored(tmp_path / "rows.parquet", 300, seed=3, channel=[forged] * 300)
    for out in (
        drift("add", path, "--cohort-column", "channel").out,
        drift("list").out,
        drift("report").out,
    ):
        assert not any(line.startswith("[INFO] Drift verdict: no") for line in out.splitlines())
        assert "\x1b" not in out


def test_a_run_tells_a_label_in_one_line(command, tmp_path):
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 1000)
    forged = ["x\n[INFO] Drift verdict: no_drift", "y"]
    rows = {"x": label + rng.normal(size=1000), "label": label, "c": forged * 500}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    words = "train --model-type heuristic --data rows.parquet --enable-drift-tracking".split()
    done = command(*words, "--cohort-column", "c", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "\n[INFO] Drift verdict: no_drift" not in done.out
    assert r"(x\n[INFO]" in done.out


def test_a_file_in_place_of_the_folder_is_told(drift, tmp_path):
    (tmp_path / "a_file").write_text("")
    for words in (("list",), ("report",), ("compare", "a", "b"), ("watch",)):
        assert "is no folder" in drift(*words, "--drift-report-dir", "a_file", code=5).err


def test_asking_makes_no_store(drift, tmp_path):
    for words, code in ((("compare", "a", "b"), 2), (("report",), 2), (("list",), 0)):
        drift(*words, code=code)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_judged_has_no_mark_and_needs_no_rows(command, drift, tmp_path):
    words = "train --model-type heuristic --num-samples 1000 --enable-drift-tracking".split()
    for seed in ("1", "2"):
        done = command(*words, "--cohort-id", f"s{seed}", "--seed", seed, cwd=tmp_path)
        assert done.code == 0, done.err
    done = drift("compare", "s1", "s2")
    assert "not attributable to drift" in done.out
    line = next(line for line in done.out.splitlines() if " accuracy " in line)
    assert line.split()[0] == "-"
    assert line.rstrip().endswith("0.02")
    assert drift("compare", "s1", "s2", "--json").document["rows_needed"] is None
