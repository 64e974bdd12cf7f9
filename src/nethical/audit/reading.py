"""Reading a log: entries by index, and proofs, each from a few small files; writes nothing."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from nethical.audit import merkle
from nethical.audit.checkpoint import open_checkpoint, read_checkpoint
from nethical.audit.files import Folder
from nethical.audit.journal import first_index, scan_records
from nethical.audit.merkle import HASH_BYTES, pair_hashes
from nethical.audit.proofs import TlogProof
from nethical.audit.tiles import TILE_WIDTH, RightEdge, Tile, decode_bundle, tiles_at
from nethical.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nethical.audit.notes import VerifierKey

__all__ = ["JOURNAL", "MAX_JOURNAL_BYTES", "LogReader", "SealedTree", "explained", "no_log"]

JOURNAL = "pending"
MAX_JOURNAL_BYTES = 1 << 26
_KEPT_TILES = 64
_MEND = "run `nethical audit verify` on the log; restore what it names from a copy"


def explained(path: Path, error: IntegrityError) -> IntegrityError:
    """Return the error with the file that it is about."""
    return IntegrityError(f"{path}: {error.what}", mend=error.mend)


def no_log(folder: Path) -> IntegrityError:
    """Return the error for a folder that holds no log."""
    return IntegrityError(
        f"{folder} holds no log: there is no checkpoint in it",
        mend="name the folder that holds `checkpoint` and `tile`, or restore it from a copy",
    )


class SealedTree:
    """The sealed part of a log of one size, read from its tiles; the last few are kept.

    Args:
        folder: The log's folder.
        tree_size: Number of sealed entries.
    """

    def __init__(self, folder: Folder, tree_size: int) -> None:
        self._folder = folder
        self.tree_size = tree_size
        self._kept: OrderedDict[Tile, list[bytes]] = OrderedDict()
        self._last: tuple[Tile | None, list[bytes]] = (None, [])

    def tile(self, level: int | None, index: int) -> Tile:
        """Return which file holds the hashes (or, level None, the entries) at a tile index."""
        hashes = self.tree_size >> 8 * (level or 0)
        return Tile(level, index, min(TILE_WIDTH, hashes - index * TILE_WIDTH))

    def _content(self, tile: Tile) -> tuple[Tile, bytes]:
        """Return the content of a tile, and which file it is from.

        A writer may have put the full tile in place of a partial one meanwhile.
        """
        for found in dict.fromkeys([tile, Tile(tile.level, tile.index)]):
            content = self._folder.read(found.path)
            if content is not None:
                return found, content
        raise IntegrityError(f"{self._folder.path / tile.path} is missing", mend=_MEND)

    def hashes(self, level: int, index: int) -> bytes:
        """Return the concatenated hashes of a tile.

        Raises:
            IntegrityError: The file is missing or has another length.
        """
        return self._levels(level, index)[0]

    def _levels(self, level: int, index: int) -> list[bytes]:
        """Return the hashes of a tile, and above them what was computed of the levels in it."""
        tile = self.tile(level, index)
        if tile in self._kept:
            self._kept.move_to_end(tile)
            return self._kept[tile]
        found, content = self._content(tile)
        if len(content) != found.width * HASH_BYTES:
            raise IntegrityError(
                f"{self._folder.path / found.path} has {len(content)} bytes "
                f"instead of {found.width * HASH_BYTES}",
                mend=_MEND,
            )
        levels = self._kept[tile] = [content[: tile.width * HASH_BYTES]]
        if len(self._kept) > _KEPT_TILES:
            self._kept.popitem(last=False)
        return levels

    def entries(self, index: int) -> list[bytes]:
        """Return the entries of a bundle.

        Raises:
            IntegrityError: The file is missing or is no bundle of that many entries.
        """
        tile = self.tile(None, index)
        if tile == self._last[0]:
            return list(self._last[1])
        found, content = self._content(tile)
        try:
            entries = decode_bundle(content, found.width)[: tile.width]
        except ValueError as error:
            path = self._folder.path / found.path
            raise IntegrityError(f"{path}: {error}", mend=_MEND) from error
        self._last = tile, entries
        return list(entries)

    def node(self, height: int, index: int) -> bytes:
        """Return the hash of a complete subtree, as the functions of ``merkle`` ask for it."""
        level, inside = divmod(height, 8)
        number, at = divmod(index << inside, TILE_WIDTH)
        levels = self._levels(level, number)
        while len(levels) <= inside:
            levels.append(pair_hashes(levels[-1]))
        at = (at >> inside) * HASH_BYTES
        return levels[inside][at : at + HASH_BYTES]

    def root_at(self, size: int) -> bytes:
        """Return the root that the log had at an earlier size."""
        return merkle.join_right([self.node(h, i) for h, i in merkle.subtrees(0, size)])

    def edge(self) -> RightEdge:
        """Return what the tree needs to grow."""
        levels = [
            self.hashes(level, full) if width else b""
            for level, full, width in tiles_at(self.tree_size)
        ]
        return RightEdge(self.tree_size, levels)


class LogReader:
    """Reads a log as it stands at one moment; never writes, and needs no right to.

    Args:
        path: The log's folder.
        key: The log's key; without it nothing says that the log is the one it claims to be.

    Raises:
        IntegrityError: There is no log, or its checkpoint is not signed by the key.
    """

    def __init__(self, path: Path, key: VerifierKey | None = None) -> None:
        self._folder = Folder(path)
        self.key = key
        with self._folder.reading():
            note = self._folder.read("checkpoint", 1 << 20)
            journal = self._folder.read(JOURNAL, MAX_JOURNAL_BYTES) or b""
        if note is None:
            raise no_log(path)
        try:
            self.checkpoint = open_checkpoint(note, key) if key else read_checkpoint(note)
        except IntegrityError as error:
            raise explained(path / "checkpoint", error) from error
        self.note = note
        self._tree = SealedTree(self._folder, self.checkpoint.tree_size)
        self._unsealed: list[bytes] = []
        if first_index(journal) == self.tree_size:
            root = self.checkpoint.root_hash
            self._unsealed = scan_records(journal, self.tree_size, root).entries

    @property
    def tree_size(self) -> int:
        """Return the number of sealed entries."""
        return self.checkpoint.tree_size

    def __len__(self) -> int:
        """Return the number of entries, sealed and acknowledged."""
        return self.tree_size + len(self._unsealed)

    def entry(self, index: int) -> bytes:
        """Return the bytes of an entry, as they are stored.

        Raises:
            UsageError: There is no such entry.
            IntegrityError: The file that holds it is missing or damaged.
        """
        if not 0 <= index < len(self):
            raise UsageError(
                f"there is no entry {index}; the log has {len(self)}",
                mend="name the index of an entry, counted from 0",
            )
        if index >= self.tree_size:
            return self._unsealed[index - self.tree_size]
        number, at = divmod(index, TILE_WIDTH)
        return self._tree.entries(number)[at]

    def entries(self, first: int = 0) -> Iterator[bytes]:
        """Give the entries from an index on, a bundle at a time."""
        for number in range(first // TILE_WIDTH, -(-self.tree_size // TILE_WIDTH)):
            entries = self._tree.entries(number)
            yield from entries[max(0, first - number * TILE_WIDTH) :]
        yield from self._unsealed[max(0, first - self.tree_size) :]

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """Return the proof that a sealed entry stands in the log; leaf's sibling first."""
        self._check_sealed(index)
        return merkle.inclusion_proof(index, self.tree_size, self._tree.node)

    def consistency_proof(self, old_size: int) -> tuple[bytes, ...]:
        """Return the proof that the log begins as it was at an old size, at least 1."""
        return merkle.consistency_proof(old_size, self.tree_size, self._tree.node)

    def root_at(self, size: int) -> bytes:
        """Return the root that the log had at a size, as its tiles say."""
        return self._tree.root_at(size)

    def receipt(self, index: int, *, with_entry: bool = True) -> TlogProof:
        """Return a receipt for a sealed entry, checked against the checkpoint first.

        Args:
            index: Of the entry.
            with_entry: Put the entry beside the proof, so that the receipt is all one needs.

        Raises:
            UsageError: The entry is not sealed.
            IntegrityError: The files do not lead from the entry to the signed root.
        """
        self._check_sealed(index)
        entry = self.entry(index)
        proof = self.inclusion_proof(index)
        leaf, root = merkle.leaf_hash(entry), self.checkpoint.root_hash
        merkle.verify_inclusion(leaf, index, self.tree_size, proof, root)
        return TlogProof(index, proof, self.note, entry if with_entry else None)

    def _check_sealed(self, index: int) -> None:
        if not 0 <= index < self.tree_size:
            raise UsageError(
                f"entry {index} is not sealed; the checkpoint is of {self.tree_size} entries",
                mend="seal the log first, or name an index below its size",
            )
