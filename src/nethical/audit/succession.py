"""Whether a writer may go on after the key of its log was replaced, and with which key.

Only with a key of its own folder that is newer than the one it had; only where what the one it
had has sealed leads to that key; and only if the log still begins with all that the writer knew
of it, to the last entry that was acknowledged. Otherwise it stops, as any writer does whose log
another key signed. Hold the log's lock.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

from nethical.audit import merkle
from nethical.audit.checkpoint import Checkpoint, read_checkpoint
from nethical.audit.entries import decode_entry
from nethical.audit.notes import VerifierKey
from nethical.audit.reading import SealedTree
from nethical.audit.rotation import followed_keys, signer
from nethical.audit.tiles import TILE_WIDTH
from nethical.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from nethical.audit.files import Folder
    from nethical.audit.recovery import State

__all__ = ["handed_over_to", "newer_keys", "successor"]

_ROTATED = b'"event_type":"key_rotated"'


def newer_keys(
    keys: Sequence[Ed25519PrivateKey], own: Ed25519PrivateKey
) -> list[Ed25519PrivateKey]:
    """Return the keys that replaced a writer's, newest first; none if it is not among them."""
    told = own.public_key().public_bytes_raw()
    found = list(takewhile(lambda key: key.public_key().public_bytes_raw() != told, keys))
    return found if len(found) < len(keys) else []


def successor(
    folder: Folder,
    own: Ed25519PrivateKey,
    known: State,
    own_keys: Callable[[], Sequence[Ed25519PrivateKey]],
) -> Ed25519PrivateKey | None:
    """Return the key that signs the log instead of the writer's, None while that one does.

    Args:
        folder: The log's.
        own: The key that signed it so far.
        known: The log as this writer last knew it.
        own_keys: Returns the keys of the writer's folder, newest first.

    Raises:
        IntegrityError: Another key signs it, and it must not be gone on with.
    """
    note = folder.read("checkpoint", 1 << 20) or b""
    origin = known.checkpoint.origin
    told = VerifierKey.of(origin, own)
    if signer(note, [told]):
        return None
    chain = followed_keys(folder, [told])
    for key in newer_keys(own_keys(), own):
        new = VerifierKey.of(origin, key)
        if new in chain and signer(note, [new]):
            _check_goes_on(folder, read_checkpoint(note), known)
            return key
    head = signer(note, chain)
    if head is not None:
        raise not_here(folder, head)
    return None  # `load` says what is wrong with the checkpoint


def handed_over_to(state: State, folder: Folder, own: Ed25519PrivateKey) -> VerifierKey | None:
    """Return the key to which the last entry hands the log, None when it hands nothing over.

    Who wrote it was killed before the new key signed: nothing more may come under the old one.
    """
    size, last = state.checkpoint.tree_size, b""
    if state.unsealed:
        last = state.unsealed[-1]
    elif size:
        number, at = divmod(size - 1, TILE_WIDTH)
        last = SealedTree(folder, size).entries(number)[at]
    if _ROTATED not in last:
        return None
    try:
        document: Any = decode_entry(last)
        new = VerifierKey.from_vkey(document["new_key"])
    except (ValueError, KeyError, TypeError, UsageError):
        return None
    old = VerifierKey.of(state.checkpoint.origin, own)
    tells = document.get("event_type") == "key_rotated" and document.get("old_key")
    return new if tells == old.to_vkey() and new.name == old.name else None


def not_here(folder: Folder, new: VerifierKey) -> IntegrityError:
    """Return the error for a log that was handed over to a key that is not here."""
    return IntegrityError(
        f"{folder.path} was handed over to the key {new.name}+{new.key_id.hex()} while it was "
        "written here, and that key is not in the key folder",
        mend="set NETHICAL_HOME to the folder in which the key was rotated, and run again: that "
        "run ends this one in the log",
    )


def _check_goes_on(folder: Folder, head: Checkpoint, known: State) -> None:
    """Check that the log begins with all that was known of it, as its new head says."""
    size, root = known.size, known.edge.root_with(b"".join(merkle.leaf_hashes(known.unsealed)))
    if not size:
        return
    if size > head.tree_size:
        raise _set_back(folder, size)
    tree = SealedTree(folder, head.tree_size)
    proof = merkle.consistency_proof(size, head.tree_size, tree.node)
    try:
        merkle.verify_consistency(size, head.tree_size, root, head.root_hash, proof)
    except IntegrityError as error:
        raise _set_back(folder, size) from error


def _set_back(folder: Folder, size: int) -> IntegrityError:
    return IntegrityError(
        f"{folder.path} was handed over to another key, and does not begin with the {size} "
        "entries that were acknowledged before",
        mend="run `nethical audit verify` on the log; keep the folder as evidence and restore a "
        "copy, or name another folder",
    )
