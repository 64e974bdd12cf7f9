"""Versions of models, and which of them is in production.

    versions/{model_id}/     a bundle, never changed
    current/{name}           link to the version in production: the only record of that
    candidates/{model_id}    link to a version that did not pass, or not yet
    registry.jsonl           the history: one canonical JSON line per event, append only

A publish writes the bundle, then its line of history, then the link; each step is atomic and
durable, all of them under one lock. Whoever writes next heals what a kill left in between: the
links say what is in production, the history is completed by ``healed`` lines, and a version
that got no further becomes a candidate. Those who only read see the same healed view.
"""

from __future__ import annotations

import contextlib
import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical import bundle, durable
from nethical.canonical import digest
from nethical.errors import IntegrityError, UsageError
from nethical.history import MODEL_ID, NAME, History, Version
from nethical.shelf import Shelf
from nethical.signing import SIGNATURE_FILE, sign

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Collection, Iterator, Mapping
    from datetime import datetime
    from types import EllipsisType

    from nethical.history import Entry
    from nethical.keys import Keys

__all__ = ["Published", "Registry", "Version", "user"]

PUT_BACK = ("rolled_back", "healed")


@dataclass(frozen=True)
class Published:
    """A version that was just published.

    Args:
        model_id: Its id.
        path: Its folder.
        signature_digest: ``sha256:`` and hex, of its ``model.sig``.
        promoted: Whether it is now the current version of its name.
    """

    model_id: str
    path: Path
    signature_digest: str
    promoted: bool


class Registry:
    """The models in one folder.

    Args:
        models_dir: The folder; it is made by the first publish.
        keys: Sign what is published, and say whose models are believed.
        clock: Returns the current UTC time.

    Raises:
        UsageError: The keys lie inside the folder that they would sign.
    """

    def __init__(self, models_dir: Path, keys: Keys, clock: Callable[[], datetime]) -> None:
        keys.must_lie_outside(models_dir)
        self.models_dir = models_dir
        self.keys = keys
        self._clock = clock
        self._shelf = Shelf(models_dir)

    def publish(  # noqa: PLR0913 - one version
        self,
        *,
        model_id: str,
        name: str,
        files: Mapping[str, bytes],
        claims: Mapping[str, Any],
        promote: bool,
        baseline: str | None,
        details: Mapping[str, Any],
    ) -> Published:
        """Sign and store a version, whole or not at all, and make it current or a candidate.

        Args:
            model_id: The new version.
            name: Its production slot.
            files: Every file of the bundle but the signature.
            claims: JSON values to sign beside the files; the name is added.
            promote: Whether it becomes the current version of its name.
            baseline: The current version that it was judged beside, or None; if another one is
                current by now it becomes a candidate all the same.
            details: JSON values for its line of history.

        Raises:
            UsageError: The name or the id is not a plain one.
            StorageError: It could not be stored, or the id exists already.
        """
        _check_word(NAME, "model name", name)
        _check_word(MODEL_ID, "model id", model_id)
        claims = {**claims, "name": name}
        signature = sign(files, name=model_id, key=self.keys.bundle_key(), claims=claims)
        with self._writing() as history:
            current = self.current(name)
            path = self._shelf.add(model_id, {**files, SIGNATURE_FILE: signature})
            promote = promote and (current.name if current else None) == baseline
            status = "current" if promote else "candidate"
            self._commit(history, [self._entry("published", model_id, name, status, details)])
        return Published(model_id, path, digest(signature), promote)

    def current(self, name: str) -> Path | None:
        """Return the folder of the version in production, or None.

        Raises:
            IntegrityError: The link points to a version that is not there, does not verify, or
                was signed for another name.
        """
        _check_word(NAME, "model name", name)
        model_id = self._shelf.linked(name)
        if model_id is None:
            return None
        path = self._shelf.versions / model_id
        if not path.is_dir():
            raise IntegrityError(
                f"{name} has {path} in production, which is not there",
                mend="run `nethical models rollback` or `nethical models promote`",
            )
        self._verify_for(name, model_id)
        return path

    def names(self) -> list[str]:
        """Return the names that have a version in production, sorted."""
        return self._shelf.names()

    def versions(self, name: str | None = None) -> list[Version]:
        """Return the versions of one name or of all, in the order of publishing."""
        history = History(self._shelf.entries())
        for entry in self._corrections(history):
            history.add(entry)
        strangers = [
            Version(model_id, "", "unregistered", "", {})
            for model_id in self._shelf.present()
            if model_id not in history.versions
        ]
        every = [*history.versions.values(), *strangers]
        return [version for version in every if name in (None, version.name)]

    def history(self, name: str | None = None) -> list[Entry]:
        """Return the lines of history of one name or of all, oldest first.

        Raises:
            IntegrityError: A line is not what the registry writes.
        """
        return [entry for entry in self._shelf.entries() if name in (None, entry["name"])]

    def installed(self, name: str) -> Entry:
        """Return the line of history that put into production what is there now, {} if none did.

        What a rollback or a heal put back is there by the configuration that it was promoted
        by, if it was: the line then says that too.
        """
        current = self._shelf.linked(name)
        lines = [
            entry
            for entry in self.history(name)
            if entry["status"] == "current" and entry["model_id"] == current
        ]
        if not lines:
            return {}
        first = next((e for e in reversed(lines) if e["event"] not in PUT_BACK), lines[-1])
        by: Entry = {k: first[k] for k in ("configuration_id", "gate_report") if k in first}
        return {**by, **lines[-1]}

    def gate_readings(self, gate_digest: str) -> int:
        """Return how many published versions were judged on the gate part with this digest."""
        return sum(
            entry["event"] == "published" and entry.get("gate_digest") == gate_digest
            for entry in self.history()
        )

    def find(self, reference: str) -> Path:
        """Return the folder of a model.

        Args:
            reference: A model id, a name (its current version), an unambiguous beginning of a
                model id, or the path of a bundle.

        Raises:
            UsageError: It is none of these, the beginning of several ids, or a name that has
                nothing in production.
            IntegrityError: What a name has in production was not signed for it.
        """
        present = self._shelf.present()
        matches = [model_id for model_id in present if reference and model_id.startswith(reference)]
        if reference in present:
            return self._shelf.versions / reference
        if NAME.fullmatch(reference) and (current := self.current(reference)):
            return current
        if self._is_name(reference):
            raise UsageError(
                f"{reference} has nothing in production",
                mend=f"choose one with `nethical models list --name {reference}`, and name its id "
                "or put it into production with `nethical models promote`",
            )
        if len(matches) == 1:
            return self._shelf.versions / matches[0]
        if os.path.isdir(reference):  # noqa: PTH112 - says no to odd references, never raises
            return Path(reference)
        if matches:
            raise UsageError(
                f"{reference!r} is the beginning of {len(matches)} models: {', '.join(matches)}",
                mend="give more of the model id",
            )
        raise UsageError(
            f"no model {reference!r} in {self.models_dir}",
            mend="`nethical models list` shows the models; --models-dir names another folder",
        )

    def verify(self, reference: str) -> bundle.Bundle:
        """Return the bundle of a model, once its signature and every digest hold.

        Raises:
            IntegrityError: It is not what was signed, another model lies under its id, or a
                name has in production what was signed for another one.
        """
        found = bundle.read(self.find(reference), self.keys.trusted())
        if self._owns(found.path) and found.model_id != found.path.name:
            raise IntegrityError(
                f"{found.path} holds the model {found.model_id}",
                mend="restore the folder from a copy, or remove it",
            )
        return found

    def promote(
        self,
        reference: str,
        *,
        reason: str,
        by: str | None = None,
        details: Mapping[str, Any] | None = None,
        baseline: str | EllipsisType | None = ...,
    ) -> str:
        """Put a version into production by a person's word, and return its id.

        Args:
            reference: The version, as for ``find``.
            reason: Why; it is kept in the history.
            by: Who; default: the user of this process.
            details: JSON values for the line of history, where ``override`` is true unless they
                say otherwise.
            baseline: What must be in production now, None for nothing; by default anything.

        Raises:
            UsageError: No reason is given, the version is current already, or another one is in
                production than should be.
            IntegrityError: The version does not verify.
        """
        _check_reason(reason)
        path = self.find(reference)
        if not self._owns(path):
            raise UsageError(
                f"{path} is not in {self.models_dir}", mend="name a model of this registry"
            )
        with self._writing(mending=True) as history:
            model_id = self.verify(path.resolve().name).model_id
            if model_id not in history.versions:
                raise UsageError(f"{model_id} was signed for no model name", mend="train it here")
            name = history.versions[model_id].name
            self._verify_for(name, model_id)
            if history.current.get(name) == model_id:
                raise UsageError(
                    f"{model_id} is in production as {name} already", mend="name another version"
                )
            now = history.current.get(name)
            if baseline is not ... and now != baseline:
                raise UsageError(
                    f"{name} has {now or 'nothing'} in production, not {baseline or 'nothing'}",
                    mend="judge the version again, against what is in production now",
                )
            details = {"override": True, **(details or {}), "reason": reason}
            entry = self._entry("promoted", model_id, name, "current", details, by)
            self._commit(history, [entry])
        return model_id

    def rollback(self, name: str, *, reason: str, by: str | None = None) -> str:
        """Put the previous version of a name back into production, and return its id.

        The version that was rolled back becomes a candidate.

        Raises:
            UsageError: No reason is given, or no previous version is kept.
            IntegrityError: The previous version does not verify.
        """
        _check_reason(reason)
        self._check_not_empty()
        with self._writing(mending=True) as history:
            previous = history.predecessor(name)
            if previous is None:
                raise UsageError(
                    f"{name!r} has no previous version in {self.models_dir}",
                    mend="put a version into production with `nethical models promote`",
                )
            self._verify_for(name, previous)
            details = {"replaces": history.current.get(name), "reason": reason}
            entry = self._entry("rolled_back", previous, name, "current", details, by)
            self._commit(history, [entry])
        return previous

    def export(self, reference: str, destination: Path) -> bundle.Bundle:
        """Copy a verified bundle to a new folder of its own, and return what was copied.

        Raises:
            UsageError: The destination exists already.
            IntegrityError: The bundle does not verify.
        """
        found = self.verify(reference)
        if os.path.lexists(destination):
            raise UsageError(
                f"{destination} exists already", mend="name a folder that does not exist yet"
            )
        durable.make_folder(destination.parent)
        with durable.lock(destination.parent):
            durable.publish_folder(destination, found.files)
        return found

    def prune(
        self, keep: int, *, name: str | None = None, protected: Collection[str] = ()
    ) -> list[str]:
        """Remove old versions, and return their ids.

        The current version of a name, the one before it and those that are protected stay, and
        of the others the newest ``keep`` of each name.

        Args:
            keep: How many others to keep, from 0.
            name: The only name to prune; default: all.
            protected: Model ids that something else refers to.
        """
        if keep < 0:
            raise UsageError(f"cannot keep {keep} versions", mend="give 0 or more")
        self._check_not_empty()
        with self._writing() as history:
            pruned = history.prunable(keep, name=name, protected=protected)
            entries = [self._entry("pruned", old.model_id, old.name, "removed") for old in pruned]
            self._commit(history, entries)
            for old in pruned:
                self._shelf.remove(old.model_id)
        return [old.model_id for old in pruned]

    @contextlib.contextmanager
    def _writing(self, *, mending: bool = False) -> Iterator[History]:
        """Hold the lock of a healed registry, and give its history; see ``_corrections``."""
        with self._shelf.locked():
            history = History(self._shelf.entries())
            self._commit(history, self._corrections(history, mending=mending))
            yield history

    def _commit(self, history: History, entries: list[Entry]) -> None:
        """Write lines of history, then make the links say the same."""
        self._shelf.append(entries)
        for entry in entries:
            history.add(entry)
        self._shelf.link(history)

    def _corrections(self, history: History, *, mending: bool = False) -> list[Entry]:
        """Return the lines that a kill, or a hand, left unwritten.

        Args:
            history: What the lines say.
            mending: Count a link to a version that was not signed for it as no link at all, so
                that a promotion or a rollback can replace it.

        Raises:
            IntegrityError: There is such a link, and this is not the act that mends it.
        """
        present = self._shelf.present()
        links = {name: self._shelf.linked(name) for name in self._shelf.names()}
        linked = {
            name: link
            for name, link in links.items()
            if link in present and self._believed(history, name, link, mending=mending)
        }
        found = [
            (model_id, name, "candidate")
            for model_id in present
            if model_id not in history.versions and (name := self._signed_name(model_id))
        ]
        return [
            self._entry("healed", model_id, name, status)
            for model_id, name, status in [*found, *history.disagreements(present, linked)]
        ]

    def _believed(self, history: History, name: str, model_id: str, *, mending: bool) -> bool:
        """Return whether a link may tell the history what is in production."""
        if history.current.get(name) == model_id:
            return True  # nothing to heal; whoever uses the link verifies it
        try:
            self._verify_for(name, model_id)
        except IntegrityError:
            if not mending:
                raise
            return False
        return True

    def _verify_for(self, name: str, model_id: str) -> None:
        """Raise unless a version verifies and was signed for this name."""
        signed_for = self.verify(model_id).claims.get("name")
        if signed_for != name:
            raise IntegrityError(
                f"{model_id} cannot be in production as {name}: it was signed for {signed_for!r}",
                mend=f"run `nethical models rollback {name}`, or `nethical models promote` with "
                f"a version of {name}",
            )

    def _is_name(self, reference: str) -> bool:
        """Return whether a version was ever published, or is signed, under this name."""
        if not NAME.fullmatch(reference):
            return False
        entries = self.history()
        registered = {entry["model_id"] for entry in entries}
        return any(entry["name"] == reference for entry in entries) or any(
            self._signed_name(model_id) == reference
            for model_id in self._shelf.present()
            if model_id not in registered
        )

    def _signed_name(self, model_id: str) -> str | None:
        """Return the name that a version without history was signed for."""
        try:
            name = self.verify(model_id).claims.get("name")
        except IntegrityError:
            return None  # it stays where it is, and is shown as unregistered
        return name if isinstance(name, str) and NAME.fullmatch(name) else None

    def _entry(
        self,
        event: str,
        model_id: str,
        name: str,
        status: str,
        details: Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> Entry:
        return {
            "reason": None,
            **(details or {}),
            "at": f"{self._clock():%Y-%m-%dT%H:%M:%SZ}",
            "event": event,
            "model_id": model_id,
            "name": name,
            "status": status,
            "by": by or user(),
        }

    def _owns(self, path: Path) -> bool:
        return path.resolve().parent == self._shelf.versions.resolve()

    def _check_not_empty(self) -> None:
        if not self._shelf.present():
            raise UsageError(
                f"no models in {self.models_dir}", mend="name their folder with --models-dir"
            )


def user() -> str:
    """Return the name of the user of this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without an account, as in containers
        return f"uid {os.getuid()}"


def _check_word(pattern: re.Pattern[str], kind: str, word: str) -> None:
    if not pattern.fullmatch(word):
        raise UsageError(
            f"{word!r} cannot be a {kind}",
            mend="begin with a letter or digit; then letters, digits, dots, dashes, underscores",
        )


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("the reason is empty", mend="say why with --reason")
