"""Vectors against the cache and against the embedding function, and the index that is to find them.

``count()`` and ``get()`` look fine on a store that lost its vectors, so they are read, and queried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reposync.collection import Collection
from reposync.embed import Embedder
from reposync.errors import IndexDamaged
from reposync.lock import ChromaLock
from reposync.mend import same_direction
from reposync.opened import Opened
from reposync.operations.alone import BATCH_ROWS
from reposync.operations.findings import Finding, FindingKind
from reposync.operations.wanted import Wanted
from reposync.parts import parts
from reposync.rows import embedded_text, text_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

SAMPLE_ROWS = 200  # whose vectors are read if not all are
QUERIES = 50
COMPUTED = 50
MAX_LOST = 1000
"""So many rows without a vector say that the index is lost: to ask for each takes long."""

NEAR = 1e-4  # distance at which a vector is its own neighbour
FEW_HITS, MANY_HITS = 3, 200


@dataclass(frozen=True)
class _Text:
    """A row whose vector is to be computed anew."""

    path: str
    id: str
    text: str
    vector: Vector
    cached: Vector | None


class VectorCheck:
    """Compares the vectors of rows: of all, or of a sample spread over them.

    Attributes:
        vectors: how many were compared.
        computed: how many of them with vectors that were computed anew.
    """

    def __init__(
        self,
        one: Opened,
        live: Collection,
        lock: ChromaLock,
        report: Callable[[Finding], None],
        *,
        total: int,
        every: bool,
        embedder: Embedder | None,
    ) -> None:
        self._one = one
        self._live = live
        self._lock = lock
        self._report = report
        self._embedder = embedder
        self._step = 1 if every else total // SAMPLE_ROWS + 1
        self._query_step = total // QUERIES + 1
        self._compute_step = total // COMPUTED + 1
        self._asked = 0
        self._read: dict[str, Vector] = {}
        self._lost: set[str] = set()
        self._to_query: list[tuple[str, str, Vector]] = []
        self._to_compute: list[_Text] = []
        self.vectors = self.computed = 0

    def takes(self) -> bool:
        """True if the vector of the next row is to be read."""
        self._asked += 1
        return (self._asked - 1) % self._step == 0

    def read(self, ids: set[str]) -> None:
        """Read vectors; call it under the lock."""
        if len(self._lost) < MAX_LOST:
            found = self._live.readable_vectors(sorted(ids))
            self._read.update(found)
            self._lost.update(ids - found.keys())

    def compare(
        self, row_id: str, file: Wanted, content: tuple[str, Mapping[str, Any]], *, sound: bool
    ) -> None:
        """Compare the vector of a row, if it was read; `sound` if the row is as it was written."""
        if row_id in self._lost:
            self._found("unreadable", file.path, row_id, "its vector cannot be read")
        vector = self._read.pop(row_id, None)
        row = file.rows.get(row_id)
        if vector is None or (row is None and not sound):
            return
        import numpy as np

        self.vectors += 1
        if not np.isfinite(vector).all():
            self._found("vector", file.path, row_id, "its vector is not finite")
            return
        if self.vectors % self._query_step == 0 or self.vectors == 1:
            self._to_query.append((file.path, row_id, vector))
        self._compare(file.path, row_id, row.text if row else embedded_text(*content), vector)

    def _compare(self, path: str, row_id: str, text: str, vector: Vector) -> None:
        import numpy as np

        key = text_key(text)
        found = self._one.manifest.vectors(self._one.record.model, [key])
        cached = found[key][1] if key in found else None
        if cached is not None and not np.isfinite(cached).all():
            self._found("cache", path, row_id, "its cached vector is not finite")
            return
        alike = cached is None or is_alike(cached, vector)
        if self._embedder is not None and (not alike or self.vectors % self._compute_step == 0):
            self._to_compute.append(_Text(path, row_id, text, vector, cached))
        elif not alike:
            self._found("vector", path, row_id, "its vector is not the cached one")

    # -- at the end ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Query the index, and compute a sample anew."""
        if len(self._lost) >= MAX_LOST:
            self._found("index", "", "", "its vectors are lost, of all rows as it seems")
            return
        try:
            for page in parts(self._to_query, BATCH_ROWS):
                with self._lock.hold(write=False):
                    for path, row_id, vector in page:
                        if not self._finds(row_id, vector):
                            detail = "the index does not find it by its own vector"
                            self._found("index", path, row_id, detail)
        except IndexDamaged as damage:
            self._found("index", "", "", str(damage))
        self._compute()

    def _finds(self, row_id: str, vector: Vector) -> bool:
        return any(
            hit == row_id or distance <= NEAR
            for count in (FEW_HITS, MANY_HITS)
            for hit, distance in self._live.near(vector, count)
        )

    def _compute(self) -> None:
        if self._embedder is None or not self._to_compute:
            return
        wrong: list[tuple[FindingKind, _Text, str]] = []
        for page in parts(self._to_compute, BATCH_ROWS):
            vectors = self._embedder.embed([row.text for row in page])
            self.computed += len(page)
            for row, true in zip(page, vectors, strict=True):
                if row.cached is not None and not is_alike(row.cached, true):
                    wrong.append(("cache", row, "its cached vector is not what the function gives"))
                elif not is_alike(row.vector, true):
                    wrong.append(("vector", row, "its vector is not what the function gives"))
        if len(wrong) > max(3, self.computed // 2):
            detail = (
                f"{len(wrong)} of {self.computed} texts have another vector now: the model is not"
                " the one of the rows, although it has its name; see migrate_model"
            )
            self._found("model", "", "", detail)
            return
        for kind, row, detail in wrong:
            self._found(kind, row.path, row.id, detail)

    def _found(self, kind: FindingKind, path: str, row_id: str, detail: str) -> None:
        self._report(Finding(kind=kind, path=path, id=row_id, detail=detail))


def is_alike(one: Vector, other: Vector) -> bool:
    """True if two vectors are the same, but for length and imprecision, and neither is zero."""
    return bool(one.any()) == bool(other.any()) and same_direction(one, other)
