"""Keyed digests of rows: which rows are equal, where a row goes, and who it is.

A row's content is reduced to 64-bit words, one a column, blind to what near-duplicates differ
in: letter case, white space, the digits inside texts, the seventh significant figure of a
number. The digest is a CBC-MAC with AES-256 over these words, so that rows with few possible
values cannot be guessed by anybody who lacks the key; messages are of one length per table and
start with it, which is what makes CBC-MAC a secure MAC.

Reference:
    ISO/IEC 9797-1, MAC algorithm 1; Bellare, Kilian, Rogaway 2000 (fixed-length CBC-MAC).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["column_words", "exact_words", "keyed_digests", "seed_key"]

MISSING = np.uint64(0x6D697373696E6721)
DROPPED_BITS = np.uint64(30)
ROUNDING = np.uint64(1 << 29)
BLOCK_ROWS = 1 << 16


def seed_key(seed: int, purpose: str) -> bytes:
    """Return the 32-byte key of a seed for one purpose.

    Example:
        >>> seed_key(42, "split") == seed_key(42, "split") != seed_key(42, "sample")
        True
    """
    return hashlib.sha256(f"nethical/{purpose}/{seed}".encode()).digest()


def keyed_digests(columns: Sequence[NDArray[np.uint64]], key: bytes) -> NDArray[np.uint64]:
    """Return a 128-bit keyed digest of each row.

    Args:
        columns: The words of each column, each of shape (n,).
        key: 32 bytes.

    Returns:
        Two words a row, shape (n, 2); equal rows have equal digests.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    n_rows = len(columns[0])
    digests = np.empty((n_rows, 2), dtype=np.uint64)
    # ECB on one block a row is the bare block cipher that CBC-MAC chains by hand, vectorised.
    cipher = Cipher(algorithms.AES256(key), modes.ECB())  # noqa: S305
    for start in range(0, n_rows, BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, n_rows))
        state = np.zeros((rows.stop - start, 2), dtype=np.uint64)
        state[:, 0] = len(columns)
        for first in range(-1, len(columns), 2):
            for word in (first, first + 1):
                if 0 <= word < len(columns):
                    state[:, word - first] ^= columns[word][rows]
            encryptor = cipher.encryptor()
            state = np.frombuffer(encryptor.update(state.tobytes()), dtype=np.uint64)
            state = state.reshape(-1, 2).copy()
        digests[rows] = state
    return digests


def column_words(column: pa.ChunkedArray, *, blurred: bool = False) -> NDArray[np.uint64]:
    """Return one 64-bit word a value, shape (n,).

    Args:
        column: Numbers, texts, or lists of texts.
        blurred: Whether texts that differ in case, white space or digits only are one, as in
            prose; names and codes are told apart to the last character.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), MISSING)
    if pa.types.is_large_list(kind):
        column = pc.binary_join(column, pa.scalar("\x1f", pa.large_string()))
    elif not pa.types.is_large_string(kind):
        return _number_words(column)
    return exact_words(_blurred(column) if blurred else column)


def _number_words(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    import pyarrow as pa

    values = column.cast(pa.float64(), safe=False).to_numpy() + 0.0  # no negative zero
    words = (values.view(np.uint64) + ROUNDING) >> DROPPED_BITS
    words[np.isnan(values)] = MISSING
    return np.asarray(words)


def _blurred(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    plain = pc.replace_substring_regex(pc.utf8_lower(column), r"\d+", "0")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, r"\s+", " "))


def exact_words(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Return one 64-bit word a text, shape (n,), equal for equal texts only, as of names."""
    import pyarrow as pa

    encoded = pa.chunked_array([column.combine_chunks()]).dictionary_encode().chunk(0)
    hashes = b"".join(
        hashlib.blake2b(text.encode(), digest_size=8).digest()
        for text in encoded.dictionary.to_pylist()
    )
    lookup = np.append(np.frombuffer(hashes, dtype=np.uint64), MISSING)
    indices = encoded.indices.fill_null(len(lookup) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(lookup[indices])
