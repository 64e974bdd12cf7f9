"""What tests share: an own home for keys, the ``--slow`` option, and commands as processes.

``command`` runs the command line in a process of its own that was forked from one in which the
libraries are imported already, so a case costs what it does and not what Python's imports do.
Run as a script this file is that process: it reads requests and forks.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

IMPORTED = (
    *("nethical.cli.train", "nethical.cli.narrator", "nethical.cli.predict"),
    *("nethical.cli.evaluate", "nethical.cli.models", "nethical.cli.keys"),
    *("nethical.pipeline", "nethical.scoring", "nethical.data.files", "nethical.data.synthetic"),
    *("nethical.models.heuristic", "pyarrow.csv", "pyarrow.json", "pyarrow.parquet"),
    *("nethical.cli.audit", "nethical.cli.drift", "nethical.cli.govern", "nethical.cli.governed"),
    *("nethical.cli.reviewing", "nethical.cli.tracked", "nethical.models.logistic"),
    *("nethical.governance.governing", "nethical.governance.queue", "nethical.governance.people"),
    *("nethical.governance.asking", "nethical.governance.releases", "nethical.drift.tracking"),
    *("nethical.audit.sink", "sqlalchemy.dialects.sqlite", "alembic.command"),
    *("nethical.data.kaggle", "nethical.audit.report", "nethical.audit.verification"),
    *("nethical.governance.label_studio",),
    *("scipy.special", "scipy.stats", "cryptography.hazmat.primitives.asymmetric.ed25519"),
    *("rfc8785", "threadpoolctl", "tarfile", "getpass", "signal", "traceback", "pwd", "optuna"),
    *("lightgbm", "torch", "tokenizers", "nethical.cli.review", "nethical.models.anomaly"),
)


def _serve():
    """Read a request a line, run it in a forked process, and tell its pid and its exit code."""
    from importlib import import_module

    for name in IMPORTED:
        with suppress(ImportError):  # an extra that is not installed; a command would say so
            import_module(name)
    import pyarrow as pa

    pa.array([0.5]).to_numpy()  # pyarrow looks for pandas at its first conversion
    pid = 0
    for line in sys.stdin:
        if pid:
            os.waitpid(pid, 0)
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(request)
        print(pid, flush=True)
        # Only looked at, so that nobody else gets its pid while the test may still signal it.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        exited = ended.si_code == os.CLD_EXITED
        print(ended.si_status if exited else -ended.si_status, flush=True)


def _become(request):
    """Run one command in this process, and end it."""
    import resource

    from nethical.cli.main import main

    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    sys.argv = ["nethical", *request["arguments"]]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for target, descriptor in ((request["stdout"], 1), (request["stderr"], 2)):
        opened = os.open(target, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    encoding = request["env"].get("PYTHONIOENCODING", "utf-8")
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding=encoding, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
    for name, limit in request["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    code = 1
    try:
        code = main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - what Python's own edge does
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _serve()
    sys.exit()

import pytest  # noqa: E402 - the forking process does without

ROOT = Path(__file__).parent.parent
PATIENCE = 120  # seconds, so that a test that went wrong ends
SHARED = ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        """The one JSON document on standard output."""
        return json.loads(self.out)


def wait_until_printed(word, file):
    """Wait until a process has printed a word into a file; fail if it never does."""
    deadline = time.monotonic() + PATIENCE
    while word not in (file.read_text(encoding="utf-8") if file.exists() else ""):
        assert time.monotonic() < deadline, f"{word!r} was never printed"
        time.sleep(0.001)


class Commands:
    """Runs commands of the command line, each in a process of its own, one after the other."""

    def __init__(self, scratch, home):
        self._scratch = scratch
        self._home = str(home)
        quiet = {"OPENBLAS_NUM_THREADS": "1", "NETHICAL_HOME": self._home}
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **quiet},
        )

    until_printed = staticmethod(wait_until_printed)

    @contextmanager
    def started(self, *arguments, cwd, env=None, limits=None, stdout=None):
        """Start a command; give its pid and a function that waits for its end."""
        out, err = self._scratch / "stdout", self._scratch / "stderr"
        for file in (out, err):
            file.unlink(missing_ok=True)
        request = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "env": {"NETHICAL_HOME": self._home, **(env or {})},
            "limits": limits or {},
            "stdout": str(stdout or out),
            "stderr": str(err),
        }
        print(json.dumps(request), file=self._server.stdin, flush=True)
        pid = int(self._server.stdout.readline())
        ended = []

        def text(file):
            return file.read_text(encoding="utf-8") if file.exists() else ""  # killed before that

        def wait():
            if not ended:
                code = int(self._server.stdout.readline())
                ended.append(Finished(code, text(out), text(err)))
            return ended[0]

        try:
            yield pid, wait
        finally:
            wait()

    def __call__(self, *arguments, **settings):
        """Run a command to its end."""
        with self.started(*arguments, **settings) as (_, wait):
            return wait()

    def close(self):
        """End the forking process."""
        self._server.stdin.close()
        self._server.wait()


def pytest_addoption(parser):
    """Add ``--slow``."""
    parser.addoption(
        "--slow", action="store_true", help="run the long tests too, and those on shared data"
    )


def pytest_collection_modifyitems(config, items):
    """Skip what is marked slow, unless it was asked for."""
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run it with --slow"))


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory):
    """Keep every test, and every process it starts, away from the user's keys and accounts."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("NETHICAL_HOME", str(home / "keys"))
        for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("KAGGLE_CONFIG_DIR", str(home))
        yield


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """Run commands of the command line, each in a process of its own."""
    commands = Commands(
        tmp_path_factory.mktemp("streams"), tmp_path_factory.mktemp("command") / "home"
    )
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def real_data():
    """Return a function that gives the path of a shared data set, or skips."""

    def find(name):
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"{path} is not there")
        return path

    return find
