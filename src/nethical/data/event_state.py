"""What later events need of earlier ones: an event log's memory, as arrays and as bytes.

The bytes are one line of canonical JSON and an npz archive; the line holds a SHA-256 over
everything else. It tells damage, not malice: whoever can write the file can forge it, so it is
read without pickle, and every array is checked before it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nethical.canonical import canonical_json
from nethical.data.event_columns import microseconds
from nethical.data.event_reading import read_events
from nethical.data.roles import Role
from nethical.errors import DataError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.events import EventLog
    from nethical.data.roles import Roles

    Ints = NDArray[np.int64]

__all__ = ["EventState", "remembered_from"]

SCHEMA_VERSION = 1
KIND = "nethical event state"
RESTORE = "restore the file from a copy, or begin a new state"
TYPES: dict[str, np.dtype[Any]] = {
    "time": np.dtype(np.int64),
    "agent": np.dtype(np.int32),
    "resource": np.dtype(np.int32),
    "amount": np.dtype(np.int64),
    "label": np.dtype(np.int8),
    "unusual": np.dtype(np.bool_),
}


@dataclass(frozen=True)
class EventState:
    """The events that later ones look back on, in order of time.

    Args:
        log: Whose memory it is, as ``EventLog.to_document`` writes it; None at the beginning.
        clock: The newest instant seen, microseconds; None at the beginning.
        agents: Names of agents, a ``pyarrow.LargeStringArray``.
        resources: Names of resources, the same.
        time: Microseconds, ascending, shape (n,).
        agent: Places in ``agents``, shape (n,).
        resource: Places in ``resources``, shape (n,).
        amount: Whole numbers of 2**-20, shape (n,); the smallest int64 for a missing one.
        label: 1, 0, or -1 while unknown, shape (n,).
        unusual: Whether the amount was unusual for its agent, shape (n,).
    """

    log: Mapping[str, Any] | None
    clock: int | None
    agents: Any
    resources: Any
    time: Ints
    agent: NDArray[np.int32]
    resource: NDArray[np.int32]
    amount: Ints
    label: NDArray[np.int8]
    unusual: NDArray[np.bool_]

    @classmethod
    def empty(cls) -> Self:
        """Return what is known before the first event: nothing."""
        import pyarrow as pa

        nobody = pa.array([], pa.large_string())
        arrays: dict[str, Any] = {name: np.empty(0, dtype=kind) for name, kind in TYPES.items()}
        return cls(None, None, nobody, nobody, **arrays)

    def check_log(self, log: EventLog) -> None:
        """Raise if this is the memory of another log.

        Raises:
            DataError: Columns, windows or label delay differ.
        """
        if self.log is not None and self.log != log.to_document():
            ours, theirs = log.to_document(), self.log
            odd = next(key for key in ours if ours[key] != theirs.get(key))
            raise DataError(
                f"the state is of another event log: {odd} is {theirs.get(odd)!r}, "
                f"the model's {ours[odd]!r}",
                mend="name the state that was made with this model, or begin a new one",
            )

    def with_labels(
        self, late: pa.Table, log: EventLog, roles: Roles
    ) -> tuple[EventState, int, int]:
        """Return the state with labels that became known, and how many met an event or none.

        A label belongs to the event of the same agent, resource and time, and of the same
        amount where the table tells it; of several such events first to those that have one.

        Args:
            late: The agent, resource and time columns of earlier events, and their label.
            log: What these columns are called.
            roles: Which column is the label, and how it reads; rows without one are passed over.

        Returns:
            The new state, the number of labels that were filled in, and of those that met none.

        Raises:
            DataError: A column is missing, or cannot be read, or the state is of another log.
        """
        self.check_log(log)
        label = roles.one(Role.LABEL)
        if label is None or roles.labelling is None or label not in late.column_names:
            raise DataError(
                f"the late labels have no label column {label!r}"
                if label
                else "the model knows no label column, so late labels cannot be read",
                mend="give the table the label column that the model was trained with",
            )
        labels = roles.labelling.encode(late.column(label))
        late, labels = late.filter(_mask(labels >= 0)), labels[labels >= 0]
        read = read_events(late, log, amount_needed=False)
        agent = read.agent.within(self.agents)[0]
        resource = read.resource.within(self.resources)[0]
        amount = self.amount
        theirs = read.amount
        if theirs is None:
            amount, theirs = np.zeros_like(amount), np.zeros(len(labels), dtype=np.int64)
        keys = [
            np.concatenate(both)
            for both in (
                (self.agent, agent),
                (self.resource, resource),
                (self.time, read.time),
                (amount, theirs),
            )
        ]
        event, row = _met(keys, self.label >= 0)
        filled = self.label.copy()
        filled[event] = labels[row]
        return replace(self, label=filled), len(event), len(labels) - len(event)

    def to_bytes(self, log: EventLog) -> bytes:
        """Return the state of a log as bytes, equal for equal states."""
        self.check_log(log)
        arrays: dict[str, Any] = {name: getattr(self, name) for name in TYPES}
        arrays["clock"] = np.array([] if self.clock is None else [self.clock], dtype=np.int64)
        for name in ("agents", "resources"):
            arrays[f"{name}.lengths"], arrays[f"{name}.text"] = _text_arrays(getattr(self, name))
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        content = buffer.getvalue()
        return _header(log.to_document(), content) + content

    @classmethod
    def from_bytes(cls, content: bytes, log: EventLog) -> EventState:
        """Return the state that ``to_bytes`` wrote.

        Raises:
            IntegrityError: The bytes are not what was written.
            DataError: They are the state of another log.
        """
        line, _, archive = content.partition(b"\n")
        try:
            header = json.loads(line)
            is_whole = header["kind"] == KIND and line + b"\n" == _header(
                header["event_log"], archive, header["schema_version"]
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            is_whole = False
        if not is_whole:
            raise IntegrityError("the event state is not what was written", mend=RESTORE)
        if header["schema_version"] != SCHEMA_VERSION:
            raise IntegrityError(
                f"the event state has schema version {header['schema_version']}; "
                f"this program reads {SCHEMA_VERSION}",
                mend="use the version of nethical that wrote it, or begin a new state",
            )
        document = log.to_document()
        if canonical_json(header["event_log"]) != canonical_json(document):
            replace(cls.empty(), log=header["event_log"]).check_log(log)
        try:
            return cls._from_archive(archive, document)
        except (
            *(ValueError, KeyError, TypeError, EOFError, OSError),
            *(MemoryError, zipfile.BadZipFile),
        ) as error:
            raise IntegrityError(
                f"the event state cannot be read: {str(error).splitlines()[0]}", mend=RESTORE
            ) from error

    @classmethod
    def _from_archive(cls, archive: bytes, document: Mapping[str, Any]) -> EventState:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            members = packed.infolist()
        if any(m.compress_type != zipfile.ZIP_STORED for m in members) or (
            sum(m.file_size for m in members) > len(archive)
        ):
            raise ValueError("it is packed")
        with np.load(io.BytesIO(archive), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        columns = {name: _checked(arrays[name], kind, name) for name, kind in TYPES.items()}
        if len({len(column) for column in columns.values()}) > 1:
            raise ValueError("its columns are not of one length")
        clock = _checked(arrays["clock"], np.dtype(np.int64), "clock")
        time = columns["time"]
        if len(time) and (len(clock) != 1 or (np.diff(time) < 0).any() or time[-1] > clock[0]):
            raise ValueError("its events are not in order")
        if not np.isin(columns["label"], (-1, 0, 1)).all():
            raise ValueError("it holds unknown labels")
        names = {name: _texts(arrays, name) for name in ("agents", "resources")}
        for column, known in (("agent", names["agents"]), ("resource", names["resources"])):
            codes = columns[column]
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(known):
                raise ValueError(f"it names no {column} for some events")
        return cls(document, int(clock[0]) if len(clock) else None, **names, **columns)


def remembered_from(log: EventLog, clock: int) -> int:
    """Return the earliest instant that an event at the clock, or later, looks back on."""
    return clock - microseconds(log.windows_days[-1]) - microseconds(log.label_delay_days)


def _mask(mask: NDArray[np.bool_]) -> Any:  # noqa: ANN401 - a pyarrow array
    """Return a mask as pyarrow takes it."""
    import pyarrow as pa

    return pa.array(mask)


def _met(keys: list[NDArray[Any]], is_labelled: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Return which events, and which late rows, belong together, each at most once.

    Args:
        keys: What must be equal, of the events and then of the late rows.
        is_labelled: Which events have a label, shape (events,); these come first, so that labels
            that are delivered again change nothing.
    """
    n_events, n_all = len(is_labelled), len(keys[0])
    is_late = np.arange(n_all) >= n_events
    last = np.concatenate([~is_labelled, np.zeros(n_all - n_events, dtype=bool)])
    order = np.lexsort((last, is_late, *keys))
    changed = np.zeros(n_all, dtype=bool)
    changed[:1] = True
    for key in keys:
        changed[1:] |= key[order][1:] != key[order][:-1]
    group = np.cumsum(changed) - 1
    starts = np.flatnonzero(changed)
    events = np.bincount(group, weights=~is_late[order], minlength=len(starts)).astype(np.int64)
    place = np.arange(n_all) - starts[group]
    late = np.flatnonzero(is_late[order] & (place < 2 * events[group]))
    return order[late - events[group[late]]], order[late] - n_events


def _header(document: Mapping[str, Any], archive: bytes, version: int = SCHEMA_VERSION) -> bytes:
    """Return the first line: what the archive is, and a digest over both."""
    header = {"event_log": document, "kind": KIND, "schema_version": version}
    state = hashlib.sha256(canonical_json(header) + b"\n")
    state.update(archive)
    return canonical_json(header | {"sha256": state.hexdigest()}) + b"\n"


def _text_arrays(texts: pa.LargeStringArray) -> tuple[Ints, NDArray[np.uint8]]:
    """Return the length of each text in bytes, and the bytes of all."""
    import pyarrow.compute as pc

    lengths = pc.binary_length(texts).to_numpy().astype(np.int64)
    joined = "".join(texts.to_pylist()).encode() if len(texts) else b""
    return lengths, np.frombuffer(joined, dtype=np.uint8)


def _texts(arrays: Mapping[str, NDArray[Any]], name: str) -> Any:  # noqa: ANN401 - pyarrow array
    import pyarrow as pa

    lengths = _checked(arrays[f"{name}.lengths"], np.dtype(np.int64), f"{name}.lengths")
    content = _checked(arrays[f"{name}.text"], np.dtype(np.uint8), f"{name}.text")
    if (lengths < 0).any() or int(lengths.sum()) != len(content):
        raise ValueError(f"its {name} are torn")
    ends = np.append(0, np.cumsum(lengths))
    whole = content.tobytes()
    texts = [whole[a:b].decode() for a, b in pairwise(ends)]
    return pa.array(texts, pa.large_string())


def _checked(array: NDArray[Any], kind: np.dtype[Any], name: str) -> NDArray[Any]:
    if array.dtype != kind or array.ndim != 1:
        raise ValueError(f"{name} is not of the kind that was written")
    return array
