"""What can be done to rows without their files: vectors, metadata, and rows that do not belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reposync.collection import Collection
from reposync.embed import Embedder
from reposync.lock import ChromaLock
from reposync.mend import cached_vectors
from reposync.opened import Opened
from reposync.operations.alone import BATCH_ROWS
from reposync.parts import parts
from reposync.rows import METADATA_KEYS, Row, content_hash, embedded_text, row_digest, text_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]
    Content = tuple[str, str, dict[str, Any]]


class Mending:
    """Mends rows of one repository, a batch in each hold of the store lock.

    Attributes:
        computed: how many texts were embedded.
    """

    def __init__(
        self, one: Opened, live: Collection, lock: ChromaLock, embedder: Embedder | None
    ) -> None:
        self._one = one
        self._live = live
        self._lock = lock
        self._embedder = embedder
        self.computed = 0

    def delete(self, ids: Sequence[str]) -> None:
        """Delete rows that do not belong."""
        for page in parts(ids, BATCH_ROWS):
            with self._lock.hold():
                self._live.delete(page)

    # -- vectors ---------------------------------------------------------------------------------

    def with_vectors(self, ids: Sequence[str]) -> set[str]:
        """Those whose vectors are cached."""
        return {
            row_id
            for page in parts(ids, BATCH_ROWS)
            for row_id in _finite(cached_vectors(self._one.manifest, self._read(page)))
        }

    def with_stored_vectors(self, ids: Sequence[str]) -> set[str]:
        """Those whose vectors are good in the collection."""
        found: set[str] = set()
        for page in parts(ids, BATCH_ROWS):
            with self._lock.hold(write=False):
                found.update(_finite(self._live.readable_vectors(page)))
        return found

    def write_vectors(self, ids: Sequence[str]) -> None:
        """Write vectors again, those that are not cached computed; what cannot be had stays."""
        for page in parts(ids, BATCH_ROWS):
            content = self._read(page)
            vectors = _finite(cached_vectors(self._one.manifest, content))
            vectors |= self._compute([row for row in content if row[0] not in vectors])
            self._write(vectors)

    def cache_anew(self, ids: Sequence[str], *, trust_stored: bool) -> None:
        """Have the right vectors in cache and collection: as they are stored there, or computed."""
        for page in parts(ids, BATCH_ROWS):
            content = self._read(page)
            stored: dict[str, Vector] = {}
            if trust_stored:
                with self._lock.hold(write=False):
                    stored = _finite(self._live.readable_vectors(page))
                self._keep(content, stored)
            self._write(self._compute([row for row in content if row[0] not in stored]))

    def _compute(self, content: Sequence[Content]) -> dict[str, Vector]:
        if self._embedder is None or not content:
            return {}
        computed = self._embedder.embed([embedded_text(text, data) for _, text, data in content])
        self.computed += len({embedded_text(text, data) for _, text, data in content})
        vectors = dict(zip([row_id for row_id, _, _ in content], computed, strict=True))
        self._keep(content, vectors)
        return vectors

    def _keep(self, content: Sequence[Content], vectors: Mapping[str, Vector]) -> None:
        model = self._one.record.model
        keys = {
            row_id: text_key(embedded_text(text, data))
            for row_id, text, data in content
            if row_id in vectors
        }
        self._one.manifest.forget_vectors(model, keys.values())
        self._one.manifest.keep_vectors(
            (model, key, vectors[row_id]) for row_id, key in keys.items()
        )

    def _write(self, vectors: Mapping[str, Vector]) -> None:
        if vectors:
            with self._lock.hold():
                self._live.write_vectors(vectors)

    # -- metadata --------------------------------------------------------------------------------

    def restorable(self, paths: Mapping[str, str]) -> dict[str, Row]:
        """Rows, by id, as they were written, where their notes say that they were guessed right.

        Args:
            paths: the file of each row.
        """
        found = {}
        for page in parts(list(paths), BATCH_ROWS):
            for row_id, text, data in self._read(page):
                row = self._guess(row_id, paths[row_id], text, data)
                if row is not None:
                    found[row_id] = row
        return found

    def _guess(self, row_id: str, path: str, text: str, data: Mapping[str, Any]) -> Row | None:
        noted = self._one.manifest.rows(self._one.record.id, path).get(row_id)
        sure = {
            "repository": self._one.key.name,
            "path": path,
            "model": self._one.record.model,
            "content_hash": content_hash(text),
        }
        ours = {key: value for key, value in data.items() if key in METADATA_KEYS}
        for guess in ({**ours, **sure}, {**ours, **sure, "cell": None}):
            metadata = {key: value for key, value in guess.items() if value is not None}
            digest = row_digest(text, metadata)
            if noted is not None and noted.digest == digest:
                embedded = embedded_text(text, metadata)
                return Row(row_id, path, embedded, text, metadata, text_key(embedded), digest)
        return None

    def restore(self, rows: Sequence[Row]) -> None:
        """Write metadata."""
        for page in parts(rows, BATCH_ROWS):
            with self._lock.hold():
                self._live.update_metadata(page)

    def strip(self, ids: Sequence[str]) -> None:
        """Take keys out of metadata that are not ours: writing a row again would leave them."""
        ours = METADATA_KEYS - {"cell"}  # which a row has that is written again, if it is to
        for page in parts(ids, BATCH_ROWS):
            extra = {row_id: data.keys() - ours for row_id, _, data in self._read(page)}
            extra = {row_id: keys for row_id, keys in extra.items() if keys}
            if extra:
                with self._lock.hold():
                    self._live.remove_keys(extra)

    def _read(self, ids: Sequence[str]) -> list[Content]:
        with self._lock.hold(write=False):
            return self._live.contents(ids)


def _finite(vectors: Mapping[str, Vector]) -> dict[str, Vector]:
    import numpy as np

    return {row_id: vector for row_id, vector in vectors.items() if np.isfinite(vector).all()}
