import itertools

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit, logit
from scipy.stats import chi2
from sklearn.metrics import roc_auc_score

from nethical.data.synthetic import RANGES, describe, generate, tasks
from nethical.data.synthetic_sessions import FOLLOWS
from nethical.data.synthetic_tasks import (
    ACTIONS,
    ATTACK_TRIPLES,
    DAY,
    RISK,
    RISK_INTERCEPT,
    TASKS,
    WINDOW,
    Knobs,
    event_log_odds,
)
from nethical.errors import UsageError

FIVE = ["violation_count", "severity_max", "recency_score", "frequency_score", "context_risk"]
KNOBBED = ["risk", "text", "sequence", "events", "mixed", "xor"]
EVERY_KNOB = {
    "overlap": 1.5,
    "label_noise": 0.1,
    "prevalence_shift": -0.7,
    "covariate_shift": 0.4,
    "missing": 0.2,
    "informative_missing": True,
    "groups": 40,
    "drift": 2.0,
}


def column(drawn, name):
    return drawn.table[name].to_numpy()


def fits(drawn, n_bins=25):
    """Return the p-value of the labels under their probabilities, by bins of probability."""
    p, label = drawn.probability, column(drawn, "label")
    noisy = (p > 0) & (p < 1)
    assert (label[~noisy] == p[~noisy]).all()
    order = np.argsort(p[noisy])
    bins = np.array_split(order, n_bins)
    p, label = p[noisy], label[noisy]
    z2 = [(label[b] - p[b]).sum() ** 2 / (p[b] * (1 - p[b])).sum() for b in bins]
    return chi2.sf(sum(z2), n_bins)


# --- what every task promises ----------------------------------------------------------------


@pytest.mark.parametrize("task", KNOBBED)
@pytest.mark.parametrize("knobbed", [False, True])
def test_labels_follow_the_probability(task, knobbed):
    knobs = {k: v for k, v in EVERY_KNOB.items() if k in TASKS[task].knobs} if knobbed else {}
    assert fits(generate(task, 60_000, seed=5, **knobs)) > 0.001


def test_a_wrong_probability_would_be_seen():
    drawn = generate("risk", 60_000, seed=5)
    tempered = type(drawn)(drawn.table, 0.95 * drawn.probability + 0.025)
    assert fits(tempered) < 1e-9


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("risk", [*FIVE, "label"]),
        ("text", ["message", "label"]),
        ("sequence", ["actions", "label"]),
        ("sessions", ["actions", "label"]),
        ("events", ["agent", "resource", "amount", "time", "label"]),
        (
            "mixed",
            [
                "severity_max",
                "frequency_score",
                "channel",
                "region",
                "message",
                "actions",
                "group",
                "time",
                "label",
            ],
        ),
        ("xor", ["left_signal", "right_signal", "nuisance", "label"]),
        ("legacy_tabular", [*FIVE, "label"]),
        ("legacy_anomaly", ["sequence", "label"]),
        (
            "legacy_correlation",
            [
                "agent_count",
                "action_rate",
                "entropy_variance",
                "time_correlation",
                "payload_similarity",
                "label",
            ],
        ),
    ],
)
def test_a_task_has_the_documented_columns(task, columns):
    drawn = generate(task, 500, seed=0)
    schema = drawn.table.schema
    assert schema.names == columns
    assert schema.field("label").type == pa.int64()
    assert set(column(drawn, "label")) == {0, 1}
    assert drawn.probability.shape == (500,)
    assert drawn.probability.dtype == np.float64
    assert ((drawn.probability >= 0) & (drawn.probability <= 1)).all()
    types = {"message": pa.string(), "actions": pa.list_(pa.string()), "group": pa.string()}
    types |= {"time": pa.timestamp("us"), "sequence": pa.list_(pa.string()), "agent": pa.string()}
    types |= {"resource": pa.string(), "channel": pa.string(), "region": pa.string()}
    for name in set(columns) - {"label"}:
        assert schema.field(name).type == types.get(name, pa.float64())


@pytest.mark.parametrize("task", tasks())
def test_the_seed_alone_decides(task):
    first, again, other = (generate(task, 300, seed=seed) for seed in (1, 1, 2))
    assert first.table.equals(again.table)
    assert (first.probability == again.probability).all()
    assert not first.table.equals(other.table)


@pytest.mark.parametrize("task", tasks())
def test_one_row_is_enough(task):
    assert generate(task, 1, seed=0).table.num_rows == 1


def test_every_task_is_described_in_one_line():
    assert tasks() == tuple(TASKS)
    for task in tasks():
        assert 0 < len(describe(task)) <= 80
        assert "\n" not in describe(task)


# --- risk ------------------------------------------------------------------------------------


def test_the_best_accuracy_of_risk_lies_between_94_and_95_percent():
    drawn = generate("risk", 1_000_000, seed=11)
    assert 0.94 < drawn.best_accuracy < 0.95
    assert 0.35 < drawn.probability.mean() < 0.5
    label = column(drawn, "label")
    assert np.mean((drawn.probability > 0.5) == label) == pytest.approx(
        drawn.best_accuracy, abs=0.001
    )


def test_no_column_of_risk_decides_alone_and_two_matter_most():
    drawn = generate("risk", 200_000, seed=12)
    label = column(drawn, "label")
    alone = [roc_auc_score(label, column(drawn, name)) for name in FIVE]
    assert max(alone) < 0.95
    assert min(alone[:2]) > 0.78
    assert 0.65 < min(alone[2:]) <= max(alone[2:]) < 0.75


def test_the_log_odds_of_risk_are_additive_and_rise_with_every_feature():
    drawn = generate("risk", 20_000, seed=3)
    shares = [RISK[name].log_odds(column(drawn, name), 0.0) for name in FIVE]
    assert drawn.probability == pytest.approx(expit(sum(shares) + RISK_INTERCEPT), abs=1e-12)
    x = np.linspace(0, 1, 101)
    for name in FIVE:
        assert (np.diff(RISK[name].log_odds(x, 0.0)) > 0).all()
        assert abs(np.trapezoid(RISK[name].log_odds(x, 0.0), x)) < 0.01
        assert (column(drawn, name) >= 0).all()
        assert (column(drawn, name) <= 1).all()


def test_the_features_of_risk_are_only_mildly_correlated():
    drawn = generate("risk", 50_000, seed=4)
    correlation = np.corrcoef([column(drawn, name) for name in FIVE])
    assert correlation[~np.eye(5, dtype=bool)].max() < 0.2


# --- knobs -----------------------------------------------------------------------------------


def test_overlap_divides_the_log_odds():
    plain, wide = (generate("text", 5000, seed=1, overlap=overlap) for overlap in (1, 3))
    assert logit(wide.probability) == pytest.approx(logit(plain.probability) / 3)
    assert wide.best_accuracy < plain.best_accuracy - 0.05


def test_label_noise_flips_its_share_and_the_probability_knows():
    plain, noisy = (generate("risk", 50_000, seed=1, label_noise=noise) for noise in (0, 0.2))
    assert noisy.probability == pytest.approx(0.6 * plain.probability + 0.2)
    assert noisy.best_accuracy == pytest.approx(0.6 * plain.best_accuracy + 0.2)
    assert noisy.table.drop_columns("label").equals(plain.table.drop_columns("label"))
    assert generate("risk", 100, seed=1, label_noise=0.5).best_accuracy == 0.5


def test_prevalence_shift_moves_the_log_odds_of_every_row():
    plain, shifted = (generate("risk", 5000, seed=1, prevalence_shift=s) for s in (0, -3))
    expected = expit(logit(plain.probability) - 3)
    assert shifted.probability == pytest.approx(expected, rel=1e-6)


def test_covariate_shift_moves_the_features_and_keeps_the_law():
    shifted = generate("risk", 20_000, seed=1, covariate_shift=1.0)
    shares = [RISK[name].log_odds(column(shifted, name), 0.0) for name in FIVE]
    assert min(column(shifted, name).mean() for name in FIVE) > 0.7
    assert shifted.probability == pytest.approx(expit(sum(shares) + RISK_INTERCEPT), abs=1e-12)


@pytest.mark.parametrize("task", KNOBBED)
def test_covariate_shift_makes_rows_riskier(task):
    plain, shifted = (generate(task, 30_000, seed=1, covariate_shift=s) for s in (0, 1))
    if task == "xor":
        assert column(shifted, "left_signal").mean() > column(plain, "left_signal").mean() + 0.2
    else:
        assert shifted.probability.mean() > plain.probability.mean() + 0.005


def test_missing_hides_its_share_at_random_and_the_truth_knows_only_what_is_seen():
    drawn = generate("risk", 40_000, seed=1, missing=0.3)
    shares = []
    for name in FIVE:
        assert drawn.table[name].null_count / 40_000 == pytest.approx(0.3, abs=0.01)
        shares.append(RISK[name].log_odds(column(drawn, name), 0.0))
    assert drawn.probability == pytest.approx(expit(sum(shares) + RISK_INTERCEPT), abs=1e-12)
    hidden, others = np.isnan(column(drawn, FIVE[0])), column(drawn, FIVE[1])
    assert np.nanmean(others[hidden]) == pytest.approx(np.nanmean(others[~hidden]), abs=0.01)


@pytest.mark.parametrize("task", ["risk", "mixed", "xor"])
def test_informative_missing_raises_the_risk_of_what_is_hidden(task):
    drawn = generate(task, 40_000, seed=1, missing=0.3, informative_missing=True)
    name = drawn.table.column_names[0]
    hidden = drawn.table[name].is_null().to_numpy()
    assert drawn.probability[hidden].mean() > drawn.probability[~hidden].mean() + 0.02


def test_what_is_seen_stays_the_same_when_some_is_missing():
    plain, gappy = (generate("risk", 1000, seed=1, missing=share) for share in (0, 0.5))
    for name in FIVE:
        seen = ~np.isnan(column(gappy, name))
        assert (column(gappy, name)[seen] == column(plain, name)[seen]).all()


def test_a_group_moves_the_log_odds_of_all_its_rows():
    plain, grouped = (generate("text", 20_000, seed=1, groups=groups) for groups in (0, 50))
    group = grouped.table["group"].to_numpy()
    effect = logit(grouped.probability) - logit(plain.probability)
    names = np.unique(group)
    assert len(names) == 50
    assert max(np.ptp(effect[group == name]) for name in names) < 1e-6
    assert 1.0 < np.std([effect[group == name][0] for name in names]) < 2.0


def test_rows_of_a_group_are_alike():
    drawn = generate("risk", 20_000, seed=1, groups=100)
    group, x = drawn.table["group"].to_numpy(), column(drawn, "severity_max")
    between = np.var([x[group == name].mean() for name in np.unique(group)])
    assert 0.2 < between / x.var() < 0.4


@pytest.mark.parametrize("task", ["text", "events"])
def test_drift_raises_the_log_odds_over_the_time_column(task):
    plain, drifting = (generate(task, 10_000, seed=1, drift=drift) for drift in (0, 4))
    time = drifting.table["time"].to_numpy()
    share = (time - np.datetime64("2024-01-01")) / np.timedelta64(90, "D")
    assert (np.diff(time) >= np.timedelta64(0)).all()
    assert share[0] < 0.01
    assert 0.99 < share[-1] < 1
    moved = logit(drifting.probability) - logit(plain.probability)
    assert moved == pytest.approx(4 * (share - 0.5), abs=1e-6)


def test_the_defaults_of_mixed_can_be_turned_off():
    drawn = generate("mixed", 500, seed=0, groups=0, missing=0)
    assert "group" not in drawn.table.column_names
    assert drawn.table["severity_max"].null_count == 0
    assert generate("mixed", 500, seed=0).table["severity_max"].null_count > 20


# --- the other laws --------------------------------------------------------------------------


def test_xor_hides_from_every_single_column():
    drawn = generate("xor", 100_000, seed=1)
    label = column(drawn, "label")
    for name in ("left_signal", "right_signal", "nuisance"):
        assert roc_auc_score(label, column(drawn, name)) == pytest.approx(0.5, abs=0.01)
    both = (column(drawn, "left_signal") - 0.5) * (column(drawn, "right_signal") - 0.5)
    assert roc_auc_score(label, both) > 0.95


def test_the_count_of_an_action_says_next_to_nothing_and_the_order_does():
    drawn = generate("sequence", 40_000, seed=1)
    sequences, label = drawn.table["actions"].to_pylist(), column(drawn, "label")
    assert {len(one) for one in sequences} == set(range(6, 25))
    for action in ACTIONS:
        count = [one.count(action) for one in sequences]
        assert roc_auc_score(label, count) == pytest.approx(0.5, abs=0.04)
    step, back = ("grant_access", "delete_file"), ("delete_file", "grant_access")
    steps = [list(itertools.pairwise(one)) for one in sequences]
    balance = [one.count(step) - one.count(back) for one in steps]
    assert roc_auc_score(label, balance) > 0.62


def test_messages_are_mostly_different():
    messages = generate("text", 10_000, seed=1).table["message"]
    assert len(messages.unique()) > 9_500


def test_events_follow_from_the_past_alone():
    drawn = generate("events", 4000, seed=1)
    time = (column(drawn, "time") - np.datetime64("2024-01-01")).astype(np.int64)
    agent, resource = (
        drawn.table[name].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        for name in ("agent", "resource")
    )
    log = [agent, resource, time, column(drawn, "amount")]
    assert (np.diff(time) >= 0).all()
    assert event_log_odds(*log) == pytest.approx(logit(drawn.probability), abs=1e-6)
    past = [part[:1500] for part in log]
    assert event_log_odds(*past) == pytest.approx(logit(drawn.probability[:1500]), abs=1e-6)


def test_the_window_of_events_ends_before_the_event():
    rng = np.random.default_rng(1)
    agent, resource = rng.integers(4, size=120), rng.integers(3, size=120)
    time = np.sort(rng.integers(0, 30, 120)) * DAY  # many ties
    amount = rng.lognormal(3, 1.0, 120)
    expected = []
    usual = []
    for i in range(120):
        own = np.log(amount[(agent == agent[i]) & (time < time[i])])
        usual.append(np.log(amount[i]) - (3.0 + own.sum()) / (1 + len(own)))
    excess = np.array(usual)
    for i in range(120):
        near = (resource == resource[i]) & (time < time[i]) & (time >= time[i] - WINDOW)
        share = (excess[near] > 0.9).sum() / (near.sum() + 2)
        expected.append(-9 + 5 * np.clip(excess[i], -1, 1.5) + 20 * share)
    assert event_log_odds(agent, resource, time, amount) == pytest.approx(expected)


def test_positive_events_gather_in_periods_of_compromised_resources():
    drawn = generate("events", 20_000, seed=1)
    label, resource = column(drawn, "label"), drawn.table["resource"].to_numpy()
    share = np.array([label[resource == name].mean() for name in np.unique(resource)])
    assert 0.03 < label.mean() < 0.2
    assert np.mean(share < 0.02) > 0.2
    assert share.max() > 0.1


def test_the_ancestors_laws_have_no_noise():
    tabular = generate("legacy_tabular", 2000, seed=1)
    above = column(tabular, "violation_count") + column(tabular, "severity_max") > 1
    assert (column(tabular, "label") == above).all()

    triples = generate("legacy_anomaly", 2000, seed=1)
    attack = [tuple(one) in ATTACK_TRIPLES for one in triples.table["sequence"].to_pylist()]
    assert (column(triples, "label") == attack).all()

    correlation = generate("legacy_correlation", 2000, seed=1)
    positive = column(correlation, "label") == 1
    for name, low, high in (("agent_count", 3, 4), ("action_rate", 10, 15)):
        assert column(correlation, name)[~positive].max() <= low
        assert column(correlation, name)[positive].min() >= high
    assert tabular.best_accuracy == triples.best_accuracy == correlation.best_accuracy == 1


# --- wrong use -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"overlapp": 2}, "no knob"),
        ({"overlap": 0}, "overlap"),
        ({"label_noise": 0.6}, "label_noise"),
        ({"label_noise": float("nan")}, "label_noise"),
        ({"missing": -0.1}, "missing"),
        ({"groups": 2.5}, "whole number"),
        ({"groups": -1}, "groups"),
        ({"informative_missing": 2}, "informative_missing"),
        ({"drift": "fast"}, "drift"),
    ],
)
def test_a_wrong_knob_is_a_usage_error(knobs, word):
    with pytest.raises(UsageError) as caught:
        generate("risk", 10, seed=0, **knobs)
    assert word in caught.value.what + caught.value.mend


@pytest.mark.parametrize("task", ["text", "sequence"])
def test_a_task_without_numbers_takes_no_missing(task):
    with pytest.raises(UsageError, match="no knob 'missing'"):
        generate(task, 10, seed=0, missing=0.1)


@pytest.mark.parametrize(("n_rows", "seed"), [(0, 0), (10, -1), (2.5, 0), (10, "a")])
def test_wrong_sizes_and_seeds_are_usage_errors(n_rows, seed):
    with pytest.raises(UsageError, match="is"):
        generate("risk", n_rows, seed=seed)


def test_an_unknown_task_is_a_usage_error_that_names_the_known_ones():
    with pytest.raises(UsageError) as caught:
        generate("riks", 10, seed=0)
    assert "risk, text" in caught.value.mend
    with pytest.raises(UsageError):
        describe("riks")


def test_every_knob_has_a_range_and_a_default_inside_it():
    defaults = Knobs()
    assert set(RANGES) == set(vars(defaults)) == set(EVERY_KNOB)
    for name, (low, high) in RANGES.items():
        assert low <= getattr(defaults, name) <= high


# --- sessions --------------------------------------------------------------------------------


def test_only_steps_that_never_follow_their_predecessor_tell_a_deviating_session():
    drawn = generate("sessions", 4000, seed=1)
    harmful = drawn.probability > 0.5
    assert 0.05 < harmful.mean() < 0.12
    assert drawn.best_accuracy > 0.99
    seen = set()
    for actions, deviates in zip(
        drawn.table.column("actions").to_pylist(), harmful.tolist(), strict=True
    ):
        leaves = sum(after not in FOLLOWS[before] for before, after in itertools.pairwise(actions))
        assert (1 <= leaves <= 3) if deviates else leaves == 0
        seen |= set(actions) if not deviates else set()
    assert seen == set(FOLLOWS)
