"""Examine a stored log: everything again from its entries, streaming, writing nothing.

What it proves by itself is that the log is what its key signed. That it is *all* that the key
ever signed, only checkpoints can say that were kept elsewhere: give them as ``known``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nethical.audit.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from nethical.audit.entries import canonical_faults
from nethical.audit.faults import Examined
from nethical.audit.files import TEMPORARY, Folder
from nethical.audit.journal import first_index, scan_records
from nethical.audit.merkle import leaf_hashes
from nethical.audit.reading import JOURNAL, MAX_JOURNAL_BYTES, SealedTree, no_log
from nethical.audit.rotation import believed_keys, signer
from nethical.audit.sealed import SealedCheck
from nethical.audit.tiles import TILE_WIDTH, RightEdge, Tile
from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nethical.audit.notes import VerifierKey

__all__ = ["examine"]

_MAX_NOTE = 1 << 20


def examine(
    path: Path,
    key: VerifierKey | None,
    *,
    known: Sequence[Checkpoint] = (),
    contents: bool = True,
    each: Callable[[int, Sequence[bytes]], None] | None = None,
    limit: int = 100,
) -> Examined:
    """Return what is wrong with a log; nothing, if it is what its key signed.

    Args:
        path: The log's folder, which may be read-only.
        key: A key of the log, from elsewhere, which leads to those that it was rotated from or
            to; without it no signature is believed or checked.
        known: Checkpoints of the log that were kept elsewhere, verified by who gives them.
        contents: Whether to check that each entry is canonical JSON.
        each: Given the index of the first, and the entries of each bundle, in order.
        limit: How many faults, and how many warnings, are kept.

    Raises:
        IntegrityError: There is no log in the folder.
        StorageError: A file cannot be read.
    """
    return _Examination(path, key, Examined(limit)).run(known, contents=contents, each=each)


class _Examination:
    def __init__(self, path: Path, key: VerifierKey | None, found: Examined) -> None:
        self._folder = Folder(path)
        self._key = key
        self._keys = believed_keys(path, [key]) if key else []
        self._found = found
        self._unsealed: list[bytes] = []

    def run(
        self,
        known: Sequence[Checkpoint],
        *,
        contents: bool,
        each: Callable[[int, Sequence[bytes]], None] | None,
    ) -> Examined:
        with self._folder.reading():
            note = self._note("checkpoint")
            journal = self._journal()
            names = self._folder.names("checkpoints")
        if note is None and not self._folder.names("tile") and journal is None:
            raise no_log(self._folder.path)
        checkpoint, _ = self._opened("checkpoint", note or b"", mismatch=None)
        self._found.checkpoint = checkpoint
        if checkpoint is None:
            return self._found
        size, root = checkpoint.tree_size, checkpoint.root_hash
        numbers = [int(name) for name in names if re.fullmatch(r"0|[1-9]\d{0,18}", name)]
        sealed = SealedCheck(self._folder, size, root, self._found, contents=contents, each=each)
        within = [number for number in numbers if number <= size]
        sealed.run(within, [each.tree_size for each in known if each.tree_size <= size])
        self._check_journal(journal, checkpoint)
        if contents:
            for at, why in canonical_faults(self._unsealed):
                self._found.fault(JOURNAL, size + at, "not canonical", why)
        if each and self._unsealed:
            each(size, self._unsealed)
        self._check_history(numbers, checkpoint, sealed.roots)
        self._check_known(known, checkpoint, sealed.roots)
        self._note_strays(size)
        return self._found

    def _note(self, name: str) -> bytes | None:
        try:
            note = self._folder.read(name, _MAX_NOTE)
        except IntegrityError:
            self._found.fault(name, None, "not a file", "a link or folder is in its place")
            return None
        if note is None:
            self._found.fault(name, None, "missing", "there is no such file")
        return note

    def _opened(
        self, name: str, note: bytes, mismatch: Checkpoint | None
    ) -> tuple[Checkpoint | None, VerifierKey | None]:
        """Return the checkpoint of a note, None when it says nothing, and who signed it.

        Bad ones are faults.
        """
        if not note:
            if not any(fault.file == name for fault in self._found.faults):
                self._found.fault(name, None, "length", "it is empty")
            return None, None
        try:
            claimed = read_checkpoint(note)
        except IntegrityError as error:
            self._found.fault(name, None, "changed", error.what)
            return None, None
        if self._key is None:
            if mismatch is None:
                self._found.warn(name, None, "unsigned", "no key was named to check it by")
            elif claimed.origin != mismatch.origin:
                self._found.fault(name, None, "changed", f"it is of the log {claimed.origin}")
            return claimed, None
        signed_by = signer(note, self._keys)
        if signed_by is None:
            try:
                open_checkpoint(note, self._key)
            except IntegrityError as error:
                self._found.fault(name, None, "signature", error.what)
        return claimed, signed_by

    def _journal(self) -> bytes | None:
        try:
            journal = self._folder.read(JOURNAL, MAX_JOURNAL_BYTES + 1)
        except IntegrityError:
            self._found.fault(JOURNAL, None, "not a file", "a link or folder is in its place")
            return b""
        if journal is not None and len(journal) > MAX_JOURNAL_BYTES:
            self._found.fault(JOURNAL, None, "length", "it is larger than any writer leaves it")
            return b""
        return journal

    def _check_journal(self, journal: bytes | None, checkpoint: Checkpoint) -> None:
        size = checkpoint.tree_size
        if journal is None:
            self._found.fault(JOURNAL, size, "missing", "what was not sealed yet is gone")
        if not journal:
            return
        first = first_index(journal)
        begun = size if first is None else first
        if begun > size:
            what = f"it begins at entry {begun}, but only {size} are sealed"
            self._found.fault(JOURNAL, size, "set back", what)
            return
        tree = SealedTree(self._folder, size)
        try:
            head = checkpoint.root_hash if begun == size else tree.root_at(begun)
        except IntegrityError:
            return  # the tiles that it is chained to are faulty, which is said already
        records = scan_records(journal, begun, head)
        after = begun + len(records.entries)
        if records.changed:
            self._found.fault(JOURNAL, after, "changed", "a record does not fit its hash")
        if records.torn_bytes:
            what = f"{records.torn_bytes} bytes of a record that was never acknowledged"
            self._found.warn(JOURNAL, after, "torn", what)
        if begun < size:
            self._check_sealed_records(records.entries, begun, tree)
            return
        self._unsealed = records.entries
        self._found.unsealed = len(records.entries)

    def _check_sealed_records(self, entries: list[bytes], begun: int, tree: SealedTree) -> None:
        """Check records that a seal did not come to remove."""
        ends = begun + len(entries)
        if ends == tree.tree_size:
            what = "its entries are sealed already; the next run empties it"
            self._found.warn(JOURNAL, begun, "unfinished", what)
        else:
            what = f"it ends at entry {ends}, the sealed entries at {tree.tree_size}"
            self._found.fault(JOURNAL, ends, "set back", what)
        bundle: list[bytes] = []
        for index, entry in enumerate(entries, begun):
            if index >= tree.tree_size:
                return
            if not bundle or index % TILE_WIDTH == 0:
                try:
                    bundle = tree.entries(index // TILE_WIDTH)
                except IntegrityError:
                    return  # said already
            if bundle[index % TILE_WIDTH] != entry:
                self._found.fault(JOURNAL, index, "changed", "it is not the entry that was sealed")

    def _check_history(
        self, numbers: list[int], checkpoint: Checkpoint, roots: dict[int, bytes]
    ) -> None:
        """Check every checkpoint that the log kept of itself."""
        size = checkpoint.tree_size
        if size not in numbers:
            what = "the checkpoint is not kept among those that were signed"
            self._found.fault(f"checkpoints/{size}", None, "missing", what)
        latest = 0
        for number in sorted(numbers):
            name = f"checkpoints/{number}"
            kept = self._note(name)
            if kept is None:
                continue
            claimed, signed_by = self._opened(name, kept, mismatch=checkpoint)
            if claimed is None:
                continue
            latest = self._check_order(name, signed_by, latest)
            if claimed.tree_size != number:
                what = f"it is of {claimed.tree_size} entries"
                self._found.fault(name, None, "changed", what)
                continue
            root = roots.get(number) or self._root_ahead(number, size)
            if root is None:
                what = f"the log says {size} entries, though it has signed {number}"
                self._found.fault("checkpoint", size, "set back", what)
            elif root != claimed.root_hash:
                what = f"the log of {size} entries does not begin with what it says"
                self._found.fault(name, None, "fork", what)
            else:
                self._found.checkpoints += 1

    def _check_order(self, name: str, key: VerifierKey | None, latest: int) -> int:
        """Return the number of the key that signed a note, which must not be one before."""
        if key is None:
            return latest
        if self._keys.index(key) < latest:
            what = f"it is signed by a key that was replaced: {key.name}+{key.key_id.hex()}"
            self._found.fault(name, None, "signature", what)
        return max(latest, self._keys.index(key))

    def _root_ahead(self, number: int, size: int) -> bytes | None:
        """Return the root at a size that only the journal reaches, None when it does not."""
        more = self._unsealed[: number - size]
        if len(more) < number - size:
            return None
        edge: RightEdge = SealedTree(self._folder, size).edge()
        return edge.root_with(b"".join(leaf_hashes(more)))

    def _check_known(
        self, known: Sequence[Checkpoint], checkpoint: Checkpoint, roots: dict[int, bytes]
    ) -> None:
        size = checkpoint.tree_size
        for each in known:
            if each.origin != checkpoint.origin:
                what = f"it is the log {checkpoint.origin}; a checkpoint of {each.origin} is known"
                self._found.fault("checkpoint", None, "fork", what)
            elif each.tree_size > size:
                what = f"it says {size} entries; a checkpoint of {each.tree_size} is known"
                self._found.fault("checkpoint", size, "set back", what)
            elif roots[each.tree_size] != each.root_hash:
                what = f"the log differs from a known checkpoint of {each.tree_size} entries"
                self._found.fault("checkpoint", None, "fork", what)
            else:
                self._found.anchored_size = max(each.tree_size, self._found.anchored_size or 0)

    def _note_strays(self, size: int) -> None:
        """Warn of files that are no part of the log; nothing believes them."""
        for path in self._folder.walk():
            why = self._stray(path, size)
            if why:
                self._found.warn(path, None, "stray", why)

    @staticmethod
    def _stray(path: str, size: int) -> str | None:
        if path in ("checkpoint", JOURNAL, "lock"):
            return None
        if re.fullmatch(r"checkpoints/(0|[1-9]\d{0,18})", path):
            return None
        if path.startswith(TEMPORARY):
            return "a write was interrupted; the next run removes it"
        try:
            tile = Tile.from_path(path)
        except ValueError:
            return "it is no part of the log"
        full, width = divmod(size >> 8 * (tile.level or 0), TILE_WIDTH)
        if tile.full and tile.index < full:
            return None
        if not tile.full and tile.index == full and tile.width <= width:
            return None
        if tile.index < full:
            return "a full tile has replaced it"
        return "it is of entries that are not sealed"
