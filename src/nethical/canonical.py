"""Canonical bytes and digests: the same content has the same bytes, everywhere.

Reference:
    RFC 8785, JSON Canonicalization Scheme.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["canonical_json", "digest", "file_digest"]


def canonical_json(document: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the RFC 8785 bytes of a JSON value.

    Args:
        document: Mappings with string keys, sequences, strings, finite numbers, booleans, None.

    Returns:
        UTF-8 bytes, keys sorted, without white space.

    Raises:
        ValueError: The value is not JSON (NaN, an integer beyond 2^53, another type).

    Example:
        >>> canonical_json({"b": 1.0, "a": [True, None]})
        b'{"a":[true,null],"b":1}'
    """
    import rfc8785

    return rfc8785.dumps(document)


def digest(content: bytes) -> str:
    """Return ``sha256:`` and the hex SHA-256 of the bytes.

    Example:
        >>> digest(b"")[:15]
        'sha256:e3b0c442'
    """
    return "sha256:" + hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of a file, read in pieces."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
