"""Checkpoints: the size and the root of a log, signed by it; pure bytes.

Reference:
    C2SP tlog-checkpoint.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.audit.merkle import EMPTY_ROOT, HASH_BYTES
from nethical.audit.notes import check_name, decode_base64, open_note, sign_note, split_note
from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from nethical.audit.notes import VerifierKey

__all__ = ["Checkpoint", "open_checkpoint", "read_checkpoint", "sign_checkpoint"]

_MAX_TREE_SIZE = 1 << 63
_MEND = "restore the file from a copy; if there is none, the log cannot be believed"


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log at one size.

    Args:
        origin: The name of the log.
        tree_size: Number of entries.
        root_hash: Root over them, 32 bytes.
        extensions: Further lines that others put there; signed, without meaning to us.
    """

    origin: str
    tree_size: int
    root_hash: bytes
    extensions: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return the lines that are signed.

        Example:
            >>> print(Checkpoint("example.com/log", 0, EMPTY_ROOT).to_text(), end="")
            example.com/log
            0
            47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
        """
        root = base64.b64encode(self.root_hash).decode()
        return "\n".join([self.origin, str(self.tree_size), root, *self.extensions, ""])

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Return the checkpoint of the lines that were signed.

        Raises:
            IntegrityError: They are no checkpoint.
        """
        try:
            return cls._from_text(text)
        except ValueError as error:
            raise IntegrityError(f"not a checkpoint: {error}", mend=_MEND) from error

    @classmethod
    def _from_text(cls, text: str) -> Checkpoint:
        origin, *lines = text.removesuffix("\n").split("\n")
        if len(lines) < 2 or not text.endswith("\n"):  # noqa: PLR2004 - size and root
            raise ValueError("it needs three lines: origin, size and root")
        size, root, *extensions = lines
        if not origin or not all(extensions):
            raise ValueError("it has an empty line")
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", size) or int(size) >= _MAX_TREE_SIZE:
            raise ValueError(f"{size[:40]!r} is not a size")
        root_hash = decode_base64(root)
        if len(root_hash) != HASH_BYTES:
            raise ValueError(f"its root has {len(root_hash)} bytes instead of {HASH_BYTES}")
        if size == "0" and root_hash != EMPTY_ROOT:
            raise ValueError("its root is not that of an empty log")
        return cls(origin, int(size), root_hash, tuple(extensions))


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> bytes:
    """Return the signed note of a checkpoint; the log signs under its origin."""
    check_name(checkpoint.origin)
    return sign_note(checkpoint.to_text(), name=checkpoint.origin, key=key)


def open_checkpoint(note: bytes, key: VerifierKey) -> Checkpoint:
    """Return a checkpoint once the log's signature holds and the log is the one named.

    Args:
        note: The signed note.
        key: The log's key; its name is the origin of the log.

    Raises:
        IntegrityError: The note is edited, of another key or another log.
    """
    checkpoint = Checkpoint.from_text(open_note(note, [key]).text)
    if checkpoint.origin != key.name:
        raise IntegrityError(
            f"it is a checkpoint of {checkpoint.origin}, not of {key.name}",
            mend="name the key of that log, or restore the file from a copy",
        )
    return checkpoint


def read_checkpoint(note: bytes) -> Checkpoint:
    """Return what a note claims, without asking who signed it.

    Raises:
        IntegrityError: It is no note, or no checkpoint.
    """
    return Checkpoint.from_text(split_note(note)[0])
