"""What the documentation says is so: commands run, flags exist, links lead somewhere."""

import argparse
import csv
import importlib.util
import json
import math
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as pa_csv

from nethical import Plan, load, train
from nethical.cli import main as command_line
from nethical.cli import train as train_command
from nethical.data.sources import DEFAULT_SAMPLES
from nethical.data.synthetic import generate
from nethical.metrics.evaluation import evaluate
from nethical.models.catalog import names as model_types
from nethical.testing import check_model
from nethical.testing.checks import CHECKS

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("training/*.md")]
    if page.is_file()
)
RUN = [
    ROOT / "README.md",
    ROOT / "training" / "README.md",
    ROOT / "docs" / "reference" / "command-line.md",
    *sorted(ROOT.glob("docs/how-to/*.md")),
]
SCRIPT = "training/train_any_model.py"

# What scripts around this project have long relied on.
DEFAULTS = {
    "--epochs": 10,
    "--batch-size": 32,
    "--num-samples": 10000,
    "--seed": 42,
    "--audit-path": "training_audit_logs",
    "--drift-report-dir": "training_drift_reports",
    "--cohort-id": "{model-type}_{timestamp}",
    "--phase89-storage": "training_governance_data",
    "--optimization-technique": "random_search",
    "--optimization-iterations": 20,
}
SWITCHES = ("--enable-audit", "--enable-drift-tracking", "--enable-phase89", "--optimize-config")
MODEL_TYPES = ("heuristic", "logistic", "simple_transformer", "anomaly", "correlation")
TECHNIQUES = ("random_search", "grid_search", "evolutionary")

# --- what a page holds -----------------------------------------------------------------------


def blocks(page):
    """Return the language and the text of each fenced block of a page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def steps(text, *, is_console):
    """Return each command of a block with the lines that it should print."""
    text = text.replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.rstrip, text.split("\n"))):
        if not is_console and not line.startswith("#"):
            found.append((line, []))
        elif line.startswith("$ "):
            found.append((line[2:], []))
        elif is_console:
            found[-1][1].append(line)
    return found


def masked(text):
    """Return the lines of an output without what differs from run to run."""
    text = re.sub(r"\d{8}T\d{6}Z_[0-9a-f]{6}|sha256:[0-9a-f]+", "ID", text)
    text = re.sub(r"[-+]?\d[\d,.]*", "#", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def write_payments(path, n_rows, seed, name="payment_id"):
    """Write the payments of which the pages speak."""
    rng = random.Random(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([name, "amount", "hour", "country", "region", "customer", "is_fraud"])
        for i in range(n_rows):
            amount, hour = round(rng.lognormvariate(4, 1), 2), rng.randrange(24)
            country, region = rng.choice(["DE", "FR", "PL", "US"]), rng.choice(["north", "south"])
            risk = 1.5 * math.log(amount) - 9 + 2.5 * (hour < 6) + 1.5 * (country == "US")
            is_fraud = int(rng.random() < 1 / (1 + math.exp(-3 * risk)))
            customer = f"c{rng.randrange(n_rows // 5)}"
            rows.writerow([f"p{i:05}", amount, hour, country, region, customer, is_fraud])


def write_sessions(folder):
    """Write the sessions of which the page on anomalies speaks: usual ones, and judged ones."""
    rng = random.Random(3)
    steps = ["plan", "list", "read", "write", "test", "send"]
    usual = [
        [steps[(i + rng.randrange(2)) % 6] for i in range(rng.randrange(6, 20))]
        for _ in range(1500)
    ]
    odd = [rng.choices(steps, k=12) for _ in range(100)]
    for name, rows in {
        "sessions.jsonl": [{"actions": actions} for actions in usual[:1000]],
        "later.jsonl": [{"actions": actions} for actions in usual[1000:1200] + odd[:20]],
        "judged.jsonl": [{"actions": actions, "label": 0} for actions in usual[1200:]]
        + [{"actions": actions, "label": 1} for actions in odd],
    }.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_events(folder):
    """Write the log of which the page on events speaks: past, two days, and what became known."""
    drawn = generate("events", 6000, seed=1).table
    table = drawn.rename_columns([EVENT_COLUMNS.get(name, name) for name in drawn.column_names])
    day = table.column("when").cast("date32").cast("int32").to_numpy()
    day = day - day.min()
    columns = ["card", "shop", "when", "paid"]
    labelled = [*columns, "is_fraud"]
    for name, rows, kept in (
        ("events.csv", day < 80, labelled),
        ("monday.csv", day == 80, columns),
        ("tuesday.csv", day == 81, columns),
        ("known.csv", day == 80, labelled),
    ):
        pa_csv.write_csv(table.filter(pa.array(rows)).select(kept), folder / name)


EVENT_COLUMNS = {
    "agent": "card",
    "resource": "shop",
    "time": "when",
    "amount": "paid",
    "label": "is_fraud",
}


class Reader:
    """Somebody who types what a page says, in a folder of their own."""

    def __init__(self, folder, command):
        self._folder = folder
        self._command = command
        self._env = {"NETHICAL_HOME": str(folder / "keys"), "HOME": str(folder)}
        self._code = 0
        write_payments(folder / "payments.csv", 3000, 1)
        write_payments(folder / "june.csv", 1000, 2)
        write_payments(folder / "july.csv", 1000, 3)
        write_payments(folder / "reviewed.csv", 200, 4, "case_id")
        write_sessions(folder)
        write_events(folder)

    def type(self, line):
        """Run a command and return what it printed."""
        if line == "echo $?":
            return str(self._code)
        line, _, target = line.partition(" > ")
        words = shlex.split(line)
        if words[0] == "nethical":
            arguments = words[1:]
        elif words[0].endswith("python") and words[1] == SCRIPT:
            arguments = ["train", *words[2:]]
        elif words[0] == "python" and words[1].startswith(("tests/", "examples/")):
            assert (ROOT / words[1]).is_file(), f"{words[1]} is not there"  # it has runs of its own
            return ""
        else:
            pytest.fail(f"nobody here knows how to run {line!r}")
        done = self._command(*arguments, cwd=self._folder, env=self._env)
        self._code = done.code
        if target:
            (self._folder / target).write_text(done.out)
        return done.out + done.err

    def follow(self, text, *, is_console):
        """Run a block and compare what it prints; without a shown exit code it must be 0."""
        commands = steps(text, is_console=is_console)
        for place, (line, expected) in enumerate(commands):
            printed = self.type(line)
            if line == "echo $?":
                assert printed == "\n".join(expected)
                self._code = 0
                continue
            following = commands[place + 1][0] if place + 1 < len(commands) else ""
            if following != "echo $?":
                assert self._code == 0, f"{line}\n{printed}"
            absent = [told for told in masked("\n".join(expected)) if told not in masked(printed)]
            assert absent == [], f"{line}\n{printed}"


@pytest.fixture
def reader(tmp_path, command):
    return Reader(tmp_path, command)


# --- pages run -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_every_python_example_of_a_page_runs(page, reader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "keys"))
    if page.parent != ROOT:  # pages beside the first one speak of a model that is there
        reader.type("nethical train --model-type heuristic --data payments.csv --name payments")
    if page.stem == "add-a-model-type":
        return  # it has tests of its own
    names = {}
    for language, text in blocks(page):
        if language in {"bash", "console"} and "pip install" not in text:
            reader.follow(text, is_console=language == "console")
        elif language == "python":
            exec(compile(text, str(page), "exec"), names)  # noqa: S102 - our own page


def test_the_first_command_prints_what_the_readme_shows(reader):
    (install, _, shown) = [text for _, text in blocks(ROOT / "README.md")[:3]]
    trains = install.strip().split(" && ")[-1]
    assert masked(shown) == masked(reader.type(trains))


def test_the_script_is_the_command(tmp_path):
    words = [sys.executable, ROOT / SCRIPT, "--model-type", "logistic", "--engine", "dask"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].endswith("engine is not part of this release")


def test_the_readme_has_one_command_to_install_and_test():
    tests = [
        text for _, text in blocks(ROOT / "README.md") if text.startswith("# install and test")
    ]
    assert len(tests) == 1
    parts = tests[0].splitlines()[1].split(" && ")
    assert parts[0] == "python3 -m venv .venv"
    assert os.access(ROOT / parts[-1], os.X_OK)


# --- flags -----------------------------------------------------------------------------------


def actions(parser, path="nethical"):
    """Yield the words of each command with each of its flags."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from actions(inner, f"{path} {name}")
        elif action.option_strings and action.dest not in {"help", "version"}:
            yield path, action


def flags_of(command):
    return list(actions(command_line._parser(command)))


FLAGS = [found for command in command_line.COMMANDS for found in flags_of(command)]
COMMANDS = sorted({path for path, _ in FLAGS} | {"nethical models verify", "nethical keys trust"})


def sections():
    """Return the text under the heading of each command."""
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    parts = re.split(r"^#{2,3} (nethical(?: [a-z-]+)+).*$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_flag_is_documented_under_its_command_and_no_other_flag_is():
    told = {
        path: set(re.findall(r"`(?:-\w`, `)?(--[\w-]+)", text)) for path, text in sections().items()
    }
    for path in COMMANDS:
        own = {flag for p, a in FLAGS if p == path for flag in a.option_strings if flag[:2] == "--"}
        shared = told[path.rpartition(" ")[0]] if path.count(" ") > 1 else set()
        assert own <= told[path] | shared, path
        assert told[path] - {"--help"} <= own, path


def test_every_flag_of_train_is_explained_on_the_training_page():
    told = defaults_on(ROOT / "training" / "README.md")
    assert {a.option_strings[-1] for path, a in FLAGS if path == "nethical train"} == set(told)


def defaults_on(page, text=None):
    """Return the default of each flag in the tables of a page, as written."""
    rows = re.findall(
        r"^\| `(?:-\w`, `)?(--[\w-]+)[^`]*` \|([^|]*)\|", text or page.read_text(), re.MULTILINE
    )
    return {flag: default.strip().strip("`") for flag, default in rows}


BY_RULE = {"", "by name", "by meaning", "by content", "inferred", "by rule", "0.5, see below"}
BY_RULE |= {"free cores", "the model type", "all", "label, if it is there", "see below"}
BY_RULE |= {"the reference that is set", "{model-type}_{timestamp}"}


def default_of(path, action):
    """Return what a flag is without being given, as the pages write it."""
    if action.required:
        return "required"
    default = action.default
    if default in (argparse.SUPPRESS, None):
        default = getattr(Plan("logistic"), action.dest, None) if path == "nethical train" else None
    if action.dest == "num_samples":
        default = DEFAULT_SAMPLES
    if action.nargs == 0:
        return "off"
    if isinstance(default, tuple):
        return ",".join(f"{one:g}" for one in default)
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default in (None, []) else str(default)


@pytest.mark.parametrize(("path", "action"), FLAGS, ids=lambda x: getattr(x, "dest", x))
def test_every_documented_default_is_the_default(path, action):
    flag = action.option_strings[-1]
    if flag[2:].replace("-", "_") in {
        f for part in train_command.ABSENT_PARTS.values() for f in part
    }:
        return
    pages = [defaults_on(None, text) for p, text in sections().items() if path.startswith(p)]
    if path == "nethical train":
        pages.append(defaults_on(ROOT / "training" / "README.md"))
    expected = "required" if flag == "--model-type" else default_of(path, action)
    for told in (page[flag] for page in pages if flag in page):
        assert told == expected or (told in BY_RULE and expected == ""), flag


@pytest.mark.parametrize("flag", [*DEFAULTS, *SWITCHES])
def test_the_flags_and_defaults_that_scripts_rely_on_stand(flag, command, tmp_path):
    action = next(a for p, a in FLAGS if p == "nethical train" and flag in a.option_strings)
    told = defaults_on(ROOT / "training" / "README.md")[flag]
    assert told == str(DEFAULTS.get(flag, "off"))
    absent = {f for part in train_command.ABSENT_PARTS.values() for f in part}
    if action.dest not in absent:
        assert default_of("nethical train", action) in {told, ""}
        assert told in BY_RULE or default_of("nethical train", action) == told
        return
    given = [flag] if flag in SWITCHES else [flag, "1"]
    done = command("train", "--model-type", "logistic", *given, cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith(f"error: {flag}: ")
    assert "not part of this release" in done.err


def test_every_model_type_and_technique_is_named_on_the_training_page():
    page = (ROOT / "training" / "README.md").read_text()
    for word in (*MODEL_TYPES, *TECHNIQUES, *model_types()):
        assert f"`{word}`" in page


# --- files and numbers -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documented")
    write_payments(folder / "payments.csv", 3000, 1)
    columns = {"customer": "group", "region": "fairness"}
    plan = Plan(
        "boosted",
        data=folder / "payments.csv",
        columns=columns,
        challenge_data=(str(folder / "payments.csv"),),
        models_dir=str(folder / "models"),
    )
    return train(plan)


def test_every_file_and_key_of_a_version_is_documented(outcome):
    page = (ROOT / "docs" / "reference" / "files.md").read_text()
    folder = outcome.published.path
    told = set(re.findall(r"`([\w.]+)`", page))
    for file in folder.iterdir():
        assert file.name in told
    for name in ("model.json", "metrics.json", "run.json"):
        document = json.loads((folder / name).read_text())
        assert set(document) <= told, name
        for part in ("splits", "leaks", "fitting", "source", "calibration", "environment", "roles"):
            assert set(document.get(part, {})) <= told, (name, part)
    history = (folder.parent.parent / "registry.jsonl").read_text().splitlines()
    assert set(json.loads(history[0])) <= told


def test_every_metric_and_criterion_is_documented(outcome):
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for metric in evaluate(np.array([0, 1]), np.array([0.2, 0.7]), threshold=0.5).intervals:
        assert f"| `{metric}` |" in page
    for criterion in outcome.judged.decision.criteria:
        title = criterion.name
        if title.startswith(str(outcome.plan.challenge_data[0])):
            title = "{set}: ..."
        assert f"| `{title}` |" in page


@pytest.mark.parametrize("model_type", ["heuristic", "logistic", "boosted", "anomaly"])
@pytest.mark.parametrize("task", ["mixed", "text", "sequence"])
def test_a_loaded_model_scores_bit_for_bit_as_the_readme_promises(model_type, task, tmp_path):
    plan = Plan(model_type, data=f"synthetic:{task}", num_samples=1500, models_dir=str(tmp_path))
    trained = train(plan)
    rows = generate(task, 200, seed=9).table
    loaded = load(trained.published.path)
    assert np.array_equal(loaded.predict_proba(rows), trained.model.predict_proba(rows))


# --- the example model type ------------------------------------------------------------------


@pytest.fixture
def command_line_help(capsys):
    """Return what ``--help`` prints of a command."""

    def printed(command):
        with pytest.raises(SystemExit):
            command_line.main([command, "--help"])
        return capsys.readouterr().out

    return printed


@pytest.fixture
def centroid(tmp_path, monkeypatch):
    """Install the example of the page as a package of somebody else would be."""
    found = dict(blocks(ROOT / "docs" / "how-to" / "add-a-model-type.md"))
    (tmp_path / "nethical_centroid.py").write_text(found["python"])
    metadata = tmp_path / "nethical_centroid-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nethical-centroid\nVersion: 1\n"
    )
    points = re.sub(r"\[project.entry-points.\"(.*)\"\]", r"[\1]", found["toml"]).replace('"', "")
    (metadata / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.find_spec("nethical_centroid")
    yield spec.name
    sys.modules.pop(spec.name, None)


@pytest.mark.usefixtures("centroid")
def test_the_example_model_type_trains_through_the_real_pipeline(tmp_path):
    assert "centroid" in model_types()
    plan = Plan("centroid", data="sklearn:breast_cancer", models_dir=str(tmp_path / "models"))
    outcome = train(plan)
    metrics = outcome.judged.evaluation.metrics_document()
    assert metrics["roc_auc"] > 0.95
    assert metrics["accuracy"] > 0.9
    assert outcome.published.path.is_dir()


@pytest.mark.usefixtures("centroid")
def test_the_example_model_type_passes_the_kit():
    check_model("centroid")


@pytest.mark.usefixtures("centroid")
def test_the_example_model_type_is_listed_in_the_help(command_line_help):
    assert "centroid" in command_line_help("train")


def test_the_example_is_as_short_as_it_is_said_to_be():
    found = dict(blocks(ROOT / "docs" / "how-to" / "add-a-model-type.md"))
    lines = [line for line in found["python"].splitlines() if line.strip()]
    assert len([line for line in lines if not line.startswith(("import", "from", '"""'))]) <= 40


def test_the_number_of_promises_is_told_as_it_is():
    page = (ROOT / "docs" / "how-to" / "add-a-model-type.md").read_text()
    assert f"looks at {len(CHECKS)} promises" in page


# --- links -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        found = page if not path else page.parent / path
        assert "://" in target or found.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}


def test_every_page_of_the_documentation_is_in_its_index():
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / t).resolve() for t in re.findall(r"\]\(([^)#\s]+)", index.read_text())
    }
    missing = [page.name for page in ROOT.glob("docs/**/*.md") if page.resolve() not in linked]
    assert missing == ["README.md"]
