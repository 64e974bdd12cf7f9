"""The governance store: configurations, trials, attempts, reports, moves and reviewed cases.

A SQL database (SQLite in a folder, or any other by its URL). What is in production is not kept
here: the registry's ``current`` says that, and the last move of a name is completed from it.
Moves form one chain a name: each tells the number of the one before it, and no two may follow
the same one, so whoever judged a state that is no longer there is refused.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import exc

from nethical import durable
from nethical.canonical import canonical_json, digest
from nethical.errors import DataError, IntegrityError, StorageError, UsageError
from nethical.governance import tables as t
from nethical.governance.configurations import Configuration, Status, check_move

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

__all__ = ["Event", "GovernanceStore", "Move", "database_url", "in_production"]

DATABASE = "governance.db"
VERSION_TABLE = "nethical_schema"
HEAD = "0001"
LOCKED_SECONDS = 60
FIRST = 0

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


def database_url(place: str) -> str:
    """Return the URL of a store: of a folder its SQLite file, of a URL itself."""
    return place if "://" in place else f"sqlite:///{Path(place).absolute() / DATABASE}"


class GovernanceStore:
    """A governance store.

    Args:
        place: A folder, or the URL of a database.
        clock: Returns the current UTC time.

    Raises:
        StorageError: It cannot be read or written, or a newer release made it.
        IntegrityError: It is no store, or is damaged.
    """

    def __init__(self, place: str | Path, clock: Callable[[], datetime]) -> None:
        self.url = database_url(str(place))
        self._clock = clock
        self._path = Path(self.url.removeprefix("sqlite:///")) if self.is_sqlite else None
        self._engine = sa.create_engine(self.url, connect_args=self._connect_args())
        if self.is_sqlite:
            sa.event.listen(self._engine, "connect", _set_up_sqlite)
            sa.event.listen(self._engine, "begin", _begin_immediate)
        self._is_open = False

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of SQLite."""
        return self.url.startswith("sqlite:///")

    def _connect_args(self) -> dict[str, Any]:
        return {"timeout": LOCKED_SECONDS, "isolation_level": None} if self.is_sqlite else {}

    def __str__(self) -> str:
        """Return where it is, without a password."""
        return str(self._path) if self._path else self._engine.url.render_as_string()

    def now(self) -> str:
        """Return the current UTC time as it is stored."""
        return f"{self._clock():%Y-%m-%dT%H:%M:%S.%fZ}"

    # --- the schema ---------------------------------------------------------------------------

    def version(self) -> str | None:
        """Return the version of its schema, None where there is none yet."""
        if self._path is not None and (not self._path.exists() or not self._path.stat().st_size):
            return None
        with self._explained("read"), self._engine.connect() as db:
            if not sa.inspect(db).has_table(VERSION_TABLE):
                if sa.inspect(db).get_table_names():
                    raise IntegrityError(
                        f"{self} holds tables of something else",
                        mend="name another folder with --phase89-storage",
                    )
                return None
            return db.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - our own name

    def upgrade(self) -> str | None:
        """Bring the schema to this release's, and return the version that it had.

        Raises:
            StorageError: A newer release made it.
        """
        if self._path is not None:
            durable.make_folder(self._path.parent)
            if not self._path.exists():
                with self._explained("create"):
                    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
                    os.close(os.open(self._path, flags, 0o600))
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._explained("write"), self._engine.begin() as db:
            had = self._version_in(db)
            self._refuse_newer(had)
            config.attributes["connection"] = db
            command.upgrade(config, "head")
        return had

    def _version_in(self, db: sa.Connection) -> str | None:
        if not sa.inspect(db).has_table(VERSION_TABLE):
            return None
        return db.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - our own name

    def _refuse_newer(self, version: str | None) -> None:
        if version is not None and version > HEAD:
            raise StorageError(
                f"{self} has schema {version}; this release knows {HEAD}",
                mend="use the release of nethical that made it, or name another store",
            )

    def check(self) -> None:
        """Refuse a store whose schema is not this release's; make one where there is none.

        Raises:
            StorageError: Another release made it.
        """
        if self._is_open:
            return
        version = self.version()
        if version is None:
            self.upgrade()
        else:
            self._refuse_newer(version)
            if version != HEAD:
                raise StorageError(
                    f"{self} has schema {version}; this release needs {HEAD}",
                    mend="run `nethical govern db upgrade`",
                )
        self._is_open = True

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the store."""
        self.check()
        with self._explained("read"), self._engine.connect() as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give a transaction; it is on the disk when the block has ended."""
        self.check()
        with self._explained("write"), self._engine.begin() as db:
            yield db

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"cannot {verb} {self}: {error.strerror or error}",
                mend="check the path, its permissions and the free space, then run again",
            ) from error
        except (exc.OperationalError, exc.InterfaceError) as error:
            raise StorageError(
                f"cannot {verb} {self}: {error.orig}",
                mend="check its permissions, the free space and who else writes, then run again",
            ) from error
        except exc.IntegrityError:
            raise
        except exc.DatabaseError as error:
            raise IntegrityError(
                f"{self} is no governance store, or is damaged: {error.orig}",
                mend="restore it from a copy, or name another one",
            ) from error

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
                _append(db, name, moved, self.now())
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
        ids = [case["case_id"] for case in cases]
        with self.writing() as db:
            known = set(db.execute(sa.select(t.reviewed_case.c.case_id)).scalars())
            twice = next((one for one in ids if one in known or ids.count(one) > 1), None)
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
        """Return every table as JSON values, in the order of their keys."""
        with self.reading() as db:
            return {
                table.name: [
                    dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
                    for row in db.execute(sa.select(table).order_by(*table.primary_key.columns))
                ]
                for table in t.metadata.sorted_tables
            }


def in_production(events: Sequence[Event]) -> Event | None:
    """Return the move that put into production what is there by a chain; None if nothing is."""
    last = None
    for event in events:
        if event.to_status == Status.PRODUCTION.value:
            last = event
        elif last is not None and event.configuration_id == last.configuration_id:
            last = None
    return last


def _append(db: sa.Connection, name: str, moved: Move, at: str) -> int:
    """Append a move to the chain of a name."""
    events = t.configuration_event
    last = db.execute(sa.select(sa.func.max(events.c.number)).where(events.c.name == name)).scalar()
    old = db.execute(
        sa.select(events.c.to_status)
        .where(events.c.name == name, events.c.configuration_id == moved.configuration_id)
        .order_by(events.c.number.desc())
        .limit(1)
    ).scalar()
    before = Status(old or Status.CANDIDATE)
    if before != moved.new:  # the same configuration, by another model
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


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - of the driver
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = DELETE")
    cursor.execute("PRAGMA synchronous = EXTRA")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
