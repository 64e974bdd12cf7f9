"""Entries: JSON documents as canonical bytes, and the check that bytes are canonical.

RFC 8785 bytes of most documents are what Python's own encoder gives, many times faster than
the reference package; whatever could differ (integral floats, exponents, big integers, keys
beyond ASCII) goes to the reference.

Reference:
    RFC 8785, JSON Canonicalization Scheme.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from nethical.audit.tiles import MAX_ENTRY_BYTES
from nethical.canonical import canonical_json
from nethical.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["canonical_faults", "decode_entry", "encode_entry"]

_MAX_INTEGER = 2**53 - 1
_SMALLEST, _LARGEST = 1e-4, 1e15

_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode

# What Python's encoder would give back unchanged though RFC 8785 writes it otherwise: floats with
# these exponents (1e-05, 1e+16), integral ones (1.0), and keys that sort by UTF-16. Text that only
# looks so is decided by the reference.
_EXPONENTS = (b"e-0", b"e+1", b"e+2")
_INTEGRAL = re.compile(rb"\.0[,\]}]")
_BEYOND_BASIC_PLANE = re.compile(rb"[\xf0-\xf4]")
_SURE_DIGITS = 15

_BETWEEN = b'"\x7f"'


def encode_entry(document: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the canonical bytes of a document that fits into the log.

    Raises:
        StorageError: It is not JSON (NaN, an integer beyond 2^53, another type), or longer than
            65,535 bytes; names the member.

    Example:
        >>> encode_entry({"b": 1.0, "a": "x"})
        b'{"a":"x","b":1}'
    """
    try:
        content = _encode(document).encode() if _plain(document) else canonical_json(document)
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"{_culprit(document)} is not canonical JSON: {error or 'nested too deeply'}",
            mend="log finite numbers, text, lists and members by name only",
        ) from error
    if len(content) > MAX_ENTRY_BYTES:
        raise StorageError(
            f"an entry of {len(content):,} bytes does not fit into {MAX_ENTRY_BYTES:,}; "
            f"{_largest(document)} is the largest part",
            mend="log its digest instead, and keep the content in a file",
        )
    return content


def decode_entry(entry: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return the document of an entry.

    Raises:
        ValueError: The bytes are not canonical JSON.
    """
    document = _decode(entry.decode())
    if not _encodes_to(document, entry) and canonical_json(document) != entry:
        raise ValueError("the bytes are JSON, but not canonical")
    return document


def _encodes_to(document: Any, entry: bytes) -> bool:  # noqa: ANN401 - any JSON value
    """Return whether Python's own encoder surely gives the RFC 8785 bytes; False is no verdict."""
    if _is_doubtful(entry + b","):  # a number may stand alone
        return False
    try:
        return bool(_encode(document).encode() == entry)
    except ValueError:
        return False


def canonical_faults(entries: Sequence[bytes]) -> list[tuple[int, str]]:
    """Return which of the entries are not canonical JSON, and why not.

    Many entries are decoded and encoded at once, which is what makes checking them cheap.
    """
    if _surely_canonical(entries):
        return []
    faults = []
    for number, entry in enumerate(entries):
        try:
            decode_entry(entry)
        except RecursionError:
            faults.append((number, "it is nested too deeply"))
        except ValueError as error:
            faults.append((number, str(error)))
    return faults


def _surely_canonical(entries: Sequence[bytes]) -> bool:
    """Return whether all the entries are canonical; False is no verdict.

    They are joined by a mark that no entry may hold, so that the pieces of two broken entries
    never make up whole ones.
    """
    joined = b"[" + (b"," + _BETWEEN + b",").join(entries) + b"]"
    if joined.count(_BETWEEN) != len(entries) - 1 or _is_doubtful(joined):
        return False
    try:
        documents = json.loads(joined, parse_constant=_refuse, parse_int=_small_integer)
        marks = documents[1::2]
        return (
            len(documents) == 2 * len(entries) - 1
            and marks.count(json.loads(_BETWEEN)) == len(marks)
            and _encode(documents).encode() == joined
        )
    except (ValueError, RecursionError):
        return False


def _is_doubtful(joined: bytes) -> bool:
    return bool(
        any(exponent in joined for exponent in _EXPONENTS)
        or _INTEGRAL.search(joined)
        or (not joined.isascii() and _BEYOND_BASIC_PLANE.search(joined))
    )


def _number(digits: str) -> int | float:
    """Return an integer, or the float that RFC 8785 writes with these digits."""
    number = int(digits) if len(digits) <= _SURE_DIGITS + 2 else None
    if number is not None and abs(number) <= _MAX_INTEGER:
        return number
    return float(digits)


def _small_integer(digits: str) -> int:
    if len(digits) > _SURE_DIGITS:
        raise ValueError("an integer that may be beyond 2^53")
    return int(digits)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse, parse_int=_number).decode


def _plain(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Return whether Python's own encoder gives the RFC 8785 bytes of a value."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-_MAX_INTEGER <= value <= _MAX_INTEGER)
    if kind is float:
        return _SMALLEST <= abs(value) <= _LARGEST and not value.is_integer()
    if kind is dict:
        for key, member in value.items():
            if type(key) is not str or not key.isascii():
                return False
            if type(member) is not str and not _plain(member):  # most are text: spares a call
                return False
        return True
    if kind is list or kind is tuple:
        return all(map(_plain, value))
    return False


def _culprit(document: Any, at: str = "the entry") -> str:  # noqa: ANN401 - any JSON value
    """Return the path of the innermost value that cannot be encoded."""
    if at.count("[") + at.count(".") > 20:  # noqa: PLR2004 - as deep as a reader will look
        return at
    members: list[tuple[str, Any]] = []
    if isinstance(document, dict):
        members = [
            (f"{at}.{key}" if at != "the entry" else str(key), document[key]) for key in document
        ]
    elif isinstance(document, list | tuple):
        members = [(f"{at}[{i}]", member) for i, member in enumerate(document)]
    for name, member in members:
        try:
            canonical_json(member)
        except (ValueError, RecursionError):
            return _culprit(member, name)
    return at


def _largest(document: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the name of the largest member."""
    if not isinstance(document, dict):
        return "the whole"
    largest = max(document, key=lambda key: len(canonical_json(document[key])))
    return str(largest)
