"""The database of the governance store: its schema, its transactions, and its errors in words.

One writes at a time and each reader sees one state, on SQLite and on a server alike, so that
what is read in a transaction is still so where it is written.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import exc

from nethical import durable
from nethical.errors import DataError, IntegrityError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

__all__ = ["Database", "database_url", "without_password"]

DATABASE = "governance.db"
VERSION_TABLE = "nethical_schema"
HEAD = "0002"
RELEASED = ("0001", HEAD)
LOCKED_SECONDS = 60
LOCKED = "BEGIN IMMEDIATE"  # one writes, and has waited for the others here
UPGRADE_LOCK = 0x6E657468  # one at a time makes or changes the tables of a server


def database_url(place: str) -> sa.URL:
    """Return the URL of a store: of a folder its SQLite file, of a URL itself.

    Raises:
        UsageError: It is no URL that can be read.
    """
    if "://" not in place:
        return sa.URL.create("sqlite", database=str(Path(place).absolute() / DATABASE))
    try:
        return sa.make_url(place)
    except (exc.ArgumentError, ValueError) as error:
        raise UsageError(
            "the URL of the governance store cannot be read",
            mend="give a folder, or a URL as postgresql+psycopg://user@host/database",
        ) from error


def without_password(url: sa.URL) -> str:
    """Return a URL as it may be shown and logged: its query may hold a password as well.

    Example:
        >>> without_password(sa.make_url("postgresql://ada:a/word@host/db?password=b"))
        'postgresql://ada:***@host/db'
    """
    return url.set(query={}).render_as_string()


class Database:
    """A database with the tables of governance.

    Args:
        place: A folder, or the URL of a database.
        clock: Returns the current UTC time.

    Raises:
        UsageError: The URL cannot be read, or its driver is not installed.
    """

    def __init__(self, place: str | Path, clock: Callable[[], datetime]) -> None:
        self.url = database_url(str(place))
        self._clock = clock
        file = self.url.database if self.is_sqlite else None
        self._path = Path(file) if file and file != ":memory:" else None
        try:
            self._engine = sa.create_engine(self.url, connect_args=self._connect_args())
        except (exc.ArgumentError, ImportError) as error:
            raise UsageError(
                f"no driver for {self.url.drivername} is installed: {error}",
                mend="install it, or give a folder",
            ) from error
        if self.is_sqlite:
            sa.event.listen(self._engine, "connect", _set_up_sqlite)
        self._is_open = False

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of SQLite."""
        return self.url.get_backend_name() == "sqlite"

    def _connect_args(self) -> dict[str, Any]:
        return {"timeout": LOCKED_SECONDS, "isolation_level": None} if self.is_sqlite else {}

    def __str__(self) -> str:
        """Return where it is, without a password."""
        return str(self._path) if self._path else without_password(self.url)

    def now(self) -> str:
        """Return the current UTC time as it is stored."""
        return f"{self._clock():%Y-%m-%dT%H:%M:%S.%fZ}"

    def close(self) -> None:
        """Close the connections that are kept open; the next use opens new ones."""
        self._engine.dispose()

    # --- the schema ---------------------------------------------------------------------------

    def version(self) -> str | None:
        """Return the version of its schema, None where there is none yet.

        Raises:
            IntegrityError: It holds something else.
            StorageError: A newer release made it, or it cannot be read.
        """
        with self._explained("read"):
            if self._path is not None and not (self._path.exists() and self._path.stat().st_size):
                return None
            with self._reader() as db:
                return self._version_in(db)

    def _version_in(self, db: sa.Connection) -> str | None:
        names = sa.inspect(db).get_table_names()
        if VERSION_TABLE not in names:
            if names:
                raise IntegrityError(
                    f"{self} holds tables of something else",
                    mend="name another folder with --phase89-storage",
                )
            return None
        version = db.execute(sa.select(sa.column("version_num")).select_from(_VERSION)).scalar()
        if version in RELEASED:
            return str(version)
        if version is not None and version > HEAD:
            raise StorageError(
                f"{self} has schema {version}; this release knows {HEAD}",
                mend="use the release of nethical that made it, or name another store",
            )
        raise IntegrityError(
            f"{self} has schema {version!r}, which no release made",
            mend="restore it from a copy, or name another one",
        )

    def upgrade(self) -> str | None:
        """Bring the schema to this release's, and return the version that it had.

        Raises:
            IntegrityError: It holds something else.
            StorageError: A newer release made it, or it cannot be written.
        """
        if self._path is not None:
            durable.make_folder(self._path.parent)
            with self._explained("create"):
                if not self._path.exists():
                    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
                    os.close(os.open(self._path, flags, 0o600))
        from alembic import command
        from alembic.config import Config

        config = Config()
        location = str(Path(__file__).parent / "migrations")
        config.set_main_option("script_location", location.replace("%", "%%"))
        with self._explained("write"), self._engine.begin() as db:
            if self.is_sqlite:
                db.exec_driver_sql(LOCKED)
            elif self.url.get_backend_name() == "postgresql":
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))
            had = self._version_in(db)
            config.attributes["connection"] = db
            command.upgrade(config, "head")
        return had

    def check(self) -> None:
        """Refuse a store whose schema is not this release's; make one where there is none.

        Raises:
            IntegrityError: It holds something else.
            StorageError: Another release made it.
        """
        if self._is_open:
            return
        version = self.version()
        if version is None:
            self.upgrade()
        elif version != HEAD:
            raise StorageError(
                f"{self} has schema {version}; this release needs {HEAD}",
                mend="run `nethical govern db upgrade`",
            )
        self._is_open = True

    # --- transactions -------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the store, and keeps nobody from writing."""
        self.check()
        with self._explained("read"), self._reader() as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give the one transaction that may write; it is on the disk when the block has ended."""
        self.check()
        with self._explained("write"), self._engine.begin() as db:
            if self.is_sqlite:
                db.exec_driver_sql(LOCKED)
            else:
                db.execute(
                    sa.select(sa.column("version_num")).select_from(_VERSION).with_for_update()
                )
            yield db

    @contextmanager
    def _reader(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as db:
            if self.is_sqlite:
                db.exec_driver_sql("BEGIN")
            else:
                db.execution_options(isolation_level="REPEATABLE READ")
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
                f"cannot {verb} {self}: {_line(error.orig)}",
                mend="check its permissions, the free space and who else writes, then run again",
            ) from error
        except exc.IntegrityError as error:
            raise DataError(
                f"{self} does not take this: {_line(error.orig)}",
                mend="give values that keep the rule that is named",
            ) from error
        except (exc.DatabaseError, UnicodeError, json.JSONDecodeError) as error:
            said = _line(error.orig if isinstance(error, exc.DatabaseError) else error)
            raise IntegrityError(
                f"{self} is no governance store, or is damaged: {said}",
                mend="restore it from a copy, or name another one",
            ) from error


_VERSION = sa.table(VERSION_TABLE, sa.column("version_num"))


def _line(error: BaseException | None) -> str:
    """Return what a driver said, in one line."""
    return " ".join(str(error).split())


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - of the driver
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = DELETE")
    cursor.execute("PRAGMA synchronous = EXTRA")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")  # what retention deletes is gone from the file
    cursor.close()
