"""Vectors that were computed once: (model, text hash) -> float32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reposync.manifest.database import Database

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]


class VectorCache(Database):
    """The part of the manifest that saves embedding."""

    def vectors(self, model: str, keys: Iterable[bytes]) -> dict[bytes, tuple[int, Vector]]:
        """The vectors that are cached, by text hash: (number, float32 of shape (dimension,)).

        Later vectors have higher numbers, see `newest_vector`.
        """
        import numpy as np

        found = {}
        query = "SELECT id, vector FROM vectors WHERE model = ? AND text_hash = ?"
        for key in keys:
            for number, vector in self._all(query, model, key):
                found[key] = (number, np.frombuffer(vector, dtype=np.float32))
        return found

    def cached(self, model: str, keys: Iterable[bytes]) -> set[bytes]:
        """Those of `keys`, text hashes, whose vectors are cached."""
        query = "SELECT 1 FROM vectors WHERE model = ? AND text_hash = ?"
        return {key for key in keys if self._all(query, model, key)}

    def dimension(self, model: str) -> int | None:
        """How long the cached vectors of a model are; None if there are none."""
        rows = self._all("SELECT length(vector) FROM vectors WHERE model = ? LIMIT 1", model)
        return int(rows[0][0]) // 4 if rows else None

    def newest_vector(self) -> int:
        """The number of the vector that was cached last."""
        return int(self._all("SELECT coalesce(max(id), 0) FROM vectors")[0][0])

    def keep_vectors(self, rows: Iterable[tuple[str, bytes, Vector]]) -> None:
        """Cache vectors (model, text hash, vector) that were read back from a collection."""
        with self.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO vectors (model, text_hash, vector) VALUES (?, ?, ?)",
                ((model, key, vector.tobytes()) for model, key, vector in rows),
            )

    def forget_vectors(self, model: str, keys: Iterable[bytes]) -> None:
        """Drop vectors that are wrong."""
        with self.transaction() as db:
            db.executemany(
                "DELETE FROM vectors WHERE model = ? AND text_hash = ?",
                ((model, key) for key in keys),
            )

    def evict(self, max_bytes: int) -> int:
        """Drop the oldest vectors that no row uses until `max_bytes` hold the rest; how many."""
        if self._file_bytes() <= max_bytes:
            return 0  # to add up the vectors in it would take longer than many a sync
        excess = self._cached_bytes() - max_bytes
        if excess <= 0:
            return 0
        with self.transaction() as db:  # from here on nobody else begins to use a vector
            doomed = []
            orphans = db.execute(
                "SELECT id, length(vector) FROM vectors WHERE (model, text_hash) NOT IN"
                " (SELECT model, text_hash FROM chunks JOIN files ON files.id = chunks.file"
                "  JOIN repositories ON repositories.id = files.repository) ORDER BY id"
            )
            for vector_id, size in orphans:
                if excess <= 0:
                    break
                doomed.append((vector_id,))
                excess -= size
            db.executemany("DELETE FROM vectors WHERE id = ?", doomed)
        return len(doomed)

    def cache_size(self) -> tuple[int, int]:
        """How many vectors are cached, and in how many bytes."""
        return int(self._all("SELECT count(*) FROM vectors")[0][0]), self._cached_bytes()

    def shrink(self) -> None:
        """Give the room of what was dropped back to the disk; needs as much again meanwhile."""
        self._all("VACUUM")
        self._all("PRAGMA wal_checkpoint(TRUNCATE)")

    def _file_bytes(self) -> int:
        ((pages,),) = self._all("PRAGMA page_count")
        ((page_size,),) = self._all("PRAGMA page_size")
        return int(pages * page_size)

    def _cached_bytes(self) -> int:
        # Those of a model are alike in length, so an index tells; they themselves fill the file.
        counts = self._all("SELECT model, count(*) FROM vectors GROUP BY model")
        return sum(4 * count * (self.dimension(model) or 0) for model, count in counts)
