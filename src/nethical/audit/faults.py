"""What is wrong with a stored log, as values that a command prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from nethical.audit.checkpoint import Checkpoint

__all__ = ["Examined", "Fault"]

_SHOWN = 5


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a log.

    Args:
        file: Path below the log's folder.
        index: Of the first entry that it touches, None when it is about no entry.
        kind: ``missing``, ``changed``, ``length``, ``not a file``, ``signature``, ``set back``,
            ``fork``, ``root``, ``not canonical`` or ``incomplete``; for warnings ``torn``,
            ``unfinished``, ``stray``, ``unsigned``, ``missing``, ``old``, ``clock`` or
            ``not ended``.
        what: What is wrong, in words.
    """

    file: str
    index: int | None
    kind: str
    what: str

    def __str__(self) -> str:
        """Return the fault as one line."""
        entry = "" if self.index is None else f", entry {self.index}"
        return f"{self.file}{entry}: {self.kind}: {self.what}"


@dataclass
class Examined:
    """What an examination of a log found.

    Args:
        limit: How many faults, and how many warnings, are kept.
        checkpoint: What the checkpoint says, None when it cannot be read.
        unsealed: Number of entries that were acknowledged but not sealed yet.
        checkpoints: How many earlier checkpoints of the log were found to fit it.
        anchored_size: Size of the largest checkpoint known from elsewhere that fits, None when
            there is none.
        fault_count: How many faults there are.
        faults: The first of them.
        warnings: What is no fault, but should be known.
    """

    limit: int
    checkpoint: Checkpoint | None = None
    unsealed: int = 0
    checkpoints: int = 0
    anchored_size: int | None = None
    fault_count: int = 0
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Return whether there is no fault."""
        return not self.fault_count

    def fault(self, file: str, index: int | None, kind: str, what: str) -> None:
        """Note a fault; beyond the limit they are counted only."""
        self.fault_count += 1
        if len(self.faults) < self.limit:
            self.faults.append(Fault(file, index, kind, what))

    def warn(self, file: str, index: int | None, kind: str, what: str) -> None:
        """Note what is no fault; beyond the limit it is dropped."""
        if len(self.warnings) < self.limit:
            self.warnings.append(Fault(file, index, kind, what))

    def check(self) -> None:
        """Raise if there is a fault.

        Raises:
            IntegrityError: Names the first faults.
        """
        if self.sound:
            return
        shown = "; ".join(map(str, self.faults[:_SHOWN]))
        rest = self.fault_count - _SHOWN
        more = f"; and {rest} more" if rest > 0 else ""
        raise IntegrityError(
            f"the log is not what was signed: {shown}{more}",
            mend="keep the folder as evidence, and restore the log from a copy",
        )
