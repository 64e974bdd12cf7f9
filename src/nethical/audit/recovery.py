"""What a log is when somebody takes its lock: read anew, checked, and healed after a crash.

Nothing is repaired that a crash does not explain. A journal whose last record is torn is cut
back to whole records; a seal that was interrupted after its checkpoint is finished. Anything
else that does not fit was changed, and is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nethical.audit.checkpoint import (
    Checkpoint,
    open_checkpoint,
    read_checkpoint,
    sign_checkpoint,
)
from nethical.audit.entries import canonical_faults
from nethical.audit.journal import first_index, scan_records
from nethical.audit.merkle import EMPTY_ROOT, leaf_hashes
from nethical.audit.notes import VerifierKey, split_note
from nethical.audit.reading import JOURNAL, MAX_JOURNAL_BYTES, SealedTree, explained
from nethical.audit.tiles import TILE_WIDTH, RightEdge, Tile, tiles_at
from nethical.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from nethical.audit.files import Appendable, Folder
    from nethical.audit.journal import Records

__all__ = ["State", "begin", "finish_seal", "load"]

_MEND = (
    "run `nethical audit verify` on the log; keep the folder as evidence and restore a copy, "
    "or name another folder"
)


@dataclass
class State:
    """A log as it stands on disk.

    Args:
        note: The signed checkpoint.
        identity: What changes whenever the file of the checkpoint is replaced.
        checkpoint: What it says.
        edge: The tree at the checkpoint's size.
        unsealed: The entries of the journal.
        head: Chain hash of its last record, or the root when it is empty.
        journal_bytes: Its length.
        synced: Whether all of it is known to be on the disk.
        torn_bytes: What was cut off it when it was read; 0 after an orderly end.
        bundle: Content of the partial bundle, empty when it is not known.
    """

    note: bytes
    identity: tuple[int, int, int] | None
    checkpoint: Checkpoint
    edge: RightEdge
    head: bytes
    unsealed: list[bytes] = field(default_factory=list)
    journal_bytes: int = 0
    synced: bool = True
    torn_bytes: int = 0
    bundle: bytes = b""

    @property
    def size(self) -> int:
        """Return the number of entries, sealed and acknowledged."""
        return self.checkpoint.tree_size + len(self.unsealed)


def begin(folder: Folder, origin: str, key: Ed25519PrivateKey) -> None:
    """Write the first checkpoint of a new log, of no entries, if the folder holds none.

    Raises:
        IntegrityError: The folder holds parts of a log whose checkpoint is gone.
        StorageError: It cannot be written.
    """
    if folder.read("checkpoint", 1) is not None:
        return
    leftover = folder.names("tile") or set(folder.names("checkpoints")) - {"0"}
    if leftover or folder.read(JOURNAL, 1):
        raise IntegrityError(
            f"{folder.path} holds parts of a log, but its checkpoint is missing", mend=_MEND
        )
    kept = folder.read("checkpoints/0")
    if kept:
        checkpoint = read_checkpoint(kept)
        note = sign_checkpoint(checkpoint, key)
    else:
        note = sign_checkpoint(Checkpoint(origin, 0, EMPTY_ROOT), key)
    folder.create("checkpoints/0", note)
    folder.sync_folders()
    with folder.appending(JOURNAL, create=True) as journal:
        journal.sync()
    folder.sync_folders()
    folder.replace("checkpoint", note)


def load(folder: Folder, key: Ed25519PrivateKey, origin: str | None = None) -> State:
    """Return the state of a log, healed where a crash left it; hold the lock.

    Args:
        folder: The log's folder.
        key: The key that signs it.
        origin: The name that the log must have, any when None.

    Raises:
        IntegrityError: Something in it is not what was signed or acknowledged.
        StorageError: It cannot be read or written.
    """
    folder.sweep()
    note, checkpoint = _checkpoint(folder, key, origin)
    tree = SealedTree(folder, checkpoint.tree_size)
    edge = tree.edge()
    if edge.root() != checkpoint.root_hash:
        raise IntegrityError(
            f"{folder.path}: the tiles at the end of the log do not lead to the signed root",
            mend=_MEND,
        )
    identity = folder.identity("checkpoint")
    state = State(note, identity, checkpoint, edge, checkpoint.root_hash)
    with folder.appending(JOURNAL) as journal:
        _read_journal(folder, journal, state, tree)
    _check_newer(folder, state, VerifierKey.of(checkpoint.origin, key))
    return state


def finish_seal(folder: Folder, journal: Appendable, old_size: int, new_size: int) -> None:
    """Remove the partial tiles that full ones replaced, and empty the journal.

    In this order: until the journal is empty, whoever reads it finishes this.
    """
    full = {level: count for level, count, _ in tiles_at(new_size)}
    for level, index, width in tiles_at(old_size):
        if width and index < full[level]:
            folder.remove(Tile(level, index).path + ".p")
            if level == 0:
                folder.remove(Tile(None, index).path + ".p")
    journal.cut(0)


def _checkpoint(
    folder: Folder, key: Ed25519PrivateKey, origin: str | None
) -> tuple[bytes, Checkpoint]:
    path = folder.path / "checkpoint"
    note = folder.read("checkpoint", 1 << 20) or b""
    try:
        found, lines = read_checkpoint(note).origin, split_note(note)[1]
        own = VerifierKey.of(found, key)
        if own.key_id in {line.key_id for line in lines}:
            checkpoint = open_checkpoint(note, own)
        else:
            checkpoint = None
    except UsageError as error:
        raise IntegrityError(f"{path}: {error.what}", mend=_MEND) from error
    except IntegrityError as error:
        raise explained(path, error) from error
    if checkpoint is None:
        signed_by = ", ".join(f"{line.name}+{line.key_id.hex()}" for line in lines)
        raise IntegrityError(
            f"{path}: no believed key signed it: {found}+{own.key_id.hex()} is the key here, "
            f"{signed_by} signed",
            mend="set NETHICAL_HOME to the folder of that key, or name another folder with "
            "--audit-path",
        )
    if origin is not None and origin != found:
        raise UsageError(
            f"{folder.path} is the log {found}, not {origin}",
            mend="leave the name out, or name another folder",
        )
    return note, checkpoint


def _read_journal(folder: Folder, journal: Appendable, state: State, tree: SealedTree) -> None:
    """Fill the state with the entries of the journal, cutting off what a crash left."""
    if journal.size > MAX_JOURNAL_BYTES:
        raise _changed(folder, "it is larger than any writer leaves it")
    content = journal.read(0, MAX_JOURNAL_BYTES)
    if not content:
        return
    sealed = state.checkpoint.tree_size
    first = first_index(content)
    begun = sealed if first is None else first
    if begun > sealed:
        raise _changed(
            folder,
            f"it begins at entry {begun}, but only {sealed} are sealed: the log was set back",
        )
    records = scan_records(content, begun, tree.root_at(begun))
    if records.changed:
        raise _changed(folder, f"the record of entry {begun + len(records.entries)} was changed")
    _check_canonical(folder, records, begun)
    state.torn_bytes = records.torn_bytes
    if begun < sealed:
        _finish(folder, journal, state, tree, records, begun)
        return
    if records.torn_bytes:
        journal.cut(records.good_bytes)
    else:
        journal.sync()
    state.unsealed, state.head = records.entries, records.head
    state.journal_bytes = records.good_bytes


def _check_canonical(folder: Folder, records: Records, begun: int) -> None:
    """Refuse what no writer acknowledged: until it is sealed, no key vouches for an entry."""
    for at, why in canonical_faults(records.entries)[:1]:
        raise _changed(folder, f"the record of entry {begun + at} is no entry: {why}")


def _finish(
    folder: Folder,
    journal: Appendable,
    state: State,
    tree: SealedTree,
    records: Records,
    begun: int,
) -> None:
    """Finish a seal that signed its checkpoint but did not come to empty the journal.

    A seal takes in the whole journal, so what it left ends where the log does.
    """
    sealed, ends = state.checkpoint.tree_size, begun + len(records.entries)
    if ends != sealed:
        raise _changed(folder, f"it ends at entry {ends}, the sealed entries at {sealed}")
    bundle: list[bytes] = []
    for index, entry in enumerate(records.entries, begun):
        number, at = divmod(index, TILE_WIDTH)
        if not bundle or at == 0:
            bundle = tree.entries(number)
        if bundle[at] != entry:
            raise _changed(folder, f"its record of entry {index} is not what was sealed")
    finish_seal(folder, journal, begun, sealed)


def _check_newer(folder: Folder, state: State, key: VerifierKey) -> None:
    """Refuse a log that was set back behind a checkpoint it has signed."""
    sealed = state.checkpoint.tree_size
    length, last = len(str(sealed)), str(sealed)
    names = folder.names("checkpoints")  # there may be very many: they are compared as text
    newer = [each for each in names if len(each) > length or (len(each) == length and each > last)]
    newest = max((int(each) for each in newer if re.fullmatch(r"[1-9]\d*", each)), default=0)
    if newest <= sealed:
        return
    path = folder.path / "checkpoints" / str(newest)
    try:
        kept = open_checkpoint(folder.read(f"checkpoints/{newest}", 1 << 20) or b"", key)
    except IntegrityError as error:
        raise explained(path, error) from error
    hashes = b"".join(leaf_hashes(state.unsealed[: newest - sealed]))
    if newest > state.size or kept.root_hash != state.edge.root_with(hashes):
        raise IntegrityError(
            f"{path} was signed, but the log ends at {state.size} entries or differs from it: "
            "it was set back",
            mend=_MEND,
        )


def _changed(folder: Folder, why: str) -> IntegrityError:
    return IntegrityError(f"{folder.path / JOURNAL} was changed: {why}", mend=_MEND)
