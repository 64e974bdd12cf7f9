"""The folders and links of a registry on disk: what is there, and how it changes.

What is written here is atomic and durable step by step; the order of the steps, and what a
kill between two of them means, are the business of ``registry.py``.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from nethical import durable
from nethical.errors import IntegrityError, StorageError
from nethical.history import MODEL_ID, NAME, from_lines, to_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from nethical.history import Entry, History

__all__ = ["Shelf"]


class Shelf:
    """The files of a registry.

    Args:
        models_dir: Their folder; it need not exist yet.
    """

    def __init__(self, models_dir: Path) -> None:
        self.folder = models_dir
        self.versions = models_dir / "versions"
        self._current = models_dir / "current"
        self._candidates = models_dir / "candidates"
        self._history = models_dir / "registry.jsonl"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who writes, and sweep what a killed writer left half-written."""
        folders = (self.versions, self._current, self._candidates)
        for folder in folders:
            durable.make_folder(folder)
        with durable.lock(self.folder):
            for folder in folders:
                durable.sweep(folder)
            yield

    def present(self) -> list[str]:
        """Return the model ids that have a folder, sorted."""
        return [name for name in _listed(self.versions) if MODEL_ID.fullmatch(name)]

    def names(self) -> list[str]:
        """Return the names that have a version in production, sorted."""
        return [name for name in _listed(self._current) if NAME.fullmatch(name)]

    def linked(self, name: str) -> str | None:
        """Return the version that the link of a name points to, be it there or not.

        Raises:
            IntegrityError: Something else than a link is in its place.
        """
        link = self._current / name
        try:
            return link.readlink().name
        except FileNotFoundError:
            return None
        except OSError as error:
            raise IntegrityError(
                f"{link} is not a link to a version",
                mend="move it away, then run `nethical models promote`",
            ) from error

    def entries(self) -> list[Entry]:
        """Return the lines of history, oldest first.

        Raises:
            IntegrityError: A line is not what the registry writes.
        """
        if not os.path.lexists(self._history):
            return []
        return from_lines(durable.read(self._history), str(self._history))

    def append(self, entries: Collection[Entry]) -> None:
        """Add lines to the history, in one write; hold the lock."""
        if entries:
            durable.append(self._history, to_lines(entries))

    def add(self, model_id: str, files: Mapping[str, bytes]) -> Path:
        """Write the folder of a version, whole or not at all; hold the lock."""
        durable.publish_folder(self.versions / model_id, files)
        return self.versions / model_id

    def remove(self, model_id: str) -> None:
        """Take the folder of a version away; hold the lock."""
        durable.remove(self.versions / model_id)

    def link(self, history: History) -> None:
        """Make the links say what the history says; hold the lock."""
        for name, model_id in history.current.items():
            if self.linked(name) != model_id:
                durable.replace_link(self._current / name, f"../versions/{model_id}")
        candidates = {
            version.model_id
            for version in history.versions.values()
            if version.status == "candidate"
        }
        linked = set(_listed(self._candidates))
        for model_id in sorted(candidates - linked):
            durable.replace_link(self._candidates / model_id, f"../versions/{model_id}")
        for model_id in sorted(linked - candidates):
            durable.remove(self._candidates / model_id)


def _listed(folder: Path) -> list[str]:
    """Return the names in a folder, sorted, without hidden ones."""
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(
            f"cannot read {folder}: {error.strerror}", mend="check the path and its permissions"
        ) from error
