"""Which rows people get, and that what they say of them is true of all decisions."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from nethical.data.roles import RoleHints, infer
from nethical.data.table import Table, normalise
from nethical.decisions import DECISIONS, Thresholds, decide
from nethical.errors import DataError, UsageError
from nethical.governance.agreement import agreement
from nethical.governance.answered import SAMPLED, agreement_with_people, answered_sample
from nethical.governance.asking import ask_people
from nethical.governance.cases import plain
from nethical.governance.queue import ReviewQueue
from nethical.governance.releases import LabelReleases
from nethical.governance.reviews import Answer, Case, Source
from nethical.governance.sampling import CaseSampler, Rates, Watched, gray_severity
from nethical.governance.store import GovernanceStore
from nethical.keys import Keys
from nethical.pipeline import train
from nethical.plan import Plan
from nethical.registry import Registry
from nethical.run import Run

THRESHOLDS = Thresholds.around(0.5, "given")
KEY = bytes(range(32))
N = 20_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def now():
    return datetime.now(UTC)


def rows(n=N, seed=0):
    """A table of rows that are all different, and how probable each is positive."""
    rng = np.random.default_rng(seed)
    frame = normalise(
        pa.table({"x": rng.permutation(n).astype(float) + 1, "label": [0, 1] * (n // 2)})
    )
    roles = infer(frame, RoleHints())
    return Table(frame.select(["x"]), roles), rng.beta(0.6, 0.6, n)


MODEL = SimpleNamespace(name="risk", reads=("x",), thresholds=THRESHOLDS, event_log=None)


def drawn(table, y_proba, key=KEY, rates=None, pieces=1):
    sampler = CaseSampler(MODEL, "model-7", key, rates)
    codes = decide(y_proba, THRESHOLDS)
    for part in np.array_split(np.arange(len(y_proba)), pieces):
        piece = table.slice(int(part[0]), len(part))
        sampler.look(piece.frame, piece, y_proba[part], codes[part])
    return sampler


@pytest.fixture(scope="module")
def scored():
    return rows()


# --- which rows


class Other:
    """A model that decides as another one does, but for rows of a small x."""

    thresholds = THRESHOLDS

    def __init__(self, y_proba, below):
        self.y_proba, self.below = y_proba, below

    def table(self, frame):
        return frame["x"].to_numpy()

    def probabilities(self, x):
        p = self.y_proba[x.astype(int)]
        return np.where(x < self.below, 1 - p, p)


def test_rows_that_a_model_in_shadow_decides_otherwise_go_to_people_and_are_no_sample(scored):
    table, y_proba = scored
    by_x = np.zeros(N + 1)
    by_x[table.frame["x"].to_numpy().astype(int)] = y_proba
    watched = Watched(Other(by_x, below=101))
    sampler = CaseSampler(MODEL, "model-7", KEY, Rates(most=60), watched)
    sampler.look(table.frame, table, y_proba, decide(y_proba, THRESHOLDS))
    told = sampler.drawn()[Source.DISAGREEMENT]
    assert (told.seen, told.taken) == (100, 60)
    disputed = [case for case in sampler.cases() if case.source == Source.DISAGREEMENT]
    assert len(disputed) == 60
    assert all(case.features["x"] <= 100 for case in disputed)
    assert {case.severity for case in disputed} == {2}
    others = [case for case in sampler.cases() if case.source in SAMPLED]
    assert others == drawn(table, y_proba, rates=Rates(most=60)).cases()


def test_what_the_table_calls_critical_is_reviewed_emergencies_first(scored):
    table, y_proba = scored
    words = np.array(["low", "Critical", "EMERGENCY", None], dtype=object)
    severity = words[np.where(np.arange(N) < 30, 2, np.where(np.arange(N) < 100, 1, 3))]
    frame = table.frame.append_column("how", pa.array(severity))
    sampler = CaseSampler(MODEL, "model-7", KEY, Rates(most=40), Watched(None, "how"))
    for part in (slice(0, 20), slice(20, N)):
        piece = table.slice(part.start, part.stop - part.start)
        codes = decide(y_proba[part], THRESHOLDS)
        sampler.look(frame.slice(part.start, len(piece)), piece, y_proba[part], codes)
    critical = [case for case in sampler.cases() if case.source == Source.CRITICAL]
    assert sampler.drawn()[Source.CRITICAL].seen == 100
    assert Counter(case.severity for case in critical) == {5: 30, 4: 10}
    assert all("how" not in case.features for case in critical)


@pytest.mark.parametrize("said", ["urgent", 0, 6, 2.5])
def test_what_is_no_severity_is_told(scored, said):
    table, y_proba = scored
    frame = table.frame.append_column("how", pa.array([said] * N))
    sampler = CaseSampler(MODEL, "model-7", KEY, None, Watched(None, "how"))
    with pytest.raises(DataError, match="is no severity"):
        sampler.look(frame, table, y_proba, decide(y_proba, THRESHOLDS))
    with pytest.raises(DataError, match="there is no column 'how'"):
        sampler.look(table.frame, table, y_proba, decide(y_proba, THRESHOLDS))


def test_the_same_rows_are_drawn_again_in_any_order_and_in_any_pieces(scored):
    table, y_proba = scored
    first = {case.case_id: case for case in drawn(table, y_proba).cases()}
    order = np.random.default_rng(1).permutation(N)
    other = drawn(table.take(order), y_proba[order], pieces=13)
    assert {case.case_id: case for case in other.cases()} == first
    assert {c.case_id for c in drawn(table, y_proba, key=bytes(32)).cases()} != set(first)


def test_no_more_than_asked_for_are_drawn_and_it_is_told_of_how_many(scored):
    table, y_proba = scored
    found = drawn(table, y_proba, rates=Rates(most=50)).drawn()
    gray = int(((y_proba >= 0.4) & (y_proba <= 0.6)).sum())
    assert (found[Source.GRAY].seen, found[Source.GRAY].taken) == (gray, 50)
    assert (found[Source.AUDIT].seen, found[Source.AUDIT].taken) == (N - gray, 50)
    expected = 50 / gray
    assert found[Source.GRAY].inclusion_probability == pytest.approx(expected, rel=0.5)


def test_with_room_every_gray_row_is_drawn_and_the_share_of_the_others_that_was_asked_for(scored):
    table, y_proba = scored
    sampler = drawn(table, y_proba, rates=Rates(audit=0.02, most=N))
    found = sampler.drawn()
    assert found[Source.GRAY].taken == found[Source.GRAY].seen
    assert found[Source.AUDIT].inclusion_probability == 0.02
    mean = 0.02 * found[Source.AUDIT].seen
    assert abs(found[Source.AUDIT].taken - mean) < 4 * np.sqrt(mean)


def test_a_case_says_what_was_decided_and_why_it_is_there(scored):
    table, y_proba = scored
    cells = dict(zip(table.frame.column("x").to_pylist(), y_proba, strict=True))
    for case in drawn(table, y_proba).cases():
        p = cells[case.features["x"]]
        assert case.probability == p
        assert case.decision == DECISIONS[decide(np.array([p]), THRESHOLDS)[0]]
        assert case.row_digest.startswith("row:")
        if case.source == Source.GRAY:
            assert (case.severity, case.stratum) == gray_severity(p, THRESHOLDS)
            assert case.uncertainty == pytest.approx(1 - abs(p - 0.5) / 0.5)
        else:
            assert (case.severity, case.stratum, case.uncertainty) == (1, case.decision, 0)


@pytest.mark.parametrize(
    ("p", "severity"), [(0.5, 4), (0.53, 4), (0.55, 3), (0.47, 4), (0.43, 2), (0.4, 2), (0.6, 2)]
)
def test_the_nearer_to_the_threshold_the_more_severe(p, severity):
    assert gray_severity(p, THRESHOLDS)[0] == severity


def test_a_gray_zone_of_one_side_alone_has_severities_too():
    budget = Thresholds(0.9, 0.9, 0.99, 0.7, "alert budget")
    assert [gray_severity(p, budget)[0] for p in (0.9, 0.94, 0.98)] == [4, 3, 2]
    assert gray_severity(0.5, Thresholds(0.5, 0.5, 0.5, 0.7, "x"))[0] == 4


def test_equal_rows_are_one_case():
    frame = normalise(pa.table({"x": [1.0, 2.0] * 500, "label": [0, 1] * 500}))
    table = Table(frame.select(["x"]), infer(frame, RoleHints()))
    sampler = drawn(table, np.full(1000, 0.5), pieces=7)
    assert len(sampler.cases()) == 2
    assert sampler.drawn()[Source.GRAY].seen == 1000


@pytest.mark.parametrize(
    "wrong", [{"gray": 0}, {"gray": 1.1}, {"audit": 0}, {"audit": float("nan")}, {"most": 0}]
)
def test_rates_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        Rates(**wrong)


def test_an_event_log_is_not_asked_about():
    model = SimpleNamespace(**{**vars(MODEL), "event_log": object()})
    with pytest.raises(UsageError, match="event log"):
        CaseSampler(model, "m", KEY)


def test_cells_of_any_kind_are_kept_as_json():
    assert [plain(v) for v in (1, 1.5, "a", None, ["a"], float("nan"), START)] == [
        *(1, 1.5, "a", None, ["a"], None),
        str(START),
    ]


# --- what it says of all decisions


def campaign(table, y_proba, seed):
    """Draw cases of a fresh table, and let people answer; return the truth and both estimates."""
    rng = np.random.default_rng(seed)
    positive = rng.random(N) < y_proba
    agrees = (y_proba >= THRESHOLDS.block) == positive
    by_row = dict(zip(table.frame.column("x").to_pylist(), agrees, strict=True))
    cases = drawn(table, y_proba, key=rng.bytes(32)).cases()
    said = np.array([by_row[case.features["x"]] for case in cases])
    chance = np.array([case.inclusion_probability for case in cases])
    strata = [case.stratum for case in cases]
    gray = np.array([case.source == Source.GRAY for case in cases])
    whole = agreement(said, chance, strata)
    alone = agreement(said[gray], chance[gray], [s for s, g in zip(strata, gray, strict=True) if g])
    return agrees.mean(), whole.interval, alone.interval


def test_the_stratified_estimate_is_unbiased_and_its_bound_holds_where_gray_alone_is_wrong(scored):
    table, y_proba = scored
    found = [campaign(table, y_proba, seed) for seed in range(300)]
    gaps = [whole.estimate - truth for truth, whole, _ in found]
    naive = [alone.estimate - truth for truth, _, alone in found]
    assert abs(np.mean(gaps)) < 0.01
    assert np.mean(naive) < -0.14
    assert np.mean([whole.low <= truth for truth, whole, _ in found]) >= 0.94
    assert np.std(gaps) < 0.04


@pytest.fixture
def queue(tmp_path):
    clock = SimpleNamespace(now=START)

    def read():
        clock.now += timedelta(seconds=1)
        return clock.now

    return ReviewQueue(GovernanceStore(tmp_path / "store", read), read)


def close(queue, truth, n):
    """Let two people answer the next n cases, alike."""
    for who in ("ada", "bob"):
        for _ in range(n):
            claimed = queue.claim(who)
            if claimed is None:
                break
            word = "block" if truth(claimed.case.features) else "allow"
            queue.submit(claimed.case.case_id, who, Answer(word))


def test_as_long_as_a_stratum_waits_nothing_is_said_and_then_of_all(queue, scored):
    table, y_proba = scored
    sampler = drawn(table, y_proba, rates=Rates(most=40))
    cases = sampler.cases()
    queue.enter(cases)
    close(queue, lambda _: True, 30)
    waiting = answered_sample(queue.store, "risk")
    assert {"allow", "block"} <= set(waiting.waiting)
    close(queue, lambda _: True, 25)
    part = answered_sample(queue.store, "risk")
    assert part.waiting == ()
    weight = Counter()
    for case in cases:
        weight[case.stratum] += 1 / case.inclusion_probability
    told = Counter()
    for case in part.cases:
        told[case.stratum] += 1 / case.inclusion_probability
    assert len(part.cases) < len(cases)
    assert told == pytest.approx(weight)  # those who answered stand for the others of their kind


def test_audits_are_served_in_an_order_that_says_nothing_of_them(queue, scored):
    table, y_proba = scored
    cases = [c for c in drawn(table, y_proba).cases() if c.source == Source.AUDIT]
    queue.enter(cases)
    by_id = {case.case_id: case.probability for case in cases}
    served = []
    while claimed := queue.claim("ada"):
        served.append(by_id[claimed.case.case_id])
        queue.submit(claimed.case.case_id, "ada", Answer("allow"))
    ranks = np.argsort(np.argsort(served))
    assert abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) < 0.25


def test_what_was_reported_is_no_sample_of_all_decisions(queue):
    for number, source in enumerate(Source):
        queue.enter([Case("risk", source, "s", 1.0, 2, 0.5, f"row:{number}", {"x": 1.0})])
    close(queue, lambda _: True, 9)
    assert len(answered_sample(queue.store, "risk").cases) == len(SAMPLED) == 2


def test_a_case_that_nobody_could_tell_is_one_that_nobody_answered(queue):
    queue.enter(
        [Case("risk", Source.AUDIT, "s", 0.5, 1, 0, f"row:{k}", {"x": k}) for k in range(2)]
    )
    ids = [line.case_id for line in queue.listed()]
    for who in ("ada", "bob"):
        queue.answer(ids[0], who, Answer("allow"))
        queue.answer(ids[1], who, Answer("unsure"))
    assert [c.inclusion_probability for c in answered_sample(queue.store, "risk").cases] == [0.25]
    queue.adjudicate(ids[1], "cy", Answer("unsure"))
    assert [c.inclusion_probability for c in answered_sample(queue.store, "risk").cases] == [0.25]


def totals(queue):
    """How many decisions the cases of each name stand for."""
    found = Counter()
    for row in queue.store.export()["review_case"]:
        found[row["name"]] += 1 / row["inclusion_probability"]
    return found


@pytest.mark.parametrize("what", ["larger limit", "larger audit", "another model", "longer file"])
def test_rows_that_were_scored_twice_count_once(queue, what):
    table, y_proba = rows(1500)
    other, part = y_proba, np.arange(1500)
    first, second = Rates(most=20, audit=0.05), Rates(most=60, audit=0.2)
    if what == "larger audit":
        first, second = Rates(audit=0.02), Rates(audit=0.2)
    if what == "another model":
        other = np.clip(y_proba + np.random.default_rng(3).normal(0, 0.2, 1500), 0, 1)
    if what == "longer file":
        part = np.arange(700)
    for seed in range(30):
        key = np.random.default_rng(seed).bytes(32)
        again = drawn(table, other, key, second).cases()
        for cases in (drawn(table.take(part), y_proba[part], key, first).cases(), again):
            queue.enter([replace(case, name=f"risk-{seed}") for case in cases])
    found = np.array(list(totals(queue).values())) / 1500
    assert len(found) == 30
    assert abs(found.mean() - 1) < 4 * found.std() / np.sqrt(30)
    assert abs(found.mean() - 1) < 0.1


# --- who stands for whom


def audits(numbers, **changes):
    fields = ("risk", Source.AUDIT, changes.pop("stratum", "allow"), 0.5, 1, 0.0)
    return [Case(*fields, f"row:{k}", {"x": float(k)}, **changes) for k in numbers]


def gray(numbers, uncertainty):
    fields = ("risk", Source.GRAY, "gray-middle", 1.0, 3, uncertainty)
    return [Case(*fields, f"row:{k}", {"x": float(k)}) for k in numbers]


def test_the_more_uncertain_half_of_a_stratum_does_not_stand_for_the_other_one(queue):
    queue.enter([*gray(range(10), 0.95), *gray(range(10, 40), 0.85)])
    close(queue, lambda _: True, 10)
    assert answered_sample(queue.store, "risk").waiting == ("gray-middle",)
    close(queue, lambda _: False, 5)
    found = answered_sample(queue.store, "risk")
    weights = [(c.is_positive, 1 / c.inclusion_probability) for c in found.cases]
    assert found.waiting == ()
    assert sum(w for positive, w in weights if positive) == pytest.approx(10)
    assert sum(w for positive, w in weights if not positive) == pytest.approx(30)


def test_audits_that_expired_unanswered_are_missed_and_not_forgotten(queue):
    queue.enter([*gray(range(6), 0.95), *audits(range(10, 30))])
    close(queue, lambda _: True, 6)
    queue.enter(audits(range(40, 44)))
    queue.expire_features(START + timedelta(days=3650))
    assert answered_sample(queue.store, "risk").waiting == ("allow", "gray-middle")
    queue.enter([*gray(range(50, 52), 0.95), *audits(range(60, 64))])
    close(queue, lambda _: True, 2)
    assert answered_sample(queue.store, "risk").waiting == ("allow",)
    close(queue, lambda _: True, 1)
    found = answered_sample(queue.store, "risk")
    weight = Counter()
    for case in found.cases:
        weight[case.stratum] += 1 / case.inclusion_probability
    assert weight == pytest.approx({"gray-middle": 8, "allow": 2 * 28})


def test_a_stratum_that_was_released_whole_is_missed_and_not_forgotten(queue):
    queue.enter([*gray(range(6), 0.95), *audits(range(10, 30))])
    close(queue, lambda _: True, 26)
    assert LabelReleases(queue.store, now).make("risk", by="ada", share=1.0)
    queue.enter(gray(range(50, 56), 0.95))
    close(queue, lambda _: True, 6)
    found = answered_sample(queue.store, "risk")
    assert (found.waiting, found.left_out, len(found.cases)) == (("allow",), 26, 6)


def test_a_stratum_of_which_nobody_could_tell_a_case_is_left_out(queue):
    queue.enter([*gray(range(2), 0.95), *audits(range(10, 12), stratum="block")])
    close(queue, lambda _: True, 2)
    for case in audits(range(10, 12), stratum="block"):
        for who in ("ada", "bob"):
            queue.answer(case.case_id, who, Answer("unsure"))
        queue.adjudicate(case.case_id, "cy", Answer("unsure"))
    found = answered_sample(queue.store, "risk")
    assert (found.waiting, {case.stratum for case in found.cases}) == ((), {"gray-middle"})


def test_those_that_a_model_learnt_from_are_stood_for_by_the_others_of_their_cell(queue):
    queue.enter([*gray(range(4), 0.95), *audits(range(10, 30))])
    close(queue, lambda _: True, 24)

    def first_half(cases):
        return np.array([case.features["x"] not in range(10, 20) for case in cases])

    found = answered_sample(queue.store, "risk", first_half)
    assert (len(found.cases), found.left_out) == (14, 10)
    assert sum(1 / case.inclusion_probability for case in found.cases) == pytest.approx(4 + 2 * 20)


# --- with a real model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    keys = Keys(folder / "keys")
    registry = Registry(folder / "models", keys, now)
    plan = Plan(
        "logistic",
        data="synthetic:mixed",
        num_samples=4000,
        threads=1,
        models_dir=str(folder / "models"),
        name="risk",
    )
    return train(plan, registry=registry), registry, keys


def test_gate_rows_are_asked_about_and_replayed_as_they_were_decided(queue, trained):
    outcome, registry, keys = trained
    fact = ask_people(queue, outcome, keys.row_key(), Run())
    assert fact.entered == fact.drawn["gray"]["taken"] + fact.drawn["audit"]["taken"] > 20
    assert fact.drawn["gray"]["seen"] + fact.drawn["audit"]["seen"] == len(
        outcome.prepared.parts["gate"]
    )
    assert ask_people(queue, outcome, keys.row_key(), Run()).entered == 0
    bundle = registry.verify(outcome.published.model_id)
    found = agreement_with_people(queue.store, bundle, keys.row_keys())
    assert (found.estimate, found.n, found.note) == (None, 0, "0 reviewed")
    decided = {
        row["case_id"]: row["probability"] >= outcome.model.thresholds.block
        for row in queue.store.export()["review_case"]
    }
    for who in ("ada", "bob"):
        for case_id, is_positive in decided.items():
            queue.answer(case_id, who, Answer("block" if is_positive else "allow"))
    found = agreement_with_people(queue.store, bundle, keys.row_keys())
    assert (found.estimate, found.n, found.left_out) == (1.0, len(decided), 0)


def test_cases_that_a_model_learnt_from_do_not_judge_it(queue, trained):
    outcome, registry, keys = trained
    part = outcome.prepared.parts["train"].slice(0, 40)
    y_proba = outcome.model.probabilities(part)
    sampler = CaseSampler(outcome.model, "m", keys.row_key(), Rates(audit=1.0))
    sampler.look(part.frame, part, y_proba, decide(y_proba, outcome.model.thresholds))
    queue.enter(sampler.cases())
    close(queue, lambda _: True, 40)
    bundle = registry.verify(outcome.published.model_id)
    found = agreement_with_people(queue.store, bundle, keys.row_keys())
    assert (found.estimate, found.n, found.left_out) == (None, 0, 40)
    assert found.note == "0 reviewed; 40 may not judge it"
    assert answered_sample(queue.store, "risk").cases


def table_like(part):
    """Cases of a part's rows, as the sampler keeps them."""
    return [
        {name: plain(value) for name, value in row.items()}
        for row in part.frame.select([f.name for f in part.roles.features]).to_pylist()
    ]


def imported(case_id, features, **changes):
    told = {"reviewers": 2, "used_for_training": False, "reviewed_at": "2026"}
    fields = {"name": "risk", "is_positive": True, "stratum": "all", "inclusion_probability": 1.0}
    return {"case_id": case_id, "features": features, **fields, **told, **changes}


def test_a_case_that_lacks_a_column_that_a_model_reads_does_not_judge_it(queue, trained):
    outcome, registry, keys = trained
    rows = table_like(outcome.prepared.parts["gate"].slice(0, 12))
    left = next(iter(rows[0]))
    for row in rows[:8]:
        del row[left]
    queue.store.import_cases([imported(f"c{k}", row) for k, row in enumerate(rows[:8])])
    bundle = registry.verify(outcome.published.model_id)
    found = agreement_with_people(queue.store, bundle, keys.row_keys())
    assert (found.n, found.left_out) == (0, 8)
    assert "8 of them lack a column that it reads" in found.note
    queue.store.import_cases([imported(f"d{k}", row) for k, row in enumerate(rows[8:])])
    found = agreement_with_people(queue.store, bundle, keys.row_keys())
    assert (found.n, found.left_out) == (4, 8)


def test_numbers_in_one_file_and_words_in_another_are_judged_all_the_same(queue, trained):
    outcome, registry, keys = trained
    gate = outcome.prepared.parts["gate"]
    rows = table_like(gate.slice(0, 4))
    name = next(f.name for f in gate.roles.features if isinstance(rows[0][f.name], float))
    rows[1][name] = str(rows[1][name])
    queue.store.import_cases([imported(f"c{k}", row) for k, row in enumerate(rows)])
    bundle = registry.verify(outcome.published.model_id)
    assert agreement_with_people(queue.store, bundle, keys.row_keys()).n == 4


def test_a_release_that_comes_back_as_reviewed_cases_judges_nothing(queue, trained):
    outcome, registry, keys = trained
    rows = table_like(outcome.prepared.parts["gate"].slice(0, 9))
    cases = [
        Case("risk", Source.AUDIT, "allow", 1.0, 1, 0.0, f"row:{k}", row)
        for k, row in enumerate(rows)
    ]
    queue.enter(cases)
    close(queue, lambda _: True, 9)
    LabelReleases(queue.store, now).make("risk", by="ada", share=1.0)
    queue.store.import_cases([imported(case.case_id, dict(case.features)) for case in cases])
    bundle = registry.verify(outcome.published.model_id)
    found = agreement_with_people(queue.store, bundle, keys.row_keys())
    assert (found.n, found.left_out, found.note) == (0, 9, "0 reviewed; 9 may not judge it")


def test_imported_cases_whose_values_were_deleted_judge_nothing(queue, trained):
    outcome, registry, keys = trained
    rows = table_like(outcome.prepared.parts["gate"].slice(0, 3))
    queue.store.import_cases([imported(f"c{k}", row) for k, row in enumerate(rows)])
    bundle = registry.verify(outcome.published.model_id)
    assert agreement_with_people(queue.store, bundle, keys.row_keys()).n == 3
    queue.expire_features(START + timedelta(days=3650))
    assert agreement_with_people(queue.store, bundle, keys.row_keys()) is None
