"""The local state in SQLite: files, rows, vectors, runs; the only user of ``sqlite3``.

All of it is a cache: deleted, it is rebuilt from the collection. What makes a kill harmless is one
rule: before the store is asked to change rows, their intent and their vectors are committed here
with ``synchronous=FULL`` (`Manifest.begin`); when the store has answered, they are marked as done
(`Manifest.finish`). Rows that were begun and not finished are the journal.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reposync.batch import Batch
from reposync.errors import ManifestError
from reposync.records import FileStat, Known
from reposync.rows import FileRecord, KnownRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

FILE_NAME = "reposync.sqlite3"
APPLICATION_ID = 0x72737963  # "rsyc", so that a foreign database is not taken for ours
SCHEMA_VERSION = 1
BUSY_SECONDS = 60
UNFINISHED = "unfinished in an earlier run"

# What is known of a row of the collection (chunks.stored).
IN_FLIGHT = 0  # a write or delete of it was begun and not acknowledged: it may be there or not
STORED = 1  # it is there as noted
OUTDATED = 2  # it is there, and must be written again all the same

_SCHEMA = """
CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL, database TEXT NOT NULL, collection TEXT NOT NULL, name TEXT NOT NULL,
    path TEXT NOT NULL,
    collection_id TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '', recipe TEXT NOT NULL DEFAULT '',
    token TEXT NOT NULL DEFAULT '', checked INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, database, collection, name)
);
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    path TEXT NOT NULL,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    content_hash TEXT, skip TEXT, redo TEXT,
    chunks INTEGER NOT NULL DEFAULT 0,
    UNIQUE (repository, path)
);
CREATE TABLE chunks (
    file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    id TEXT NOT NULL,
    text_hash BLOB NOT NULL, digest BLOB NOT NULL,
    stored INTEGER NOT NULL,
    PRIMARY KEY (file, id)
) WITHOUT ROWID;
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL, text_hash BLOB NOT NULL, vector BLOB NOT NULL,
    UNIQUE (model, text_hash)
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    repository INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    started_at TEXT NOT NULL, status TEXT NOT NULL, result TEXT
);
CREATE INDEX runs_by_repository ON runs (repository, id);
"""


@dataclass(frozen=True, slots=True)
class RepositoryKey:
    """What one repository is told apart by within a store."""

    tenant: str
    database: str
    collection: str
    name: str


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """What is noted of one repository.

    Attributes:
        path: the folder that it was last synced from.
        collection_id: Chroma's id of the collection that the rows are in.
        model: fingerprint of the model that the rows were embedded with.
        recipe: version of chunker and row format that the rows were made with.
        token: the store's freshness token after the last sync that ended well, else "".
        checked: the store's generation when the rows were last compared with the collection.
    """

    id: int
    path: str
    collection_id: str
    model: str
    recipe: str
    token: str
    checked: int


class Manifest:
    """The state of all repositories of one store. Not for use by several threads at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def is_empty(self) -> bool:
        """True if the database was never set up."""
        return not self._all("SELECT 1 FROM sqlite_master LIMIT 1")

    def close(self) -> None:
        """Close the database; the manifest is of no use afterwards."""
        self._db.close()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable when it returns. Damage found here is a `ManifestError`."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise _ours(error) from error

    def _all(self, query: str, *arguments: object) -> list[Any]:
        try:
            return self._db.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise _ours(error) from error

    # -- repositories ----------------------------------------------------------------------------

    def repository(self, key: RepositoryKey) -> RepositoryRecord | None:
        """What is noted of one repository, or None."""
        rows = self._all(
            "SELECT id, path, collection_id, model, recipe, token, checked FROM repositories"
            " WHERE tenant = ? AND database = ? AND collection = ? AND name = ?",
            key.tenant, key.database, key.collection, key.name,
        )  # fmt: skip
        return RepositoryRecord(*rows[0]) if rows else None

    def repositories(self) -> list[tuple[RepositoryKey, RepositoryRecord]]:
        """Every repository that is noted, by name."""
        rows = self._all(
            "SELECT tenant, database, collection, name,"
            " id, path, collection_id, model, recipe, token, checked FROM repositories"
            " ORDER BY name, id"
        )
        return [(RepositoryKey(*row[:4]), RepositoryRecord(*row[4:])) for row in rows]

    def add_repository(self, key: RepositoryKey, path: str) -> RepositoryRecord:
        """Note a repository; it has no files yet."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO repositories (tenant, database, collection, name, path)"
                " VALUES (?, ?, ?, ?, ?)",
                (key.tenant, key.database, key.collection, key.name, path),
            )
        record = self.repository(key)
        assert record is not None
        return record

    def describe(self, repository: int, **fields: str | int) -> None:
        """Set fields of a `RepositoryRecord`."""
        with self.transaction() as db:
            for name, value in fields.items():
                assert name in RepositoryRecord.__slots__
                db.execute(
                    f"UPDATE repositories SET {name} = ? WHERE id = ?",  # noqa: S608
                    (value, repository),
                )

    def names_in(self, key: RepositoryKey) -> set[str]:
        """The repositories that share `key`'s collection, as far as is known here."""
        rows = self._all(
            "SELECT name FROM repositories WHERE tenant = ? AND database = ? AND collection = ?",
            key.tenant, key.database, key.collection,
        )  # fmt: skip
        return {name for (name,) in rows}

    def lose_collection(self, key: RepositoryKey, reason: str) -> None:
        """Note that `key`'s collection is empty now: all of its repositories write theirs again."""
        with self.transaction() as db:
            ids = db.execute(
                "SELECT id FROM repositories WHERE tenant = ? AND database = ? AND collection = ?",
                (key.tenant, key.database, key.collection),
            ).fetchall()
            for (repository,) in ids:
                db.execute("UPDATE repositories SET token = '' WHERE id = ?", (repository,))
                # Not deleted: while the rows are noted, their vectors are not evicted.
                db.execute(
                    "UPDATE chunks SET stored = 0"
                    " WHERE file IN (SELECT id FROM files WHERE repository = ?)",
                    (repository,),
                )
                db.execute(
                    "UPDATE files SET redo = ? WHERE repository = ? AND skip IS NULL",
                    (reason, repository),
                )

    # -- files and rows --------------------------------------------------------------------------

    def files(self, repository: int) -> dict[str, Known]:
        """Every file that is noted, by path."""
        rows = self._all(
            "SELECT path, size, mtime_ns, ctime_ns, inode, content_hash, skip, redo, chunks"
            " FROM files WHERE repository = ?",
            repository,
        )
        return {
            path: Known(path, None if size is None else FileStat(size, mtime, ctime, inode), *rest)
            for path, size, mtime, ctime, inode, *rest in rows
        }

    def rows(self, repository: int, path: str) -> dict[str, KnownRow]:
        """The rows of one file by id, those in flight included."""
        rows = self._all(
            "SELECT c.id, digest, stored FROM chunks c JOIN files f ON f.id = c.file"
            " WHERE repository = ? AND path = ?",
            repository,
            path,
        )
        return {row_id: KnownRow(digest, stored == STORED) for row_id, digest, stored in rows}

    def all_rows(self, repository: int) -> dict[str, tuple[str, bool]]:
        """Every row that is noted, by id: its path, and whether the collection should hold it."""
        rows = self._all(
            "SELECT c.id, path, stored FROM chunks c JOIN files f ON f.id = c.file"
            " WHERE repository = ?",
            repository,
        )
        return {row_id: (path, bool(stored)) for row_id, path, stored in rows}

    def count_rows(self, repository: int) -> int:
        """How many rows the collection holds of this repository, as far as is known."""
        rows = self._all(
            "SELECT count(*) FROM chunks c JOIN files f ON f.id = c.file"
            " WHERE repository = ? AND stored != 0",
            repository,
        )
        return int(rows[0][0])

    def distrust(self, repository: int, reason: str, *, rows: bool) -> None:
        """Have every indexed file read again; with `rows`, all of its rows written again, too."""
        with self.transaction() as db:
            db.execute(
                "UPDATE files SET redo = ? WHERE repository = ? AND (skip IS NULL OR redo NOTNULL)",
                (reason, repository),
            )
            if rows:
                db.execute(
                    "UPDATE chunks SET stored = ? WHERE stored = ?"
                    " AND file IN (SELECT id FROM files WHERE repository = ?)",
                    (OUTDATED, STORED, repository),
                )

    def lose_rows(self, repository: int, lost: Mapping[str, Sequence[str]], reason: str) -> None:
        """Note that rows, by path, are not in the collection although they should be."""
        with self.transaction() as db:
            for path, ids in lost.items():
                file = self._redo(db, repository, path, reason)
                db.executemany(
                    "UPDATE chunks SET stored = 0 WHERE file = ? AND id = ?",
                    ((file, row_id) for row_id in ids),
                )

    def import_rows(
        self, repository: int, rows: Iterable[tuple[str, str, bytes, bytes, bool]], reason: str
    ) -> None:
        """Note rows (path, id, text hash, digest, usable) that were found in the collection."""
        by_path = defaultdict(list)
        for path, *row in rows:
            by_path[path].append(row)
        with self.transaction() as db:
            for path, found in by_path.items():
                file = self._redo(db, repository, path, reason)
                db.executemany(
                    "INSERT OR REPLACE INTO chunks (file, id, text_hash, digest, stored)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (
                        (file, row_id, text_hash, digest, STORED if usable else OUTDATED)
                        for row_id, text_hash, digest, usable in found
                    ),
                )

    # -- the journal -----------------------------------------------------------------------------

    def begin(
        self, repository: int, model: str, batch: Batch, vectors: Mapping[bytes, Vector]
    ) -> None:
        """Before the store is asked: keep the vectors and note which rows will be in flight.

        `vectors` are all those of the batch, since cached ones may have been evicted meanwhile.
        """
        with self.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO vectors (model, text_hash, vector) VALUES (?, ?, ?)",
                ((model, key, vector.tobytes()) for key, vector in vectors.items()),
            )
            files = {path: self._redo(db, repository, path, UNFINISHED) for path in batch.paths}
            db.executemany(
                "INSERT OR REPLACE INTO chunks (file, id, text_hash, digest, stored)"
                " VALUES (?, ?, ?, ?, 0)",
                (
                    (files[row.path], row.id, row.text_hash, row.digest)
                    for _, row in (*batch.writes, *batch.moves)
                ),
            )
            db.executemany(
                "UPDATE chunks SET stored = 0 WHERE file = ? AND id = ?",
                ((files[path], row_id) for _, path, row_id in batch.deletes),
            )

    def finish(self, repository: int, batch: Batch) -> None:
        """After the store has answered: nothing of `batch` is in flight any more."""
        with self.transaction() as db:
            files = {path: self._file(db, repository, path) for path in batch.paths}
            db.executemany(
                "UPDATE chunks SET stored = 1 WHERE file = ? AND id = ?",
                ((files[row.path], row.id) for _, row in (*batch.writes, *batch.moves)),
            )
            db.executemany(
                "DELETE FROM chunks WHERE file = ? AND id = ?",
                ((files[path], row_id) for _, path, row_id in batch.deletes),
            )
            for work in batch.finished:
                for path in (work.path, work.old_path):
                    if path is not None and (work.record is None or path != work.record.path):
                        db.execute(
                            "DELETE FROM files WHERE repository = ? AND path = ?",
                            (repository, path),
                        )
                if work.record is not None:
                    self._record(db, repository, work.record)

    def _file(self, db: sqlite3.Connection, repository: int, path: str) -> int:
        query = "SELECT id FROM files WHERE repository = ? AND path = ?"
        row = db.execute(query, (repository, path)).fetchone()
        assert row is not None, path
        return int(row[0])

    def _redo(self, db: sqlite3.Connection, repository: int, path: str, reason: str) -> int:
        """The id of a file, noted as one that the manifest cannot vouch for."""
        db.execute(
            "INSERT INTO files (repository, path, redo) VALUES (?, ?, ?)"
            " ON CONFLICT (repository, path) DO UPDATE SET redo = excluded.redo",
            (repository, path, reason),
        )
        return self._file(db, repository, path)

    def _record(self, db: sqlite3.Connection, repository: int, record: FileRecord) -> None:
        stat = record.stat
        numbers = (stat.size, stat.mtime_ns, stat.ctime_ns, stat.inode) if stat else (None,) * 4
        db.execute(
            "INSERT INTO files (repository, path, size, mtime_ns, ctime_ns, inode,"
            " content_hash, skip, chunks, redo) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
            " ON CONFLICT (repository, path) DO UPDATE SET size = excluded.size,"
            " mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, inode = excluded.inode,"
            " content_hash = excluded.content_hash, skip = excluded.skip,"
            " chunks = excluded.chunks, redo = NULL",
            (
                repository, record.path, *numbers,
                record.content_hash, record.skip, record.chunks,
            ),
        )  # fmt: skip

    # -- vectors ---------------------------------------------------------------------------------

    def vectors(self, model: str, keys: Iterable[bytes]) -> dict[bytes, tuple[int, Vector]]:
        """The vectors that are cached, by text hash: (number, float32 of shape (dimension,)).

        Later vectors have higher numbers, see `newest_vector`.
        """
        import numpy as np

        found = {}
        query = "SELECT id, vector FROM vectors WHERE model = ? AND text_hash = ?"
        for key in keys:
            for number, vector in self._all(query, model, key):
                found[key] = (number, np.frombuffer(vector, dtype=np.float32))
        return found

    def newest_vector(self) -> int:
        """The number of the vector that was cached last."""
        return int(self._all("SELECT coalesce(max(id), 0) FROM vectors")[0][0])

    def keep_vectors(self, rows: Iterable[tuple[str, bytes, Vector]]) -> None:
        """Cache vectors (model, text hash, vector) that were read back from a collection."""
        with self.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO vectors (model, text_hash, vector) VALUES (?, ?, ?)",
                ((model, key, vector.tobytes()) for model, key, vector in rows),
            )

    def evict(self, max_bytes: int) -> int:
        """Drop the oldest vectors that no row uses until `max_bytes` hold the rest; how many."""
        excess = self._cached_bytes() - max_bytes
        if excess <= 0:
            return 0
        with self.transaction() as db:  # from here on nobody else begins to use a vector
            doomed = []
            orphans = db.execute(
                "SELECT id, length(vector) FROM vectors WHERE (model, text_hash) NOT IN"
                " (SELECT model, text_hash FROM chunks JOIN files ON files.id = chunks.file"
                "  JOIN repositories ON repositories.id = files.repository) ORDER BY id"
            )
            for vector_id, size in orphans:
                if excess <= 0:
                    break
                doomed.append((vector_id,))
                excess -= size
            db.executemany("DELETE FROM vectors WHERE id = ?", doomed)
        return len(doomed)

    def _cached_bytes(self) -> int:
        return int(self._all("SELECT coalesce(sum(length(vector)), 0) FROM vectors")[0][0])

    # -- runs ------------------------------------------------------------------------------------

    def was_cut_off(self, repository: int) -> bool:
        """True if the last run of this repository began to write and did not come to its end."""
        query = "SELECT status FROM runs WHERE repository = ? ORDER BY id DESC LIMIT 1"
        cut_off = ("running", "interrupted", "cancelled", "failed")
        return any(status in cut_off for (status,) in self._all(query, repository))

    def start_run(self, repository: int, run_id: str, started_at: str) -> None:
        """Note that a run begins to write."""
        with self.transaction() as db:
            self._add_run(db, repository, run_id, started_at)

    def end_run(
        self, repository: int, run_id: str, started_at: str, status: str, result: str, token: str
    ) -> None:
        """Note how a run ended, and the store's freshness token that its knowledge is good for."""
        with self.transaction() as db:
            self._add_run(db, repository, run_id, started_at)
            db.execute(
                "UPDATE runs SET status = ?, result = ? WHERE run_id = ?", (status, result, run_id)
            )
            db.execute("UPDATE repositories SET token = ? WHERE id = ?", (token, repository))

    def _add_run(
        self, db: sqlite3.Connection, repository: int, run_id: str, started_at: str
    ) -> None:
        db.execute(
            "UPDATE runs SET status = 'interrupted'"
            " WHERE repository = ? AND status = 'running' AND run_id != ?",
            (repository, run_id),
        )
        db.execute(
            "INSERT OR IGNORE INTO runs (run_id, repository, started_at, status)"
            " VALUES (?, ?, ?, 'running')",
            (run_id, repository, started_at),
        )


def open_manifest(path: Path) -> Manifest:
    """Open or create the manifest at `path`; a damaged or foreign file is set aside and replaced.

    Raises:
        ManifestError: it cannot be opened, or a newer reposync made it.
    """
    try:
        return _open(str(path))
    except ManifestDamaged:
        set_aside(path)
        return _open(str(path))


def read_manifest(path: Path) -> Manifest | None:
    """The manifest at `path`, for reading only; None if there is none of use."""
    if not path.exists():
        return None
    try:
        try:
            # Not "ro" where that can be helped: it leaves the log files behind when it is closed.
            manifest = _open(f"{path.as_uri()}?mode=rw", uri=True)
        except ManifestDamaged:
            raise
        except ManifestError:
            manifest = _open(f"{path.as_uri()}?mode=ro", uri=True)
    except ManifestDamaged:
        return None
    if manifest.is_empty():
        manifest.close()
        return None
    return manifest


def memory_manifest() -> Manifest:
    """A manifest in this process's memory, for a store that is there, too."""
    return _open(":memory:")


class ManifestDamaged(ManifestError):
    """The file is not a manifest, or not any more; it is set aside and rebuilt."""


def _ours(error: sqlite3.Error) -> ManifestError:
    # "database disk image is malformed" is a DatabaseError, a full disk an OperationalError.
    if type(error) is sqlite3.DatabaseError:
        return ManifestDamaged(f"{FILE_NAME} is damaged ({error}). Remove it and sync again.")
    return ManifestError(
        f"{FILE_NAME} cannot be used ({error}). Is the store's folder writable, is the disk full,"
        " or does another program hold the file? Nothing is lost; sync again to go on."
    )


def _open(database: str, *, uri: bool = False) -> Manifest:
    try:
        connection = sqlite3.connect(
            database, uri=uri, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.OperationalError as error:
        raise ManifestError(
            f"{database} cannot be opened ({error}). Is the store's folder there, and writable?"
        ) from error
    try:
        _prepare(connection, read_only=uri)
    except sqlite3.Error as error:
        connection.close()
        raise _ours(error) from error
    except BaseException:
        connection.close()
        raise
    return Manifest(connection)


def _prepare(db: sqlite3.Connection, *, read_only: bool) -> None:
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
    if not read_only:
        db.execute("PRAGMA journal_mode = WAL")
        # FULL: in WAL mode, NORMAL would lose the last commits at a power failure, and with them
        # the knowledge of what was in flight.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        if not tables:
            _create(db)


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        # Look again: another process may have created it while this one waited.
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in _SCHEMA.split(";"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def set_aside(path: Path) -> None:
    """Rename a file that is no manifest, with what belongs to it, so that nothing is lost."""
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    aside = next(
        name
        for name in (stem, *(f"{stem}-{number}" for number in range(1, 1000)))
        if not path.with_name(name).exists()
    )
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(path.with_name(aside + suffix))
