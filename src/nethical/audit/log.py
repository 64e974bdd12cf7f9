"""The log: facts are appended, acknowledged once they are on the disk, and sealed.

Acknowledged: one write of a record to the journal, and fdatasync, under the log's lock.
Sealed: entries and hashes into their tiles, a signed checkpoint over them, and the journal
emptied. Any number of processes write to one log; none keeps a file open between calls or
believes what it remembers before it has seen that the files still say so, so forks and other
writers do no harm.

    with the lock held
    append:  reload what changed > record + fdatasync: acknowledged > 256 wait? seal
    seal:    bundles, tiles > folders synced > checkpoints/{size} > checkpoint > partial tiles
             that full ones replaced go > the journal is emptied
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from nethical.audit import recovery
from nethical.audit.checkpoint import Checkpoint, read_checkpoint, sign_checkpoint
from nethical.audit.entries import canonical_faults, encode_entry
from nethical.audit.files import Folder
from nethical.audit.journal import CHAIN_BYTES, pack_records, scan_records
from nethical.audit.merkle import leaf_hashes
from nethical.audit.notes import VerifierKey, check_name
from nethical.audit.reading import JOURNAL, SealedTree
from nethical.audit.recovery import State
from nethical.audit.rotation import rotated, signer
from nethical.audit.succession import handed_over_to, newer_keys, not_here, successor
from nethical.audit.tiles import TILE_WIDTH, RightEdge, Tile, encode_bundle
from nethical.errors import IntegrityError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from nethical.audit.files import Appendable
    from nethical.errors import NethicalError

__all__ = ["Log", "Sealed", "new_origin"]

_GROUP_ENTRIES = 4096
_GROUP_BYTES = 1 << 22


@dataclass(frozen=True)
class Sealed:
    """A log as it was sealed: what the checkpoint says, and the signed note itself."""

    checkpoint: Checkpoint
    note: bytes


def new_origin() -> str:
    """Return a name for a new log that no other log has."""
    return f"nethical.local/{secrets.token_hex(8)}"


def note_recovery(torn_bytes: int) -> dict[str, Any]:
    """Return the entry that says what a crash left of a record that was never acknowledged."""
    return {"event_type": "recovered", "bytes_dropped": torn_bytes}


class _Writing:
    """Holds the lock of a log; after a first error of a file nothing more is tried.

    Args:
        lock: The log's lock.
        errors: What stopped the log; the first error is added to it.
    """

    __slots__ = ("_errors", "_lock")

    def __init__(self, lock: AbstractContextManager[None], errors: list[NethicalError]) -> None:
        self._lock = lock
        self._errors = errors

    def __enter__(self) -> None:
        if self._errors:
            raise StorageError(
                f"the log stopped at an earlier error: {self._errors[0].what}",
                mend=self._errors[0].mend
                if isinstance(self._errors[0], IntegrityError)
                else "run again: the next run heals the log",
            )
        try:
            self._lock.__enter__()
        except StorageError as error:
            self._errors.append(error)
            raise

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, StorageError | IntegrityError):
            self._errors.append(error)
        try:
            self._lock.__exit__(None, None, None)
        except StorageError as closing:
            self._errors.append(closing)
            raise


class Log:
    """A log that is written; opening it makes it if it is not there, and heals it.

    Args:
        path: The log's folder.
        key: The Ed25519 key that signs it.
        origin: The log's name; a new log gets a random one when None.
        seal_every: Seal when this many entries wait.
        on_recovery: Makes the entry that is logged when a torn record was cut off.
        earlier: Keys that the key replaced; a log that one of them signs is handed over.

    Raises:
        IntegrityError: The log was changed, or another key signed it.
        StorageError: It cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        key: Ed25519PrivateKey,
        *,
        origin: str | None = None,
        seal_every: int = TILE_WIDTH,
        on_recovery: Callable[[int], Any] = note_recovery,
        earlier: Sequence[Ed25519PrivateKey] = (),
    ) -> None:
        if origin is not None:
            check_name(origin)
        self.path = path
        self._folder = Folder(path)
        self._key = key
        self._named = origin
        self._seal_every = seal_every
        self._on_recovery = on_recovery
        self._own_keys: Callable[[], Sequence[Ed25519PrivateKey]] = tuple
        self._errors: list[NethicalError] = []
        self._size = 0
        self._state: State | None = None
        self._known: State | None = None
        self._folder.make()
        with self._writing():
            recovery.begin(self._folder, origin or new_origin(), key)
            with self._folder.appending(JOURNAL) as journal:
                self._take_over(journal, key, earlier)
                state = self._keep(self._current(journal))
        self.origin = state.checkpoint.origin

    def __len__(self) -> int:
        """Return the number of entries when this log was last read or written."""
        return self._size

    @property
    def stopped(self) -> bool:
        """Return whether an error has stopped the log: nothing more is written here."""
        return bool(self._errors)

    @property
    def key(self) -> VerifierKey:
        """Return the key by which others verify this log."""
        return VerifierKey.of(self.origin, self._key)

    def follow(self, own_keys: Callable[[], Sequence[Ed25519PrivateKey]]) -> None:
        """Go on writing where the key is replaced meanwhile, if its heir can be checked to be one.

        Args:
            own_keys: Returns the keys of the writer's folder, newest first; asked when another
                key signed the log. See ``succession`` for what must hold then.
        """
        self._own_keys = own_keys

    def append(self, document: Any) -> int:  # noqa: ANN401 - any JSON value
        """Log a document, and return its index once it is on the disk.

        Raises:
            StorageError: It is not canonical JSON, is too long, or cannot be written.
            IntegrityError: The log was changed by others than its writers.
        """
        return self._commit([encode_entry(document)]).start

    def extend(self, documents: Iterable[Any]) -> list[range]:
        """Log many documents with few syncs, and return their indices once all are on the disk.

        Up to 4,096 documents, or 4 MB, are acknowledged together, one range of indices each;
        other writers may come in between.

        Raises:
            StorageError: One is not canonical JSON, is too long, or cannot be written; those of
                its group are not logged.
            IntegrityError: The log was changed by others than its writers.
        """
        groups = _groups(encode_entry(document) for document in documents)
        return [self._commit(group) for group in groups]

    def seal(self) -> Sealed:
        """Seal what was acknowledged, and return the signed checkpoint over all of it.

        Raises:
            StorageError: It cannot be written.
            IntegrityError: The log was changed by others than its writers.
        """
        with self._writing(), self._folder.appending(JOURNAL) as journal:
            state = self._keep(self._seal(journal, self._current(journal), self._key))
        return Sealed(state.checkpoint, state.note)

    def _take_over(
        self, journal: Appendable, new: Ed25519PrivateKey, earlier: Sequence[Ed25519PrivateKey]
    ) -> None:
        """Let the key that signed so far, if it is an earlier one, hand the log over."""
        note = self._folder.read("checkpoint", 1 << 20) or b""
        origin = read_checkpoint(note).origin if note and earlier else ""
        if origin and signer(note, [VerifierKey.of(origin, new)]):
            return
        for old in earlier:
            if signer(note, [VerifierKey.of(origin, old)]):
                state = recovery.load(self._folder, old, self._named)
                told = [self._on_recovery(state.torn_bytes)] if state.torn_bytes else []
                told.append(rotated(*(VerifierKey.of(origin, key) for key in (old, new))))
                self._acknowledge(journal, state, [encode_entry(each) for each in told])
                state = self._seal(journal, state, old)
                self._folder.replace("checkpoint", sign_checkpoint(state.checkpoint, new))
                return

    def _commit(self, entries: list[bytes]) -> range:
        with self._writing(), self._folder.appending(JOURNAL) as journal:
            state = self._current(journal)
            first = state.size
            self._acknowledge(journal, state, entries)
            if len(state.unsealed) >= self._seal_every:
                state = self._seal(journal, state, self._key)
            self._keep(state)
        return range(first, first + len(entries))

    def _writing(self) -> _Writing:
        return _Writing(self._folder.lock(), self._errors)

    def _current(self, journal: Appendable) -> State:
        """Return the state of the log, read again as far as others changed it.

        It is remembered again by ``_keep`` alone: what is interrupted in between is read anew.
        """
        state, self._state = self._state, None
        seen = 0 if state is None else state.size
        if state is None or not self._catch_up(journal, state):
            state, seen = self._reloaded(journal), 0
        if state.size > seen:  # others may have been handing the log over when they were killed
            new = handed_over_to(state, self._folder, self._key)
            if new is not None:
                return self._hand_over(journal, new)
        return state

    def _reloaded(self, journal: Appendable) -> State:
        if self._known is not None:
            new = successor(self._folder, self._key, self._known, self._own_keys)
            self._key = new or self._key
        state = recovery.load(self._folder, self._key, self._named)
        if state.torn_bytes:
            torn, state.torn_bytes = state.torn_bytes, 0
            self._acknowledge(journal, state, [encode_entry(self._on_recovery(torn))])
        return state

    def _hand_over(self, journal: Appendable, new: VerifierKey) -> State:
        """Finish a hand-over that was interrupted, and go on with the new key."""
        for key in newer_keys(self._own_keys(), self._key):
            if VerifierKey.of(new.name, key) == new:
                self._take_over(journal, key, [self._key])
                self._key = key
                return recovery.load(self._folder, key, self._named)
        raise not_here(self._folder, new)

    def _keep(self, state: State) -> State:
        self._state, self._size = state, state.size
        self._known = state
        return state

    def _catch_up(self, journal: Appendable, state: State) -> bool:
        """Take in what other writers appended; False when only reading anew will do.

        The last chain hash stands for all of the journal before it and for the root below, but
        not for whether that journal was sealed meanwhile: that gives the checkpoint another
        identity. An empty journal says nothing, so the checkpoint itself is read then.
        """
        known, size = state.journal_bytes, journal.size
        if known:
            same = self._folder.identity("checkpoint") == state.identity
        else:
            same = self._folder.read("checkpoint", 1 << 20) == state.note
        if size < known or not same:
            return False
        if known and journal.read(known - CHAIN_BYTES, CHAIN_BYTES) != state.head:
            return False
        if size > known:
            content = journal.read(known, size - known)
            records = scan_records(content, state.size, state.head, known)
            if records.changed or records.torn_bytes or canonical_faults(records.entries):
                return False
            state.unsealed += records.entries
            state.head, state.journal_bytes, state.synced = records.head, size, False
        return True

    @staticmethod
    def _acknowledge(journal: Appendable, state: State, entries: list[bytes]) -> None:
        content, head = pack_records(entries, state.size, state.head)
        journal.append(content)
        state.unsealed += entries
        state.head, state.synced = head, True
        state.journal_bytes += len(content)

    def _seal(self, journal: Appendable, state: State, key: Ed25519PrivateKey) -> State:
        if not state.unsealed:
            return state
        if not state.synced:
            journal.sync()
        old_size = state.checkpoint.tree_size
        edge = state.edge.copy()
        full = edge.extend(b"".join(leaf_hashes(state.unsealed)))
        bundle = self._write_bundles(state)
        before = {tile for tile, _ in state.edge.partial()}
        for tile, hashes in [*full, *edge.partial()]:
            if tile not in before:
                self._folder.create(tile.path, hashes)
        self._folder.sync_folders()
        checkpoint = Checkpoint(state.checkpoint.origin, state.size, edge.root())
        note = self._sign(checkpoint, key)
        recovery.finish_seal(self._folder, journal, old_size, checkpoint.tree_size)
        identity = self._folder.identity("checkpoint")
        return State(note, identity, checkpoint, edge, checkpoint.root_hash, bundle=bundle)

    def _write_bundles(self, state: State) -> bytes:
        """Write the entries into their bundles, and return the content of the last, if partial."""
        number, held = divmod(state.checkpoint.tree_size, TILE_WIDTH)
        content = b""
        if held:
            content = state.bundle or self._partial_bundle(state.edge, number)
        rest = iter(state.unsealed)
        while some := list(islice(rest, TILE_WIDTH - held)):
            content += encode_bundle(some)
            tile = Tile(None, number, held + len(some))
            self._folder.create(tile.path, content)
            if not tile.full:
                return content
            number, held, content = number + 1, 0, b""
        return b""

    def _partial_bundle(self, edge: RightEdge, number: int) -> bytes:
        """Return the content of the partial bundle, checked against what was sealed."""
        entries = SealedTree(self._folder, edge.tree_size).entries(number)
        if b"".join(leaf_hashes(entries)) != edge.levels[0]:
            raise IntegrityError(
                f"{self._folder.path / Tile(None, number, len(entries)).path} does not hold "
                "the entries that were sealed",
                mend="run `nethical audit verify` on the log; restore what it names from a copy",
            )
        return encode_bundle(entries)

    def _sign(self, checkpoint: Checkpoint, key: Ed25519PrivateKey) -> bytes:
        note = sign_checkpoint(checkpoint, key)
        self._folder.create(f"checkpoints/{checkpoint.tree_size}", note)
        self._folder.sync_folders()
        self._folder.replace("checkpoint", note)
        return note


def _groups(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Give entries in groups of at most 4,096, and of 4 MB or one entry more."""
    rest = iter(entries)
    while group := list(islice(rest, 1)):
        size = len(group[0])
        while len(group) < _GROUP_ENTRIES and size < _GROUP_BYTES:
            some = list(islice(rest, 1))
            if not some:
                break
            group += some
            size += len(some[0])
        yield group
