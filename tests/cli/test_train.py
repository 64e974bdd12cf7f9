import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from nethical import load
from nethical.data import synthetic
from nethical.keys import Keys

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "training" / "train_any_model.py"
FAST = ("--model-type", "heuristic", "--num-samples", "600")


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str


def published(folder):
    """The files and folders of a registry that a reader could take for a model."""
    return [path for part in ("versions", "current") for path in (folder / part).glob("*")]


def leftovers(folder):
    return list(folder.rglob(".tmp-*"))


def check_two_lines(finished, code):
    lines = finished.err.splitlines()
    assert finished.code == code, finished.err
    assert len(lines) == 2, finished.err
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("mend: ")
    assert all(len(line) > 12 for line in lines)


# --- what the first command of the request does -------------------------------------------------


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The first command as it was written, by the script's path, from another folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    words = "--model-type heuristic --epochs 10 --num-samples 1000".split()
    done = subprocess.run(
        [sys.executable, SCRIPT, *words],
        cwd=folder,
        env={**os.environ, "NETHICAL_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    return folder, done


def test_the_first_command_passes_and_publishes_to_models_current(first):
    folder, done = first
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    current = folder / "models" / "current" / "heuristic"
    assert current.is_symlink()
    assert not os.path.isabs(current.readlink())  # noqa: PTH117 - of the link, not its target
    model = load(current, keys=Keys(folder / "home"))
    assert (model.name, model.model_type) == ("heuristic", "heuristic")
    assert sorted(p.name for p in folder.iterdir()) == ["home", "models"]


def test_the_first_command_prints_the_promised_lines(first):
    lines = first[1].stdout.splitlines()
    for text in ("Promotion Gate: PASS", "✓ ECE <= 0.08: ", "✓ Accuracy >= 0.85: "):
        assert sum(text in line for line in lines) == 1, text
    at_the_margin = [line for line in lines if not line.startswith("  ")]
    assert at_the_margin
    assert all(line.startswith(("[INFO] ", "[WARN] ")) for line in at_the_margin)
    warnings = [line for line in lines if line.startswith("[WARN] ")]
    assert sum("synthetic" in line for line in warnings) == 1


def test_parts_that_are_off_print_nothing(first):
    for text in ("Merkle root:", "Drift Report ID:", "Training cohort ID:", "audit logging"):
        assert text not in first[1].stdout


def test_the_bundle_holds_what_was_promised(first):
    bundle = first[0] / "models" / "current" / "heuristic"
    names = {path.name for path in bundle.iterdir()}
    promised = {"model.json", "metrics.json", "scores.parquet", "rows.parquet", "card.md"}
    assert promised | {"run.json", "model.sig"} <= names
    record = json.loads((bundle / "run.json").read_text())
    assert record["plan"]["epochs"] == 10
    assert record["plan"]["batch_size"] == 32
    assert record["plan"]["seed"] == 42
    assert record["source"]["rows"] == 1000
    assert record["source"]["source"] == "synthetic:risk"
    assert "SYNTHETIC" in (bundle / "card.md").read_text()


def test_ten_thousand_rows_are_the_default(command, tmp_path):
    done = command("train", "--model-type", "heuristic", "--dry-run", "--json", cwd=tmp_path)
    assert sum(done.document["splits"]["parts"].values()) == 10_000


# --- what it prints and writes ------------------------------------------------------------------


def test_json_prints_one_document_and_nothing_else(command, tmp_path):
    done = command("train", *FAST, "--json", cwd=tmp_path)
    document = done.document
    keys = """run_id model_id model_type name verdict promoted model_path metrics intervals
        criteria source splits audit drift governance""".split()
    assert set(keys) <= set(document)
    assert "[INFO] Promotion Gate: " in done.err
    assert (document["audit"], document["drift"], document["governance"]) == (None, None, None)
    assert set(document["splits"]) == {"train", "calibrate", "gate"}
    assert {"accuracy", "precision", "recall", "f1", "ece", "roc_auc"} <= set(document["metrics"])
    assert all(len(interval) == 2 for interval in document["intervals"].values())
    fields = {"name", "estimate", "bound", "threshold", "n", "verdict"}
    assert all(set(criterion) == fields for criterion in document["criteria"])
    assert (tmp_path / document["model_path"] / "model.sig").exists()


def test_quiet_prints_warnings_and_the_verdict_only(command, tmp_path):
    lines = command("train", *FAST, "--quiet", cwd=tmp_path).out.splitlines()
    assert any("Promotion Gate: " in line for line in lines)
    assert not any(line.startswith(("[INFO] Loaded", "[INFO] Fitted")) for line in lines)
    assert any(line.startswith("[WARN] ") for line in lines)


def test_verbose_prints_every_fact_in_order(command, tmp_path):
    out = command("train", *FAST, "--verbose", cwd=tmp_path).out
    facts = [json.loads(line) for line in out.splitlines() if line.startswith("  {")]
    names = [fact["event_type"] for fact in facts]
    six = ["training_start", "data_loaded", "data_split", "training_completed"]
    six += ["validation_metrics", "model_saved"]
    assert [name for name in names if name in six] == six


def test_a_dry_run_writes_nothing(command, tmp_path):
    home = tmp_path / "home"
    work = tmp_path / "work"
    work.mkdir()
    done = command("train", *FAST, "--dry-run", cwd=work, env={"NETHICAL_HOME": str(home)})
    assert done.code == 0
    assert "Split (random): train 360" in done.out
    assert "Promotion Gate" not in done.out
    assert list(work.iterdir()) == []
    assert not home.exists()


def test_a_candidate_that_passed_is_told_why(command, tmp_path):
    folder = tmp_path / "models"
    command("train", "--model-type", "heuristic", "--num-samples", "1000", cwd=tmp_path)
    rows = ("--data", "sklearn:breast_cancer", "--model-type", "heuristic", "--json")
    done = command("train", *rows, "--models-dir", folder, cwd=tmp_path)
    assert (done.document["verdict"], done.document["promoted"]) == ("PASS", False)
    assert "other columns" in done.document["reason"]
    assert "pass --name" in done.err


def test_output_that_cannot_say_a_tick_is_no_error(command, tmp_path):
    done = command("train", *FAST, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert done.code == 0, done.err
    assert "\\u2713 Recall > 0: 1" in done.out or "\\u2713 Recall > 0: 0." in done.out


# --- repeating a run ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(command, tmp_path_factory):
    """A run on a file, to repeat."""
    folder = tmp_path_factory.mktemp("original")
    rows = synthetic.generate("risk", 700, seed=3).table.to_pylist()
    write_csv(folder / "rows.csv", rows)
    words = ("--model-type", "heuristic", "--seed", "7", "--data", "rows.csv", "--threshold", ".4")
    done = command("train", *words, "--json", cwd=folder)
    return folder, rows, folder / done.document["model_path"] / "run.json"


def write_csv(path, rows):
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def test_a_run_repeats_byte_equal(command, original):
    folder, _, record = original
    done = command("train", "--from-run", record, "--models-dir", "again", cwd=folder)
    assert done.code == 0, done.err
    for name in ("model.json", "metrics.json", "scores.parquet"):
        assert f"[INFO] {name}: byte-equal" in done.out
        again = next((folder / "again" / "versions").iterdir())
        assert (again / name).read_bytes() == (record.parent / name).read_bytes()
    assert "DIFFERENT" not in done.out


def test_parameters_are_shown_kept_and_repeated(command, tmp_path):
    words = ("train", *FAST, "--parameter", "n_bins=3", "--parameter", "penalty=1e1")
    given = {"n_bins": 3, "penalty": 10.0}
    shown = command(*words, "--dry-run", cwd=tmp_path)
    assert "[INFO] Parameters: n_bins 3, penalty 10.0" in shown.out
    told = json.loads(command(*words, "--dry-run", "--json", cwd=tmp_path).out)
    assert told["plan"]["parameters"] == given
    assert command(*words, cwd=tmp_path).code == 0
    first = next((tmp_path / "models" / "versions").iterdir())
    again = command("train", "--from-run", first / "run.json", "--models-dir", "b", cwd=tmp_path)
    assert again.code == 0, again.err
    assert "model.json: byte-equal" in again.out
    repeated = json.loads((next((tmp_path / "b" / "versions").iterdir()) / "run.json").read_text())
    assert repeated["plan"]["parameters"] == given
    steps = [
        len(t["edges"])
        for t in json.loads((first / "model.json").read_text())["model"]["card"]["terms"]
    ]
    assert max(steps) == 2


def test_a_run_on_other_rows_is_no_repetition(command, original, tmp_path):
    _, rows, record = original
    changed = [dict(row) for row in rows]
    changed[5]["severity_max"] = 0.123
    write_csv(tmp_path / "rows.csv", changed)
    for further in ((), ("--dry-run",)):
        done = command("train", "--from-run", record, *further, cwd=tmp_path)
        check_two_lines(done, 4)
        assert "digest" in done.err
        assert "Fitted" not in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_repeated_run_takes_no_other_plan(command, original):
    folder, _, record = original
    for further in (
        ("--seed", "8"),
        ("--threshold", ".5"),
        ("--positive-label", "1"),
        ("--parameter", "penalty=1"),
    ):
        done = command("train", "--from-run", record, *further, cwd=folder)
        check_two_lines(done, 2)
        assert further[0] in done.err


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "a,b\n1,2\n",
        '{"plan": {}}',
        '{"plan": {"model_type": "heuristic", "seed": "x"}, "source": {"digest": "sha256:0"}}',
        '{"plan": {"model_type": "heuristic"}}',
    ],
)
def test_a_file_that_is_no_run_is_named_so(command, tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    done = command("train", "--from-run", "run.json", cwd=tmp_path)
    check_two_lines(done, 4)
    assert "is no run.json" in done.err


# --- exit codes ---------------------------------------------------------------------------------


def test_a_refusal_is_an_exit_code_only_when_asked(command, tmp_path):
    words = ("train", *FAST, "--promotion-min-accuracy", ".999")
    assert command(*words, cwd=tmp_path).code == 0
    done = command(*words, "--fail-on-refusal", cwd=tmp_path)
    check_two_lines(done, 3)
    assert len(list((tmp_path / "models" / "candidates").iterdir())) == 2
    assert list((tmp_path / "models" / "current").iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("--engine", "dask"),
        ("--engine-address", "tcp://x"),
        ("--memory", "1G"),
    ],
)
def test_a_flag_of_an_absent_part_is_refused(command, tmp_path, words):
    done = command("train", *FAST, *words, cwd=tmp_path)
    check_two_lines(done, 2)
    assert f"error: {words[0]}: " in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("abbreviation", ["--num", "--promotion-max", "--enable", "--jso"])
def test_abbreviations_are_refused(command, tmp_path, abbreviation):
    done = command("train", "--model-type", "heuristic", abbreviation, "500", cwd=tmp_path)
    check_two_lines(done, 2)
    assert abbreviation in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_publishes_nothing(command, tmp_path, number):
    out = tmp_path / "out"
    words = ("train", "--model-type", "heuristic", "--num-samples", "2000000")
    with command.started(*words, cwd=tmp_path, stdout=out) as (pid, wait):
        command.until_printed("Training", out)
        os.kill(pid, number)
        done = wait()
    check_two_lines(done, 130)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_the_package_the_script_says_how_to_install_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-S", "-E", SCRIPT, "--model-type", "heuristic"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    assert done.returncode not in {0, 130}
    assert len(lines) == 2
    assert lines[0].startswith("error: nethical is not installed")
    assert lines[1].startswith("mend: ")
    assert "pip install" in lines[1]


# --- bad input: two lines, the right code, nothing left behind ----------------------------------


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder of files that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = random.Random(1)
    rows = [
        f"{rng.random():.4f},{rng.choice('abc')},2026-01-{i % 28 + 1:02},{int(rng.random() < 0.5)}"
        for i in range(300)
    ]
    head = "x,kind,day,label"

    def label(value):
        return [f"{row[:-1]}{value(row[-1])}" for row in rows]

    tables = {
        "good": rows,
        "header_only": [],
        "ragged": [*rows[:20], "0.5,a,2026-01-01,1,9", *rows[20:]],
        "one_class": label(lambda _: "1"),
        "no_label_value": label(lambda _: ""),
        "nan_label": label(lambda _: "NaN"),
        "three": label(lambda old: rng.choice(["low", "mid", old])),
        "few": rows[:4],
        "other_label": label(lambda old: old + "7"),
        "unlabelled": label(lambda _: ""),
    }
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join([head, *lines]) + "\n")
    text = (folder / "good.csv").read_text()
    (folder / "no_label.csv").write_text(text.replace("label", "outcome"))
    (folder / "only_label.csv").write_text("label\n" + "1\n0\n" * 100)
    (folder / "twice.csv").write_text(text.replace("kind", "x"))
    (folder / "words.csv").write_text(head + "\n" + "\n".join(f"word{row}" for row in rows) + "\n")
    (folder / "empty.csv").write_bytes(b"")
    (folder / "blank.csv").write_bytes(b"\n\n\n")
    (folder / "binary.csv").write_bytes(bytes(range(256)) * 20)
    (folder / "latin.csv").write_bytes(text.replace(",a,", ",café,").encode("latin-1"))
    (folder / "utf16.csv").write_bytes(text.encode("utf-16"))
    (folder / "torn.parquet").write_bytes(b"PAR1" + b"x" * 50)
    (folder / "odd.xyz").write_text(text)
    (folder / "bare").mkdir()
    (folder / "bare" / "notes.md").write_text("no table")
    (folder / "unlike").mkdir()
    (folder / "unlike" / "a.csv").write_text(text)
    (folder / "unlike" / "b.csv").write_text("p,q\n1,2\n")
    return folder


def of(name, *further):
    return ("--data", f"{{inputs}}/{name}", *further)


GOOD = of("good.csv")
BAD_DATA = {
    "missing": (of("nowhere.csv"), "does not exist"),
    "a name too long for the disk": (of("n" * 300 + ".csv"), "too long"),
    "a folder without tables": (of("bare"), "holds no table"),
    "a folder of unlike tables": (of("unlike"), "other columns"),
    "empty": (of("empty.csv"), "empty"),
    "blank lines": (of("blank.csv"), "empty"),
    "header only": (of("header_only.csv"), "no rows"),
    "binary": (of("binary.csv"), ""),
    "latin-1": (of("latin.csv"), "UTF-8"),
    "UTF-16": (of("utf16.csv"), ""),
    "a torn Parquet file": (of("torn.parquet"), ""),
    "no known format": (of("odd.xyz"), "format"),
    "ragged": (of("ragged.csv"), "ragged"),
    "two columns of one name": (of("twice.csv"), "'x'"),
    "no label": (of("no_label.csv"), "no label column"),
    "nothing but a label": (of("only_label.csv"), "no column is left"),
    "one class": (of("one_class.csv"), "one class"),
    "no label value": (of("no_label_value.csv"), "no value"),
    "every label NaN": (of("nan_label.csv"), "no value"),
    "three classes": (of("three.csv"), "classes"),
    "hardly any row": (of("few.csv"), ""),
    "a device": (("--data", "/dev/full"), "no regular file"),
    "words where numbers were asked for": ((*GOOD, "--column", "kind=numeric"), "'kind'"),
    "a time that is none": ((*GOOD, "--time-column", "kind"), "'kind'"),
    "a split column of other words": ((*GOOD, "--split-column", "kind"), "'kind'"),
    "test data that are missing": ((*GOOD, "--test-data", "none.csv"), "none.csv"),
    "test data of one class": ((*GOOD, "--test-data", "{inputs}/one_class.csv"), "one class"),
    "test data without labels": ((*GOOD, "--test-data", "{inputs}/unlabelled.csv"), "no labelled"),
    "test data of other labels": ((*GOOD, "--test-data", "{inputs}/other_label.csv"), "unknown"),
    "test data of other columns": ((*GOOD, "--test-data", "{inputs}/no_label.csv"), "'label'"),
    "test data of words": ((*GOOD, "--test-data", "{inputs}/words.csv"), "'x'"),
    "challenge data that are missing": ((*GOOD, "--challenge-data", "none.csv"), "none.csv"),
    "challenge data without labels": (
        (*GOOD, "--challenge-data", "{inputs}/unlabelled.csv"),
        "no labelled",
    ),
    "challenge data of words": ((*GOOD, "--challenge-data", "{inputs}/words.csv"), "'x'"),
    "no data and no fallback": (("--no-synthetic-fallback",), "no data"),
}
BAD_USE = {
    **{
        f"{flag} names no column": ((*GOOD, flag, value), "'nope'")
        for flag, value in {
            "--label-column": "nope",
            "--group-column": "nope",
            "--time-column": "nope",
            "--fairness-column": "nope",
            "--column": "nope=numeric",
            "--split-column": "nope",
            "--accept-leak": "nope",
            "--positive-label": "nope",
        }.items()
    },
    **{
        f"{flag} {value}": ((flag, value), flag)
        for flag, value in [
            ("--num-samples", "-5"),
            ("--num-samples", "0"),
            ("--num-samples", "many"),
            ("--num-samples", "9" * 18),
            ("--epochs", "0"),
            ("--epochs", "-1"),
            ("--epochs", "2.5"),
            ("--batch-size", "0"),
            ("--threads", "0"),
            ("--seed", "-1"),
            ("--seed", "x"),
            ("--seed", str(2**63)),
            ("--threshold", "0"),
            ("--threshold", "1.5"),
            ("--threshold", "nan"),
            ("--alert-budget", "-1"),
            ("--promotion-max-ece", "2"),
            ("--promotion-min-accuracy", "nan"),
            ("--promotion-min-accuracy", "high"),
            ("--split", "alphabetical"),
            ("--column", "x"),
        ]
    },
    "a name that is a path": (("--name", "../x"), "'../x'"),
    "a name that is empty": (("--name", ""), "''"),
    "a name that is too long": (("--name", "n" * 65), "nnn"),
    "a role that is none": ((*GOOD, "--column", "x=colour"), "'colour'"),
    "a column of two roles": ((*GOOD, "--column", "x=text", "--column", "x=id"), "'x'"),
    "two labels": ((*GOOD, "--label-column", "x", "--column", "kind=label"), "label"),
    "two group columns": ((*GOOD, "--column", "x=group", "--group-column", "kind"), "group"),
    "a split without its column": (("--split", "grouped"), "--group-column"),
    "a parameter without a value": (("--parameter", "n_bins"), "'n_bins'"),
    "a parameter that is none": (("--parameter", "colour=3"), "'colour'"),
    "a parameter out of range": (("--parameter", "n_bins=1"), "from 2 to 40"),
    "a parameter that is no number": (("--parameter", "penalty=nan"), "from 0.01 to 1000"),
    "a parameter of two values": (
        ("--parameter", "n_bins=3", "--parameter", "n_bins=4"),
        "'n_bins'",
    ),
    "a parameter of several types": (
        ("--model-type", "logistic,boosted", "--parameter", "penalty=3"),
        "--parameter is for one model",
    ),
    "two sources": ((*GOOD, "--kaggle-dataset", "a/b"), "one source"),
    "two gate parts": (
        (*GOOD, "--split-column", "kind", "--test-data", "{inputs}/good.csv"),
        "--test-data",
    ),
    "an unknown set of scikit-learn": (("--data", "sklearn:nope"), "'nope'"),
    "an unknown task": (("--data", "synthetic:nope"), "'nope'"),
    "an unknown knob": (("--data", "synthetic:risk,nope=1"), "'nope'"),
    "a stray word": (("stray",), "stray"),
    "an unknown flag": (("--nope",), "--nope"),
    "an unknown model type": (("--model-type", "magic"), "'magic'"),
}


def bad(command, words, folder, inputs):
    words = [word.replace("{inputs}", str(inputs)) for word in words]
    if "--data" not in words and "--num-samples" not in words:
        words = ["--num-samples", "300", *words]
    return command("train", "--model-type", "heuristic", *words, cwd=folder)


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_two_lines(command, tmp_path, inputs, case):
    words, expected = BAD_DATA[case]
    done = bad(command, words, tmp_path, inputs)
    check_two_lines(done, 4)
    assert expected in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_flags_are_two_lines(command, tmp_path, inputs, case):
    words, expected = BAD_USE[case]
    done = bad(command, words, tmp_path, inputs)
    check_two_lines(done, 2)
    assert expected in done.err
    assert list(tmp_path.iterdir()) == []


def test_what_came_from_data_cannot_command_the_terminal(command, tmp_path):
    escape = "\x1b[31m"
    rows = "\n".join(f"{i % 7},{i % 2},{i % 3}" for i in range(200))
    (tmp_path / "rows.csv").write_text(f"x{escape},label,y\n{rows}\n")
    done = command("train", "--model-type", "heuristic", "--data", "rows.csv", cwd=tmp_path)
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\\x1b[31m" in done.out


# --- where nothing can be written ---------------------------------------------------------------


@pytest.mark.parametrize("place", ["models", "models/versions", "models/current"])
def test_a_file_in_the_way_of_the_models_folder_is_an_error_before_training(
    command, tmp_path, place
):
    blocked = tmp_path / place
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("mine")
    done = command("train", *FAST, cwd=tmp_path)
    check_two_lines(done, 5)
    assert str(Path(place).name) in done.err
    assert "Fitted" not in done.out
    assert blocked.read_text() == "mine"


@pytest.mark.parametrize("folder", ["/dev/full", "/dev/null/models", "n" * 300])
def test_an_impossible_models_folder_is_an_error_before_training(command, tmp_path, folder):
    done = command("train", *FAST, "--models-dir", folder, cwd=tmp_path)
    check_two_lines(done, 5)
    assert "Fitted" not in done.out
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def bound():
    """Run a command that must obey permissions, even where the tests run as root."""
    bound = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root obeys no permissions without setpriv")
        dropped = "--bounding-set=-dac_override,-dac_read_search"
        bound = ["setpriv", dropped, "--inh-caps=-all", "--"]

    def run(*words, cwd):
        command = [*bound, sys.executable, "-m", "nethical.cli.main", "train", *words]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


def test_a_models_folder_without_rights_is_an_error_before_training(bound, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models").chmod(0o555)
    done = bound(*FAST, cwd=tmp_path)
    check_two_lines(done, 5)
    assert "Fitted" not in done.out
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("closed", ["folder/rows.csv", "folder"])
def test_data_without_rights_are_an_error(bound, tmp_path, inputs, closed):
    (tmp_path / "folder").mkdir()
    shutil.copy(inputs / "good.csv", tmp_path / "folder" / "rows.csv")
    (tmp_path / closed).chmod(0)
    try:
        done = bound("--model-type", "heuristic", "--data", "folder/rows.csv", cwd=tmp_path)
    finally:
        (tmp_path / closed).chmod(0o700)
    check_two_lines(done, 4)
    assert not (tmp_path / "models").exists()


def test_keys_without_a_place_are_an_error(command, tmp_path):
    (tmp_path / "file").write_text("")
    home = {"NETHICAL_HOME": str(tmp_path / "file" / "keys")}
    done = command("train", *FAST, cwd=tmp_path, env=home)
    check_two_lines(done, 5)
    assert published(tmp_path / "models") == []


def test_keys_inside_the_models_folder_are_refused(command, tmp_path):
    for home in ("models", "models/keys"):
        done = command("train", *FAST, cwd=tmp_path, env={"NETHICAL_HOME": str(tmp_path / home)})
        check_two_lines(done, 2)
        assert "NETHICAL_HOME" in done.err
    assert list(tmp_path.iterdir()) == []


def test_models_beside_the_keys_are_no_error(command, tmp_path):
    words = ("train", *FAST, "--models-dir", "keys/models")
    done = command(*words, cwd=tmp_path, env={"NETHICAL_HOME": str(tmp_path / "keys")})
    assert done.code == 0, done.err
    assert published(tmp_path / "keys" / "models") != []


@pytest.mark.parametrize("size", [500, 1000, 4000])
def test_a_full_disk_publishes_nothing_and_leaves_nothing(command, tmp_path, size):
    home = {"NETHICAL_HOME": str(tmp_path / "home")}
    done = command(
        "train", *FAST, cwd=tmp_path, env=home, limits={"RLIMIT_FSIZE": size}, stdout="/dev/null"
    )
    check_two_lines(done, 5)
    assert published(tmp_path / "models") == []
    assert leftovers(tmp_path) == []
    assert command("train", *FAST, cwd=tmp_path, env=home).code == 0


def test_output_to_a_full_disk_is_an_error(command, tmp_path):
    done = command("train", *FAST, cwd=tmp_path, stdout="/dev/full")
    check_two_lines(done, 5)
    assert "No space left" in done.err
    assert published(tmp_path / "models") == []


@pytest.mark.parametrize(("words", "broken"), [(("--json",), "pipe"), ((), "disk")])
def test_output_that_fails_at_the_very_end_is_no_success(tmp_path, words, broken):
    read, write = os.pipe()
    os.close(read)
    if broken == "disk":
        os.close(write)
        write = os.open("/dev/full", os.O_WRONLY)
    script = [sys.executable, "-m", "nethical.cli.main", "train", *FAST, *words]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        script,
        cwd=tmp_path,
        env=buffered,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    lines = done.stderr.splitlines()
    assert done.returncode == 5
    assert lines[-2].startswith("error: cannot write the output: ")
    assert lines[-1].startswith("mend: ")
    assert "Exception ignored" not in done.stderr


def test_too_little_memory_is_an_error_of_two_lines(command, tmp_path):
    words = ("train", "--model-type", "heuristic", "--num-samples", "2000000000")
    done = command(*words, cwd=tmp_path, limits={"RLIMIT_AS": 4 << 30})
    check_two_lines(done, 5)
    assert "memory" in done.err
    assert list(tmp_path.iterdir()) == []
