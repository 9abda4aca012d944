"""`import_repository`: an export becomes a repository of a store, computing nothing."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, cast

from reposync.batch import FileWork, batches
from reposync.chunk import Chunker
from reposync.commit import Committer
from reposync.config import SyncConfig
from reposync.embed import Embedder, ModelIdentity, make_embedder
from reposync.errors import (
    CollectionGone,
    EmbeddingError,
    EmbeddingMismatch,
    IndexDamaged,
    NameTaken,
)
from reposync.events import Events
from reposync.lock import ChromaLock
from reposync.manifest import Manifest, RepositoryKey, RepositoryRecord
from reposync.naming import check_collection_name
from reposync.operations.alone import no_syncs
from reposync.operations.archive import ArchivedFile
from reposync.operations.archived import Archive
from reposync.origin import Origin
from reposync.probe import owners_in_child
from reposync.records import Known
from reposync.report import Report
from reposync.request import Request
from reposync.result import FileFailure, SyncResult
from reposync.retry import Cancelled, Deadline
from reposync.rows import diff_rows
from reposync.run_record import RunRecord
from reposync.scan.clone import is_url
from reposync.scan.git import GitState
from reposync.scan.paths import unescape_path
from reposync.state import open_state
from reposync.store import Store
from reposync.swap import settled
from reposync.tally import Tally
from reposync.target import Target
from reposync.words import encodable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reposync.scan import Source

MAX_STARTS = 4


class ImportReport(Report):
    """What `import_repository` wrote.

    Attributes:
        path: the folder of the export.
        repository: its name.
        collection: where its rows are now.
        status: "complete", or "partial" if there are failures, or "cancelled" if
            `reposync.request_cancel` was called meanwhile; then call again, and it goes on.
        model: fingerprint of the model that made the vectors.
        files: how many are known now, skipped ones included.
        chunks: how many are in the collection now.
        written: how many of them were written by this call.
        resumed: an earlier call had begun, and this one went on.
        failures: files with chunks that the store refused.
        warnings: what you should know although it succeeded.
        duration_seconds: of the whole call.
    """

    path: str
    repository: str
    collection: str
    status: Literal["complete", "partial", "cancelled"]
    model: str
    files: int
    chunks: int
    written: int
    resumed: bool
    failures: tuple[FileFailure, ...] = ()
    warnings: tuple[str, ...] = ()
    duration_seconds: float

    @property
    def ok(self) -> bool:
        """True if all of it is in the store."""
        return self.status == "complete"

    def __str__(self) -> str:
        lines = [
            f"{self.repository}: {self.status}, {self.files} files, {self.chunks} chunks imported"
            f" into {self.collection} in {self.duration_seconds:.2f} s"
            + (" (took up an interrupted import)" if self.resumed else ""),
            *(f"  warning     {warning}" for warning in self.warnings),
            *(f"  failed      {failure}" for failure in self.failures[:10]),
        ]
        return "\n".join(lines)


def import_repository(
    src: str | os.PathLike[str],
    *,
    store: object = None,
    collection: str | None = None,
    embedding_function: object = None,
    config: SyncConfig | None = None,
) -> ImportReport:
    """Write a repository that `reposync.export_repository` wrote to files into a store.

    Nothing is computed. All of the export is read and checked before anything is written; then it
    is written as a sync writes, in short batches under the store lock. A following sync of the same
    files embeds nothing. If the call is killed, call it again: it goes on.

    Args:
        src: the folder of the export. Import only what you trust: whether a vector belongs to its
            text cannot be seen without computing it.
        store: as for `reposync.sync_repository`.
        collection: the collection's name; default: the one that it was exported from.
        embedding_function: the one that the repository was synced with, so that a new collection
            can remember it; not called. Default: all-MiniLM-L6-v2 if that made the vectors; else
            the collection remembers none.
        config: as for a sync, for what concerns the store.

    Raises:
        ConfigError: an argument cannot be right. `NameTaken` is one: the store has a repository of
            that name in that collection.
        ArchiveDamaged: the export is torn, or was edited; nothing was written.
        EmbeddingMismatch: `embedding_function` is not the one that made the vectors, or the
            collection belongs to another one.
        SyncInProgress, LockTimeout: somebody else holds what is needed for too long.
        StoreError: the store failed; call again, and it goes on.

    >>> from reposync import export_repository, import_repository
    >>> export = export_repository("project", "exports/move", store="chroma")
    >>> moved = import_repository("exports/move", store="elsewhere", embedding_function=embed)
    >>> moved.ok, moved.chunks
    (True, 2)
    """
    began = time.monotonic()
    archive = Archive(Path(src))
    archive.check()
    request = _request(archive, store, collection, embedding_function, config or SyncConfig())
    with (
        closing(request.store),
        open_state(request.store) as manifest,
        settled(request.store, request.lock, manifest, request.key),
        no_syncs(request.store, request.lock, [request.key]),
    ):
        result = _Import(archive, request, manifest).run()
    return ImportReport(
        path=encodable(str(archive.folder)),
        repository=result.repository,
        collection=result.collection,
        status=result.status,
        model=archive.about.model,
        files=result.files.scanned,
        chunks=result.chunks.total,
        written=result.chunks.added,
        resumed=result.resumed,
        failures=result.failures,
        warnings=result.warnings,
        duration_seconds=time.monotonic() - began,
    )


# -- what is asked for ---------------------------------------------------------------------------


def _request(
    archive: Archive,
    store: object,
    collection: str | None,
    function: object,
    config: SyncConfig,
) -> Request:
    about = archive.about
    if collection is not None:
        check_collection_name(collection)
    deadline = Deadline(config.deadline)
    opened = Store(
        store,
        attempts=config.max_attempts,
        deadline=deadline,
        request_timeout=config.request_timeout,
    )
    name = collection or about.collection
    return Request(
        origin=_origin(about.path),
        key=RepositoryKey(opened.tenant, opened.database, name, about.repository),
        store=opened,
        lock=ChromaLock(opened, config.lock_timeout),
        embedder=_embedder(archive, function, config),
        chunker=Chunker(),  # cuts nothing
        config=config.model_copy(update={"cache_vectors": True}),  # they come by way of the cache
        deadline=deadline,
    )


def _origin(location: str) -> Origin:
    """Where a repository was synced from; the opposite of `Origin.location`."""
    if is_url(location):
        return Origin(Path(location), url=location)
    return Origin(Path(os.fsdecode(unescape_path(location))))


def _embedder(archive: Archive, function: object, config: SyncConfig) -> Embedder:
    """Who made the vectors; nothing is embedded with it."""
    about = archive.about
    embedder = make_embedder(function, model_id=config.model_id)
    if embedder.identity.fingerprint == about.model:
        return embedder
    if function is None and config.model_id is None:
        identity = ModelIdentity(about.model, about.model, about.dimension or None)
        return Embedder(identity, _Unknown(), _compute_nothing)
    raise EmbeddingMismatch(
        f"The vectors of {archive.folder} were made by {about.model!r}, but embedding_function is"
        f" {embedder.identity.fingerprint!r}. Pass the function that the repository was synced"
        " with, or none."
    )


class _Unknown:
    """Stands for an embedding function of which nothing is known, and nothing is recorded."""


def _compute_nothing(texts: object) -> NoReturn:
    raise EmbeddingError("An import computes no vectors. Import again.")


# -- the work ------------------------------------------------------------------------------------


class _Source:
    """What the record of a run asks of the place that its files come from."""

    def __init__(self, archive: Archive) -> None:
        self.warnings: list[str] = []
        self._source = archive.about.source

    def state(self) -> GitState | None:
        found = self._source
        return None if found is None else GitState(found.commit, found.branch, found.dirty)


class _Import:
    """One import, told in the order in which it happens."""

    def __init__(self, archive: Archive, request: Request, manifest: Manifest) -> None:
        self.archive, self.request, self.manifest = archive, request, manifest
        self.since = time.time()
        run_id = f"{self._prefix}{uuid.uuid4().hex[:16]}"
        self.tally = Tally(Events(request.key.name, run_id=run_id))
        self.tally.files_total = archive.about.files

    @property
    def _prefix(self) -> str:
        """What the runs begin with that import this export."""
        return f"import-{self.archive.digest}-"

    def run(self) -> SyncResult:
        """Import, and record how it ended whatever happens."""
        record = self._claim()
        source = cast("Source", _Source(self.archive))
        log = RunRecord(self.request, source, self.manifest, record, self.tally, self.since)
        try:
            log.note_source()
            log.start()
            cancelled = False
            try:
                self._bring_in(record)
            except Cancelled:
                cancelled = True
            return log.end(cancelled=cancelled)
        except BaseException as error:
            log.end_badly(error)
            raise

    def _claim(self) -> RepositoryRecord:
        """Note the repository, unless there is one of that name."""
        request, manifest = self.request, self.manifest
        record = manifest.repository(request.key)
        if record is None or not manifest.files(record.id):
            if self._is_in_collection():
                raise self._taken()
            record = record or manifest.add_repository(request.key, request.location)
        else:
            run = manifest.last_run(record.id)
            if run is None or run.status == "complete" or not run.run_id.startswith(self._prefix):
                raise self._taken()
        about = self.archive.about
        manifest.describe(
            record.id, path=request.location, model=about.model, recipe=about.recipe, token=""
        )
        found = manifest.repository(request.key)
        assert found is not None
        return found

    def _is_in_collection(self) -> bool:
        """True if the collection has rows of that name, which somebody else wrote."""
        request = self.request
        with request.lock.hold(write=False):
            request.store.open()
            collection = request.store.find(request.key.collection)
            if collection is None:
                return False
            if request.store.kind == "folder":  # without loading an index that may be damaged
                owners = owners_in_child(request.store, collection)
                return owners is None or request.key.name in owners
            return bool(collection.ids(request.key.name))

    def _taken(self) -> NameTaken:
        key = self.request.key
        return NameTaken(
            f"{self.request.store.address} has a repository {key.name!r} in collection"
            f" {key.collection!r} already. Drop or rename that one first, or pass another"
            " collection= or store=."
        )

    def _bring_in(self, record: RepositoryRecord) -> None:
        """Start over when the collection turns out to be damaged or gone."""
        for starts in range(1, MAX_STARTS + 1):
            target = Target(self.request, self.manifest, record)
            last = starts == MAX_STARTS or self.request.store.kind == "memory"
            try:
                with self.tally.stage("commit"):
                    target.look()
                self._write(target, record)
            except CollectionGone:
                if last:
                    raise
                self.tally.start_over("collection gone")
            except IndexDamaged as damage:
                if last:
                    raise
                self.tally.warnings += target.make_anew(damage)
                self.tally.start_over("index mended")
            else:
                return

    def _write(self, target: Target, record: RepositoryRecord) -> None:
        committer = Committer(
            self.request, self.manifest, record, self.tally, before_writing=lambda: None
        )
        vectors: list[tuple[str, bytes, NDArray[np.float32]]] = []
        works = self._works(record, vectors)
        for batch in batches(works, self.request.config.batch_rows):
            self.request.deadline.check()
            self.manifest.keep_vectors(vectors)
            vectors.clear()
            # A file without a record was not complete when it was exported: a sync will finish it.
            batch.finished = [work for work in batch.finished if work.record is not None]
            with self.tally.stage("commit"):
                collection = target.collection() if batch.operations else None
            committer.commit(batch, collection)

    def _works(
        self,
        record: RepositoryRecord,
        vectors: list[tuple[str, bytes, NDArray[np.float32]]],
    ) -> Iterator[FileWork]:
        """What is to be written yet; the vectors of its rows are put into `vectors`."""
        known = self.manifest.files(record.id)
        for file, chunks, found in self.archive.content():
            noted = known.get(file.path)
            if noted is not None and _is_done(noted, file):
                self.tally.leave(file.path, "skipped" if file.skip else "unchanged", noted)
                continue
            rows = [chunk.row for chunk in chunks]
            stored = self.manifest.rows(record.id, file.path) if noted is not None else {}
            model = self.archive.about.model
            vectors += [(model, row.text_hash, one) for row, one in zip(rows, found, strict=True)]
            yield FileWork(
                file.path,
                "skipped" if file.skip else "added",
                diff_rows(rows, stored),
                file.record if file.redo is None else None,
            )


def _is_done(noted: Known, file: ArchivedFile) -> bool:
    """True if an earlier call has written all of a file."""
    here = (noted.content_hash, noted.skip, noted.chunks)
    return noted.redo is None and here == (file.content_hash, file.skip, file.chunks)
