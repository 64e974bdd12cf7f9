import shutil

import pytest

from nethical.audit.entries import decode_entry
from nethical.audit.files import Folder
from nethical.audit.log import Log
from nethical.audit.merkle import verify_consistency
from nethical.audit.notes import VerifierKey
from nethical.audit.reading import LogReader, SealedTree
from nethical.errors import IntegrityError, UsageError


def test_entries_are_read_by_index_whether_sealed_or_not(make_log):
    log = make_log(300, 3)
    reader = LogReader(log.path, log.key)
    assert (reader.tree_size, len(reader)) == (300, 303)
    for index in (0, 255, 256, 299, 300, 302):
        assert decode_entry(reader.entry(index))["i"] == index
    assert [decode_entry(entry)["i"] for entry in reader.entries(254)] == list(range(254, 303))
    assert [decode_entry(entry)["i"] for entry in reader.entries(301)] == [301, 302]
    for index in (-1, 303):
        with pytest.raises(UsageError, match="the log has 303"):
            reader.entry(index)


def test_a_reader_sees_the_log_as_it_was_when_it_was_opened(make_log):
    log = make_log(250, 3)
    reader = LogReader(log.path, log.key)
    log.extend({"i": i} for i in range(253, 400))
    log.seal()
    assert len(reader) == 253
    assert decode_entry(reader.entry(252))["i"] == 252
    assert not (log.path / "tile/0/000.p").exists()
    reader.receipt(249).verify(reader.entry(249), log.key)
    assert len(list(reader.entries())) == 253


def test_a_few_files_are_all_it_takes_to_read_and_to_prove(make_log, monkeypatch):
    log = make_log(0, seal_every=1 << 20)
    log.extend({"i": i} for i in range(70_000))
    log.seal()
    reader = LogReader(log.path, log.key)
    read = []
    real = Folder.read

    def counted(self, name, *limit):
        read.append(name)
        return real(self, name, *limit)

    monkeypatch.setattr(Folder, "read", counted)
    assert decode_entry(reader.entry(69_000))["i"] == 69_000
    assert len(read) == 1
    read.clear()
    reader.inclusion_proof(1000)
    assert len(read) <= 5


def test_an_entry_that_is_not_sealed_has_no_receipt_yet(make_log):
    reader = LogReader(make_log(3, 2).path)
    with pytest.raises(UsageError, match="entry 3 is not sealed"):
        reader.receipt(3)
    with pytest.raises(UsageError, match="not sealed"):
        reader.inclusion_proof(-1)


def test_a_log_is_proved_to_begin_as_it_once_was(make_log):
    log = make_log(0)
    roots = {}
    for size in (1, 3, 256, 257, 512, 700):
        log.extend({"i": i} for i in range(len(log), size))
        roots[size] = log.seal().checkpoint.root_hash
    reader = LogReader(log.path, log.key)
    for size, root in roots.items():
        assert reader.root_at(size) == root
        verify_consistency(size, 700, root, roots[700], reader.consistency_proof(size))


def test_a_receipt_is_not_made_from_files_that_were_changed(make_log):
    log = make_log(300)
    path = log.path / "tile/entries/000"
    path.write_bytes(path.read_bytes().replace(b'"i":7,', b'"i":8,'))
    reader = LogReader(log.path, log.key)
    with pytest.raises(IntegrityError, match="entry 7 does not lead to the root"):
        reader.receipt(7)
    reader.receipt(9)
    assert reader.receipt(9, with_entry=False).extra is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"x"), "1 bytes instead of 8192|ends after 0"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    ],
)
def test_a_damaged_file_is_named(make_log, change, why):
    log = make_log(300)
    for name, read in {
        "tile/0/000": lambda reader: reader.inclusion_proof(3),
        "tile/entries/000": lambda reader: reader.entry(3),
    }.items():
        change(log.path / name)
        with pytest.raises(IntegrityError, match=f"{name}.*({why})"):
            read(LogReader(log.path, log.key))


def test_only_the_key_that_signed_opens_a_log(make_log, other_key, tmp_path):
    log = make_log(3)
    with pytest.raises(IntegrityError, match="checkpoint: no believed key"):
        LogReader(log.path, VerifierKey.of(log.origin, other_key))
    assert LogReader(log.path).checkpoint.tree_size == 3
    with pytest.raises(IntegrityError, match="holds no log"):
        LogReader(tmp_path)


def test_a_journal_of_another_log_is_not_read_as_ours(make_log, key, tmp_path):
    log, other = make_log(3), Log(tmp_path / "other", key)
    other.extend({"i": i} for i in range(3))
    other.seal()
    other.append({"i": 3})
    shutil.copy(other.path / "pending", log.path)
    assert len(LogReader(log.path, log.key)) == 3


def test_the_last_tiles_are_kept_and_older_ones_read_again(make_log, monkeypatch):
    log = make_log(256 * 70)
    tree = SealedTree(Folder(log.path), 256 * 70)
    read = []
    real = Folder.read
    monkeypatch.setattr(
        Folder, "read", lambda self, name, *limit: (read.append(name), real(self, name, *limit))[1]
    )
    for index in (*range(70), 69, 0):
        tree.hashes(0, index)
    assert len(read) == 71
