"""Reports: the keys that scripts read, the schema, the same bytes, and what to do."""

import json
from datetime import UTC, datetime

import jsonschema
import numpy as np
import pytest

from nethical.drift import report
from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import Cohorts, NewRun
from nethical.drift.compare import analyse
from nethical.drift.effects import Settings
from nethical.drift.recommendations import recommendations

AT = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


def rows(rng, n, *, separation=2.2, over=1.0, known=True):
    y = (rng.random(n) < 0.4).astype(np.int8)
    x = rng.normal(0, 1, n) + np.where(y, separation / 2, -separation / 2)
    p = 1 / (1 + np.exp(-over * (2.2 * x + np.log(0.4 / 0.6))))
    groups = {"tool": (rng.integers(0, 3, n), ["mail", "shell", "web"])}
    windows = (rng.integers(0, 3, n), ["2026-W01", "2026-W02", "2026-W03"])
    return Scored(p, y if known else np.full(n, -1, np.int8), 0.5, None, groups, windows)


def store(folder, **cohorts):
    made = Cohorts(folder, lambda: AT)
    for number, (name, scored) in enumerate(cohorts.items()):
        made.add(
            name,
            NewRun(
                f"run{number}",
                "m1",
                "sha256:" + "1" * 64,
                "p",
                f"sha256:{number:064x}",
                "",
                summarise(scored),
                {"threshold": 0.5, "source": "scores", "violations": []},
            ),
        )
    return made


def analysis(made, **settings):
    return analyse(made.load(), folder=made.folder, settings=Settings(**settings))


@pytest.fixture
def four(tmp_path):
    rng = np.random.default_rng(1)
    return store(
        tmp_path,
        spring=rows(rng, 8000),
        summer=rows(rng, 8000),
        autumn=rows(rng, 8000, separation=1.5),
        winter=rows(rng, 8000, known=False),
    )


def test_a_report_validates_and_holds_the_keys_that_scripts_read(four):
    told = report.document(analysis(four), report_id="drift_20260105_093000", at=AT)
    jsonschema.validate(told, report.schema())
    metrics = told["drift_metrics"]
    for key in ("has_drift", "message", "cohort_count", "drift_score", "violation_type_drift"):
        assert key in metrics
    for key in ("severity_drift", "risk_score_drift"):
        assert key in metrics
    assert metrics["has_drift"] is True
    assert metrics["cohort_count"] == 4
    cohort = told["cohorts"]["spring"]
    for key in ("cohort_id", "agent_count", "action_count", "violation_stats", "avg_risk_score"):
        assert key in cohort
    assert set(cohort["violation_stats"]) == {"total_count", "by_type", "by_severity", "by_time"}
    assert told["generated_at"].startswith("2026-01-05T09:30")


def test_the_schema_refuses_a_report_that_lacks_or_adds_something(four):
    told = report.document(analysis(four), report_id="drift_20260105_093000", at=AT)
    for spoil in (
        lambda d: d.pop("recommendations"),
        lambda d: d.update(more=1),
        lambda d: d["drift_metrics"].update(verdict="perhaps"),
        lambda d: d["cohorts"]["spring"].pop("action_count"),
    ):
        spoilt = json.loads(json.dumps(told))
        spoil(spoilt)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spoilt, report.schema())


def test_the_same_cohorts_give_the_same_bytes_below_a_hundred_kilobytes(four):
    first, second = (
        report.write(four.folder, analysis(four), at=AT, render=lambda _: {}) for _ in range(2)
    )
    assert (first.report_id, second.report_id) == (
        "drift_20260105_093000",
        "drift_20260105_093000_2",
    )
    contents = [found.path.read_bytes() for found in (first, second)]
    assert contents[0] == contents[1].replace(second.report_id.encode(), first.report_id.encode())
    assert len(contents[0]) < 100_000


def test_what_is_written_first_is_what_the_document_is_rendered_as(four):
    seen = []

    def render(told):
        seen.append(told)
        return {".html": "page", ".md": "summary"}

    written = report.write(four.folder, analysis(four), at=AT, render=render)
    assert json.loads(written.path.read_text()) == seen[0]
    assert written.path.with_suffix(".html").read_text() == "page"


def test_what_to_do_follows_from_what_fired(tmp_path):
    rng = np.random.default_rng(2)
    cases = {
        "retrain": rows(rng, 8000, separation=1.5),
        "recalibrate": rows(rng, 40_000, over=1.6),
        "collect_rows": rows(rng, 500),
        "label_rows": rows(rng, 8000, known=False),
    }
    for number, (code, scored) in enumerate(cases.items()):
        made = store(tmp_path / str(number), reference=rows(rng, 40_000), current=scored)
        wide = {"score_distribution": 0.5} if code == "recalibrate" else {}
        found = {one.code for one in recommendations(analysis(made, margins=wide))}
        assert code in found, (code, found)
    made = store(tmp_path / "one", only=rows(rng, 500))
    assert [one.code for one in recommendations(analysis(made))] == ["one_cohort"]
    made = store(tmp_path / "same", a=rows(rng, 60_000), b=rows(rng, 60_000))
    assert {one.code for one in recommendations(analysis(made))} == {"nothing_to_do"}
