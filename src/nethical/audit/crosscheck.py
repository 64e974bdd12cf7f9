"""A saved model and the log of its run, each held against what the other says.

The signature of a model tells which log its run was written to, and how that log stood just
before the model was published; the log tells the digest of that signature. Both must hold:

    the model names this log    >  at that size the log had that root, and has only grown since
    the log names the model     >  one ``model_saved`` entry of it, with this very signature,
                                   that leads to the signed root of the log

Nothing is believed because the files of the log say so: each step ends at the checkpoint, which
the log's key signed. Give a reader that was opened with the key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.audit import merkle
from nethical.audit.runs import events
from nethical.canonical import canonical_json
from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from nethical.audit.reading import LogReader
    from nethical.audit.runs import Event
    from nethical.bundle import Bundle

__all__ = ["check_model"]

_RESTORE = "run `nethical audit verify` on the log; restore what it names from a copy"
_OTHER_LOG = "name the log that the model was trained with, or take the model for unproved"
_REWRITTEN = (
    "compare the log with an anchored checkpoint; if the log fits it, the model is not of this log"
)


@dataclass(frozen=True)
class _Claim:
    """What a model's signature says of the log of its run."""

    run_id: str
    origin: str
    tree_size: int
    root_hash: bytes


def check_model(bundle: Bundle, reader: LogReader) -> Event:
    """Return the event by which a log tells of a model, once each vouches for the other.

    Args:
        bundle: The model, verified by its own signature.
        reader: Reads the log, opened with the log's key.

    Raises:
        IntegrityError: The model was trained without a log or with another one, the log was set
            back or rewritten since, does not tell of the model, or tells of another signature.
    """
    claim = _claim(bundle)
    checkpoint = reader.checkpoint
    if claim.origin != checkpoint.origin:
        raise IntegrityError(
            f"{bundle.model_id} was trained with the log {claim.origin}; "
            f"this is the log {checkpoint.origin}",
            mend=_OTHER_LOG,
        )
    if claim.tree_size > checkpoint.tree_size:
        raise IntegrityError(
            f"the log was set back: it has {checkpoint.tree_size} sealed entries, and had "
            f"{claim.tree_size} when {bundle.model_id} was signed",
            mend="restore the log from a copy that holds them",
        )
    _check_growth(bundle, claim, reader)
    event = _saved(bundle, claim, reader)
    _check_inclusion(event, reader)
    return event


def _claim(bundle: Bundle) -> _Claim:
    claims = bundle.claims
    run_id, origin = claims.get("run_id"), claims.get("origin")
    size, root = claims.get("tree_size"), claims.get("merkle_root")
    if origin is None and size is None and root is None:
        raise IntegrityError(
            f"{bundle.model_id} was trained without an audit log: its signature names none",
            mend="train with --enable-audit to have a model and a log that vouch for each other",
        )
    if (
        not isinstance(run_id, str)
        or not isinstance(origin, str)
        or not isinstance(size, int)
        or size < 0
        or not isinstance(root, str)
        or not re.fullmatch(r"[0-9a-f]{64}", root)
    ):
        raise IntegrityError(
            f"the signature of {bundle.model_id} does not say how its log stood",
            mend="train again with this version of nethical",
        )
    return _Claim(run_id, origin, size, bytes.fromhex(root))


def _check_growth(bundle: Bundle, claim: _Claim, reader: LogReader) -> None:
    """Check that the log had the claimed root at the claimed size, and has only grown since."""
    size, root = claim.tree_size, claim.root_hash
    if _began_with(reader, size, root):
        return
    # Whose fault it is: if what the files hold leads to the signed root, the claim is alone.
    if not _began_with(reader, size, reader.root_at(size)):
        raise _damaged(f"what they hold of its first {size} entries is not what it signed")
    raise IntegrityError(
        f"the log was rewritten: its first {size} entries do not have the root "
        f"{root.hex()} that they had when {bundle.model_id} was signed",
        mend=_REWRITTEN,
    )


def _began_with(reader: LogReader, size: int, root: bytes) -> bool:
    """Return whether a proof leads from an earlier root to the signed one."""
    if size == 0:
        return root == merkle.EMPTY_ROOT  # every log began so; there is nothing to prove
    new_size, new_root = reader.tree_size, reader.checkpoint.root_hash
    proof = reader.consistency_proof(size)
    try:
        merkle.verify_consistency(size, new_size, root, new_root, proof)
    except IntegrityError:
        return False
    return True


def _damaged(why: str) -> IntegrityError:
    return IntegrityError(f"the files of the log were changed: {why}", mend=_RESTORE)


def _saved(bundle: Bundle, claim: _Claim, reader: LogReader) -> Event:
    """Return the one event by which the log tells of the model, as its signature is."""
    marks = [b'"event_type":"model_saved"', b'"model_id":' + canonical_json(bundle.model_id)]
    found = [
        event
        for event in events(reader.entries(claim.tree_size), claim.tree_size, holding=marks)
        if event.event_type == "model_saved" and event.document.get("model_id") == bundle.model_id
    ]
    if not found:
        raise IntegrityError(
            f"the log does not tell of {bundle.model_id}: no model_saved entry after "
            f"{claim.tree_size} entries",
            mend="train again: its run ended before it could log the model, or the log was cut",
        )
    if len(found) > 1:
        places = ", ".join(str(event.index) for event in found)
        raise IntegrityError(
            f"the log tells of {bundle.model_id} {len(found)} times, in entries {places}",
            mend="train again: a model is published once, so one of them is no run's",
        )
    (event,) = found
    if event.document.get("run_id") != claim.run_id:
        raise IntegrityError(
            f"{bundle.model_id} is signed as of run {claim.run_id}; entry {event.index} of the "
            f"log says {event.document.get('run_id')}",
            mend=_OTHER_LOG,
        )
    if event.document.get("signature_digest") != bundle.signature_digest:
        raise IntegrityError(
            f"the model was swapped after it was logged: entry {event.index} says that the "
            f"signature of {bundle.model_id} has the digest "
            f"{event.document.get('signature_digest')}, and it has {bundle.signature_digest}",
            mend="restore the model from a copy; do not use this one",
        )
    return event


def _check_inclusion(event: Event, reader: LogReader) -> None:
    """Check that the event leads to the signed root."""
    size, root = reader.tree_size, reader.checkpoint.root_hash
    if event.index >= size:
        raise IntegrityError(
            f"entry {event.index}, which tells of the model, is not sealed yet",
            mend="seal the log (the next run does), then check again",
        )
    proof = reader.inclusion_proof(event.index)
    try:
        merkle.verify_inclusion(event.leaf_hash, event.index, size, proof, root)
    except IntegrityError as error:
        raise _damaged(error.what) from error
