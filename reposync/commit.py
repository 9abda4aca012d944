"""One batch: vectors and intent first, then the store, then the record.

This order is what makes a kill at any instant harmless, see docs/reference/on-disk-layout.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from reposync.batch import Batch
from reposync.collection import Collection
from reposync.embed import Embedder
from reposync.errors import EmbeddingMismatch
from reposync.interrupt import uninterrupted
from reposync.lock import ChromaLock
from reposync.manifest import Manifest, RepositoryRecord
from reposync.records import Failure
from reposync.store import Store
from reposync.tally import Tally
from reposync.vectors import Embedded, vectors_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_GAP_SECONDS = 0.02
GAP_SHARE = 0.1


class Committer:
    """Brings batches into one collection. Used by one thread."""

    def __init__(
        self,
        manifest: Manifest,
        record: RepositoryRecord,
        store: Store,
        lock: ChromaLock,
        embedder: Embedder,
        tally: Tally,
        *,
        cache_vectors: bool,
        before_writing: Callable[[], None],
    ) -> None:
        self._manifest = manifest
        self._record = record
        self._store = store
        self._lock = lock
        self._embedder = embedder
        self._tally = tally
        self._cache_vectors = cache_vectors
        self._before_writing = before_writing
        self._failed: set[str] = set()
        self._newest_vector = manifest.newest_vector()

    def commit(self, batch: Batch, collection: Collection | None) -> None:
        """Embed what is new in `batch`, write it, record it, count it.

        Args:
            batch: the row operations and the files that they finish.
            collection: where the rows go; None if the batch has none.

        Raises:
            EmbeddingError: the embedding function is down.
            EmbeddingMismatch: its vectors do not belong in the collection.
            StoreError: the store refused; the journal says what was in flight.
        """
        if batch.operations:
            self._store.require_room()
        batch = batch.without(self._failed)
        with self._tally.stage("embed"):
            embedded = self._embed(batch)
            if embedded.refused and self._cache_vectors:
                self._keep(embedded)  # rows beside a refused text are not written, but paid for
        batch = batch.without(self._failed)
        vectors = _stack(embedded, [row.text_hash for _, row in batch.writes])
        if collection is not None and vectors is not None:
            collection.require(int(vectors.shape[1]), self._embedder.function)
        with self._tally.stage("commit"), uninterrupted():
            self._before_writing()
            if collection is not None and batch.operations:
                self._write(batch, collection, vectors)
            self._manifest.finish(self._record.id, batch)
        self._count(batch, embedded)

    def _embed(self, batch: Batch) -> Embedded:
        rows = [row for _, row in batch.writes]
        embedded = vectors_for(rows, self._embedder, self._manifest, use_cache=self._cache_vectors)
        self._tally.embedded += len(embedded.computed)
        for path, row in batch.writes:
            if error := embedded.refused.get(row.text_hash):
                cause = error.__cause__ or error
                self._failed.add(path)
                self._tally.fail(Failure(path, "embed", type(cause).__name__, str(error)))
        return embedded

    def _keep(self, embedded: Embedded) -> None:
        model = self._embedder.identity.fingerprint
        self._manifest.keep_vectors(
            (model, key, vector) for key, vector in embedded.computed.items()
        )

    def _write(
        self, batch: Batch, collection: Collection, vectors: NDArray[np.float32] | None
    ) -> None:
        writes = [row for _, row in batch.writes]
        keep = {}
        if vectors is not None and self._cache_vectors:
            keep = {row.text_hash: vector for row, vector in zip(writes, vectors, strict=True)}
        model = self._embedder.identity.fingerprint
        self._manifest.begin(self._record.id, model, batch, keep)
        self._leave_a_gap()
        with self._lock.hold():
            if vectors is not None:
                collection.upsert(writes, vectors)
            if batch.moves:
                collection.update_metadata([row for _, row in batch.moves])
            if batch.deletes:
                collection.delete([row_id for _, _, row_id in batch.deletes])
        self._tally.batches += 1

    def _leave_a_gap(self) -> None:
        """Stay away from the lock for a while after each hold.

        A neighbour that polls the lock file every 0.1 s starved for as long as a sync ran when the
        lock was retaken at once; with 20 ms it waited 0.6 s at most. Embedding counts as gap.
        """
        gap = max(MIN_GAP_SECONDS, GAP_SHARE * self._lock.last_hold)
        if (remaining := self._lock.released_at + gap - time.monotonic()) > 0:
            time.sleep(remaining)

    def _count(self, batch: Batch, embedded: Embedded) -> None:
        tally = self._tally
        tally.added += len(batch.writes)
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
