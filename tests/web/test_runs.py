"""The audit log on the pages: its runs in pages of a list, followed while it grows."""

import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from nethical.audit.log import Log
from nethical.governance.reviews import Answer


def log_of(site):
    """The log of a site, to be written to."""
    return Log(site.folder / "training_audit_logs" / "log", site.desk.keys.log_key())


def add_runs(site, n, *, first=0):
    """Log so many short runs, and return their ids, the newest first."""
    log, ids = log_of(site), []
    for number in range(first, first + n):
        run_id = f"run_20300101T000000Z_{number:06x}"
        told = {"run_id": run_id, "timestamp": "2030-01-01T00:00:00.000000Z"}
        log.append({"event_type": "training_start", "model_type": "logistic", **told})
        log.append({"event_type": "run_ended", "outcome": "failed", **told})
        ids.insert(0, run_id)
    log.seal()
    return ids


def listed(text):
    """The runs that a page lists."""
    return re.findall(r'href="/runs/(run_\w+)"', text)


def test_runs_are_listed_on_pages_the_newest_first(site):
    ids = add_runs(site, 117)
    vera = site.browser("vera")
    pages = [vera.get(f"/runs?number={number}").text for number in (1, 2, 3)]
    assert listed(pages[0]) == ids[:50]
    assert listed(pages[1]) == ids[50:100]
    assert listed(pages[2])[:17] == ids[100:]
    assert len(listed(pages[2])) == 20
    assert ['rel="prev"' in page for page in pages] == [False, True, True]
    assert ['rel="next"' in page for page in pages] == [True, True, False]


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 30, "²", "4"])
def test_any_number_of_a_page_of_runs_opens(looked_at, number):
    answer = looked_at.browser("vera").get(f"/runs?number={quote(number)}")
    assert answer.status_code == 200
    assert len(listed(answer.text)) == (0 if number == "4" else 3)


def test_a_program_asks_for_as_many_runs_as_for_cases(site):
    ids = add_runs(site, 60)
    vera = site.browser("vera")

    def asked(**fields):
        return [run["run_id"] for run in vera.get("/api/v1/runs", params=fields).json()]

    assert asked() == ids[:50]
    assert asked(limit=7, offset=55)[:5] == ids[55:]
    assert len(asked(limit=200)) == 63
    for wrong in ({"limit": 0}, {"limit": 201}, {"offset": -1}):
        assert vera.get("/api/v1/runs", params=wrong).status_code == 422


def test_a_run_is_seen_as_soon_as_it_is_logged(site):
    vera = site.browser("vera")
    before = vera.get("/api/v1/runs").json()
    log = log_of(site)
    told = {"run_id": "run_20300101T000000Z_00000a", "timestamp": "2030-01-01T00:00:00.000000Z"}
    log.append({"event_type": "training_start", "model_type": "logistic", **told})
    newest, *others = vera.get("/api/v1/runs").json()
    assert others == before
    assert (newest["run_id"], newest["outcome"]) == (told["run_id"], "not ended")
    log.append({"event_type": "run_ended", "outcome": "completed", **told})
    log.seal()
    page = vera.get(f"/runs/{told['run_id']}").text
    assert page.count('class="kind"') == 2
    assert "completed" in page


def test_a_log_that_no_longer_begins_with_what_was_read_is_told_on_every_page(site):
    folder = site.folder / "training_audit_logs" / "log"
    shutil.copytree(folder, site.folder / "before")
    add_runs(site, 2)
    vera = site.browser("vera")
    run_id = vera.get("/api/v1/runs").json()[0]["run_id"]
    shutil.rmtree(folder)
    shutil.copytree(site.folder / "before", folder)
    add_runs(site, 9, first=40)
    for _ in range(2):
        page = vera.get("/runs")
        assert page.status_code == 200
        assert "The log is not what was signed." in page.text
        assert "does not go on from the" in page.text
        assert listed(page.text) == []
        for path in ("/api/v1/runs", f"/api/v1/runs/{run_id}", f"/runs/{run_id}"):
            answer = vera.get(path)
            assert answer.status_code == 409
            assert "were read here before" in answer.text


def test_a_log_that_is_gone_is_not_one_that_never_was(site):
    vera = site.browser("vera")
    vera.get("/runs")
    Path(site.folder / "training_audit_logs").rename(site.folder / "elsewhere")
    text = vera.get("/runs").text
    assert "holds no log any more" in text
    assert "There is no audit log" not in text


# --- what was done beside runs -------------------------------------------------------------------


def test_operations_are_listed_on_pages_the_newest_first(site):
    begun = {"event_type": "operation", "phase": "begun", "by": "deploy", "command": "govern move"}
    log = log_of(site)
    for number in range(60):
        told = {"arguments": {"reason": f"because {number}"}, "timestamp": "2030-01-01T00:00:00Z"}
        index = log.append({**begun, **told})
        if number % 2:
            log.append({**begun, **told, "phase": "failed", "begun_index": index, "error": "x"})
    log.seal()
    vera = site.browser("vera")
    told = vera.get("/api/v1/operations?limit=60").json()
    assert [one["arguments"]["reason"] for one in told] == [
        f"because {number}" for number in reversed(range(60))
    ]
    assert [one["outcome"] for one in told[:2]] == ["failed", "not ended"]
    assert (told[0]["by"], told[0]["command"]) == ("deploy", "govern move")
    pages = [vera.get(f"/operations?number={number}").text for number in (1, 2)]
    assert [page.count("because") for page in pages] == [50, 10]
    assert "because 59<" in pages[0]
    assert "because 0<" in pages[1]
    assert vera.get("/api/v1/operations?offset=57").json() == told[57:]
    assert vera.get("/api/v1/operations?limit=201").status_code == 422


def test_what_people_do_is_told_with_who_did_it(passed, audited):
    dan = audited.browser("dan")
    path = f"/configurations/{passed.configuration_id}/promote"
    assert dan.send(path, reason="better on all rows").status_code == 303
    vera = audited.browser("vera")
    (told,) = vera.get("/api/v1/operations").json()
    assert (told["command"], told["outcome"]) == ("serve: govern promote", "done")
    assert (told["arguments"]["person"], told["arguments"]["reason"]) == (
        *("dan", "better on all rows"),
    )
    assert told["began"] <= told["ended"]
    assert 'href="/operations"' in vera.get("/runs").text
    page = vera.get("/operations").text
    for word in ("serve: govern promote", ">dan<", "better on all rows"):
        assert word in page
    assert "1 operation beside them" in vera.send("/runs/verify").text


def answered(site, command):
    """Two cases that ben answered, on the pages and from the command line: what nobody may know."""
    cases = site.enter("allow", "review")
    ben = site.browser("ben")
    path = ben.send("/review/claim").headers["location"]
    given = {"decision": "block", "tags": ["policy_gap"], "rationale": "odd", "confidence": "0.7"}
    assert ben.send(f"{path}/answer", **given).status_code == 303
    ben.send("/review/claim")
    words = "--decision block --tag policy_gap --rationale odd --confidence 0.7 --as ben"
    done = command(
        *["review", "submit", *words.split(), "--enable-audit"],
        cwd=site.folder,
        env={"NETHICAL_HOME": str(site.folder / "keys")},
    )
    assert done.code == 0, done.err
    answer = Answer("block", ("policy_gap",), "odd", 0.7)
    key = site.desk.keys.row_key()
    return [
        *cases,
        "block",
        "policy_gap",
        "odd",
        "0.7",
        *(answer.sealed(one, key) for one in cases),
    ]


def test_no_page_of_the_log_tells_a_second_reviewer_what_the_first_answered(audited, command):
    untold = answered(audited, command)
    log = b"".join(
        path.read_bytes()
        for path in (audited.folder / "training_audit_logs" / "log").rglob("*")
        if path.is_file()
    )
    for word in ("serve: review submit", '"review submit"', *untold[-2:]):
        assert word.encode() in log
    assert b"policy_gap" not in log
    for name in ("cleo", "vera", "dan", "ada"):
        browser = audited.browser(name)
        told = browser.get("/api/v1/operations").json()
        commands = [one["command"] for one in told]
        assert sorted(commands) == [
            *("review submit", "serve: review claim", "serve: review claim"),
            "serve: review submit",
        ]
        assert {one["arguments"]["person"] for one in told} == {"ben"}
        assert {one["outcome"] for one in told} == {"done"}
        pages = [browser.get(path).text for path in ("/operations", "/runs")]
        for text in [*pages, str(told), browser.send("/runs/verify").text]:
            assert not [word for word in untold if word in text]


def test_where_the_store_is_may_be_a_secret(site):
    where = {"phase89_storage": "postgresql://nethical:a-secret@db/reviews", "reason": "late"}
    told = {"command": "govern move", "by": "ada", "arguments": where}
    log = log_of(site)
    log.append({"event_type": "operation", **told, "phase": "begun", "timestamp": "2030-01-01"})
    log.seal()
    vera = site.browser("vera")
    for path in ("/operations", "/api/v1/operations"):
        text = vera.get(path).text
        assert "late" in text
        assert "a-secret" not in text


def test_an_operation_that_was_changed_since_it_was_sealed_is_not_shown(audited):
    audited.enter("block")
    audited.browser("ben").send("/review/claim")
    vera = audited.browser("vera")
    assert "serve: review claim" in vera.get("/operations").text
    for path in (audited.folder / "training_audit_logs" / "log" / "tile" / "entries").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b'"person":"ben"', b'"person":"eve"'))
    answer = vera.get("/operations")
    assert answer.status_code == 409
    assert "is not the one that was sealed" in answer.text
