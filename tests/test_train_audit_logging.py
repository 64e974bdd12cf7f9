"""Train with an audit log, and verify it: under pytest, and by itself.

    python tests/test_train_audit_logging.py

By itself it prints what it does and ends with 1 if anything is not as it should be; it needs no
pytest for that.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "training" / "train_any_model.py"
SIX = [
    *("training_start", "data_loaded", "data_split", "training_completed"),
    *("validation_metrics", "model_saved"),
]
TRAIN = "--model-type logistic --epochs 20 --num-samples 2000".split()
AUDIT = "--enable-audit --audit-path training_logs".split()


def run(folder, *words, code=0):
    environment = {**os.environ, "NETHICAL_HOME": str(Path(folder).parent / "keys")}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stderr)
    return done


def nethical(folder, *words, code=0):
    return run(folder, "-m", "nethical.cli.main", *words, code=code)


def workplace(tmp_path):
    folder = Path(tmp_path) / "work"
    folder.mkdir()
    return folder


def check_views(logs, stdout):
    """Check the summary and the chunk of the last run, as scripts read them."""
    root = re.search(r"Merkle root: ([0-9a-f]{64})$", stdout, re.MULTILINE)[1]
    summary = json.loads((logs / "training_summary.json").read_text())
    (chunk_path,) = logs.glob("chunk_*.json")
    chunk = json.loads(chunk_path.read_text())
    assert chunk["merkle_root"] == summary["merkle_root"] == root
    assert chunk["event_count"] == len(chunk["events"])
    kinds = [event["event_type"] for event in chunk["events"]]
    assert [kind for kind in kinds if kind in SIX] == SIX
    assert kinds[0] == "training_start"
    assert kinds[-1] == "run_ended"
    assert summary["metrics"]["accuracy"] > 0.8
    assert summary["promoted"] in {True, False}
    return summary


def test_the_command_of_the_readme_twice_in_a_row(tmp_path):
    folder = workplace(tmp_path)
    first = run(folder, SCRIPT, *TRAIN, *AUDIT)
    assert "Merkle audit logging enabled" in first.stdout
    before = check_views(folder / "training_logs", first.stdout)
    second = run(folder, SCRIPT, *TRAIN, *AUDIT)
    after = check_views(folder / "training_logs", second.stdout)
    assert after["origin"] == before["origin"]
    assert after["first_index"] == before["tree_size"]
    done = nethical(folder, "audit", "verify", "training_logs")
    assert "2 runs" in done.stdout
    assert "Proved: self-consistent" in done.stdout


def test_four_runs_at_once_into_one_folder(tmp_path):
    folder = workplace(tmp_path)
    nethical(folder, "train", *TRAIN, *AUDIT)
    environment = {**os.environ, "NETHICAL_HOME": str(folder.parent / "keys")}
    words = [sys.executable, SCRIPT, "--model-type", "heuristic", "--num-samples", "1000", *AUDIT]
    runs = [
        subprocess.Popen(
            words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    assert [(each.communicate()[1], each.returncode) for each in runs] == [(b"", 0)] * 4
    shown = json.loads(nethical(folder, "audit", "show", "training_logs", "--json").stdout)
    assert [each["outcome"] for each in shown] == ["completed"] * 5
    nethical(folder, "audit", "verify", "training_logs")


def test_an_edit_anywhere_is_found(tmp_path):
    folder = workplace(tmp_path)
    run(folder, SCRIPT, *TRAIN, *AUDIT)
    logs = folder / "training_logs"
    (bundle,) = (logs / "log" / "tile" / "entries").glob("**/12")
    for file in (logs / "training_summary.json", logs / "latest" / "run.tlog-proof", bundle):
        whole = file.read_bytes()
        middle = len(whole) // 2
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        done = nethical(folder, "audit", "verify", "training_logs", code=6)
        assert "[FAULT]" in done.stdout, file
        assert done.stderr.startswith("error: the log is not what was signed")
        file.write_bytes(whole)
    nethical(folder, "audit", "verify", "training_logs")


def test_no_audit_no_folder(tmp_path):
    folder = workplace(tmp_path)
    done = run(folder, SCRIPT, "--model-type", "heuristic", "--num-samples", "500")
    assert "Merkle root:" not in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["models"]


def main():
    """Run every test of this file by itself, and say how it went."""
    failed = 0
    for name, test in sorted(globals().items()):
        if not name.startswith("test_"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(folder)
            except Exception:  # noqa: BLE001 - each test is to be run
                traceback.print_exc()
                failed += 1
                print(f"FAILED {name}")
            else:
                print(f"ok     {name}")
    print(f"{failed} failed" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
