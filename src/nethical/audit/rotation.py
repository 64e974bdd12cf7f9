"""Keys of a log that follow each other: who may sign after a rotation, and how that is known.

The old key seals an entry that names its successor, and nothing after it; the successor signs
that same head again and everything that comes. Whoever believes one key of a log can so follow
to the others: forward by what a believed key has sealed, backward by what the log tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nethical.audit import merkle
from nethical.audit.checkpoint import Checkpoint
from nethical.audit.entries import decode_entry
from nethical.audit.files import Folder
from nethical.audit.notes import VerifierKey, open_note, split_note
from nethical.audit.reading import LogReader, SealedTree, no_log
from nethical.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["believed_keys", "followed_keys", "open_log", "rotated", "signer"]

_MAX_NOTE = 1 << 20


def rotated(old: VerifierKey, new: VerifierKey) -> dict[str, Any]:
    """Return the entry by which an old key hands a log over to a new one."""
    return {
        "event_type": "key_rotated",
        "old_key": old.to_vkey(),
        "new_key": new.to_vkey(),
    }


def signer(note: bytes, keys: Sequence[VerifierKey]) -> VerifierKey | None:
    """Return the last of the keys that a checkpoint is signed by, None when none is.

    A line of one of them that does not fit the text makes the whole note worthless.
    """
    try:
        opened = open_note(note, keys)
        origin = Checkpoint.from_text(opened.text).origin
    except IntegrityError:
        return None
    lines = {(line.name, line.key_id) for line in opened.verified}
    fitting = [k for k in keys if k.name == origin and (k.name, k.key_id) in lines]
    return fitting[-1] if fitting else None


def open_log(path: Path, named: Sequence[VerifierKey]) -> LogReader:
    """Return a reader of a log whose head is signed by a named key, or by one that followed it.

    Raises:
        IntegrityError: There is no log, or no named key leads to its head.
    """
    note = Folder(path).read("checkpoint", _MAX_NOTE)
    if note is None:
        raise no_log(path)
    current = signer(note, named) or signer(note, believed_keys(path, named))
    if current is None:
        told = ", ".join(f"{key.name}+{key.key_id.hex()}" for key in named) or "none"
        raise IntegrityError(
            f"{path / 'checkpoint'} is not signed by a believed key ({told}), nor by one that "
            "followed it",
            mend="name the log's key with --key: the line that `nethical audit key` prints where "
            "the log is written",
        )
    return LogReader(path, current)


@dataclass(frozen=True)
class _Signed:
    """A checkpoint of the log, with the bytes of its note and the keys that it claims."""

    checkpoint: Checkpoint
    note: bytes
    claimed: frozenset[tuple[str, bytes]]

    def claims(self, keys: Sequence[VerifierKey]) -> bool:
        """Return whether a line bears the name of one of the keys.

        If that line does not fit, the note is worthless whoever else signed it: no key that
        could still be found would help. So only where the keys change is a signature checked.
        """
        return any((key.name, key.key_id) in self.claimed for key in keys)


def believed_keys(path: Path, named: Sequence[VerifierKey]) -> list[VerifierKey]:
    """Return the named keys of a log and those that follow from them, the oldest first.

    Args:
        path: The log's folder.
        named: The keys that the caller believes.
    """
    folder = Folder(path)
    with folder.reading():
        head, names = _signed(folder, "checkpoint"), folder.names("checkpoints")
    return _followed(folder, named, head, names)


def followed_keys(folder: Folder, named: Sequence[VerifierKey]) -> list[VerifierKey]:
    """Return the same as ``believed_keys``, for who holds the log's lock."""
    head, names = _signed(folder, "checkpoint"), folder.names("checkpoints")
    return _followed(folder, named, head, names)


def _followed(
    folder: Folder, named: Sequence[VerifierKey], head: _Signed | None, names: Sequence[str]
) -> list[VerifierKey]:
    if head is None:
        return list(named)
    size = head.checkpoint.tree_size
    sizes = sorted(int(name) for name in names if re.fullmatch(r"0|[1-9]\d{0,18}", name))
    kept = [each for each in sizes if each <= size]
    if all(each.claims(named) for each in _history(folder, kept, head)):
        return list(named)
    tree = SealedTree(folder, size)
    keys = list(named)
    for before, after in pairwise(_history(folder, kept, head)):
        if before.claims(keys) and not after.claims(keys) and signer(before.note, keys):
            _follow(tree, before, before, keys, forward=True)
    for after, before in pairwise(_history(folder, kept, head, falling=True)):
        if after.claims(keys) and not before.claims(keys) and signer(after.note, keys):
            _follow(tree, before, after, keys, forward=False)
    return keys


def _history(
    folder: Folder, sizes: Sequence[int], head: _Signed, *, falling: bool = False
) -> Iterator[_Signed]:
    """Give the checkpoints of the log by size, with its head at the later end.

    They are final files, so no lock is held, and none is kept; bad ones are left out.
    """
    if falling:
        yield head
    for size in reversed(sizes) if falling else sizes:
        found = _signed(folder, f"checkpoints/{size}")
        if found is not None and found.checkpoint.tree_size <= head.checkpoint.tree_size:
            yield found
    if not falling:
        yield head


def _signed(folder: Folder, name: str) -> _Signed | None:
    try:
        note = folder.read(name, _MAX_NOTE) or b""
        text, lines = split_note(note)
        claimed = frozenset((line.name, line.key_id) for line in lines)
        return _Signed(Checkpoint.from_text(text), note, claimed)
    except IntegrityError:
        return None  # `examine` says what is wrong with it


def _follow(
    tree: SealedTree, before: _Signed, witness: _Signed, keys: list[VerifierKey], *, forward: bool
) -> None:
    """Add the key on the other side of a rotation, if the log tells of one there.

    Args:
        tree: The log's tree.
        before: The last checkpoint of the old key; the entry that it ends with is looked at.
        witness: A checkpoint that a believed key signed; its root vouches for that entry.
        keys: The keys believed so far.
        forward: Whether the old key is believed, else the new one.
    """
    index = before.checkpoint.tree_size - 1
    size, root = witness.checkpoint.tree_size, witness.checkpoint.root_hash
    if index < 0:
        return
    try:
        entry = tree.entries(index // 256)[index % 256]
        proof = merkle.inclusion_proof(index, size, tree.node)
        merkle.verify_inclusion(merkle.leaf_hash(entry), index, size, proof, root)
        document = decode_entry(entry)
        old, new = (VerifierKey.from_vkey(document[key]) for key in ("old_key", "new_key"))
    except (IntegrityError, UsageError, ValueError, KeyError, TypeError, IndexError):
        return  # no rotation that can be believed: the checkpoint beyond it stays unsigned
    if document.get("event_type") != "key_rotated" or old.name != new.name:
        return
    known, other = (old, new) if forward else (new, old)
    if known in keys and other not in keys:
        keys.insert(keys.index(known) + forward, other)
