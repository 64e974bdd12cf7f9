"""Tiles: where the hashes and entries of a log lie, and how a tree grows by them; no files.

A tile is a run of up to 256 hashes of one level; each hash of level L + 1 is the root over a
full tile of level L. A bundle is a run of up to 256 entries, each behind its length in two
bytes. Full ones never change; a partial one exists for the size that was signed.

Reference:
    C2SP tlog-tiles.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nethical.audit.merkle import HASH_BYTES, join_right, root_hash, subtree_hash, subtrees

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "MAX_ENTRY_BYTES",
    "TILE_WIDTH",
    "RightEdge",
    "Tile",
    "bundle_hashes",
    "decode_bundle",
    "encode_bundle",
    "tiles_at",
]

TILE_WIDTH = 256
MAX_ENTRY_BYTES = 65_535

_PATH = re.compile(
    r"tile/(?P<level>[0-9]|[1-5][0-9]|6[0-3]|entries)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, order=True)
class Tile:
    """One tile of hashes, or one bundle of entries.

    Args:
        level: 0 holds leaf hashes; None is a bundle of entries.
        index: Which one of its level, from 0.
        width: Number of hashes or entries, 1 to 256.
    """

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Return the path below the log's folder.

        Example:
            >>> Tile(0, 1234067).path
            'tile/0/x001/x234/067'
            >>> Tile(None, 0, 7).path
            'tile/entries/000.p/7'
        """
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        part = f".p/{self.width}" if self.width < TILE_WIDTH else ""
        return f"tile/{'entries' if self.level is None else self.level}/{name}{part}"

    @property
    def full(self) -> bool:
        """Return whether the tile is full and so final."""
        return self.width == TILE_WIDTH

    @classmethod
    def from_path(cls, path: str) -> Tile:
        """Return the tile of a path below the log's folder.

        Raises:
            ValueError: It is no path of a tile, or not the one way to write it.
        """
        match = _PATH.fullmatch(path)
        if not match:
            raise ValueError(f"{path!r} is not the path of a tile")
        level = None if match["level"] == "entries" else int(match["level"])
        index = int(match["index"].replace("x", "").replace("/", ""))
        tile = cls(level, index, int(match["width"] or TILE_WIDTH))
        if tile.path != path:
            raise ValueError(f"{path!r} is not the path of a tile")
        return tile


def tiles_at(tree_size: int) -> Iterator[tuple[int, int, int]]:
    """Give level, number of full tiles and width of the partial tile of a tree, bottom up.

    Example:
        >>> list(tiles_at(70_000))
        [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    """
    level, hashes = 0, tree_size
    while hashes:
        yield level, hashes // TILE_WIDTH, hashes % TILE_WIDTH
        level, hashes = level + 1, hashes // TILE_WIDTH


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    r"""Return the bytes of a bundle.

    Raises:
        OverflowError: An entry is longer than 65,535 bytes.

    Example:
        >>> encode_bundle([b"ab", b""])
        b'\x00\x02ab\x00\x00'
    """
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def decode_bundle(content: bytes, width: int) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        ValueError: It does not hold exactly ``width`` entries; says where it goes wrong.
    """
    entries = []
    at, end = 0, len(content)
    for number in range(width):
        start = at + 2
        if start > end:
            raise ValueError(f"it ends after {number} of {width} entries")
        at = start + (content[start - 2] << 8) + content[start - 1]
        entries.append(content[start:at])
    _check_end(at, end, width)
    return entries


def bundle_hashes(content: bytes, width: int) -> bytes:
    """Return the concatenated leaf hashes of the entries of a bundle, without taking it apart.

    Raises:
        ValueError: It does not hold exactly ``width`` entries.
    """
    buffer = bytearray(content)
    view, sha256 = memoryview(buffer), hashlib.sha256
    hashes = []
    at, end = 0, len(content)
    for number in range(width):
        start = at + 2
        if start > end:
            raise ValueError(f"it ends after {number} of {width} entries")
        at = start + (buffer[start - 2] << 8) + buffer[start - 1]
        buffer[start - 1] = 0  # the byte before an entry becomes that which marks a leaf
        hashes.append(sha256(view[start - 1 : at]).digest())
    _check_end(at, end, width)
    return b"".join(hashes)


def _check_end(at: int, end: int, width: int) -> None:
    if at > end:
        # Only a last entry can be short without the loop noticing; an earlier one ends it above.
        raise ValueError(f"it ends inside entry {width - 1} of {width}")
    if at != end:
        raise ValueError(f"{end - at} bytes follow the last of {width} entries")


@dataclass
class RightEdge:
    """What a tree needs to grow: the hashes of the partial tile of each level.

    Args:
        tree_size: Number of leaves.
        levels: Concatenated hashes of the partial tile of each level, bottom up.
    """

    tree_size: int = 0
    levels: list[bytes] = field(default_factory=list)

    def copy(self) -> RightEdge:
        """Return an edge that grows by itself."""
        return RightEdge(self.tree_size, list(self.levels))

    def root(self) -> bytes:
        """Return the root of the tree."""
        roots: list[bytes] = []
        for hashes in self.levels:
            width = len(hashes) // HASH_BYTES
            roots[:0] = [
                subtree_hash(hashes[HASH_BYTES * (i << h) : HASH_BYTES * ((i + 1) << h)])
                for h, i in subtrees(0, width)
            ]
        return join_right(roots)

    def extend(self, hashes: bytes) -> list[tuple[Tile, bytes]]:
        """Add concatenated leaf hashes, and return the tiles that became full."""
        full: list[tuple[Tile, bytes]] = []
        level = 0
        grown = self.tree_size  # in hashes of this level, before
        self.tree_size += len(hashes) // HASH_BYTES
        size = TILE_WIDTH * HASH_BYTES
        while hashes:
            if level == len(self.levels):
                self.levels.append(b"")
            hashes = self.levels[level] + hashes
            whole = len(hashes) // size * size
            first = grown // TILE_WIDTH
            tiles = [hashes[at : at + size] for at in range(0, whole, size)]
            full += [(Tile(level, first + i), tile) for i, tile in enumerate(tiles)]
            self.levels[level] = hashes[whole:]
            hashes = b"".join([subtree_hash(tile) for tile in tiles])
            level, grown = level + 1, first
        return full

    def partial(self) -> list[tuple[Tile, bytes]]:
        """Return the partial tiles, bottom up."""
        found = []
        for level, full, width in tiles_at(self.tree_size):
            if width:
                found.append((Tile(level, full, width), self.levels[level]))
        return found

    def root_with(self, hashes: bytes) -> bytes:
        """Return the root that the tree would have with these further leaf hashes."""
        if not self.tree_size:
            return root_hash(hashes)
        grown = self.copy()
        grown.extend(hashes)
        return grown.root()
