"""Check the sealed part of a log: every hash again from the entries, tile by tile.

Where a file and what its entries lead to differ, the hash above them says which of the two is
the one that was sealed; at the right edge, where there is none above, the signed root does.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nethical.audit.entries import canonical_faults
from nethical.audit.merkle import (
    HASH_BYTES,
    join_right,
    node_hash,
    pair_hashes,
    subtree_hash,
    subtrees,
)
from nethical.audit.reading import SealedTree
from nethical.audit.tiles import (
    TILE_WIDTH,
    RightEdge,
    Tile,
    bundle_hashes,
    decode_bundle,
    encode_bundle,
)
from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nethical.audit.faults import Examined
    from nethical.audit.files import Folder

__all__ = ["Edge", "SealedCheck"]

_FULL = TILE_WIDTH * HASH_BYTES


@dataclass(frozen=True)
class _Undecided:
    """A partial tile that differs from what lies below it: which is right, the root decides."""

    tile: Tile
    below: bytes
    stored: bytes


@dataclass
class _Level:
    """The hashes of a level that do not fill a tile yet, and how many tiles are full."""

    hashes: bytearray = field(default_factory=bytearray)
    filled: int = 0


class Edge:
    """The complete subtrees of the leaves so far, and so the root at any size."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, bytes]] = []

    def add(self, tile_hash: bytes) -> None:
        """Add the root over a full tile of leaves."""
        height = 8
        while self._subtrees and self._subtrees[-1][0] == height:
            tile_hash = node_hash(self._subtrees.pop()[1], tile_hash)
            height += 1
        self._subtrees.append((height, tile_hash))

    def root_with(self, levels: Sequence[bytes], count: int) -> bytes:
        """Return the root with the first of the leaves of a further tile.

        Args:
            levels: The leaf hashes of the tile, and above them the hashes of each level in it.
            count: How many of the leaves, fewer than a full tile.
        """
        more = [
            levels[height][HASH_BYTES * index : HASH_BYTES * (index + 1)]
            for height, index in subtrees(0, count)
        ]
        return join_right([*(each for _, each in self._subtrees), *more])


class SealedCheck:
    """Checks the files of the sealed entries, and collects the roots at asked sizes.

    Args:
        folder: The log's folder.
        tree_size: Number of sealed entries.
        root: The root that the checkpoint says.
        found: Where faults are noted.
        contents: Whether to check that entries are canonical JSON.
        each: Given the first index and the entries of each bundle.
    """

    def __init__(
        self,
        folder: Folder,
        tree_size: int,
        root: bytes,
        found: Examined,
        *,
        contents: bool,
        each: Callable[[int, Sequence[bytes]], None] | None,
    ) -> None:
        self._folder = folder
        self._tree = SealedTree(folder, tree_size)
        self._size = tree_size
        self._root = root
        self._found = found
        self._contents = contents
        self._each = each
        self._undecided: list[_Undecided] = []
        self._signed: set[int] = set()
        self._above: list[_Level] = []
        self.edge = Edge()
        self.roots: dict[int, bytes] = {}

    def run(self, signed: Sequence[int], known: Sequence[int]) -> None:
        """Check everything; ``roots`` then has the root at each of the sizes.

        Args:
            signed: Sizes up to that of the log that it keeps checkpoints of.
            known: Sizes up to that of the log that checkpoints are known of elsewhere.
        """
        self._signed = set(signed)
        asked = deque(sorted({*signed, *known, self._size}))
        for number in range(self._size // TILE_WIDTH):
            levels = _levels(self._leaves(number))
            start = number * TILE_WIDTH
            while asked[0] < start + TILE_WIDTH:
                size = asked.popleft()
                self.roots[size] = self.edge.root_with(levels, size - start)
            self.edge.add(levels[-1])
            self._climb(levels[-1])
        start = self._size // TILE_WIDTH * TILE_WIDTH
        last = self._leaves(start // TILE_WIDTH) if start < self._size else b""
        levels = _levels(self._finish(last))
        for size in asked:
            self.roots[size] = self.edge.root_with(levels, size - start)

    def _climb(self, joined: bytes) -> None:
        """Add the hash of a full tile to the levels above, checking those that fill up."""
        for level in range(1, 64):
            if len(self._above) < level:
                self._above.append(_Level())
            here = self._above[level - 1]
            here.hashes += joined
            if len(here.hashes) < _FULL:
                return
            tile = Tile(level, here.filled)
            joined = subtree_hash(self._settle(tile, bytes(here.hashes), self._stored(tile)))
            here.filled += 1
            here.hashes.clear()

    def _finish(self, last: bytes) -> bytes:
        """Check the right edge: partial tiles, the root, and partial tiles of earlier sizes.

        Args:
            last: Leaf hashes of the partial tile, as its entries say.

        Returns:
            Those leaf hashes as they were sealed.
        """
        edge = [last]
        for level, here in enumerate(self._above, 1):
            edge.append(bytes(here.hashes))
            if here.hashes:
                tile = self._tree.tile(level, here.filled)
                self._settle(tile, edge[-1], self._stored(tile))
        edge = self._decide(edge)
        for level, hashes in enumerate(edge):
            self._check_older(level, hashes)
        if last:
            self._check_older(None, self._read(self._last(None), quietly=True) or b"")
        return edge[0]

    def _leaves(self, number: int) -> bytes:
        """Return the leaf hashes of a tile that were sealed, as far as that can be told."""
        tile = self._tree.tile(0, number)
        bundle = self._tree.tile(None, number)
        content, stored = self._read(bundle), self._stored(tile)
        below = None
        if content is not None:
            try:
                below = bundle_hashes(content, tile.width)
            except ValueError as error:
                self._found.fault(bundle.path, number * TILE_WIDTH, "length", str(error))
        if content is None or below is None:
            return stored or bytes(tile.width * HASH_BYTES)
        if self._each or self._contents:
            entries = decode_bundle(content, tile.width)
            self._look_into(number, entries, set(_differing(below, stored or below)))
        return self._settle(tile, below, stored)

    def _look_into(self, number: int, entries: list[bytes], changed: set[int]) -> None:
        """Note which entries are not canonical, of those that are what was sealed."""
        if self._each:
            self._each(number * TILE_WIDTH, entries)
        for at, why in canonical_faults(entries) if self._contents else ():
            if at not in changed:
                path = self._tree.tile(None, number).path
                self._found.fault(path, number * TILE_WIDTH + at, "not canonical", why)

    def _settle(self, tile: Tile, below: bytes, stored: bytes | None) -> bytes:
        """Return the hashes of a tile that were sealed: those stored, or those from below."""
        if stored is None or stored == below:
            return below
        if not tile.full:
            self._undecided.append(_Undecided(tile, below, stored))
            return below
        sealed = self._sealed_hash(tile)
        if sealed == subtree_hash(stored):
            self._blame_below(tile, below, stored)
            return stored
        if sealed is None or sealed == subtree_hash(below):
            self._blame_tile(tile, below, stored)
        else:
            self._blame_below(tile, below, stored)
            self._blame_tile(tile, below, stored)
        return below

    def _sealed_hash(self, tile: Tile) -> bytes | None:
        """Return the hash of a full tile as the level above has it."""
        assert tile.level is not None  # noqa: S101 - tells the type checker
        number, at = divmod(tile.index, TILE_WIDTH)
        try:
            hashes = self._tree.hashes(tile.level + 1, number)
        except IntegrityError:
            return None
        return hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES]

    def _stored(self, tile: Tile) -> bytes | None:
        content = self._read(tile)
        if content is not None and len(content) != tile.width * HASH_BYTES:
            what = f"it has {len(content)} bytes instead of {tile.width * HASH_BYTES}"
            self._found.fault(tile.path, self._entry(tile, 0), "length", what)
            return None
        return content

    def _read(self, tile: Tile, *, quietly: bool = False) -> bytes | None:
        """Return the content of a tile or bundle, None after a fault (noted, if not quietly)."""
        try:
            content = self._folder.read(tile.path)
            if content is None and not tile.full:
                # A writer may have replaced it by the full one since the checkpoint was read.
                content = self._beginning(tile)
            kind, what = "missing", "there is no such file"
        except IntegrityError:
            content = None
            kind, what = "not a file", "a link or folder is in its place"
        if content is None and not quietly:
            self._found.fault(tile.path, self._entry(tile, 0), kind, what)
        return content

    def _beginning(self, tile: Tile) -> bytes | None:
        content = self._folder.read(Tile(tile.level, tile.index).path)
        if content is None or tile.level is not None:
            return content and content[: tile.width * HASH_BYTES]
        try:
            return encode_bundle(decode_bundle(content, TILE_WIDTH)[: tile.width])
        except ValueError:
            return None

    def _decide(self, edge: list[bytes]) -> list[bytes]:
        """Return the partial tiles as they were sealed, and note which side is wrong.

        Args:
            edge: The hashes of the partial tile of each level, as what lies below them says.
        """
        for stored in itertools.product((False, True), repeat=len(self._undecided)):
            chosen = list(edge)
            for each, from_file in zip(self._undecided, stored, strict=True):
                chosen[each.tile.level or 0] = each.stored if from_file else each.below
            if RightEdge(self._size, chosen).root() == self._root:
                for each, from_file in zip(self._undecided, stored, strict=True):
                    blame = self._blame_below if from_file else self._blame_tile
                    blame(each.tile, each.below, each.stored)
                return chosen
        for each in self._undecided:
            self._blame_below(each.tile, each.below, each.stored)
            self._blame_tile(each.tile, each.below, each.stored)
        what = f"the {self._size} entries do not lead to the root that it says"
        self._found.fault("checkpoint", None, "root", what)
        return edge

    def _last(self, level: int | None) -> Tile:
        return self._tree.tile(level, self._size >> 8 * ((level or 0) + 1))

    def _check_older(self, level: int | None, later: bytes) -> None:
        """Check that the partial tiles of earlier sizes begin as the current one does.

        One is there for each size that was signed while no full tile had replaced it.
        """
        current = self._last(level)
        below = 8 * (level or 0)
        widths = {
            (size >> below) % TILE_WIDTH
            for size in self._signed
            if size >> below + 8 == current.index
        }
        names = self._folder.names(Tile(level, current.index).path + ".p")
        widths |= {int(name) for name in names if re.fullmatch(r"[1-9]\d{0,2}", name)}
        for width in sorted(widths & set(range(1, current.width))):
            tile = Tile(level, current.index, width)
            content = self._read(tile)
            if content is not None and not self._begins(later, content, tile):
                what = "it differs from the one that came after it"
                self._found.fault(tile.path, self._entry(tile, 0), "changed", what)

    @staticmethod
    def _begins(later: bytes, content: bytes, tile: Tile) -> bool:
        if tile.level is not None:
            return later[: tile.width * HASH_BYTES] == content
        try:
            decode_bundle(content, tile.width)
        except ValueError:
            return False
        return later.startswith(content)

    def _blame_tile(self, tile: Tile, below: bytes, stored: bytes) -> None:
        at = next(_differing(below, stored))
        self._found.fault(
            tile.path,
            self._entry(tile, at),
            "changed",
            f"hash {at} in it is not that of what lies below",
        )

    def _blame_below(self, tile: Tile, below: bytes, stored: bytes) -> None:
        """Say that what lies below a tile was changed, the tile being as it was sealed."""
        level = tile.level or 0
        for at in _differing(below, stored):
            if level == 0:
                path = self._tree.tile(None, tile.index).path
                what = "it is not the entry that was sealed"
            else:
                path = self._tree.tile(level - 1, tile.index * TILE_WIDTH + at).path
                what = "it was changed together with what lies below it"
            self._found.fault(path, self._entry(tile, at), "changed", what)

    @staticmethod
    def _entry(tile: Tile, at: int) -> int:
        """Return the first entry below a hash of a tile."""
        return int((tile.index * TILE_WIDTH + at) << 8 * (tile.level or 0))


def _levels(hashes: bytes) -> list[bytes]:
    """Return the hashes of a tile, and above them the hashes of each level in it."""
    levels = [hashes]
    while len(levels[-1]) > HASH_BYTES:
        levels.append(pair_hashes(levels[-1]))
    return levels


def _differing(one: bytes, other: bytes) -> Iterator[int]:
    if one == other:
        return
    for at in range(0, len(one), HASH_BYTES):
        if one[at : at + HASH_BYTES] != other[at : at + HASH_BYTES]:
            yield at // HASH_BYTES
