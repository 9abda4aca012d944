"""One batch: vectors and intent first, then the store, then the record.

This order is what makes a kill at any instant harmless, see docs/reference/on-disk-layout.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from reposync.batch import Batch
from reposync.collection import Collection
from reposync.errors import EmbeddingMismatch, StoreRefused
from reposync.interrupt import uninterrupted
from reposync.manifest import Manifest, RepositoryRecord
from reposync.pace import Kind, Pace
from reposync.records import Failure
from reposync.request import Request
from reposync.rows import Row
from reposync.tally import Tally
from reposync.vectors import Embedded, vectors_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

MIN_GAP_SECONDS = 0.02
GAP_SHARE = 0.1

# So many rows refused, and not one accepted, say that nothing will be.
MAX_REFUSED = 8


class Committer:
    """Brings batches into one collection. Used by one thread."""

    def __init__(
        self,
        request: Request,
        manifest: Manifest,
        record: RepositoryRecord,
        tally: Tally,
        *,
        before_writing: Callable[[], None],
    ) -> None:
        self._manifest = manifest
        self._record = record
        self._store = request.store
        self._lock = request.lock
        self._request = request
        self._tally = tally
        self._before_writing = before_writing
        self._pace = Pace(request.config.max_lock_hold)
        self._failed: set[str] = set()
        self._put_off: set[str] = set()
        self._refused: set[str] = set()
        self._newest_vector = manifest.newest_vector()
        self._loaded = False

    def commit(self, batch: Batch, collection: Collection | None) -> None:
        """Embed what is new in `batch`, write it, record it, count it.

        Args:
            batch: the row operations and the files that they finish.
            collection: where the rows go; None if the batch has none.

        Raises:
            EmbeddingError: the embedding function is down.
            EmbeddingMismatch: its vectors do not belong in the collection.
            StoreError: the store failed; the journal says what was in flight.
        """
        if batch.operations:
            self._store.require_room()
        batch = batch.without(self._failed)
        with self._tally.stage("embed"):
            embedded = self._embed(batch)
        batch = batch.without(self._failed).put_off(embedded.beyond, self._put_off)
        vectors = _stack(embedded, [row.text_hash for _, row in batch.writes])
        if collection is not None and vectors is not None:
            collection.require(int(vectors.shape[1]), self._request.embedder.function)
        with self._tally.stage("commit"), uninterrupted():
            self._before_writing()
            if collection is not None and batch.operations:
                batch = self._write(batch, collection, vectors)
            self._manifest.finish(self._record.id, batch)
        self._count(batch, embedded)

    # -- vectors ---------------------------------------------------------------------------------

    def _embed(self, batch: Batch) -> Embedded:
        embedded = vectors_for(
            [row for _, row in batch.writes],
            self._request,
            self._manifest,
            keep=self._keep,
            on_retry=self._tally.note_embedding_retry,
            most=self._affordable,
        )
        self._tally.embedded += len(embedded.computed)
        for path, row in batch.writes:
            if error := embedded.refused.get(row.text_hash):
                self._fail(path, "embed", error)
            if row.text_hash in embedded.beyond:
                self._put_off.add(path)
                self._tally.put_off.add(path)
        return embedded

    @property
    def _affordable(self) -> int | None:
        """How many texts may still be embedded in this run; None: any number."""
        most = self._request.config.max_embeds
        return None if most is None else max(0, most - self._tally.embedded)

    def _keep(self, embedded: Embedded) -> None:
        model = self._request.model
        self._manifest.keep_vectors(
            (model, key, vector) for key, vector in embedded.computed.items()
        )

    # -- the store -------------------------------------------------------------------------------

    def _write(self, batch: Batch, collection: Collection, vectors: Vectors | None) -> Batch:
        """Write a batch in as many holds as it takes; returns what of it the store accepted."""
        keep = {}
        if vectors is not None and self._request.config.cache_vectors:
            rows = [row for _, row in batch.writes]
            keep = {row.text_hash: vector for row, vector in zip(rows, vectors, strict=True)}
        self._manifest.begin(self._record.id, self._request.model, batch, keep)
        written = 0
        for part in self._pace.parts(batch):
            with self._hold(collection):
                self._write_part(collection, part, vectors, written)
            written += len(part.writes)
        self._tally.batches += 1
        accepted = batch.without(self._failed)
        # What was stored of a file that failed is noted, too; the file itself is not done.
        accepted.writes = [entry for entry in batch.writes if entry[1].id not in self._refused]
        return accepted

    @contextmanager
    def _hold(self, collection: Collection) -> Iterator[None]:
        """Hold the store lock, with the collection's index loaded."""
        self._leave_a_gap()
        with self._lock.hold() as hold:
            began = time.monotonic()
            if hold is not None and (hold.refreshed or not self._loaded):
                # Chroma would load it at the first write: this tells its time from that of rows.
                collection.load()
                self._tally.note_reload(time.monotonic() - began)
                self._loaded = hold.loaded = True
            began = time.monotonic()
            try:
                yield
            finally:
                self._tally.note_hold(time.monotonic() - began)

    def _write_part(
        self, collection: Collection, part: Batch, vectors: Vectors | None, first: int
    ) -> None:
        """Write a part whose vectors begin at `first`; what is refused fails its file only."""
        if vectors is not None:
            rows = [row for _, row in part.writes]
            self._piecewise(
                "writes",
                part.writes,
                lambda i, j: collection.upsert(rows[i:j], vectors[first + i : first + j]),
            )
        part = part.without(self._failed)
        moved = [row for _, row in part.moves]
        self._piecewise("moves", part.moves, lambda i, j: collection.update_metadata(moved[i:j]))
        part = part.without(self._failed)
        if part.deletes:
            with self._timed("deletes", len(part.deletes)):
                collection.delete([row_id for _, _, row_id in part.deletes])

    def _piecewise(
        self, kind: Kind, entries: list[tuple[str, Row]], write: Callable[[int, int], None]
    ) -> None:
        """Write rows i to j; when Chroma refuses, halve them until those at fault stand alone."""
        pending = [(0, len(entries))] if entries else []
        refusals, accepted = 0, False
        while pending:
            begin, end = pending.pop()
            try:
                with self._timed(kind, end - begin):
                    write(begin, end)
                accepted = True
            except StoreRefused as error:
                if end - begin > 1:
                    middle = (begin + end) // 2
                    pending += [(middle, end), (begin, middle)]
                    continue
                refusals += 1
                if refusals >= MAX_REFUSED and not accepted:
                    raise
                path, row = entries[begin]
                self._refused.add(row.id)
                self._fail(path, "commit", error)

    @contextmanager
    def _timed(self, kind: Kind, count: int) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._pace.learn(kind, count, time.monotonic() - began)

    def _leave_a_gap(self) -> None:
        """Stay away from the lock for a while after each hold.

        A neighbour that polls the lock file every 0.1 s starved for as long as a sync ran when the
        lock was retaken at once; with 20 ms it waited 0.6 s at most. Embedding counts as gap.
        """
        gap = max(MIN_GAP_SECONDS, GAP_SHARE * self._lock.last_hold)
        if (remaining := self._lock.released_at + gap - time.monotonic()) > 0:
            time.sleep(remaining)

    # -- the account -----------------------------------------------------------------------------

    def _fail(self, path: str, stage: Literal["embed", "commit"], error: Exception) -> None:
        cause = error.__cause__ or error
        self._failed.add(path)
        self._tally.fail(Failure(path, stage, type(cause).__name__, str(error)))

    def _count(self, batch: Batch, embedded: Embedded) -> None:
        tally = self._tally
        tally.added += len(batch.writes)
        tally.moved += len(batch.moves)
        tally.deleted += len(batch.deletes)
        tally.reused += sum(self._is_older(embedded, row.text_hash) for _, row in batch.writes)
        for work in batch.finished:
            tally.finish(work)

    def _is_older(self, embedded: Embedded, key: bytes) -> bool:
        """True if the vector was in the cache before this run began."""
        return key in embedded.cached and embedded.cached[key][0] <= self._newest_vector


def _stack(embedded: Embedded, keys: list[bytes]) -> NDArray[np.float32] | None:
    if not keys:
        return None
    import numpy as np

    vectors = [embedded[key] for key in keys]
    dimensions = sorted({vector.size for vector in vectors})
    if len(dimensions) > 1:
        raise EmbeddingMismatch(
            f"Vectors of one model have dimensions {dimensions}: the embedding function gives other"
            " ones than before. Set SyncConfig(model_id=...) to tell its models apart."
        )
    return np.stack(vectors)
