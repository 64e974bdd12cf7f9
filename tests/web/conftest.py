"""A place with models, a log, reports and people, and browsers that visit its pages."""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from nethical.audit.log import Log
from nethical.governance.people import People
from nethical.governance.reviews import Answer, Case, Source
from nethical.governance.store import GovernanceStore
from nethical.keys import Keys
from nethical.web.app import create_app
from nethical.web.desk import Desk, Places
from nethical.web.security import Door

PASSWORD = "correct horse battery"  # noqa: S105 - of people who are not
# Of the kind that is used, at its least: what is held here is what follows from a right password
# and a wrong one. tests/governance/test_people.py holds that it is dear where nothing is given.
QUICK = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
ROLES = {
    "vera": "viewer",
    "ben": "reviewer",
    "cleo": "reviewer",
    "rita": "reviewer",
    "dan": "approver",
    "ada": "admin",
}
ORIGIN = "http://localhost:8321"
BEGIN = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
RUN = (
    "train --model-type heuristic --num-samples 1200 --epochs 2 --name actions --enable-audit "
    "--enable-drift-tracking --enable-phase89 --optimize-config --optimization-iterations 4"
).split()
AGAIN = (
    "train --model-type heuristic --num-samples 1200 --epochs 2 --name actions --seed 2 "
    "--enable-audit --enable-drift-tracking --cohort-id second --enable-phase89 --parameter "
    "penalty=3 --fail-on-refusal"
).split()


def hostile_strings(n=500):
    """Texts that would run, hide or break something if a page took them for its own."""
    told = json.loads((Path(__file__).parent / "hostile.json").read_text())
    pairs = [(wrap, payload) for wrap in told["wraps"] for payload in told["payloads"]]
    found = dict.fromkeys(wrap.replace("{}", payload) for wrap, payload in pairs)
    assert len(found) >= n
    return list(found)[:n]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now=BEGIN):
        self.now = now

    def __call__(self):
        return self.now

    def go(self, **by):
        """Move it on."""
        self.now += timedelta(**by)


def case(number, decision="review", *, name="actions", severity=3, probability=0.52, **features):
    """A case of the queue."""
    return Case(
        name,
        Source.GRAY,
        "gray-near",
        1.0,
        severity,
        0.9,
        f"row:{number:032x}",
        {"violation_count": 0.25, "message": "x" * 80, **features},
        probability,
        decision,
        "actions_20260101T000000Z_abcdef",
    )


@pytest.fixture(scope="session")
def _made(tmp_path_factory, command):
    """What the tests copy: two runs with everything on, and people."""
    folder = tmp_path_factory.mktemp("made")
    for words in (RUN, AGAIN):
        done = command(*words, cwd=folder, env={"NETHICAL_HOME": str(folder / "keys")})
        assert done.code in {0, 3}, done.err
    store = GovernanceStore(folder / "training_governance_data", Clock())
    people = People(store, QUICK)
    for name, role in ROLES.items():
        people.add(name, role, PASSWORD)
    with store.writing() as db:  # cases of the runs would be in the way of those of a test
        from nethical.governance import tables as t

        db.execute(t.review_slot.delete())
        db.execute(t.review_case.delete())
    store.close()
    return folder


def places(folder, **settings):
    """Where things lie in a folder."""
    return Places(
        folder / "models",
        folder / "training_drift_reports",
        folder / "training_audit_logs",
        str(folder / "training_governance_data"),
        **settings,
    )


@dataclass
class Site:
    """A desk with its app, its folder and its clock."""

    folder: Path
    desk: Desk
    app: object
    clock: Clock
    password: str = PASSWORD
    origin: str = ORIGIN
    case = staticmethod(case)

    def enter(self, *decisions, **features):
        """Put a case for each decision of a model into the queue, and return their ids."""
        known = sum(self.desk.queue.counts().values())
        cases = [case(known + n, word, **features) for n, word in enumerate(decisions)]
        self.desk.queue.enter(cases)
        return [one.case_id for one in cases]

    def answer(self, name, decision):
        """Claim the next case for somebody and answer it at once."""
        case_id = self.desk.queue.claim(name).case.case_id
        self.desk.queue.submit(case_id, name, Answer(decision))
        return case_id

    def browser(self, name=None, **settings):
        """Return a browser, in which somebody is signed in if they are named."""
        found = Browser(self.app, **settings)
        if name is not None:
            answer = found.sign_in(name)
            assert answer.status_code == 303, answer.text
        return found

    def close(self):
        """Let go of the store."""
        self.desk.store.close()


class Browser:
    """Somebody's browser, that asks from a page of ours and follows nothing by itself."""

    def __init__(self, app, origin=ORIGIN):
        from starlette.testclient import TestClient

        self.client = TestClient(
            app, base_url=origin, follow_redirects=False, raise_server_exceptions=False
        )
        self.origin = {"origin": origin}

    @property
    def cookies(self):
        """Its cookies."""
        return self.client.cookies

    def get(self, path, **settings):
        """Ask for a page."""
        return self.client.get(path, **settings)

    def sign_in(self, name, password=PASSWORD, **more):
        """Send the form of the sign-in page."""
        page = self.get("/sign-in")
        fields = {"name": name, "password": password, "csrf": token_in(page.text), **more}
        return self.client.post("/sign-in", data=fields, headers=self.origin)

    def token(self):
        """Return the token of the session."""
        return self.get("/api/v1/me").json()["csrf"]

    def send(self, path, **fields):
        """Send a form of a page of ours."""
        data = {"csrf": self.token(), **fields}
        return self.client.post(path, data=data, headers=self.origin)

    def call(self, path, document=None):
        """Send JSON to the interface."""
        headers = {**self.origin, "x-csrf-token": self.token()}
        return self.client.post(path, json=document, headers=headers)


def token_in(text):
    """Return the first token of the forms of a page."""
    return re.search(r'name="csrf" value="([^"]*)"', text)[1]


class Server:
    """``nethical serve`` in a process of its own, over a folder."""

    def __init__(self, folder, *words, port=0):
        self.folder, self.words, self.port = folder, words, port
        self.start()

    def start(self):
        """Start it and wait until it says where it is."""
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "nethical.cli.main",
                "serve",
                "--port",
                str(self.port),
                *self.words,
            ],
            cwd=self.folder,
            env={**os.environ, "NETHICAL_HOME": str(self.folder / "keys")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if "Serving the pages at" in line:
                self.url = line.split(" at ")[1].split(" until")[0]
                self.port = int(self.url.rpartition(":")[2])
                return
        raise AssertionError("".join(self.said))

    def client(self, name):
        """Return a signed-in client, and its token."""
        import httpx

        client = httpx.Client(base_url=self.url, headers={"origin": self.url}, timeout=30)
        fields = {"name": name, "password": PASSWORD, "csrf": token_in(client.get("/sign-in").text)}
        assert client.post("/sign-in", data=fields).status_code == 303
        client.headers["x-csrf-token"] = client.get("/api/v1/me").json()["csrf"]
        return client

    def kill(self):
        """Kill it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ask it to end, and return what it said and its exit code."""
        self.process.terminate()
        said = "".join(self.said) + self.process.stdout.read()
        return said, self.process.wait(timeout=30)


class Nearby(threading.Thread):
    """A site on a port, by the server that ``nethical serve`` takes, without a process of its own.

    For browsers, to which it is all the same; what is the process's is in ``test_serve.py``.
    """

    def __init__(self, app):
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))

    def run(self):
        self.server.run(sockets=[self.socket])

    def stop(self):
        self.server.should_exit = True
        self.join(timeout=30)
        assert not self.is_alive()


@pytest.fixture
def near(site):
    """The site on a port of this process."""
    found = Nearby(site.app)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def served(site):
    """A server over a site; starts with the words that it is given."""
    servers = []

    def serve(*words):
        servers.append(Server(site.folder, *words))
        return servers[-1]

    yield serve
    for server in servers:
        server.kill()
        server.process.stdout.close()


def site_in(folder, **settings):
    """Return a site over a folder."""
    clock = Clock()
    desk = Desk(places(folder, **settings), Keys(folder / "keys"), clock, QUICK)
    return Site(folder, desk, create_app(desk, Door()), clock)


@pytest.fixture
def site(_made, tmp_path):
    """A site of one test's own."""
    folder = tmp_path / "site"
    shutil.copytree(_made, folder, symlinks=True)
    found = site_in(folder)
    yield found
    found.close()


@pytest.fixture
def audited(site):
    """The site with what people do written to the log."""
    site.close()
    found = site_in(site.folder, is_audited=True)
    yield found
    found.close()


@pytest.fixture(scope="session")
def looked_at(_made, tmp_path_factory):
    """A site that tests only look at."""
    folder = tmp_path_factory.mktemp("looked") / "site"
    shutil.copytree(_made, folder, symlinks=True)
    found = site_in(folder)
    rng = random.Random(1)
    found.desk.queue.enter(case(n, probability=rng.random()) for n in range(5))
    yield found
    found.close()


@pytest.fixture(scope="session")
def hostile():
    """500 hostile texts."""
    return hostile_strings()


def hostile_everywhere(site, texts):
    """Put hostile texts wherever a text from elsewhere can stand; return where to look."""
    import sqlite3

    from nethical.governance import tables as t

    columns = {f"{text} {n}": text for n, text in enumerate(texts)}
    long = {f"text {n}": text + " and so on" * 8 for n, text in enumerate(texts[:60])}
    (case_id,) = site.enter("allow", **{**columns, **long})
    for name, word in (("ben", "block"), ("cleo", "allow")):
        site.desk.queue.claim(name)
        note = "\n".join(texts[:90])[:4000].replace("\0", "")
        site.desk.queue.submit(case_id, name, Answer(word, (), note))
    db = sqlite3.connect(site.folder / "training_drift_reports" / "cohorts.db")
    db.execute("UPDATE cohort SET label = ?", ("".join(texts),))
    db.commit()
    db.close()
    site.desk.governance.production.reconcile("actions")
    event = site.desk.store.events("actions")[-1]
    kept = {k: v for k, v in event._mapping.items() if k not in {"number", "previous"}}
    with site.desk.store.writing() as db:
        last = event.number
        for text in texts:
            moved = {**kept, "previous": last, "reason": text.replace("\0", ""), "actor": text[:60]}
            last = db.execute(t.configuration_event.insert().values(moved)).inserted_primary_key[0]
    report = max((site.folder / "training_drift_reports").glob("drift_*.json"))
    told = json.loads(report.read_text())
    told["drift_metrics"]["message"] = "".join(texts)
    report.write_text(json.dumps(told))
    page = report.with_suffix(".html")
    page.write_text(page.read_text().replace("</main>", f"{''.join(texts)}</main>"))
    log = Log(site.folder / "training_audit_logs" / "log", site.desk.keys.log_key())
    beside = {"event_type": "operation", "phase": "begun", "timestamp": "2030-01-01T00:00:00Z"}
    for text in texts[::10]:
        told = {"command": text, "by": text[:60], "arguments": {text: text}}
        log.append({**beside, **told})
    log.seal()
    return [
        f"/review/cases/{case_id}",
        f"/configurations/{event.configuration_id}",
        "/drift",
        f"/drift/{report.stem}",
        f"/drift/{report.stem}/page",
        "/configurations",
        "/",
        "/operations",
    ]


@pytest.fixture
def poisoned(site, hostile):
    """A site full of hostile texts, and the pages that show them."""
    return site, hostile_everywhere(site, hostile)


@pytest.fixture
def passed(site):
    """A configuration that passed against what is in production, judged by ``eve``."""
    desk = site.desk
    desk.governance.production.reconcile("actions")
    baseline = desk.registry.current("actions").name
    moved = {event.configuration_id for event in desk.store.events()}
    found = next(e for e in desk.store.evaluations() if e.configuration_id not in moved)
    desk.store.record_report(
        {
            "candidate": found.configuration_id,
            "baseline": found.configuration_id,
            "candidate_model": found.model_id,
            "baseline_model": baseline,
            "name": "actions",
            "gate_digest": "sha256:" + "0" * 64,
            "k": 1,
            "alpha": 0.03,
            "policy": {},
            "criteria": [],
            "verdict": "PASS",
            "waiver": None,
            "actor": "eve",
        }
    )
    return found
