"""Training processes that are killed at any moment leave whole models, and the next run works."""

import os
import random
import signal
import time

import pytest

from nethical import bundle
from nethical.keys import Keys
from nethical.registry import Registry

WORDS = ("train", "--model-type", "heuristic", "--num-samples", "1000", "--quiet")
# Seconds within which the kill falls, from the moment that it is aimed at.
AIMS = {"start": 0.4, "decided": 0.06, "writing": 0.02}
ROUND = 15


def names(folder):
    return set(os.listdir(folder)) if folder.exists() else set()  # noqa: PTH208 - raced for


def killed(command, folder, home, rng, aim):
    """Start a run and kill it at a random moment; return whether it was killed in time."""
    out = folder.parent / f"{folder.name}.out"
    out.unlink(missing_ok=True)
    versions = folder / "models" / "versions"
    before = names(versions)
    env = {"NETHICAL_HOME": str(home)}
    with command.started(*WORDS, cwd=folder, env=env, stdout=out) as (pid, wait):
        if aim != "start":
            command.until_printed("Decision:", out)
        patience = time.monotonic() + 60
        while aim == "writing" and names(versions) == before and time.monotonic() < patience:
            time.sleep(0.0005)
        time.sleep(rng.random() * AIMS[aim])
        os.kill(pid, signal.SIGKILL)
        return wait().code == -signal.SIGKILL


def check_whole(folder, home):
    """What is in production verifies, and so does everything that has a name; only reads."""
    trusted = Keys(home).trusted()
    current = folder / "models" / "current" / "heuristic"
    if current.is_symlink():
        assert current.exists(), "the link points to nothing"
        bundle.read(current, trusted)
    versions = folder / "models" / "versions"
    for version in versions.iterdir() if versions.exists() else ():
        if not version.name.startswith(".tmp-"):
            bundle.read(version, trusted)


def check_next_run(command, folder, home):
    """The next run works, becomes current, and leaves nothing half-written."""
    done = command(*WORDS, "--json", cwd=folder, env={"NETHICAL_HOME": str(home)})
    assert done.code == 0, done.err
    models = folder / "models"
    assert done.document["promoted"], done.document["reason"]
    assert (models / "current" / "heuristic").resolve().name == done.document["model_id"]
    assert list(folder.rglob(".tmp-*")) == []
    registry = Registry(models, Keys(home), lambda: pytest.fail("no clock is needed to read"))
    statuses = {version.model_id: version.status for version in registry.versions()}
    assert set(statuses) == {path.name for path in (models / "versions").iterdir()}
    assert set(statuses.values()) <= {"current", "past", "candidate"}
    candidates = {model_id for model_id, status in statuses.items() if status == "candidate"}
    assert candidates == {path.name for path in (models / "candidates").iterdir()}


def kill_often(command, root, kills, seed):
    rng = random.Random(seed)
    landed = attempts = 0
    folder = home = None
    while landed < kills:
        if attempts % ROUND == 0:  # a first run of all, which makes keys and folders
            folder, home = root / f"work{attempts}", root / f"home{attempts}"
            folder.mkdir()
        attempts += 1
        assert attempts <= 5 * kills, "hardly a kill came in time"
        aim = ("start", "start", "start", "decided", "start", "writing")[attempts % 6]
        landed += killed(command, folder, home, rng, aim)
        if home.exists():
            check_whole(folder, home)
        if aim != "start":
            check_next_run(command, folder, home)
    check_next_run(command, folder, home)


def test_twenty_kills_leave_whole_models_and_the_next_run_works(command, tmp_path):
    kill_often(command, tmp_path, 20, seed=1)


@pytest.mark.slow
def test_a_hundred_kills_leave_whole_models_and_the_next_run_works(command, tmp_path):
    kill_often(command, tmp_path, 100, seed=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_while_publishing_leaves_whole_models(command, tmp_path, number):
    home, out = tmp_path / "home", tmp_path / "out"
    work = tmp_path / "work"
    work.mkdir()
    with command.started(*WORDS, cwd=work, stdout=out, env={"NETHICAL_HOME": str(home)}) as (
        pid,
        wait,
    ):
        command.until_printed("Decision:", out)
        os.kill(pid, number)
        done = wait()
    assert done.code in {0, 130}
    assert "Traceback" not in done.err
    check_whole(work, home)
    assert list(work.rglob(".tmp-*")) == []
    check_next_run(command, work, home)
