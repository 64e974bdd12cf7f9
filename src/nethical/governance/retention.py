"""What is old is deleted: the values of a case, and what people wrote about them.

A rationale may quote the text of its case, so it goes with it. What stays is the digest of the
row, who decided what and when, the label, and the digest of each answer in the audit log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from nethical.governance import tables as t
from nethical.governance.case_views import CLAIMED, FREE, stamp
from nethical.governance.reviews import State

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["expire"]

case_, slot_, answer_, third_ = t.review_case, t.review_slot, t.review_answer, t.adjudication
imported_ = t.reviewed_case


def expire(db: sa.Connection, before: datetime, now: datetime) -> int:
    """Delete the values and rationales of cases from before a time, and return of how many.

    Those are the cases that were closed before; those that entered before and are not closed
    yet, which nobody can answer any more, so they are closed without a label; and those that
    were imported before.
    """
    limit = stamp(before)
    unfinished = sa.and_(case_.c.state != State.CLOSED.value, case_.c.created_at < limit)
    due = sa.or_(unfinished, case_.c.closed_at < limit)
    held = sa.select(sa.func.count()).select_from(case_)
    n = int(db.execute(held.where(due, case_.c.features.is_not(sa.null()))).scalar() or 0)
    stale = sa.select(case_.c.case_id).where(unfinished)
    db.execute(
        slot_.update()
        .where(slot_.c.state == CLAIMED, slot_.c.case_id.in_(stale))
        .values(state=FREE, reviewer=None, lease_until=None)
    )
    old = sa.select(case_.c.case_id).where(due)
    slots = sa.select(slot_.c.slot_id).where(slot_.c.case_id.in_(old))
    for table, of_them in (
        (answer_, answer_.c.slot_id.in_(slots)),
        (third_, third_.c.case_id.in_(old)),
    ):
        db.execute(table.update().where(of_them, table.c.rationale != "").values(rationale=""))
    db.execute(
        case_.update().where(due, case_.c.features.is_not(sa.null())).values(features=sa.null())
    )
    closed = {"state": State.CLOSED.value, "closed_at": stamp(now)}
    db.execute(case_.update().where(unfinished).values(closed))
    return n + _expire_imported(db, limit)


def _expire_imported(db: sa.Connection, limit: str) -> int:
    """Empty the values of imported cases: by when they came, the only time that is ours."""
    query = sa.select(imported_.c.case_id, imported_.c.features).where(
        imported_.c.imported_at < limit
    )
    old = [row.case_id for row in db.execute(query) if row.features]
    if old:
        which: sa.BindParameter[str] = sa.bindparam("which")
        db.execute(
            imported_.update().where(imported_.c.case_id == which).values(features={}),
            [{"which": case_id} for case_id in old],
        )
    return len(old)
