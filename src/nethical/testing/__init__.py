"""The kit that every model type and every governance store has to pass, ours and those of others.

>>> from nethical.testing import check_model
>>> check_model("heuristic")  # doctest: +SKIP

or, one test a promise, with pytest:

    @pytest.mark.parametrize("check", model_checks("centroid"), ids=lambda check: check.name)
    def test_my_type(check):
        check()

A store is checked on any database: ``check_store(lambda: GovernanceStore(url, clock))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.testing.cases import Case
from nethical.testing.checks import CHECKS
from nethical.testing.promises import BrokenPromiseError
from nethical.testing.stores import StoreCheck, check_store, store_checks

if TYPE_CHECKING:
    from nethical.testing.checks import Check

__all__ = [
    "BrokenPromiseError",
    "ModelCheck",
    "StoreCheck",
    "check_model",
    "check_store",
    "model_checks",
    "store_checks",
]


@dataclass(frozen=True)
class ModelCheck:
    """One promise, to be checked of one model type by calling it.

    Args:
        name: The promise, as words joined by underscores.
        case: The type under check; shared by its checks, so that each table is fitted once.
        check: What looks.
    """

    name: str
    case: Case
    check: Check

    def __call__(self) -> None:
        """Check.

        Raises:
            BrokenPromiseError: The type does not keep it; says on which table and row.
        """
        try:
            self.check(self.case)
        except BrokenPromiseError as error:
            raise BrokenPromiseError(f"{self.case.model_type}: {self.name}: {error}") from error


def model_checks(model_type: str) -> tuple[ModelCheck, ...]:
    """Return every check of a model type.

    Args:
        model_type: Its name, built in or by an entry point of the group ``nethical.models``.

    Raises:
        UsageError: There is no such type.
    """
    case = Case(model_type)
    return tuple(ModelCheck(check.__name__, case, check) for check in CHECKS)


def check_model(model_type: str) -> None:
    """Check everything that a model type owes.

    Args:
        model_type: Its name, built in or by an entry point of the group ``nethical.models``.

    Raises:
        UsageError: There is no such type.
        BrokenPromiseError: It does not keep a promise.
    """
    for check in model_checks(model_type):
        check()
