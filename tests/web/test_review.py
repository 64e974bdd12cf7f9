"""The review queue in a browser: claimed, answered blind, decided by a third person."""

import json
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, event

import nethical

OURS = Path(nethical.__file__).parent
SECRETS = ("gray-near", "gray", "0.517", "actions_20260101T000000Z_abcdef", "2026-03-02", "0.877")


def secret_case(site, decision):
    """A case all of whose secrets are words that stand nowhere else."""
    known = sum(site.desk.queue.counts().values())
    one = site.case(known, decision, probability=0.517, severity=3)
    one = type(one)(**{**vars(one), "uncertainty": 0.877})
    site.desk.queue.enter([one])
    return one.case_id


def claim(browser):
    answer = browser.send("/review/claim")
    assert answer.status_code == 303
    return answer.headers["location"]


def test_a_reviewer_takes_a_case_answers_it_and_sees_what_the_model_said(site):
    secret_case(site, "block")
    ben = site.browser("ben")
    path = claim(ben)
    assert "Your decision" in ben.get(path).text
    answer = ben.send(
        f"{path}/answer",
        decision="block",
        tags=["edge_case", "policy_gap"],
        rationale="it is odd",
        confidence="0.9",
    )
    assert answer.headers["location"] == path
    text = ben.get(path).text
    assert "The model</h2>" in text
    assert "0.517" in text
    assert "it is odd" in text
    assert "It waits for a second answer." in text
    given = site.desk.queue.case(path.rpartition("/")[2], "ben").own.answer
    assert given.tags == ("edge_case", "policy_gap")
    assert given.confidence == 0.9


def test_two_who_agree_close_a_case_and_both_see_both_answers(site):
    secret_case(site, "allow")
    paths = []
    for name in ("ben", "cleo"):
        browser = site.browser(name)
        paths.append(claim(browser))
        browser.send(f"{paths[-1]}/answer", decision="block", rationale=f"word of {name}")
    assert paths[0] == paths[1]
    for name in ("ben", "cleo"):
        text = site.browser(name).get(paths[0]).text
        assert "word of ben" in text
        assert "word of cleo" in text
        assert "closed" in text


def test_two_who_differ_need_a_third_who_is_not_told_the_models_word(site):
    secret_case(site, "allow")
    for name, word in (("ben", "block"), ("cleo", "allow")):
        browser = site.browser(name)
        path = claim(browser)
        browser.send(f"{path}/answer", decision=word)
    ben, rita = site.browser("ben"), site.browser("rita")
    assert "a third person decides" in ben.get(path).text
    assert ben.send(f"{path}/adjudicate", decision="block").status_code == 409
    assert path in rita.get("/review").text
    before = rita.get(path).text
    assert "You decide between them" in before
    assert not any(word in before for word in SECRETS)
    assert rita.send(f"{path}/adjudicate", decision="block").status_code == 303
    assert "The model</h2>" in rita.get(path).text
    assert site.desk.queue.case(path.rpartition("/")[2], "rita").label is True


def test_emergencies_come_first_for_a_third_person_too(site):
    cases = [site.case(n, severity=5 if n == 3 else 1) for n in range(4)]
    for one in cases:
        site.desk.queue.enter([one])
        site.clock.go(minutes=1)
    for _ in cases:
        site.answer("ben", "block")
        site.answer("cleo", "allow")
    listed = site.browser("rita").get("/review").text
    places = [listed.index(one.case_id) for one in cases]
    assert sorted(places) == [places[3], *places[:3]]


def test_a_case_can_be_given_back(site):
    site.enter("allow")
    ben = site.browser("ben")
    path = claim(ben)
    assert ben.send(f"{path}/release").status_code == 303
    assert ben.send(f"{path}/release").status_code == 409
    assert ben.send(f"{path}/answer", decision="allow").status_code == 409


def test_where_nothing_waits_the_queue_says_so(site):
    ben = site.browser("ben")
    assert ben.send("/review/claim").headers["location"] == "/review?none=1"
    assert "Nothing waits for you" in ben.get("/review?none=1").text


def test_the_same_answer_twice_is_kept_once_and_another_one_is_refused(site):
    site.enter("allow")
    ben = site.browser("ben")
    path = claim(ben)
    for _ in range(2):
        assert ben.send(f"{path}/answer", decision="allow").status_code == 303
    assert ben.send(f"{path}/answer", decision="block").status_code == 409


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"decision": "perhaps"},
        {"decision": "block", "tags": "nothing_known"},
        {"decision": "block", "tags": ["edge_case", "edge_case"]},
        {"decision": "block", "rationale": "x" * 4001},
        {"decision": "block", "confidence": "nan"},
        {"decision": "block", "confidence": "2"},
        {"decision": "block", "confidence": "much"},
    ],
)
def test_what_cannot_be_an_answer_is_told_and_nothing_typed_is_lost(site, fields):
    site.enter("allow")
    ben = site.browser("ben")
    path = claim(ben)
    answer = ben.send(f"{path}/answer", **{"rationale": "my words", **fields})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert fields.get("rationale", "my words") in answer.text
    assert site.desk.queue.case(path.rpartition("/")[2], "ben").own is None


def test_a_character_that_is_none_is_refused(site):
    site.enter("allow")
    ben = site.browser("ben")
    path = claim(ben)
    assert ben.send(f"{path}/answer", decision="allow", rationale="a\0b").status_code == 422


def test_deleted_values_are_said_to_be_deleted(site):
    from datetime import timedelta

    (case_id,) = site.enter("allow")
    site.desk.queue.expire_features(site.clock.now + timedelta(days=1))
    assert "are deleted" in site.browser("ben").get(f"/review/cases/{case_id}").text


def test_a_long_text_is_cut_and_can_be_read_to_its_end(site):
    (case_id,) = site.enter("allow", message="word " * 20_000 + "the end")
    ben = site.browser("ben")
    text = ben.get(f"/review/cases/{case_id}").text
    assert "the end" not in text
    assert "Show the other 50,007 characters" in text
    assert "the end" in ben.get(f"/review/cases/{case_id}?whole=1").text


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 30, "²", "2"])
def test_any_number_of_a_page_of_cases_opens(site, number):
    site.enter(*["allow"] * 60)
    answer = site.browser("vera").get(f"/review/cases?number={quote(number)}")
    assert answer.status_code == 200
    assert answer.text.count("<tr><td") == (10 if number == "2" else 50)


# --- blindness -----------------------------------------------------------------------------------


def seen_by(browser, case_id):
    """All that a browser can get of a case before it is answered."""
    paths = [
        f"/review/cases/{case_id}",
        f"/review/cases/{case_id}?whole=1",
        "/review",
        "/review/cases",
        "/",
        f"/api/v1/review/cases/{case_id}",
        "/api/v1/review/cases",
        "/api/v1/review/counts",
    ]
    answers = [browser.get(path) for path in paths]
    answers += [browser.call("/api/v1/review/claim"), browser.get(f"/review/cases/{case_id}")]
    assert {answer.status_code for answer in answers} == {200}
    return answers


@pytest.mark.parametrize("name", ["ben", "dan", "ada", "vera"])
def test_nobody_is_told_what_the_model_said_before_they_answered(site, name):
    case_id = secret_case(site, "block")
    browser = site.browser(name)
    if name == "vera":
        answers = [browser.get(f"/review/cases/{case_id}"), browser.get("/review/cases")]
        answers.append(browser.get(f"/api/v1/review/cases/{case_id}"))
    else:
        answers = seen_by(browser, case_id)
    for answer in answers:
        told = answer.text + json.dumps(dict(answer.headers))
        for secret in SECRETS:
            assert secret not in told, (secret, answer.url)


def test_cases_of_any_word_of_the_model_look_the_same_byte_for_byte(site):
    pages = []
    for decision in ("allow", "review", "block"):
        case_id = secret_case(site, decision)
        ben = site.browser("ben")
        assert claim(ben).endswith(case_id)
        page = ben.get(f"/review/cases/{case_id}")
        document = ben.get(f"/api/v1/review/cases/{case_id}")
        told = page.text.replace(case_id, "CASE").replace(ben.token(), "TOKEN")
        headers = {k: v for k, v in page.headers.items() if k != "date"}
        pages.append((told, headers, document.text.replace(case_id, "CASE")))
        ben.send(f"/review/cases/{case_id}/answer", decision="allow")
    assert pages[0] == pages[1] == pages[2]


def calls_of(act):
    """Return how often each function was called, and what was asked of the database, in order.

    It stands for the time that an answer takes, and is the same on a busy machine. Only what works
    on the answer counts: how often an event loop wakes up depends on the machine.
    """
    calls, statements = Counter(), []

    def called(frame, kind, arg):
        path = Path(frame.f_code.co_filename)
        counts = OURS in path.parents or {"jinja2", "markupsafe", "json"} & {*path.parts}
        if counts and kind in {"call", "c_call"}:
            calls[path.name, frame.f_code.co_qualname, getattr(arg, "__qualname__", "")] += 1

    def executed(_connection, _cursor, statement, *_):
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", executed)
    threading.setprofile(called)
    try:
        act()
    finally:
        threading.setprofile(None)
        event.remove(Engine, "before_cursor_execute", executed)
    return calls, statements


@pytest.mark.parametrize("path", ["/review/cases/{}", "/api/v1/review/cases/{}"])
def test_a_case_takes_as_long_whatever_the_model_said(site, path):
    """The same work is done, call for call: no clock tells what the model said."""
    work = []
    for decision in ("allow", "review", "block"):
        case_id = secret_case(site, decision)
        ben = site.browser("ben")
        assert claim(ben).endswith(case_id)
        place = path.format(case_id)
        ben.get(place)
        work.append(calls_of(partial(ben.get, place)))
        ben.send(f"/review/cases/{case_id}/answer", decision="allow")
    assert work[0] == work[1] == work[2]
    calls, statements = work[0]
    assert calls["case_views.py", "view_of", ""] == 1
    assert len(statements) > 2


def test_the_second_reviewer_is_not_told_the_first_answer(site):
    case_id = secret_case(site, "block")
    ben, cleo = site.browser("ben"), site.browser("cleo")
    claim(ben)
    ben.send(f"/review/cases/{case_id}/answer", decision="block", rationale="a word of ben's")
    claim(cleo)
    for answer in seen_by(cleo, case_id):
        assert "a word of ben" not in answer.text
        assert '"reviewer":"ben"' not in answer.text


def test_figures_are_for_approvers(site):
    site.enter("allow", "block")
    site.answer("ben", "allow")
    assert site.browser("ben").get("/review/figures").status_code == 403
    assert "By stratum" in site.browser("dan").get("/review/figures").text


def test_figures_tell_of_no_stratum_in_which_a_case_is_still_to_be_decided(site):
    """Whoever may see them may be asked about it, or be its third person."""
    case_id = secret_case(site, "block")
    dan = site.browser("dan")
    for name, word in (("ben", "block"), ("cleo", "allow")):
        for path in ("/review/figures", "/api/v1/review/figures"):
            answer = dan.get(path)
            assert answer.status_code == 200
            assert "gray-near" not in answer.text, path
        site.answer(name, word)
    assert dan.get("/api/v1/review/figures").json()["strata"] == {}
    dan.send(f"/review/cases/{case_id}/adjudicate", decision="block")
    assert "gray-near" in dan.get("/review/figures").text
    (told,) = dan.get("/api/v1/review/figures").json()["strata"].items()
    assert told[0] == "gray-near"
    assert (told[1]["closed"], told[1]["labelled"], told[1]["alike"]["estimate"]) == (1, 1, 0.0)


def test_the_run_that_asked_does_not_tell_of_which_kind_its_cases_are(site):
    vera, kinds = site.browser("vera"), []
    for run in vera.get("/api/v1/runs").json():
        page = vera.get(f"/runs/{run['run_id']}").text
        facts = vera.get(f"/api/v1/runs/{run['run_id']}").json()["facts"]
        asked = [fact for fact in facts if fact["event_type"] == "reviews_asked"]
        assert ("reviews asked" in page) == bool(asked)
        assert "inclusion_probability" not in page
        kinds += [key for fact in asked for key in fact]
    assert "entered" in kinds
    assert "drawn" not in kinds
