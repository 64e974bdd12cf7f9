"""``nethical serve`` as it is started, stopped, killed and asked all at once."""

import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nethical.governance.reviews import DECISIONS

ROOT = Path(__file__).parents[2]


def test_it_says_where_it_is_and_ends_when_it_is_asked_to(served):
    server = served()
    client = server.client("vera")
    assert client.get("/").status_code == 200
    said, code = server.stop()
    assert f"[INFO] Serving the pages at http://127.0.0.1:{server.port}" in said
    assert "--enable-audit logs it" in said
    assert code == 0


def test_nothing_secret_is_printed(served):
    server = served()
    client = server.client("ada")
    token = client.cookies["nethical"]
    client.get("/review/cases?number=1")
    said, _ = server.stop()
    for word in (token, client.headers["x-csrf-token"], "correct horse"):
        assert word not in said


def test_it_warns_where_others_can_reach_it(served):
    server = served("--host", "0.0.0.0")  # noqa: S104 - to be warned of
    said, _ = server.stop()
    assert "[WARN] 0.0.0.0 is more than this machine" in said
    assert "passwords can be read on the way" in said
    assert "--allowed-host NAME" in said


def test_it_answers_to_the_names_that_are_given(served):
    import httpx

    server = served("--allowed-host", "Risk.example", "--allowed-host", "2001:db8::7")
    asked = {"risk.example": 200, "evil.example": 400, "localhost": 200, "[2001:DB8::7]:1": 200}
    for host, status in asked.items():
        assert httpx.get(f"{server.url}/sign-in", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "70000"], "there is no port 70000"),
        (["--certificate", "x.pem"], "a certificate goes with its key"),
        (["--allowed-host", "risk.example:8443"], "no browser asks for the host risk.example:8443"),
        (["--allowed-host", "https://risk.example"], "no browser asks for the host https://risk"),
        (["--host", "203.0.113.1"], "cannot listen at 203.0.113.1"),
    ],
)
def test_what_cannot_be_served_is_two_lines(command, tmp_path, words, says):
    done = command("serve", *words, cwd=tmp_path)
    assert done.code in {2, 5}
    assert f"error: {says}" in done.err
    assert "mend: " in done.err


def test_without_the_extra_it_says_what_to_install(tmp_path):
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('uvicorn', 'fastapi'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from nethical.cli.main import main\n"
        "sys.exit(main(['serve']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: the pages need the extra [web], which is not installed: No module named 'uvicorn'\n"
        "mend: pip install 'nethical[web]'\n"
    )


# --- kill -9 -------------------------------------------------------------------------------------


class Reviewer(threading.Thread):
    """Claims and answers until the server is gone, and remembers what it acknowledged."""

    def __init__(self, client, seed):
        super().__init__(daemon=True)
        self.client, self.rng = client, random.Random(seed)
        self.acknowledged = {}

    def run(self):
        import httpx

        try:
            while True:
                claimed = self.client.post("/api/v1/review/claim").json()
                if claimed is None:
                    return
                case_id = claimed["case"]["case_id"]
                word = self.rng.choice(DECISIONS)
                answer = self.client.post(
                    f"/api/v1/review/cases/{case_id}/answer",
                    json={"decision": word, "rationale": f"{case_id} {word}"},
                )
                if answer.status_code == 200:
                    self.acknowledged[case_id] = word
        except (httpx.HTTPError, ValueError):
            return


def check_nothing_lost(site, names, acknowledged):
    """Every acknowledged answer is kept once, with the words that it had."""
    from nethical.governance import tables as t

    with site.desk.store.reading() as db:
        rows = db.execute(
            t.review_answer.join(
                t.review_slot, t.review_slot.c.slot_id == t.review_answer.c.slot_id
            ).select()
        ).all()
    kept = {}
    for row in rows:
        key = (row.case_id, row.reviewer)
        assert key not in kept, "kept twice"
        kept[key] = row
        assert row.rationale == f"{row.case_id} {row.decision}"
    for name in names:
        for case_id, word in acknowledged[name].items():
            assert kept[case_id, name].decision == word
    return len(kept)


@pytest.mark.parametrize("submissions", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_acknowledged_answer_is_lost_or_doubled_by_kill_9(site, served, submissions):
    site.enter(*["review"] * (submissions // 2))
    names = ["ben", "cleo", "rita", "dan"]
    acknowledged = {name: {} for name in names}
    rng = random.Random(submissions)
    server, kills = served(), 0
    while True:
        reviewers = {name: Reviewer(server.client(name), kills) for name in names}
        for one in reviewers.values():
            one.start()
        deadline = time.monotonic() + rng.uniform(0.2, 1.2)
        while time.monotonic() < deadline and any(one.is_alive() for one in reviewers.values()):
            time.sleep(0.01)
        is_done = not any(one.is_alive() for one in reviewers.values())
        server.kill()
        for name, one in reviewers.items():
            one.join(timeout=30)
            acknowledged[name].update(one.acknowledged)
        if is_done:
            break
        kills += 1
        server.start()
    assert kills >= 1
    assert check_nothing_lost(site, names, acknowledged) == submissions
    assert site.desk.queue.counts()["open"] == 0


# --- anything that can be sent -------------------------------------------------------------------


def test_no_request_of_two_thousand_makes_the_interface_fail(site, served, tmp_path):
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    site.enter(*["review", "block"] * 4)
    server = served()
    client = server.client("dan")
    schema = tmp_path / "openapi.json"
    schema.write_text(client.get("/api/v1/openapi.json").text)
    headers = {
        "Cookie": f"nethical={client.cookies['nethical']}",
        "X-CSRF-Token": client.headers["x-csrf-token"],
        "Origin": server.url,
    }
    words = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(schema), "--url", server.url),
            *("--phases", "examples,coverage,fuzzing,stateful", "-c", "not_a_server_error"),
            *("-n", "110"),
            *("--seed", "1", "--no-color", *words),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    generated = int(done.stdout.rpartition("Test cases:")[2].split()[0].replace(",", ""))
    assert generated >= 2000


def test_the_program_of_the_how_to_answers_a_case(site, served):
    page = (ROOT / "docs" / "how-to" / "serve-the-pages.md").read_text()
    names = {}
    exec(re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1], names)  # noqa: S102 - our own page
    (case_id,) = site.enter("block")
    client = names["signed_in"](served().url, "ben", site.password)

    def decide(features):
        return "block" if features["violation_count"] < 0.5 else "unsure"

    assert names["answer_next"](client, decide) == case_id
    assert names["answer_next"](client, decide) is None
    assert site.desk.queue.case(case_id, "ben").own.answer.decision == "block"
