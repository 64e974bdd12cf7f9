"""What the pages show of runs, models, drift and configurations."""

import json
import re

import pytest

from nethical.governance.reviews import Answer

PAGES = [
    *("/", "/runs", "/operations", "/models", "/drift", "/configurations"),
    *("/review", "/review/cases"),
]


@pytest.fixture(scope="module")
def vera(looked_at):
    """Somebody who may look."""
    return looked_at.browser("vera")


def links(text, beginning):
    """The paths that a page leads to, each once."""
    return list(dict.fromkeys(re.findall(rf'href="({beginning}[^"]*)"', text)))


def test_each_page_opens_for_whoever_may_look(vera):
    for path in PAGES:
        answer = vera.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<h1>" in answer.text


def test_every_link_leads_somewhere(vera):
    seen, waiting = set(), ["/"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = vera.get(path.replace("&amp;", "&"))
        assert answer.status_code == 200, path
        found = {p.partition("#")[0] for p in links(answer.text, "/")}
        waiting += sorted(found - seen - set(waiting))
    assert len(seen) > 15


def test_a_first_page_is_small_and_asks_for_little_more(looked_at):
    for browser, path in ((looked_at.browser(), "/sign-in"), (looked_at.browser("ada"), "/")):
        answer = browser.get(path)
        more = set(re.findall(r'(?:src|href)="(/static/[^"]*)"', answer.text))
        assert len(more) <= 2
        sizes = [len(answer.content), *(len(browser.get(one).content) for one in more)]
        assert sum(sizes) <= 60_000, sizes


def test_no_page_asks_for_more_than_the_script_beside_that(looked_at):
    text = looked_at.browser("ada").get("/review").text
    assert len(set(re.findall(r'(?:src|href)="(/static/[^"]*)"', text))) == 3


def test_no_page_has_a_style_or_a_script_in_it(looked_at):
    ada = looked_at.browser("ada")
    for path in [*PAGES, *links(ada.get("/models").text, "/models/"), "/people", "/review/figures"]:
        text = ada.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=\"/static/)", text), path


# --- runs ----------------------------------------------------------------------------------------


def test_a_run_is_a_line_of_facts_in_order(vera):
    runs = vera.get("/api/v1/runs").json()
    assert [run["outcome"] for run in runs] == ["completed"] * 3
    text = vera.get(f"/runs/{runs[0]['run_id']}").text
    facts = re.findall(r'class="kind"><bdi>([\w ]+)</bdi>', text)
    assert facts[0] == "training start"
    assert facts[-1] == "run ended"
    assert len(facts) == runs[0]["events"]


def test_the_log_is_verified_in_place(site):
    vera = site.browser("vera")
    text = vera.send("/runs/verify").text
    assert "<strong>Verified.</strong>" in text
    assert "self-consistent" in text


def test_a_log_that_was_edited_is_told(site):
    log = site.folder / "training_audit_logs" / "log" / "tile"
    entries = max((p for p in log.rglob("*") if p.is_file() and "entries" in str(p)), key=str)
    content = bytearray(entries.read_bytes())
    content[len(content) // 2] ^= 1
    entries.write_bytes(content)
    text = site.browser("vera").send("/runs/verify").text
    assert "Not sound." in text or "The log is not what was signed." in text
    assert "Verified." not in text


def test_without_a_log_the_page_says_how_to_get_one(site):
    (site.folder / "training_audit_logs").rename(site.folder / "elsewhere")
    vera = site.browser("vera")
    assert "--enable-audit" in vera.get("/runs").text
    assert vera.send("/runs/verify").status_code == 409


# --- models --------------------------------------------------------------------------------------


def test_a_model_is_shown_with_its_card_and_figures(vera):
    models = vera.get("/api/v1/models").json()
    current = next(m for m in models if m["status"] == "current")
    text = vera.get(f"/models/{current['model_id']}").text
    assert "signature holds" in text
    assert "What was demanded of it</h2>" in text
    assert text.count("<svg") == 2
    assert "data-label" in text


def test_a_model_that_was_edited_is_not_shown(site):
    vera = site.browser("vera")
    model_id = vera.get("/api/v1/models").json()[0]["model_id"]
    card = site.folder / "models" / "versions" / model_id / "card.md"
    card.chmod(0o644)
    card.write_text(card.read_text().replace("PASS", "FAIL"))
    text = vera.get(f"/models/{model_id}").text
    assert "not what was signed" in text
    assert "What was demanded of it" not in text
    assert vera.get(f"/api/v1/models/{model_id}").status_code == 409


@pytest.mark.parametrize("model_id", ["%2e%2e", "%2fetc", "nothing", "a" * 400, "%2e%2e%2fkeys"])
def test_nothing_outside_the_registry_is_a_model(vera, model_id):
    assert vera.get(f"/models/{model_id}").status_code == 404


def test_two_models_stand_beside_each_other(vera):
    first, second = [m["model_id"] for m in vera.get("/api/v1/models").json()][:2]
    text = vera.get(f"/models/compare?a={first}&b={second}").text
    assert text.count("<svg") == 2
    assert "false positive rate" in text
    assert "not measured on the same rows" in text or "measured on the same rows" in text
    assert vera.get(f"/models/compare?a={first}&b={first}").status_code == 303
    assert vera.get(f"/models/compare?a={first}&b=nothing").status_code == 404


# --- drift ---------------------------------------------------------------------------------------


def test_a_drift_report_is_shown_inside_as_it_was_stored(looked_at, vera):
    report = vera.get("/api/v1/drift/reports").json()[0]
    page = vera.get(f"/drift/{report['report_id']}").text
    assert f'sandbox="" src="/drift/{report["report_id"]}/page"' in page
    stored = vera.get(f"/drift/{report['report_id']}/page")
    folder = looked_at.desk.places.drift_report_dir
    assert stored.text == (folder / f"{report['report_id']}.html").read_text()


def test_the_stored_page_may_be_framed_by_ours_and_run_nothing(vera):
    report = vera.get("/api/v1/drift/reports").json()[0]
    headers = vera.get(f"/drift/{report['report_id']}/page").headers
    policy = headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'sha256-")
    assert policy.endswith("frame-ancestors 'self'")
    assert "unsafe" not in policy
    assert "script" not in policy


@pytest.mark.parametrize("report_id", ["%2e%2e", "cohorts", "drift_1", "drift_20260101_000000"])
def test_nothing_else_in_the_folder_is_a_report(vera, report_id):
    assert vera.get(f"/drift/{report_id}").status_code == 404
    assert vera.get(f"/drift/{report_id}/page").status_code == 404


def test_a_report_that_cannot_be_read_is_told_in_the_list(site):
    folder = site.folder / "training_drift_reports"
    (folder / "drift_20260101_000000.json").write_text("{broken")
    vera = site.browser("vera")
    assert "cannot be read" in vera.get("/drift").text
    assert vera.get("/drift/drift_20260101_000000").status_code == 422


def test_a_report_of_a_time_that_is_none_is_shown_all_the_same(site):
    folder = site.folder / "training_drift_reports"
    told = {"generated_at": "0001-01-01T00:00:00+14:00", "drift_metrics": {"message": "odd"}}
    (folder / "drift_20260101_000000.json").write_text(json.dumps(told))
    answer = site.browser("vera").get("/drift")
    assert answer.status_code == 200
    assert "odd" in answer.text


# --- configurations ------------------------------------------------------------------------------


def test_a_search_is_shown_as_dots_and_as_a_table(vera):
    (study,) = vera.get("/api/v1/searches").json()
    text = vera.get(f"/searches/{study['short']}").text
    assert text.count("false positive rate 0.") == study["trials"]
    assert text.count("<circle") + text.count("<polygon") == study["trials"] + 1
    document = vera.get(f"/api/v1/searches/{study['short']}").json()
    assert len(document["trials"]) == study["trials"] == 4
    assert vera.get("/searches/ffffffffffff").status_code == 404


def test_a_configuration_tells_choices_figures_reports_and_moves(vera):
    found = [c["configuration_id"] for c in vera.get("/api/v1/configurations").json()]
    documents = [vera.get(f"/api/v1/configurations/{one}").json() for one in found]
    judged = next(one for one in documents if one["reports"])
    text = vera.get(f"/configurations/{judged['configuration_id']}").text
    for word in ("classifier threshold", "Recall gain", "Human agreement", "attempt 1"):
        assert word in text
    assert vera.get("/configurations/cfg_000000000000").status_code == 404


def promote(browser, found, **fields):
    path = f"/configurations/{found.configuration_id}/promote"
    return browser.send(path, **{"reason": "better on all rows", **fields})


def test_an_approver_promotes_what_passed_and_gives_a_reason(site, passed):
    dan = site.browser("dan")
    assert passed.configuration_id in dan.get("/").text
    assert "Put it into production" in dan.get(f"/configurations/{passed.configuration_id}").text
    assert promote(dan, passed, reason=" ").status_code == 422
    assert promote(dan, passed).status_code == 303
    assert site.desk.registry.current("actions").name == passed.model_id
    last = site.desk.store.events("actions")[-1]
    assert (last.actor, last.reason, last.to_status) == ("dan", "better on all rows", "production")
    assert promote(dan, passed).status_code == 409


def test_nobody_approves_an_own_proposal(site, passed):
    site.desk.people.add("eve", "approver", site.password)
    eve = site.browser("eve")
    page = eve.get(f"/configurations/{passed.configuration_id}").text
    assert "nobody approves an own proposal" in page
    assert "Put it into production" not in page
    answer = promote(eve, passed)
    assert answer.status_code == 409
    assert "nobody approves an own proposal" in answer.text
    assert site.desk.registry.current("actions").name != passed.model_id


def test_what_did_not_pass_is_not_promoted(site):
    dan = site.browser("dan")
    site.desk.governance.production.reconcile("actions")
    for one in site.desk.store.configurations():
        path = f"/configurations/{one.configuration_id}/promote"
        assert dan.send(path, reason="because").status_code == 409


def test_an_approver_rolls_back(site, passed):
    dan = site.browser("dan")
    before = site.desk.registry.current("actions").name
    promote(dan, passed)
    assert dan.send("/production/actions/rollback", reason="alarms").status_code == 303
    assert site.desk.registry.current("actions").name == before
    last = site.desk.store.events("actions")[-1]
    assert (last.actor, last.reason) == ("dan", "alarms")
    assert dan.send("/production/nothing/rollback", reason="x").status_code == 404


def test_an_approver_rejects(site, passed):
    dan = site.browser("dan")
    path = f"/configurations/{passed.configuration_id}/move"
    assert dan.send(path, status="production", reason="x").status_code == 422
    assert dan.send(path, status="rejected", reason="too slow").status_code == 303
    assert site.desk.store.events("actions")[-1].to_status == "rejected"
    assert dan.send(path, status="shadow", reason="x").status_code == 409


# --- what is done is logged ----------------------------------------------------------------------


def test_what_people_do_is_in_the_log_where_that_was_asked_for(passed, audited):
    site = audited
    site.enter("block")
    ben, dan = site.browser("ben"), site.browser("dan")
    ben.send("/review/claim")
    case_id = site.desk.queue.listed()[0].case_id
    ben.send(f"/review/cases/{case_id}/answer", decision="block", rationale="a private word")
    promote(dan, passed)
    log = site.folder / "training_audit_logs" / "log"
    told = b"".join(p.read_bytes() for p in log.rglob("*") if p.is_file())
    for word in (b"serve: review claim", b"serve: review submit", b"serve: govern promote"):
        assert word in told
    assert b'"person":"dan"' in told
    assert b"a private word" not in told
    answer = Answer("block", rationale="a private word")
    assert answer.sealed(case_id, site.desk.keys.row_key()).encode() in told
    assert "Verified." in ben.send("/runs/verify").text


def test_a_log_that_cannot_be_written_keeps_what_was_asked_from_being_done(audited, monkeypatch):
    from nethical.audit import operations
    from nethical.errors import StorageError

    audited.enter("block")
    ben = audited.browser("ben")

    def refused(*_, **__):
        raise StorageError("no space is left", mend="free some")

    monkeypatch.setattr(operations, "operation", refused)
    assert ben.send("/review/claim").status_code == 503
    assert json.loads(ben.get("/api/v1/review/cases?state=open").text)[0]["may"] == ""
