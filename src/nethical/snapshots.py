"""Snapshots of an interrupted training, so that it can go on where it was killed.

A snapshot belongs to one plan, one table and one set of libraries: the name of its folder is
the digest of them, so a changed plan never goes on from another's state. Its bytes carry a MAC
by the user's row key; a snapshot that somebody edited is refused. No pickle is written or read.

Reference:
    RFC 2104 (HMAC).
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical import durable
from nethical.canonical import canonical_json, digest
from nethical.errors import IntegrityError
from nethical.models.base import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["StoredSnapshots"]

FILE = "snapshot.npz"
MAC_BYTES = 32
DOCUMENT = "document.json"  # no array of a model has a dot before json in its name


class StoredSnapshots:
    """The snapshot of one training, as one file that is replaced whole.

    Args:
        folder: Where snapshots of all trainings lie, such as ``models/snapshots``.
        identity: JSON values that decide the result: the plan, the data, the libraries.
        key: Returns the key of the MAC, 32 bytes.
        resume: Whether ``load`` may give the last snapshot; else training begins anew.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], key: Callable[[], bytes], *, resume: bool
    ) -> None:
        self._folder = folder / digest(canonical_json(identity)).removeprefix("sha256:")[:32]
        self._key = key
        self._resume = resume
        self.was_asked = False
        self.was_found = False

    def load(self) -> Parts | None:
        """Return the last snapshot, or None to begin at the beginning.

        Raises:
            IntegrityError: The snapshot is not what was written.
        """
        self.was_asked = True
        path = self._folder / FILE
        if not self._resume or not path.exists():
            return None
        content = durable.read(path)
        body, mac = content[:-MAC_BYTES], content[-MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            raise IntegrityError(
                f"the snapshot {path} is not what was written",
                mend="delete the folder, or train without --resume",
            )
        self.was_found = True
        with np.load(io.BytesIO(body), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        document = json.loads(arrays.pop(DOCUMENT).tobytes())
        return Parts(document["document"], arrays, document["texts"])

    def save(self, parts: Parts) -> None:
        """Keep a snapshot in place of the last one, durably."""
        document = {"document": dict(parts.document), "texts": dict(parts.texts)}
        text = json.dumps(document, allow_nan=False).encode()
        arrays: dict[str, Any] = {
            **parts.arrays,
            DOCUMENT: np.frombuffer(text, dtype=np.uint8),
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        body = buffer.getvalue()
        mac = self._mac(body)
        durable.make_folder(self._folder)
        with durable.lock(self._folder):
            durable.sweep(self._folder)
            durable.write(self._folder / FILE, body + mac, mode=0o600)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key(), body, hashlib.sha256)

    def notes(self) -> list[str]:
        """Return what became of the wish to resume."""
        if not self._resume:
            return []
        if self.was_found:
            return ["resumed from a snapshot"]
        if self.was_asked:
            return ["--resume found no snapshot of this plan, so training began at the beginning"]
        return ["--resume has no effect: this type leaves no snapshots"]

    def remove(self) -> None:
        """Forget the snapshot, for the training came to its end."""
        if self._folder.exists():
            with durable.lock(self._folder.parent):
                durable.remove(self._folder)
