"""The connection: transactions, migrations, and SQLite's errors as ours."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reposync.errors import ManifestError
from reposync.manifest.schema import APPLICATION_ID, MIGRATIONS, READ_OLDER, SCHEMA_VERSION

if TYPE_CHECKING:
    from typing_extensions import Self

FILE_NAME = "reposync.sqlite3"
BUSY_SECONDS = 60


class ManifestDamaged(ManifestError):
    """The file is not a manifest, or not any more; it is set aside and rebuilt."""


class Database:
    """One connection; threads that share it take turns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        # The manifest of a store in memory is one for all threads: one asks how far another's sync
        # is while that is in the middle of a transaction.
        self._turn = threading.RLock()

    def is_empty(self) -> bool:
        """True if the database was never set up."""
        return not self._all("SELECT 1 FROM sqlite_master LIMIT 1")

    @property
    def changes(self) -> int:
        """How many rows this connection changed so far."""
        return self._db.total_changes

    def close(self) -> None:
        """Close the connection; it is of no use afterwards."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable when it returns. Damage found here is a `ManifestError`."""
        with self._turn, self._block("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def cheap_transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, without waiting for the disk: a power failure may undo it.

        The next `transaction` makes it durable, too.
        """
        with self._turn:
            self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._block("BEGIN IMMEDIATE") as db:
                    yield db
            finally:
                self._db.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read within the block is of one moment."""
        with self._turn, self._block("BEGIN"):
            yield

    @contextmanager
    def _block(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute(begin)
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise _ours(error) from error

    def faults(self) -> list[str]:
        """What is wrong with the file, as far as SQLite sees it; nothing, if it is sound."""
        said = [line for (line,) in self._all("PRAGMA quick_check(20)")]
        return [] if said == ["ok"] else said

    @contextmanager
    def frozen(self) -> Iterator[Callable[[Path], None]]:
        """Keep the content as it is now, for as long as the block lasts; nobody has to wait.

        Yields:
            what copies that content to a new file. Damage found there is `ManifestDamaged`.
        """

        def copy(path: Path) -> None:
            try:
                with closing(sqlite3.connect(path)) as to:
                    self._db.backup(to)
            except sqlite3.Error as error:
                raise _ours(error) from error

        with self.snapshot():
            self.is_empty()  # the first look settles what is seen
            yield copy

    def _all(self, query: str, *arguments: object) -> list[Any]:
        try:
            with self._turn:
                return self._db.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise _ours(error) from error


def connect(database: str, *, uri: bool = False) -> sqlite3.Connection:
    """Open a database: for reading only if it is named by a `uri`, else set up for writing.

    Raises:
        ManifestDamaged: it is damaged, or another program's.
        ManifestError: it cannot be opened, or a newer reposync made it.
    """
    try:
        connection = sqlite3.connect(
            database, uri=uri, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.OperationalError as error:
        raise ManifestError(
            f"{database} cannot be opened ({error}). Is the store's folder there, and writable?"
        ) from error
    try:
        version = _check(connection)
        if uri:
            if version in READ_OLDER:
                for statement in _statements(READ_OLDER[version]):
                    connection.execute(statement)
            connection.execute("PRAGMA query_only = ON")
        else:
            _set_up(connection, version)
    except sqlite3.Error as error:
        connection.close()
        raise _ours(error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check(db: sqlite3.Connection) -> int:
    """The version of the schema, 0 for an empty database."""
    # Tables first: they are created in one transaction with the two numbers, so whoever sees them
    # sees those, too, even if another process creates all of it right now.
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and application != APPLICATION_ID:
        raise ManifestDamaged(f"{FILE_NAME} was made by another program")
    if version > SCHEMA_VERSION:
        raise ManifestError(
            f"{FILE_NAME} was made by a newer reposync (schema {version}, this one knows "
            f"{SCHEMA_VERSION}). Upgrade reposync, or remove the file; it is rebuilt."
        )
    return int(version)


def _set_up(db: sqlite3.Connection, version: int) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    # FULL: in WAL mode, NORMAL would lose the last commits at a power failure, and with them the
    # knowledge of what was in flight.
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    if version < SCHEMA_VERSION:
        _migrate(db)


def _migrate(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        # Look again: another process may have done it while this one waited.
        (version,) = db.execute("PRAGMA user_version").fetchone()
        for migration in MIGRATIONS[version:]:
            for statement in _statements(migration):
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has rolled it back already
            db.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one; a trigger's body has semicolons of its own."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _ours(error: sqlite3.Error) -> ManifestError:
    # "database disk image is malformed" is a DatabaseError, a full disk an OperationalError.
    if type(error) is sqlite3.DatabaseError:
        return ManifestDamaged(f"{FILE_NAME} is damaged ({error}). Remove it and sync again.")
    return ManifestError(
        f"{FILE_NAME} cannot be used ({error}). Is the store's folder writable, is the disk full,"
        " or does another program hold the file? Make room, or give this user the right to"
        " write, and sync again: nothing is lost."
    )
