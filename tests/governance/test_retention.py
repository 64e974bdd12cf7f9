"""What is old is deleted from the tables and from the file; what was decided stays."""

from dataclasses import replace
from datetime import timedelta

import pytest

from nethical.errors import UsageError
from nethical.governance.reviews import Answer, Case, Source

ALLOW, BLOCK = Answer("allow"), Answer("block")


def case(number, **changes):
    fields = ("risk", Source.GRAY, "gray-near", 0.5, 2, 0.5, f"row:{number:032x}", {"x": number})
    return replace(Case(*fields), **changes)


def test_features_of_old_cases_are_deleted_and_the_rest_stays(queue, clock, answered):
    queue.enter([case(1), case(2)])
    for who in ("ada", "bob"):
        answered(queue, who, BLOCK)
    held = queue.claim("cy").case.case_id
    clock.on(days=10)
    queue.enter([case(3)])
    assert queue.expire_features(clock.start + timedelta(days=5)) == 2
    assert queue.expire_features(clock.start + timedelta(days=5)) == 0
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
