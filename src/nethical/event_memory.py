"""The past of an event log, kept in a file from one day to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical import durable
from nethical.data import files
from nethical.data.events import EventState
from nethical.errors import StorageError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from nethical.trained import TrainedModel

__all__ = ["History"]


class History:
    """The past of an event log, kept in a file between calls.

    ``late_known`` and ``late_unmet`` count late labels that met an event and those that met none.

    Args:
        model: Whose log it is.
        path: The state; it is made by the first call, and replaced whole by each.
        late_labels: A table of labels that became known since, or None: the agent, resource and
            time columns of events that were scored earlier, and the label column.

    Raises:
        UsageError: The model reads no event log.
    """

    def __init__(self, model: TrainedModel, path: Path, late_labels: Path | None = None) -> None:
        if model.event_log is None:
            raise UsageError(
                f"{model.name} reads no event log, so it keeps no state", mend="leave --state out"
            )
        self._event_log = model.event_log
        self._roles = model.roles
        self._path = path.resolve()
        self._late_labels = late_labels
        self.files = {self._path, *([late_labels.resolve()] if late_labels else [])}
        self._seen = b""
        self.late_known = self.late_unmet = 0

    def read(self) -> EventState:
        """Return the state, with the late labels in it.

        Raises:
            DataError: The state is of another log, or a late label cannot be read.
            IntegrityError: The state is not what was written.
        """
        state = EventState.empty()
        durable.make_folder(self._path.parent)
        if self._path.exists():
            self._seen = durable.read(self._path)
            state = EventState.from_bytes(self._seen, self._event_log)
        if self._late_labels is None:
            return state
        import pyarrow as pa

        keys = dict.fromkeys(self._event_log.keys, pa.string())
        pieces = list(files.batches(self._late_labels, types=keys))
        if not pieces:  # a day on which nothing became known
            return state
        late = pa.concat_tables(pieces, promote_options="permissive")
        state, self.late_known, self.late_unmet = state.with_labels(
            late, self._event_log, self._roles
        )
        return state

    def write(self, state: EventState) -> None:
        """Replace the state, durably.

        Raises:
            StorageError: It cannot be written, or another process wrote it meanwhile.
        """
        with durable.lock(self._path.parent):
            now = durable.read(self._path) if self._path.exists() else b""
            if now != self._seen:
                raise StorageError(
                    f"{self._path} was written by another process meanwhile",
                    mend="score these events again, one process after the other",
                )
            durable.write(self._path, state.to_bytes(self._event_log), mode=0o600)
