"""The store of cohorts: what was measured of each run, kept between runs and processes.

One SQLite file in the folder of the drift reports. Everything is written in one transaction
that is on the disk before it is acknowledged; a kill leaves the store as it was before, or after.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import zlib
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nethical import durable
from nethical.canonical import canonical_json, digest
from nethical.drift.cells import Summary, merged
from nethical.errors import DataError, IntegrityError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

__all__ = ["Cohort", "CohortRun", "Cohorts", "Look", "NewRun", "check_id", "cohort_id_of"]

DATABASE = "cohorts.db"
SCHEMA_VERSION = 1
COHORT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LOCKED_SECONDS = 60.0
TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE cohort (
    cohort_id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE run (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    cohort_id TEXT NOT NULL REFERENCES cohort (cohort_id),
    run_id TEXT NOT NULL,
    model TEXT NOT NULL,
    model_digest TEXT NOT NULL,
    process TEXT NOT NULL,
    rows_digest TEXT NOT NULL,
    rows_path TEXT NOT NULL,
    details TEXT NOT NULL,
    added_at TEXT NOT NULL,
    cells_digest TEXT NOT NULL,
    cells BLOB NOT NULL,
    UNIQUE (cohort_id, rows_digest, model_digest, run_id)
) STRICT;
CREATE TABLE reference (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    cohort_id TEXT NOT NULL REFERENCES cohort (cohort_id),
    horizon INTEGER NOT NULL CHECK (horizon >= 1),
    set_at TEXT NOT NULL
) STRICT;
CREATE TABLE look (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    reference_id TEXT NOT NULL,
    reference_set_at TEXT NOT NULL,
    runs TEXT NOT NULL,
    look INTEGER NOT NULL,
    alpha REAL NOT NULL,
    verdict TEXT NOT NULL,
    report_id TEXT NOT NULL,
    at TEXT NOT NULL,
    UNIQUE (reference_id, reference_set_at, look)
) STRICT;
"""


@dataclass(frozen=True)
class NewRun:
    """A run of scored rows, to be added to a cohort.

    Args:
        run_id: Its name; the run that trained, or the digest of what was scored.
        model: The model that scored, by id or as the user calls it.
        model_digest: The same for models that decide alike, byte for byte.
        process: The same for models that one way of training made, whatever seed and rows.
        rows_digest: Of the set of rows, whatever scored them.
        rows_path: Where their digests and scores lie: a bundle, or a file under ``rows/``.
        summary: The cells.
        details: JSON values for people: source, threshold, limits, violations, seed.
    """

    run_id: str
    model: str
    model_digest: str
    process: str
    rows_digest: str
    rows_path: str
    summary: Summary
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CohortRun(NewRun):
    """A run as it is stored, with when it was added and the digest of its cells."""

    added_at: str = ""
    cells_digest: str = ""


@dataclass(frozen=True)
class Cohort:
    """A named set of runs."""

    cohort_id: str
    label: str
    created_at: str
    runs: tuple[CohortRun, ...]

    @cached_property
    def counted(self) -> tuple[CohortRun, ...]:
        """The runs whose rows count: the same rows by the same model say nothing twice."""
        return tuple({(r.rows_digest, r.model_digest): r for r in reversed(self.runs)}.values())[
            ::-1
        ]

    @cached_property
    def summary(self) -> Summary:
        """The cells of all rows that count."""
        return merged([run.summary for run in self.counted])

    @property
    def models(self) -> tuple[str, ...]:
        """The digests of its models, each once, in the order of adding."""
        return tuple(dict.fromkeys(run.model_digest for run in self.runs))

    @property
    def is_calibrated(self) -> bool:
        """Whether its scores are probabilities; percentiles are not."""
        return all(run.details.get("is_calibrated", True) for run in self.runs)

    def of_model(self, model_digest: str) -> Cohort:
        """Return the cohort with the runs of one of its models."""
        return replace(
            self, runs=tuple(run for run in self.runs if run.model_digest == model_digest)
        )


@dataclass(frozen=True)
class Look:
    """One comparison with the reference, which spent a part of the error rate.

    Args:
        runs: How many runs each cohort had that was compared.
        look: Its number, from 1.
        alpha: What it spent.
        verdict: What came out.
        report_id: The report that tells of it.
        at: When, UTC.
    """

    runs: Mapping[str, int]
    look: int
    alpha: float
    verdict: str
    report_id: str
    at: str


def check_id(name: str) -> str:
    """Return a cohort id that may be a name.

    Raises:
        UsageError: It may not.
    """
    if not COHORT_ID.fullmatch(name):
        raise UsageError(
            f"{name!r} is no cohort id",
            mend="use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit "
            "first",
        )
    return name


def cohort_id_of(value: str) -> str:
    """Return a cohort id for a value of a column: what is plain of it, and six hex of its digest.

    Example:
        >>> cohort_id_of("Weather & news")
        'Weather-news-73e572'
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "-", value.encode("ascii", "ignore").decode()).strip("-")
    return f"{plain[:40] or 'cohort'}-{digest(value.encode())[7:13]}"


class Cohorts:
    """The cohorts in a folder.

    Args:
        folder: The folder of the drift reports; it and the store are made by the first write.
        clock: Returns the current UTC time.

    Raises:
        StorageError: The store cannot be read or written, or a newer release made it.
        IntegrityError: It is no store, or is damaged.
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self.folder = folder
        self._clock = clock

    @property
    def path(self) -> Path:
        """The database."""
        return self.folder / DATABASE

    def add(self, cohort_id: str, run: NewRun, *, label: str | None = None) -> str:
        """Add a run to a cohort, which is made if it is not there; return its cells' digest.

        Raises:
            DataError: The cohort has this run of this model on these rows already.
        """
        return self.add_all([(cohort_id, label, run)])[0]

    def add_all(self, additions: Sequence[tuple[str, str | None, NewRun]]) -> list[str]:
        """Add runs to cohorts, all of them or none; return the digests of their cells.

        Args:
            additions: Id of the cohort, its label (None for the id) and the run.

        Raises:
            DataError: A cohort has its run of this model on these rows already.
        """
        contents = [run.summary.to_bytes() for _, _, run in additions]
        for cohort_id, _, _ in additions:
            check_id(cohort_id)
        now = self._now()
        with self._writing() as db:
            for (cohort_id, label, run), content in zip(additions, contents, strict=True):
                db.execute(
                    "INSERT INTO cohort VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (cohort_id, cohort_id if label is None else label, now),
                )
                _insert(db, cohort_id, run, content, now)
        return [digest(content) for content in contents]

    def ids(self) -> list[str]:
        """Return the ids of all cohorts, the oldest first."""
        with self._reading() as db:
            rows = db.execute("SELECT cohort_id FROM cohort ORDER BY created_at, rowid").fetchall()
        return [row[0] for row in rows]

    def models(self) -> set[str]:
        """Return the models of all runs, by id or name."""
        with self._reading() as db:
            return {row[0] for row in db.execute("SELECT DISTINCT model FROM run")}

    def load(self, cohort_ids: Sequence[str] | None = None) -> list[Cohort]:
        """Return cohorts, all of them or those that are named, in that order.

        Raises:
            UsageError: One of them does not exist.
            IntegrityError: The cells of one are not what was stored.
        """
        wanted = self.ids() if cohort_ids is None else list(dict.fromkeys(cohort_ids))
        if not wanted:
            return []
        with self._reading() as db:
            return [self._load(db, cohort_id) for cohort_id in wanted]

    def _load(self, db: sqlite3.Connection, cohort_id: str) -> Cohort:
        found = db.execute(
            "SELECT label, created_at FROM cohort WHERE cohort_id = ?", (cohort_id,)
        ).fetchone()
        if found is None:
            raise UsageError(
                f"there is no cohort {cohort_id!r} in {self.path}",
                mend="name one that `nethical drift list` shows",
            )
        rows = db.execute(
            "SELECT run_id, model, model_digest, process, rows_digest, rows_path, cells, details, "
            "added_at, cells_digest FROM run WHERE cohort_id = ? ORDER BY number",
            (cohort_id,),
        ).fetchall()
        return Cohort(cohort_id, found[0], found[1], tuple(self._run(row) for row in rows))

    def _run(self, row: Sequence[Any]) -> CohortRun:
        *names, cells, details, added_at, cells_digest = row
        try:
            content = zlib.decompress(cells)
        except zlib.error:
            content = b""
        if digest(content) != cells_digest:
            raise IntegrityError(
                f"{self.path}: the cells of run {row[0]} are not what was stored",
                mend="restore the file from a copy",
            )
        try:
            told = json.loads(details)
        except ValueError as error:
            raise IntegrityError(
                f"{self.path}: the details of run {row[0]} are no JSON",
                mend="restore the file from a copy",
            ) from error
        summary = Summary.from_bytes(content)
        run_id, model, model_digest, process, rows_digest, rows_path = names
        return CohortRun(
            run_id,
            model,
            model_digest,
            process,
            rows_digest,
            rows_path,
            summary,
            told,
            added_at,
            cells_digest,
        )

    def set_reference(self, cohort_id: str, *, horizon: int) -> None:
        """Make a cohort the one that others are compared with, so many times at most.

        Raises:
            UsageError: It does not exist, or the horizon is below 1.
        """
        if horizon < 1:
            raise UsageError(
                f"the horizon is {horizon}", mend="give how many looks there will be, 1 or more"
            )
        self.load([cohort_id])
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO reference VALUES (1, ?, ?, ?)",
                (cohort_id, horizon, self._now()),
            )

    def reference(self) -> tuple[str, int] | None:
        """Return the reference cohort that was set and its horizon, or None."""
        with self._reading() as db:
            found = db.execute("SELECT cohort_id, horizon FROM reference").fetchone()
        return None if found is None else (found[0], found[1])

    def looks(self) -> list[Look]:
        """Return the looks that were spent on the reference as it is set now, oldest first."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT l.runs, l.look, l.alpha, l.verdict, l.report_id, l.at "
                "FROM look AS l JOIN reference AS r ON l.reference_id = r.cohort_id "
                "AND l.reference_set_at = r.set_at ORDER BY l.look"
            ).fetchall()
        return [Look(json.loads(runs), *rest) for runs, *rest in rows]

    def add_look(self, look: Look) -> None:
        """Spend a look; its number must be the next.

        Raises:
            UsageError: No reference is set.
            StorageError: Another process took this look.
        """
        with self._writing() as db:
            found = db.execute("SELECT cohort_id, set_at FROM reference").fetchone()
            if found is None:
                raise UsageError(
                    "no reference is set", mend="run `nethical drift reference set COHORT`"
                )
            (taken,) = db.execute(
                "SELECT coalesce(max(look), 0) FROM look "
                "WHERE reference_id = ? AND reference_set_at = ?",
                found,
            ).fetchone()
            if look.look != taken + 1:
                raise StorageError(
                    f"look {look.look} is not the next: {taken} are taken, perhaps by another "
                    "process meanwhile",
                    mend="run the command again",
                )
            db.execute(
                "INSERT INTO look (reference_id, reference_set_at, runs, look, alpha, verdict, "
                "report_id, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(*found, json.dumps(dict(look.runs)), look.look),
                    *(look.alpha, look.verdict, look.report_id, look.at),
                ),
            )

    def _now(self) -> str:
        return f"{self._clock():%Y-%m-%dT%H:%M:%S.%fZ}"

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self.folder.exists() and not self.folder.is_dir():
            raise StorageError(
                f"{self.folder} is no folder, so it holds no cohorts",
                mend="name the folder of the drift reports with --drift-report-dir",
            )
        if not self.path.exists() or not self.path.stat().st_size:
            with closing(sqlite3.connect(":memory:")) as db:
                db.executescript(TABLES)
                yield db
            return
        with self._explained("read"), closing(self._connected()) as db:
            self._check_version(db)
            yield db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        durable.make_folder(self.folder)
        self._touch()
        with self._explained("write"), closing(self._connected()) as db:
            db.execute("BEGIN IMMEDIATE")
            if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
                for statement in TABLES.split(";\n"):
                    if statement.strip():
                        db.execute(statement)
                db.execute("INSERT INTO meta VALUES ('schema_version', ?)", (SCHEMA_VERSION,))
            self._check_version(db)
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _touch(self) -> None:
        """Make the file so that its owner alone can read it."""
        if not self.path.exists():
            with self._explained("create"):
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
                os.close(os.open(self.path, flags, 0o600))

    def _connected(self) -> sqlite3.Connection:
        uri = f"{self.path.resolve().as_uri()}?mode=rw"
        db = sqlite3.connect(uri, uri=True, timeout=LOCKED_SECONDS, isolation_level=None)
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = EXTRA")
        db.execute("PRAGMA foreign_keys = ON")
        return db

    def _check_version(self, db: sqlite3.Connection) -> None:
        found = db.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
        if found is None or found[0] != str(SCHEMA_VERSION):
            raise StorageError(
                f"{self.path} has schema {found and found[0]}; this release reads {SCHEMA_VERSION}",
                mend="use the release of nethical that made it, or name another folder",
            )

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"cannot {verb} {self.path}: {error.strerror or error}",
                mend="check the path, its permissions and the free space, then run again",
            ) from error
        except (sqlite3.DatabaseError, UnicodeError) as error:  # a damaged name is no text
            if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                raise StorageError(
                    f"cannot {verb} {self.path}: {error}",
                    mend="check its permissions, the free space and who else writes, "
                    "then run again",
                ) from error
            raise IntegrityError(
                f"{self.path} is no store of cohorts, or is damaged: {error}",
                mend="restore the file from a copy, or name another folder",
            ) from error


def _insert(db: sqlite3.Connection, cohort_id: str, run: NewRun, content: bytes, now: str) -> None:
    try:
        db.execute(
            "INSERT INTO run (cohort_id, run_id, model, model_digest, process, "
            "rows_digest, rows_path, details, added_at, cells_digest, cells) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(cohort_id, run.run_id, run.model, run.model_digest, run.process),
                *(run.rows_digest, run.rows_path),
                *(canonical_json(dict(run.details)).decode(), now),
                *(digest(content), zlib.compress(content, 9)),
            ),
        )
    except sqlite3.IntegrityError as error:
        raise DataError(
            f"cohort {cohort_id} holds these rows, scored by {run.model}, already",
            mend="add other rows, or name another cohort",
        ) from error


def _is_damage(error: sqlite3.OperationalError) -> bool:
    """Return whether the store lacks a table or column, or holds text that is none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR
