"""What to do: each rule fires where it should, and only there."""

from pathlib import Path

import numpy as np
import pytest

from nethical.canonical import digest
from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import Cohort, CohortRun
from nethical.drift.compare import analyse
from nethical.drift.effects import Settings
from nethical.drift.recommendations import RULES, recommendations
from nethical.drift.rows import sketch
from nethical.record import scored_rows_file


def people(seed, n=8000, share=0.4):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(np.int8)
    return rng.normal(np.where(y, 1.1, -1.1)), y, rng.integers(0, 2**63, (n, 2)).astype(np.uint64)


def run(seen, *, model="m", clusters=None, noise=0.0, power=1.0, name="run"):
    """A run of a model, each of which a way of its own made."""
    x, y, ids = seen
    x = x + noise * np.random.default_rng(9).normal(size=len(x))
    p = (1 / (1 + np.exp(-(2.2 * x - 0.4)))) ** power
    cells = summarise(Scored(p, y, 0.5**power, clusters))
    content = scored_rows_file(ids, p, y)
    details = {
        "threshold": 0.5**power,
        "rows_file": digest(content),
        "rows_sketch": sketch(ids),
        "violations": [],
    }
    path = Path(f"{digest(content)[7:23]}.parquet")
    return CohortRun(
        name, model, model, f"way of {model}", digest(ids.tobytes()), str(path), cells, details
    ), (
        path,
        content,
    )


@pytest.fixture
def told(tmp_path):
    """Return a function that gives the code and the words of what is recommended."""

    def told(settings=None, **cohorts):
        made = []
        for name, runs in cohorts.items():
            for _, (path, content) in runs:
                (tmp_path / path).write_bytes(content)
            at = f"2026-01-0{len(made) + 1}T00:00:00.000000Z"
            made.append(Cohort(name, name, at, tuple(one for one, _ in runs)))
        found = analyse(made, folder=tmp_path, settings=settings or Settings())
        return {one.code: one for one in recommendations(found)}

    return told


def test_rows_that_changed_are_to_be_learnt_from(told):
    found = told(a=[run(people(1))], b=[run(people(2), noise=1.0)])
    assert "retrain" in found
    assert "train again" in found["retrain"].action
    better = told(a=[run(people(1), noise=1.0)], b=[run(people(2))])
    assert "find_out_why_better" in better
    assert "retrain" not in better


def test_of_two_models_on_the_same_rows_nothing_is_said_of_how_rows_were_sampled(told):
    seen = people(1)
    plain, noisy = run(seen, model="a"), run(seen, model="b", noise=1.0)
    worse, better = told(a=[plain], b=[noisy]), told(a=[noisy], b=[plain])
    assert "Prefer the reference" in worse["keep_reference"].action
    assert "Prefer it" in better["better_than_reference"].action
    other = told(a=[plain], b=[run(seen, model="b", power=3.0)])
    for found in (worse, better, other):
        assert not {"retrain", "check_sampling", "find_out_why_better", "prevalence"} & set(found)
        assert not any("sampled" in one.text for one in found.values())


def test_scores_that_moved_alone_mean_another_mix_only_where_rows_are_others(told):
    wide = dict.fromkeys(("accuracy", "recall", "false_positive_rate", "ece", "brier"), 0.9)
    margins = Settings(margins=wide)
    seen = people(1)
    rows_moved = told(margins, a=[run(seen)], b=[run(people(2, share=0.7))])
    assert "check_sampling" in rows_moved
    scale = told(
        margins,
        a=[run(seen, model="a")],
        b=[run(seen, model="b", power=3.0)],
    )
    assert "other_scores" in scale
    assert "check_sampling" not in scale


def test_a_share_of_positives_that_differs_is_told_where_nothing_else_is(told):
    wide = dict.fromkeys(
        ("accuracy", "recall", "false_positive_rate", "ece", "brier", "score_distribution"), 0.9
    )
    found = told(Settings(margins=wide), a=[run(people(1))], b=[run(people(2, share=0.5))])
    assert set(found) == {"prevalence"}


def test_rows_without_labels_are_to_be_labelled(told):
    x, y, ids = people(2)
    blind = (x, np.full(len(y), -1, np.int8), ids)
    found = told(a=[run(people(1))], b=[run(blind)])
    assert "is estimated" in found["label_rows"].evidence
    assert "label_rows" not in told(a=[run(people(1))], b=[run(people(2))])


def test_the_same_rows_by_the_same_model_are_told_to_count_once(told):
    seen = people(1)
    found = told(a=[run(seen, name="first"), run(seen, name="second")])
    assert "1 of its 2 runs" in found["same_rows_again"].evidence
    other = told(a=[run(seen), run(people(2), name="second")])
    assert "same_rows_again" not in other


def test_rows_that_two_runs_or_two_cohorts_share_are_told(told):
    x, y, ids = people(1)
    june, both = (x[:4000], y[:4000], ids[:4000]), (x, y, ids)
    within = told(a=[run(june, name="june"), run(both, name="june and july")])
    assert "two runs of a share about" in within["shared_rows"].evidence
    between = told(a=[run(june)], b=[run(both)])
    assert "b and a share about" in between["shared_rows"].evidence
    assert "shared_rows" not in told(a=[run(people(1))], b=[run(people(2))])


def test_runs_with_and_without_groups_are_told(told):
    grouped = run(people(1), clusters=np.arange(8000) // 4)
    plain = run(people(2), name="second")
    for cohorts in ({"a": [grouped, plain]}, {"a": [grouped], "b": [plain]}):
        assert "1 of 2 runs" in told(**cohorts)["groups_missing"].evidence
    also = run(people(2), clusters=np.arange(8000) // 4)
    assert "groups_missing" not in told(a=[grouped], b=[also])


def test_each_is_told_once_in_the_order_of_the_rules(told):
    found = told(a=[run(people(1))], b=[run(people(2), noise=1.0)], c=[run(people(3), noise=1.0)])
    assert next(iter(found)) == "retrain"
    assert len({rule.__name__ for rule in RULES}) == len(RULES)
    assert all(one.action[0].isupper() for one in found.values())
