"""The drift report as a JSON document; its schema is ``report.schema.json`` beside this file."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from nethical import durable
from nethical.canonical import digest
from nethical.drift import measures, statistics
from nethical.drift.effects import SHARES, Verdict, known
from nethical.drift.recommendations import recommendations
from nethical.drift.windows import in_order
from nethical.metrics.intervals import UNDEFINED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from nethical.drift.cells import Cells
    from nethical.drift.cohorts import Cohort
    from nethical.drift.compare import Analysis
    from nethical.drift.fairness import Fairness
    from nethical.metrics.intervals import Interval

__all__ = ["Written", "document", "schema", "write"]

SCHEMA_VERSION = 1
OF_PROBABILITIES = {"ece", "ece_debiased", "brier", "calibration_slope", "calibration_intercept"}
LONGEST_LINE = 320
TIERS = ("low", "normal", "high", "elevated")
CORRECTION = (
    "Bonferroni over effects (by their shares of alpha) and cohorts for intervals; Holm over all "
    "tests for p"
)


@dataclass(frozen=True)
class Written:
    """A report on the disk.

    Args:
        report_id: Its id.
        path: The JSON file; the page and the summary lie beside it.
        digest: SHA-256 of the bytes of the JSON file.
        verdict: What it says.
    """

    report_id: str
    path: Path
    digest: str
    verdict: Verdict


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a report."""
    text = resources.files("nethical.drift").joinpath("report.schema.json").read_text("utf8")
    found: dict[str, Any] = json.loads(text)
    return found


def document(
    analysis: Analysis,
    *,
    report_id: str,
    at: datetime,
    look: int | None = None,
    horizon: int | None = None,
) -> dict[str, Any]:
    """Return a report as JSON values; the same analysis, id and time give the same.

    Args:
        analysis: What was found.
        report_id: The id of the report.
        at: When it is made, UTC.
        look: Which look at the reference this is, of a horizon; None outside a watch.
        horizon: How many looks share the error rate, or None.
    """
    times = sorted(run.added_at for cohort in analysis.cohorts for run in cohort.runs)
    done = recommendations(analysis)
    settings = analysis.settings
    told: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "report_id": report_id,
        "start_time": times[0],
        "end_time": times[-1],
        "generated_at": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "comparison": {
            "reference": analysis.reference.cohort_id,
            "alpha": settings.alpha,
            "margins": {name: settings.margin(name) for name in SHARES},
            "shares": dict(SHARES),
            "correction": CORRECTION,
            "look": look,
            "horizon": horizon,
        },
        "cohorts": {
            cohort.cohort_id: _cohort(cohort, analysis.fairness.get(cohort.cohort_id))
            for cohort in analysis.cohorts
        },
        "drift_metrics": _drift_metrics(analysis),
        "recommendations": [one.text for one in done],
        "recommendation_details": [
            {"code": one.code, "evidence": one.evidence, "action": one.action} for one in done
        ],
    }
    return {key: _rounded(value) for key, value in told.items()}


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value with its numbers to six significant figures."""
    match value:
        case dict():
            return {key: _rounded(each) for key, each in value.items()}
        case list():
            return [_rounded(each) for each in value]
        case float():
            return float(f"{value:.6g}")
        case _:
            return value


def _text(value: Any, indent: str = "") -> str:  # noqa: ANN401 - any JSON value
    """Return a JSON value as text; what is short enough stays on one line."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(line) <= LONGEST_LINE or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + " "
    if isinstance(value, list):
        parts = [f"{inner}{_text(each, inner)}" for each in value]
        return "[\n" + ",\n".join(parts) + f"\n{indent}]"
    parts = [
        f"{inner}{json.dumps(key, ensure_ascii=False)}: {_text(each, inner)}"
        for key, each in value.items()
    ]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def _cohort(cohort: Cohort, fairness: Fairness | None) -> dict[str, Any]:
    """Return what a report says of one cohort."""
    whole = cohort.summary.whole
    found = [v for run in cohort.runs for v in run.details.get("violations", ())]
    bins = measures.reliability(whole)
    low, normal, high, elevated = whole.scores(4).tolist()
    tiers = zip(TIERS, (low, normal, high, elevated), strict=True)
    return {
        "cohort_id": cohort.cohort_id,
        "label": cohort.label,
        "agent_count": len(cohort.models),
        "action_count": whole.rows,
        "violation_stats": {
            "total_count": len(found),
            "by_type": dict(Counter(v["type"] for v in found)),
            "by_severity": dict(Counter(v["severity"] for v in found)),
            "by_time": [
                {"time": run.added_at, "type": v["type"], "severity": v["severity"]}
                for run in cohort.runs
                for v in run.details.get("violations", ())
            ],
        },
        "avg_risk_score": whole.mean_proba,
        "risk_distribution": {name: rows for name, rows in tiers if rows},
        "n_labelled": whole.labelled,
        "n_clusters": whole.clusters,
        "runs": [_run(run, run in cohort.counted) for run in cohort.runs],
        "metrics": _metrics(measures.measured(whole), cohort),
        "estimated": {n: known(v) for n, v in measures.estimated(whole).items()}
        if whole.labelled == 0 and cohort.is_calibrated
        else {},
        "calibration": {
            "bins": [
                {"n": int(n), "mean_proba": known(p), "share": known(y), "error": known(e)}
                for n, p, y, e in zip(bins.n, bins.mean_proba, bins.share, bins.error, strict=True)
            ]
        },
        "scores": whole.scores(20).tolist(),
        "groups": None if fairness is None else _fairness(fairness),
        "windows": {
            name: _window(cohort.summary.windows[name], cohort)
            for name in in_order(list(cohort.summary.windows))
        },
    }


def _run(run: Any, is_counted: bool) -> dict[str, Any]:  # noqa: ANN401, FBT001 - a CohortRun
    return {
        "run_id": run.run_id,
        "model": run.model,
        "source": run.details.get("source"),
        "seed": run.details.get("seed"),
        "threshold": run.details.get("threshold"),
        "rows": run.summary.whole.rows,
        "counted": is_counted,
        "added_at": run.added_at,
        "rows_digest": run.rows_digest,
        "cells_digest": run.cells_digest,
    }


def _metrics(found: dict[str, Interval], cohort: Cohort) -> dict[str, Any]:
    """Return measures as JSON values; percentiles have none of those of probabilities."""
    if not cohort.is_calibrated:
        found = {n: UNDEFINED if n in OF_PROBABILITIES else i for n, i in found.items()}
    return measures.document(found)


def _window(cells: Cells, cohort: Cohort) -> dict[str, Any]:
    wanted = ("accuracy", "recall", "false_positive_rate", "flag_rate", "ece_debiased", "brier")
    found = measures.measured(cells)
    return {
        "action_count": cells.rows,
        "n_labelled": cells.labelled,
        "avg_risk_score": cells.mean_proba,
        "metrics": _metrics({name: found[name] for name in wanted}, cohort),
    }


def _fairness(fairness: Fairness) -> dict[str, Any]:
    return {
        "alarm": bool(fairness.alarms),
        "tests": [test.to_document() for test in fairness.tests],
        "not_assessable": [
            {"group": dict(test.group), "metric": test.metric, "n": list(test.n)}
            for test in fairness.not_assessable
        ],
        "omnibus": [
            {"column": column, "metric": metric, "p": known(p)}
            for (column, metric), p in fairness.omnibus.items()
        ],
    }


def _drift_metrics(analysis: Analysis) -> dict[str, Any]:
    """Return what changed, in the keys that scripts look for and in those of this project."""
    alpha, compared = analysis.settings.alpha, analysis.comparisons
    risks = [cohort.summary.whole.mean_proba for cohort in analysis.cohorts]
    return {
        "has_drift": analysis.verdict == Verdict.DRIFT,
        "verdict": analysis.verdict.value,
        "message": analysis.message,
        "cohort_count": len(analysis.cohorts),
        "drift_score": _drift_score(analysis),
        "statistical_difference": any(t.p_adjusted < alpha for one in compared for t in one.tests),
        "violation_type_drift": _violation_drift(analysis, "type"),
        "severity_drift": _violation_drift(analysis, "severity"),
        "risk_score_drift": {
            "max_risk": max(risks),
            "min_risk": min(risks),
            "drift": max(risks) - min(risks),
            "avg_risk": sum(risks) / len(risks),
        },
        "homogeneity": {name: known(p) for name, p in analysis.homogeneity.items()},
        "comparisons": [one.to_document(alpha) for one in compared],
    }


def _drift_score(analysis: Analysis) -> float | None:
    """Return the largest effect of any comparison, in margins; None without any."""
    scores = [
        abs(effect.gap.difference.estimate) / effect.margin
        for one in analysis.comparisons
        for effect in one.effects
        if math.isfinite(effect.gap.difference.estimate)
    ]
    return max(scores) if scores else None


def _violation_drift(analysis: Analysis, key: str) -> dict[str, Any]:
    """Return for each type (or severity) of violation its rate of runs in each cohort.

    Tested by Fisher's exact test of the cohort with most against the one with least, Holm over
    the kinds: reported, not judged.
    """
    cohorts = analysis.cohorts
    counts = {c.cohort_id: _violating_runs(c, key) for c in cohorts}
    kinds = sorted({kind for found in counts.values() for kind in found})
    rows = {}
    for kind in kinds:
        rates = {c.cohort_id: counts[c.cohort_id][kind] / len(c.runs) for c in cohorts}
        most = max(cohorts, key=lambda c: rates[c.cohort_id])
        least = min(cohorts, key=lambda c: rates[c.cohort_id])
        sides = [(counts[c.cohort_id][kind], len(c.runs)) for c in (least, most)]
        p = statistics.rate_test(*sides[0], *sides[1]) if most is not least else math.nan
        rows[kind] = (rates, p)
    adjusted = statistics.holm([p for _, p in rows.values()])
    return {
        kind: {
            "max_rate": max(rates.values()),
            "min_rate": min(rates.values()),
            "drift": max(rates.values()) - min(rates.values()),
            "cohort_rates": rates,
            "p_adjusted": known(p_adjusted),
        }
        for (kind, (rates, _)), p_adjusted in zip(rows.items(), adjusted, strict=True)
    }


def _violating_runs(cohort: Cohort, key: str) -> Counter[str]:
    return Counter(
        kind for run in cohort.runs for kind in {v[key] for v in run.details.get("violations", ())}
    )


def write(
    folder: Path,
    analysis: Analysis,
    *,
    at: datetime,
    render: Callable[[Mapping[str, Any]], Mapping[str, str]],
    look: int | None = None,
    horizon: int | None = None,
) -> Written:
    """Write a report: the JSON document, and what is rendered from it, under a new id.

    The JSON file is written last, so that where it stands everything stands.

    Args:
        folder: Where reports lie.
        analysis: What was found.
        at: When, UTC.
        render: Returns the contents of further files by the end of their name (``.html``).
        look: See ``document``.
        horizon: See ``document``.

    Raises:
        StorageError: It cannot be written.
    """
    durable.make_folder(folder)
    with durable.lock(folder):
        report_id = _new_id(folder, at)
        told = document(analysis, report_id=report_id, at=at, look=look, horizon=horizon)
        content = (_text(told) + "\n").encode()
        for ending, text in render(told).items():
            durable.write(folder / f"{report_id}{ending}", text.encode())
        path = folder / f"{report_id}.json"
        durable.write(path, content)
    return Written(report_id, path, digest(content), analysis.verdict)


def _new_id(folder: Path, at: datetime) -> str:
    """Return ``drift_YYYYMMDD_HHMMSS``, with a number after it if that second has one already."""
    report_id = first = f"drift_{at:%Y%m%d_%H%M%S}"
    number = 2
    while (folder / f"{report_id}.json").exists():
        report_id, number = f"{first}_{number}", number + 1
    return report_id
