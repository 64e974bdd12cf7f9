"""The journal: entries that were acknowledged but not sealed yet, each chained to all before.

A record is the length of its entry (4 bytes), its index (8 bytes), the entry, and SHA-256 over
the hash of the record before it, this header and this entry; the first is chained to the root
of the log at its index. So the last hash names the whole content, and a record that was
changed, dropped or moved shows. Pure bytes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.audit.tiles import MAX_ENTRY_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CHAIN_BYTES", "Records", "first_index", "pack_records", "scan_records"]

CHAIN_BYTES = 32
_HEADER = struct.Struct(">IQ")
_AHEAD = 64
_SECTOR = 512


@dataclass(frozen=True)
class Records:
    """What a stretch of the journal holds.

    Args:
        entries: The entries of its good records.
        head: Chain hash of the last of them.
        good_bytes: Length of the good records.
        torn_bytes: Length of what a crash left of a last record; it was never acknowledged.
        changed: Whether bytes after the good records are such as no crash leaves.
    """

    entries: list[bytes]
    head: bytes
    good_bytes: int
    torn_bytes: int = 0
    changed: bool = False


def pack_records(entries: Sequence[bytes], index: int, head: bytes) -> tuple[bytes, bytes]:
    """Return the records of entries from an index on, and the chain hash of the last.

    Args:
        entries: The entries, in order.
        index: Of the first.
        head: Chain hash of the record before, or the root of the log at ``index``.
    """
    sha256, pack = hashlib.sha256, _HEADER.pack
    pieces: list[bytes] = []
    for entry in entries:
        body = pack(len(entry), index) + entry
        head = sha256(head + body).digest()
        pieces += (body, head)
        index += 1
    return b"".join(pieces), head


def first_index(content: bytes) -> int | None:
    """Return the index that the first record claims, None when no header came to be written."""
    if len(content) < _HEADER.size or not any(content):
        return None
    index: int = _HEADER.unpack_from(content)[1]
    return index


def scan_records(content: bytes, index: int, head: bytes, offset: int = 0) -> Records:
    """Return the good records of a stretch of the journal, and what follows them.

    Args:
        content: The bytes, beginning with the record of ``index``.
        index: Where the stretch begins.
        head: Chain hash of the record before, or the root of the log at ``index``.
        offset: Where in the file the stretch begins.
    """
    entries = []
    at, end = 0, len(content)
    while end - at >= _HEADER.size + CHAIN_BYTES:
        length, number = _HEADER.unpack_from(content, at)
        stop = at + _HEADER.size + length
        after = stop + CHAIN_BYTES
        if number != index or length > MAX_ENTRY_BYTES or after > end:
            break
        chained = hashlib.sha256(head + content[at:stop]).digest()
        if content[stop:after] != chained:
            break
        entries.append(content[at + _HEADER.size : stop])
        head, at, index = chained, after, index + 1
    rest = content[at:]
    if not rest:
        return Records(entries, head, at)
    if _is_torn(rest, index, head, offset + end):
        return Records(entries, head, at, torn_bytes=len(rest))
    return Records(entries, head, at, changed=True)


def _is_torn(rest: bytes, index: int, head: bytes, file_bytes: int) -> bool:
    """Return whether bytes after the last good record are what a crash leaves of a write.

    A kill or a full disk leaves the beginning of a record; a power cut may leave zeros, from
    the beginning of a sector on, where the file grew. A record that is whole but does not fit
    its hash, or that good ones follow, was changed after it was written.
    """
    if _good_record_follows(rest, index):
        return False
    last_sector = rest[-(file_bytes % _SECTOR or _SECTOR) :]
    if len(rest) < _HEADER.size or not any(last_sector):
        return True
    length, number = _HEADER.unpack_from(rest)
    if number != index or length > MAX_ENTRY_BYTES:
        return False
    if len(rest) >= _HEADER.size + length + CHAIN_BYTES:
        return False
    return not _fits_another_length(rest, index, head)


def _good_record_follows(rest: bytes, index: int) -> bool:
    for ahead in range(index + 1, index + 1 + _AHEAD):
        at = rest.find(ahead.to_bytes(8, "big"), CHAIN_BYTES + 4)
        while at >= 0:
            start = at - 4
            length = int.from_bytes(rest[start:at], "big")
            stop = start + _HEADER.size + length
            if length <= MAX_ENTRY_BYTES and stop + CHAIN_BYTES <= len(rest):
                chained = hashlib.sha256(rest[start - CHAIN_BYTES : stop]).digest()
                if rest[stop : stop + CHAIN_BYTES] == chained:
                    return True
            at = rest.find(ahead.to_bytes(8, "big"), at + 1)
    return False


def _fits_another_length(rest: bytes, index: int, head: bytes) -> bool:
    """Return whether the bytes are a whole record but for a length that was changed."""
    length = len(rest) - _HEADER.size - CHAIN_BYTES
    if length < 0:
        return False
    body = _HEADER.pack(length, index) + rest[_HEADER.size : -CHAIN_BYTES]
    return hashlib.sha256(head + body).digest() == rest[-CHAIN_BYTES:]
