"""Sends the texts of the next batches to the workers while the store takes the one before.

Nothing else changes: batches come in their order, and each is written as it would be without.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

from reposync.batch import Batch
from reposync.manifest import Manifest
from reposync.request import Request
from reposync.rows import text_key
from reposync.tally import Tally

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reposync.embed.workers import Workers

    Vector = NDArray[np.float32]


def look_ahead(
    batches: Iterable[Batch], request: Request, manifest: Manifest, tally: Tally
) -> Generator[Batch, None, None]:
    """`batches`, in their order; with an executor, the texts of some more are under way meanwhile.

    To be closed: then nothing is under way any more. Vectors that were computed and not asked for,
    such as those of batches that an error kept from being written, go into the cache.
    """
    workers = request.embedder.workers
    if workers is None:
        yield from batches
        return
    ahead = _Ahead(workers, request, manifest, tally)
    waiting: deque[Batch] = deque()
    try:
        for batch in batches:
            ahead.send(batch)
            waiting.append(batch)
            if len(waiting) > request.config.max_in_flight:
                yield waiting[0]
                ahead.settle(waiting.popleft())
        while waiting:
            yield waiting[0]
            ahead.settle(waiting.popleft())
    finally:
        ahead.close()


class _Ahead:
    """What is under way for one run."""

    def __init__(
        self, workers: Workers, request: Request, manifest: Manifest, tally: Tally
    ) -> None:
        self._workers = workers
        self._request = request
        self._manifest = manifest
        self._tally = tally

    def send(self, batch: Batch) -> None:
        """Send those texts of a batch that are not cached, as far as `max_embeds` reaches."""
        config = self._request.config
        texts = {row.text_hash: row.text for _, row in batch.writes}
        with self._tally.stage("embed"):
            cached = set()
            if config.cache_vectors:
                cached = self._manifest.cached(self._request.model, texts)
            most = config.max_embeds
            if most is not None:
                most = max(0, most - self._tally.embedded - self._workers.under_way)
            self._workers.send((text for key, text in texts.items() if key not in cached), most)

    def settle(self, batch: Batch) -> None:
        """A batch is done; what of it is still under way was for files that failed meanwhile."""
        self._keep(self._workers.reclaim(row.text for _, row in batch.writes))

    def close(self) -> None:
        """The run is over, whichever way."""
        with self._tally.stage("embed"):
            self._keep(self._workers.close())

    def _keep(self, vectors: dict[str, Vector]) -> None:
        self._tally.embedded += len(vectors)
        if vectors and self._request.config.cache_vectors:
            model, dimension = self._request.model, self._request.embedder.dimension
            self._manifest.keep_vectors(
                (model, text_key(text), vector)
                for text, vector in vectors.items()
                if vector.size == dimension  # unknown until a batch was looked at as a whole
            )
