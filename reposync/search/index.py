"""The side file that is searched: words, vectors and texts of all chunks that the manifest notes.

All of it is derived, and is made anew when it is missing, damaged or of another version. A file of
a repository is the unit: it is written in one transaction with its *stamp*, which says for what
rows of the manifest that was done.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reposync.manifest import RepositoryKey
from reposync.search.words import Words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

FILE_NAME = "reposync-search.sqlite3"
APPLICATION_ID = 0x72737378  # "rssx"
VERSION = 1
"""Raise it when tables, words or vectors are made otherwise: the file is then made anew."""

BUSY_SECONDS = 30

_TABLES = """
CREATE TABLE repositories (
    number INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL, database TEXT NOT NULL, collection TEXT NOT NULL, name TEXT NOT NULL,
    model TEXT NOT NULL, seen TEXT NOT NULL DEFAULT '',
    UNIQUE (tenant, database, collection, name)
);
CREATE TABLE files (
    number INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL, path TEXT NOT NULL,
    stamp BLOB NOT NULL, vectors BLOB NOT NULL,
    UNIQUE (repository, path)
);
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY,
    file INTEGER NOT NULL, position INTEGER NOT NULL,
    id TEXT NOT NULL, language TEXT NOT NULL, content BLOB NOT NULL,
    UNIQUE (file, position)
);
CREATE INDEX chunks_by_language ON chunks (language, file);
CREATE TABLE checks (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
"""
# Words come ready made (see `words`), so that the tokenizer has nothing to do but to stem.
_WORDS = """
CREATE VIRTUAL TABLE words USING fts5(
    path, symbol, text, tokenize = "porter ascii tokenchars '_'"
)
"""


class IndexUnusable(Exception):
    """The side file cannot be used where it is; `is_damage`: removed, it can."""

    def __init__(self, message: str, *, is_damage: bool = False) -> None:
        super().__init__(message)
        self.is_damage = is_damage


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """One row of the collection; `vector` is of length one, or None if there is none."""

    id: str
    document: str
    metadata: Mapping[str, Any]
    vector: NDArray[np.float32] | None


class SearchIndex:
    """One connection to the side file, or to one in memory."""

    def __init__(self, db: sqlite3.Connection, *, writable: bool = True) -> None:
        self.db = db
        self.writable = writable
        self.turn = threading.RLock()
        self.has_words = bool(_one(db, "SELECT count(*) FROM sqlite_master WHERE name = 'words'"))

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[None]:
        """What is read is of one moment; what is written is all or nothing."""
        with usable():
            self.db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    # -- what it is in step with -----------------------------------------------------------------

    def repositories(self) -> dict[RepositoryKey, int]:
        """The numbers of all repositories that it has something of."""
        query = "SELECT tenant, database, collection, name, number FROM repositories"
        with usable():
            return {RepositoryKey(*row[:4]): row[4] for row in self.db.execute(query)}

    def seen(self, key: RepositoryKey) -> str:
        """By which state of the manifest a repository was last brought in step; "" if none."""
        with usable():
            row = self._repository(key)
        return str(row[2]) if row else ""

    def note_seen(self, repository: int, seen: str) -> None:
        """Note that a repository is in step with that state of the manifest."""
        with self.transaction(write=True):
            self.db.execute("UPDATE repositories SET seen = ? WHERE number = ?", (seen, repository))

    def check(self, name: str) -> str:
        """What was noted by `note_check`; "" if nothing."""
        with usable():
            row = self.db.execute("SELECT value FROM checks WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def note_check(self, name: str, value: str) -> None:
        """Note how something outside was when it was last compared with this."""
        with self.transaction(write=True):
            self.db.execute("INSERT OR REPLACE INTO checks VALUES (?, ?)", (name, value))

    def stamps(self, key: RepositoryKey) -> dict[str, bytes]:
        """The stamp of each file of a repository, by path."""
        query = "SELECT path, stamp FROM files WHERE repository = ?"
        with usable():
            row = self._repository(key)
            return dict(self.db.execute(query, row[:1])) if row else {}

    def ids(self, key: RepositoryKey) -> set[str]:
        """The ids of all chunks of a repository."""
        query = (
            "SELECT id FROM chunks JOIN files ON files.number = chunks.file WHERE repository = ?"
        )
        with usable():
            row = self._repository(key)
            return {row_id for (row_id,) in self.db.execute(query, row[:1])} if row else set()

    def _repository(self, key: RepositoryKey) -> tuple[int, str, str] | None:
        """Its number, its model and what it has seen."""
        row: tuple[int, str, str] | None = self.db.execute(
            "SELECT number, model, seen FROM repositories"
            " WHERE tenant = ? AND database = ? AND collection = ? AND name = ?",
            key.parts,
        ).fetchone()
        return row

    def chunk(self, number: int) -> tuple[RepositoryKey, IndexedChunk]:
        """A chunk by its number, without its vector."""
        query = (
            "SELECT tenant, database, collection, name, id, content FROM chunks c"
            " JOIN files f ON f.number = c.file JOIN repositories r ON r.number = f.repository"
            " WHERE c.number = ?"
        )
        with usable():
            *key, row_id, content = self.db.execute(query, (number,)).fetchone()
            document, metadata = json.loads(zlib.decompress(content))
        return RepositoryKey(*key), IndexedChunk(row_id, document, metadata, None)

    # -- writing ---------------------------------------------------------------------------------

    def add_repository(self, key: RepositoryKey, model: str) -> int:
        """The number of a repository; what is there of it goes if it is of another model."""
        with self.transaction(write=True):
            row = self._repository(key)
            if row is not None and row[1] == model:
                return row[0]
            if row is not None:
                self._remove(row[0])
            cursor = self.db.execute(
                "INSERT INTO repositories (tenant, database, collection, name, model)"
                " VALUES (?, ?, ?, ?, ?)",
                (*key.parts, model),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def remove_repository(self, key: RepositoryKey) -> None:
        """Take a repository out."""
        with self.transaction(write=True):
            row = self._repository(key)
            if row is not None:
                self._remove(row[0])

    def shrink(self) -> None:
        """Give the room of what was removed back to the disk, so that nothing of it can be read."""
        with usable():
            if self.has_words:
                self.db.execute("INSERT INTO words (words) VALUES ('optimize')")
            self.db.execute("VACUUM")

    def write(
        self,
        repository: int,
        files: Mapping[str, tuple[bytes, Sequence[IndexedChunk]]],
        gone: Iterable[str],
        words: Words,
    ) -> None:
        """Put files in, in place of what is there of them, by path: (stamp, chunks).

        Args:
            repository: its number.
            files: what to write.
            gone: paths of files to take out.
            words: makes words of texts.
        """
        with self.transaction(write=True):
            # Whoever wrote last knows what this is in step with, once all is written.
            self.db.execute("UPDATE repositories SET seen = '' WHERE number = ?", (repository,))
            for path in gone:
                self._remove_file(repository, path)
            for path, (stamp, chunks) in files.items():
                self._remove_file(repository, path)
                self._write_file(repository, path, stamp, chunks, words)

    def _write_file(
        self,
        repository: int,
        path: str,
        stamp: bytes,
        chunks: Sequence[IndexedChunk],
        words: Words,
    ) -> None:
        file = self.db.execute(
            "INSERT INTO files (repository, path, stamp, vectors) VALUES (?, ?, ?, ?)",
            (repository, path, stamp, _packed(chunks)),
        ).lastrowid
        path_words = words.of(path)
        for position, chunk in enumerate(chunks):
            content = json.dumps([chunk.document, dict(chunk.metadata)])
            number = self.db.execute(
                "INSERT INTO chunks (file, position, id, language, content) VALUES (?, ?, ?, ?, ?)",
                (
                    *(file, position, chunk.id, str(chunk.metadata.get("language", ""))),
                    zlib.compress(content.encode(), 1),
                ),
            ).lastrowid
            if self.has_words:
                symbol = words.of(str(chunk.metadata.get("symbol", "")))
                self.db.execute(
                    "INSERT INTO words (rowid, path, symbol, text) VALUES (?, ?, ?, ?)",
                    (number, path_words, symbol, words.of(chunk.document)),
                )

    def _remove(self, repository: int) -> None:
        paths = self.db.execute("SELECT path FROM files WHERE repository = ?", (repository,))
        for (path,) in paths.fetchall():
            self._remove_file(repository, path)
        self.db.execute("DELETE FROM repositories WHERE number = ?", (repository,))

    def _remove_file(self, repository: int, path: str) -> None:
        row = self.db.execute(
            "SELECT number FROM files WHERE repository = ? AND path = ?", (repository, path)
        ).fetchone()
        if row is None:
            return
        if self.has_words:
            self.db.execute(
                "DELETE FROM words WHERE rowid IN (SELECT number FROM chunks WHERE file = ?)", row
            )
        self.db.execute("DELETE FROM chunks WHERE file = ?", row)
        self.db.execute("DELETE FROM files WHERE number = ?", row)


def open_file(path: Path) -> SearchIndex:
    """Open or make the side file; one that is of another version is made anew.

    Raises:
        IndexUnusable: it can be neither written nor read there, or it is damaged.
    """
    try:
        with usable():
            return SearchIndex(_connected(str(path)))
    except _OutOfDate:
        with usable():
            remove(path)
            return SearchIndex(_connected(str(path)))
    except IndexUnusable as error:
        if error.is_damage:
            raise
        return _read_only(path)


def open_memory() -> SearchIndex:
    """One in memory, gone when it is closed."""
    with usable():
        return SearchIndex(_connected(":memory:"))


def remove(path: Path) -> None:
    """Remove the side file, with what belongs to it."""
    for suffix in ("-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def has_fts5() -> bool:
    """Whether this Python's SQLite can search for words."""
    with closing(sqlite3.connect(":memory:")) as db:
        try:
            db.execute(_WORDS)
        except sqlite3.OperationalError:
            return False
    return True


def sqlite_version() -> str:
    """Of the SQLite that this Python was built with."""
    return sqlite3.sqlite_version


class _OutOfDate(Exception):
    """The file is another program's, or of another version."""


def _one(db: sqlite3.Connection, query: str) -> Any:
    return db.execute(query).fetchone()[0]


def _connected(database: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        database, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        # Vectors are read in long pieces; must come before the first table.
        db.execute("PRAGMA page_size = 16384")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # it is derived: a power failure may undo it
        _prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    if _is_ours(db):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if not _is_ours(db):  # look again: another process may have made it meanwhile
            for statement in _TABLES.split(";\n"):
                db.execute(statement)
            if has_fts5():
                db.execute(_WORDS)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_version()}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _is_ours(db: sqlite3.Connection) -> bool:
    """False if it is empty; raises `_OutOfDate` if it is something else."""
    if not _one(db, "SELECT count(*) FROM sqlite_master"):
        return False
    about = _one(db, "PRAGMA application_id"), _one(db, "PRAGMA user_version")
    if about != (APPLICATION_ID, _version()):
        raise _OutOfDate
    return True


def _version() -> int:
    return 2 * VERSION + has_fts5()


def _read_only(path: Path) -> SearchIndex:
    """The side file in a folder that cannot be written."""
    with usable():
        db = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True, isolation_level=None)
        try:
            if _is_ours(db):
                return SearchIndex(db, writable=False)
        except BaseException:
            db.close()
            raise
        db.close()
    raise IndexUnusable(f"{path} is empty")


def _packed(chunks: Sequence[IndexedChunk]) -> bytes:
    """The vectors of a file's chunks, one after the other; what has none gets one of zeros."""
    import numpy as np

    length = next((chunk.vector.size for chunk in chunks if chunk.vector is not None), 0)
    nothing = np.zeros(length, dtype=np.float32)
    return b"".join(
        (nothing if chunk.vector is None else chunk.vector).tobytes() for chunk in chunks
    )


@contextmanager
def usable() -> Iterator[None]:
    """Whatever SQLite complains of is an `IndexUnusable`."""
    try:
        yield
    except (sqlite3.Error, OSError, zlib.error) as error:
        operational = isinstance(error, (sqlite3.OperationalError, OSError))
        lacks_a_table = re.match("no such (table|column)|vtable", str(error)) is not None
        raise IndexUnusable(
            f"{type(error).__name__}: {error}", is_damage=not operational or lacks_a_table
        ) from error
