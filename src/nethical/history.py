"""What happened to the models of a registry, folded from its lines; pure.

Every line says which version (``model_id``) of which ``name`` has which ``status`` from then
on: ``current``, ``candidate`` or ``removed``. The fold adds ``past``, for what was current once.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nethical.canonical import canonical_json
from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["MODEL_ID", "NAME", "Entry", "History", "Version", "from_lines", "to_lines"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_FIXED = ("at", "event", "model_id", "name", "status", "by", "reason")
_STATUSES = ("current", "candidate", "removed")

Entry = dict[str, Any]


@dataclass(frozen=True)
class Version:
    """A version in a registry.

    Args:
        model_id: Its id.
        name: The production slot it was trained for.
        status: ``current``, ``past`` (was current once), ``candidate``; ``unregistered`` is a
            folder that is in no history and does not verify.
        published_at: UTC, ISO 8601.
        details: What was recorded when it was published.
    """

    model_id: str
    name: str
    status: str
    published_at: str
    details: Mapping[str, Any]


class History:
    """What the lines say, taken together.

    Args:
        entries: The lines, oldest first.

    Attributes:
        versions: Every version that was not removed, in the order of publishing.
        current: The version in production of each name.
    """

    def __init__(self, entries: Collection[Entry] = ()) -> None:
        self.versions: dict[str, Version] = {}
        self.current: dict[str, str] = {}
        self._production: dict[str, list[str]] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take in the next line."""
        model_id, name, status = entry["model_id"], entry["name"], entry["status"]
        production = self._production.setdefault(name, [])
        if status == "current":
            self._install(model_id, name, entry["event"])
        elif self.current.get(name) == model_id:
            del self.current[name]
            production.pop()
        if status == "removed":
            production[:] = [kept for kept in production if kept != model_id]
            self.versions.pop(model_id, None)
        elif model_id in self.versions:
            self.versions[model_id] = replace(self.versions[model_id], status=status)
        else:
            details = {key: value for key, value in entry.items() if key not in _FIXED}
            self.versions[model_id] = Version(model_id, name, status, entry["at"], details)

    def _install(self, model_id: str, name: str, event: str) -> None:
        production = self._production[name]
        displaced = self.current.get(name)
        if displaced in self.versions and displaced != model_id:
            status = "candidate" if event == "rolled_back" else "past"
            self.versions[displaced] = replace(self.versions[displaced], status=status)
        if event in ("rolled_back", "healed") and model_id in production:
            last = len(production) - production[::-1].index(model_id)
            del production[last:]
        else:
            production.append(model_id)
        self.current[name] = model_id

    def predecessor(self, name: str) -> str | None:
        """Return the version that was in production before the current one, if it is kept."""
        current = self.current.get(name)
        before = (past for past in reversed(self._production.get(name, [])) if past != current)
        return next(before, None)

    def prunable(
        self, keep: int, *, name: str | None = None, protected: Collection[str] = ()
    ) -> list[Version]:
        """Return the versions that nothing holds: see ``Registry.prune``."""
        prunable = []
        for slot in sorted({version.name for version in self.versions.values()}):
            staying = {self.current.get(slot), self.predecessor(slot), *protected}
            others = [
                version
                for version in self.versions.values()
                if version.name == slot and version.model_id not in staying
            ]
            if name in (None, slot):
                prunable += others[: max(0, len(others) - keep)]
        return prunable

    def disagreements(
        self, present: Collection[str], linked: Mapping[str, str]
    ) -> list[tuple[str, str, str]]:
        """Return what must be added so that the history says what the disk says.

        Args:
            present: The versions on disk; those that no line names are left out here.
            linked: The version that the link of each name points to.

        Returns:
            For each correction the model id, its name and its status.
        """
        gone = [
            (version.model_id, version.name, "removed")
            for version in self.versions.values()
            if version.model_id not in present
        ]
        moved = []
        for name in sorted(linked.keys() | self.current.keys()):
            now, told = linked.get(name), self.current.get(name)
            if now is not None and now != told:
                moved.append((now, name, "current"))
            if told is not None and now != told and told in present:
                moved.append((told, name, "candidate"))
        return [*gone, *moved]


def to_lines(entries: Collection[Entry]) -> bytes:
    r"""Return the entries as lines of canonical JSON.

    Example:
        >>> to_lines([{"event": "pruned", "at": "2026-01-01T00:00:00Z"}])
        b'{"at":"2026-01-01T00:00:00Z","event":"pruned"}\n'
    """
    return b"".join(canonical_json(entry) + b"\n" for entry in entries)


def from_lines(content: bytes, source: str) -> list[Entry]:
    """Return the entries of a history file.

    What follows the last line feed was torn off by a kill or a power cut before it was
    acknowledged, and is left out.

    Args:
        content: The bytes of the file.
        source: Its name, for errors.

    Raises:
        IntegrityError: A line is not what a registry writes.
    """
    lines = content.split(b"\n")[:-1]
    return [_entry(line, f"{source} line {number}") for number, line in enumerate(lines, 1)]


def _entry(line: bytes, where: str) -> Entry:
    try:
        entry: Entry = json.loads(line)
        sound = (
            NAME.fullmatch(entry["name"])
            and MODEL_ID.fullmatch(entry["model_id"])
            and entry["status"] in _STATUSES
            and {type(entry["at"]), type(entry["event"])} == {str}
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(where) from error
    if not sound:
        raise _damaged(where)
    return entry


def _damaged(where: str) -> IntegrityError:
    return IntegrityError(f"{where} is not a line of history", mend="restore the file from a copy")
