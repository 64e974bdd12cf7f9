"""What a crash leaves, and what only a hand can have done."""

import shutil

import pytest

from nethical.audit import recovery
from nethical.audit.entries import decode_entry
from nethical.audit.examine import examine
from nethical.audit.journal import pack_records
from nethical.audit.log import Log
from nethical.audit.reading import LogReader
from nethical.errors import IntegrityError


def logged(log):
    return [decode_entry(entry) for entry in LogReader(log.path, log.key).entries()]


def healed(log, key):
    """Open the log again, and check that it is sound then."""
    again = Log(log.path, key)
    again.seal()
    found = examine(log.path, again.key)
    assert (found.faults, found.warnings) == ([], [])
    return again


@pytest.mark.parametrize("cut", [1, 31, 40])
def test_a_torn_record_is_cut_off_and_that_is_logged(make_log, key, cut):
    log = make_log(3, 3)
    journal = log.path / "pending"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    found = examine(log.path, log.key)
    assert found.sound
    assert [(warning.kind, warning.index) for warning in found.warnings] == [("torn", 5)]
    width = len(whole) // 3
    again = healed(log, key)
    assert logged(again)[5:] == [{"event_type": "recovered", "bytes_dropped": width - cut}]
    assert [each["i"] for each in logged(again)[:5]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("zeros", [1, 12, 300, 5000])
def test_a_journal_that_a_power_cut_left_as_zeros_is_emptied(make_log, key, zeros):
    log = make_log(3)
    (log.path / "pending").write_bytes(bytes(zeros))
    found = examine(log.path, log.key)
    assert (found.faults, [warning.kind for warning in found.warnings]) == ([], ["torn"])
    assert logged(healed(log, key))[3:] == [{"event_type": "recovered", "bytes_dropped": zeros}]


def test_who_opens_a_log_says_how_a_recovery_is_logged(make_log, key):
    log = make_log(3)
    (log.path / "pending").write_bytes(b"\0")
    Log(log.path, key, on_recovery=lambda torn: {"torn": torn}).seal()
    assert logged(log)[-1] == {"torn": 1}


def test_a_write_that_was_interrupted_leaves_nothing_behind(make_log, key):
    log = make_log(3)
    (log.path / ".tmp-0123").write_bytes(b"half")
    assert examine(log.path, log.key).warnings[0].kind == "stray"
    healed(log, key)
    assert not (log.path / ".tmp-0123").exists()


def test_a_log_that_was_interrupted_while_it_was_made_is_made(tmp_path, key):
    whole = Log(tmp_path / "whole", key, origin="nethical.local/a").path
    for names in ([], ["lock"], ["lock", "checkpoints/0"], ["lock", "checkpoints/0", "pending"]):
        folder = tmp_path / f"with{len(names)}"
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(whole / name, folder / name)
        log = Log(folder, key)
        assert log.append({"i": 0}) == 0
        healed(log, key)


@pytest.fixture
def interrupted(make_log, tmp_path):
    """A log sealed at 250 whose seal at 300 was interrupted before a given step."""

    def make(step):
        log = make_log(250, 6, name=f"log{step}", seal_every=1000)
        for i in range(256, 300):
            log.append(make_log.document(i))
        before = tmp_path / f"before{step}"
        shutil.copytree(log.path, before)
        log.seal()
        after = {
            "tiles": lambda: shutil.copytree(
                log.path / "tile", before / "tile", dirs_exist_ok=True
            ),
            "kept": lambda: shutil.copy(log.path / "checkpoints/300", before / "checkpoints"),
            "signed": lambda: shutil.copy(log.path / "checkpoint", before),
            "removed": lambda: shutil.rmtree(before / "tile/0/000.p"),
        }
        for name, do in after.items():
            if name == step:
                break
            do()
        return before, log

    return make


@pytest.mark.parametrize("step", ["tiles", "kept", "signed", "removed", "emptied"])
def test_a_seal_that_was_interrupted_is_done_by_the_next_run(interrupted, key, step):
    folder, whole = interrupted(step)
    found = examine(folder, whole.key)
    assert found.faults == []
    again = Log(folder, key)
    assert again.append({"i": 300}) == 300
    healed(again, key)
    assert [each["i"] for each in logged(again)] == list(range(301))
    assert not (folder / "tile/entries/000.p").exists()


def test_a_seal_that_kept_its_note_is_not_contradicted_by_the_next(interrupted, key, make_log):
    folder, _ = interrupted("signed")
    journal = folder / "pending"
    content = journal.read_bytes()
    journal.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(IntegrityError, match="set back"):
        Log(folder, key)
    assert examine(folder, make_log(0).key).faults[-1].kind == "set back"


def test_a_note_that_others_entries_were_signed_for_is_not_contradicted(interrupted, key):
    folder, whole = interrupted("signed")
    root = LogReader(folder, whole.key).checkpoint.root_hash
    content, _ = pack_records([b'{"i":0}'] * 60, 250, root)
    (folder / "pending").write_bytes(content)
    with pytest.raises(IntegrityError, match="differs from it"):
        Log(folder, key)
    assert "fork" in {fault.kind for fault in examine(folder, whole.key).faults}


def test_a_newer_note_of_another_key_is_refused(interrupted, key):
    folder, _ = interrupted("signed")
    change(folder / "checkpoints/300", -20)
    with pytest.raises(IntegrityError, match=r"checkpoints/300: .*does not fit"):
        Log(folder, key)


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/0/000"])
def test_a_fault_below_an_unfinished_seal_is_told_once(interrupted, name):
    folder, whole = interrupted("emptied")
    (folder / name).unlink()
    found = examine(folder, whole.key)
    assert [(f.file, f.kind) for f in found.faults] == [(name, "missing")]


def test_a_checkpoint_whose_origin_no_log_can_have_is_refused(make_log, key):
    log = make_log(3)
    note = (log.path / "checkpoint").read_bytes()
    (log.path / "checkpoint").write_bytes(note.replace(b"nethical.local", b"nethical+local", 1))
    with pytest.raises(IntegrityError, match="cannot be the name of a log"):
        Log(log.path, key)


def change(path, at, bit=1):
    content = bytearray(path.read_bytes())
    content[at] ^= bit
    path.write_bytes(bytes(content))


def write_and_seal(path, key):
    log = Log(path, key)
    log.append({"i": 302})
    log.seal()


HANDS = {
    "a record in the middle": lambda log, _: change(log / "pending", 50),
    "the last record": lambda log, _: change(log / "pending", -40),
    "the last hash": lambda log, _: change(log / "pending", -1),
    "the length of the last record": lambda log, _: change(log / "pending", -130 + 3, 64),
    "the journal before": lambda log, old: shutil.copy(old / "pending", log),
    "the journal gone": lambda log, _: (log / "pending").unlink(),
    "a link as journal": lambda log, old: (
        (log / "pending").unlink(),
        (log / "pending").symlink_to(old / "pending"),
    ),
    "the checkpoint before": lambda log, old: shutil.copy(old / "checkpoint", log),
    "the checkpoint gone": lambda log, _: (log / "checkpoint").unlink(),
    "the checkpoint empty": lambda log, _: (log / "checkpoint").write_bytes(b""),
    "a bit of the root": lambda log, _: change(log / "checkpoint", 30),
    "a bit of the signature": lambda log, _: change(log / "checkpoint", -10),
    "a tile at the edge": lambda log, _: change(log / "tile/0/001.p/44", 7),
    "a tile above the edge": lambda log, _: change(log / "tile/1/000.p/1", 7),
    "a tile at the edge cut": lambda log, _: (log / "tile/0/001.p/44").write_bytes(bytes(32 * 43)),
    "a tile at the edge gone": lambda log, _: (log / "tile/1/000.p/1").unlink(),
    "an entry at the edge": lambda log, _: change(log / "tile/entries/001.p/44", 7),
    "a folder as bundle": lambda log, _: (
        (log / "tile/entries/001.p/44").unlink(),
        (log / "tile/entries/001.p/44").mkdir(),
    ),
}


@pytest.mark.parametrize("hand", HANDS)
def test_what_no_crash_explains_is_refused_and_not_repaired(make_log, key, tmp_path, hand):
    log = make_log(250, 3, seal_every=1000)
    shutil.copytree(log.path, tmp_path / "old")
    log.extend(make_log.document(i) for i in range(253, 300))
    log.seal()
    log.append(make_log.document(300))
    log.append(make_log.document(301))
    HANDS[hand](log.path, tmp_path / "old")

    with pytest.raises(IntegrityError) as caught:
        write_and_seal(log.path, key)
    assert str(log.path) in caught.value.what
    assert not examine(log.path, log.key).sound


@pytest.mark.parametrize(("older", "newer"), [(5, 7), (9, 10), (99, 100), (0, 2)])
def test_a_log_is_not_written_on_behind_a_checkpoint_that_it_signed(make_log, key, older, newer):
    log = make_log(older)
    kept = shutil.copytree(log.path, log.path.parent / "kept")
    log.extend({"i": i} for i in range(older, newer))
    log.seal()
    shutil.copyfile(log.path / "checkpoints" / str(newer), kept / "checkpoints" / str(newer))
    with pytest.raises(IntegrityError, match=f"ends at {older} entries .* it was set back"):
        Log(kept, key)


def test_a_journal_that_was_changed_under_a_writer_is_refused_by_it(make_log):
    log = make_log(3, 3)
    change(log.path / "pending", -1)
    with pytest.raises(IntegrityError, match="entry 5 was changed"):
        log.append(make_log.document(6))


@pytest.mark.parametrize("name", ["tile/0/001.p/44", "tile/1/000.p/1"])
def test_tiles_that_do_not_lead_to_the_root_are_not_written_on(make_log, key, name):
    log = make_log(300)
    change(log.path / name, 7)
    with pytest.raises(IntegrityError, match="do not lead to the signed root"):
        Log(log.path, key)


def test_an_old_journal_put_back_is_emptied_again(make_log, key):
    log = make_log(250, 3, seal_every=1000)
    old = (log.path / "pending").read_bytes()
    log.seal()
    (log.path / "pending").write_bytes(old)
    assert examine(log.path, log.key).warnings[0].kind == "unfinished"
    healed(log, key)
    log.append(make_log.document(253))
    log.seal()
    (log.path / "pending").write_bytes(old)
    assert examine(log.path, log.key).faults[0].kind == "set back"
    with pytest.raises(IntegrityError, match="ends at entry 253, the sealed entries at 254"):
        Log(log.path, key)


def test_a_journal_that_goes_on_over_its_seal_is_refused(make_log, key):
    log = make_log(5)
    root = LogReader(log.path, log.key).root_at(3)
    entries = list(LogReader(log.path, log.key).entries(3))
    content, _ = pack_records([*entries, b'{"i":5}'], 3, root)
    (log.path / "pending").write_bytes(content)
    with pytest.raises(IntegrityError, match="ends at entry 6, the sealed entries at 5"):
        Log(log.path, key)
    content, _ = pack_records([entries[0], b'{"i":4}'], 3, root)
    (log.path / "pending").write_bytes(content)
    with pytest.raises(IntegrityError, match="entry 4 is not what was sealed"):
        Log(log.path, key)


def test_a_journal_beyond_any_writers_is_refused(make_log, key, monkeypatch):
    log = make_log(3, 3)
    monkeypatch.setattr(recovery, "MAX_JOURNAL_BYTES", 100)
    with pytest.raises(IntegrityError, match="larger than any writer"):
        Log(log.path, key)


def test_a_tile_that_is_there_with_other_bytes_is_refused(make_log):
    log = make_log(3, 2)
    (log.path / "tile/entries/000.p/5").write_bytes(b"other")
    with pytest.raises(IntegrityError, match="holds other bytes"):
        log.seal()


def test_a_folder_of_something_else_is_not_made_a_log(tmp_path, key):
    (tmp_path / "log" / "tile").mkdir(parents=True)
    (tmp_path / "log" / "tile" / "x").touch()
    with pytest.raises(IntegrityError, match="its checkpoint is missing"):
        Log(tmp_path / "log", key)


@pytest.mark.parametrize("entry", [b"no JSON", b'{"b":1,"a":2}', b"[" * 9_000 + b"]" * 9_000])
@pytest.mark.parametrize("is_open", [True, False])
def test_no_key_seals_what_somebody_put_into_the_journal_that_is_no_entry(
    make_log, key, entry, is_open
):
    """The chain of the journal is no signature: whoever may write the file can go on with it."""
    log = make_log(3, 1)
    state = log._state
    record = pack_records([entry], state.size, state.head)[0]
    with (log.path / "pending").open("ab") as journal:
        journal.write(record)
    with pytest.raises(IntegrityError, match="the record of entry 4 is no entry"):
        (log if is_open else Log(log.path, key)).append({"i": 5})
    assert LogReader(log.path, log.key).tree_size == 3
