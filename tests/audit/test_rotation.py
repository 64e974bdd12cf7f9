"""A log that changes its key: who believes one key of it believes the others, and no more."""

import base64
import json
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nethical.audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from nethical.audit.examine import examine
from nethical.audit.log import Log
from nethical.audit.notes import VerifierKey
from nethical.audit.reading import LogReader
from nethical.audit.rotation import believed_keys, open_log
from nethical.audit.rotation import rotated as rotated_entry
from nethical.audit.verification import verify
from nethical.errors import IntegrityError

ORIGIN = "nethical.local/test"


def private(seed):
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


FIRST, SECOND, THIRD, STRANGER = (private(seed) for seed in (1, 2, 3, 9))
VKEYS = [VerifierKey.of(ORIGIN, key) for key in (FIRST, SECOND, THIRD)]


def grow(path, key, n, *earlier):
    log = Log(path, key, origin=ORIGIN, earlier=earlier)
    for i in range(n):
        log.append({"i": i})
    log.seal()
    return log


@pytest.fixture
def rotated(tmp_path):
    """A log of three keys, that was handed over twice."""
    path = tmp_path / "log"
    grow(path, FIRST, 5)
    grow(path, FIRST, 300)
    grow(path, SECOND, 3, FIRST)
    grow(path, THIRD, 260, SECOND, FIRST)
    return path


@pytest.mark.parametrize("named", VKEYS, ids=["first", "second", "last"])
def test_any_one_key_of_a_log_leads_to_all_of_them(rotated, named):
    assert believed_keys(rotated, [named]) == VKEYS
    found = examine(rotated, named)
    assert found.faults == []
    assert found.checkpoints > 5
    assert open_log(rotated, [named]).tree_size == 5 + 300 + 1 + 3 + 1 + 260


def test_the_hand_over_is_an_entry_that_the_old_key_sealed(rotated):
    reader = LogReader(rotated, VKEYS[2])
    entry = json.loads(reader.entry(305))
    assert entry == {
        "event_type": "key_rotated",
        "old_key": VKEYS[0].to_vkey(),
        "new_key": VKEYS[1].to_vkey(),
    }
    note = (rotated / "checkpoints" / "306").read_bytes()
    assert open_checkpoint(note, VKEYS[0]).tree_size == 306


def test_a_log_that_was_handed_over_and_not_written_since_is_the_new_keys(tmp_path):
    path = tmp_path / "log"
    grow(path, FIRST, 2)
    log = Log(path, SECOND, earlier=[FIRST])
    assert len(log) == 3
    for named in VKEYS[:2]:
        assert examine(path, named).faults == []
        assert open_log(path, [named]).tree_size == 3
    with pytest.raises(IntegrityError, match="no believed key signed it"):
        Log(path, FIRST)


def test_a_writer_that_still_has_the_old_key_is_stopped(tmp_path):
    path = tmp_path / "log"
    old = grow(path, FIRST, 2)
    grow(path, SECOND, 1, FIRST)
    with pytest.raises(IntegrityError, match=r"handed over to the key .* not in the key folder"):
        old.append({"i": 9})
    assert examine(path, VKEYS[0]).faults == []


def test_a_kill_between_the_two_signatures_is_healed_by_a_second_hand_over(tmp_path):
    path = tmp_path / "log"
    grow(path, FIRST, 2)
    Log(path, SECOND, earlier=[FIRST])
    shutil.copyfile(path / "checkpoints" / "3", path / "checkpoint")
    grow(path, SECOND, 1, FIRST)
    assert examine(path, VKEYS[0]).faults == []
    assert believed_keys(path, [VKEYS[0]]) == VKEYS[:2]


def test_an_entry_of_a_hand_over_that_was_not_sealed_by_the_old_key_leads_nowhere(tmp_path):
    """The holder of another key writes that it was handed the log."""
    path = tmp_path / "log"
    grow(path, FIRST, 2)
    copy = shutil.copytree(path, tmp_path / "copy")
    log = Log(copy, FIRST)
    log.append({"event_type": "key_rotated", "old_key": VKEYS[0].to_vkey(), "new_key": "x"})
    log.seal()
    note = sign_checkpoint(LogReader(copy).checkpoint, STRANGER)
    (copy / "checkpoint").write_bytes(note)
    assert believed_keys(copy, [VKEYS[0]]) == [VKEYS[0]]
    assert [fault.kind for fault in examine(copy, VKEYS[0]).faults] == ["signature"]
    with pytest.raises(IntegrityError, match="nor by one that followed it"):
        open_log(copy, [VKEYS[0]])


def test_a_stranger_cannot_rewrite_the_log_and_claim_to_have_been_handed_it(tmp_path):
    path = tmp_path / "log"
    grow(path, FIRST, 4)
    forged = tmp_path / "forged"
    log = Log(forged, STRANGER, origin=ORIGIN)
    log.append({"i": "other"})
    stranger = VerifierKey.of(ORIGIN, STRANGER)
    log.append(
        {
            "event_type": "key_rotated",
            "old_key": VKEYS[0].to_vkey(),
            "new_key": stranger.to_vkey(),
        }
    )
    log.seal()
    shutil.copyfile(path / "checkpoints" / "0", forged / "checkpoints" / "0")
    assert believed_keys(forged, [VKEYS[0]]) == [VKEYS[0]]
    assert not examine(forged, VKEYS[0]).sound


def test_a_stranger_cannot_claim_to_have_handed_a_log_over(tmp_path):
    stranger, path = VerifierKey.of(ORIGIN, STRANGER), tmp_path / "log"
    log = Log(path, STRANGER, origin=ORIGIN)
    log.append(rotated_entry(stranger, VKEYS[0]))
    log.seal()
    text = (path / "checkpoint").read_bytes().rsplit(b" ", 1)[0]
    mark = base64.b64encode(VKEYS[0].key_id + bytes(64))
    (path / "checkpoint").write_bytes(text + b" " + mark + b"\n")
    assert believed_keys(path, [VKEYS[0]]) == [VKEYS[0]]
    (path / "checkpoint").write_bytes(sign_checkpoint(LogReader(path).checkpoint, FIRST))
    assert believed_keys(path, [VKEYS[0]]) == [stranger, VKEYS[0]]
    (path / "checkpoints" / "0").unlink()
    assert believed_keys(path, [VKEYS[0]]) == [stranger, VKEYS[0]]


def test_a_key_that_was_replaced_signs_nothing_more(rotated):
    head = LogReader(rotated).checkpoint
    note = sign_checkpoint(Checkpoint(ORIGIN, head.tree_size, head.root_hash), FIRST)
    (rotated / "checkpoints" / str(head.tree_size)).write_bytes(note)
    found = examine(rotated, VKEYS[2])
    assert [fault.file for fault in found.faults] == [f"checkpoints/{head.tree_size}"]
    assert "a key that was replaced" in found.faults[0].what


def test_a_line_that_bears_a_believed_name_and_does_not_fit_hides_no_key(rotated):
    broken = rotated / "checkpoints" / "305"
    text, mark = broken.read_bytes().rsplit(b" ", 1)
    kept = base64.b64decode(mark)
    broken.write_bytes(text + b" " + base64.b64encode(kept[:-1] + bytes([kept[-1] ^ 1])) + b"\n")
    for named in VKEYS:
        assert believed_keys(rotated, [named]) == VKEYS
        (fault,) = examine(rotated, named).faults
        assert (fault.file, fault.kind) == ("checkpoints/305", "signature")


def test_a_note_that_claims_a_key_at_the_hand_over_without_its_signature_leads_nowhere(rotated):
    """Whose name a line bears is enough to look no further, and never to believe a key."""
    handed_over = rotated / "checkpoints" / "306"
    text = handed_over.read_bytes().rsplit(b" ", 1)[0]
    mark = base64.b64encode(VKEYS[0].key_id + bytes(64))
    handed_over.write_bytes(text + b" " + mark + b"\n")
    assert believed_keys(rotated, [VKEYS[0]]) == [VKEYS[0]]
    assert ("checkpoints/306", "signature") in {
        (fault.file, fault.kind) for fault in examine(rotated, VKEYS[0]).faults
    }


def test_a_checkpoint_between_the_keys_that_is_gone_breaks_the_way(rotated):
    (rotated / "checkpoints" / "306").unlink()
    assert believed_keys(rotated, [VKEYS[0]]) == [VKEYS[0]]
    assert examine(rotated, VKEYS[2]).fault_count


def test_a_replaced_key_that_goes_on_is_a_fault_though_no_newer_checkpoint_is_left(rotated):
    """Whoever stole the old key takes the log from the hand-over on."""
    handed_over = rotated / "checkpoints" / "306"
    assert open_checkpoint(handed_over.read_bytes(), VKEYS[0]).tree_size == 306
    entries = list(LogReader(rotated, VKEYS[2]).entries())[:306]
    shutil.rmtree(rotated)
    log = Log(rotated, FIRST, origin=ORIGIN)
    log._commit(entries)
    assert verify(rotated, VKEYS[:1]).examined.faults == []
    log.seal()
    assert verify(rotated, VKEYS[:1]).examined.faults == []
    log.append({"i": 1})
    log.seal()
    (fault,) = verify(rotated, VKEYS[:1]).examined.faults
    assert (fault.file, fault.index, fault.kind) == ("checkpoint", 306, "signature")
