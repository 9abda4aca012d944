"""Repositories, files and chunks in pages: the newest first, each page as fast as the first one.

A page begins behind the last entry of the page before (a keyset), and never at a count of entries:
what a sync adds or takes away meanwhile neither repeats nor hides what is there all the while.
"""

from __future__ import annotations

from dataclasses import dataclass

from reposync.manifest.database import Database
from reposync.naming import BESIDE

NEWEST = 2**63 - 1
"""A number above that of any entry."""


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """A repository, with its totals."""

    id: int
    name: str
    collection: str
    path: str
    model: str
    files: int
    chunks: int
    runs: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file; `stored` of its chunks are in the collection."""

    id: int
    path: str
    stored: int
    size: int | None
    content_hash: str | None
    skip: str | None
    redo: str | None
    encoding: str | None


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk that is in the collection; where it lies is None if it was written long ago."""

    file: int
    path: str
    id: str
    chunk_index: int | None
    start_line: int | None
    end_line: int | None
    symbol: str | None


class Listings(Database):
    """The part of the manifest that is shown in pages."""

    def totals(self, tenant: str, database: str) -> tuple[int, int]:
        """How many repositories a database has, and how many runs they had."""
        rows = self._all(
            "SELECT coalesce(sum(collection NOT GLOB ?), 0), coalesce(sum(run_count), 0)"
            " FROM repositories WHERE tenant = ? AND database = ?",
            BESIDE, tenant, database,
        )  # fmt: skip
        return int(rows[0][0]), int(rows[0][1])

    def totals_of(self, repository: int) -> RepositoryRow:
        """A repository, with its totals."""
        rows = self._all(f"{_REPOSITORIES} WHERE id = ?", repository)
        return RepositoryRow(*rows[0])

    def repository_page(
        self, tenant: str, database: str, before: int, limit: int
    ) -> list[RepositoryRow]:
        """Repositories, the one that was noted last first; not those that are only being built."""
        rows = self._all(
            f"{_REPOSITORIES} WHERE tenant = ? AND database = ? AND id < ?"
            " AND collection NOT GLOB ? ORDER BY id DESC LIMIT ?",
            tenant, database, before, BESIDE, limit,
        )  # fmt: skip
        return [RepositoryRow(*row) for row in rows]

    def file_row(self, repository: int, path: str) -> FileRow | None:
        """One file."""
        rows = self._all(f"{_FILES} WHERE repository = ? AND path = ?", repository, path)
        return FileRow(*rows[0]) if rows else None

    def file_page(self, repository: int, before: int, limit: int) -> list[FileRow]:
        """Files, the one that was noted last first."""
        rows = self._all(
            f"{_FILES} WHERE repository = ? AND id < ? ORDER BY id DESC LIMIT ?",
            repository,
            before,
            limit,
        )
        return [FileRow(*row) for row in rows]

    def chunk_page(self, repository: int, file: int, after: str, limit: int) -> list[ChunkRow]:
        """Chunks of a file by id, those after the id `after`, then those of the older files."""
        page = self.chunk_page_of(repository, file, after, limit)
        if len(page) < limit:
            page += self._chunks(
                "f.repository = ? AND f.id < ?", repository, file, limit=limit - len(page)
            )
        return page

    def chunk_page_of(self, repository: int, file: int, after: str, limit: int) -> list[ChunkRow]:
        """Chunks of one file by id, those after the id `after`."""
        return self._chunks(
            "f.repository = ? AND f.id = ? AND c.id > ?", repository, file, after, limit=limit
        )

    def noted_chunks(self, repository: int) -> list[tuple[str, str, bytes, bytes, int]]:
        """Every row that is noted, in flight or not, file by file in the order of its chunks.

        Returns:
            (path, id, text hash, digest, stored) of each.
        """
        return self._all(
            "SELECT f.path, c.id, c.text_hash, c.digest, c.stored"
            " FROM files f CROSS JOIN chunks c ON c.file = f.id WHERE f.repository = ?"
            " ORDER BY f.path, c.chunk_index, c.id",
            repository,
        )

    def _chunks(self, condition: str, *arguments: object, limit: int) -> list[ChunkRow]:
        query = f"{_CHUNKS} WHERE {condition} AND c.stored != 0 ORDER BY f.id DESC, c.id LIMIT ?"
        return [ChunkRow(*row) for row in self._all(query, *arguments, limit)]


_REPOSITORIES = (
    "SELECT id, name, collection, path, model, file_count, chunk_count, run_count FROM repositories"
)
_FILES = "SELECT id, path, stored_chunks, size, content_hash, skip, redo, encoding FROM files"
# CROSS JOIN: in this order, or SQLite would go through all chunks of all repositories.
_CHUNKS = (
    "SELECT f.id, f.path, c.id, c.chunk_index, c.start_line, c.end_line, c.symbol"
    " FROM files f CROSS JOIN chunks c ON c.file = f.id"
)
