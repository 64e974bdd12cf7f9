"""Signed notes: a text, and under it who signed it; pure bytes.

A verifier names the keys it believes. A line by another key says nothing and is left alone; a
line by a believed key that does not fit the text makes the whole note worthless.

Reference:
    C2SP signed-note; golang.org/x/mod/sumdb/note (key and signature formats).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from nethical.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

__all__ = ["Note", "NoteLine", "VerifierKey", "check_name", "open_note", "sign_note"]

_ED25519 = b"\x01"
_MAX_LINES = 100
_MARK = "\N{EM DASH} "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_VKEY = re.compile(r"(?P<name>[^+\s]+)\+(?P<key_id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/=]+)")
_SHOW_KEY = "give the line that `nethical audit key` prints where the log is written"
_MEND = "restore the file from a copy; if there is none, the log cannot be believed"


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a key or of a log.

    Raises:
        UsageError: It is empty, or holds a space, a plus or a control character.
    """
    if not name or re.search(r"[\s+\x00-\x1f]", name):
        raise UsageError(
            f"{name!r} cannot be the name of a log",
            mend="name it like a web address without https://, spaces and plus",
        )


def decode_base64(text: str) -> bytes:
    """Return the bytes of base64 text written in the one canonical way.

    Raises:
        ValueError: It is not base64, or could have been written another way.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{text[:60]!r} is not base64") from error
    if base64.b64encode(content).decode() != text:
        raise ValueError(f"{text[:60]!r} is not written as base64 is")
    return content


@dataclass(frozen=True)
class VerifierKey:
    """A named Ed25519 public key, by which notes are verified.

    Args:
        name: Of the signer; for a log its origin.
        public_bytes: The 32 bytes of the key.
    """

    name: str
    public_bytes: bytes

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that name the key in a signature line."""
        told = self.name.encode() + b"\n" + _ED25519 + self.public_bytes
        return hashlib.sha256(told).digest()[:4]

    @classmethod
    def of(cls, name: str, key: Ed25519PrivateKey | Ed25519PublicKey) -> VerifierKey:
        """Return the verifier key of a private or public key under a name."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        check_name(name)
        public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
        return cls(name, public.public_bytes_raw())

    @classmethod
    def from_vkey(cls, text: str) -> VerifierKey:
        """Return the key of a line ``name+id+key``.

        Raises:
            UsageError: It is no such line, of another kind than Ed25519, or mistyped.
        """
        match = _VKEY.fullmatch(text.strip())
        try:
            content = decode_base64(match["key"]) if match else b""
        except ValueError:
            match = None
        if not match or not content:
            raise UsageError(f"{text[:80]!r} is not a verifier key", mend=_SHOW_KEY)
        if content[:1] != _ED25519 or len(content) != 33:  # noqa: PLR2004 - type and 32 bytes
            raise UsageError(f"the key {match['name']} is of another kind", mend=_SHOW_KEY)
        key = cls(match["name"], content[1:])
        if key.key_id.hex() != match["key_id"]:
            raise UsageError(f"the key {key.name} does not fit its id: mistyped", mend=_SHOW_KEY)
        return key

    def to_vkey(self) -> str:
        """Return the line ``name+id+key`` to hand to those who verify."""
        key = base64.b64encode(_ED25519 + self.public_bytes).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def fits(self, message: bytes, signature: bytes) -> bool:
        """Return whether the signature is this key's over the message."""
        return _fits(self.public_bytes, message, signature)


@lru_cache(maxsize=64)  # a note is asked about several times in a row: views hold it too
def _fits(public_bytes: bytes, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_bytes).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class NoteLine:
    """One signature line: the name and id of a key, and its signature."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A note of which at least one line was verified.

    Args:
        text: What was signed; ends in a newline.
        verified: The lines of believed keys, all of which fit.
        others: The lines of keys that were not asked about.
    """

    text: str
    verified: tuple[NoteLine, ...]
    others: tuple[NoteLine, ...]


def sign_note(text: str, *, name: str, key: Ed25519PrivateKey) -> bytes:
    r"""Return the note of a text, signed under a name.

    Args:
        text: What to sign; ends in a newline and holds no other control character.
        name: Of the signer.
        key: Its private key.

    Raises:
        ValueError: The text cannot be a note.

    Example:
        >>> from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        >>> key = Ed25519PrivateKey.generate()
        >>> note = sign_note("said\n", name="example.com/a", key=key)
        >>> open_note(note, [VerifierKey.of("example.com/a", key)]).text
        'said\n'
    """
    if not text.endswith("\n") or _CONTROL.search(text):
        raise ValueError("the text of a note ends in a newline and holds no control character")
    verifier = VerifierKey.of(name, key)
    mark = base64.b64encode(verifier.key_id + key.sign(text.encode())).decode()
    return f"{text}\n{_MARK}{name} {mark}\n".encode()


def open_note(note: bytes, keys: Collection[VerifierKey]) -> Note:
    """Return a note once a believed key's signature holds, and none of them fails.

    Raises:
        IntegrityError: It is no note, no believed key signed it, or one does not fit.
    """
    text, lines = split_note(note)
    known = {(key.name, key.key_id): key for key in keys}
    verified: dict[tuple[str, bytes], NoteLine] = {}
    others = []
    for line in lines:
        named = (line.name, line.key_id)
        if named not in known:
            others.append(line)
        elif named not in verified:
            if not known[named].fits(text.encode(), line.signature):
                raise IntegrityError(
                    f"the signature of {line.name} does not fit the text above it", mend=_MEND
                )
            verified[named] = line
    if not verified:
        raise IntegrityError(
            f"no believed key signed it: {_told(keys)} asked for, {_told(lines)} found",
            mend="name the right key with --key, if you know it to be the log's",
        )
    return Note(text, tuple(verified.values()), tuple(others))


def split_note(note: bytes) -> tuple[str, list[NoteLine]]:
    """Return the text of a note and its signature lines, none of them verified.

    Raises:
        IntegrityError: It is no note.
    """
    try:
        return _split(note)
    except ValueError as error:
        raise IntegrityError(f"not a signed note: {error}", mend=_MEND) from error


def _split(note: bytes) -> tuple[str, list[NoteLine]]:
    whole = note.decode()
    if _CONTROL.search(whole):
        raise ValueError("it holds a control character")
    text, blank, below = whole.rpartition("\n\n")
    if not blank or not below.endswith("\n"):
        raise ValueError("no signature line stands at its end")
    lines = below[:-1].split("\n")
    if len(lines) > _MAX_LINES:
        raise ValueError(f"it has more than {_MAX_LINES} signature lines")
    return text + "\n", [_line(line) for line in lines]


def _line(line: str) -> NoteLine:
    parts = line.removeprefix(_MARK).split(" ")
    if not line.startswith(_MARK) or len(parts) != 2:  # noqa: PLR2004 - name and signature
        raise ValueError(f"{line[:60]!r} is not a signature line")
    name, mark = parts
    if not name or re.search(r"[\s+]", name):
        raise ValueError(f"{name!r} cannot be the name of a key")
    content = decode_base64(mark)
    if len(content) < 5:  # noqa: PLR2004 - an id of four bytes and a signature
        raise ValueError(f"{line[:60]!r} holds no signature")
    return NoteLine(name, content[:4], content[4:])


def _told(named: Collection[VerifierKey] | Collection[NoteLine]) -> str:
    return ", ".join(f"{each.name}+{each.key_id.hex()}" for each in named) or "none"
