"""A local fake of Kaggle's HTTP API, and a machine that knows nothing of Kaggle."""

import importlib.util
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "fake_kaggle", Path(__file__).with_name("fake_kaggle.py")
)
fake_kaggle = importlib.util.module_from_spec(_SPEC)
sys.modules["fake_kaggle"] = fake_kaggle
_SPEC.loader.exec_module(fake_kaggle)

ROWS = b"a,label\n1,0\n2,1\n"


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """No credentials, an empty cache, no proxy."""
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home" / ".kaggle"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "home" / ".kaggle").mkdir(parents=True)


@pytest.fixture
def server(monkeypatch):
    from kagglesdk import kaggle_env

    fake = fake_kaggle.FakeKaggle(fake_kaggle.zipped(rows__csv=ROWS, notes___readme__md=b"# notes"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    for environment in (kaggle_env.KaggleEnv.LOCAL, kaggle_env.KaggleEnv.TEST):
        monkeypatch.setitem(kaggle_env._env_to_endpoint, environment, fake.url)
    yield fake
    fake.stop()
