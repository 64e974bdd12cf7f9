"""The governance store: configurations, trials, attempts, reports, moves and reviewed cases.

A SQL database (SQLite in a folder, or any other by its URL). What is in production is not kept
here: the registry's ``current`` says that, and the last move of a name is completed from it.
Moves form one chain a name: each tells the number of the one before it, and no two may follow
the same one, so whoever judged a state that is no longer there is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nethical.canonical import canonical_json, digest
from nethical.errors import DataError, IntegrityError, UsageError
from nethical.governance import tables as t
from nethical.governance.configurations import Configuration, Status, check_move
from nethical.governance.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

__all__ = ["Event", "GovernanceStore", "Move", "in_production", "models_needed"]

FIRST = 0
PASSED = "PASS"

Event = sa.Row[Any]


@dataclass(frozen=True)
class Move:
    """A configuration becomes something else.

    Args:
        configuration_id: What moves.
        new: What it becomes.
        model_id: The model that stands for it.
        actor: Who moved it.
        reason: Why.
        gate_report: The report that it rests on, or None.
    """

    configuration_id: str
    new: Status
    model_id: str
    actor: str
    reason: str
    gate_report: int | None = None


class GovernanceStore(Database):
    """A governance store.

    Args:
        place: A folder, or the URL of a database.
        clock: Returns the current UTC time.

    Raises:
        UsageError: The URL cannot be read, or its driver is not installed.
        DataError: What is written breaks a rule of the tables; raised by every method.
        StorageError: It cannot be read or written, or a newer release made it; likewise.
        IntegrityError: It is no store, or is damaged; likewise.
    """

    # --- configurations -----------------------------------------------------------------------

    def add(self, configuration: Configuration, *, by: str) -> str:
        """Keep a configuration, if it is not there yet, and return its id."""
        decision = configuration.decision
        values = {
            "configuration_id": configuration.configuration_id,
            "digest": configuration.digest,
            "model_type": configuration.model_type,
            "training": dict(configuration.training),
            "decision": dict(decision),
            "classifier_threshold": decision["classifier_threshold"],
            "gray_zone_lower": decision["gray_zone_lower"],
            "gray_zone_upper": decision["gray_zone_upper"],
            "created_at": self.now(),
            "created_by": by,
        }
        with self.writing() as db:
            known = sa.select(t.configuration.c.digest).where(
                t.configuration.c.configuration_id == configuration.configuration_id
            )
            held = db.execute(known).scalar()
            if held is None:
                db.execute(t.configuration.insert().values(values))
            elif held != configuration.digest:
                raise IntegrityError(
                    f"{configuration.configuration_id} is another configuration in {self}",
                    mend="restore the store from a copy",
                )
        return configuration.configuration_id

    def find(self, configuration_id: str) -> Configuration:
        """Return a configuration.

        Raises:
            UsageError: There is none of that id, or its beginning fits several.
        """
        column = t.configuration.c.configuration_id
        with self.reading() as db:
            rows = db.execute(
                sa.select(t.configuration).where(
                    column.startswith(configuration_id, autoescape=True)
                )
            ).all()
        exact = [row for row in rows if row.configuration_id == configuration_id] or rows
        if len(exact) != 1:
            what = "no configuration" if not exact else f"{len(exact)} configurations"
            raise UsageError(
                f"there is {what} {configuration_id!r} in {self}",
                mend="name one that `nethical govern configs` shows",
            )
        (row,) = exact
        return Configuration(row.model_type, row.training, row.decision)

    def configurations(self) -> list[Any]:
        """Return every configuration, the newest first."""
        with self.reading() as db:
            query = sa.select(t.configuration).order_by(t.configuration.c.created_at.desc())
            return list(db.execute(query).all())

    def record_evaluation(self, values: Mapping[str, Any]) -> None:
        """Keep what was measured of a configuration."""
        with self.writing() as db:
            db.execute(t.evaluation.insert().values({**values, "at": self.now()}))

    def evaluations(self, configuration_id: str | None = None) -> list[Any]:
        """Return what was measured, of one configuration or of all, the oldest first."""
        query = sa.select(t.evaluation).order_by(t.evaluation.c.number)
        if configuration_id is not None:
            query = query.where(t.evaluation.c.configuration_id == configuration_id)
        with self.reading() as db:
            return list(db.execute(query).all())

    # --- moves --------------------------------------------------------------------------------

    def events(self, name: str | None = None) -> list[Any]:
        """Return the moves, of one model name or of all, the oldest first."""
        query = sa.select(t.configuration_event).order_by(t.configuration_event.c.number)
        if name is not None:
            query = query.where(t.configuration_event.c.name == name)
        with self.reading() as db:
            return list(db.execute(query).all())

    def statuses(self) -> dict[str, str]:
        """Return the last status of each configuration under any name, production first."""
        last = {(event.name, event.configuration_id): event.to_status for event in self.events()}
        found: dict[str, str] = {}
        for (_, configuration_id), status in last.items():
            if found.get(configuration_id) != Status.PRODUCTION.value:
                found[configuration_id] = status
        return found

    def move(self, name: str, moved: Move) -> int:
        """Record a move that does not touch production, to shadow or rejected; return its number.

        Raises:
            UsageError: The move is not in the table, or is one that the registry makes.
        """
        if moved.new in {Status.PRODUCTION, Status.DEPRECATED}:
            raise UsageError(
                f"what is {moved.new} follows from the registry",
                mend="use `nethical govern promote` or `nethical govern rollback`",
            )
        with self.writing() as db:
            return _append(db, name, moved, self.now())

    def check_production(self, name: str, configuration_id: str) -> None:
        """Refuse a configuration that may not go into production under a name.

        Raises:
            UsageError: It was rejected.
        """
        mine = [e for e in self.events(name) if e.configuration_id == configuration_id]
        before = Status(mine[-1].to_status) if mine else Status.CANDIDATE
        if before != Status.PRODUCTION:
            check_move(before, Status.PRODUCTION)

    def reconcile(self, name: str, look: Callable[[], Move | None]) -> list[Move]:
        """Complete the chain of a name from what is in production, and return what was added.

        Args:
            name: The model name.
            look: Returns what is in production now, as the move that put it there, or None. It
                is asked inside the transaction, so of several who complete at once the last one
                sees the last state.
        """
        with self.writing() as db:
            events = list(
                db.execute(
                    sa.select(t.configuration_event)
                    .where(t.configuration_event.c.name == name)
                    .order_by(t.configuration_event.c.number)
                )
            )
            told, now = in_production(events), look()
            if (told and told.model_id) == (now and now.model_id):
                return []
            moves = []
            if told is not None:
                actor, reason = (now.actor, now.reason) if now else ("", "nothing is in production")
                moves.append(
                    Move(told.configuration_id, Status.DEPRECATED, told.model_id, actor, reason)
                )
            if now is not None:
                moves.append(now)
            for moved in moves:
                _append(db, name, _linked(db, moved), self.now(), is_told=True)
        return moves

    # --- the gate -----------------------------------------------------------------------------

    def attempt(self, gate_digest: str, configuration_id: str) -> int:
        """Return which attempt on a gate part a configuration is, from 1; it is kept.

        The same configuration again is the same attempt.
        """
        attempts = t.attempt
        with self.writing() as db:
            same = attempts.c.gate_digest == gate_digest
            known = db.execute(
                sa.select(attempts.c.k).where(same, attempts.c.configuration_id == configuration_id)
            ).scalar()
            if known is not None:
                return int(known)
            k = int(db.execute(sa.select(sa.func.count()).where(same)).scalar() or 0) + 1
            db.execute(
                attempts.insert().values(
                    gate_digest=gate_digest, k=k, configuration_id=configuration_id, at=self.now()
                )
            )
        return k

    def record_report(self, values: Mapping[str, Any]) -> int:
        """Keep a gate report and return its number."""
        with self.writing() as db:
            found = db.execute(t.gate_report.insert().values({**values, "at": self.now()}))
            return _number(found)

    def reports(self, configuration_id: str | None = None) -> list[Any]:
        """Return gate reports, of one candidate or of all, the oldest first."""
        query = sa.select(t.gate_report).order_by(t.gate_report.c.number)
        if configuration_id is not None:
            query = query.where(t.gate_report.c.candidate == configuration_id)
        with self.reading() as db:
            return list(db.execute(query).all())

    # --- studies ------------------------------------------------------------------------------

    def open_study(
        self, name: str, technique: str, iterations: int, identity: Mapping[str, Any]
    ) -> str:
        """Return the id of a study, which is kept if it is new: the same search is the same one."""
        document = {
            "name": name,
            "technique": technique,
            "iterations": iterations,
            "identity": dict(identity),
        }
        study_id = digest(canonical_json(document))
        with self.writing() as db:
            known = sa.select(t.study.c.study_id).where(t.study.c.study_id == study_id)
            if db.execute(known).scalar() is None:
                db.execute(
                    t.study.insert().values(study_id=study_id, created_at=self.now(), **document)
                )
        return study_id

    def studies(self) -> list[Any]:
        """Return the searches, the newest first."""
        with self.reading() as db:
            return list(db.execute(sa.select(t.study).order_by(t.study.c.created_at.desc())).all())

    def trials(self, study_id: str) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
        """Return parameters and outcome of each trial of a study that is done, by its number."""
        query = sa.select(t.trial).where(t.trial.c.study_id == study_id).order_by(t.trial.c.number)
        with self.reading() as db:
            return {row.number: (row.parameters, row.outcome) for row in db.execute(query)}

    def record_trials(
        self, study_id: str, found: Sequence[tuple[int, Mapping[str, Any], Mapping[str, Any]]]
    ) -> None:
        """Keep trials that are done: number, parameters, outcome; what is there stays."""
        with self.writing() as db:
            for number, parameters, outcome in found:
                held = sa.select(t.trial.c.number).where(
                    t.trial.c.study_id == study_id, t.trial.c.number == number
                )
                if db.execute(held).scalar() is None:
                    db.execute(
                        t.trial.insert().values(
                            study_id=study_id,
                            number=number,
                            parameters=dict(parameters),
                            outcome=dict(outcome),
                            at=self.now(),
                        )
                    )

    # --- reviewed cases -----------------------------------------------------------------------

    def import_cases(self, cases: Sequence[Mapping[str, Any]]) -> int:
        """Keep reviewed cases, all of them or none, and return how many.

        Raises:
            DataError: One of them is there already, or is given twice.
        """
        given = Counter(case["case_id"] for case in cases)
        with self.writing() as db:
            known = set(db.execute(sa.select(t.reviewed_case.c.case_id)).scalars())
            twice = next((one for one, n in given.items() if n > 1 or one in known), None)
            if twice is not None:
                raise DataError(
                    f"case {twice!r} is in {self} already, or twice in the file",
                    mend="give each case once",
                )
            at = self.now()
            if cases:
                db.execute(
                    t.reviewed_case.insert(), [{**case, "imported_at": at} for case in cases]
                )
        return len(cases)

    def cases(self, name: str) -> list[Any]:
        """Return the reviewed cases of a model name, in the order of their ids."""
        query = (
            sa.select(t.reviewed_case)
            .where(t.reviewed_case.c.name == name)
            .order_by(t.reviewed_case.c.case_id)
        )
        with self.reading() as db:
            return list(db.execute(query).all())

    # --- all of it ----------------------------------------------------------------------------

    def export(self) -> dict[str, list[dict[str, Any]]]:
        """Return every table as JSON values, in the order of their keys; no secret is in it."""
        with self.reading() as db:
            return {
                table.name: [
                    dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
                    for row in db.execute(
                        sa.select(*_told(table)).order_by(*table.primary_key.columns)
                    )
                ]
                for table in t.metadata.sorted_tables
            }


def _told(table: sa.Table) -> list[sa.Column[Any]]:
    """Return the columns that are no secret."""
    return [column for column in table.columns if not column.info.get(t.HIDDEN)]


def in_production(events: Sequence[Event]) -> Event | None:
    """Return the move that put into production what is there by a chain; None if nothing is."""
    last = None
    for event in events:
        if event.to_status == Status.PRODUCTION.value:
            last = event
        elif last is not None and event.configuration_id == last.configuration_id:
            last = None
    return last


def models_needed(store: GovernanceStore, production: Collection[str]) -> set[str]:
    """Return the models that a promotion may still need: of shadows, and of open reports.

    Args:
        store: Where they are told of.
        production: The models that are in production: a report is open where it says PASS
            against one of them, unless its configuration was rejected.
    """
    last = {(event.name, event.configuration_id): event for event in store.events()}
    shadows = {e.model_id for e in last.values() if e.to_status == Status.SHADOW.value}
    rejected = {key for key, e in last.items() if e.to_status == Status.REJECTED.value}
    return shadows | {
        one.candidate_model
        for one in store.reports()
        if one.verdict == PASSED
        and one.baseline_model in production
        and (one.name, one.candidate) not in rejected
    }


def _linked(db: sa.Connection, moved: Move) -> Move:
    """Return a move without a report that this store does not have, as one that was lost had."""
    report = t.gate_report
    model = sa.select(report.c.candidate_model).where(report.c.number == moved.gate_report)
    is_ours = moved.gate_report is not None and db.execute(model).scalar() == moved.model_id
    return moved if is_ours else replace(moved, gate_report=None)


def _append(db: sa.Connection, name: str, moved: Move, at: str, *, is_told: bool = False) -> int:
    """Append a move to the chain of a name.

    Args:
        db: The transaction.
        name: The model name.
        moved: The move.
        at: When.
        is_told: It has happened in the registry, and is written down whatever the table of
            moves says: a person may have put back what was rejected.
    """
    events = t.configuration_event
    last = db.execute(sa.select(sa.func.max(events.c.number)).where(events.c.name == name)).scalar()
    old = db.execute(
        sa.select(events.c.to_status, events.c.model_id)
        .where(events.c.name == name, events.c.configuration_id == moved.configuration_id)
        .order_by(events.c.number.desc())
        .limit(1)
    ).first()
    before = Status(old.to_status if old else Status.CANDIDATE)
    by_another_model = old is not None and old.model_id != moved.model_id
    if not is_told and (before != moved.new or not by_another_model):
        check_move(before, moved.new)
    found = db.execute(
        events.insert().values(
            configuration_id=moved.configuration_id,
            name=name,
            from_status=before.value,
            to_status=moved.new.value,
            model_id=moved.model_id,
            previous=FIRST if last is None else last,
            gate_report=moved.gate_report,
            actor=moved.actor,
            reason=moved.reason,
            at=at,
        )
    )
    return _number(found)


def _number(found: sa.CursorResult[Any]) -> int:
    """Return the number that a new line got."""
    key = found.inserted_primary_key
    if key is None:
        raise TypeError("the line got no number")
    return int(key[0])
