"""Repositories, their files and rows, and the journal of what is in flight."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reposync.batch import Batch
from reposync.manifest.cache import VectorCache
from reposync.manifest.listing import Listings
from reposync.manifest.moves import Moves
from reposync.manifest.repository import RepositoryKey, RepositoryRecord
from reposync.manifest.runs import RunLog
from reposync.manifest.schema import IN_FLIGHT, OUTDATED, STORED
from reposync.naming import is_beside
from reposync.records import FileStat, Known, Redaction
from reposync.rows import FileRecord, KnownRow, Row

if TYPE_CHECKING:
    from reposync.manifest.cache import Vector

UNFINISHED = "unfinished in an earlier run"


class Manifest(VectorCache, RunLog, Listings, Moves):
    """The state of all repositories of one store."""

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
        """Every repository that is noted, by name; not those that are only being built."""
        rows = self._all(
            "SELECT tenant, database, collection, name,"
            " id, path, collection_id, model, recipe, token, checked FROM repositories"
            " ORDER BY name, id"
        )
        found = [(RepositoryKey(*row[:4]), RepositoryRecord(*row[4:])) for row in rows]
        return [(key, record) for key, record in found if not is_beside(key.collection)]

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
                    "UPDATE chunks SET stored = ?"
                    " WHERE file IN (SELECT id FROM files WHERE repository = ?)",
                    (IN_FLIGHT, repository),
                )
                db.execute(
                    "UPDATE files SET redo = ? WHERE repository = ? AND skip IS NULL",
                    (reason, repository),
                )

    def found_again(self, key: RepositoryKey, rows: Iterable[Row]) -> None:
        """Note that rows of repositories that share `key`'s collection are in it again."""
        with self.transaction() as db:
            db.executemany(
                "UPDATE chunks SET stored = ? WHERE id = ? AND file = (SELECT files.id FROM files"
                " JOIN repositories ON repositories.id = files.repository"
                " WHERE tenant = ? AND database = ? AND collection = ? AND name = ?"
                " AND files.path = ?)",
                (
                    (
                        STORED, row.id, key.tenant, key.database, key.collection,
                        row.metadata["repository"], row.path,
                    )
                    for row in rows
                ),
            )  # fmt: skip

    # -- files and rows --------------------------------------------------------------------------

    def files(self, repository: int) -> dict[str, Known]:
        """Every file that is noted, by path."""
        rows = self._all(
            "SELECT path, size, mtime_ns, ctime_ns, inode,"
            " content_hash, skip, redo, chunks, rules, encoding, redactions"
            " FROM files WHERE repository = ?",
            repository,
        )
        return {row[0]: _known(*row) for row in rows}

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
        rows = self._all("SELECT chunk_count FROM repositories WHERE id = ?", repository)
        return int(rows[0][0])

    def distrust(
        self, repository: int, reason: str, *, rows: bool, paths: Iterable[str] | None = None
    ) -> None:
        """Have the indexed files among `paths` read again; None: all of them.

        With `rows`, all rows of the repository are written again, too.
        """
        if paths is None:
            paths = self.files(repository)
        with self.transaction() as db:
            db.executemany(
                "UPDATE files SET redo = ? WHERE repository = ? AND path = ?"
                " AND (skip IS NULL OR redo NOTNULL)",
                ((reason, repository, path) for path in paths),
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
                    "UPDATE chunks SET stored = ? WHERE file = ? AND id = ?",
                    ((IN_FLIGHT, file, row_id) for row_id in ids),
                )

    def import_rows(
        self,
        repository: int,
        rows: Iterable[tuple[str, str, bytes, bytes, bool, Mapping[str, object]]],
        reason: str,
    ) -> None:
        """Note rows that were found in the collection.

        Args:
            repository: whose they are.
            rows: (path, id, text hash, digest, usable, metadata).
            reason: why their files must be read again.
        """
        by_path = defaultdict(list)
        for path, row_id, text_hash, digest, usable, metadata in rows:
            by_path[path].append(((row_id, text_hash, digest), usable, metadata))
        with self.transaction() as db:
            for path, found in by_path.items():
                file = self._redo(db, repository, path, reason)
                db.executemany(
                    _NOTE_CHUNK,
                    (
                        (file, *row, STORED if usable else OUTDATED, *_place(metadata))
                        for row, usable, metadata in found
                    ),
                )

    # -- the journal -----------------------------------------------------------------------------

    def begin(
        self,
        repository: int,
        model: str,
        batch: Batch,
        vectors: Mapping[bytes, Vector],
        reason: str = UNFINISHED,
    ) -> None:
        """Before the store is asked: keep the vectors and note which rows will be in flight.

        `vectors` are all those of the batch, since cached ones may have been evicted meanwhile.
        """
        with self.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO vectors (model, text_hash, vector) VALUES (?, ?, ?)",
                ((model, key, vector.tobytes()) for key, vector in vectors.items()),
            )
            # Sorted, so that files that came together are listed in the order of their paths.
            paths = sorted(batch.paths)
            files = {path: self._redo(db, repository, path, reason) for path in paths}
            db.executemany(
                _NOTE_CHUNK,
                (
                    (
                        *(files[row.path], row.id, row.text_hash, row.digest, IN_FLIGHT),
                        *_place(row.metadata),
                    )
                    for _, row in (*batch.writes, *batch.moves)
                ),
            )
            db.executemany(
                "UPDATE chunks SET stored = ? WHERE file = ? AND id = ?",
                ((IN_FLIGHT, files[path], row_id) for _, path, row_id in batch.deletes),
            )

    def finish(self, repository: int, batch: Batch) -> None:
        """After the store has answered: nothing of `batch` is in flight any more."""
        with self.transaction() as db:
            files = {path: self._file(db, repository, path) for path in batch.paths}
            db.executemany(
                "UPDATE chunks SET stored = ? WHERE file = ? AND id = ?",
                ((STORED, files[row.path], row.id) for _, row in (*batch.writes, *batch.moves)),
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
            " content_hash, skip, chunks, rules, encoding, redactions, redo)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
            " ON CONFLICT (repository, path) DO UPDATE SET size = excluded.size,"
            " mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, inode = excluded.inode,"
            " content_hash = excluded.content_hash, skip = excluded.skip,"
            " chunks = excluded.chunks, rules = excluded.rules, encoding = excluded.encoding,"
            " redactions = excluded.redactions, redo = NULL",
            (
                repository, record.path, *numbers,
                record.content_hash, record.skip, record.chunks, record.rules, record.encoding,
                json.dumps(record.redactions) if record.redactions else None,
            ),
        )  # fmt: skip


# No REPLACE: it would take rows away unseen by the triggers that keep the totals.
_NOTE_CHUNK = (
    "INSERT INTO chunks (file, id, text_hash, digest, stored,"
    " chunk_index, start_line, end_line, symbol) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (file, id) DO UPDATE SET text_hash = excluded.text_hash,"
    " digest = excluded.digest, stored = excluded.stored, chunk_index = excluded.chunk_index,"
    " start_line = excluded.start_line, end_line = excluded.end_line, symbol = excluded.symbol"
)


def _place(metadata: Mapping[str, object]) -> tuple[int | str | None, ...]:
    """Where a chunk lies in its file; None for what a stranger may have made of it."""
    numbers = (metadata.get(key) for key in ("chunk_index", "start_line", "end_line"))
    symbol = metadata.get("symbol")
    return (
        *(number if isinstance(number, int) else None for number in numbers),
        symbol if isinstance(symbol, str) else None,
    )


def _known(
    path: str,
    size: int | None,
    mtime_ns: int,
    ctime_ns: int,
    inode: int,
    *judged: Any,
) -> Known:
    stat = None if size is None else FileStat(size, mtime_ns, ctime_ns, inode)
    content_hash, skip, redo, chunks, rules, encoding, places = judged
    redactions = tuple(Redaction(*place) for place in json.loads(places)) if places else ()
    return Known(path, stat, content_hash, skip, redo, chunks, rules, encoding, redactions)
