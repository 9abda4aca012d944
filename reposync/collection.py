"""One collection, by rows of one repository: what may be asked of it and done to it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from uuid import uuid4

from reposync.errors import EmbeddingMismatch, IndexDamaged, StoreError, StoreUnavailable
from reposync.parts import parts

if TYPE_CHECKING:
    import numpy as np
    from chromadb.api.models.Collection import Collection as ChromaCollection
    from numpy.typing import NDArray

    from reposync.rows import Row

T = TypeVar("T")

PAGE_ROWS = 1000  # `get` with metadata fails above 32 766 rows
LONGEST_KEPT_NAME = 480  # Chroma allows 512 characters

REBUILD = (
    "Sync again: a collection that holds nothing but what reposync wrote is rebuilt, computing"
    " nothing."
)


@dataclass(frozen=True, slots=True)
class WholeRow:
    """A row as anybody may have written it, without its vector; None is what it has not."""

    id: str
    document: str | None
    metadata: Mapping[str, Any] | None
    uri: str | None


class Caller(Protocol):
    """What carries out calls into Chroma: tries again what may pass, makes all errors ours."""

    def call(self, function: Callable[[], T], doing: str) -> T:
        """Call `function`; `doing` says in an error what it was about."""
        ...


class Collection:
    """One collection, by rows of one repository; every call may raise a `StoreError`."""

    def __init__(self, store: Caller, chroma: ChromaCollection) -> None:
        self._store = store
        self._chroma = chroma
        self.name = chroma.name
        self.id = str(chroma.id)

    def require(self, dimension: int | None, function: object = None) -> None:
        """Raise `EmbeddingMismatch` if vectors of this dimension or function do not belong here.

        Nor do any where distance is not cosine: texts of different lengths would be ranked by it.

        Args:
            dimension: of the vectors; None if it is not known yet.
            function: the embedding function; None for Chroma's default.
        """
        function_name, persisted = persisted_name(function), self.function_name
        model = self._chroma._model  # noqa: SLF001 - Chroma has no public name for it
        if model.dimension and dimension and model.dimension != dimension:
            raise EmbeddingMismatch(
                f"Collection {self.name!r} holds vectors of dimension {model.dimension}, but the"
                f" embedding function gives {dimension}. Pass the function it was made with, or"
                " another collection=, or delete the collection first."
            )
        if self.space != "cosine":
            raise EmbeddingMismatch(
                f"Collection {self.name!r} compares vectors by the distance {self.space!r}, but"
                " reposync writes for 'cosine', which does not depend on their lengths. Pass"
                " another collection=, or make this one anew with"
                ' configuration={"hnsw": {"space": "cosine"}}.'
            )
        same_default = {"default", "onnx_mini_lm_l6_v2"}
        if persisted and function_name and persisted != function_name:
            if {persisted, function_name} <= same_default:
                return
            raise EmbeddingMismatch(
                f"Collection {self.name!r} was made with the embedding function {persisted!r}, but"
                f" this one is {function_name!r}. Pass the function it was made with, or another"
                " collection=, or delete the collection first."
            )

    def load(self) -> None:
        """Have Chroma load the vector index, as the first write or read would."""
        self._store.call(
            lambda: self._chroma.get(limit=1, include=[]), f"loading the index of {self.name!r}"
        )

    @property
    def function_name(self) -> str | None:
        """The name of the embedding function that Chroma wrote down; None if it did not."""
        settings = self._chroma._model.configuration_json  # noqa: SLF001
        name = (settings.get("embedding_function") or {}).get("name")
        return None if name is None else str(name)

    @property
    def space(self) -> str:
        """By which distance rows are compared: "cosine", "l2" or "ip"."""
        # Not `configuration`: that fails where the embedding function is not registered.
        settings = self._chroma._model.configuration_json  # noqa: SLF001
        index = settings.get("hnsw") or settings.get("spann") or {}
        return str(index.get("space") or "l2")

    def all_ids(self) -> list[str]:
        """The ids of all rows, whoever wrote them."""

        def get() -> list[str]:
            return list(self._chroma.get(include=[])["ids"])

        return self._store.call(get, f"listing the rows of {self.name!r}")

    def contents(self, ids: Sequence[str]) -> list[tuple[str, str, dict[str, Any]]]:
        """Up to `PAGE_ROWS` rows without their vectors: (id, document, metadata)."""

        def get() -> dict[str, Any]:
            found = self._chroma.get(ids=list(ids), include=["documents", "metadatas"])
            return cast("dict[str, Any]", found)

        page = self._store.call(get, f"reading {len(ids)} rows of {self.name!r}")
        columns = zip(page["ids"], page["documents"], page["metadatas"], strict=True)
        return [(row_id, document or "", metadata or {}) for row_id, document, metadata in columns]

    def readable_vectors(
        self, ids: Sequence[str], *, singly: bool = True
    ) -> dict[str, NDArray[np.float32]]:
        """The vectors of up to `PAGE_ROWS` rows by id, without those that the index lost.

        One that is lost fails all that are asked for with it; so then they are asked for one by
        one, or, if not `singly`, none is given.
        """
        import numpy as np

        if not ids:
            return {}

        def get() -> dict[str, Any]:
            return cast("dict[str, Any]", self._chroma.get(list(ids), include=["embeddings"]))

        try:
            page = self._store.call(get, f"reading the vectors of {self.name!r}")
        except IndexDamaged:
            if len(ids) == 1 or not singly:
                return {}
            singles = (self.readable_vectors([row_id]) for row_id in ids)
            return {row_id: vector for single in singles for row_id, vector in single.items()}
        return dict(zip(page["ids"], np.asarray(page["embeddings"], dtype=np.float32), strict=True))

    def write_vectors(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Write vectors of rows that are there; nothing else of them changes."""
        import numpy as np

        def write() -> None:
            # Not `update`: that does nothing for a row that the index does not know.
            self._chroma.upsert(ids=list(vectors), embeddings=np.stack(list(vectors.values())))

        self._store.call(write, f"writing {len(vectors)} vectors to {self.name!r}")

    def ids(self, repository: str) -> list[str]:
        """The ids of all rows of one repository."""

        def get() -> list[str]:
            found = self._chroma.get(where={"repository": repository}, include=[])
            return list(found["ids"])

        return self._store.call(get, f"listing the rows of {self.name!r}")

    def origins(self, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """The path and the model of each row by id; `ids` may be of any number."""
        found: dict[str, tuple[str, str]] = {}
        for part in parts(ids, PAGE_ROWS):

            def get(part: list[str] = part) -> list[tuple[str, Any]]:
                got = self._chroma.get(ids=part, include=["metadatas"])
                return list(zip(got["ids"], got["metadatas"] or (), strict=True))

            for row_id, about in self._store.call(
                get, f"reading {len(part)} rows of {self.name!r}"
            ):
                found[row_id] = str(about.get("path", "")), str(about.get("model", ""))
        return found

    def repositories(self) -> set[str | None]:
        """Whose rows are in the collection: every value of "repository"; None for rows without."""
        return {
            (metadata or {}).get("repository")
            for page in self._pages(["metadatas"])
            for metadata in page["metadatas"]
        }

    def rows(
        self, ids: Sequence[str]
    ) -> Iterator[tuple[str, str, dict[str, Any], NDArray[np.float32]]]:
        """Up to `PAGE_ROWS` rows with all that is in them: (id, document, metadata, vector)."""
        import numpy as np

        def get() -> dict[str, Any]:
            found = self._chroma.get(
                ids=list(ids), include=["documents", "metadatas", "embeddings"]
            )
            return cast("dict[str, Any]", found)

        page = self._store.call(get, f"reading {len(ids)} rows of {self.name!r}")
        vectors = np.asarray(page["embeddings"], dtype=np.float32)
        yield from zip(page["ids"], page["documents"], page["metadatas"], vectors, strict=True)

    def set_aside(self) -> str:
        """Rename the collection, so that a new one can take its name; gives the new name."""
        aside = f"{self.name[:LONGEST_KEPT_NAME]}.damaged-{uuid4().hex[:8]}"
        self.rename(aside)
        return aside

    def rename(self, name: str) -> None:
        """Give the collection another name, that none has; its id stays."""
        self._store.call(
            lambda: self._chroma.modify(name=name), f"renaming {self.name!r} to {name!r}"
        )
        self.name = name

    def check_index(self, *, besides: Container[str] = ()) -> None:
        """Read every vector, and query one; raise `IndexDamaged` if that cannot be done.

        ``count()`` and ``get()`` without vectors look fine on an index that lost its vectors.

        Args:
            besides: ids of rows that do not matter.
        """
        for page in self._pages([]):
            self.check_vectors([row_id for row_id in page["ids"] if row_id not in besides])

    def check_vectors(self, ids: Sequence[str]) -> None:
        """Read the vectors of up to `PAGE_ROWS` rows; raise `IndexDamaged` if that fails."""
        import numpy as np

        if not ids:
            return

        def get() -> dict[str, Any]:
            return cast("dict[str, Any]", self._chroma.get(list(ids), include=["embeddings"]))

        def query() -> object:
            return self._chroma.query(query_embeddings=vectors[:1], n_results=1, include=[])

        try:
            page = self._store.call(get, f"reading the vectors of {self.name!r}")
            vectors = np.asarray(page["embeddings"], dtype=np.float32)
            sound = len(vectors) == len(page["ids"]) and np.isfinite(vectors).all()
            self._store.call(query, f"querying {self.name!r}")
        except (IndexDamaged, StoreUnavailable):
            raise
        except (StoreError, ValueError) as error:
            # The rows are there, so whatever keeps their vectors from us is damage.
            raise IndexDamaged(f"{error} {REBUILD}") from error
        if not sound:
            raise IndexDamaged(
                f"Collection {self.name!r} has rows without a usable vector. {REBUILD}"
            )

    def nearest(
        self, repository: str, vector: NDArray[np.float32], count: int
    ) -> list[tuple[str, dict[str, Any], float]]:
        """The rows of one repository nearest to `vector`: (document, metadata, distance)."""

        def query() -> dict[str, Any]:
            found = self._chroma.query(
                query_embeddings=cast("Any", [vector]),
                n_results=count,
                where={"repository": repository},
                include=["documents", "metadatas", "distances"],
            )
            return cast("dict[str, Any]", found)

        found = self._store.call(query, f"querying {self.name!r}")
        columns = (found["documents"][0], found["metadatas"][0], found["distances"][0])
        return list(zip(*columns, strict=True))

    def copy_metadata(self, other: Collection) -> None:
        """Take over what a host noted of another collection; not how its index was set up."""
        theirs = other._chroma.metadata or {}
        metadata = {key: value for key, value in theirs.items() if not key.startswith("hnsw:")}
        if metadata and metadata != self._chroma.metadata:
            self._store.call(
                lambda: self._chroma.modify(metadata=metadata), f"describing {self.name!r}"
            )

    def near(self, vector: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
        """The rows nearest to `vector`, whoever wrote them: (id, distance)."""

        def query() -> dict[str, Any]:
            found = self._chroma.query(
                query_embeddings=cast("Any", [vector]), n_results=count, include=["distances"]
            )
            return cast("dict[str, Any]", found)

        found = self._store.call(query, f"querying {self.name!r}")
        return list(zip(found["ids"][0], found["distances"][0], strict=True))

    def whole_rows(self, ids: Sequence[str]) -> list[WholeRow]:
        """Up to `PAGE_ROWS` rows, whoever wrote them, without their vectors."""

        def get() -> dict[str, Any]:
            found = self._chroma.get(ids=list(ids), include=["documents", "metadatas", "uris"])
            return cast("dict[str, Any]", found)

        page = self._store.call(get, f"reading {len(ids)} rows of {self.name!r}")
        columns = (page["ids"], page["documents"], page["metadatas"], page["uris"])
        return [WholeRow(*row) for row in zip(*columns, strict=True)]

    def write_whole(self, rows: Sequence[WholeRow], vectors: Sequence[NDArray[np.float32]]) -> None:
        """Write rows just as they were in another collection."""
        import numpy as np

        alike: dict[tuple[bool, ...], list[int]] = {}
        for at, row in enumerate(rows):  # Chroma takes a column for all rows, or for none
            filled = (row.document is not None, bool(row.metadata), row.uri is not None)
            alike.setdefault(filled, []).append(at)
        for (document, metadata, uri), places in alike.items():
            part = [rows[at] for at in places]
            columns = {
                "ids": [row.id for row in part],
                "embeddings": np.stack([vectors[at] for at in places]),
                "documents": [row.document for row in part] if document else None,
                "metadatas": [row.metadata for row in part] if metadata else None,
                "uris": [row.uri for row in part] if uri else None,
            }
            self._store.call(
                lambda columns=columns: self._chroma.upsert(**columns),  # type: ignore[misc]
                f"writing {len(part)} rows to {self.name!r}",
            )

    def upsert(self, rows: Sequence[Row], vectors: NDArray[np.float32]) -> None:
        """Write rows with their vectors, shape (rows, dimension); existing ids are replaced.

        A try that failed may have landed, and to write a row again costs 5-8 times what it cost the
        first time: so before another try, this looks which rows are there.
        """
        tried = False

        def write() -> None:
            nonlocal tried
            missing = self._not_there(rows, vectors) if tried else range(len(rows))
            tried = True
            if missing:
                self._chroma.upsert(
                    ids=[rows[index].id for index in missing],
                    embeddings=vectors[list(missing)],
                    documents=[rows[index].document for index in missing],
                    metadatas=[dict(rows[index].metadata) for index in missing],
                )

        self._store.call(write, f"writing {len(rows)} rows to {self.name!r}")

    def _not_there(self, rows: Sequence[Row], vectors: NDArray[np.float32]) -> list[int]:
        """The indices of rows that the collection does not hold exactly so."""
        import numpy as np

        ids = [row.id for row in rows]
        found = self._chroma.get(ids=ids, include=["documents", "metadatas", "embeddings"])
        columns = (found["documents"], found["metadatas"], found["embeddings"])
        there = dict(zip(found["ids"], zip(*cast("Any", columns), strict=True), strict=True))

        def is_there(row: Row, vector: NDArray[np.float32]) -> bool:
            document, metadata, stored = there.get(row.id, (None, None, None))
            if document != row.document or metadata != dict(row.metadata):
                return False
            # Chroma may keep a vector scaled to length 1, where distance is cosine.
            lengths = np.linalg.norm(vector) * np.linalg.norm(stored)
            return bool(lengths > 0 and np.dot(vector, stored) / lengths > 1 - 1e-5)

        return [i for i, row in enumerate(rows) if not is_there(row, vectors[i])]

    def update_metadata(self, rows: Sequence[Row]) -> None:
        """Replace the metadata of rows whose text and vector stay as they are."""

        def write() -> None:
            self._chroma.update(
                ids=[row.id for row in rows], metadatas=[dict(row.metadata) for row in rows]
            )

        self._store.call(write, f"updating {len(rows)} rows of {self.name!r}")

    def remove_keys(self, keys: Mapping[str, Iterable[str]]) -> None:
        """Take keys out of the metadata of rows, by id; an upsert would leave them there."""
        metadatas = [dict.fromkeys(names) for names in keys.values()]
        self._store.call(
            lambda: self._chroma.update(ids=list(keys), metadatas=cast("Any", metadatas)),
            f"updating {len(keys)} rows of {self.name!r}",
        )

    def delete(self, ids: Sequence[str]) -> None:
        """Delete rows; ids that are not there do not matter."""
        self._store.call(
            lambda: self._chroma.delete(ids=list(ids)),
            f"deleting {len(ids)} rows of {self.name!r}",
        )

    def _pages(self, include: list[str]) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:

            def get(offset: int = offset) -> dict[str, Any]:
                found = self._chroma.get(
                    include=cast("Any", include), limit=PAGE_ROWS, offset=offset
                )
                return cast("dict[str, Any]", found)

            page = self._store.call(get, f"reading the rows of {self.name!r}")
            if page["ids"]:
                yield page
            if len(page["ids"]) < PAGE_ROWS:
                return
            offset += PAGE_ROWS


def persisted_name(function: object | None) -> str | None:
    """The name that Chroma writes down for an embedding function; None if it cannot."""
    if function is None:
        return "default"
    try:
        function.get_config()  # type: ignore[attr-defined]
        return str(function.name())  # type: ignore[attr-defined]
    except (AttributeError, NotImplementedError):
        return None
