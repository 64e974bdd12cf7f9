"""Receipts: a file that proves, with the log's key alone, that an entry stands in a log.

Reference:
    C2SP tlog-proof.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.audit.checkpoint import open_checkpoint
from nethical.audit.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from nethical.audit.notes import decode_base64
from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from nethical.audit.checkpoint import Checkpoint
    from nethical.audit.notes import VerifierKey

__all__ = ["TlogProof"]

_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_HASHES = 63
_MEND = "ask for the receipt again where the log is written"


@dataclass(frozen=True)
class TlogProof:
    """A receipt: where an entry stands, how it leads to the root, and who signed that.

    Args:
        index: Of the entry, from 0.
        hashes: Inclusion proof, leaf's sibling first.
        checkpoint_note: The signed checkpoint, byte for byte.
        extra: Bytes beside the proof; ours holds the entry. Proves nothing by itself.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint_note: bytes
    extra: bytes | None = None

    def to_bytes(self) -> bytes:
        """Return the content of a ``.tlog-proof`` file."""
        lines = [_HEADER]
        if self.extra is not None:
            lines.append("extra " + base64.b64encode(self.extra).decode())
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(each).decode() for each in self.hashes]
        return "\n".join([*lines, "", ""]).encode() + self.checkpoint_note

    @classmethod
    def from_bytes(cls, content: bytes) -> TlogProof:
        """Return the receipt of a ``.tlog-proof`` file; nothing in it is verified yet.

        Raises:
            IntegrityError: It is no such file.
        """
        try:
            return cls._from_bytes(content)
        except ValueError as error:
            raise IntegrityError(f"not a receipt: {error}", mend=_MEND) from error

    @classmethod
    def _from_bytes(cls, content: bytes) -> TlogProof:
        head, blank, note = content.partition(b"\n\n")
        lines = head.decode().split("\n")
        if not blank or lines.pop(0) != _HEADER:
            raise ValueError(f"it does not begin with {_HEADER}")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0).removeprefix("extra "))
        named = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines.pop(0)) if lines else None
        if not named:
            raise ValueError("it does not say which entry it is about")
        if len(lines) > _MAX_HASHES:
            raise ValueError(f"it has more than {_MAX_HASHES} hashes")
        hashes = tuple(decode_base64(line) for line in lines)
        if any(len(each) != HASH_BYTES for each in hashes):
            raise ValueError(f"it has a hash that is not {HASH_BYTES} bytes long")
        return cls(int(named[1]), hashes, note, extra)

    def verify(self, entry: bytes, key: VerifierKey) -> Checkpoint:
        """Check that the log signed for this entry at this index, and return the checkpoint.

        Args:
            entry: The bytes of the entry.
            key: The log's key.

        Raises:
            IntegrityError: The checkpoint is not the log's, or the entry is not in it.
        """
        checkpoint = open_checkpoint(self.checkpoint_note, key)
        size, root = checkpoint.tree_size, checkpoint.root_hash
        verify_inclusion(leaf_hash(entry), self.index, size, self.hashes, root)
        return checkpoint
