"""The review queue: two people answer each case, blind; a third decides where they do not agree.

Each case has two slots, which are lines of their own: to claim is to take a free one, so no slot
is ever served to two people at once, and nobody gets both of a case. A claim ends after a lease;
whoever claimed may still answer later, as long as nobody else has taken the slot. Every method
is one transaction.
"""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nethical.errors import UsageError
from nethical.governance import tables as t
from nethical.governance.case_views import (
    CLAIMED,
    FREE,
    SUBMITTED,
    WHICH,
    WHO,
    answers_to,
    find_case,
    find_slot,
    is_who,
    listed_case,
    shown,
    stamp,
    view_of,
)
from nethical.governance.entering import DUE, PLACES, enter_cases
from nethical.governance.figures import QueueFigures, queue_figures
from nethical.governance.retention import expire
from nethical.governance.reviews import (
    EMERGENCY,
    Answer,
    Case,
    CaseView,
    Claimed,
    Entered,
    Given,
    ListedCase,
    State,
    check_reviewer,
    is_same_person,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from nethical.governance.store import GovernanceStore

__all__ = ["DUE", "LEASE", "PLACES", "ReviewQueue"]

LEASE = timedelta(minutes=15)
PAGE = 200

case_, slot_, answer_ = t.review_case, t.review_slot, t.review_answer

# Built once: to put a statement together takes longer than to run it.
_NOW: sa.BindParameter[str] = sa.bindparam("now")
_OF_BOTH = sa.select(case_, slot_.c.slot_id, slot_.c.state.label("slot_state")).join(
    slot_, slot_.c.case_id == case_.c.case_id
)
_IS_FREE = sa.or_(
    slot_.c.state == FREE, sa.and_(slot_.c.state == CLAIMED, slot_.c.lease_until <= _NOW)
)
# What somebody who is still to answer may see; nothing else of a case is read for them.
_BLIND = [case_.c[name] for name in ("case_id", "name", "state", "severity", "created_at")]
_CLAIMABLE = _OF_BOTH.with_only_columns(*_BLIND, case_.c.features, case_.c.label, slot_.c.slot_id)
_HELD = (
    _CLAIMABLE.add_columns(sa.literal_column("0").label("turn"))
    .where(slot_.c.reviewer == WHO, slot_.c.state == CLAIMED)
    .order_by(case_.c.rank, case_.c.due_at, case_.c.case_id)
    .limit(1)
)
_of_them = slot_.alias("of_them")
_NEXT = (
    _CLAIMABLE.add_columns(sa.literal_column("1").label("turn"))
    .where(
        case_.c.state == State.OPEN.value,
        _IS_FREE,
        ~sa.exists().where(_of_them.c.case_id == case_.c.case_id, is_who(_of_them.c.reviewer)),
    )
    .order_by(case_.c.rank, case_.c.due_at, case_.c.case_id, slot_.c.place)
    .limit(1)
)
_each = [sa.select(found.subquery()) for found in (_HELD, _NEXT)]
_HELD_AND_NEXT = sa.union_all(*_each).order_by("turn")
_FREE = sa.select(slot_).where(slot_.c.case_id == WHICH, _IS_FREE).order_by(slot_.c.place).limit(1)
_mate, _said = slot_.alias("mate"), answer_.alias("said")
_OWN = (
    _OF_BOTH.add_columns(
        slot_.c.place, slot_.c.reviewer, *(c.label(f"said_{c.name}") for c in _said.c)
    )
    .outerjoin(
        _mate, sa.and_(_mate.c.case_id == case_.c.case_id, _mate.c.slot_id != slot_.c.slot_id)
    )
    .outerjoin(_said, _said.c.slot_id == _mate.c.slot_id)
    .where(slot_.c.case_id == WHICH, is_who(slot_.c.reviewer))
)
_THIS_SLOT = slot_.update().where(slot_.c.slot_id == sa.bindparam("slot"))
_TAKE = _THIS_SLOT.values(state=CLAIMED, reviewer=WHO, lease_until=sa.bindparam("until"))
_SUBMIT = _THIS_SLOT.values(state=SUBMITTED, submitted_at=sa.bindparam("at"))
_ANSWER = answer_.insert().inline()
_THIS_CASE = case_.update().where(case_.c.case_id == WHICH)
_DIFFER = _THIS_CASE.values(state=State.ADJUDICATING.value)
_CLOSE = _THIS_CASE.values(
    state=State.CLOSED.value, label=sa.bindparam("told"), closed_at=sa.bindparam("at")
)


class ReviewQueue:
    """The queue of a governance store.

    Args:
        store: Where cases are kept.
        clock: Returns the current UTC time.

    Raises:
        UsageError: What is asked is not allowed; raised by every method.
        DataError: What is written breaks a rule of the tables; likewise.
        StorageError: The store cannot be read or written; likewise.
    """

    def __init__(self, store: GovernanceStore, clock: Callable[[], datetime]) -> None:
        self.store = store
        self._clock = clock

    # --- cases come in ------------------------------------------------------------------------

    def enter(self, cases: Iterable[Case]) -> Entered:
        """Keep cases with two free slots each, all of them or none.

        A case that is there already is not asked about again; where its row was drawn at a
        larger share now, that is the probability at which it entered from now on.
        """
        now = self._clock()
        with self.store.writing() as db:
            return enter_cases(db, cases, now)

    # --- people answer ------------------------------------------------------------------------

    def claim(self, reviewer: str) -> Claimed | None:
        """Give a person the case that comes first, for a lease; None if there is none for them.

        First comes what they hold already, with a new lease, unless an emergency waits; then
        emergencies; then what is due first, and of that the more uncertain.
        """
        check_reviewer(reviewer)
        wanted = {"who": reviewer, "now": stamp(self._clock())}
        with self.store.writing() as db:
            rows = db.execute(_HELD_AND_NEXT, wanted).all()
            if not rows:
                return None
            found = next((row for row in rows if row.severity == EMERGENCY), rows[0])
            until = self._take(db, found.slot_id, reviewer)
        return Claimed(shown(found, {}, reviewer, CLAIMED), until)

    def held(self, reviewer: str) -> str | None:
        """Return the id of the case that a person has claimed and not answered, if any."""
        with self.store.reading() as db:
            found = db.execute(_HELD, {"who": reviewer}).first()
        return None if found is None else str(found.case_id)

    def release(self, case_id: str, reviewer: str) -> None:
        """Give a claimed case back unanswered.

        Raises:
            UsageError: This person holds no claim of it.
        """
        with self.store.writing() as db:
            slot = find_slot(db, case_id, reviewer)
            if slot is None or slot.state != CLAIMED:
                raise _not_yours(case_id, reviewer)
            db.execute(
                slot_.update()
                .where(slot_.c.slot_id == slot.slot_id)
                .values(state=FREE, reviewer=None, lease_until=None)
            )

    def submit(self, case_id: str, reviewer: str, answer: Answer) -> CaseView:
        """Keep a person's answer to a case that they claimed; from then on they see the model's.

        The same answer sent again is kept once.

        Raises:
            UsageError: They hold no claim of it, or answered something else already.
        """
        with self.store.writing() as db:
            return self._submit(db, case_id, reviewer, answer)

    def answer(self, case_id: str, reviewer: str, answer: Answer) -> CaseView:
        """Claim a certain case and answer it at once, as somebody who answered it elsewhere.

        Raises:
            UsageError: There is no such case, both slots are taken, or this person answered
                something else already.
        """
        check_reviewer(reviewer)
        now = stamp(self._clock())
        with self.store.writing() as db:
            case = find_case(db, case_id)
            slot = find_slot(db, case_id, reviewer)
            if slot is None:
                if case.state != State.OPEN:
                    raise UsageError(f"{case_id} is {case.state}", mend="answer another case")
                slot = db.execute(_FREE, {"which": case_id, "now": now}).first()
                if slot is None:
                    raise UsageError(
                        f"others answer {case_id}, or have answered it", mend="answer another case"
                    )
                self._take(db, slot.slot_id, reviewer)
            return self._submit(db, case_id, reviewer, answer)

    def _take(self, db: sa.Connection, slot_id: int, reviewer: str) -> str:
        """Make a slot somebody's, and return until when."""
        until = stamp(self._clock() + LEASE)
        db.execute(_TAKE, {"slot": slot_id, "who": reviewer, "until": until})
        return until

    def _submit(self, db: sa.Connection, case_id: str, reviewer: str, answer: Answer) -> CaseView:
        """Keep an answer to a slot that its reviewer holds, or answered alike already."""
        found = db.execute(_OWN, {"which": case_id, "who": reviewer}).first()
        if found is None:
            raise _not_yours(case_id, reviewer)
        if found.slot_state == SUBMITTED:
            if answers_to(db, case_id)[found.reviewer].answer != answer:
                raise UsageError(
                    f"{reviewer} answered {case_id} already", mend="claim the next case"
                )
            return view_of(db, case_id, reviewer)
        at = stamp(self._clock())
        reviewer = found.reviewer  # as they claimed it
        given = {"slot_id": found.slot_id, "reviewer": reviewer, "at": at, **_values(answer)}
        db.execute(_ANSWER, given)
        db.execute(_SUBMIT, {"slot": found.slot_id, "at": at})
        own, mate = Given(reviewer, at, answer), _mate_of(found)
        if mate is None:
            return shown(found, {reviewer: own}, reviewer, SUBMITTED)
        state, label = State.ADJUDICATING, None
        if answer.label is not None and answer.label == mate.answer.label:
            state, label = State.CLOSED, answer.label
            self._close(db, case_id, label)
        else:
            db.execute(_DIFFER, {"which": case_id})
        answers = (own, mate) if found.place == PLACES[0] else (mate, own)
        now = SimpleNamespace(**{**found._mapping, "state": state.value, "label": label})  # noqa: SLF001 - SQLAlchemy's public name for it
        return shown(now, {one.reviewer: one for one in answers}, reviewer, SUBMITTED)

    def _close(self, db: sa.Connection, case_id: str, label: bool | None) -> None:  # noqa: FBT001 - a value, not a choice
        values = {"told": label, "at": stamp(self._clock())}
        db.execute(_CLOSE, {"which": case_id, **values})

    def adjudicate(self, case_id: str, adjudicator: str, answer: Answer) -> CaseView:
        """Decide a case in which two people did not agree, or one was unsure.

        An adjudicator who is unsure closes it without a label. The same decision sent again is
        kept once.

        Raises:
            UsageError: It is not to be adjudicated, or this person answered it.
        """
        check_reviewer(adjudicator)
        with self.store.writing() as db:
            case = find_case(db, case_id)
            if case.state == State.CLOSED:
                seen = view_of(db, case_id, adjudicator)
                if _is_by(seen.adjudication, adjudicator, answer):
                    return seen
            if case.state != State.ADJUDICATING:
                raise UsageError(
                    f"{case_id} is {case.state}: there is nothing to adjudicate",
                    mend="see `nethical review list --state adjudicating`",
                )
            if any(is_same_person(adjudicator, name) for name in answers_to(db, case_id)):
                raise UsageError(
                    f"{adjudicator} answered {case_id}", mend="let a third person adjudicate it"
                )
            db.execute(
                t.adjudication.insert().values(
                    case_id=case_id,
                    adjudicator=adjudicator,
                    at=stamp(self._clock()),
                    **_values(answer),
                )
            )
            self._close(db, case_id, answer.label)
            return view_of(db, case_id, adjudicator)

    # --- looking ------------------------------------------------------------------------------

    def case(self, case_id: str, reviewer: str) -> CaseView:
        """Return a case as a person may see it.

        Raises:
            UsageError: There is none of that id.
        """
        with self.store.reading() as db:
            return view_of(db, case_id, reviewer)

    def listed(
        self,
        state: str | None = None,
        *,
        reviewer: str = "",
        name: str | None = None,
        limit: int = PAGE,
        offset: int = 0,
    ) -> list[ListedCase]:
        """Return cases without what a reviewer must not know: emergencies, then as they entered.

        Args:
            state: Of these alone; None for all.
            reviewer: For whom ``may`` is told.
            name: Of this model name alone.
            limit: At most so many.
            offset: After so many.
        """
        columns = [column for column in case_.c if column is not case_.c.features]
        last = sa.case((case_.c.severity == EMERGENCY, 0), else_=1)
        query = sa.select(*columns).order_by(last, case_.c.created_at, case_.c.case_id)
        if state is not None:
            query = query.where(case_.c.state == state)
        if name is not None:
            query = query.where(case_.c.name == name)
        with self.store.reading() as db:
            cases = db.execute(query.limit(limit).offset(offset)).all()
            slots = db.execute(
                sa.select(slot_).where(slot_.c.case_id.in_([case.case_id for case in cases]))
            ).all()
        by_case: dict[str, list[Any]] = {}
        for slot in slots:
            by_case.setdefault(slot.case_id, []).append(slot)
        return [listed_case(case, by_case[case.case_id], reviewer) for case in cases]

    def counts(self) -> dict[str, int]:
        """Return how many cases are open, adjudicating and closed."""
        with self.store.reading() as db:
            count = sa.func.count().label("n")
            query = sa.select(case_.c.state, count).group_by(case_.c.state)
            found = {row.state: row.n for row in db.execute(query)}
        return {state.value: found.get(state.value, 0) for state in State}

    def stats(self, name: str | None = None) -> QueueFigures:
        """Return how reviewing goes, of one model name or of all."""
        with self.store.reading() as db:
            return queue_figures(db, stamp(self._clock()), name=name)

    # --- retention ----------------------------------------------------------------------------

    def expire_features(self, before: datetime) -> int:
        """Delete the values and rationales of cases from before a time, and return of how many.

        Those are the cases that were closed before, those that entered before and are not
        closed yet, and those that were imported before. Digests, decisions and labels stay.
        """
        with self.store.writing() as db:
            return expire(db, before, self._clock())


def _values(answer: Answer) -> dict[str, Any]:
    return {
        "decision": answer.decision,
        "tags": list(answer.tags),
        "rationale": answer.rationale,
        "confidence": answer.confidence,
    }


def _mate_of(found: sa.Row[Any]) -> Given | None:
    """Return what the other reviewer of a case answered, None if they did not yet."""
    if found.said_reviewer is None:
        return None
    answer = Answer(
        found.said_decision,
        tuple(found.said_tags),
        found.said_rationale,
        found.said_confidence,
    )
    return Given(found.said_reviewer, found.said_at, answer)


def _is_by(given: Given | None, person: str, answer: Answer) -> bool:
    """Return whether an answer is there, and is this one of this person."""
    return given is not None and is_same_person(given.reviewer, person) and given.answer == answer


def _not_yours(case_id: str, reviewer: str) -> UsageError:
    return UsageError(
        f"{reviewer} holds no claim of {case_id}", mend="claim a case first, and answer that one"
    )
