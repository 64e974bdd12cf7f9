"""What waits for approval, and who may approve: somebody else than who proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nethical.errors import UsageError
from nethical.gate import Verdict
from nethical.governance import tables as t
from nethical.governance.configurations import Status
from nethical.governance.people import People
from nethical.governance.store import in_production

if TYPE_CHECKING:
    from nethical.governance.store import GovernanceStore

__all__ = ["awaiting", "check_approver", "last_reports", "proposers"]

DECIDED = {Verdict.PASS.value, Verdict.FAIL.value}


def last_reports(store: GovernanceStore, configuration_id: str | None = None) -> list[Any]:
    """Return what the gate said last of each configuration under each name, oldest first.

    A report that came to no decision takes nothing back.

    Args:
        store: Where reports are kept.
        configuration_id: Of this one alone; None for all.
    """
    last: dict[tuple[str, str], Any] = {}
    for report in store.reports(configuration_id):
        if report.verdict in DECIDED:
            last.pop((report.name, report.candidate), None)
            last[report.name, report.candidate] = report
    return list(last.values())


def awaiting(store: GovernanceStore) -> list[Any]:
    """Return the report of each configuration that may be promoted, the newest first.

    It passed last, against what is in production now, and was not rejected since.
    """
    events = store.events()
    status = {(event.name, event.configuration_id): event.to_status for event in events}
    by_name: dict[str, list[Any]] = {}
    for event in events:
        by_name.setdefault(event.name, []).append(event)
    now = {name: in_production(moves) for name, moves in by_name.items()}
    return [
        report
        for report in last_reports(store)[::-1]
        if report.verdict == Verdict.PASS.value
        and (current := now.get(report.name)) is not None
        and current.model_id == report.baseline_model
        and status.get((report.name, report.candidate)) != Status.REJECTED.value
    ]


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

    Where nobody was added to the store there is nobody else to ask, and nothing is refused.

    Raises:
        UsageError: They did.
    """
    if People(store).listed() and approver in proposers(store, configuration_id, judged_by):
        raise UsageError(
            f"{approver} proposed {configuration_id}, and nobody approves an own proposal",
            mend="let another approver promote it",
        )
