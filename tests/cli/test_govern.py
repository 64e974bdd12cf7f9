"""Governance as a person uses it: the commands of the request, the gate, promotions, reviews."""

import json
import re
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical.data import synthetic
from nethical.governance.people import People
from nethical.governance.store import GovernanceStore
from nethical.registry import user

ROOT = Path(__file__).parents[2]
STORE = "training_governance_data"
FOURTH = (
    "train --model-type logistic --epochs 20 --num-samples 2000 --enable-phase89 "
    "--optimize-config --optimization-technique random_search --optimization-iterations 50"
).split()
FIFTH = (
    "train --model-type heuristic --epochs 10 --num-samples 1000 --enable-audit "
    "--enable-drift-tracking --enable-phase89 --optimize-config --optimization-iterations 20"
).split()
SHOWN = """\
[INFO] Recording configuration with Phase89 governance...
[INFO] Configuration ID: cfg_3b58929a13a6
[INFO] Metrics recorded. Fitness score: 0.5133

[INFO] Running configuration optimization using random_search...
[INFO] Optimization completed. Evaluated 20 configurations

[INFO] Top 3 Configurations:
  1. random_v15
     Fitness: 0.5368
     Recall: 0.949, Precision: 0.887
     FP Rate: 0.049
  2. random_v3
     Fitness: 0.5335
     Recall: 0.932, Precision: 0.810
     FP Rate: 0.073
  3. random_v7
     Fitness: 0.5291
     Recall: 0.918, Precision: 0.709
     FP Rate: 0.016

[INFO] Checking promotion gate for best configuration...
[INFO] Promotion gate: PASSED
  - ✓ Recall gain: 0.049 >= 0.03
  - ✓ FP increase: 0.012 <= 0.02
  - ✓ Latency increase: 2.1ms <= 5.0ms
  - ✓ Human agreement: 0.895 >= 0.85
[INFO] Configuration promoted successfully
"""


def masked(text):
    """Return lines with numbers, ids and verdicts in their place, and notes of ours left out."""
    lines = []
    for line in text.splitlines():
        plain = re.sub(r" \([^()]*\)$", "", line.rstrip())
        plain = re.sub(r"cfg_[0-9a-f]{12}", "CFG", plain)
        plain = re.sub(r"^(  - )[✓✗?] ", r"\1MARK ", plain)
        plain = re.sub(r"-?\d+\.\d+|(?<=_v)\d+|(?<=Evaluated )\d+", "N", plain)
        plain = re.sub(r": (PASSED|FAILED|INSUFFICIENT_EVIDENCE)$", ": VERDICT", plain)
        lines.append(re.sub(r": unknown$", ": N >= N", plain))
    return lines


def shares(text, wanted):
    """Whether the wanted lines stand in a text, in their order."""
    place = 0
    lines = masked(text)
    for line in masked(wanted):
        if line and line not in lines[place:]:
            return line
        place = lines.index(line, place) + 1 if line else place
    return None


@pytest.fixture
def govern(command, tmp_path):
    def run(*words, code=0):
        done = command(*words, cwd=tmp_path)
        assert done.code == code, (done.err, done.out)
        if code and code != 3:
            lines = done.err.splitlines()
            assert len(lines) == 2
            assert lines[0].startswith("error: ")
            assert lines[1].startswith("mend: ")
        return done

    return run


def test_the_fourth_command_prints_the_block_of_the_request(govern):
    out = govern(*FOURTH).out
    expected = SHOWN.replace("Evaluated 20", "Evaluated 50").replace(
        "[INFO] Configuration promoted successfully\n", ""
    )
    assert shares(out, expected) is None, (shares(out, expected), out)
    assert "Evaluated 50 configurations" in out
    assert "? Human agreement: unknown (0 reviewed)" in out
    assert re.search(r"Fitness score: 0\.\d{4} \(3 of 4 terms: agreement unknown\)", out)
    assert "Promotion gate: PASSED" not in out


def test_the_fifth_command_does_all_at_once_and_its_log_verifies(govern, tmp_path):
    done = govern(*FIFTH, "--json")
    governance = done.document["governance"]
    assert governance["trials"] == 20
    assert governance["human_agreement"] is None
    assert governance["promoted"] is False
    assert governance["verdict"] in {"FAIL", "INSUFFICIENT_EVIDENCE"}
    assert done.document["drift"]["report_id"]
    verified = govern("audit", "verify", "training_audit_logs", "--json")
    assert verified.document["runs"] == 2  # the run, and that of the best configuration
    entries = b"".join(
        p.read_bytes() for p in (tmp_path / "training_audit_logs").rglob("*") if p.is_file()
    )
    for kind in (b"configuration_recorded", b"search_completed", b"promotion_decided"):
        assert kind in entries
    for run_id in (path.name for path in (tmp_path / "training_audit_logs" / "runs").iterdir()):
        govern("audit", "report", "training_audit_logs", "--run-id", run_id, "-o", "told")
    told = "".join(path.read_text() for path in (tmp_path / "told").glob("*.md"))
    titles = ("## Compared with other cohorts", "## Configurations", "New cases for people")
    for title in (*titles, "Searched by"):
        assert title in told
    assert "insufficient evidence" in told or "fail" in told


def test_no_feedback_is_never_a_number(govern, tmp_path):
    done = govern(*FIFTH[:7], "--enable-phase89", "--json")
    assert done.document["governance"]["human_agreement"] is None
    configs = govern("govern", "configs", "--json").document["configurations"]
    one = govern("govern", "configs", configs[0]["configuration_id"], "--json").document
    assert one["evaluations"][0]["human_agreement"] is None
    with sqlite3.connect(tmp_path / STORE / "governance.db") as db:
        assert db.execute("SELECT human_agreement FROM evaluation").fetchall() == [(None,)]
    db.close()


def actions(tmp_path, n=6000, seed=3, shift=-5.1):
    table = synthetic.generate("risk", n, seed=seed, prevalence_shift=shift, overlap=2.0).table
    pq.write_table(table, tmp_path / f"rows{seed}.parquet")
    return tmp_path / f"rows{seed}.parquet"


def reviews(tmp_path, name="reviewed.parquet", n=400, **columns):
    table = synthetic.generate("risk", n, seed=9, prevalence_shift=-5.1, overlap=2.0).table
    table = table.append_column("case_id", pa.array([f"{name}-{i}" for i in range(n)]))
    for column, values in columns.items():
        table = table.append_column(column, pa.array(values))
    pq.write_table(table, tmp_path / name)
    return tmp_path / name


TRAIN = ("train", "--model-type", "logistic", "--name", "actions")
SEARCH = ("--enable-phase89", "--optimize-config", "--optimization-iterations", "5")


@pytest.fixture(scope="session")
def one_search(command, tmp_path_factory):
    """A search on enough rows for the gate to decide: its folder, and what it said."""
    folder = tmp_path_factory.mktemp("searched")
    data = actions(folder, n=43_000)
    reviewed = ("review", "import", reviews(folder), "--name", "actions")
    assert command(*reviewed, cwd=folder).code == 0
    done = command(*TRAIN, "--data", data, *SEARCH, "--json", cwd=folder)
    assert done.code == 0, done.err
    return folder, done.document


@pytest.fixture
def searched(one_search, tmp_path):
    """What a search led to, in the folder of one test."""
    folder, document = one_search
    shutil.copytree(folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    return document


def test_a_passing_configuration_is_promoted_and_can_be_rolled_back(govern, searched, tmp_path):
    governance = searched["governance"]
    assert governance["verdict"] == "PASS", governance["criteria"]
    assert governance["promoted"] is True
    current = (tmp_path / "models" / "current" / "actions").resolve().name
    assert current != searched["model_id"]
    moves = govern("govern", "history", "--json").document["moves"]
    assert [move["to_status"] for move in moves] == ["production", "deprecated", "production"]
    assert [move["previous"] for move in moves] == [0, 1, 2]
    assert moves[-1]["model_id"] == current
    assert moves[-1]["gate_report"] == 1
    done = govern("govern", "rollback", "actions", "--reason", "too many alerts", "--json")
    assert done.document["model_id"] == searched["model_id"]
    moves = govern("govern", "history", "actions", "--json").document["moves"]
    assert [move["to_status"] for move in moves[3:]] == ["deprecated", "production"]
    assert moves[-1]["reason"] == "too many alerts"


@pytest.mark.usefixtures("searched")
def test_a_run_beside_a_promoted_configuration_becomes_a_candidate(govern, tmp_path):
    data = tmp_path / "rows3.parquet"
    done = govern(*TRAIN, "--data", data, "--seed", "7", "--json").document
    assert done["verdict"] == "PASS"
    assert done["promoted"] is False
    assert "govern gate" in done["reason"]


def test_the_gate_can_be_asked_again_with_other_rows(govern, searched, tmp_path):
    govern("govern", "rollback", "actions", "--reason", "to try again")
    config = searched["governance"]["candidate"]
    other = actions(tmp_path, n=40_000, seed=11)
    asked = ("govern", "gate", config, "--data", other)
    found = govern(*asked, "--json").document
    assert found["verdict"] == "PASS", found["criteria"]
    assert found["promoted"] is True
    report = govern("govern", "configs", config, "--json").document["reports"][-1]
    assert report["k"] == 1
    govern("govern", "rollback", "actions", "--reason", "once more")
    table = pq.read_table(other)
    turned = table.take(list(range(len(table)))[::-1])
    pq.write_table(turned, tmp_path / "turned.parquet")
    assert govern("govern", "gate", config, "--data", "turned.parquet", "--json").document[
        "promoted"
    ]
    reports = govern("govern", "configs", config, "--json").document["reports"]
    assert reports[-1]["gate_digest"] == report["gate_digest"]  # the same rows, turned round
    assert reports[-1]["k"] == 1
    assert report["baseline_model"] == searched["model_id"]
    assert "already" in govern("govern", "gate", config, "--data", other, code=2).err


def test_a_report_against_what_is_gone_promotes_nothing(govern, searched, tmp_path):
    govern("govern", "rollback", "actions", "--reason", "to try again")
    data = tmp_path / "rows3.parquet"
    assert govern(*TRAIN, "--data", data, "--seed", "7", "--json").document["promoted"]
    before = (tmp_path / "models" / "current" / "actions").resolve()
    config = searched["governance"]["candidate"]
    assert "not in production" in govern("govern", "promote", config, code=2).err
    assert (tmp_path / "models" / "current" / "actions").resolve() == before


def test_what_passes_can_wait_for_an_approver_who_did_not_propose_it(govern, tmp_path):
    data = actions(tmp_path, n=43_000)
    govern("review", "import", reviews(tmp_path), "--name", "actions")
    words = (*TRAIN, "--data", data, *SEARCH, "--await-approval", "--json")
    found = govern(*words).document["governance"]
    assert (found["verdict"], found["promoted"], found["awaits_approval"]) == ("PASS", False, True)
    people = People(GovernanceStore(tmp_path / STORE, lambda: datetime.now(UTC)))
    for name, role in ((user(), "approver"), ("pat", "approver"), ("ben", "reviewer")):
        people.add(name, role, "a password of some length")
    promote = ("govern", "promote", found["candidate"])
    assert "nobody approves an own proposal" in govern(*promote, code=2).err
    assert "ben may not act as approver" in govern(*promote, "--as", "ben", code=2).err
    done = govern(*promote, "--as", "pat", "--reason", "fewer are missed", "--json").document
    assert done["by"] == "pat"
    last = govern("govern", "history", "--json").document["moves"][-1]
    assert (last["actor"], last["reason"]) == ("pat", "fewer are missed")
    assert last["model_id"] == done["model_id"]


def test_a_waiver_is_recorded_and_is_no_number(govern, tmp_path):
    data = actions(tmp_path, n=43_000)
    words = (*TRAIN, "--data", data, *SEARCH, "--waive-agreement", "no reviewer yet", "--json")
    governance = govern(*words).document["governance"]
    line = next(c for c in governance["criteria"] if c["name"] == "Human agreement")
    assert line["verdict"] == "PASS"
    assert line["estimate"] is None
    assert line["note"] == "waived: no reviewer yet"
    assert governance["promoted"] is True
    report = govern("govern", "configs", governance["candidate"], "--json").document["reports"][-1]
    assert report["waiver"] == "no reviewer yet"


@pytest.mark.usefixtures("searched")
def test_searches_and_their_trials_are_shown(govern):
    (study,) = govern("govern", "search", "--json").document["searches"]
    assert study["trials"] == "5 of 5"
    trials = govern("govern", "search", study["study_id"], "--json").document["trials"]
    assert len(trials) == 5
    assert "RECALL" in govern("govern", "search", study["study_id"]).out


def test_what_is_in_production_cannot_be_rejected_and_what_is_deprecated_neither(govern, searched):
    for key in ("candidate", "configuration_id"):
        words = ("govern", "move", searched["governance"][key], "rejected", "--reason", "x")
        assert "cannot become" in govern(*words, code=2).err


def test_a_candidate_can_be_rejected_once(govern):
    words = ("train", "--model-type", "heuristic", "--num-samples", "600", "--enable-phase89")
    data = govern(*words, "--promotion-min-accuracy", ".999", "--json").document
    config = data["governance"]["configuration_id"]
    govern("govern", "move", config, "rejected", "--reason", "too few rows")
    again = govern("govern", "move", config, "shadow", "--reason", "after all", code=2)
    assert "cannot become shadow" in again.err
    (listed,) = govern("govern", "configs", "--json").document["configurations"]
    assert listed["status"] == "rejected"


@pytest.mark.usefixtures("searched")
def test_the_store_is_looked_after(govern):
    assert "schema 0002" in govern("govern", "db", "check").out
    assert govern("govern", "db", "upgrade", "--json").document["had"] == "0002"
    exported = govern("govern", "db", "export", "--json").document
    assert len(exported["trial"]) == 5
    assert len(exported["reviewed_case"]) == 400


def test_reviews_used_for_training_do_not_count(govern, tmp_path):
    path = reviews(tmp_path, used_for_training=[True] * 400)
    govern("review", "import", path, "--name", "actions")
    data = actions(tmp_path)
    done = govern(*TRAIN, "--data", data, "--enable-phase89", "--json").document
    assert done["governance"]["human_agreement"] is None


def test_agreement_weighs_cases_by_how_likely_they_were_drawn(govern, tmp_path):
    path = reviews(tmp_path, inclusion_probability=np.full(400, 0.5), stratum=["gray"] * 400)
    govern("review", "import", path, "--name", "actions")
    done = govern(*TRAIN, "--data", actions(tmp_path), "--enable-phase89", "--json").document
    assert 0.85 < done["governance"]["human_agreement"] < 1


BAD_REVIEWS = {
    "no id": lambda t: t.drop_columns(["case_id"]),
    "no label": lambda t: t.drop_columns(["label"]),
    "probability": lambda t: t.append_column("inclusion_probability", pa.array([2.0] * 400)),
    "twice": lambda t: pa.concat_tables([t, t.slice(0, 1)]),
    "labels": lambda t: t.drop_columns(["label"]).append_column("label", pa.array(["x"] * 400)),
}


@pytest.mark.parametrize("case", BAD_REVIEWS)
def test_bad_reviews_are_refused_whole(govern, tmp_path, case):
    path = reviews(tmp_path)
    pq.write_table(BAD_REVIEWS[case](pq.read_table(path)), tmp_path / "bad.parquet")
    govern("review", "import", "bad.parquet", "--name", "actions", code=4)
    assert (
        not (tmp_path / STORE / "governance.db").exists()
        or not json.loads(govern("govern", "db", "export", "--json").out)["reviewed_case"]
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--optimize-config",), "--enable-phase89"),
        (("--waive-agreement", "x"), "--enable-phase89"),
        (("--phase89-storage", "x"), "--enable-phase89"),
        (("--enable-phase89", "--optimization-iterations", "5"), "--optimize-config"),
        (("--enable-phase89", "--workers", "2"), "--optimize-config"),
        (("--enable-phase89", "--optimize-config", "--optimization-iterations", "0"), "is 0"),
        (("--enable-phase89", "--optimize-config", "--optimization-iterations", "-1"), "is -1"),
        (("--enable-phase89", "--optimize-config", "--workers", "0"), "--workers is 0"),
        (("--enable-phase89", "--optimize-config", "--optimization-technique", "luck"), "luck"),
        (("--enable-phase89", "--waive-agreement", " "), "no reason"),
    ],
)
def test_flags_that_do_not_fit_train_nothing(govern, tmp_path, words, told):
    done = govern("train", "--model-type", "heuristic", *words, code=2)
    assert told in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("configs", "cfg_nothing"),
        ("promote", "cfg_nothing"),
        ("gate", "cfg_nothing", "--data", "x.csv"),
        ("search", "nothing"),
        ("move", "cfg_nothing", "shadow", "--reason", "x"),
        ("rollback", "nothing", "--reason", "x"),
    ],
)
def test_what_is_not_there_is_a_usage_error(govern, words):
    govern("govern", *words, code=2)


def test_a_store_that_is_none_stops_a_run_before_it_trains(govern, tmp_path):
    (tmp_path / STORE).mkdir()
    (tmp_path / STORE / "governance.db").write_text("this is no database, and long enough " * 99)
    words = ("train", "--model-type", "heuristic", "--num-samples", "600", "--enable-phase89")
    govern(*words, code=6)
    assert not (tmp_path / "models").exists()


def test_a_store_of_a_newer_release_stops_a_run_before_it_trains(govern, tmp_path):
    words = ("train", "--model-type", "heuristic", "--num-samples", "600", "--enable-phase89")
    govern(*words)
    path = tmp_path / STORE / "governance.db"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE nethical_schema SET version_num = '9999'")
    db.close()
    before = path.read_bytes()
    assert "schema 9999" in govern(*words, "--seed", "1", code=5).err
    assert path.read_bytes() == before
    assert len(list((tmp_path / "models" / "versions").iterdir())) == 1


def test_the_example_ends_in_a_promotion(tmp_path):
    import os
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "promote_a_configuration.py"],
        cwd=tmp_path,
        env={**os.environ, "NETHICAL_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shares(done.stdout, SHOWN) is None, (shares(done.stdout, SHOWN), done.stdout)
    assert "Promotion gate: PASSED" in done.stdout
    assert "Configuration promoted successfully" in done.stdout
    (rows,) = re.findall(
        r"Human agreement: 0\.\d+ >= 0\.85 \(bound 0\.\d+, n = (\d+)\)", done.stdout
    )
    assert int(rows) > 300
