import copy
import json
import math
import re

import pytest

from nethical import card

MODEL_ID = "fraud_20260102T120000Z_a1b2c3"
METRICS = {
    "precision": (0.81, 0.76, 0.85),
    "recall": (0.74, 0.69, 0.79),
    "accuracy": (0.931, 0.919, 0.942),
    "f1": (0.773, 0.735, 0.808),
    "ece": (0.014, 0.0, 0.021),
    "ece_debiased": (0.009, 0.0, 0.021),
    "false_positive_rate": (0.031, 0.023, 0.041),
    "roc_auc": (0.948, 0.936, 0.959),
    "average_precision": (0.86, 0.82, 0.89),
    "brier": (0.0512, 0.0451, 0.0573),
    "brier_skill": (0.61, 0.56, 0.66),
    "log_loss": (0.18, 0.16, 0.2),
    "calibration_slope": (0.98, 0.9, 1.06),
    "calibration_intercept": (-0.04, -0.2, 0.12),
    "recall_at_budget": (0.066, 0.05, 0.09),
}
CRITERIA = [
    ("ECE <= 0.08", 0.009, 0.0192, 0.08, 2000, "PASS", None, ""),
    ("Accuracy >= 0.85", 0.931, 0.921, 0.85, 2000, "PASS", None, ""),
    ("Skill over the base rate > 0", 0.0801, 0.0742, 0.0, 2000, "PASS", None, ""),
    ("Recall > 0", 0.74, 0.7, 0.0, 301, "PASS", None, ""),
    ("No unaccepted leak", 0.0, 0.0, 0.0, 0, "PASS", None, ""),
    ("night: Accuracy >= 0.85", 0.88, 0.841, 0.85, 400, "INSUFFICIENT_EVIDENCE", 1234, ""),
    ("night: ECE <= 0.08", None, None, 0.08, 0, "FAIL", None, "cannot be measured"),
]
KEYS = ("name", "estimate", "bound", "threshold", "n", "verdict", "rows_needed", "note")
CUT = {"block": 0.5, "gray_low": 0.4, "gray_high": 0.6, "confidence": 0.7, "rule": "the default"}


def column(name, role, why, feature=None):
    return {"name": name, "role": role, "feature": feature, "why": why, "delimiter": None}


def model_document():
    columns = [
        column("amount", "amount", "by its name", "numeric"),
        column("country", "fairness", "as given"),
        column("memo", "text", "44 characters on average", "text"),
        column("is_fraud", "label", "by its name"),
    ]
    labelling = {"positive": ["fraud"], "negative": ["ok"], "why": "by its meaning"}
    return {
        "schema_version": 1,
        "model_type": "boosted",
        "name": "fraud",
        "roles": {"columns": columns, "labelling": labelling},
        "calibrator": {"method": "isotonic", "scores": [0.0], "probabilities": [0.1]},
        "thresholds": dict(CUT),
        "model": {"trees": 96},
    }


def metrics_document(verdict="PASS"):
    criteria = [dict(zip(KEYS, values, strict=True)) for values in CRITERIA]
    kept = {"PASS": 5, "INSUFFICIENT_EVIDENCE": 6, "FAIL": 7}[verdict]
    values = {name: estimate for name, (estimate, _, _) in METRICS.items()}
    intervals = {name: [low, high] for name, (_, low, high) in METRICS.items()}
    return {
        **{name: values[name] for name in ("precision", "recall", "accuracy", "f1", "ece")},
        "metrics": values,
        "intervals": intervals,
        "rows": 2000,
        "positives": 301,
        "verdict": verdict,
        "criteria": criteria[:kept],
        "limits": {"max_ece": 0.08, "min_accuracy": 0.85},
        "thresholds": dict(CUT),
        "reliability": {
            "n": [1500, 100, 50, 0, 40, 30, 30, 50, 80, 120],
            "mean_proba": [0.02, 0.14, 0.25, None, 0.45, 0.55, 0.65, 0.75, 0.85, 0.96],
            "share": [0.02, 0.15, 0.22, None, 0.5, 0.5, 0.7, 0.74, 0.86, 0.97],
            "error": [0.004, 0.03, 0.06, None, 0.08, 0.09, 0.08, 0.06, 0.04, 0.02],
        },
        "histogram": {
            "edges": [place / 20 for place in range(21)],
            "positive": [12, 8, 6, 5, 4, 4, 4, 4, 5, 5, 6, 8, 10, 12, 15, 18, 25, 35, 50, 65],
            "negative": [1400, 120, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 3, 3, 2, 2, 1, 1, 0],
        },
        "challenges": {
            "night": {"metrics": {"accuracy": 0.88}, "intervals": {"accuracy": [0.84, 0.91]}}
            | {"rows": 400}
        },
    }


def run_document():
    return {
        "run_id": "run_20260102T115900Z_00ff00",
        "model_id": MODEL_ID,
        "started_at": "2026-01-02T12:59:00+01:00",
        "plan": {"model_type": "boosted", "seed": 42, "alert_budget": 0.01, "data": "card.csv"},
        "source": {
            "source": "file",
            "digest": "sha256:" + "ab" * 32,
            "rows": 10000,
            "columns": 4,
            "unlabelled": 17,
            "details": {"path": "data/card.csv", "nulls": {}, "read_only": True},
        },
        "splits": {
            "strategy": "grouped",
            "parts": {"train": 5990, "calibrate": 1993, "gate": 2000},
            "positives": {"train": 880, "calibrate": 295, "gate": 301},
            "groups": {"train": 600, "calibrate": 199, "gate": 201},
            "notes": ["3 rows have no group"],
        },
        "leaks": {
            "suspects": [
                {"column": "memo", "roc_auc": 0.9971, "what": "is missing", "is_feature": True}
            ],
            "dropped": [],
            "accepted": ["memo"],
            "duplicate_rows": 12,
            "sorted_by_label": True,
        },
        "fitting": {
            "epochs": 10,
            "epochs_run": 9.6,
            "seconds": 3.7,
            "notes": ["--batch-size has no effect"],
            "details": {"trees": 96},
        },
        "calibration": {"method": "isotonic", "rows": 1993},
        "environment": {"nethical": "0.1.0", "libraries": {"numpy": "2.4.6", "scipy": "1.17.1"}},
        "warnings": ["the label file is sorted"],
        "comparison": {
            "current": "fraud_20251201T120000Z_d4e5f6",
            "difference": [-0.004, -0.006, -0.002],
            "n": 2000,
            "worse": False,
        },
        "receipt": {"origin": "example.com/log", "tree_size": 812, "merkle_root": "cd" * 32},
        "row_key": "SHA256:" + "ef" * 32,
        "gate_readings": 4,
        "cleared": True,
        "reason": "not worse than the current model",
    }


def documents(verdict="PASS"):
    return model_document(), metrics_document(verdict), run_document()


def with_every_text(value, text, keep=()):
    """The document with each of its texts replaced, but for the keys to keep."""
    if isinstance(value, dict):
        return {k: v if k in keep else with_every_text(v, text, keep) for k, v in value.items()}
    if isinstance(value, list):
        return [with_every_text(entry, text, keep) for entry in value]
    return text if isinstance(value, str) else value


def without_values(value):
    """The document with each of its leaves unknown."""
    if isinstance(value, dict):
        return {key: without_values(entry) for key, entry in value.items()}
    return [without_values(entry) for entry in value] if isinstance(value, list) else None


def row_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(f"| {start}"))


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def section(text, title):
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_verdict_comes_first_in_a_sentence():
    lines = card.render(*documents()).splitlines()
    assert lines[0] == f"# Model card: `{MODEL_ID}`"
    assert lines[2].startswith("> **Verdict: PASS.** It met all 5 criteria below.")
    assert "on 2,000 rows that were kept from training" in lines[2]


def test_a_fail_names_what_was_missed():
    assert (
        "**Verdict: FAIL.** It was shown to miss 1 of 7 criteria: night: ECE &lt;= 0.08."
        in card.render(*documents("FAIL"))
    )


def test_insufficient_evidence_names_what_is_undecided_and_condemns_nothing():
    text = card.render(*documents("INSUFFICIENT_EVIDENCE"))
    assert "Nothing was shown to be wrong" in text
    assert "1 of 6 criteria: night: Accuracy &gt;= 0.85." in text


def test_a_verdict_that_is_none_of_the_three_is_unknown():
    model, metrics, run = documents()
    metrics["verdict"] = "PASS, trust me"
    text = card.render(model, metrics, run)
    assert "**Verdict: unknown.**" in text
    assert "trust me" not in text


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INSUFFICIENT_EVIDENCE"])
def test_every_criterion_has_a_row_with_all_that_was_judged(verdict):
    model, metrics, run = documents(verdict)
    said = section(card.render(model, metrics, run), "What was demanded of it")
    table = [cells(line) for line in said.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in table] == [
        c["name"].replace("<", "&lt;").replace(">", "&gt;") for c in metrics["criteria"]
    ]
    assert [row[1] for row in table] == [f"**{c['verdict']}**" for c in metrics["criteria"]]
    assert table[0][2:] == ["0.009", "0.019", "0.08", "2,000", "none"]
    if verdict == "FAIL":
        assert table[5][6] == "about 1,234"
        assert table[6][2:4] == ["unknown", "unknown"]
        assert "- Note on night: ECE &lt;= 0.08: cannot be measured" in said


def test_every_metric_has_a_row_with_its_interval_and_a_plain_meaning():
    text = card.render(*documents())
    for name in METRICS:
        row = cells(row_of(text, f"`{name}`"))
        assert row[1] != "unknown"
        assert "\u00a0to\u00a0" in row[2]
        assert len(row[3]) > 20
    assert cells(row_of(text, "`recall`"))[1:3] == ["0.740", "0.690\u00a0to\u00a00.790"]
    assert "alert budget of 1 % of the rows" in row_of(text, "`recall_at_budget`")


def test_a_metric_that_is_not_known_to_the_card_is_shown_all_the_same():
    model, metrics, run = documents()
    metrics["metrics"]["novel"] = 0.25
    row = cells(row_of(card.render(model, metrics, run), "`novel`"))
    assert row == ["`novel`", "0.250", "unknown", ""]


def test_challenge_sets_have_their_own_metrics():
    said = card.render(*documents()).split("### Challenge set `night`")[1]
    assert cells(row_of(said, "`accuracy`"))[1:3] == ["0.880", "0.840\u00a0to\u00a00.910"]


@pytest.mark.parametrize("source", ["synthetic:risk", "synthetic", "legacy_tabular"])
def test_a_model_of_synthetic_data_is_called_so_at_the_top_in_the_data_and_in_the_limits(source):
    model, metrics, run = documents()
    run["source"]["source"] = source
    text = card.render(model, metrics, run)
    assert text.split("## ")[0].count("SYNTHETIC data") == 1
    assert "all its data is synthetic" in section(text, "What this card does not show")
    assert "**synthetic: made up by a program**" in section(text, "What it learnt from")


def test_a_model_of_real_data_is_not_called_synthetic():
    assert "synthetic" not in card.render(*documents()).lower()


def test_the_data_its_columns_and_its_parts_are_told():
    said = section(card.render(*documents()), "What it learnt from")
    assert "| Rows | 10,000 |" in said
    assert "`sha256:" + "ab" * 32 + "`" in said
    assert "| Positive label | `fraud` (by its meaning) |" in said
    assert "| `amount` | amount | numeric | by its name |" in said
    assert "| `country` | fairness | no | as given |" in said
    assert "| gate | 2,000 | 301 | 201 | all numbers and verdicts above |" in said
    assert "| nulls | none |" in said


def test_of_very_many_columns_the_first_are_listed_and_the_rest_counted():
    model, metrics, run = documents()
    model["roles"]["columns"] = [column(f"c{i}", "numeric", "", "numeric") for i in range(5000)]
    text = card.render(model, metrics, run)
    assert "`c59`" in text
    assert "`c60`" not in text
    assert "And 4,940 more, all in model.json." in text


def test_thresholds_lead_to_decisions():
    said = section(card.render(*documents()), "What it decides")
    assert "| below 0.4 | allow |" in said
    assert "| from 0.4 to 0.6 | review |" in said
    assert "| above 0.6 | block |" in said
    assert "the default" in said


def test_a_gray_zone_that_reaches_an_end_says_that_the_decision_beyond_it_never_comes():
    model, metrics, run = documents()
    model["thresholds"] |= {"block": 0.05, "gray_low": 0.0, "gray_high": 0.15}
    assert "| never | allow |" in card.render(model, metrics, run)
    model["thresholds"] |= {"block": 0.95, "gray_low": 0.85, "gray_high": 1.0}
    assert "| never | block |" in card.render(model, metrics, run)


def test_the_limits_tell_readings_leaks_notes_and_warnings():
    said = section(card.render(*documents()), "What this card does not show")
    for words in (
        "The gate part has been read 4 times.",
        "`memo` (is missing) nearly decides the label alone, ROC AUC 0.997; the user accepted it",
        "12 rows repeat another row",
        "sorted by its label",
        "Warning of the run: the label file is sorted",
        "Of the parts: 3 rows have no group",
        "Of the fitting: --batch-size has no effect",
        "by `country`, which the model does not read",
        "not divided by time",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("leaks", "fate"),
    [
        ({"dropped": ["memo"], "accepted": []}, "it was dropped"),
        ({"dropped": [], "accepted": []}, "nobody accepted it"),
    ],
)
def test_what_became_of_a_leak_is_said(leaks, fate):
    model, metrics, run = documents()
    run["leaks"] |= leaks
    assert f"ROC AUC 0.997; {fate}." in card.render(model, metrics, run)


def test_few_rows_and_few_positives_are_limits():
    model, metrics, run = documents()
    metrics |= {"rows": 114, "positives": 11}
    said = section(card.render(model, metrics, run), "What this card does not show")
    assert "**Few rows:** 114" in said
    assert "rest on 11 of them" in said


def test_what_is_said_as_a_warning_is_not_said_again_as_a_note():
    model, metrics, run = documents()
    run["splits"]["notes"] = run["warnings"] = ["few rows to split"]
    assert card.render(model, metrics, run).count("few rows to split") == 1


@pytest.mark.parametrize(
    ("difference", "worse", "word"),
    [
        ([-0.004, -0.006, -0.002], False, "better"),
        ([0.001, -0.002, 0.004], False, "not shown to differ"),
        ([0.004, 0.002, 0.006], True, "worse"),
        ([None, None, None], False, "not shown to differ"),
    ],
)
def test_a_comparison_with_the_current_model_says_what_was_shown(difference, worse, word):
    model, metrics, run = documents()
    run["comparison"] |= {"difference": difference, "worse": worse}
    assert f"it is **{word}**" in card.render(model, metrics, run)


def test_where_it_stands_is_said_with_the_reason():
    model, metrics, run = documents()
    assert "It was cleared to go into production (not worse than the current model)" in card.render(
        model, metrics, run
    )
    run |= {"cleared": False, "reason": "the gate did not pass it"}
    assert "a candidate, not for production (the gate did not pass it)" in card.render(
        model, metrics, run
    )


def test_the_card_says_how_to_load_verify_and_use_the_model():
    said = section(card.render(*documents()), "How to use it")
    assert f'nethical.load("models/versions/{MODEL_ID}")' in said
    assert "predict_proba(frame)" in said
    assert f"nethical predict {MODEL_ID} DATA -o OUT" in said
    assert f"nethical models verify {MODEL_ID}" in said


def test_a_model_id_that_is_none_never_reaches_a_command():
    model, metrics, run = documents()
    run["model_id"] = 'x"); import os; os.system("id") #'
    said = section(card.render(model, metrics, run), "How to use it")
    assert "os.system" not in said
    assert "nethical models verify MODEL_ID" in said


def test_times_are_given_in_utc():
    assert "trained 2026-01-02 11:59 UTC" in card.render(*documents())


def test_the_images_are_named_as_the_files_beside_the_card():
    model, metrics, run = documents()
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", card.render(model, metrics, run))
    assert named == list(card.figures(metrics)) == ["reliability.svg", "scores.svg"]
    assert all(svg.startswith("<svg ") for svg in card.figures(metrics).values())


@pytest.mark.parametrize("empty", [{}, without_values(metrics_document())])
def test_figures_of_nothing_measured_say_so(empty):
    if empty:
        empty["histogram"]["edges"] = metrics_document()["histogram"]["edges"]
        empty["reliability"]["n"] = [0] * 10
    assert all("no rows" in svg for svg in card.figures(empty).values())


def test_documents_without_any_value_give_a_card_that_calls_everything_unknown():
    for given in ({}, {}, {}), tuple(without_values(document) for document in documents()):
        text = card.render(*given)
        assert "# Model card: unknown" in text
        assert "**Verdict: unknown.**" in text
        assert "| from unknown to unknown | review |" in text
        assert "None" not in text


def test_without_columns_nothing_is_said_about_them():
    text = card.render({}, *documents()[1:])
    assert "columns that it reads: unknown" in text
    assert "its columns are unknown" in text
    assert "no fairness column was named" not in text


def test_numbers_that_are_not_finite_are_unknown():
    model, metrics, run = documents()
    metrics["metrics"] |= {"recall": math.nan, "f1": math.inf}
    metrics["intervals"] |= {"recall": [None, None], "f1": [0.1, None]}
    text = card.render(model, metrics, run)
    assert cells(row_of(text, "`recall`"))[1:3] == ["unknown", "unknown"]
    assert cells(row_of(text, "`f1`"))[1:3] == ["unknown", "0.100\u00a0to\u00a0unknown"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.99996, "1"), (0.9997, "0.9997"), (0.0004, "0.0004"), (0.0, "0.000"), (1.0, "1.000")],
)
def test_rounding_does_not_turn_nearly_into_all_or_none(value, shown):
    model, metrics, run = documents()
    metrics["metrics"]["roc_auc"] = value
    assert cells(row_of(card.render(model, metrics, run), "`roc_auc`"))[1] == shown


def test_what_was_looked_for_and_not_found_is_told_apart_from_what_is_unknown():
    model, metrics, run = documents()
    run |= {"receipt": None, "comparison": None}
    text = card.render(model, metrics, run)
    assert "| Audit log | none was written |" in text
    assert "It was not compared with another model." in text
    del run["receipt"], run["comparison"]
    text = card.render(model, metrics, run)
    assert "| Audit log | unknown |" in text
    assert "compared" not in text


def test_the_same_documents_give_the_same_bytes_and_stay_as_they_are():
    given = documents()
    kept = copy.deepcopy(given)
    text = card.render(*given)
    assert text == card.render(*json.loads(json.dumps(given)))
    assert given == kept


HOSTILE = [
    "<script>alert(1)</script>",
    "a|b||c",
    "line\n\n# heading\r\n- item\u2028> quote",
    "`code` ``` ~~~ *bold* __under__ ~~gone~~",
    "[link](javascript:alert(1)) ![img](http://evil/x.png) [ref]: http://evil",
    "<!-- &lt; &#60; --> <img src=x onerror=alert(1)>",
    "trailing backslash \\",
    "http://evil.example www.evil.example",
    "$x$ \x00\x1b[31m \u202egnp.exe\ud800",
    "\\|\\`\\<",
    "x" * 10_000,
    "| --- | --- |\n| a | b |",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_leave_the_shape_of_the_card_as_it_is(text):
    given = documents("FAIL")
    plain = [with_every_text(document, "word", {"verdict"}) for document in given]
    hostile = [with_every_text(document, text, {"verdict"}) for document in given]
    expected, told = card.render(*plain), card.render(*hostile)
    told.encode()
    assert len(told) < 60_000
    assert shape(told) == shape(expected)


def shape(text):
    """Each line's kind and its cells, with everything that Markdown would act on."""
    assert "<" not in text
    lines = []
    for line in text.splitlines():
        inert = re.sub(r"\\.", "", line)
        bare = re.sub(r"`[^`]*`", "", inert)
        assert "`" not in bare or line.startswith("```")
        kind = re.match(r"(#+ |> |- |\| |```|!\[)?", line).group()
        urls = re.findall(r"https?://|www\.", bare)
        links = re.findall(r"\]\([^)]*\)", bare)
        lines.append((kind, len(re.split(r"(?<!\\)\|", re.sub(r"\\\\", "", line))), urls, links))
    return lines


def test_hostile_keys_are_as_inert_as_values():
    model, metrics, run = documents()
    for place in (run["source"]["details"], run["plan"], run["environment"], metrics["metrics"]):
        place["<b>|`x`\n# y"] = 1
    run["splits"]["parts"]["<b>|\n"] = 1
    metrics["challenges"]["<b>|\n`"] = {"metrics": {}, "rows": 1}
    text = card.render(model, metrics, run)
    assert "<" not in text
    assert "\n# y" not in text
