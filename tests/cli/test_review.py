"""The review queue from the command line: filled by scoring and training, answered, released."""

import csv
import json
import os
import pty
import random
import re
import select
import shutil
import sys
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from nethical.governance.people import People
from nethical.governance.queue import ReviewQueue
from nethical.governance.reviews import Answer
from nethical.governance.store import GovernanceStore
from nethical.keys import Keys

STORE = "training_governance_data"
PHRASE = "correct horse battery"


def write_payments(path, n, seed):
    rng = random.Random(seed)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["payment_id", "amount", "country", "is_fraud"])
        for number in range(n):
            amount, country = round(rng.lognormvariate(4, 1), 2), rng.choice(["DE", "FR", "<b>"])
            risk = (amount > 60) + 0.5 * (country == "FR") - 0.4
            out.writerow([f"p{seed}-{number:05}", amount, country, int(rng.random() < risk)])


@pytest.fixture
def review(command, tmp_path):
    """Run a command; one that is refused says so in two lines."""

    def run(*words, code=0, **settings):
        done = command(*words, cwd=tmp_path, **settings)
        assert done.code == code, (done.err, done.out)
        if code:
            lines = done.err.splitlines()
            assert [line.partition(":")[0] for line in lines] == ["error", "mend"]
        return done

    return run


@pytest.fixture(scope="module")
def models(tmp_path_factory, command):
    """A folder with a model in production, and rows to score."""
    folder = tmp_path_factory.mktemp("models")
    write_payments(folder / "payments.csv", 3000, 1)
    write_payments(folder / "june.csv", 1500, 2)
    words = "train --model-type logistic --data payments.csv --name payments --threads 1 --json"
    done = command(*words.split(), cwd=folder)
    assert done.code == 0, done.err
    (folder / "model").symlink_to(folder / done.document["model_path"])
    return folder


@pytest.fixture(scope="module")
def few(models, command):
    """A store with a few cases of each kind."""
    words = ("--review", "--review-limit", "4", "-o", "scores.csv")
    done = command("predict", (models / "model").resolve(), "june.csv", *words, cwd=models)
    assert done.code == 0, done.err
    return models / STORE


@pytest.fixture
def filled(review, few, tmp_path):
    """A queue of a few cases of each kind."""
    shutil.copytree(few, tmp_path / STORE)
    return review


def predict(review, models, folder, *more, code=0):
    words = ("predict", (models / "model").resolve(), models / "june.csv")
    return review(*words, "-o", folder / "scores.csv", "--review", *more, "--json", code=code)


def now():
    return datetime.now(UTC)


def store_of(folder):
    return GovernanceStore(folder / STORE, now)


def people_of(folder):
    return People(store_of(folder))


def close_all(folder, word="block"):
    """Let two people answer everything alike; return the ids."""
    queue = ReviewQueue(store_of(folder), now)
    ids = [line.case_id for line in queue.listed("open")]
    for who in ("ada", "bob"):
        for case_id in ids:
            queue.answer(case_id, who, Answer(word))
    return ids


def logged(folder):
    """Everything that the audit log of a folder holds, as text."""
    entries = (folder / "training_audit_logs").rglob("entries/**/*")
    return b"".join(file.read_bytes() for file in entries if file.is_file()).decode(
        "utf-8", "replace"
    )


# --- the queue is filled


def test_scoring_fills_the_queue_once_and_says_how_many_of_how_many(review, models, tmp_path):
    first = predict(review, models, tmp_path, "--review-rate", "0.05", "--review-limit", "30")
    told = first.document["review"]
    assert told["most"] == 30
    assert told["drawn"]["gray"]["taken"] <= 30
    assert told["entered"] == sum(one["taken"] for one in told["drawn"].values())
    assert re.search(r"Review queue: \d+ new cases \(\d+ of \d+ rows of the gray zone", first.err)
    assert sum(one["seen"] for one in told["drawn"].values()) == 1500
    again = predict(review, models, tmp_path, "--review-rate", "0.05", "--review-limit", "30")
    assert again.document["review"] == {**told, "entered": 0}
    listed = review("review", "list", "--json").document
    assert listed["counts"] == {"open": told["entered"], "adjudicating": 0, "closed": 0}


def test_scoring_without_review_touches_no_store(review, models, tmp_path):
    words = ("predict", (models / "model").resolve(), models / "june.csv", "-o", "out.csv")
    assert review(*words, "--json").document["review"] is None
    assert not (tmp_path / STORE).exists()
    for flag in (("--review-rate", "0.5"), ("--review-limit", "3"), ("--phase89-storage", "x")):
        assert "without --review" in review(*words, *flag, code=2).err
    assert review(*words, "--review", "--review-rate", "0", code=2)
    assert review(*words, "--review", "--review-limit", "0", code=2)


def test_a_store_that_cannot_be_used_stops_scoring_before_anything_is_written(
    review, models, tmp_path
):
    (tmp_path / "file").write_text("x")
    predict(review, models, tmp_path, "--phase89-storage", tmp_path / "file", code=5)
    assert not (tmp_path / "scores.csv").exists()


def test_a_governed_run_asks_about_its_gate_rows_and_logs_it(review, models, tmp_path):
    words = "train --model-type heuristic --name payments --enable-phase89 --enable-audit"
    done = review(*words.split(), "--data", models / "payments.csv")
    assert "Review queue: " in done.out
    assert "reviews_asked" in logged(tmp_path)
    assert review("review", "list", "--json").document["counts"]["open"] > 20


def test_an_event_log_is_not_reviewed(review):
    words = "train --model-type correlation --num-samples 5000 --enable-phase89 --threads 1"
    done = review(*words.split())
    assert "Configuration ID" in done.out
    assert "Review queue" not in done.out


# --- people answer


def test_a_case_is_claimed_answered_adjudicated_and_shown(filled):
    claimed = filled("review", "claim", "--as", "ada")
    assert "It is yours until" in claimed.out
    assert not re.search(r"probability|gray|review\b|allow|block", claimed.out)
    case_id = claimed.out.split()[0]
    document = filled("review", "claim", "--as", "ada", "--json").document
    assert document["case"]["case_id"] == case_id
    assert document["case"]["model"] is None
    tags = ("--tag", "edge_case", "--tag", "policy_gap", "--confidence", "0.6")
    why = ("--rationale", "why\n  the model says: allow")
    shown = filled("review", "submit", "--as", "ada", "--decision", "block", *why, *tags)
    assert "the model payments_" in shown.out
    assert filled("review", "claim", "--as", "bob", "--json").document["case"]["case_id"] == case_id
    done = filled("review", "submit", case_id, "--as", "bob", "--decision", "allow", "--json")
    assert done.document["state"] == "adjudicating"
    assert done.document["answers"] == []
    listed = filled("review", "list", "--state", "adjudicating", "--as", "cy").out
    assert f"{case_id}  payments  adjudicating  2 of 2" in listed
    assert "adjudicate" in listed.splitlines()[1]
    seen = filled("review", "list", case_id, "--as", "cy").out
    assert "ada: block. why the model says: allow\n" in seen
    assert "probability" not in seen
    refused = filled("review", "adjudicate", case_id, "--as", "ada", "--decision", "allow", code=2)
    assert "ada answered" in refused.err
    closed = filled("review", "adjudicate", case_id, "--as", "cy", "--decision", "allow", "--json")
    assert (closed.document["state"], closed.document["label"]) == ("closed", False)
    assert closed.document["own"] is None
    listed = filled("review", "list", "--state", "closed").out
    assert re.search(rf"{case_id} .* allow$", listed, re.MULTILINE)


def test_nothing_is_submitted_that_was_not_claimed(filled):
    assert (
        "has claimed no case"
        in filled(*"review submit --as ada --decision allow".split(), code=2).err
    )
    filled("review", "submit", "case_none", "--as", "ada", "--decision", "allow", code=2)
    filled("review", "list", "case_none", code=2)
    filled(*"review submit --as ada --decision allow --tag nice".split(), code=2)
    filled(*"review claim --as a/b".split(), code=2)


def test_a_claim_is_given_back(filled):
    case_id = filled("review", "claim", "--as", "ada", "--json").document["case"]["case_id"]
    filled("review", "claim", "--give-back", case_id, "--as", "bob", code=2)
    filled("review", "claim", "--give-back", case_id, "--as", "ada")
    assert filled("review", "claim", "--as", "bob", "--json").document["case"]["case_id"] == case_id


def test_an_empty_queue_says_so(review):
    assert "Nothing waits for ada" in review("review", "claim", "--as", "ada").out
    assert review("review", "claim", "--as", "ada", "--json").document["case"] is None
    assert "shown 0" in review("review", "list").out
    assert review("review", "stats", "--json").document["agreement"] is None
    assert "0 open, 0 adjudicating, 0 closed; 0 overdue" in review("review", "stats").out


def test_figures_are_printed_for_people_and_programs(filled, tmp_path):
    ids = close_all(tmp_path)
    out = filled("review", "stats").out
    assert f"{len(ids)} closed; 0 overdue" in out
    assert re.search(r"Two people agree: 1\.000 \[0\.\d+, 1\.000\]; alpha unknown; AC1", out)
    assert re.search(r"ada +\d+ +0 +1\.000", out)
    found = filled("review", "stats", "--json").document
    assert found["agreement"]["n"] == len(ids)
    assert found["agreement"]["alpha"]["estimate"] is None
    assert set(found["reviewers"]) == {"ada", "bob"}


def test_what_is_done_is_logged_without_anybody_s_own_words(filled, tmp_path):
    filled("review", "claim", "--as", "ada")
    words = ("--as", "ada", "--decision", "unsure", "--rationale", "very private words")
    words += ("--tag", "edge_case", "--enable-audit", "--json")
    given = filled("review", "submit", *words, env={"NETHICAL_HOME": str(tmp_path / "keys")})
    log = logged(tmp_path)
    answer = Answer("unsure", ("edge_case",), "very private words")
    key = Keys(tmp_path / "keys").row_key()
    assert answer.sealed(given.document["case_id"], key) in log
    assert "review submit" in log
    for word in ("private", "unsure", "edge_case"):
        assert word not in log


def test_an_adjudication_is_logged_with_its_decision(filled, tmp_path):
    for who, decision in (("ada", "allow"), ("bob", "unsure")):
        case_id = filled("review", "claim", "--as", who, "--json").document["case"]["case_id"]
        filled("review", "submit", "--as", who, "--decision", decision)
    words = (case_id, "--as", "cy", "--decision", "block", "--enable-audit")
    filled("review", "adjudicate", *words)
    assert '"decision":"block"' in logged(tmp_path)


def test_no_password_of_a_database_is_logged(filled, tmp_path):
    url = f"sqlite:///{tmp_path}/training_governance_data/governance.db"
    filled("review", "claim", "--as", "ada", "--enable-audit", "--phase89-storage", url)
    assert url in logged(tmp_path)
    where = "nobody+nothing://ada:my/word@host/reviews?password=my-word"
    words = ("--as", "ada", "--enable-audit", "--phase89-storage", where)
    refused = filled("review", "claim", *words, code=2)
    assert "nobody+nothing://ada:***@host/reviews" in logged(tmp_path)
    for word in ("my-word", "my/word"):
        assert word not in refused.err + logged(tmp_path)


def test_what_is_wrong_with_an_answer_is_not_logged(filled, tmp_path):
    filled("review", "claim", "--as", "ada", "--enable-audit")
    words = ("--as", "ada", "--decision", "block", "--enable-audit")
    filled("review", "submit", *words, "--tag", "policy_gapp", code=2)
    filled("review", "submit", *words, "--confidence", "1.75", code=2)
    for word in ("review submit", "policy_gapp", "1.75"):
        assert word not in logged(tmp_path)


def test_an_answer_that_cannot_be_logged_is_not_kept(filled, tmp_path):
    home = tmp_path / "home"
    case_id = filled("review", "claim", "--as", "ada", "--json").document["case"]["case_id"]
    home.mkdir(mode=0o700)
    (home / "row.key").write_bytes(b"short")
    (home / "row.key").chmod(0o600)
    env = {"NETHICAL_HOME": str(home)}
    words = ("review", "submit", "--as", "ada", "--decision", "block")
    filled(*words, "--enable-audit", env=env, code=6)
    assert filled("review", "list", case_id, "--as", "ada", "--json").document["own"] is None
    filled(*words, env=env)  # nothing is logged, so no key is needed


# --- people


def test_people_are_added_listed_and_disabled(review, tmp_path):
    people = people_of(tmp_path)
    people.add("ada", "approver", PHRASE)
    people.add("bob", "viewer", PHRASE)
    people.add("rita", "reviewer", PHRASE)
    listed = review("review", "users", "list", "--json")
    assert [(p["name"], p["role"]) for p in listed.document["people"]] == [
        ("ada", "approver"),
        ("bob", "viewer"),
        ("rita", "reviewer"),
    ]
    assert "argon2" not in listed.out
    assert review("review", "claim", "--as", "ada")
    report = "report none.csv --model none --as"
    for words in (
        *("claim --as bob", "claim --as eve", "expire --days 1 --as ada", "list --as eve"),
        *(f"{report} bob", f"{report} rita --severity emergency"),
    ):
        assert "may not act as" in review("review", *words.split(), code=2).err
    assert "ada is disabled" in review("review", "users", "disable", "ada").out
    review("review", "claim", "--as", "ada", code=2)
    review("review", "users", "disable", "eve", code=2)


def typed(answers, folder, *words):
    """Run a command at a terminal of its own, and answer what it asks."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "nethical.cli.main", *words])  # noqa: S606 - no shell is wanted
    seen, left = b"", list(answers)
    while select.select([terminal], [], [], 60)[0]:
        try:
            part = os.read(terminal, 1000)
        except OSError:  # the other side is closed
            break
        seen += part
        if left and part.endswith((b"ada: ", b"more: ")):
            os.write(terminal, left.pop(0) + b"\n")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


def test_a_password_is_asked_for_twice_and_never_shown(tmp_path):
    words = "review users add ada --role reviewer".split()
    code, seen = typed([PHRASE.encode()] * 2, tmp_path, *words)
    assert code == 0, seen
    assert PHRASE not in seen
    assert people_of(tmp_path).check("ada", PHRASE).role == "reviewer"
    code, seen = typed(
        [PHRASE.encode(), b"something else"], tmp_path, *words[:3], "ada", *words[4:]
    )
    assert code == 2
    assert "the two passwords differ" in seen


def test_what_tells_of_strata_and_what_answers_for_others_is_for_an_approver(filled, tmp_path):
    people = people_of(tmp_path)
    people.add("ada", "reviewer", PHRASE)
    people.add("cy", "approver", PHRASE)
    filled("review", "export", "-o", "tasks.json", "--as", "ada")
    words = ("review", "import", "tasks.json", "--name", "payments", "--label-studio")
    for action in (("review", "stats"), words):
        assert "may not act as approver" in filled(*action, "--as", "ada", code=2).err
        filled(*action, "--as", "cy")


# --- in and out


def test_labels_are_released_once_and_then_judge_no_model(review, models, tmp_path):
    predict(review, models, tmp_path, "--review-limit", "20", "--review-rate", "0.2")
    close_all(tmp_path)
    made = review("review", "release", "payments", "--share", "1", "-o", "out/labels.parquet")
    assert "these cases judge no model any more" in made.out
    table = pq.read_table(tmp_path / "out" / "labels.parquet")
    assert {"amount", "country", "label", "sample_weight", "case_id"} == set(table.column_names)
    (listed,) = review("review", "release", "--json").document["releases"]
    assert (listed["rows"], listed["name"]) == (table.num_rows, "payments")
    assert listed["release_id"] in review("review", "release").out
    again = review("review", "release", "payments", "--share", "1", "--json").document
    assert again["release_id"] == listed["release_id"]
    review("review", "release", "other", code=2)
    review("review", "release", "-o", "x.parquet", code=2)
    exported = json.loads(review("govern", "db", "export", "--json").out)
    assert all(case["used_for_training"] for case in exported["review_case"])


def test_tasks_go_out_and_answers_come_in(filled, tmp_path):
    done = filled("review", "export", "-o", "tasks.json", "--state", "open", "--json").document
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert len(tasks) == done["tasks"] > 4
    assert not re.search(r"probability|gray|payments_", (tmp_path / "tasks.json").read_text())
    choice = {"from_name": "decision", "type": "choices", "value": {"choices": ["block"]}}
    for task in tasks:
        task["annotations"] = [
            {"completed_by": {"email": f"{who}@example.org"}, "result": [choice]}
            for who in ("di", "ed")
        ]
    (tmp_path / "done.json").write_text(json.dumps(tasks))
    words = ("review", "import", "done.json", "--name", "payments", "--label-studio", "--json")
    found = filled(*words).document
    assert (found["entered"], found["answered"]) == (0, 2 * len(tasks))
    assert filled("review", "list", "--json").document["counts"]["closed"] == len(tasks)
    refused = filled(*words, "--reviewer", "flo").document["refused"]
    assert len(refused) == 2 * len(tasks)
    filled("review", "export", "-o", "tasks.csv", code=2)
    (tmp_path / "bad.json").write_text("{")
    filled("review", "import", "bad.json", "--name", "x", "--label-studio", code=4)
    filled("review", "import", "none.json", "--name", "x", "--label-studio", code=4)
    filled("review", "import", "done.json", "--name", "x", "--reviewer", "flo", code=2)


def test_old_features_are_deleted(filled):
    n = filled("review", "list", "--json").document["counts"]["open"]
    assert filled("review", "expire", "--days", "1", "--json").document == {"expired": 0}
    assert filled("review", "expire", "--days", "0", "--json").document == {"expired": n}
    (first, *_) = filled("review", "list", "--json").document["cases"]
    assert "the features are deleted" in filled("review", "list", first["case_id"]).out
    filled("review", "expire", "--days", "-1", code=2)


# --- what people look at whatever the model said


def test_reported_rows_are_asked_about_first_and_count_in_no_agreement(filled, models, tmp_path):
    lines = (models / "june.csv").read_text().splitlines()
    (tmp_path / "complaints.csv").write_text("\n".join([lines[0], *lines[-3:]]) + "\n")
    words = ("review", "report", "complaints.csv", "--model", (models / "model").resolve())
    told = filled(*words, "--severity", "emergency", "--json").document
    assert told["entered"] + told["known"] == 3
    assert told["severity"] == "EMERGENCY"
    again = filled(*words, "--json").document
    assert (again["entered"], again["known"]) == (0, 3)
    claimed = filled("review", "claim", "--as", "ada", "--json").document
    amounts = {float(line.split(",")[1]) for line in lines[-3:]}
    assert claimed["case"]["features"]["amount"] in amounts
    assert claimed["case"]["is_emergency"] is True
    assert claimed["case"]["model"] is None


def test_rows_that_a_model_in_shadow_decides_otherwise_are_asked_about(review, models):
    train = ("train", "--model-type", "heuristic", "--data", models / "payments.csv")
    first = review(*train, "--name", "payments", "--enable-phase89", "--json").document
    other = ("--parameter", "penalty=40", "--num-samples", "600", "--seed", "5")
    second = review(*train, "--name", "payments", "--enable-phase89", *other, "--json").document
    config = second["governance"]["configuration_id"]
    assert config != first["governance"]["configuration_id"]
    review("govern", "move", config, "shadow", "--reason", "to compare")
    words = ("-o", "scores.csv", "--review", "--json")
    done = review("predict", first["model_id"], models / "june.csv", *words)
    assert f"{second['model_id']} is in shadow" in done.err
    drawn = done.document["review"]["drawn"]["disagreement"]
    assert 0 < drawn["taken"] <= drawn["seen"] < 1500
