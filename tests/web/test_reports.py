"""Rows that somebody reports by the interface, as ``nethical review report`` does from a table."""

import csv
import json
import random
import typing

import pytest

from nethical.governance.reviews import LEVELS, SEVERITIES
from nethical.web.api_models import Level

PATH = "/api/v1/review/reports"
ROW = {
    "violation_count": 3.5,
    "severity_max": 0.75,
    "recency_score": 0.5,
    "frequency_score": 0.25,
    "context_risk": 0.125,
}


def rows(n):
    """So many rows, each another one."""
    return [{**ROW, "violation_count": number + 0.5} for number in range(n)]


def report(browser, **given):
    """Report a row, or what is given."""
    return browser.call(PATH, {"name": "actions", "rows": [ROW], **given})


def test_what_is_reported_waits_for_people_once(site):
    ben = site.browser("ben")
    first = report(ben, rows=rows(3))
    assert first.status_code == 200
    assert first.json() == {"name": "actions", "severity": "HIGH", "entered": 3, "known": 0}
    again = report(ben, rows=rows(5), severity="low").json()
    assert again == {"name": "actions", "severity": "LOW", "entered": 2, "known": 3}
    assert site.desk.queue.counts()["open"] == 5


def test_a_reported_row_is_a_case_with_the_values_that_the_model_reads(site):
    ben = site.browser("ben")
    report(ben, rows=[{**ROW, "payment_id": "p1"}])
    case = ben.call("/api/v1/review/claim").json()["case"]
    assert case["features"] == ROW
    assert case["model"] is None
    path = f"/api/v1/review/cases/{case['case_id']}/answer"
    assert ben.call(path, {"decision": "allow"}).json()["model"] is None
    cleo = site.browser("cleo")
    cleo.call("/api/v1/review/claim")
    done = cleo.call(path, {"decision": "allow"}).json()
    assert (done["model"]["source"], done["model"]["inclusion_probability"]) == ("reported", 1.0)
    current = site.desk.registry.current("actions").name
    assert (done["model"]["model_id"], done["model"]["severity"]) == (current, 3)


@pytest.mark.parametrize("severity", [5, "EMERGENCY", "emergency"])
def test_an_emergency_comes_before_all_that_waits(site, severity):
    site.enter("review", "block")
    ben = site.browser("ben")
    assert report(ben, severity=severity).status_code == 403
    report(site.browser("dan"), severity=severity)
    assert ben.call("/api/v1/review/claim").json()["case"]["is_emergency"] is True


def test_no_near_copy_of_a_case_tells_what_the_model_said_of_it(site):
    site.enter("block")
    ben, dan = site.browser("ben"), site.browser("dan")
    mine = ben.call("/api/v1/review/claim").json()["case"]
    report(dan, rows=[{**ROW, "violation_count": ROW["violation_count"] + 1e-4}], severity=5)
    copy = ben.call("/api/v1/review/claim").json()["case"]["case_id"]
    assert copy != mine["case_id"]
    given = ben.call(f"/api/v1/review/cases/{copy}/answer", {"decision": "unsure"}).json()
    assert (given["state"], given["model"]) == ("open", None)
    text = ben.get(f"/review/cases/{copy}").text
    assert "This row was reported" in text
    assert "The model</h2>" not in text


def test_the_same_rows_of_a_table_are_the_same_cases(site, command):
    table = site.folder / "rows.csv"
    with table.open("w", newline="") as file:
        written = csv.DictWriter(file, ROW)
        written.writeheader()
        written.writerows(rows(4))
    done = command(
        *["review", "report", "rows.csv", "--model", "actions", "--as", "ben", "--json"],
        cwd=site.folder,
        env={"NETHICAL_HOME": str(site.folder / "keys")},
    )
    told = {"name": "actions", "severity": "HIGH", "entered": 4, "known": 0}
    assert json.loads(done.out) == told
    found = report(site.browser("ben"), rows=rows(4)).json()
    assert found == {**told, "entered": 0, "known": 4}


def test_a_report_is_logged_without_its_rows(audited):
    report(audited.browser("ben"), severity=4)
    (told,) = audited.browser("vera").get("/api/v1/operations").json()
    assert (told["command"], told["outcome"]) == ("serve: review report", "done")
    assert told["arguments"] == {"person": "ben"}  # the rest would tell which cases are reported
    log = audited.folder / "training_audit_logs" / "log"
    told = b"".join(path.read_bytes() for path in log.rglob("*") if path.is_file())
    assert b'{"name":"actions","person":"ben","rows":"1","severity":"CRITICAL"}' in told


def test_who_only_looks_reports_nothing(site):
    assert report(site.browser("vera")).status_code == 403
    assert site.desk.queue.counts()["open"] == 0


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"name": "nothing"}, 409, "nothing has nothing in production"),
        ({"rows": [{"violation_count": 1}]}, 422, "column 'severity_max' is missing"),
        ({"rows": [ROW, {**ROW, "recency_score": "much"}]}, 422, "'recency_score' cannot be read"),
        ({"rows": [{**ROW, "recency_score": "much"}]}, 422, "should hold numbers"),
        ({"rows": [{**ROW, "recency_score": True}, ROW]}, 422, "'recency_score' cannot be read"),
    ],
)
def test_what_the_model_cannot_decide_about_is_told_in_two_lines(site, given, status, said):
    answer = report(site.browser("ben"), **given)
    assert answer.status_code == status
    assert said in answer.json()["detail"]
    assert answer.json()["mend"]
    assert site.desk.queue.counts()["open"] == 0


@pytest.mark.parametrize(
    "given",
    [
        {"name": "../keys"},
        {"name": "models/versions"},
        {"name": ""},
        {"name": None},
        {"rows": []},
        {"rows": [ROW] * 101},
        {"rows": [[1, 2]]},
        {"rows": [{**ROW, "message": {"nested": 1}}]},
        {"rows": [{**ROW, "message": "a\0b"}]},
        {"rows": [{**ROW, "": 1}]},
        {"rows": [{**ROW, "x" * 201: 1}]},
        {"severity": 0},
        {"severity": 6},
        {"severity": True},
        {"severity": "3"},
        {"severity": "URGENT"},
        {"other": 1},
    ],
)
def test_what_is_no_report_is_refused(site, given):
    answer = report(site.browser("ben"), **given)
    assert answer.status_code == 422
    assert "body." in answer.json()["detail"]
    assert site.desk.queue.counts()["open"] == 0


@pytest.mark.parametrize(
    "text",
    [
        '"recency_score": NaN',
        '"recency_score": 1e999',
        f'"recency_score": 1{"0" * 400}',
        '"recency_score": 0.5, "message": "\\ud800"',
        '"recency_score": 0.5, "\\ud800": 1',
    ],
)
def test_numbers_and_texts_that_are_none_are_refused(site, text):
    ben = site.browser("ben")
    headers = {**ben.origin, "x-csrf-token": ben.token(), "content-type": "application/json"}
    row = json.dumps(ROW)
    assert '"recency_score": 0.5' in row
    row = row.replace('"recency_score": 0.5', text)
    body = f'{{"name": "actions", "rows": [{row}]}}'
    answer = ben.client.post(PATH, content=body, headers=headers)
    assert answer.status_code == 422
    assert "body.rows" in answer.json()["detail"]


def test_no_rows_of_any_kind_make_it_fail(site):
    ben, rng = site.browser("ben"), random.Random(7)
    odd = [
        *(
            0,
            -1,
            2**53 + 1,
            2**63 - 1,
            2**63,
            10**30,
            -(2**63),
            0.1,
            -0.0,
            1e308,
            5e-324,
            True,
            False,
            None,
        ),
        *("", " ", "1", "1e5", "nan", "inf", "1,5", "é", "\u202e", "2026-03-01", [], [""], ["a"]),
        *(["1", "2"], "x" * 500),
    ]
    seen = set()
    for _ in range(150):
        some = [
            {name: rng.choice(odd) if rng.random() < 0.3 else ROW[name] for name in ROW}
            for _ in range(rng.randrange(1, 4))
        ]
        answer = report(ben, rows=some, severity=rng.randrange(1, 5))
        assert answer.status_code in {200, 422}, (some, answer.text)
        seen.add(answer.status_code)
    assert seen == {200, 422}
    case = ben.call("/api/v1/review/claim").json()["case"]
    assert ben.get(f"/review/cases/{case['case_id']}").status_code == 200


def test_severities_are_those_of_the_queue(looked_at):
    assert typing.get_args(Level) == tuple(SEVERITIES.values()) == tuple(LEVELS)
    told = looked_at.browser("vera").get("/api/v1/openapi.json").json()
    assert set(told["paths"][PATH]) == {"post"}
