"""Label Studio: cases out as tasks, annotations in as answers, and nothing of the model before."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nethical.errors import DataError, NethicalError
from nethical.governance.label_studio import answer_tasks, read_tasks, tasks_of
from nethical.governance.queue import ReviewQueue
from nethical.governance.reviews import Answer, Case, Source
from nethical.governance.store import GovernanceStore

KEY = bytes(32)
ANSWER = Answer("block", ("missed_violation", "edge_case"), "two lines\nof why", 0.75)


def now():
    return datetime.now(UTC)


def opened(place):
    return ReviewQueue(GovernanceStore(place, now), now)


def case(number):
    return Case(
        "risk",
        Source.GRAY,
        "gray-near",
        0.4321,
        4,
        0.9,
        f"row:{number:032x}",
        {"amount": 1.5, "note": "<img src=x onerror=alert(1)>", "none": None, "n": number},
        0.6789,
        "review",
        "model-7",
    )


@pytest.fixture
def queue(tmp_path):
    queue = opened(tmp_path / "a")
    queue.enter([case(number) for number in range(3)])
    return queue


def read(tasks, **more):
    return read_tasks(json.dumps(tasks).encode(), **{"name": None, "key": KEY, **more})


def annotation(decision="block", who="ada@example.org", **more):
    result = [
        {"from_name": "decision", "type": "choices", "value": {"choices": [decision]}},
    ]
    return {"completed_by": {"email": who}, "result": result, **more}


def test_open_cases_go_out_with_their_values_alone(queue):
    queue.answer(case(0).case_id, "ada", ANSWER)
    text = json.dumps(tasks_of(queue))
    assert not [
        secret
        for secret in ("0.6789", "review", "model-7", "gray", "0.4321", "block", "ada", "why")
        if secret in text
    ]
    (first, *_) = tasks_of(queue, state="open", name="risk")
    assert first["annotations"] == first["predictions"] == []
    assert case(first["data"]["n"]).features.items() <= first["data"].items()
    assert tasks_of(queue, name="other") == tasks_of(queue, state="closed") == []


def test_what_was_annotated_comes_back_as_answers(queue):
    tasks = tasks_of(queue)
    for task in tasks:
        task["annotations"] = [annotation("block"), annotation("allow", "bob@example.org")]
    tasks[1]["annotations"][1] = annotation("unsure", "bob@x", was_cancelled=True)
    tasks[2]["annotations"].append(annotation("allow", "cy", ground_truth=True))
    found = answer_tasks(queue, read(tasks))
    assert (found.entered, found.answered, found.adjudicated, found.refused) == (0, 5, 1, ())
    states = [queue.case(task["data"]["nethical_case"], "").state for task in tasks]
    assert states == ["adjudicating", "open", "closed"]
    again = answer_tasks(queue, read(tasks))
    assert (again.answered, again.adjudicated, again.refused) == (5, 1, ())
    assert len(queue.store.export()["review_answer"]) == 5


def test_closed_cases_go_round_through_another_store_unchanged(queue, tmp_path):
    for number, word in enumerate(("block", "allow", "unsure")):
        queue.answer(case(number).case_id, "ada", ANSWER)
        queue.answer(case(number).case_id, "bob", Answer(word, rationale="é ☃"))
    for number in (1, 2):
        queue.adjudicate(case(number).case_id, "cy", replace(ANSWER, confidence=None))
    out = tasks_of(queue)
    other = opened(tmp_path / "b")
    found = answer_tasks(other, read(out))
    assert (found.entered, found.answered, found.adjudicated, found.refused) == (3, 6, 2, ())
    for number in range(3):
        ours, theirs = (one.case(case(number).case_id, "zoe") for one in (queue, other))
        assert ours.label == theirs.label
        assert ours.features == theirs.features
        assert [(g.reviewer, g.answer) for g in ours.answers] == [
            (g.reviewer, g.answer) for g in theirs.answers
        ]
        if ours.adjudication:
            assert ours.adjudication.answer == theirs.adjudication.answer

    def plain(tasks):
        return sorted(
            json.dumps([task["data"], [a["result"] for a in task["annotations"]]], sort_keys=True)
            for task in tasks
        )

    assert plain(tasks_of(other)) == plain(out)
    assert out[0]["predictions"][0]["model_version"] == "model-7"


def test_tasks_of_elsewhere_are_reported_cases(tmp_path):
    queue = opened(tmp_path)
    tasks = [{"data": {"text": "hello", "x": 2}, "annotations": [annotation(who="di@x")]}]
    assert answer_tasks(queue, read(tasks, name="chat")).entered == 1
    (row,) = queue.store.export()["review_case"]
    assert (row["name"], row["source"], row["features"]) == (
        *("chat", "reported"),
        {"text": "hello", "x": 2},
    )
    assert row["row_digest"].startswith("hmac:")
    assert answer_tasks(queue, read(tasks, name="chat")).entered == 0


def test_what_the_queue_does_not_allow_is_told_and_left_out(queue):
    task = tasks_of(queue)[0]
    who = ["ada", "bob", "cy"]
    task["annotations"] = [annotation("block", name) for name in who]
    task["annotations"].append(annotation("allow", "ada", ground_truth=True))
    found = answer_tasks(queue, read([task]))
    assert found.answered == 2
    assert len(found.refused) == 2


@pytest.mark.parametrize(
    ("by", "name"),
    [
        ({"email": "ada@example.org"}, "ada"),
        ({"username": "Ada L."}, "Ada-L."),
        (7, "annotator-7"),
        ({"id": 7}, "annotator-7"),
        ("ada", "ada"),
        (None, "annotator"),
        ("<script>@x", "script-"),
    ],
)
def test_whoever_annotated_has_a_name_here(queue, by, name):
    task = tasks_of(queue)[0]
    task["annotations"] = [{**annotation(), "completed_by": by}]
    assert read([task])[0].annotations[0].reviewer == name
    assert read([task], reviewer="eve")[0].annotations[0].reviewer == "eve"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"{}",
        b"[1]",
        b"[{}]",
        b'[{"data": {"x": NaN}}]',
        b'[{"data": {"x": 1}}]',
        b'[{"data": {"nethical_name": "n"}, "annotations": [{"result": []}]}]',
        json.dumps(
            [{"data": {"nethical_name": "n"}, "annotations": [annotation("deny")]}]
        ).encode(),
        b'[{"data": {"nethical_name": "n", "nethical_case": "case_x"}}]',
        b"[" * 100_000,
    ],
)
def test_what_is_no_export_is_refused_in_two_lines_and_changes_nothing(queue, content):
    with pytest.raises(NethicalError) as refused:
        read_tasks(content, name=None, key=KEY)
    assert isinstance(refused.value, DataError)
    assert refused.value.mend
    assert len(queue.listed()) == 3


def test_a_case_that_is_not_its_row_is_refused(queue):
    first, second, _ = tasks_of(queue)
    first["data"]["nethical_row"] = second["data"]["nethical_row"]
    with pytest.raises(DataError, match="is not the case"):
        read([first])
