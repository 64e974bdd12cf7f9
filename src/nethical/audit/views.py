"""What people and scripts read of a run: written from the log, and never believed.

Each view follows from the log to the last byte, so it can be written again, and an edited one
shows. The names of the files and of most members are those that scripts have long looked for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from nethical import durable
from nethical.audit.folder import SUMMARY
from nethical.canonical import digest
from nethical.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from nethical.audit.checkpoint import Checkpoint
    from nethical.audit.reading import LogReader
    from nethical.audit.runs import Event, LoggedRun

__all__ = [
    "LARGE",
    "RECEIPT",
    "Head",
    "chunk_name",
    "keep_large",
    "receipt_event",
    "summary",
    "views",
    "write_views",
]

_NEW_LINE = "\n"
_quoted = json.encoder.encode_basestring

RECEIPT = "run.tlog-proof"
LARGE = "large"


@dataclass(frozen=True)
class Head:
    """A checkpoint over a whole run, with the bytes of its note."""

    checkpoint: Checkpoint
    note: bytes


def write_views(folder: Path, run: LoggedRun, reader: LogReader) -> None:
    """Write the views of an ended run into its folder; hold the lock of the audit folder.

    Args:
        folder: The run's.
        run: Its entries, the last one its end.
        reader: Reads the log, sealed since.
    """
    durable.make_folder(folder)
    durable.sweep(folder)
    head = Head(reader.checkpoint, reader.note)
    for name, content in views(run, head).items():
        durable.write(folder / name, content)
    receipt = reader.receipt(receipt_event(run).index)
    durable.write(folder / RECEIPT, receipt.to_bytes())


def keep_large(folder: Path, content: bytes) -> None:
    """Keep what does not fit into an entry under its digest, in the folder of its run."""
    place = folder / LARGE
    durable.make_folder(place)
    durable.write(place / f"{digest(content).removeprefix('sha256:')}.json", content)


def views(run: LoggedRun, head: Head) -> dict[str, bytes]:
    """Return the files that follow from a run and a checkpoint over it, by name."""
    return {chunk_name(run): _json(_chunk(run, head)), SUMMARY: _json(summary(run, head))}


def chunk_name(run: LoggedRun) -> str:
    """Return the name of the file that holds a run's entries."""
    return f"{_chunk_id(run)}.json"


def receipt_event(run: LoggedRun) -> Event:
    """Return the event that a run's receipt is for: its end, which vouches for the others.

    Raises:
        UsageError: The run has not ended.
    """
    if run.ended is None:
        raise UsageError(
            f"run {run.run_id} has not ended", mend="wait for its end, or start another run"
        )
    return run.ended


def summary(run: LoggedRun, head: Head) -> dict[str, Any]:
    """Return what training_summary.json says of a run."""
    started, measured, decided, saved, ended = (
        {} if event is None else event.document
        for event in (
            *map(run.first, ("training_start", "validation_metrics", "gate_decided")),
            run.first("model_saved"),
            run.ended,
        )
    )
    return {
        "merkle_root": head.checkpoint.root_hash.hex(),
        "model_type": started.get("model_type"),
        "promoted": saved.get("promoted", False),
        "metrics": measured.get("metrics", {}),
        "timestamp": ended.get("timestamp"),
        "run_id": run.run_id,
        "outcome": run.outcome,
        "error": ended.get("error"),
        "verdict": decided.get("verdict"),
        "model_id": saved.get("model_id"),
        "model_path": saved.get("model_path"),
        "origin": head.checkpoint.origin,
        "first_index": run.events[0].index,
        "tree_size": head.checkpoint.tree_size,
        "checkpoint": head.note.decode(),
    }


def _chunk(run: LoggedRun, head: Head) -> dict[str, Any]:
    """Return a run's entries, each with where it stands and its hash."""
    return {
        "chunk_id": _chunk_id(run),
        "run_id": run.run_id,
        "merkle_root": head.checkpoint.root_hash.hex(),
        "created_at": run.events[0].at,
        "finalized_at": run.events[-1].at,
        "event_count": len(run.events),
        "events": [
            {**event.document, "index": event.index, "leaf_hash": event.leaf_hash.hex()}
            for event in run.events
        ],
    }


def _chunk_id(run: LoggedRun) -> str:
    """Return ``chunk_``, when the run began, and a number, both from its id."""
    match = re.fullmatch(r"run_(\d{8})T(\d{6})Z_([0-9a-f]{6})", run.run_id)
    if match is None:
        raise IntegrityError(
            f"{run.run_id!r} is not the id of a run", mend="run `nethical audit verify` on the log"
        )
    return f"chunk_{match[1]}_{match[2]}_{int(match[3], 16) % 1_000_000}"


def _json(document: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return f"{_indented(document, _NEW_LINE)}\n".encode()


def _indented(value: Any, line: str) -> str:  # noqa: ANN401 - any JSON value
    """Return what ``json.dumps`` gives with an indent of 2, in a fraction of its time.

    Args:
        value: What an entry may hold.
        line: The line break, and the blanks that follow it at this depth.
    """
    kind = type(value)
    if kind is str:
        return _quoted(value)
    if kind is dict and value:
        deeper = line + "  "
        members = [
            f"{_quoted(key)}: {_quoted(each) if type(each) is str else _indented(each, deeper)}"
            for key, each in value.items()
        ]
        return f"{{{deeper}{f',{deeper}'.join(members)}{line}}}"
    if kind is list and value:
        deeper = line + "  "
        return f"[{deeper}{f',{deeper}'.join([_indented(each, deeper) for each in value])}{line}]"
    if kind is int or (kind is float and isfinite(value)):
        return repr(value)
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
