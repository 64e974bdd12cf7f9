"""Who may approve: somebody else than who proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from nethical.errors import UsageError
from nethical.governance import tables as t

if TYPE_CHECKING:
    from nethical.governance.store import GovernanceStore

__all__ = ["check_approver", "proposers"]


def proposers(store: GovernanceStore, configuration_id: str, judged_by: str) -> frozenset[str]:
    """Return who proposed a configuration: who made it, and who had it judged."""
    made = sa.select(t.configuration.c.created_by).where(
        t.configuration.c.configuration_id == configuration_id
    )
    with store.reading() as db:
        return frozenset({judged_by, *db.execute(made).scalars()})


def check_approver(
    store: GovernanceStore, configuration_id: str, judged_by: str, approver: str
) -> None:
    """Refuse an approval by somebody who proposed the configuration.

    Raises:
        UsageError: They did.
    """
    if approver in proposers(store, configuration_id, judged_by):
        raise UsageError(
            f"{approver} proposed {configuration_id}, and nobody approves an own proposal",
            mend="let another approver promote it",
        )
