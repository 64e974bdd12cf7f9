"""The audit log on the pages: its runs in pages of a list, followed while it grows."""

import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from nethical.audit.log import Log


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
