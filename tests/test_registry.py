import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nethical import bundle
from nethical.errors import IntegrityError, StorageError, UsageError
from nethical.keys import Keys
from nethical.registry import Registry
from nethical.signing import sign
from nethical.trained import load

FORK = multiprocessing.get_context("fork")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def open_registry(root):
    return Registry(root / "models", Keys(root / "home"), lambda: NOON)


@pytest.fixture
def registry(tmp_path):
    return open_registry(tmp_path)


def files_of(model_id, size=64):
    """Files that all tell to which model they belong."""
    return {"model.json": model_id.encode(), "rows.parquet": model_id.encode() * size}


def publish(registry, model_id, *, name="m", promote=True, **details):
    current = registry.current(name)
    return registry.publish(
        model_id=model_id,
        name=name,
        files=files_of(model_id),
        claims={"run_id": f"run of {model_id}"},
        promote=promote,
        baseline=current.name if current else None,
        details=details,
    )


def statuses(registry):
    return {version.model_id: version.status for version in registry.versions()}


def links(folder):
    return {link.name: str(link.readlink()) for link in folder.iterdir()} if folder.exists() else {}


def check_whole(registry):
    """What is in production is a whole bundle, whatever happened; nothing is written here."""
    trusted = registry.keys.trusted()
    for name in registry.names():
        found = bundle.read(registry.models_dir / "current" / name, trusted)
        assert dict(found.files.items()).items() >= files_of(found.model_id).items()
    return {name: registry.current(name) for name in registry.names()}


def check_healed(registry):
    """Disk and history say the same, and nothing half-written is left."""
    check_whole(registry)
    models = registry.models_dir
    assert not list(models.rglob(".tmp-*"))
    found = registry.versions()
    told = {version.model_id: version.status for version in found}
    assert set(told) == {path.name for path in (models / "versions").iterdir()}
    assert set(told.values()) <= {"current", "past", "candidate"}
    assert links(models / "current") == {
        version.name: f"../versions/{version.model_id}"
        for version in found
        if version.status == "current"
    }
    assert links(models / "candidates") == {
        model_id: f"../versions/{model_id}"
        for model_id, status in told.items()
        if status == "candidate"
    }
    assert (models / "registry.jsonl").read_bytes().endswith(b"\n")


def test_a_published_version_is_in_production_with_its_signature_and_history(registry, tmp_path):
    published = publish(registry, "m_1", verdict="PASS", gate_digest="sha256:g")
    assert published.promoted
    assert published.path == tmp_path / "models/versions/m_1"
    assert registry.current("m") == published.path
    assert links(tmp_path / "models/current") == {"m": "../versions/m_1"}
    found = registry.verify("m")
    assert found.signature_digest == published.signature_digest
    assert found.claims == {"run_id": "run of m_1", "name": "m"}
    (entry,) = registry.history()
    assert entry["by"]
    assert {key: value for key, value in entry.items() if key != "by"} == {
        "at": "2026-01-02T12:00:00Z",
        "event": "published",
        "gate_digest": "sha256:g",
        "model_id": "m_1",
        "name": "m",
        "reason": None,
        "status": "current",
        "verdict": "PASS",
    }
    check_healed(registry)


def test_a_version_that_did_not_pass_is_a_candidate_and_leaves_current_alone(registry):
    publish(registry, "m_1")
    publish(registry, "m_2", promote=False)
    assert statuses(registry) == {"m_1": "current", "m_2": "candidate"}
    check_healed(registry)


def test_an_empty_registry_reads_as_empty_and_nothing_is_made(registry):
    assert registry.current("m") is None
    assert (registry.names(), registry.versions(), registry.history()) == ([], [], [])
    assert registry.gate_readings("sha256:g") == 0
    for act in (
        lambda: registry.rollback("m", reason="r"),
        lambda: registry.promote("m", reason="r"),
        lambda: registry.prune(0),
        lambda: registry.verify("m"),
    ):
        with pytest.raises(UsageError):
            act()
    assert not registry.models_dir.exists()


def test_names_have_production_slots_of_their_own(registry):
    publish(registry, "a_1", name="a")
    publish(registry, "b_1", name="b")
    assert registry.names() == ["a", "b"]
    assert registry.current("a").name == "a_1"
    assert [version.model_id for version in registry.versions("b")] == ["b_1"]
    assert [entry["model_id"] for entry in registry.history("b")] == ["b_1"]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "a\n", "x" * 65, "é"])
def test_a_name_that_is_not_plain_is_refused(registry, name):
    with pytest.raises(UsageError, match="cannot be a model name"):
        publish(registry, "m_1", name=name)
    with pytest.raises(UsageError, match="cannot be a model id"):
        publish(registry, name + "\n", name="m")
    with pytest.raises(UsageError, match="cannot be a model name"):
        registry.current(name)


def test_an_id_is_never_published_twice(registry):
    publish(registry, "m_1")
    with pytest.raises(StorageError, match="exists already"):
        publish(registry, "m_1")
    assert len(registry.history()) == 1
    check_healed(registry)


def test_keys_inside_the_models_folder_are_refused_before_anything_happens(tmp_path):
    with pytest.raises(UsageError, match="would lie inside"):
        Registry(tmp_path, Keys(tmp_path / "home"), lambda: NOON)


def test_readings_of_one_gate_part_are_counted(registry):
    for i, gate in enumerate(["x", "y", "x"]):
        publish(registry, f"m_{i}", promote=False, gate_digest=gate)
    registry.promote("m_0", reason="r")
    assert [registry.gate_readings(gate) for gate in "xyz"] == [2, 1, 0]


def test_a_model_is_found_by_id_name_beginning_and_path(registry):
    publish(registry, "m_1a")
    publish(registry, "m_2b", promote=False)
    versions = registry.models_dir / "versions"
    assert registry.find("m_1a") == registry.find("m") == registry.find("m_1") == versions / "m_1a"
    assert registry.find("m_2") == versions / "m_2b"
    assert registry.find(str(versions / "m_2b")) == versions / "m_2b"
    assert registry.verify(str(registry.models_dir / "current" / "m")).model_id == "m_1a"
    with pytest.raises(UsageError, match="beginning of 2 models: m_1a, m_2b"):
        registry.find("m_")
    for unknown in ("nothing", "", "x" * 5000, "a\0b", "../m_1a"):
        with pytest.raises(UsageError, match="no model"):
            registry.find(unknown)


def test_a_name_wins_over_a_beginning_and_an_id_over_a_name(registry):
    publish(registry, "a_1", name="a")
    publish(registry, "a_2", name="a", promote=False)
    publish(registry, "b_1", name="a_2")
    assert registry.find("a").name == "a_1"
    assert registry.find("a_2").name == "a_2"


def test_a_name_with_nothing_in_production_is_not_the_beginning_of_an_id(registry):
    publish(registry, "payments_1", name="payments", promote=False)
    with pytest.raises(UsageError, match="payments has nothing in production") as caught:
        registry.find("payments")
    assert "nethical models list --name payments" in caught.value.mend
    assert "nethical models promote" in caught.value.mend
    assert registry.find("payment").name == registry.find("payments_").name == "payments_1"
    (registry.models_dir / "registry.jsonl").unlink()
    with pytest.raises(UsageError, match="payments has nothing in production"):
        registry.verify("payments")
    registry.promote("payments_1", reason="r")
    assert registry.find("payments").name == "payments_1"


def crooked(registry):
    """Put a version of the name h into production as m, behind the registry's back."""
    for model_id in ("m_1", "m_2", "h_1"):
        publish(registry, model_id, name=model_id[0])
    point(registry, "m", "h_1")


def point(registry, name, model_id):
    link = registry.models_dir / "current" / name
    link.unlink()
    link.symlink_to(f"../versions/{model_id}")


def test_a_link_to_a_version_that_was_signed_for_another_name_is_refused(registry):
    crooked(registry)
    for act in (
        lambda: registry.current("m"),
        lambda: registry.find("m"),
        lambda: registry.verify("m"),
        lambda: registry.verify(str(registry.models_dir / "current" / "m")),
        lambda: registry.export("m", registry.models_dir.parent / "copy"),
        registry.versions,
        lambda: load(registry.models_dir / "current" / "m", keys=registry.keys),
        lambda: registry.prune(0),
        lambda: publish(registry, "h_2", name="h"),
    ):
        with pytest.raises(IntegrityError, match="signed for 'h'") as caught:
            act()
        assert "nethical models rollback m" in caught.value.mend
    assert len(registry.history()) == 3
    assert not (registry.models_dir / "versions" / "h_2").exists()
    assert registry.verify("h").model_id == "h_1"


def test_a_crooked_link_that_the_history_confirms_is_refused_all_the_same(registry):
    crooked(registry)
    path = registry.models_dir / "registry.jsonl"
    line = json.loads(path.read_bytes().splitlines()[-1]) | {"name": "m"}
    with path.open("a") as file:
        file.write(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n")
    with pytest.raises(IntegrityError, match="signed for 'h'"):
        registry.verify("m")
    assert registry.rollback("m", reason="r") == "m_2"
    assert registry.verify("m").model_id == "m_2"


@pytest.mark.parametrize("mend", ["promote", "rollback"])
def test_a_crooked_link_is_mended_by_a_promotion_or_a_rollback(registry, mend):
    crooked(registry)
    if mend == "promote":
        assert registry.promote("m_2", reason="r") == "m_2"
    else:
        assert registry.rollback("m", reason="r") == "m_1"
    assert registry.verify("m").model_id == ("m_2" if mend == "promote" else "m_1")
    assert statuses(registry)["h_1"] == "current"
    check_healed(registry)


def test_two_crooked_links_are_mended_one_after_the_other(registry):
    crooked(registry)
    point(registry, "h", "m_1")
    registry.promote("m_2", reason="r")
    with pytest.raises(IntegrityError, match="signed for 'm'"):
        registry.versions()
    registry.promote("h_1", reason="r")
    check_healed(registry)


def test_a_history_that_gives_a_version_another_name_does_not_promote_it(registry):
    publish(registry, "h_1", name="h", promote=False)
    path = registry.models_dir / "registry.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"name":"h"', b'"name":"m"'))
    with pytest.raises(IntegrityError, match="signed for 'h'"):
        registry.promote("h_1", reason="r")
    assert registry.names() == []


def test_a_promotion_by_hand_needs_a_reason_and_is_recorded_as_an_override(registry):
    publish(registry, "m_1")
    publish(registry, "m_2", promote=False)
    with pytest.raises(UsageError, match="reason is empty"):
        registry.promote("m_2", reason="  ")
    assert registry.promote("m_2", reason="better on last week", by="ada") == "m_2"
    entry = registry.history()[-1]
    assert (entry["event"], entry["override"]) == ("promoted", True)
    assert (entry["by"], entry["reason"]) == ("ada", "better on last week")
    assert statuses(registry) == {"m_1": "past", "m_2": "current"}
    with pytest.raises(UsageError, match="in production as m already"):
        registry.promote("m", reason="again")
    check_healed(registry)


def test_a_promotion_by_another_gate_says_so(registry):
    publish(registry, "m_1", promote=False)
    registry.promote("m_1", reason="gate", details={"override": False, "configuration": "cfg_1"})
    entry = registry.history()[-1]
    assert (entry["override"], entry["configuration"]) == (False, "cfg_1")


def test_a_damaged_version_is_never_promoted_nor_rolled_back_to(registry):
    publish(registry, "m_1")
    publish(registry, "m_2")
    publish(registry, "m_3", promote=False)
    for model_id in ("m_1", "m_3"):
        (registry.models_dir / "versions" / model_id / "model.json").write_bytes(b"edited")
    with pytest.raises(IntegrityError, match="edited"):
        registry.promote("m_3", reason="r")
    with pytest.raises(IntegrityError, match="edited"):
        registry.rollback("m", reason="r")
    assert registry.current("m").name == "m_2"


def test_only_versions_of_this_registry_are_promoted(registry, tmp_path):
    publish(registry, "m_1")
    registry.export("m_1", tmp_path / "copy")
    with pytest.raises(UsageError, match="is not in"):
        registry.promote(str(tmp_path / "copy"), reason="r")


def test_a_version_under_the_id_of_another_is_refused(registry):
    publish(registry, "m_1")
    publish(registry, "m_2")
    versions = registry.models_dir / "versions"
    shutil.rmtree(versions / "m_2")
    shutil.copytree(versions / "m_1", versions / "m_2")
    with pytest.raises(IntegrityError, match="holds the model m_1"):
        registry.verify("m_2")


def test_rollback_goes_back_step_by_step_and_keeps_the_rolled_back_as_candidates(registry):
    for model_id in ("m_1", "m_2", "m_3"):
        publish(registry, model_id)
    with pytest.raises(UsageError, match="reason is empty"):
        registry.rollback("m", reason="")
    assert registry.rollback("m", reason="worse", by="ada") == "m_2"
    assert statuses(registry) == {"m_1": "past", "m_2": "current", "m_3": "candidate"}
    entry = registry.history()[-1]
    assert (entry["event"], entry["model_id"], entry["replaces"]) == ("rolled_back", "m_2", "m_3")
    assert registry.rollback("m", reason="worse") == "m_1"
    with pytest.raises(UsageError, match="no previous version"):
        registry.rollback("m", reason="worse")
    assert statuses(registry) == {"m_1": "current", "m_2": "candidate", "m_3": "candidate"}
    check_healed(registry)


def test_rollback_after_an_older_version_was_promoted_goes_to_what_it_replaced(registry):
    publish(registry, "m_1")
    publish(registry, "m_2")
    registry.promote("m_1", reason="r")
    assert registry.rollback("m", reason="r") == "m_2"
    assert registry.rollback("m", reason="r") == "m_1"


def test_an_export_is_a_copy_that_verifies_anywhere_with_the_key(registry, tmp_path):
    publish(registry, "m_1")
    registry.export("m", tmp_path / "deep" / "copy")
    pem = tmp_path / "key.pem"
    pem.write_bytes(registry.keys.public_key_pem())
    elsewhere = Keys(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="not trusted"):
        bundle.read(tmp_path / "deep" / "copy", elsewhere.trusted())
    elsewhere.trust(pem)
    found = bundle.read(tmp_path / "deep" / "copy", elsewhere.trusted())
    assert found.files["model.json"] == b"m_1"
    with pytest.raises(UsageError, match="exists already"):
        registry.export("m", tmp_path / "deep" / "copy")


def test_prune_keeps_current_its_predecessor_the_newest_others_and_the_protected(registry):
    for i in range(1, 9):
        publish(registry, f"m_{i}", promote=i in (3, 5))
    publish(registry, "n_1", name="n", promote=False)
    assert registry.prune(2, name="m", protected={"m_1"}) == ["m_2", "m_4", "m_6"]
    assert set(statuses(registry)) == {"m_1", "m_3", "m_5", "m_7", "m_8", "n_1"}
    assert registry.prune(0) == ["m_1", "m_7", "m_8", "n_1"]
    assert statuses(registry) == {"m_3": "past", "m_5": "current"}
    assert registry.rollback("m", reason="r") == "m_3"
    with pytest.raises(UsageError, match="cannot keep -1"):
        registry.prune(-1)
    check_healed(registry)


def test_rollback_past_a_pruned_version_goes_to_the_newest_one_kept(registry):
    for model_id in ("m_1", "m_2", "m_3", "m_4"):
        publish(registry, model_id)
    assert registry.prune(0, protected={"m_1"}) == ["m_2"]
    assert registry.rollback("m", reason="r") == "m_3"
    assert registry.rollback("m", reason="r") == "m_1"


def test_a_broken_line_of_history_is_named_with_file_and_line(registry):
    publish(registry, "m_1")
    publish(registry, "m_2")
    path = registry.models_dir / "registry.jsonl"
    good = path.read_bytes().splitlines(keepends=True)
    for broken in (b"{\n", b"[]\n", b"\n", b"{}\n", b"\xff\n", good[0].replace(b"m_1", b"../m")):
        path.write_bytes(broken + good[1])
        with pytest.raises(IntegrityError, match=r"registry\.jsonl line 1 is not a line"):
            registry.versions()
        with pytest.raises(IntegrityError, match="line 1"):
            publish(registry, "m_3")
    assert registry.current("m").name == "m_2"


def test_a_torn_last_line_is_left_out_and_cut_back_by_the_next_publish(registry):
    publish(registry, "m_1")
    with (registry.models_dir / "registry.jsonl").open("ab") as file:
        file.write(b'{"at":"2026')
    assert len(registry.history()) == 1
    publish(registry, "m_2")
    assert [entry["model_id"] for entry in registry.history()] == ["m_1", "m_2"]
    check_healed(registry)


def test_the_link_is_the_record_of_production_and_history_follows_it(registry):
    publish(registry, "m_1")
    publish(registry, "m_2")
    link = registry.models_dir / "current" / "m"
    link.unlink()
    link.symlink_to("../versions/m_1")
    assert statuses(registry) == {"m_1": "current", "m_2": "candidate"}
    assert len(registry.history()) == 2
    publish(registry, "m_3", promote=False)
    healed = [(e["model_id"], e["status"]) for e in registry.history() if e["event"] == "healed"]
    assert healed == [("m_1", "current"), ("m_2", "candidate")]
    check_healed(registry)


def test_a_version_brought_by_hand_becomes_a_candidate_if_its_key_is_trusted(registry, tmp_path):
    other = open_registry(tmp_path / "other")
    publish(other, "m_9")
    publish(registry, "m_1")
    shutil.copytree(other.models_dir / "versions/m_9", registry.models_dir / "versions/m_9")
    assert statuses(registry) == {"m_1": "current", "m_9": "unregistered"}
    publish(registry, "m_2")
    assert statuses(registry)["m_9"] == "unregistered"
    with pytest.raises(IntegrityError, match="not trusted"):
        registry.promote("m_9", reason="r")
    pem = tmp_path / "other.pem"
    pem.write_bytes(other.keys.public_key_pem())
    registry.keys.trust(pem)
    assert registry.promote("m_9", reason="r") == "m_9"
    check_healed(registry)


def test_a_model_signed_for_no_name_stays_unregistered(registry):
    publish(registry, "m_1")
    folder = registry.models_dir / "versions" / "m_2"
    folder.mkdir()
    key = registry.keys.bundle_key()
    signature = sign({"model.json": b"{}"}, name="m_2", key=key, claims={})
    for name, content in {"model.json": b"{}", "model.sig": signature}.items():
        (folder / name).write_bytes(content)
    assert statuses(registry)["m_2"] == "unregistered"
    with pytest.raises(UsageError, match="signed for no model name"):
        registry.promote("m_2", reason="r")


def test_a_user_without_an_account_is_named_by_number(registry, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    publish(registry, "m_1")
    assert registry.history()[0]["by"] == "uid 54321"


def test_a_version_removed_by_hand_is_told_and_can_be_replaced(registry):
    publish(registry, "m_1")
    publish(registry, "m_2")
    shutil.rmtree(registry.models_dir / "versions" / "m_2")
    with pytest.raises(IntegrityError, match="which is not there"):
        registry.current("m")
    assert statuses(registry) == {"m_1": "past"}
    assert registry.rollback("m", reason="r") == "m_1"
    check_healed(registry)


def test_a_folder_in_the_place_of_a_link_is_refused(registry):
    publish(registry, "m_1")
    link = registry.models_dir / "current" / "m"
    link.unlink()
    link.mkdir()
    with pytest.raises(IntegrityError, match="is not a link"):
        publish(registry, "m_2")


def test_what_does_not_fit_on_the_disk_leaves_current_as_it_was(registry):
    publish(registry, "m_1")
    for promote, limit in itertools.product((True, False), (0, 100, 1500, 5000)):
        process = FORK.Process(target=_publish_with_limit, args=(registry, promote, limit))
        process.start()
        process.join()
        assert process.exitcode == 5
        assert check_whole(registry)["m"].name == "m_1"
        check_after_next(registry, f"m_after_{promote}_{limit}")


def _publish_with_limit(registry, promote, limit):
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        registry.publish(
            model_id="m_large",
            name="m",
            files=files_of("m_large", size=10_000),
            claims={},
            promote=promote,
            baseline=None,
            details={},
        )
    except StorageError:
        os._exit(5)
    os._exit(0)


def check_after_next(registry, model_id):
    """The next publish heals everything, and is itself in order."""
    publish(registry, model_id, promote=False)
    check_healed(registry)


def test_a_history_that_cannot_be_written_stops_the_publish_and_current_stays(registry):
    publish(registry, "m_1")
    path = registry.models_dir / "registry.jsonl"
    kept = path.read_bytes()
    path.unlink()
    path.symlink_to("moved")
    (registry.models_dir / "moved").write_bytes(kept)
    with pytest.raises(StorageError, match="append to"):
        publish(registry, "m_2")
    assert registry.current("m").name == "m_1"
    path.unlink()
    path.write_bytes(kept)
    check_after_next(registry, "m_3")
    assert statuses(registry) == {"m_1": "current", "m_2": "candidate", "m_3": "candidate"}


ACTS = {
    "publish": lambda registry: publish(registry, "m_4"),
    "publish as candidate": lambda registry: publish(registry, "m_4", promote=False),
    "promote": lambda registry: registry.promote("m_3", reason="r"),
    "rollback": lambda registry: registry.rollback("m", reason="r"),
    "prune": lambda registry: registry.prune(0),
}
TOUCHING = ("open", "os.rename", "os.mkdir", "os.symlink", "os.remove", "os.rmdir", "os.truncate")


@pytest.mark.parametrize("act", ACTS)
def test_a_kill_before_any_file_operation_of_any_act_is_healed(tmp_path, act):
    start = tmp_path / "start"
    registry = open_registry(start)
    publish(registry, "m_1")
    publish(registry, "m_2")
    publish(registry, "m_3", promote=False)
    for kill_at in itertools.count():
        root = tmp_path / "tried"
        shutil.copytree(start, root, symlinks=True)
        registry = open_registry(root)
        process = FORK.Process(target=_act_and_die, args=(registry, act, kill_at))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        check_whole(registry)
        assert registry.current("m").name in ("m_1", "m_2", "m_3", "m_4")
        seen = statuses(registry)
        check_after_next(registry, "m_5")
        assert {**statuses(registry), "m_5": None} == {**seen, "m_5": None}
        shutil.rmtree(root)
        if process.exitcode == 0:
            break
    assert kill_at > 5


def _act_and_die(registry, act, kill_at):
    count = itertools.count()

    def die(event, _arguments):
        if event in TOUCHING and next(count) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    ACTS[act](registry)
    os._exit(0)


def test_forty_kills_at_random_moments_lose_nothing_that_was_acknowledged(tmp_path):
    rng = np.random.default_rng(8)
    registry = open_registry(tmp_path)
    started = time.monotonic()
    publish(registry, "m_0")
    one_publish = time.monotonic() - started
    acknowledged = tmp_path / "acknowledged"
    acknowledged.touch()
    for life in range(40):
        process = FORK.Process(target=_publish_for_ever, args=(registry, life, acknowledged))
        process.start()
        while acknowledged.read_text().count(f"m_{life}_") < life % 3 and process.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, one_publish))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        check_whole(registry)
        acks = acknowledged.read_text().split()
        assert set(acks) <= {entry["model_id"] for entry in registry.history()}
        check_after_next(registry, f"m_healed_{life}")
        history = registry.history()
        promoted = [entry["model_id"] for entry in history if entry["status"] == "current"]
        mine = [model_id for model_id in acks if model_id.endswith("p")]
        if mine:
            assert promoted.index(mine[-1]) <= promoted.index(registry.current("m").name)
    assert len(acks) >= 39


def _publish_for_ever(registry, life, acknowledged):
    descriptor = os.open(acknowledged, os.O_WRONLY | os.O_APPEND)
    for i in itertools.count():
        model_id = f"m_{life}_{i}{'cp'[i % 2]}"
        publish(registry, model_id, promote=i % 2 == 1)
        os.write(descriptor, f"{model_id}\n".encode())


def test_processes_that_publish_at_once_lose_no_version_and_no_line(tmp_path):
    registry = open_registry(tmp_path)
    processes = [FORK.Process(target=_publish_some, args=(registry, i)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    history = registry.history()
    assert len(history) == len(registry.versions()) == 80
    assert {entry["event"] for entry in history} == {"published"}
    promoted = [entry["model_id"] for entry in history if entry["status"] == "current"]
    assert registry.current("m").name == promoted[-1]
    check_healed(registry)


def _publish_some(registry, who):
    for i in range(20):
        publish(registry, f"m_{who}_{i}")


def test_readers_never_see_a_mix_while_a_writer_promotes(tmp_path):
    registry = open_registry(tmp_path)
    for model_id in ("m_1", "m_2"):
        publish(registry, model_id)
    writer = FORK.Process(target=_swap_for_ever, args=(registry,))
    writer.start()
    try:
        trusted = registry.keys.trusted()
        seen = []
        until = time.monotonic() + 3
        while time.monotonic() < until and (len(seen) < 1000 or len(set(seen)) < 2):
            found = bundle.read(tmp_path / "models" / "current" / "m", trusted)
            assert dict(found.files.items()).items() >= files_of(found.model_id).items()
            seen.append(found.model_id)
    finally:
        writer.kill()
        writer.join()
    assert set(seen) == {"m_1", "m_2"}
    check_after_next(registry, "m_3")


def _swap_for_ever(registry):
    for model_id in itertools.cycle(("m_1", "m_2")):
        registry.promote(model_id, reason="swap")


def test_the_registry_can_be_moved_as_a_whole(registry, tmp_path):
    publish(registry, "m_1")
    Path(registry.models_dir).rename(tmp_path / "moved")
    moved = Registry(tmp_path / "moved", registry.keys, lambda: NOON)
    assert moved.verify("m").model_id == "m_1"


def test_history_lines_are_canonical_json(registry):
    publish(registry, "m_1", note="naïve\n")
    (line,) = (registry.models_dir / "registry.jsonl").read_bytes().splitlines()
    assert json.loads(line)["note"] == "naïve\n"
    assert list(json.loads(line)) == sorted(json.loads(line))


def test_a_model_judged_beside_another_baseline_becomes_a_candidate(registry):
    publish(registry, "m_1")
    late = registry.publish(
        model_id="m_2",
        name="m",
        files={"model.json": b"{}"},
        claims={},
        promote=True,
        baseline=None,
        details={},
    )
    assert not late.promoted
    assert registry.current("m").name == "m_1"
