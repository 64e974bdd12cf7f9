"""Programs of others believe our logs, and find what was changed in them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "foreign" / "main.go"
PACKAGES = Path("/usr/share/gocode")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Build the verifier from Debian's golang-go and golang-golang-x-mod-dev."""
    if not shutil.which("go") or not (PACKAGES / "src/golang.org/x/mod/sumdb/tlog").exists():
        pytest.skip("apt-get install golang-go golang-golang-x-mod-dev")
    program = tmp_path_factory.mktemp("foreign") / "foreign"
    home = {"GO111MODULE": "off", "GOPATH": str(PACKAGES), "GOFLAGS": "-p=1"}
    cache = {"GOCACHE": str(program.parent / "cache"), "GOMAXPROCS": "1"}
    subprocess.run(
        ["go", "build", "-o", program, SOURCE], check=True, env=os.environ | home | cache
    )

    def verify(log):
        command = [program, log.path, log.key.to_vkey()]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return verify


@pytest.mark.parametrize("size", [1, 255, 256, 257, 512, 65_536, 70_000])
def test_the_packages_of_gos_checksum_database_believe_our_logs(foreign, make_log, size):
    log = make_log(size, seal_every=1 << 20)
    done = foreign(log)
    assert done.stderr == ""
    assert f"nethical.local/test: {size} entries" in done.stdout


def test_they_believe_a_log_that_grew_in_steps(foreign, make_log):
    log = make_log(3)
    for step in (253, 1, 300, 43):
        log.extend({"i": i} for i in range(step))
        log.seal()
        assert foreign(log).returncode == 0


@pytest.mark.parametrize("name", ["tile/0/000", "tile/entries/000", "tile/1/000.p/1", "checkpoint"])
def test_they_find_what_was_changed_as_we_do(foreign, make_log, name):
    log = make_log(300)
    content = bytearray((log.path / name).read_bytes())
    content[9] ^= 1
    (log.path / name).write_bytes(bytes(content))
    assert foreign(log).returncode != 0


def test_pymerkle_finds_the_same_root(make_log):
    pymerkle = pytest.importorskip("pymerkle")
    from nethical.audit.reading import LogReader

    log = make_log(300)
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    reader = LogReader(log.path, log.key)
    for entry in reader.entries():
        tree.append_entry(entry)
    assert tree.get_root() == reader.checkpoint.root_hash
