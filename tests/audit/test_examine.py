"""Every way to change a stored log, of those in research/audit.md that concern the log itself."""

import os
import random
import shutil
import stat
from dataclasses import replace

import pytest

from nethical.audit.checkpoint import (
    Checkpoint,
    open_checkpoint,
    read_checkpoint,
    sign_checkpoint,
)
from nethical.audit.examine import examine
from nethical.audit.log import Log
from nethical.audit.merkle import leaf_hash, leaf_hashes, subtree_hash
from nethical.audit.notes import VerifierKey
from nethical.audit.tiles import decode_bundle, encode_bundle
from nethical.errors import IntegrityError

SIZE = 600
ORIGIN = "nethical.local/test"


@pytest.fixture(scope="module")
def kept(tmp_path_factory, key):
    """A log that was sealed at 0, 3, 258 and 600 entries, and has two more."""
    from types import SimpleNamespace

    path = tmp_path_factory.mktemp("kept") / "log"
    log = Log(path, key, origin=ORIGIN, seal_every=1000)
    older = path.parent / "older"
    for size in (3, 258, SIZE):
        log.extend({"i": i, "m": "x" * (i % 7)} for i in range(len(log), size))
        log.seal()
        if size == 258:
            shutil.copytree(path, older)
    log.extend({"i": i} for i in (600, 601))
    return SimpleNamespace(path=path, older=older, key=log.key)


@pytest.fixture
def log(kept, tmp_path):
    """A copy of that log, to be changed."""
    return shutil.copytree(kept.path, tmp_path / "log")


def change(path, at, bit=1):
    content = bytearray(path.read_bytes())
    content[at] ^= bit
    path.write_bytes(bytes(content))


def rewrite(path, do):
    path.write_bytes(do(path.read_bytes()))


def bundle(path, do):
    """Decode a full bundle, let a function change its entries, and encode it."""
    entries = decode_bundle(path.read_bytes(), 256)
    path.write_bytes(encode_bundle(do(entries)))


def swap(entries):
    entries[5], entries[9] = entries[9], entries[5]
    return entries


def together(log, level):
    """Change entry 300 and its hashes up to a level."""
    entries = decode_bundle((log / "tile/entries/001").read_bytes(), 256)
    entries[44] = b'{"i":"other"}'
    (log / "tile/entries/001").write_bytes(encode_bundle(entries))
    hashes = b"".join(leaf_hashes(entries))
    (log / "tile/0/001").write_bytes(hashes)
    if level:
        first = (log / "tile/1/000.p/2").read_bytes()[:32]
        (log / "tile/1/000.p/2").write_bytes(first + subtree_hash(hashes))


def lines(edit):
    """Change the lines of the checkpoint."""

    def do(log):
        note = (log / "checkpoint").read_text().split("\n")
        edit(note)
        (log / "checkpoint").write_text("\n".join(note))

    return do


def link(log, name):
    (log / name).rename(log / "elsewhere")
    (log / name).symlink_to(log / "elsewhere")


def folder(log, name):
    (log / name).unlink()
    (log / name).mkdir()


B0, B1, B2 = "tile/entries/000", "tile/entries/001", "tile/entries/002.p/88"
T0, T1, T2, UP = "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"
CASES = {
    "a bit of a full bundle": (lambda p: change(p / B0, 50), (B0, 2, "changed")),
    "a bit of the second bundle": (lambda p: change(p / B1, -1), (B1, 511, "changed")),
    "a bit of a partial bundle": (lambda p: change(p / B2, 4), (B2, 512, "changed")),
    "a bit of a full tile": (lambda p: change(p / T0, 7 * 32), (T0, 7, "changed")),
    "a bit of a partial tile": (lambda p: change(p / T2, 8 * 32), (T2, 520, "changed")),
    "a bit of a tile above": (lambda p: change(p / UP, 40), (UP, 256, "changed")),
    "an older partial tile": (
        lambda p: change(p / "tile/1/000.p/1", 4),
        ("tile/1/000.p/1", 0, "changed"),
    ),
    "an entry and its hash": (lambda p: together(p, 0), (T1, 256, "changed")),
    "an entry and all hashes": (lambda p: together(p, 1), ("checkpoint", None, "root")),
    "entries swapped": (lambda p: bundle(p / B0, swap), (B0, 5, "changed")),
    "an entry dropped": (lambda p: bundle(p / B0, lambda e: e[:5] + e[6:]), (B0, 0, "length")),
    "an entry dropped and one added": (
        lambda p: bundle(p / B0, lambda e: e[:5] + e[6:] + [b"{}"]),
        (B0, 5, "changed"),
    ),
    "an entry doubled": (
        lambda p: bundle(p / B0, lambda e: e[:6] + e[5:6] + e[7:]),
        (B0, 6, "changed"),
    ),
    "an entry inserted": (
        lambda p: bundle(p / B0, lambda e: [*e[:5], b"{}", *e[5:]]),
        (B0, 0, "length"),
    ),
    "bytes after a bundle": (lambda p: rewrite(p / B0, lambda c: c + b"\0"), (B0, 0, "length")),
    "a length past the end": (lambda p: change(p / B2, 0, 0x80), (B2, 512, "length")),
    "a bundle cut": (lambda p: rewrite(p / B2, lambda c: c[:-1]), (B2, 512, "length")),
    "an empty bundle": (lambda p: rewrite(p / B0, lambda _: b""), (B0, 0, "length")),
    "an empty tile": (lambda p: rewrite(p / T0, lambda _: b""), (T0, 0, "length")),
    "a tile of one hash less": (lambda p: rewrite(p / T1, lambda c: c[:-32]), (T1, 256, "length")),
    "a tile of one hash more": (
        lambda p: rewrite(p / T2, lambda c: c + c[:32]),
        (T2, 512, "length"),
    ),
    "no bundle": (lambda p: (p / B1).unlink(), (B1, 256, "missing")),
    "no partial bundle": (lambda p: (p / B2).unlink(), (B2, 512, "missing")),
    "no tile": (lambda p: (p / T1).unlink(), (T1, 256, "missing")),
    "no tile above": (lambda p: (p / UP).unlink(), (UP, 0, "missing")),
    "no tiles at all": (lambda p: shutil.rmtree(p / "tile"), (B0, 0, "missing")),
    "a link as tile": (lambda p: link(p, T0), (T0, 0, "not a file")),
    "a folder as bundle": (lambda p: folder(p, B1), (B1, 256, "not a file")),
    "a tile for another": (lambda p: shutil.copy(p / T1, p / T0), (T0, 0, "changed")),
    "a bundle for another": (lambda p: shutil.copy(p / B1, p / B0), (B0, 0, "changed")),
    "no checkpoint": (lambda p: (p / "checkpoint").unlink(), ("checkpoint", None, "missing")),
    "an empty checkpoint": (
        lambda p: (p / "checkpoint").write_bytes(b""),
        ("checkpoint", None, "length"),
    ),
    "a link as checkpoint": (lambda p: link(p, "checkpoint"), ("checkpoint", None, "not a file")),
    "another origin": (
        lines(lambda note: note.__setitem__(0, "example.com/b")),
        ("checkpoint", None, "signature"),
    ),
    "another size": (
        lines(lambda note: note.__setitem__(1, "599")),
        ("checkpoint", None, "signature"),
    ),
    "a smaller size": (
        lines(lambda note: note.__setitem__(1, "258")),
        ("checkpoint", None, "signature"),
    ),
    "a larger size": (
        lines(lambda note: note.__setitem__(1, "601")),
        ("checkpoint", None, "signature"),
    ),
    "another root": (
        lines(lambda note: note.__setitem__(2, "A" * 43 + "=")),
        ("checkpoint", None, "signature"),
    ),
    "a line more": (lines(lambda note: note.insert(3, "more")), ("checkpoint", None, "signature")),
    "a control character": (
        lines(lambda note: note.insert(3, "\r")),
        ("checkpoint", None, "changed"),
    ),
    "another signature": (
        lambda p: change(p / "checkpoint", -20, 1),
        ("checkpoint", None, "signature"),
    ),
    "another key id": (
        lines(lambda note: note.__setitem__(4, note[4].replace("test ", "test A"))),
        ("checkpoint", None, "changed"),
    ),
    "a kept note gone": (
        lambda p: (p / "checkpoints/600").unlink(),
        ("checkpoints/600", None, "missing"),
    ),
    "a kept note changed": (
        lambda p: change(p / "checkpoints/258", -20),
        ("checkpoints/258", None, "signature"),
    ),
    "a kept note for another": (
        lambda p: shutil.copy(p / "checkpoints/3", p / "checkpoints/258"),
        ("checkpoints/258", None, "changed"),
    ),
    "a kept note empty": (
        lambda p: (p / "checkpoints/258").write_bytes(b""),
        ("checkpoints/258", None, "length"),
    ),
    "the checkpoint of before": (
        lambda p: shutil.copy(p / "checkpoints/258", p / "checkpoint"),
        ("pending", 258, "set back"),
    ),
    "the checkpoint of before, and no journal": (
        lambda p: (
            shutil.copy(p / "checkpoints/258", p / "checkpoint"),
            (p / "pending").write_bytes(b""),
        ),
        ("checkpoint", 258, "set back"),
    ),
    "no journal": (lambda p: (p / "pending").unlink(), ("pending", 600, "missing")),
    "a link as journal": (lambda p: link(p, "pending"), ("pending", None, "not a file")),
    "a bit of the journal": (lambda p: change(p / "pending", 14), ("pending", 600, "changed")),
    "a bit of the last record": (lambda p: change(p / "pending", -1), ("pending", 601, "changed")),
    "a record of the journal dropped": (
        lambda p: rewrite(p / "pending", lambda c: c[len(c) // 2 :]),
        ("pending", 600, "set back"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_revealed_by_file_entry_and_kind(kept, log, case):
    edit, expected = CASES[case]
    edit(log)
    found = examine(log, kept.key)
    assert [(f.file, f.index, f.kind) for f in found.faults if f.kind == expected[2]][:1] == [
        expected
    ], found.faults
    assert found.faults[0].what
    with pytest.raises(IntegrityError, match="not what was signed") as caught:
        found.check()
    assert str(found.faults[0]) in caught.value.what


def test_one_change_is_one_fault(kept, log):
    for name, at in [(B0, 50), (T0, 224), (UP, 40), (B2, 4), (T2, 256)]:
        change(log / name, at)
        assert examine(log, kept.key).fault_count == 1
        change(log / name, at)
    change(log / UP, 40)
    change(log / T2, 0)
    change(log / B0, 50)
    assert sorted(f.file for f in examine(log, kept.key).faults) == sorted([UP, T2, B0])
    change(log / UP, 0)  # nothing above says any more which of the two is right below
    assert {f.file for f in examine(log, kept.key).faults} >= {UP, T2, T0, B0}


def test_an_unchanged_log_is_sound_and_says_what_was_proved(kept, log):
    found = examine(log, kept.key)
    assert (found.faults, found.warnings, found.sound) == ([], [], True)
    assert (found.checkpoint.tree_size, found.unsealed, found.checkpoints) == (600, 2, 4)
    assert found.anchored_size is None
    found.check()


def test_a_log_is_examined_without_writing_to_it(kept, log):
    def everything():
        return {
            path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes())
            for path in log.rglob("*")
        }

    for path in [log, *log.rglob("*")]:
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    before = everything()
    assert examine(log, kept.key).sound
    assert everything() == before
    for path in [log, *log.rglob("*")]:
        path.chmod(stat.S_IRWXU)
    (log / "lock").unlink()
    assert examine(log, kept.key).sound


def test_without_a_key_the_files_are_checked_and_no_signature_is(kept, log):
    found = examine(log, None)
    assert found.sound
    assert [(w.file, w.kind) for w in found.warnings] == [("checkpoint", "unsigned")]
    change(log / B0, 50)
    assert examine(log, None).faults[0].file == B0
    assert examine(kept.path, None).sound


def test_another_key_under_the_same_name_is_not_believed(kept, log, other_key):
    note = (log / "checkpoint").read_bytes()
    forged = sign_checkpoint(open_checkpoint(note, kept.key), other_key)
    for name in ("checkpoint", "checkpoints/600"):
        (log / name).write_bytes(forged)
    assert [f.file for f in examine(log, kept.key).faults] == ["checkpoint", "checkpoints/600"]
    wrong = VerifierKey.of(ORIGIN, other_key)
    assert examine(kept.path, wrong).faults[0].kind == "signature"


def test_lines_that_others_add_to_a_checkpoint_are_left_alone(kept, log, other_key):
    note = (log / "checkpoint").read_bytes()
    other = sign_checkpoint(
        replace(open_checkpoint(note, kept.key), origin="example.com/b"), other_key
    )
    (log / "checkpoint").write_bytes(note + other.split(b"\n\n")[1])
    assert examine(log, kept.key).sound


def test_a_log_that_was_set_back_whole_is_revealed_only_by_what_is_known_elsewhere(kept):
    known = open_checkpoint((kept.path / "checkpoint").read_bytes(), kept.key)
    assert examine(kept.older, kept.key).sound
    found = examine(kept.older, kept.key, known=[known])
    assert [(f.file, f.index, f.kind) for f in found.faults] == [("checkpoint", 258, "set back")]
    older = open_checkpoint((kept.older / "checkpoint").read_bytes(), kept.key)
    assert examine(kept.path, kept.key, known=[older, known]).anchored_size == 600
    assert examine(kept.path, kept.key, known=[older]).anchored_size == 258


def test_a_log_that_its_key_wrote_anew_is_revealed_only_by_what_is_known_elsewhere(
    kept, tmp_path, key
):
    anew = Log(tmp_path / "anew", key, origin=ORIGIN)
    anew.extend({"i": -i} for i in range(SIZE))
    anew.seal()
    known = open_checkpoint((kept.older / "checkpoint").read_bytes(), kept.key)
    assert examine(anew.path, kept.key).sound
    for each in (known, open_checkpoint((kept.path / "checkpoint").read_bytes(), kept.key)):
        assert examine(anew.path, kept.key, known=[each]).faults[0].kind == "fork"
    foreign = replace(known, origin="example.com/b")
    assert "example.com/b" in examine(kept.path, kept.key, known=[foreign]).faults[0].what


def test_two_notes_of_one_size_in_the_log_are_a_fork(kept, log, key):
    forked = sign_checkpoint(Checkpoint(ORIGIN, 258, leaf_hash(b"other")), key)
    (log / "checkpoints/258").write_bytes(forked)
    assert [(f.file, f.kind) for f in examine(log, kept.key).faults] == [
        ("checkpoints/258", "fork")
    ]


def test_a_fork_is_told_from_the_log_at_every_size(tmp_path, key):
    path, sizes = tmp_path / "log", range(1, 300)
    log = Log(path, key, origin=ORIGIN)
    for i in sizes:
        log.append({"i": i})
        log.seal()
    found = examine(path, log.key)
    assert (found.faults, found.checkpoints) == ([], 300)
    for size in sizes[:-1]:
        after = read_checkpoint((path / "checkpoints" / str(size + 1)).read_bytes())
        forked = sign_checkpoint(replace(after, tree_size=size), key)
        (path / "checkpoints" / str(size)).write_bytes(forked)
    told = [(fault.file, fault.kind) for fault in examine(path, log.key, limit=300).faults]
    assert told == [(f"checkpoints/{size}", "fork") for size in sizes[:-1]]


@pytest.mark.parametrize("entry", [b'{"i": 1}', b'{"b":1,"a":2}', b'{"a":1,"a":1}', b"\xff", b""])
def test_an_entry_that_is_not_canonical_is_revealed_though_it_was_signed(tmp_path, key, entry):
    log = Log(tmp_path / "log", key)
    log.extend([{"i": 0}, {"i": 1}])
    log._commit([entry])
    assert [(f.file, f.index, f.kind) for f in examine(log.path, log.key).faults] == [
        ("pending", 2, "not canonical")
    ]
    log.seal()
    found = examine(log.path, log.key)
    assert [(f.file, f.index, f.kind) for f in found.faults] == [
        ("tile/entries/000.p/3", 2, "not canonical")
    ]
    assert examine(log.path, log.key, contents=False).sound


def test_a_journal_beyond_any_writers_is_a_fault(kept, log, monkeypatch):
    monkeypatch.setattr("nethical.audit.examine.MAX_JOURNAL_BYTES", 10)
    assert [(f.file, f.kind) for f in examine(log, kept.key).faults] == [("pending", "length")]


def test_without_a_key_notes_of_another_log_are_told_by_their_name(log, key):
    other = sign_checkpoint(Checkpoint("example.com/b", 258, bytes(32)), key)
    (log / "checkpoints/258").write_bytes(other)
    found = examine(log, None)
    assert [(f.file, f.kind) for f in found.faults][:1] == [("checkpoints/258", "changed")]
    assert "example.com/b" in found.faults[0].what


def test_an_older_bundle_that_is_cut_is_told(make_log):
    writer = make_log(3)
    writer.append({"i": 3})
    writer.seal()
    (writer.path / "tile/entries/000.p/3").write_bytes(b"\0")
    found = examine(writer.path, writer.key)
    assert [(f.file, f.kind) for f in found.faults] == [("tile/entries/000.p/3", "changed")]


def test_when_nothing_above_decides_the_entries_are_believed(kept, log):
    (log / UP).unlink()
    change(log / T0, 3)
    assert [(f.file, f.kind) for f in examine(log, kept.key).faults] == [
        (T0, "changed"),
        (UP, "missing"),
    ]


def test_files_that_are_no_part_of_a_log_are_told(kept, log):
    strays = [
        *("tile/0/000.p/3", "tile/0/x1/000", "tile/0/003", "tile/2/000", "tile/x", "notes.txt"),
        *("checkpoints/a", "tile/entries/002.p/89", ".tmp-1"),
    ]
    for name in strays:
        (log / name).parent.mkdir(exist_ok=True, parents=True)
        (log / name).write_bytes(b"x")
    found = examine(log, kept.key)
    assert found.sound
    assert {w.file for w in found.warnings} == set(strays)
    assert {w.kind for w in found.warnings} == {"stray"}


def test_faults_beyond_a_limit_are_counted(kept, log):
    for at in range(200):
        change(log / T0, at * 32)
    found = examine(log, kept.key, limit=10)
    bundle(log / B0, lambda _: [b"{}"] * 256)
    assert (found.fault_count, len(found.faults)) == (1, 1)
    found = examine(log, kept.key, limit=10)
    assert found.fault_count > 255
    assert len(found.faults) == 10
    with pytest.raises(IntegrityError, match=r"and \d+ more"):
        found.check()


def test_who_examines_may_see_every_entry_once_in_order(kept):
    seen = []
    examine(kept.path, kept.key, each=lambda first, entries: seen.append((first, len(entries))))
    assert seen == [(0, 256), (256, 256), (512, 88), (600, 2)]


def test_a_folder_without_a_log_is_an_error_that_says_so(tmp_path):
    for folder_ in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(IntegrityError, match="holds no log"):
            examine(folder_, None)


def random_edit(rng, files, log):
    """Make one random change to one file; return what it was."""
    name = rng.choice(sorted(files))
    before, path = files[name], log / name
    kind = rng.choice(["flip", "flip", "flip", "insert", "delete", "cut", "remove", "zero", "copy"])
    at = rng.randrange(len(before)) if before else 0
    after = {
        "flip": before[:at]
        + bytes(x ^ (1 << rng.randrange(8)) for x in before[at : at + 1])
        + before[at + 1 :],
        "insert": before[:at] + rng.randbytes(rng.randrange(1, 40)) + before[at:],
        "delete": before[:at] + before[at + rng.randrange(1, 40) :],
        "cut": before[:at],
        "remove": None,
        "zero": before[:at] + bytes(32) + before[at + 32 :],
        "copy": files[rng.choice(sorted(files))],
    }[kind]
    if after is None:
        path.unlink()
    else:
        path.write_bytes(after)
    return name, at, kind, after


def edits(kept, tmp_path, count, seed, key):
    """Change a small log in many ways, one at a time, and return those that went unnoticed.

    Left out is what no log can tell by itself: the journal cut where a record ends, and an old
    checkpoint gone from those that are kept.
    """
    log = shutil.copytree(kept, tmp_path / "log")
    files = {
        str(path.relative_to(log)): path.read_bytes() for path in log.rglob("*") if path.is_file()
    }
    del files["lock"]
    size = read_checkpoint(files["checkpoint"]).tree_size
    journal = files["pending"]
    edges = [journal[: len(journal) // 2], b"", journal]
    rng, unnoticed, done = random.Random(seed), [], 0
    while done < count:
        name, at, kind, after = random_edit(rng, files, log)
        possible = after != files[name] and not (
            (name == "pending" and after in edges)
            or (
                kind == "remove"
                and name.startswith("checkpoints/")
                and name != f"checkpoints/{size}"
            )
        )
        if possible:
            done += 1
            found = examine(log, key)
            if not (found.faults or [w for w in found.warnings if w.kind == "torn"]):
                unnoticed.append((name, at, kind))
        (log / name).write_bytes(files[name])
    assert examine(log, key).warnings == []
    return unnoticed


@pytest.fixture(scope="module")
def small(tmp_path_factory, key):
    path = tmp_path_factory.mktemp("small") / "log"
    log = Log(path, key, origin=ORIGIN)
    log.extend({"i": i} for i in range(5))
    log.seal()
    log.extend({"i": i} for i in range(5, 258))
    log.seal()
    log.extend({"i": i} for i in range(258, 260))
    return path


def test_two_thousand_random_edits_are_all_noticed(kept, small, tmp_path):
    assert edits(small, tmp_path, 2000, 5, kept.key) == []


@pytest.mark.slow
def test_many_more_random_edits_are_all_noticed(kept, tmp_path):
    assert edits(kept.path, tmp_path, 20_000, os.getpid(), kept.key) == []
