"""A log that was set back or written anew shows, wherever its checkpoints were kept."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from nethical.audit import anchor_git, anchors
from nethical.audit.anchor_programs import CommandAnchor, run
from nethical.audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from nethical.audit.examine import examine
from nethical.audit.log import Log
from nethical.audit.notes import VerifierKey, sign_note
from nethical.errors import IntegrityError, StorageError, UsageError

ORIGIN = "nethical.local/test"
KINDS = ("file", "git", "command")
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "keep-checkpoints-elsewhere.md"
ODD = (
    *("../../x", "/etc/x", "a/../../b", "..", ".", ".git", "-rf", "--help", "$HOME;`id`", "*?[a]"),
    *("ü/\N{SNOWMAN}", "a\\b", "x" * 300, "example.com/log", "~root", "\x7f\x9b2J"),
)


@pytest.fixture(autouse=True)
def _own_git(monkeypatch, tmp_path):
    """Keep git away from the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("KEPT_IN", str(tmp_path / "by-command"))


def git(repository, *arguments):
    done = subprocess.run(
        ["git", "-C", repository, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def repository(tmp_path):
    made = tmp_path / "repository"
    git(tmp_path, "init", "-q", "-b", "main", made)
    git(made, "config", "user.email", "somebody@example.com")
    git(made, "config", "user.name", "Somebody")
    return made


@pytest.fixture
def program(tmp_path):
    """Write the program that the page shows."""
    [text] = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    path = tmp_path / "keeps files.sh"
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def make(tmp_path, repository, program):
    """Return a function that gives the anchor of a kind."""
    specs = {
        "file": f"file:{tmp_path / 'kept' / 'here'}",
        "git": f"git:{repository}",
        "command": f"command:'{program}'",
    }
    return lambda kind: anchors.anchor(specs[kind])


@pytest.fixture(params=KINDS)
def anchor(request, make):
    return make(request.param)


def note_at(size, key, *, origin=ORIGIN, root=b"r"):
    return sign_checkpoint(Checkpoint(origin, size, root * 32), key)


def python(tmp_path, text):
    """Return the anchor of a Python program."""
    path = tmp_path / "program.py"
    path.write_text(text)
    return anchors.anchor(f"command:{sys.executable} {path}")


# --- what every anchor does ------------------------------------------------------------------


def test_what_was_kept_comes_back_in_order_of_size(anchor, key):
    believed = VerifierKey.of(ORIGIN, key)
    for size in (100, 9, 10):
        note = note_at(size, key)
        assert anchors.keep(anchor, note, believed) == open_checkpoint(note, believed)
    assert [c.tree_size for c in anchors.known(anchor, ORIGIN, [believed])] == [9, 10, 100]
    assert anchor.kept(ORIGIN) == [note_at(size, key) for size in (9, 10, 100)]
    assert anchor.give(ORIGIN, 10) == note_at(10, key)
    assert anchor.give(ORIGIN, 11) is None


def test_to_keep_the_same_again_is_fine(anchor, key):
    note = note_at(5, key)
    for _ in range(2):
        anchors.keep(anchor, note, VerifierKey.of(ORIGIN, key))
    assert anchor.kept(ORIGIN) == [note]


def test_another_checkpoint_of_the_same_size_is_refused(anchor, key):
    believed = VerifierKey.of(ORIGIN, key)
    anchors.keep(anchor, note_at(5, key), believed)
    with pytest.raises(IntegrityError, match=f"keeps another one than .* 5 entries of {ORIGIN}"):
        anchors.keep(anchor, note_at(5, key, root=b"s"), believed)
    assert anchor.kept(ORIGIN) == [note_at(5, key)]


def test_what_the_log_did_not_sign_is_not_kept(anchor, key, other_key):
    with pytest.raises(IntegrityError, match="no believed key"):
        anchors.keep(anchor, note_at(5, other_key), VerifierKey.of(ORIGIN, key))
    assert anchor.kept(ORIGIN) == []


def test_an_anchor_that_keeps_nothing_of_the_log_is_no_proof(anchor, key):
    anchors.keep(anchor, note_at(5, key, origin="another"), VerifierKey.of("another", key))
    with pytest.raises(IntegrityError) as found:
        anchors.known(anchor, ORIGIN, [VerifierKey.of(ORIGIN, key)])
    assert found.value.what == f"{anchor.spec} keeps no checkpoint of the log {ORIGIN}"


def test_any_of_several_keys_may_have_signed(anchor, key, other_key):
    old, new = VerifierKey.of(ORIGIN, key), VerifierKey.of(ORIGIN, other_key)
    anchors.keep(anchor, note_at(5, key), old)
    anchors.keep(anchor, note_at(6, other_key), new)
    assert len(anchors.known(anchor, ORIGIN, [old, new])) == 2
    with pytest.raises(IntegrityError) as found:
        anchors.known(anchor, ORIGIN, [old])
    assert anchor.spec in found.value.what
    assert f"of 6 entries kept of {ORIGIN}" in found.value.what


def test_a_key_of_another_name_says_nothing(anchor, key):
    anchors.keep(anchor, note_at(5, key), VerifierKey.of(ORIGIN, key))
    with pytest.raises(IntegrityError, match="none asked for"):
        anchors.known(anchor, ORIGIN, [VerifierKey.of("another", key)])


@pytest.mark.parametrize("origin", ODD)
def test_no_name_of_a_log_leads_out_of_the_anchor(anchor, key, origin, tmp_path):
    before = set(tmp_path.iterdir())
    believed = VerifierKey.of(origin, key)
    anchors.keep(anchor, note_at(5, key, origin=origin), believed)
    assert [c.origin for c in anchors.known(anchor, origin, [believed])] == [origin]
    assert {path.name for path in set(tmp_path.iterdir()) - before} <= {"kept", "by-command"}
    kept = [
        path.relative_to(tmp_path).parts
        for path in tmp_path.rglob("5")
        if path.is_file() and ".git" not in path.relative_to(tmp_path).parts
    ]
    assert len(kept) == 1
    assert kept[0][:-2] in {("kept", "here"), ("by-command",), ("repository", "checkpoints")}
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", kept[0][-2])


def test_logs_whose_names_read_alike_are_told_apart(anchor, key):
    for origin in ("a/b", "a-b", "a.b", "A/b"):
        anchors.keep(anchor, note_at(5, key, origin=origin), VerifierKey.of(origin, key))
    for origin in ("a/b", "a-b", "a.b", "A/b"):
        assert anchor.kept(origin) == [note_at(5, key, origin=origin)]


# --- end to end ------------------------------------------------------------------------------


@pytest.fixture
def written(anchor, tmp_path, key):
    """A log of which three checkpoints were kept, and a copy from after the first."""
    log = Log(tmp_path / "log", key, origin=ORIGIN)
    for size in (3, 300, 310):
        log.extend({"i": i} for i in range(len(log), size))
        assert anchors.keep(anchor, log.seal().note, log.key).tree_size == size
        if size == 3:
            shutil.copytree(log.path, tmp_path / "older")
    return SimpleNamespace(log=log, path=log.path, older=tmp_path / "older", key=log.key)


def examined(path, anchor, key):
    return examine(path, key, known=anchors.known(anchor, ORIGIN, [key]))


def test_a_log_that_only_grew_fits_all_that_was_kept(written, anchor):
    written.log.append({"later": True})
    written.log.seal()
    found = examined(written.path, anchor, written.key)
    assert (found.faults, found.anchored_size) == ([], 310)


def test_a_log_that_was_set_back_shows(written, anchor):
    assert examine(written.older, written.key).sound  # by itself it is what was signed
    found = examined(written.older, anchor, written.key)
    assert {fault.kind for fault in found.faults} == {"set back"}
    assert found.fault_count == 2
    assert found.anchored_size == 3


def test_history_written_anew_by_the_holder_of_the_key_shows(written, anchor, key, tmp_path):
    anew = Log(tmp_path / "anew", key, origin=ORIGIN)
    anew.extend({"i": "other"} for _ in range(400))
    note = anew.seal().note
    assert examine(anew.path, anew.key).sound
    found = examined(anew.path, anchor, written.key)
    assert [fault.kind for fault in found.faults] == ["fork"] * 3
    # Its checkpoint may be kept, since it is of a size of its own; the earlier ones still tell.
    anchors.keep(anchor, note, anew.key)
    assert examined(anew.path, anchor, anew.key).fault_count == 3
    assert examined(written.path, anchor, anew.key).fault_count == 1


def test_a_log_written_anew_cannot_take_the_place_of_a_size(written, anchor, key, tmp_path):
    anew = Log(tmp_path / "anew", key, origin=ORIGIN)
    anew.extend({"i": "other"} for _ in range(310))
    with pytest.raises(IntegrityError, match="another one"):
        anchors.keep(anchor, anew.seal().note, anew.key)
    assert examined(written.path, anchor, written.key).sound


def test_a_log_that_was_removed_and_begun_again_shows(written, anchor, key, tmp_path):
    begun = Log(tmp_path / "begun", key, origin=ORIGIN)
    begun.append({"i": 0})
    begun.seal()
    assert {f.kind for f in examined(begun.path, anchor, written.key).faults} == {"set back"}


# --- which one is meant ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", ["", "file", "file:", "git: ", "ftp:x", "/some/where", "FILE:x", "command:\t"]
)
def test_what_is_no_anchor_is_refused(spec):
    with pytest.raises(UsageError, match="is no anchor") as found:
        anchors.anchor(spec)
    assert "file:FOLDER" in found.value.mend


@pytest.mark.parametrize(
    ("spec", "what"), [("command:'a", "No closing quotation"), ("command:''", "names no program")]
)
def test_a_program_that_cannot_be_read_is_refused(spec, what):
    with pytest.raises(UsageError, match=what):
        anchors.anchor(spec)


def test_a_home_folder_is_found_where_no_shell_expands_it(key, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    anchors.keep(anchors.anchor("file:~/kept"), note_at(5, key), VerifierKey.of(ORIGIN, key))
    assert (tmp_path / "kept").is_dir()
    with pytest.raises(UsageError, match="home"):
        anchors.anchor("file:~nobody-of-that-name/kept")


def test_an_anchor_says_what_the_user_wrote():
    for spec in ("file:a b", "git:x", "command:p q"):
        assert anchors.anchor(spec).spec == spec


# --- what is given back ----------------------------------------------------------------------


class Faulty:
    """An anchor that gives what it likes."""

    spec = "file:faulty"

    def __init__(self, *notes, given=None):
        self.notes, self.given = list(notes), given

    def keep(self, checkpoint, note):
        """Say that it was kept."""

    def give(self, _origin, _tree_size):
        return self.given

    def kept(self, _origin):
        return self.notes


def test_nothing_is_reported_as_kept_that_was_not_read_back(key, other_key):
    believed, note = VerifierKey.of(ORIGIN, key), note_at(5, key)
    for given, error, what in (
        (None, StorageError, "does not give it back"),
        (b"", IntegrityError, "something else in the place"),
        (note[:-9], IntegrityError, "something else in the place"),
        (note_at(6, key), IntegrityError, "another one"),
        (note_at(5, other_key), IntegrityError, "no believed key signed it"),
    ):
        with pytest.raises(error, match=what):
            anchors.keep(Faulty(given=given), note, believed)


def test_a_kept_checkpoint_that_was_changed_is_named(key):
    believed, note = VerifierKey.of(ORIGIN, key), note_at(5, key)
    changed = note.replace(b"\n5\n", b"\n7\n")
    with pytest.raises(IntegrityError, match="file:faulty: the checkpoint of 7 entries"):
        anchors.known(Faulty(changed), ORIGIN, [believed])
    with pytest.raises(IntegrityError, match=f"file:faulty: the checkpoint kept of {ORIGIN}: not"):
        anchors.known(Faulty(b"no note"), ORIGIN, [believed])
    with pytest.raises(IntegrityError, match="after one of 5: one of them is not in its place"):
        anchors.known(Faulty(note, note), ORIGIN, [believed])
    other = sign_note(Checkpoint("another", 5, b"r" * 32).to_text(), name=ORIGIN, key=key)
    with pytest.raises(IntegrityError, match="entries of another is kept as one of"):
        anchors.known(Faulty(other), ORIGIN, [believed])


@pytest.mark.parametrize("kind", ["file", "command"])
def test_signature_lines_of_others_are_left_alone(make, kind, key, other_key, tmp_path):
    anchor, believed, note = make(kind), VerifierKey.of(ORIGIN, key), note_at(5, key)
    anchors.keep(anchor, note, believed)
    [file] = [path for path in tmp_path.rglob("5") if path.is_file()]
    line = note_at(5, other_key).split(b"\n\n")[1].replace(ORIGIN.encode(), b"witness")
    file.write_bytes(note + line)
    anchors.keep(anchor, note, believed)
    assert file.read_bytes() == note + line
    assert [c.tree_size for c in anchors.known(anchor, ORIGIN, [believed])] == [5]


# --- files -----------------------------------------------------------------------------------


def test_one_note_that_somebody_kept_is_enough_to_verify_by(tmp_path, key):
    (tmp_path / "old").write_bytes(note_at(5, key))
    (tmp_path / "link").symlink_to("old")
    for name in ("old", "link"):
        anchor, believed = anchors.anchor(f"file:{tmp_path / name}"), VerifierKey.of(ORIGIN, key)
        assert [c.tree_size for c in anchors.known(anchor, ORIGIN, [believed])] == [5]
        assert anchor.give(ORIGIN, 5) == note_at(5, key)
        assert anchor.give(ORIGIN, 6) is None
        assert anchor.kept("another") == []
        with pytest.raises(UsageError, match="is one note, to which nothing is added"):
            anchors.keep(anchor, note_at(6, key), believed)


def test_a_file_that_is_no_note_is_named(tmp_path):
    (tmp_path / "old").write_bytes(b"hello\n")
    with pytest.raises(IntegrityError, match=f"file:{tmp_path}/old: not a signed note"):
        anchors.anchor(f"file:{tmp_path / 'old'}").kept(ORIGIN)


def test_no_link_in_the_folder_is_followed(make, tmp_path, key):
    anchor, believed = make("file"), VerifierKey.of(ORIGIN, key)
    anchors.keep(anchor, note_at(5, key), believed)
    [file] = (tmp_path / "kept").rglob("5")
    (tmp_path / "outside").mkdir()
    file.with_name("6").symlink_to(tmp_path / "outside" / "6")
    for act in (
        lambda: anchors.keep(anchor, note_at(6, key), believed),
        lambda: anchor.kept(ORIGIN),
    ):
        with pytest.raises(IntegrityError):
            act()
    folder = file.parent.rename(tmp_path / "outside" / "moved")
    file.parent.symlink_to(folder)
    for act in (
        lambda: anchors.keep(anchor, note_at(7, key), believed),
        lambda: anchor.kept(ORIGIN),
        lambda: anchor.give(ORIGIN, 5),
    ):
        with pytest.raises(IntegrityError, match="is a link, which is not followed"):
            act()
    assert not (tmp_path / "outside" / "6").exists()


def test_what_an_interrupted_write_left_is_no_checkpoint_and_is_swept(make, tmp_path, key):
    anchor, believed = make("file"), VerifierKey.of(ORIGIN, key)
    anchors.keep(anchor, note_at(5, key), believed)
    torn = tmp_path / "kept" / "here" / ".tmp-0123"
    torn.write_bytes(b"half")
    next((tmp_path / "kept").rglob("5")).with_name("notes.txt").write_text("of somebody")
    assert len(anchor.kept(ORIGIN)) == 1
    anchors.keep(anchor, note_at(6, key), believed)
    assert not torn.exists()


def test_a_folder_that_cannot_be_used_is_told_in_two_lines(tmp_path, key):
    (tmp_path / "file").write_bytes(b"")
    anchor = anchors.anchor(f"file:{tmp_path / 'file' / 'below'}")
    for act in (
        lambda: anchors.keep(anchor, note_at(5, key), VerifierKey.of(ORIGIN, key)),
        lambda: anchor.kept(ORIGIN),
    ):
        with pytest.raises(StorageError) as found:
            act()
        assert "file/below" in found.value.what


def test_each_file_is_synced_and_so_is_its_folder(make, key, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd)),
    )
    anchors.keep(make("file"), note_at(5, key), VerifierKey.of(ORIGIN, key))
    written = next(i for i, path in enumerate(synced) if "/.tmp-" in path)
    assert any(re.search(r"/here/[^/]+$", path) for path in synced[written + 1 :])


# --- git -------------------------------------------------------------------------------------


def kept_path(repository):
    return next((repository / "checkpoints").iterdir())


def test_a_checkpoint_is_a_commit_of_its_own(make, repository, key):
    anchors.keep(make("git"), note_at(5, key), VerifierKey.of(ORIGIN, key))
    told = git(repository, "show", "--format=%s", "--name-only").split("\n")
    assert told[0] == f"Checkpoint of {ORIGIN} at 5"
    assert told[2:] == [str((kept_path(repository) / "5").relative_to(repository)), ""]
    assert git(repository, "status", "--short") == ""


def test_what_is_staged_stays_staged_and_what_is_not_stays_so(make, repository, key):
    (repository / "a").write_text("1")
    git(repository, "add", "a")
    git(repository, "commit", "-qm", "a")
    (repository / "a").write_text("2")
    (repository / "b").write_text("1")
    git(repository, "add", "b")
    (repository / ".gitignore").write_text("checkpoints\n")
    anchors.keep(make("git"), note_at(5, key), VerifierKey.of(ORIGIN, key))
    assert git(repository, "status", "--short") == " M a\nA  b\n?? .gitignore\n"


def test_later_commits_do_not_hide_what_was_kept_first(make, repository, key):
    anchor, believed = make("git"), VerifierKey.of(ORIGIN, key)
    for size in (5, 6):
        anchors.keep(anchor, note_at(size, key), believed)
    folder = kept_path(repository)
    (folder / "5").write_bytes(note_at(5, key, root=b"s"))
    git(repository, "commit", "-qam", "changed")
    git(repository, "rm", "-q", folder / "6")
    git(repository, "commit", "-qm", "removed")
    expected = [note_at(5, key), note_at(6, key)]
    assert anchor.kept(ORIGIN) == expected
    with pytest.raises(IntegrityError, match="another one"):
        anchors.keep(anchor, note_at(6, key, root=b"s"), believed)
    anchors.keep(anchor, note_at(6, key), believed)
    git(repository, "mv", folder, folder.with_name("moved"))
    git(repository, "commit", "-qm", "moved")
    assert anchor.kept(ORIGIN) == expected


def test_a_merge_does_not_hide_what_was_kept_on_a_branch(make, repository, key):
    anchor, believed = make("git"), VerifierKey.of(ORIGIN, key)
    anchors.keep(anchor, note_at(4, key), believed)
    git(repository, "switch", "-qc", "side")
    anchors.keep(anchor, note_at(5, key), believed)
    git(repository, "rm", "-q", kept_path(repository) / "5")
    git(repository, "commit", "-qm", "removed")
    git(repository, "switch", "-q", "main")
    assert len(anchor.kept(ORIGIN)) == 1
    git(repository, "commit", "-q", "--allow-empty", "-m", "meanwhile")
    git(repository, "merge", "-q", "--no-edit", "side")
    (kept_path(repository) / "6").write_bytes(note_at(6, key))
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "--amend", "--no-edit")
    assert anchor.kept(ORIGIN) == [note_at(size, key) for size in (4, 5, 6)]


def test_what_only_lies_in_the_work_tree_is_not_kept(make, repository, key):
    anchor, believed = make("git"), VerifierKey.of(ORIGIN, key)
    assert anchor.kept(ORIGIN) == []  # no commit yet
    anchors.keep(anchor, note_at(5, key), believed)
    (kept_path(repository) / "6").write_bytes(note_at(6, key))
    (kept_path(repository) / "7").write_bytes(note_at(7, key, root=b"s"))
    assert anchor.give(ORIGIN, 6) is None
    anchors.keep(anchor, note_at(6, key), believed)
    assert anchor.give(ORIGIN, 6) == note_at(6, key)
    with pytest.raises(IntegrityError, match="another one"):
        anchors.keep(anchor, note_at(7, key), believed)


def test_links_in_the_work_tree_are_not_followed(make, repository, key, tmp_path):
    (tmp_path / "outside").mkdir()
    (repository / "checkpoints").symlink_to(tmp_path / "outside")
    with pytest.raises(IntegrityError, match="is a link"):
        anchors.keep(make("git"), note_at(5, key), VerifierKey.of(ORIGIN, key))
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_filter_that_changes_what_is_committed_shows(make, repository, key):
    git(repository, "config", "filter.upper.clean", "tr a-z A-Z")
    (repository / ".gitattributes").write_text("checkpoints/** filter=upper\n")
    with pytest.raises(IntegrityError, match=r"something else|another one"):
        anchors.keep(make("git"), note_at(5, key), VerifierKey.of(ORIGIN, key))


def test_variables_of_git_do_not_lead_to_another_repository(
    make, repository, key, tmp_path, monkeypatch
):
    git(tmp_path, "init", "-q", tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / "index"))
    anchors.keep(make("git"), note_at(5, key), VerifierKey.of(ORIGIN, key))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name)
    assert "at 5" in git(repository, "log", "--oneline")
    assert not (tmp_path / "other" / "index").exists()


def test_what_is_no_work_tree_is_told(repository, key, tmp_path):
    git(tmp_path, "init", "-q", "--bare", tmp_path / "bare")
    (tmp_path / "plain").mkdir()
    (repository / "sub").mkdir()
    for name, what in (
        ("absent", "is no git work tree: cannot change to"),
        ("plain", "is no git work tree: not a git repository"),
        ("bare", "is no git work tree: this operation must be run in a work tree"),
        ("repository/sub", f"is a folder inside the git work tree {repository}"),
    ):
        anchor = anchors.anchor(f"git:{tmp_path / name}")
        for act in (
            lambda anchor=anchor: anchors.keep(
                anchor, note_at(5, key), VerifierKey.of(ORIGIN, key)
            ),
            lambda anchor=anchor: anchor.kept(ORIGIN),
        ):
            with pytest.raises(UsageError, match=what):
                act()


def test_a_missing_git_is_told(make, key, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="git cannot be started: No such file"):
        anchors.keep(make("git"), note_at(5, key), VerifierKey.of(ORIGIN, key))


def test_a_repository_in_which_nobody_commits_tells_how_to(make, repository, key):
    anchor, believed = make("git"), VerifierKey.of(ORIGIN, key)
    for name in ("email", "name"):
        git(repository, "config", "--unset", f"user.{name}")
    git(repository, "config", "user.useConfigOnly", "true")
    with pytest.raises(StorageError, match="git commit failed: ") as found:
        anchors.keep(anchor, note_at(5, key), believed)
    assert f"git -C {repository} config user.email" in found.value.mend
    assert anchor.kept(ORIGIN) == []
    git(repository, "config", "user.email", "somebody@example.com")
    git(repository, "config", "user.name", "Somebody")
    anchors.keep(anchor, note_at(5, key), believed)  # what the failure left is taken up
    assert git(repository, "status", "--short") == ""


def test_hooks_of_the_user_run_and_may_refuse(make, repository, key):
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(StorageError, match="git commit failed: not today"):
        anchors.keep(make("git"), note_at(5, key), VerifierKey.of(ORIGIN, key))


def test_a_merge_half_done_stops_it(make, repository, key):
    (repository / "a").write_text("1")
    git(repository, "add", "a")
    git(repository, "commit", "-qm", "a")
    head = git(repository, "rev-parse", "HEAD")
    (repository / ".git" / "MERGE_HEAD").write_text(head)
    with pytest.raises(StorageError, match="cannot do a partial commit during a merge"):
        anchors.keep(make("git"), note_at(5, key), VerifierKey.of(ORIGIN, key))


def test_it_waits_for_another_git_but_not_for_ever(make, repository, key, monkeypatch):
    anchor, believed = make("git"), VerifierKey.of(ORIGIN, key)
    lock = repository / ".git" / "index.lock"
    lock.write_text("")
    timer = threading.Timer(0.3, lock.unlink)
    timer.start()
    anchors.keep(anchor, note_at(5, key), believed)
    timer.join()
    lock.write_text("")
    monkeypatch.setattr(anchor_git, "_TRIES", 2)
    with pytest.raises(StorageError, match=r"index\.lock") as found:
        anchors.keep(anchor, note_at(6, key), believed)
    assert "let the other git process end" in found.value.mend


@pytest.mark.parametrize("kind", KINDS)
def test_several_may_keep_at_once(make, kind, key):
    anchor, believed = make(kind), VerifierKey.of(ORIGIN, key)
    sizes = [1, 2, 3, 4, 4, 4, 4, 5]
    with ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda n: anchors.keep(anchor, note_at(n, key), believed), sizes)
        assert [checkpoint.tree_size for checkpoint in done] == sizes
    assert anchor.kept(ORIGIN) == [note_at(size, key) for size in (1, 2, 3, 4, 5)]


def test_a_lost_object_is_told(make, repository, key):
    anchor = make("git")
    anchors.keep(anchor, note_at(5, key), VerifierKey.of(ORIGIN, key))
    blob = git(repository, "rev-parse", f"HEAD:checkpoints/{kept_path(repository).name}/5").strip()
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(IntegrityError, match=f"the object {blob} is no checkpoint: missing"):
        anchor.kept(ORIGIN)


def test_a_history_that_cannot_be_read_is_told(make, repository, key):
    anchor, believed = make("git"), VerifierKey.of(ORIGIN, key)
    for size in (5, 6):
        anchors.keep(anchor, note_at(size, key), believed)
    first = git(repository, "rev-parse", "HEAD~").strip()
    (repository / ".git" / "objects" / first[:2] / first[2:]).unlink()
    with pytest.raises(StorageError, match="git rev-list failed: "):
        anchor.kept(ORIGIN)


def test_other_files_in_the_folder_are_left_alone(make, repository, key):
    anchor = make("git")
    anchors.keep(anchor, note_at(5, key), VerifierKey.of(ORIGIN, key))
    (kept_path(repository) / "README").write_text("of somebody\n")
    (kept_path(repository) / "06").write_text("of somebody\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "told")
    assert anchor.kept(ORIGIN) == [note_at(5, key)]


# --- programs --------------------------------------------------------------------------------


def test_a_program_is_asked_in_three_ways(tmp_path, key):
    told = tmp_path / "told"
    anchor = python(
        tmp_path,
        f"""
import sys, pathlib
told, kept = pathlib.Path({str(told)!r}), pathlib.Path({str(tmp_path / "note")!r})
with told.open("a") as file:
    print(*sys.argv[1:], file=file)
if sys.argv[1] == "keep":
    kept.write_bytes(sys.stdin.buffer.read())
elif sys.argv[1] == "give":
    sys.stdout.buffer.write(kept.read_bytes())
else:
    print(5)
""",
    )
    anchors.keep(anchor, note_at(5, key), VerifierKey.of(ORIGIN, key))
    anchors.known(anchor, ORIGIN, [VerifierKey.of(ORIGIN, key)])
    asked = [f"keep {ORIGIN} 5", f"give {ORIGIN} 5", f"list {ORIGIN}", f"give {ORIGIN} 5"]
    assert told.read_text().splitlines() == asked


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import sys; sys.exit('first\\nlast line')", "could not give x 5: last line"),
        ("import sys; sys.exit(3)", "could not give x 5: it ended with exit code 3"),
        ("import sys; sys.exit('\\x1b[2Jgone')", r"could not give x 5: \?\[2Jgone"),
        ("import os; os.kill(os.getpid(), 9)", "it ended with exit code -9"),
        ("print('x' * (1 << 21))", "printed more than 1048576 bytes"),
    ],
)
def test_a_program_that_fails_is_told_in_its_last_line(tmp_path, text, what):
    with pytest.raises(StorageError, match=what):
        python(tmp_path, text).give("x", 5)


def test_a_program_that_cannot_be_started_is_told(tmp_path, key):
    (tmp_path / "no-program").write_text("hello")
    for name in ("absent", "no-program"):
        anchor = anchors.anchor(f"command:{tmp_path / name} first")
        with pytest.raises(UsageError, match=f"{name} cannot be started"):
            anchors.keep(anchor, note_at(5, key), VerifierKey.of(ORIGIN, key))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def test_a_program_that_does_not_end_is_ended_with_what_it_started(tmp_path):
    path = tmp_path / "slow.sh"
    path.write_text(f"echo $$ > {tmp_path}/pid; sleep 60 & echo $! >> {tmp_path}/pid; wait")
    begun = time.monotonic()
    with pytest.raises(StorageError, match="took longer than 2 s"):
        CommandAnchor("command:slow", f"sh {path}", timeout_s=2).give("x", 5)
    assert time.monotonic() - begun < 10
    pids = (tmp_path / "pid").read_text().split()
    assert len(pids) == 2
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() - begun < 10
        time.sleep(0.01)


def test_a_program_that_closes_its_output_and_stays_is_ended_too(tmp_path):
    path = tmp_path / "slow.sh"
    path.write_text("exec >&- 2>&-; sleep 60")
    with pytest.raises(StorageError, match=r"took longer than 0\.5 s"):
        CommandAnchor("command:slow", f"sh {path}", timeout_s=0.5).give("x", 5)


def test_a_program_that_complains_much_is_read_to_its_end(tmp_path):
    text = "import sys; sys.stderr.write('x' * 5_000_000 + '\\nend\\n'); print('said')"
    (tmp_path / "loud.py").write_text(text)
    ran = run([sys.executable, str(tmp_path / "loud.py")], max_bytes=100)
    assert (ran.code, ran.output, ran.reason) == (0, b"said\n", "end")
    assert len(ran.complaint) < 20_000


def test_a_program_need_not_read_what_it_is_given(tmp_path, key):
    anchor = python(tmp_path, "")
    with pytest.raises(StorageError, match=r"took the checkpoint .* but does not give it back"):
        anchors.keep(anchor, note_at(5, key), VerifierKey.of(ORIGIN, key))


def test_a_program_that_gives_another_note_than_it_was_given_is_caught(tmp_path, key):
    (tmp_path / "other").write_bytes(note_at(6, key))
    path = str(tmp_path / "other")
    anchor = python(
        tmp_path,
        f"import sys\nif sys.argv[1] == 'give':\n    print(open({path!r}).read(), end='')",
    )
    with pytest.raises(IntegrityError, match="another one than the checkpoint of 5 entries"):
        anchors.keep(anchor, note_at(5, key), VerifierKey.of(ORIGIN, key))


@pytest.mark.parametrize("listed", ["5 five", "05", "-1", "5 5", "1e3", "\\xff", "9" * 20])
def test_a_list_that_is_no_list_of_sizes_is_refused(tmp_path, listed):
    anchor = python(tmp_path, f"import sys; sys.stdout.buffer.write(b'{listed}\\n')")
    with pytest.raises(StorageError, match="lists what is no size, or a size twice"):
        anchor.kept(ORIGIN)


def test_a_size_that_is_listed_and_not_given_is_told(tmp_path):
    anchor = python(tmp_path, "import sys\nif sys.argv[1] == 'list': print(5)")
    with pytest.raises(
        IntegrityError, match=r"lists a checkpoint of 5 entries of .* but gives none"
    ):
        anchor.kept(ORIGIN)


def test_no_shell_reads_what_a_program_is_given(tmp_path):
    anchor = anchors.anchor(f"command:echo $(touch {tmp_path}/a) ; touch {tmp_path}/b")
    assert anchor.give("`touch c`", 5) == f"$(touch {tmp_path}/a) ; touch {tmp_path}/b".encode() + (
        b" give `touch c` 5\n"
    )
    assert not {"a", "b", "c"} & {path.name for path in tmp_path.iterdir()}


def test_a_folder_for_temporary_files_that_cannot_be_used_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(StorageError, match=r"cannot write to .*absent: No such file"):
        run(["true"], max_bytes=1)
