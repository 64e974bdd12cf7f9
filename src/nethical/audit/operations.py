"""What people do beside runs, in the log: who did it, with which arguments, and what came of it."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nethical.audit.entries import encode_entry
from nethical.audit.folder import AuditFolder
from nethical.audit.log import Log
from nethical.audit.sink import RunAudit, timestamp
from nethical.canonical import canonical_json, digest
from nethical.errors import StorageError
from nethical.registry import user

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nethical.keys import Keys

__all__ = ["Operation", "operation"]

_LONGEST_ERROR = 4096


class Operation:
    """An operation that is going on.

    What it puts into ``results`` (JSON values) is logged when it is done; then ``audit`` says
    where the log stands.
    """

    def __init__(self) -> None:
        self.audit: RunAudit | None = None
        self.results: dict[str, Any] = {}


@contextmanager
def operation(
    path: Path, keys: Keys, command: str, arguments: Mapping[str, str]
) -> Iterator[Operation]:
    """Log that an operation begins, and when the block ends that it is done or failed.

    Args:
        path: The audit folder.
        keys: The log key; if the block rotates it, the log is handed over.
        command: What is done, as in ``models promote``.
        arguments: What it is done with.

    Raises:
        IntegrityError: The log is not what was signed.
        StorageError: It cannot be written; nothing was done then.
    """
    keys.must_lie_outside(path)
    folder = AuditFolder(path)
    folder.make()
    told: dict[str, Any] = {"event_type": "operation", "command": command, "by": _text(user())}
    told["arguments"] = {name: _text(value) for name, value in arguments.items()}
    begun = _log(folder, keys).append({**told, "phase": "begun", **_now()})
    going_on = Operation()
    ended: dict[str, Any] = {**told, "phase": "failed", "begun_index": begun}
    try:
        yield going_on
        ended["phase"] = "done"
        if going_on.results:
            ended["results"] = going_on.results
    except BaseException as error:
        ended["error"] = _text(f"{type(error).__name__}: {error}")[:_LONGEST_ERROR]
        raise
    finally:
        log = _log(folder, keys)
        log.append(_fitting({**ended, **_now()}))
        sealed = log.seal()
        root, size = sealed.checkpoint.root_hash.hex(), sealed.checkpoint.tree_size
        going_on.audit = RunAudit(path, root, size, sealed.note, ())


def _fitting(ended: dict[str, Any]) -> dict[str, Any]:
    """Return the end of an operation with its results by digest alone if they do not fit."""
    try:
        encode_entry(ended)
    except StorageError:
        try:
            content = canonical_json(ended.get("results", {}))
        except (ValueError, RecursionError):
            return ended  # what is wrong with it, the log says
        results = {"digest": digest(content), "bytes": len(content)}
        return {**ended, "results": results} if "results" in ended else ended
    return ended


def _text(text: str) -> str:
    """Return text that can be logged: bytes of a file's name that are no text are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _log(folder: AuditFolder, keys: Keys) -> Log:
    return Log(folder.log_path, keys.log_key(), earlier=keys.earlier_log_keys())


def _now() -> dict[str, str]:
    return {"timestamp": timestamp(datetime.now(UTC))}
