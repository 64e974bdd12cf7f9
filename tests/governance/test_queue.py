"""The review queue: each slot once, blind until answered, urgent ones first, never an own case."""

from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nethical.errors import DataError, UsageError
from nethical.governance import tables as t
from nethical.governance.queue import LEASE, ReviewQueue
from nethical.governance.reviews import TAGS, Answer, Case, Source, check_reviewer
from nethical.governance.store import GovernanceStore

ALLOW, BLOCK, UNSURE = Answer("allow"), Answer("block"), Answer("unsure")
SECRETS = ("0.6789", "review", "model-7", "gray-near", "gray", "0.4321")


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


# --- cases come in


def test_whoever_calls_a_waiting_case_more_severe_moves_it_forward(queue, clock):
    queue.enter([case(1), case(2), case(3, severity=4)])
    clock.on(hours=2)
    found = queue.enter([case(2, source=Source.REPORTED, severity=5), case(1, severity=1)])
    assert (found.new, found.known) == ({}, 2)
    kept = {row["case_id"]: row for row in queue.store.export()["review_case"]}
    urgent, first = kept[case(2).case_id], kept[case(1).case_id]
    assert (urgent["severity"], urgent["source"], first["severity"]) == (5, "gray", 2)
    assert urgent["due_at"] == "2026-01-01T03:00:00.000000Z"
    assert [queue.claim(name).case.case_id for name in ("ada", "ben", "cleo")] == [
        *[case(2).case_id] * 2,
        case(3).case_id,
    ]


def test_a_decided_case_is_not_made_urgent_again(queue, answered):
    queue.enter([case(1)])
    answered(queue, "ada", BLOCK)
    answered(queue, "ben", BLOCK)
    queue.enter([case(1, source=Source.REPORTED, severity=5)])
    (kept,) = queue.store.export()["review_case"]
    assert (kept["severity"], kept["state"]) == (2, "closed")


def test_a_row_that_is_critical_and_drawn_is_of_the_sample_and_stays_critical(queue):
    for number, first in ((1, Source.GRAY), (2, Source.CRITICAL)):
        gray = case(number)
        critical = case(number, source=Source.CRITICAL, stratum="critical", severity=5)
        queue.enter([gray, critical] if first == Source.GRAY else [critical, gray])
    for kept in queue.store.export()["review_case"]:
        assert (kept["source"], kept["stratum"], kept["severity"]) == ("gray", "gray-near", 5)
        assert kept["inclusion_probability"] == 0.4321


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
@example([(2, 1.0), (2, 0.95), (2, 0.9), (2, 0.89), (5, 0.0)])
@settings(max_examples=15, deadline=None)
def test_the_more_severe_comes_first_then_the_more_uncertain(tmp_path_factory, new_clock, kinds):
    clock = new_clock()
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
            assert first.tenth >= second.tenth  # 1 is of the tenth below it


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
def test_capital_letters_make_nobody_another_person(queue, other, answered):
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


def test_nobody_gets_both_slots_of_a_case(queue, answered):
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


def test_an_answer_sent_twice_is_kept_once_and_another_one_is_refused(queue, answered):
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
def test_two_who_agree_close_a_case_with_their_label(queue, answer, label, answered):
    queue.enter([case(1)])
    assert answered(queue, "ada", answer).state == "open"
    view = answered(queue, "bob", answer)
    assert (view.state, view.label) == ("closed", label)
    assert [given.reviewer for given in view.answers] == ["ada", "bob"]
    with pytest.raises(UsageError, match="nothing to adjudicate"):
        queue.adjudicate(case(1).case_id, "cy", answer)


@pytest.mark.parametrize("pair", [(ALLOW, BLOCK), (UNSURE, BLOCK), (ALLOW, UNSURE), (UNSURE,) * 2])
@pytest.mark.parametrize(("third", "label"), [(BLOCK, True), (ALLOW, False), (UNSURE, None)])
def test_where_two_do_not_agree_a_third_decides(queue, pair, third, label, answered):
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


def test_an_adjudication_sent_twice_is_kept_once_and_another_one_is_refused(queue, answered):
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


def test_the_own_answer_shows_the_model_s_and_not_the_other_reviewer_s(queue, answered):
    queue.enter([case(1)])
    answered(queue, "ada", BLOCK)
    view = answered(queue, "bob", ALLOW)
    assert (view.model.probability, view.model.decision) == (0.6789, "review")
    assert view.answers == ()
    assert view.may == ""


def test_an_adjudicator_sees_both_answers_and_not_the_model(queue, answered):
    queue.enter([case(1)])
    for who, answer in (("ada", replace(BLOCK, rationale="too much")), ("bob", ALLOW)):
        answered(queue, who, answer)
    view = queue.case(case(1).case_id, "cy")
    assert view.may == "adjudicate"
    assert [given.answer.decision for given in view.answers] == ["block", "allow"]
    assert view.model is None
    assert [line.may for line in queue.listed("adjudicating", reviewer="ada")] == [""]
    assert [line.may for line in queue.listed("adjudicating", reviewer="cy")] == ["adjudicate"]


def test_a_closed_case_is_shown_whole_to_everybody(queue, answered):
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


# --- all together


def test_whatever_people_do_a_case_keeps_its_rules(queue, clock):
    """Random acts of six people: no rule of the queue is ever broken."""
    rng = np.random.default_rng(5)
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
