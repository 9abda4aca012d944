"""`export_repository`: one repository's index as files that any store can take in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reposync.collection import Collection
from reposync.config import SyncConfig
from reposync.errors import ConfigError
from reposync.lock import ChromaLock
from reposync.manifest import Manifest, RepositoryRecord
from reposync.mend import cached_vectors
from reposync.opened import Opened, opened, opened_store
from reposync.operations.alone import no_syncs, patience
from reposync.operations.archive import About, ArchivedChunk, ArchivedFile, ArchiveWriter
from reposync.operations.staging import new_folder, staged
from reposync.parts import parts
from reposync.reconcile import open_and_compare
from reposync.records import Known
from reposync.report import Report
from reposync.result import SourceInfo, SyncResult
from reposync.rows import KnownRow, row_digest
from reposync.swap import settled
from reposync.words import data_size, encodable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

PAGE_ROWS = 256
"""Read in one hold of the store lock."""

CHANGED = "rows were changed by others"


class ExportReport(Report):
    """What `export_repository` wrote.

    Attributes:
        path: the folder of the export.
        repository: its name.
        collection: where its rows are.
        model: fingerprint of the model that made the vectors.
        files: how many are in it, skipped ones included.
        chunks: how many are in it, with their vectors.
        unfinished: files that a sync had not finished, or whose rows others changed: what is sound
            of them is in it, and the next sync after an import reads them again.
        left_out: rows that are noted, and missing, changed by others, or without a vector.
        bytes: how long all of it is.
        duration_seconds: of the whole call.
    """

    path: str
    repository: str
    collection: str
    model: str
    files: int
    chunks: int
    unfinished: int
    left_out: int
    bytes: int
    duration_seconds: float

    @property
    def ok(self) -> bool:
        """True if all files are in it as a sync had finished them."""
        return not self.unfinished

    def __str__(self) -> str:
        text = (
            f"{self.path}: {self.repository}, {self.files} files, {self.chunks} chunks,"
            f" {data_size(self.bytes)}, exported in {self.duration_seconds:.2f} s"
        )
        if self.ok:
            return text
        return f"{text}; {self.unfinished} files unfinished, {self.left_out} rows left out"


def export_repository(
    name: str,
    dest: str | os.PathLike[str],
    *,
    store: object = None,
    collection: str | None = None,
    config: SyncConfig | None = None,
) -> ExportReport:
    """Write a repository's files, chunks and vectors to a new folder, for any store to import.

    Nothing is computed, and the store lock is held for a page at a time; no sync of the repository
    runs meanwhile. The folder appears at `dest` when it is complete. It holds the texts that are
    indexed, and the path that they were synced from.

    Args:
        name: the repository's name.
        dest: a folder that is not there yet, or empty; not in the store's folder.
        store: as for `reposync.sync_repository`.
        collection: its collection; needed only if repositories of one name are in several.
        config: its `lock_timeout` says for how long to wait for the lock, and for a sync.

    Raises:
        ConfigError: an argument cannot be right; `UnknownRepository` is one.
        SyncInProgress, LockTimeout: somebody else holds what is needed for too long.
        IndexDamaged: the vectors cannot be read; a sync mends that.
        StoreUnavailable: the store or the disk refuses.

    >>> from reposync import export_repository
    >>> export = export_repository("project", "exports/project", store="chroma")
    >>> export.ok, export.files, export.chunks
    (True, 3, 2)
    """
    began = time.monotonic()
    config = config or SyncConfig()
    with (
        opened_store(store, **patience(config)) as found,
        opened(found, name, collection, write=True) as repository,
    ):
        target = new_folder(dest, outside=found.folder)
        lock = ChromaLock(found, config.lock_timeout)
        with (
            settled(found, lock, repository.manifest, repository.key),
            no_syncs(found, lock, [repository.key]),
            staged(target) as staging,
            ArchiveWriter(staging) as writer,
        ):
            pages = _Pages(repository, lock)
            for file, chunks, vectors in pages:
                writer.add(file, chunks, vectors)
            size = writer.finish(_about(repository, writer))
    return ExportReport(
        path=encodable(str(target)),
        repository=name,
        collection=repository.key.collection,
        model=repository.record.model,
        files=writer.files,
        chunks=writer.chunks,
        unfinished=pages.unfinished,
        left_out=pages.left_out,
        bytes=size,
        duration_seconds=time.monotonic() - began,
    )


def _about(repository: Opened, writer: ArchiveWriter) -> About:
    key, record = repository.key, repository.record
    return About(
        repository=key.name,
        collection=key.collection,
        path=record.path,
        model=record.model,
        dimension=writer.dimension,
        recipe=record.recipe,
        files=writer.files,
        chunks=writer.chunks,
        source=_source(repository.manifest, record),
    )


def _source(manifest: Manifest, record: RepositoryRecord) -> SourceInfo | None:
    run = manifest.last_good_run(record.id)
    if run is None or run.result is None:
        return None
    return SyncResult.model_validate_json(run.result).source


class _Found(NamedTuple):
    """One row of the collection, with its vector."""

    chunk: ArchivedChunk
    vector: Vector


class _Pages:
    """Each file of a repository, by path, with its chunks, in order, and their vectors.

    Attributes:
        unfinished: how many of those files a sync has to read again.
        left_out: how many rows of those files were not as they are noted.
    """

    def __init__(self, repository: Opened, lock: ChromaLock) -> None:
        self._manifest, self._record, self._lock = repository.manifest, repository.record, lock
        self._name = repository.key.name
        self._dimension = 0
        self.unfinished = self.left_out = 0
        collection = open_and_compare(
            repository.store,
            lock,
            repository.manifest,
            repository.key,
            repository.record,
            repository.record.model,
        )
        if collection is None:
            raise ConfigError(
                f"The collection of {self._name!r} is gone. Sync again: that writes it anew,"
                " computing nothing; then export it."
            )
        self._collection = collection

    def __iter__(self) -> Iterator[tuple[ArchivedFile, list[ArchivedChunk], Vector]]:
        for page in parts(self._files(), PAGE_ROWS, weigh=lambda file: len(file[1])):
            wanted = {row_id: row for _, rows in page for row_id, row in rows.items()}
            found = self._read(wanted)
            for known, rows in page:
                mine = [found[row_id] for row_id in rows if row_id in found]
                self.left_out += len(rows) - len(mine)
                redo = known.redo or (CHANGED if len(mine) < len(rows) else None)
                self.unfinished += redo is not None
                if mine or redo is None:
                    yield self._entry(known, redo, mine)

    def _files(self) -> Iterator[tuple[Known, dict[str, KnownRow]]]:
        """Each file with its rows."""
        for path, known in sorted(self._manifest.files(self._record.id).items()):
            yield known, self._manifest.rows(self._record.id, path)

    def _read(self, wanted: dict[str, KnownRow]) -> dict[str, _Found]:
        """Those rows that are as they are noted, whatever was done to the collection."""
        found = {}
        for ids in parts(wanted, PAGE_ROWS):
            with self._lock.hold(write=False):
                content = self._collection.contents(ids)
            sound = [row for row in content if self._is_ours(row[1], row[2], wanted[row[0]])]
            vectors = self._vectors(self._collection, sound)
            for row_id, document, metadata in sound:
                if row_id in vectors and self._fits(vectors[row_id]):
                    chunk = ArchivedChunk(id=row_id, document=document, metadata=metadata)
                    found[row_id] = _Found(chunk, vectors[row_id])
        return found

    def _is_ours(self, document: str, metadata: dict[str, object], known: KnownRow) -> bool:
        is_noted = row_digest(document, metadata) == known.digest
        return is_noted and metadata.get("model") == self._record.model

    def _vectors(
        self, collection: Collection, rows: Sequence[tuple[str, str, dict[str, object]]]
    ) -> dict[str, Vector]:
        """From the cache, as they were computed; else as the collection has them."""
        vectors = cached_vectors(self._manifest, rows)
        missing = [row_id for row_id, _, _ in rows if row_id not in vectors]
        if missing:
            with self._lock.hold(write=False):
                vectors |= collection.readable_vectors(missing)
        return vectors

    def _fits(self, vector: Vector) -> bool:
        import numpy as np

        self._dimension = self._dimension or vector.size
        return vector.size == self._dimension and bool(np.isfinite(vector).all())

    def _entry(
        self, known: Known, redo: str | None, rows: Sequence[_Found]
    ) -> tuple[ArchivedFile, list[ArchivedChunk], Vector]:
        import numpy as np

        file = ArchivedFile(
            path=known.path,
            content_hash=known.content_hash,
            skip=known.skip,
            redo=redo,
            chunks=known.chunks,
            rules=known.rules,
            encoding=known.encoding,
            redactions=tuple((one.line, one.kind) for one in known.redactions),
        )
        order = sorted(rows, key=lambda row: (row.chunk.metadata["chunk_index"], row.chunk.id))
        vectors = [row.vector for row in order]
        stack = np.stack(vectors) if vectors else np.zeros((0, self._dimension), np.float32)
        return file, [row.chunk for row in order], stack
