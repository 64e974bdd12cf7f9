"""The review queue: each slot once, blind until answered, urgent ones first, never an own case."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import fleiss_kappa

from nethical.errors import DataError, UsageError
from nethical.governance import tables as t
from nethical.governance.queue import DUE, LEASE, ReviewQueue
from nethical.governance.raters import alpha_and_ac1, rater_agreement
from nethical.governance.reviews import TAGS, Answer, Case, Source, check_reviewer
from nethical.governance.store import GovernanceStore

START = datetime(2026, 1, 1, tzinfo=UTC)
ALLOW, BLOCK, UNSURE = Answer("allow"), Answer("block"), Answer("unsure")
SECRETS = ("0.6789", "review", "model-7", "gray-near", "gray", "0.4321")


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def on(self, **time):
        self.now += timedelta(**time)


def case(number, **changes):
    fields = {
        "name": "risk",
        "source": Source.GRAY,
        "stratum": "gray-near",
        "inclusion_probability": 0.4321,
        "severity": 2,
        "uncertainty": 0.5,
        "row_digest": f"row:{number:032x}",
        "features": {"amount": 1.5 + number, "note": "<script>alert(1)</script>"},
        "probability": 0.6789,
        "decision": "review",
        "model_id": "model-7",
    }
    return Case(**{**fields, **changes})


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(tmp_path, clock):
    return ReviewQueue(GovernanceStore(tmp_path, clock), clock)


def answered(queue, reviewer, answer):
    """Claim the next case and answer it."""
    claimed = queue.claim(reviewer)
    return queue.submit(claimed.case.case_id, reviewer, answer)


# --- cases come in


def test_a_case_enters_once_with_two_slots_however_often_it_is_handed_in(queue):
    cases = [case(number) for number in range(3)]
    assert queue.enter(cases).new == {"gray": 3}
    again = queue.enter([*cases, case(7, source=Source.AUDIT), case(7)])
    assert (again.new, again.known) == ({"gray": 1}, 3)
    slots = queue.store.export()["review_slot"]
    assert sorted((s["case_id"], s["place"]) for s in slots) == sorted(
        (case(n).case_id, place) for n in (0, 1, 2, 7) for place in (1, 2)
    )


@pytest.mark.parametrize(
    "wrong", [{"severity": 0}, {"severity": 6}, {"inclusion_probability": 0}, {"uncertainty": 1.1}]
)
def test_one_case_out_of_range_keeps_out_all_that_came_with_it(queue, wrong):
    with pytest.raises(DataError):
        queue.enter([case(1), case(2, **wrong)])
    assert queue.listed() == []


def test_the_same_row_under_another_name_is_another_case():
    assert case(1).case_id == case(1, probability=0.1, source=Source.AUDIT).case_id
    assert case(1).case_id != case(1, name="other").case_id


def entered(queue, number):
    rows = {row["case_id"]: row for row in queue.store.export()["review_case"]}
    row = rows[case(number).case_id]
    return row["source"], row["stratum"], row["inclusion_probability"]


def test_a_row_drawn_again_at_a_larger_share_entered_at_that_one(queue):
    queue.enter([case(n, inclusion_probability=0.1) for n in range(3)])
    again = [case(1, inclusion_probability=0.4, stratum="x"), case(2, inclusion_probability=0.05)]
    assert queue.enter(again).known == 2
    assert [entered(queue, n) for n in range(3)] == [
        ("gray", "gray-near", 0.1),
        ("gray", "gray-near", 0.4),
        ("gray", "gray-near", 0.1),
    ]


def test_a_reported_row_that_is_drawn_belongs_to_the_sample_and_no_other_way_round(queue):
    reported = {"source": Source.REPORTED, "stratum": "reported", "inclusion_probability": 1.0}
    queue.enter([case(1, severity=5, **reported), case(2)])
    queue.enter([case(1, source=Source.AUDIT, stratum="allow"), case(2, **reported)])
    assert entered(queue, 1) == ("audit", "allow", 0.4321)
    assert entered(queue, 2) == ("gray", "gray-near", 0.4321)
    assert queue.claim("ada").case.is_emergency


# --- who gets which


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1)), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_the_more_severe_comes_first_then_the_more_uncertain(tmp_path_factory, kinds):
    clock = Clock()
    queue = ReviewQueue(GovernanceStore(tmp_path_factory.mktemp("queue"), clock), clock)
    cases = [
        case(number, severity=severity, uncertainty=uncertainty)
        for number, (severity, uncertainty) in enumerate(kinds)
    ]
    queue.enter(cases)
    by_id = {one.case_id: one for one in cases}
    served = []
    while claimed := queue.claim("ada"):
        served.append(by_id[claimed.case.case_id])
        queue.submit(claimed.case.case_id, "ada", ALLOW)
    assert len(served) == len(cases)
    for first, second in pairwise(served):
        assert first.severity >= second.severity
        if first.severity == second.severity:
            assert int(first.uncertainty * 10) >= int(second.uncertainty * 10)


def test_an_emergency_that_comes_last_is_served_first(queue, clock):
    queue.enter([case(1, severity=4, uncertainty=1.0)])
    clock.on(days=30)
    queue.enter([case(2, severity=5, uncertainty=0.0, source=Source.CRITICAL)])
    claimed = queue.claim("ada")
    assert claimed.case.case_id == case(2).case_id
    assert claimed.case.is_emergency


def test_of_cases_alike_what_is_due_first_comes_first(queue, clock):
    for number in (3, 1, 2):
        queue.enter([case(number)])
        clock.on(hours=1)
    served = [queue.claim(f"p{number}").case.case_id for number in range(6)]
    assert served == [case(number).case_id for number in (3, 3, 1, 1, 2, 2)]


def test_an_emergency_comes_before_what_somebody_holds_and_that_stays_theirs(queue):
    queue.enter([case(1, severity=4), case(2, severity=4)])
    held = queue.claim("ada").case.case_id
    assert queue.claim("ada").case.case_id == held
    queue.enter([case(3, severity=5)])
    assert queue.claim("ada").case.case_id == case(3).case_id == queue.held("ada")
    assert queue.claim("ada").case.case_id == case(3).case_id
    queue.submit(case(3).case_id, "ada", ALLOW)
    assert queue.claim("ada").case.case_id == held


def test_what_is_less_severe_waits_longer_and_not_for_ever(queue, clock):
    queue.enter([case(1, severity=1, uncertainty=0)])
    for day in range(1, 9):
        clock.on(days=1)
        queue.enter([case(10 * day, severity=4), case(10 * day + 5, severity=2)])
    order = []
    while claimed := queue.claim("ada"):
        order.append(claimed.case.case_id)
        queue.submit(claimed.case.case_id, "ada", ALLOW)
    place = order.index(case(1).case_id)
    assert case(60).case_id in order[:place]  # due a third of a day after it came
    assert {case(70).case_id, case(80).case_id, case(55).case_id} <= set(order[place:])


@pytest.mark.parametrize("other", ["ADA", "Ada", "aDa"])
def test_capital_letters_make_nobody_another_person(queue, other):
    queue.enter([case(1)])
    answered(queue, "ada", BLOCK)
    assert queue.claim(other) is None
    assert queue.answer(case(1).case_id, other, BLOCK).own.reviewer == "ada"
    with pytest.raises(UsageError, match="answered"):
        queue.answer(case(1).case_id, other, ALLOW)
    assert queue.case(case(1).case_id, other).own.answer == BLOCK
    answered(queue, "bob", ALLOW)
    assert queue.case(case(1).case_id, other).answers == ()
    assert [line.may for line in queue.listed(reviewer=other)] == [""]
    with pytest.raises(UsageError, match="answered case_"):
        queue.adjudicate(case(1).case_id, other, ALLOW)


def test_a_claim_is_answered_in_whatever_letters_and_signed_as_it_was_made(queue):
    queue.enter([case(1)])
    queue.claim("Ada")
    assert queue.submit(case(1).case_id, "ada", BLOCK).own.reviewer == "Ada"
    assert [row["reviewer"] for row in queue.store.export()["review_answer"]] == ["Ada"]


def test_a_clock_that_goes_back_gives_no_slot_to_two_and_no_time_below_none(queue, clock):
    queue.enter([case(1)])
    queue.claim("ada")
    clock.on(hours=-5)
    queue.claim("bob")
    assert queue.claim("cy") is None
    for who in ("ada", "bob"):
        queue.submit(case(1).case_id, who, ALLOW)
    assert queue.stats().hours_to_close == (0, 0)
    assert queue.stats().overdue == 0


def test_nobody_gets_both_slots_of_a_case(queue):
    queue.enter([case(1)])
    answered(queue, "ada", ALLOW)
    assert queue.claim("ada") is None
    assert queue.claim("bob").case.case_id == case(1).case_id
    assert queue.claim("cy") is None


def test_the_tables_themselves_refuse_one_person_twice_in_a_case(queue):
    queue.enter([case(1)])
    queue.claim("ada")
    taken = t.review_slot.update().where(t.review_slot.c.place == 2)
    with pytest.raises(DataError), queue.store.writing() as db:
        db.execute(taken.values(state="claimed", reviewer="ada", lease_until="x"))


def test_a_claim_is_given_again_to_whoever_holds_it_with_a_new_lease(queue, clock):
    queue.enter([case(1), case(2)])
    first = queue.claim("ada")
    clock.on(minutes=20)
    again = queue.claim("ada")
    assert again.case == first.case
    assert again.lease_until > first.lease_until


def test_a_lease_ends_by_the_clock_and_not_before(queue, clock):
    queue.enter([case(1)])
    queue.claim("ada")
    queue.claim("bob")
    clock.on(seconds=LEASE.total_seconds() - 1)
    assert queue.claim("cy") is None
    clock.on(seconds=1)
    assert queue.claim("cy").case.case_id == case(1).case_id
    assert queue.claim("di").case.case_id == case(1).case_id
    for gone in ("ada", "bob"):
        with pytest.raises(UsageError, match="holds no claim"):
            queue.submit(case(1).case_id, gone, ALLOW)


def test_a_late_answer_counts_as_long_as_nobody_else_took_the_slot(queue, clock):
    queue.enter([case(1)])
    queue.claim("ada")
    clock.on(hours=3)
    assert queue.submit(case(1).case_id, "ada", ALLOW).own.answer == ALLOW


def test_a_case_given_back_is_free_and_only_its_claimant_can_give_it_back(queue):
    queue.enter([case(1)])
    queue.claim("ada")
    with pytest.raises(UsageError):
        queue.release(case(1).case_id, "bob")
    queue.release(case(1).case_id, "ada")
    assert queue.claim("bob").case.case_id == case(1).case_id
    queue.submit(case(1).case_id, "bob", ALLOW)
    with pytest.raises(UsageError):
        queue.release(case(1).case_id, "bob")


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "<b>", "-ada", "a\n"])
def test_what_cannot_be_a_name_claims_and_adjudicates_nothing(queue, name):
    queue.enter([case(1)])
    with pytest.raises(UsageError):
        check_reviewer(name)
    for act in (queue.claim, lambda n: queue.adjudicate(case(1).case_id, n, ALLOW)):
        with pytest.raises(UsageError):
            act(name)


# --- answers


def test_an_answer_sent_twice_is_kept_once_and_another_one_is_refused(queue):
    queue.enter([case(1)])
    answered(queue, "ada", BLOCK)
    assert queue.submit(case(1).case_id, "ada", BLOCK).own.answer == BLOCK
    with pytest.raises(UsageError, match="answered"):
        queue.submit(case(1).case_id, "ada", ALLOW)
    assert len(queue.store.export()["review_answer"]) == 1


def test_nobody_answers_what_they_did_not_claim(queue):
    queue.enter([case(1)])
    with pytest.raises(UsageError, match="holds no claim"):
        queue.submit(case(1).case_id, "ada", BLOCK)
    with pytest.raises(UsageError, match="holds no claim"):
        queue.submit("case_none", "ada", BLOCK)


@pytest.mark.parametrize(("answer", "label"), [(ALLOW, False), (BLOCK, True)])
def test_two_who_agree_close_a_case_with_their_label(queue, answer, label):
    queue.enter([case(1)])
    assert answered(queue, "ada", answer).state == "open"
    view = answered(queue, "bob", answer)
    assert (view.state, view.label) == ("closed", label)
    assert [given.reviewer for given in view.answers] == ["ada", "bob"]
    with pytest.raises(UsageError, match="nothing to adjudicate"):
        queue.adjudicate(case(1).case_id, "cy", answer)


@pytest.mark.parametrize("pair", [(ALLOW, BLOCK), (UNSURE, BLOCK), (ALLOW, UNSURE), (UNSURE,) * 2])
@pytest.mark.parametrize(("third", "label"), [(BLOCK, True), (ALLOW, False), (UNSURE, None)])
def test_where_two_do_not_agree_a_third_decides(queue, pair, third, label):
    queue.enter([case(1)])
    for who, answer in zip(("ada", "bob"), pair, strict=True):
        assert answered(queue, who, answer).label is None
    for own in ("ada", "bob"):
        with pytest.raises(UsageError, match="answered"):
            queue.adjudicate(case(1).case_id, own, third)
    view = queue.adjudicate(case(1).case_id, "cy", third)
    assert (view.state, view.label, view.adjudication.answer) == ("closed", label, third)
    with pytest.raises(UsageError, match="nothing to adjudicate"):
        queue.adjudicate(case(1).case_id, "di", third)


def test_an_adjudication_sent_twice_is_kept_once_and_another_one_is_refused(queue):
    queue.enter([case(1)])
    answered(queue, "ada", BLOCK)
    answered(queue, "bob", ALLOW)
    first = queue.adjudicate(case(1).case_id, "cy", BLOCK)
    assert queue.adjudicate(case(1).case_id, "cy", BLOCK) == first
    for who, answer in (("cy", ALLOW), ("di", BLOCK)):
        with pytest.raises(UsageError, match="nothing to adjudicate"):
            queue.adjudicate(case(1).case_id, who, answer)
    assert len(queue.store.export()["adjudication"]) == 1


def test_an_open_case_cannot_be_adjudicated(queue):
    queue.enter([case(1)])
    with pytest.raises(UsageError, match="is open"):
        queue.adjudicate(case(1).case_id, "cy", ALLOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision": "deny"},
        {"tags": ("nice",)},
        {"tags": (TAGS[0], TAGS[0])},
        {"confidence": 1.5},
        {"confidence": float("nan")},
        {"rationale": "x" * 4001},
        {"rationale": "a\0b"},
        {"rationale": "\ud800"},
    ],
)
def test_an_answer_that_says_something_else_is_no_answer(wrong):
    with pytest.raises(UsageError):
        Answer(**{"decision": "allow", **wrong})


# --- blind


def told(view):
    return str(view.to_document())


def test_nothing_of_what_the_model_said_is_shown_before_the_own_answer(queue):
    queue.enter([case(1)])
    seen = [told(queue.claim("ada")), told(queue.case(case(1).case_id, "ada"))]
    seen += [told(queue.case(case(1).case_id, "")), str(queue.listed(reviewer="ada"))]
    queue.submit(case(1).case_id, "ada", BLOCK)
    seen += [told(queue.case(case(1).case_id, "bob")), told(queue.claim("bob"))]
    seen.append(str(queue.listed(reviewer="bob")))
    for text in seen:
        assert not [secret for secret in SECRETS if secret in text]
    assert "block" not in "".join(seen[4:])  # nor what the first one answered


def test_two_cases_that_the_model_saw_otherwise_look_alike_before_the_own_answer(queue):
    queue.enter(
        [
            case(1, severity=1, stratum="allow", decision="allow", probability=0.01, uncertainty=0),
            case(2, severity=4, stratum="gray-near", source=Source.AUDIT),
        ]
    )
    views = [queue.case(case(number).case_id, "ada") for number in (1, 2)]
    plain = [replace(v, case_id="", features={}) for v in views]
    assert plain[0] == plain[1]
    lines = [replace(line, case_id="") for line in queue.listed(reviewer="ada")]
    assert lines[0] == lines[1]


def test_the_own_answer_shows_the_model_s_and_not_the_other_reviewer_s(queue):
    queue.enter([case(1)])
    answered(queue, "ada", BLOCK)
    view = answered(queue, "bob", ALLOW)
    assert (view.model.probability, view.model.decision) == (0.6789, "review")
    assert view.answers == ()
    assert view.may == ""


def test_an_adjudicator_sees_both_answers_and_not_the_model(queue):
    queue.enter([case(1)])
    for who, answer in (("ada", replace(BLOCK, rationale="too much")), ("bob", ALLOW)):
        answered(queue, who, answer)
    view = queue.case(case(1).case_id, "cy")
    assert view.may == "adjudicate"
    assert [given.answer.decision for given in view.answers] == ["block", "allow"]
    assert view.model is None
    assert [line.may for line in queue.listed("adjudicating", reviewer="ada")] == [""]
    assert [line.may for line in queue.listed("adjudicating", reviewer="cy")] == ["adjudicate"]


def test_a_closed_case_is_shown_whole_to_everybody(queue):
    queue.enter([case(1)])
    for who in ("ada", "bob"):
        answered(queue, who, BLOCK)
    view = queue.case(case(1).case_id, "zoe")
    assert view.model.decision == "review"
    assert len(view.answers) == 2


# --- lists and pages


def test_a_list_is_in_the_order_of_entry_and_comes_in_pages(queue, clock):
    for number in range(7):
        queue.enter([case(number)])
        clock.on(minutes=1)
    pages = [queue.listed("open", limit=3, offset=start) for start in (0, 3, 6)]
    ids = [line.case_id for page in pages for line in page]
    assert ids == [case(number).case_id for number in range(7)]
    assert queue.listed(name="other") == []
    assert queue.counts() == {"open": 7, "adjudicating": 0, "closed": 0}


# --- figures


def test_figures_tell_what_waits_what_is_late_and_how_long_it_took(queue, clock):
    queue.enter([case(number, severity=1 + number % 4) for number in range(8)])
    for hours in (1, 3):
        clock.on(hours=hours)
        for who in ("ada", "bob"):
            answered(queue, who, BLOCK)
    clock.on(seconds=DUE[3].total_seconds())
    found = queue.stats()
    assert found.states == {"open": 6, "adjudicating": 0, "closed": 2}
    assert found.overdue == 2  # the two of severity 3; those of severity 4 are closed
    assert found.hours_to_close == pytest.approx((2.5, 3.85))
    assert found.reviewers["ada"].answers == 2
    assert found.strata["gray-near"].entered == 8


def test_figures_of_people_are_those_that_counting_gives(queue):
    answers = {  # ada, bob, and what became of it
        1: (BLOCK, BLOCK, None),
        2: (BLOCK, ALLOW, BLOCK),
        3: (ALLOW, BLOCK, BLOCK),
        4: (UNSURE, ALLOW, ALLOW),
        5: (ALLOW, ALLOW, None),
        6: (ALLOW, UNSURE, UNSURE),
    }
    for number, (first, second, third) in answers.items():
        queue.enter([case(number, stratum="allow" if number < 4 else "block")])
        answered(queue, "ada", first)
        answered(queue, "bob", second)
        if third:
            queue.adjudicate(case(number).case_id, "cy", third)
    found = queue.stats()
    assert (found.adjudicated, found.unsure, found.agreement.n) == (4, 2, 4)
    assert found.agreement.raw.estimate == 0.5
    ada = found.reviewers["ada"]
    assert (ada.answers, ada.unsure) == (6, 1)
    assert (ada.with_peer.estimate, ada.with_label.estimate) == (0.5, 0.75)
    assert found.strata["allow"].alike.estimate == pytest.approx(1 / 3)
    assert found.strata["block"].labelled == 2
    assert queue.stats("other").states["closed"] == 0
    assert queue.stats("other").agreement is None


def test_figures_without_a_case_are_unknown_and_json(queue):
    import json

    document = json.loads(json.dumps(queue.stats().to_document(), allow_nan=False))
    assert document["hours_to_close"] is None
    assert document["agreement"] is None


def brute_alpha(first, second):
    """Krippendorff's alpha as his book counts it: pairs of values within units and at all."""
    units = list(zip(first, second, strict=True))
    values = [value for unit in units for value in unit]
    observed = sum(a != b for a, b in units) / len(units)
    expected = sum(a != b for i, a in enumerate(values) for j, b in enumerate(values) if i != j)
    return 1 - observed / (expected / (len(values) * (len(values) - 1)))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
@settings(deadline=None)
def test_alpha_and_ac1_are_those_of_counting_and_of_statsmodels(pairs):
    first, second = (np.array(part) for part in zip(*pairs, strict=True))
    n = len(pairs)
    cells = np.bincount(2 * first.astype(int) + second, minlength=4) / n
    alpha, ac1 = alpha_and_ac1(cells, n)
    share = (first.mean() + second.mean()) / 2
    chance = 2 * share * (1 - share)  # Gwet 2008, eq. 4 for two classes
    assert ac1 == pytest.approx(((first == second).mean() - chance) / (1 - chance))
    if not 0 < share < 1:
        return
    assert alpha == pytest.approx(brute_alpha(first, second))
    votes = np.stack([(~first).astype(int) + ~second, first.astype(int) + second], axis=1)
    scott = fleiss_kappa(votes)
    assert alpha == pytest.approx(scott + (1 - scott) / (2 * n))


@pytest.mark.parametrize(("share", "error", "n"), [(0.5, 0.1, 60), (0.03, 0.03, 300)])
def test_bounds_of_alpha_and_ac1_hold_as_often_as_they_say(share, error, n):
    rng = np.random.default_rng(1)

    def two(size):
        truth = rng.random(size) < share
        return truth ^ (rng.random(size) < error), truth ^ (rng.random(size) < error)

    first, second = two(1_000_000)
    cells = np.bincount(2 * first.astype(int) + second, minlength=4) / len(first)
    true = alpha_and_ac1(cells, len(first))
    held = np.zeros(2)
    for _ in range(300):
        found = rater_agreement(*two(n), rng)
        held += [
            one.low <= value <= one.high
            for one, value in zip((found.alpha, found.ac1), true, strict=True)
        ]
    assert (held / 300 > 0.91).all(), held


def test_ten_who_all_agree_are_not_sure_to_agree():
    found = rater_agreement(np.arange(10) < 5, np.arange(10) < 5, np.random.default_rng(0))
    assert found.raw.low < 0.75
    assert found.alpha.low < 0.95
    assert found.ac1.low < 0.95


# --- retention


def test_features_of_old_cases_are_deleted_and_the_rest_stays(queue, clock):
    queue.enter([case(1), case(2)])
    for who in ("ada", "bob"):
        answered(queue, who, BLOCK)
    held = queue.claim("cy").case.case_id
    clock.on(days=10)
    queue.enter([case(3)])
    assert queue.expire_features(START + timedelta(days=5)) == 2
    assert queue.expire_features(START + timedelta(days=5)) == 0
    rows = {row["case_id"]: row for row in queue.store.export()["review_case"]}
    assert [rows[case(n).case_id]["features"] is None for n in (1, 2, 3)] == [True, True, False]
    assert rows[case(1).case_id]["row_digest"] == case(1).row_digest
    closed = [rows[case(n).case_id]["label"] for n in (1, 2)]
    assert sorted(closed, key=str) == [None, True]
    with pytest.raises(UsageError):
        queue.submit(held, "cy", ALLOW)
    assert queue.claim("cy").case.case_id == case(3).case_id


def test_what_people_wrote_goes_with_the_text_that_it_may_quote(queue, clock, tmp_path):
    word, quote = "quicksilver-4711", replace(BLOCK, rationale="they wrote quicksilver-4711")
    old = [case(n, features={"text": f"{n} {word} " + "x" * (n * 97)}) for n in range(60)]
    queue.enter(old)
    for one in old[:40]:
        queue.answer(one.case_id, "ada", quote)
        queue.answer(one.case_id, "bob", quote if one is old[0] else ALLOW)
    for one in old[1:30]:
        queue.adjudicate(one.case_id, "cy", quote)
    queue.store.import_cases([imported("mine", features={"text": word})])
    clock.on(days=1)
    new = case(99, features={"text": "plumbago-12"})
    queue.enter([new])
    queue.answer(new.case_id, "ada", replace(BLOCK, rationale="plumbago-12, too"))
    assert queue.expire_features(clock.now) == 61
    assert {file.name for file in tmp_path.iterdir()} == {"governance.db"}
    content = (tmp_path / "governance.db").read_bytes()
    assert word.encode() not in content
    assert content.count(b"plumbago-12") >= 2
    kept = queue.store.export()
    assert {row["decision"] for row in kept["adjudication"]} == {"block"}
    assert [row["features"] for row in kept["reviewed_case"]] == [{}]
    assert queue.expire_features(clock.now) == 0


def imported(case_id, **changes):
    told = {"reviewers": 2, "used_for_training": False, "reviewed_at": "2020"}
    fields = {"name": "risk", "is_positive": True, "stratum": "all", "inclusion_probability": 1.0}
    return {"case_id": case_id, "features": {"x": 1}, **fields, **told, **changes}


def test_deleted_features_are_gone_from_the_file(queue, clock, tmp_path):
    word = "quicksilver-4711"
    queue.enter([case(1, features={"text": word})])
    file = tmp_path / "governance.db"
    assert word.encode() in file.read_bytes()
    clock.on(days=1)
    queue.expire_features(clock.now)
    assert word.encode() not in file.read_bytes()


def test_whatever_people_do_a_case_keeps_its_rules(tmp_path):
    """Random acts of six people: no rule of the queue is ever broken."""
    clock, rng = Clock(), np.random.default_rng(5)
    queue = ReviewQueue(GovernanceStore(tmp_path, clock), clock)
    cases = [case(number, severity=int(rng.integers(1, 6))) for number in range(12)]
    queue.enter(cases)
    people = [f"p{number}" for number in range(6)]
    for _ in range(250):
        who, one = people[rng.integers(6)], cases[rng.integers(12)].case_id
        answer = Answer(["allow", "block", "unsure"][rng.integers(3)])
        act = [
            lambda: queue.claim(who),  # noqa: B023 - called at once
            lambda: queue.submit(one, who, answer),  # noqa: B023 - called at once
            lambda: queue.release(one, who),  # noqa: B023 - called at once
            lambda: queue.adjudicate(one, who, answer),  # noqa: B023 - called at once
            lambda: clock.on(minutes=7),
            lambda: queue.answer(one, who, answer),  # noqa: B023 - called at once
        ][rng.integers(6)]
        try:
            act()
        except UsageError:
            continue
    with queue.store.reading() as db:
        rows = db.execute(sa.select(t.review_case)).all()
        slots = db.execute(sa.select(t.review_slot)).all()
        thirds = {row.case_id: row for row in db.execute(sa.select(t.adjudication))}
        given = {row.slot_id: row for row in db.execute(sa.select(t.review_answer))}
    states = {row.state for row in rows}
    assert {"closed", "open"} <= states or "adjudicating" in states
    for row in rows:
        own = [slot for slot in slots if slot.case_id == row.case_id]
        names = [slot.reviewer for slot in own if slot.reviewer]
        assert len(own) == 2
        assert len(set(names)) == len(names)
        done = [given[slot.slot_id] for slot in own if slot.state == "submitted"]
        assert (row.state == "open") == (len(done) < 2)
        if row.state == "closed" and row.case_id not in thirds:
            assert len({one.decision for one in done}) == 1
            assert row.label == (done[0].decision == "block")
        if row.case_id in thirds:
            assert thirds[row.case_id].adjudicator not in names
            assert row.label == Answer(thirds[row.case_id].decision).label
    assert asdict(queue.stats())["states"]["closed"] == sum(r.state == "closed" for r in rows)
