"""What is in a store, in pages: repositories, files and chunks, the newest first."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import Literal

from reposync.live import look
from reposync.manifest import ChunkRow, FileRow, Manifest, RepositoryKey, RepositoryRow
from reposync.operations.cursor import PAGE_SIZE, Cursor
from reposync.operations.damage import Signs
from reposync.operations.looking import known_repository, known_store
from reposync.operations.status import State, judge
from reposync.report import Page, Report
from reposync.store import Store
from reposync.words import count, one_line


class RepositoryEntry(Report):
    """One repository of a store.

    Attributes:
        path: the folder or URL that was synced last.
        files, chunks, runs: how many are noted; skipped files are among `files`.
        model: fingerprint of the embedding model.
        last_good_at: when a sync last made the collection exact.
    """

    name: str
    collection: str
    path: str
    state: State
    files: int
    chunks: int
    runs: int
    model: str
    last_good_at: datetime | None = None

    def __str__(self) -> str:
        last = f"{self.last_good_at:%Y-%m-%d %H:%M:%S}" if self.last_good_at else "never"
        return (
            f"{self.name}: {self.state}, {count(self.files, 'file')},"
            f" {count(self.chunks, 'chunk')} in {self.collection}, last good sync {last},"
            f" {self.path}"
        )

    def _row(self) -> dict[str, object]:
        cells = super()._row()
        return {name: cell for name, cell in cells.items() if name != "model"}


class FileEntry(Report):
    """One file of a repository.

    Attributes:
        state: "indexed"; "skipped", and `skip` says why; "unfinished": what the collection holds of
            it is not what it should, because `redo`; the next sync reads it again.
        chunks: how many of its chunks are in the collection.
        size: in bytes; None if its stat is not to be trusted.
        content_hash: SHA-256 of its bytes, in hex; None if it was not read.
        encoding: None if it is not known.
    """

    path: str
    state: Literal["indexed", "skipped", "unfinished"]
    chunks: int
    size: int | None = None
    content_hash: str | None = None
    skip: str | None = None
    redo: str | None = None
    encoding: str | None = None

    def __str__(self) -> str:
        why = self.redo if self.state == "unfinished" else self.skip
        reason = f" ({one_line(why)})" if why else ""
        return f"{one_line(self.path)}: {self.state}{reason}, {count(self.chunks, 'chunk')}"

    def _row(self) -> dict[str, object]:
        return {
            "path": self.path,
            "state": self.state,
            "chunks": self.chunks,
            "size_bytes": self.size,
            "encoding": self.encoding,
            "reason": self.redo or self.skip,
        }


class ChunkEntry(Report):
    """One chunk that is in the collection.

    Attributes:
        id: its id in the collection.
        chunk_index, start_line, end_line, symbol: as in the row's metadata; None for one that an
            older version wrote, until its file changes.
    """

    id: str
    path: str
    chunk_index: int | None = None
    start_line: int | None = None
    end_line: int | None = None
    symbol: str | None = None

    def __str__(self) -> str:
        lines = f":{self.start_line}-{self.end_line}" if self.start_line is not None else ""
        symbol = f"  {one_line(self.symbol)}" if self.symbol else ""
        return f"{self.id} {one_line(self.path)}{lines}{symbol}"

    def _row(self) -> dict[str, object]:
        lines = None if self.start_line is None else f"{self.start_line}–{self.end_line}"
        return {"path": self.path, "lines": lines, "symbol": self.symbol, "id": self.id}


def list_repositories(
    *, store: object = None, page_size: int = PAGE_SIZE, cursor: str | None = None
) -> Page[RepositoryEntry]:
    """The repositories of a store, the one that was added last first.

    >>> from reposync import list_repositories
    >>> page = list_repositories(store="chroma")
    >>> [(entry.name, entry.state, entry.files) for entry in page.items], page.total
    ([('project', 'synced', 3)], 1)

    Args:
        store: as for `reposync.sync_repository`.
        page_size: how many entries a page has at most.
        cursor: `Page.next_cursor` of the page before.

    Raises:
        ConfigError: nothing was ever synced into the store, or an argument cannot be right.
        ManifestError: the local state cannot be read.
    """
    at = Cursor("repository", cursor, page_size)
    with known_store(store) as (place, manifest):
        here = place.tenant, place.database
        with manifest.snapshot():
            rows = manifest.repository_page(*here, at.number, at.limit)
            total, _ = manifest.totals(*here)
        rows, following = at.cut(rows)
        signs = Signs(place)
        items = tuple(_repository(place, manifest, signs, row) for row in rows)
    return Page[RepositoryEntry](items=items, total=total, next_cursor=following)


def list_files(
    name: str,
    *,
    store: object = None,
    collection: str | None = None,
    page_size: int = PAGE_SIZE,
    cursor: str | None = None,
) -> Page[FileEntry]:
    """The files of a repository, skipped ones too, the one that was noted last first.

    >>> from reposync import list_files
    >>> for file in sorted(list_files("project", store="chroma").items, key=lambda f: f.path):
    ...     print(file)
    README.md: indexed, 1 chunk
    greet.py: indexed, 1 chunk
    logo.png: skipped (binary), 0 chunks

    Args:
        name: the repository's name.
        store, page_size, cursor: as for `list_repositories`.
        collection: needed only if repositories of that name are in several.

    Raises:
        UnknownRepository: no repository of that name was ever synced into the store.
        ConfigError: an argument cannot be right.
        ManifestError: the local state cannot be read.
    """
    at = Cursor("file", cursor, page_size)
    with known_repository(store, name, collection) as found:
        manifest, repository = found.manifest, found.record.id
        with manifest.snapshot():
            rows = manifest.file_page(repository, at.number, at.limit)
            total = manifest.totals_of(repository).files
    rows, following = at.cut(rows)
    return Page[FileEntry](items=tuple(map(_file, rows)), total=total, next_cursor=following)


def list_chunks(
    name: str,
    path: str | None = None,
    *,
    store: object = None,
    collection: str | None = None,
    page_size: int = PAGE_SIZE,
    cursor: str | None = None,
) -> Page[ChunkEntry]:
    """The chunks of a file, or of all files of a repository, as the local state knows them.

    Within a page a file's chunks come in the file's order. What a sync is just writing or deleting
    is not among them.

    >>> from reposync import list_chunks
    >>> for chunk in list_chunks("project", "greet.py", store="chroma").items:
    ...     print(chunk.path, chunk.start_line, chunk.end_line, chunk.symbol)
    greet.py 1 3 greet

    Args:
        name, store, collection, page_size, cursor: as for `list_files`.
        path: the file, relative to the repository; None: all files, the newest first.

    Raises:
        UnknownRepository: no repository of that name was ever synced into the store.
        ConfigError: an argument cannot be right.
        ManifestError: the local state cannot be read.
    """
    at = Cursor("chunk", cursor, page_size)
    with known_repository(store, name, collection) as found:
        manifest, repository = found.manifest, found.record.id
        with manifest.snapshot():
            if path is None:
                rows = manifest.chunk_page(repository, at.number, at.name, at.limit)
                total = manifest.totals_of(repository).chunks
            else:
                file = manifest.file_row(repository, path)
                rows = (
                    manifest.chunk_page_of(repository, file.id, at.name, at.limit) if file else []
                )
                total = file.stored if file else 0
    rows, following = at.cut(rows)
    in_order = [
        row
        for _, chunks in groupby(rows, key=lambda row: row.file)
        for row in sorted(chunks, key=lambda row: row.chunk_index or 0)
    ]
    return Page[ChunkEntry](items=tuple(map(_chunk, in_order)), total=total, next_cursor=following)


def _repository(
    store: Store, manifest: Manifest, signs: Signs, row: RepositoryRow
) -> RepositoryEntry:
    key = RepositoryKey(store.tenant, store.database, row.collection, row.name)
    record = manifest.repository(key)
    assert record is not None
    state, _ = judge(signs, look(store, manifest, key, row.id), record)
    good = manifest.last_good_run(row.id)
    return RepositoryEntry(
        name=row.name,
        collection=row.collection,
        path=row.path,
        state=state,
        files=row.files,
        chunks=row.chunks,
        runs=row.runs,
        model=row.model,
        last_good_at=datetime.fromisoformat(good.started_at) if good else None,
    )


def _file(row: FileRow) -> FileEntry:
    state: Literal["indexed", "skipped", "unfinished"] = "indexed"
    if row.redo is not None:
        state = "unfinished"
    elif row.skip is not None:
        state = "skipped"
    return FileEntry(
        path=row.path,
        state=state,
        chunks=row.stored,
        size=row.size,
        content_hash=row.content_hash,
        skip=row.skip,
        redo=row.redo,
        encoding=row.encoding,
    )


def _chunk(row: ChunkRow) -> ChunkEntry:
    return ChunkEntry(
        id=row.id,
        path=row.path,
        chunk_index=row.chunk_index,
        start_line=row.start_line,
        end_line=row.end_line,
        symbol=row.symbol,
    )
