"""Hashed n-grams of texts and of item sequences, counted without a Python loop over rows.

A run of symbols has a polynomial hash, so that every window's hash is a difference of two
prefix sums; symbols are mixed first and hashes mixed last, which keeps 64-bit collisions to
chance. Windows of characters stay within a word and its two boundaries.

Reference:
    Karp and Rabin 1987 (rolling hashes); Steele, Lea and Flood 2014 (the mixing function).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]
    Codes = NDArray[np.int64]

__all__ = ["KINDS", "Grams", "grams"]

KINDS = {"words": (1, 2), "characters": (3, 5), "items": (1, 3)}
CHUNK_SYMBOLS = 1 << 21
BASE = 0x9E3779B97F4A7C15 | 1
INVERSE = pow(BASE, -1, 1 << 64)
SPACE = 32


@dataclass(frozen=True)
class Grams:
    """N-grams of some rows, one entry for each place where one stands.

    Args:
        first_row: Row of the table at which this chunk starts.
        n_rows: Rows in the chunk.
        rows: Row within the chunk, shape (m,).
        hashes: Shape (m,).
        texts: Returns the n-gram at one of the m places.
    """

    first_row: int
    n_rows: int
    rows: Codes
    hashes: Hashes
    texts: _Places


@dataclass(frozen=True)
class _Places:
    """Where n-grams stand, to read one back."""

    symbols: list[str] | NDArray[np.uint32]
    starts: Codes
    ends: Codes

    def __getitem__(self, place: int) -> str:
        window = self.symbols[int(self.starts[place]) : int(self.ends[place])]
        if isinstance(window, list):
            return " > ".join(window)
        return window.tobytes().decode("utf-32-le").strip()


def grams(column: pa.Array, kind: str) -> Iterator[Grams]:
    """Yield the n-grams of a column in chunks of whole rows.

    Args:
        column: Texts (for words and characters) or lists of texts (for items).
        kind: words, characters or items.
    """
    import pyarrow.compute as pc

    is_items = kind == "items"
    if not is_items:
        column = pc.utf8_lower(pc.utf8_normalize(column, form="NFKC"))
    lengths = pc.list_value_length(column) if is_items else pc.utf8_length(column)
    sizes = lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64) + 2
    total = np.cumsum(sizes)
    start = 0
    while start < len(column):
        done = total[start] - sizes[start]
        end = max(int(np.searchsorted(total, done + CHUNK_SYMBOLS, side="right")), start + 1)
        rows = column.slice(start, end - start)
        windows = _item_windows(rows) if is_items else _text_windows(rows, kind)
        yield Grams(start, end - start, *windows)
        start = end


def _mix(values: Hashes) -> Hashes:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


class _Rolling:
    """Prefix sums from which the hash of any window of symbols follows."""

    def __init__(self, symbols: Hashes) -> None:
        n = len(symbols)
        powers = np.full(n + 1, BASE, dtype=np.uint64)
        powers[0] = 1
        self._inverse = np.full(n + 1, INVERSE, dtype=np.uint64)
        self._inverse[0] = 1
        np.cumprod(powers, out=powers)
        np.cumprod(self._inverse, out=self._inverse)
        self._sums = np.zeros(n + 1, dtype=np.uint64)
        np.cumsum(_mix(symbols) * powers[:n], out=self._sums[1:])

    def window(self, starts: Codes, ends: Codes) -> Hashes:
        """Return the hash of each window [start, end)."""
        value = (self._sums[ends] - self._sums[starts]) * self._inverse[starts]
        return _mix(value + (ends - starts).astype(np.uint64))


def _text_windows(texts: pa.Array, kind: str) -> tuple[Codes, Hashes, _Places]:
    """Return rows, hashes and places of the windows of some texts."""
    filled = texts.fill_null("").to_pylist()
    joined = " " + " ".join(filled) + " "
    symbols = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32)
    lengths = np.array([len(text) for text in filled], dtype=np.int64) + 1
    row = np.repeat(np.arange(len(filled)), lengths)
    row = np.append(0, row)
    if kind == "words":
        return _word_windows(symbols, row)
    spaces = _is_space(symbols)
    keep = ~(spaces & np.append(False, spaces[:-1]))
    symbols, row = np.where(spaces, SPACE, symbols)[keep].astype(np.uint32), row[keep]
    rolling = _Rolling(symbols.astype(np.uint64))
    seen = np.append(0, np.cumsum(symbols == SPACE))
    parts = []
    low, high = KINDS["characters"]
    for n in range(low, high + 1):
        starts = np.arange(max(len(symbols) - n + 1, 0))
        inner = seen[starts + n - 1] - seen[starts + 1] == 0
        parts.append(np.column_stack([starts[inner], starts[inner] + n]))
    places = np.concatenate(parts)
    hashes = rolling.window(places[:, 0], places[:, 1])
    return row[places[:, 0] + 1], hashes, _Places(symbols, places[:, 0], places[:, 1])


def _is_space(symbols: NDArray[np.uint32]) -> NDArray[np.bool_]:
    return np.asarray((symbols <= SPACE) | (symbols == 0xA0) | (symbols == 0x3000))  # noqa: PLR2004


def _is_word(symbols: NDArray[np.uint32]) -> NDArray[np.bool_]:
    ascii_word = np.array([chr(c).isalnum() or chr(c) == "_" for c in range(128)])
    marks = (symbols >= 0x2000) & (symbols < 0x2070) | (symbols >= 0x3000) & (symbols < 0x3040)  # noqa: PLR2004
    latin_marks = (symbols >= 0x80) & (symbols < 0xC0)  # noqa: PLR2004
    beyond = (symbols >= 128) & ~marks & ~latin_marks  # noqa: PLR2004
    return np.asarray(np.where(symbols < 128, ascii_word[np.minimum(symbols, 127)], beyond))  # noqa: PLR2004


def _word_windows(symbols: NDArray[np.uint32], row: Codes) -> tuple[Codes, Hashes, _Places]:
    edges = np.diff(np.concatenate([[0], _is_word(symbols).astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    words = _Rolling(symbols.astype(np.uint64)).window(starts, ends)
    rows = row[starts]
    rolling = _Rolling(words)
    all_rows, all_hashes, firsts, lasts = [], [], [], []
    low, high = KINDS["words"]
    for n in range(low, high + 1):
        at = np.arange(max(len(words) - n + 1, 0))
        at = at[rows[at] == rows[at + n - 1]]
        all_rows.append(rows[at])
        all_hashes.append(rolling.window(at, at + n))
        firsts.append(starts[at])
        lasts.append(ends[at + n - 1])
    places = _Places(symbols, np.concatenate(firsts), np.concatenate(lasts))
    return np.concatenate(all_rows), np.concatenate(all_hashes), places


def _item_windows(lists: pa.Array) -> tuple[Codes, Hashes, _Places]:
    import pyarrow.compute as pc

    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(lists)), lengths)
    encoded = pc.list_flatten(lists).fill_null("").dictionary_encode()
    names = encoded.dictionary.to_pylist()
    digests = b"".join(hashlib.blake2b(n.encode(), digest_size=8).digest() for n in names)
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    rolling = _Rolling(np.frombuffer(digests, dtype=np.uint64)[codes])
    all_rows, all_hashes, firsts = [], [], []
    low, high = KINDS["items"]
    for n in range(low, high + 1):
        at = np.arange(max(len(codes) - n + 1, 0))
        at = at[rows[at] == rows[at + n - 1]]
        all_rows.append(rows[at])
        all_hashes.append(rolling.window(at, at + n))
        firsts.append(np.column_stack([at, at + n]))
    places = np.concatenate(firsts)
    symbols = [names[code] for code in codes.tolist()]
    return (
        np.concatenate(all_rows),
        np.concatenate(all_hashes),
        _Places(symbols, places[:, 0], places[:, 1]),
    )
