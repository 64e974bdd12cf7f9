"""Real traces of agents: four language models as cohorts of one risk model."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest

from nethical.drift import report
from nethical.drift.rows import from_parquet

TRACES = Path(__file__).parents[3] / "shared" / "data" / "agent_xinject_traces.parquet"
SHUFFLES = 2000


def permuted(hits, cohorts, pair, rng):
    """P of equal rates of two cohorts, by shuffling who belongs to which."""
    a, b = (hits[cohorts == name] for name in pair)
    if len(a) == 0 or len(b) == 0:
        return np.nan
    seen = abs(b.mean() - a.mean())
    both = np.concatenate([a, b]).astype(float)
    total, n = both.sum(), len(a)
    beyond = 0
    for _ in range(SHUFFLES):
        first = rng.permutation(both)[:n].sum()
        beyond += abs((total - first) / len(b) - first / n) >= seen - 1e-12
    return (beyond + 1) / (SHUFFLES + 1)


@pytest.mark.slow
@pytest.mark.skipif(not TRACES.exists(), reason="the shared data sets are not on this machine")
def test_verdicts_on_four_language_models_agree_with_a_permutation_test(command, tmp_path):
    columns = ["attack_type=ignore", "kind=ignore", "model=fairness"]
    given = [word for column in columns for word in ("--column", column)]
    done = command(
        *("train", "--model-type", "logistic", "--data", TRACES, *given, "--json"),
        *("--enable-drift-tracking", "--cohort-column", "model"),
        cwd=tmp_path,
    )
    assert done.code == 0, done.err
    told = json.loads((tmp_path / done.document["drift"]["path"]).read_text())
    jsonschema.validate(told, report.schema())
    assert len(told["cohorts"]) == 4
    assert len(told["drift_metrics"]["comparisons"]) == 3

    bundle = tmp_path / done.document["model_path"]
    rows = from_parquet((bundle / "scores.parquet").read_bytes())
    names = np.array(pq.read_table(bundle / "scores.parquet")["fairness:model"].to_pylist())
    called = rows.y_proba >= json.loads((bundle / "model.json").read_text())["thresholds"]["block"]
    ids = {cohort["label"]: key for key, cohort in told["cohorts"].items()}
    rng = np.random.default_rng(1)
    compared = 0
    for one in told["drift_metrics"]["comparisons"]:
        pair = [next(n for n, k in ids.items() if k == one[s]) for s in ("reference", "current")]
        tests = {test["metric"]: test for test in one["tests"]}
        effects = {effect["metric"]: effect for effect in one["effects"]}
        for metric, among, hits in (
            ("accuracy", np.ones(len(names), bool), called == (rows.y_true == 1)),
            ("recall", rows.y_true == 1, called),
            ("false_positive_rate", rows.y_true == 0, called),
            ("prevalence", np.ones(len(names), bool), rows.y_true == 1),
            ("flag_rate", np.ones(len(names), bool), called),
        ):
            p = permuted(hits[among], names[among], pair, rng)
            test = tests[metric]
            if np.isnan(p) or test["p"] is None:
                continue
            compared += 1
            near = 0.003 < p < 0.03  # where the shuffles themselves are not sure of .01
            assert near or (p < 0.01) == (test["p"] < 0.01), (pair, metric, p, test["p"])
            if effects.get(metric, {}).get("verdict") == "beyond":
                assert p < 0.01
    assert compared >= 12
