"""How reviewing goes: what waits, what is late, and what people agree on."""

import json
from dataclasses import replace

import pytest

from nethical.governance.queue import DUE
from nethical.governance.reviews import Answer, Case, Source

ALLOW, BLOCK, UNSURE = Answer("allow"), Answer("block"), Answer("unsure")


def case(number, **changes):
    fields = ("risk", Source.GRAY, "gray-near", 0.5, 2, 0.5, f"row:{number:032x}", {"x": number})
    return replace(Case(*fields), **changes)


def test_figures_tell_what_waits_what_is_late_and_how_long_it_took(queue, clock, answered):
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


def test_figures_of_people_are_those_that_counting_gives(queue, answered):
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
    document = json.loads(json.dumps(queue.stats().to_document(), allow_nan=False))
    assert document["hours_to_close"] is None
    assert document["agreement"] is None
