"""What can go wrong, as one tree; the leaf decides the exit code.

    NethicalError
    ├── UsageError        2    the command or its flags
    ├── RefusedError      3    a gate refused, and the caller asked to fail on it
    ├── DataError         4    the data, or the source it should come from
    ├── TrainingError     5    fitting, or the space and rights it needs
    │   └── StorageError  5    reading or writing files
    └── IntegrityError    6    something stored is not what was signed

Each error says what is wrong and where, and how to mend it, in one line each. An exception
that is none of these is a bug of ours (exit code 1).
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "DataError",
    "IntegrityError",
    "NethicalError",
    "RefusedError",
    "StorageError",
    "TrainingError",
    "UsageError",
]


class NethicalError(Exception):
    """An error that explains itself.

    Args:
        what: What is wrong, and where (file, column, row, flag).
        mend: How to mend it, as one imperative sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, mend: str) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend


class UsageError(NethicalError):
    """The command line or the arguments of a call do not fit together."""

    exit_code = 2


class RefusedError(NethicalError):
    """A gate refused the model and the caller asked for that to be an error."""

    exit_code = 3


class DataError(NethicalError):
    """The data cannot be had, read or understood."""

    exit_code = 4


class TrainingError(NethicalError):
    """The model could not be fitted."""

    exit_code = 5


class StorageError(TrainingError):
    """A file could not be read or written."""


class IntegrityError(NethicalError):
    """Something stored is not what was signed."""

    exit_code = 6
