"""The doorway to Chroma: finds, opens and refreshes stores; the only importer of ``chromadb``.

Chroma keeps one *system* for each spelling of a path in a process. Two systems on one folder are as
dangerous as two processes, so everything here is keyed on the real path, and a system that is live
already is used with its own spelling and settings.
"""

from __future__ import annotations

import hashlib
import inspect
import ipaddress
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from reposync import retry
from reposync.errors import (
    ConfigError,
    EmbeddingMismatch,
    IndexDamaged,
    StoreError,
    StoreUnavailable,
    SyncError,
)

if TYPE_CHECKING:
    import numpy as np
    from chromadb.api import ClientAPI
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection as ChromaCollection
    from chromadb.config import System
    from numpy.typing import NDArray

    from reposync.rows import Row

T = TypeVar("T")

PAGE_ROWS = 1000  # `get` with metadata fails above 32 766 rows

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]")  # Chroma's rule

# Chroma's table of systems is not guarded against two threads that open the same folder.
_opening = threading.Lock()


def default_folder() -> Path:
    """``$REPOSYNC_STORE``, else ``chroma`` in the user's data folder for reposync."""
    if named := os.environ.get("REPOSYNC_STORE"):
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("reposync") / "chroma"


def collection_name(repository: str) -> str:
    """A collection name for a repository: the same where Chroma allows it, else without collisions.

    A name that has to be changed gets eight hex digits of its hash, so that "a b" and "a/b" differ.
    """
    if _is_collection_name(repository):
        return repository
    digest = hashlib.sha256(repository.encode()).hexdigest()[:8]
    slug = re.sub(r"[^a-zA-Z0-9._-]+", "-", repository).strip("._-")[:100].strip("._-")
    return f"{slug}-{digest}" if slug else f"repository-{digest}"


def check_collection_name(name: str) -> None:
    """Raise `ConfigError` unless Chroma takes `name` for a collection."""
    if not isinstance(name, str) or not _is_collection_name(name):
        raise ConfigError(
            f"collection={name!r} is no name for a Chroma collection: use 3 to 512 of"
            " [a-zA-Z0-9._-], with a letter or digit at both ends, and no IP address."
        )


def _is_collection_name(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return _NAME.fullmatch(name) is not None
    return False


class Store:
    """One Chroma store: a folder, an in-memory client, or a server.

    Attributes:
        kind: "folder", "memory" or "server".
        folder: the real path of a store's folder; None for the others.
        retries: how many calls were tried again.
    """

    def __init__(self, store: object = None, *, attempts: int = 5) -> None:
        self._attempts = attempts
        self._client: ClientAPI | None = None
        self._opened = False
        self.retries = 0
        self.kind: Literal["folder", "memory", "server"] = "folder"
        self.folder: Path | None = None
        if store is None or isinstance(store, (str, os.PathLike)):
            self.folder = _folder(default_folder() if store is None else Path(store), store)
        else:
            self._adopt(store)

    def _adopt(self, client: object) -> None:
        """Use the caller's own client, and never close it."""
        if inspect.iscoroutinefunction(getattr(client, "heartbeat", None)):
            raise ConfigError(
                "store is an async Chroma client, but sync_repository blocks. Pass"
                " chromadb.HttpClient(...) or the store's folder, and call it from"
                " asyncio.to_thread()."
            )
        system = getattr(client, "_system", None)
        if system is None or not hasattr(client, "get_or_create_collection"):
            raise ConfigError(
                f"store is {client!r}, but must be a Chroma client or the path of a Chroma folder."
            )
        self._client = cast("ClientAPI", client)
        if not _is_local(system):
            self.kind = "server"
        elif not system.settings.is_persistent:
            self.kind = "memory"
        else:
            self.folder = _system_folder(system)
            if not (self.folder / "chroma.sqlite3").exists():
                raise StoreUnavailable(
                    f"{self.folder} has no chroma.sqlite3 although a Chroma client is open on it:"
                    " was the folder removed, or the working folder changed since the client was"
                    " made with a relative path? Make the client anew, with an absolute path."
                )

    # -- where and who ---------------------------------------------------------------------------

    @property
    def tenant(self) -> str:
        """The tenant that the client works for."""
        return str(getattr(self._client, "tenant", "default_tenant"))

    @property
    def database(self) -> str:
        """The database that the client works in."""
        return str(getattr(self._client, "database", "default_database"))

    @property
    def system(self) -> System | None:
        """The live Chroma system behind the client; None before `open`."""
        return getattr(self._client, "_system", None)

    @property
    def address(self) -> str:
        """Where the store is, in words that tell stores apart."""
        if self.folder is not None:
            return str(self.folder)
        if self.kind == "memory":
            return "memory"
        assert self.system is not None
        settings = self.system.settings
        scheme = "https" if settings.chroma_server_ssl_enabled else "http"
        host, port = settings.chroma_server_host, settings.chroma_server_http_port
        return f"{scheme}://{host}:{port}"

    @property
    def slug(self) -> str:
        """`address` as a name for a folder or a file."""
        digest = hashlib.sha256(self.address.encode()).hexdigest()[:12]
        return re.sub(r"[^a-zA-Z0-9]+", "-", self.address)[-40:].strip("-") + f"-{digest}"

    @property
    def exists(self) -> bool:
        """False if opening it would create it."""
        return self.folder is None or (self.folder / "chroma.sqlite3").exists()

    # -- opening and closing ---------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """True if there is a client to work with."""
        return self._client is not None

    def open(self) -> None:
        """Open the store; a folder's only while its lock is held. Does nothing if it is open."""
        if self._client is not None:
            return
        assert self.folder is not None
        import chromadb
        from chromadb.api.client import Client
        from chromadb.config import Settings

        with _opening:
            try:
                live = live_systems(self.folder)
                if live:
                    self._client = Client(settings=live[0].settings)
                else:
                    self._client = chromadb.PersistentClient(
                        path=str(self.folder), settings=Settings(anonymized_telemetry=False)
                    )
            except Exception as error:
                raise _ours(error, f"opening {self.folder}", StoreUnavailable) from error
        self._opened = True

    def close(self) -> None:
        """Close what `open` opened, and nothing else."""
        if self._opened and self._client is not None:
            with _opening:
                cast("Client", self._client).close()
            self._client, self._opened = None, False

    # -- collections -----------------------------------------------------------------------------

    def find(self, name: str) -> Collection | None:
        """The collection of this name, or None."""
        from chromadb.errors import NotFoundError

        def get() -> ChromaCollection | None:
            try:
                return self._chroma.get_collection(name, embedding_function=None)
            except NotFoundError:
                return None

        found = self.call(get, f"looking for collection {name!r}")
        return None if found is None else Collection(self, found)

    def create(self, name: str, embedding_function: object | None) -> Collection:
        """Make a collection for cosine distance that remembers its embedding function.

        Args:
            name: its name; an existing collection of that name is returned as it is.
            embedding_function: a Chroma embedding function, or None for Chroma's default, so that a
                host's plain ``collection.query(query_texts=[...])`` works on what is written.
        """
        settings: dict[str, Any] = {"configuration": {"hnsw": {"space": "cosine"}}}
        if embedding_function is not None:
            named = persisted_name(embedding_function) is not None
            settings["embedding_function"] = embedding_function if named else None

        def make() -> ChromaCollection:
            return self._chroma.create_collection(name, get_or_create=True, **settings)

        return Collection(self, self.call(make, f"creating collection {name!r}"))

    def drop(self, name: str) -> None:
        """Delete a collection with all that is in it."""
        self.call(lambda: self._chroma.delete_collection(name), f"deleting collection {name!r}")

    @property
    def _chroma(self) -> ClientAPI:
        assert self._client is not None, "open() comes first"
        return self._client

    def call(self, function: Callable[[], T], doing: str) -> T:
        """Call into Chroma: transient errors are tried again, all others become ours."""
        try:
            return retry.call(function, attempts=self._attempts, on_retry=self._note_retry)
        except SyncError:
            raise
        except Exception as error:
            raise _ours(error, doing, StoreError) from error

    def _note_retry(self) -> None:
        self.retries += 1


class Collection:
    """One collection, by rows of one repository; every call may raise a `StoreError`."""

    def __init__(self, store: Store, chroma: ChromaCollection) -> None:
        self._store = store
        self._chroma = chroma
        self.name = chroma.name
        self.id = str(chroma.id)

    def require(self, dimension: int | None, function: object = None) -> None:
        """Raise `EmbeddingMismatch` if vectors of this dimension or function do not belong here.

        Args:
            dimension: of the vectors; None if it is not known yet.
            function: the embedding function; None for Chroma's default.
        """
        function_name = persisted_name(function)
        model = self._chroma._model  # noqa: SLF001 - Chroma has no public name for it
        persisted = (model.configuration_json.get("embedding_function") or {}).get("name")
        if model.dimension and dimension and model.dimension != dimension:
            raise EmbeddingMismatch(
                f"Collection {self.name!r} holds vectors of dimension {model.dimension}, but the"
                f" embedding function gives {dimension}. Pass the function it was made with, or"
                " another collection=, or delete the collection first."
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

    def ids(self, repository: str) -> list[str]:
        """The ids of all rows of one repository."""

        def get() -> list[str]:
            found = self._chroma.get(where={"repository": repository}, include=[])
            return list(found["ids"])

        return self._store.call(get, f"listing the rows of {self.name!r}")

    def paths(self, ids: Sequence[str]) -> set[str]:
        """The paths of rows; `ids` may be of any number."""
        found: set[str] = set()
        for start in range(0, len(ids), PAGE_ROWS):
            part = list(ids[start : start + PAGE_ROWS])

            def get(part: list[str] = part) -> list[Any]:
                return list(self._chroma.get(ids=part, include=["metadatas"])["metadatas"] or ())

            metadatas = self._store.call(get, f"reading {len(part)} rows of {self.name!r}")
            found.update(str(metadata.get("path", "")) for metadata in metadatas)
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

    def check_index(self) -> None:
        """Read every vector, and query one; raise `IndexDamaged` if that cannot be done.

        ``count()`` and ``get()`` without vectors look fine on an index that lost its vectors.
        """
        for page in self._pages([]):
            self.check_vectors(page["ids"])

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
            raise IndexDamaged(f"{error} {_REBUILD}") from error
        if not sound:
            raise IndexDamaged(
                f"Collection {self.name!r} has rows without a usable vector. {_REBUILD}"
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

    def upsert(self, rows: Sequence[Row], vectors: NDArray[np.float32]) -> None:
        """Write rows with their vectors, shape (rows, dimension); existing ids are replaced."""

        def write() -> None:
            self._chroma.upsert(
                ids=[row.id for row in rows],
                embeddings=vectors,
                documents=[row.document for row in rows],
                metadatas=[dict(row.metadata) for row in rows],
            )

        self._store.call(write, f"writing {len(rows)} rows to {self.name!r}")

    def update_metadata(self, rows: Sequence[Row]) -> None:
        """Replace the metadata of rows whose text and vector stay as they are."""

        def write() -> None:
            self._chroma.update(
                ids=[row.id for row in rows], metadatas=[dict(row.metadata) for row in rows]
            )

        self._store.call(write, f"updating {len(rows)} rows of {self.name!r}")

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


def live_systems(folder: Path) -> list[System]:
    """The Chroma systems of this process that are open on `folder`, however they spell it."""
    if "chromadb" not in sys.modules:
        return []
    from chromadb.api.shared_system_client import SharedSystemClient

    systems = list(SharedSystemClient._identifier_to_system.values())  # noqa: SLF001
    return [
        system
        for system in systems
        if _is_local(system) and system.settings.is_persistent and _system_folder(system) == folder
    ]


def refresh(system: System) -> None:
    """Replace a system's stale native bindings under its live clients (4 ms).

    Stopping it first would break calls that other threads have under way; started alone, those end
    on the old bindings and the next ones see what is on disk.
    """
    from chromadb.api import ServerAPI

    try:
        cast("Any", system).instance(ServerAPI).start()
    except Exception as error:
        raise _ours(error, "reading the store anew", StoreUnavailable) from error


def _folder(path: Path, given: object) -> Path:
    if isinstance(given, str) and re.match(r"https?://", given):
        raise ConfigError(
            f"store={given!r} is an address; pass chromadb.HttpClient(host=..., port=...) instead."
        )
    folder = path.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            f"store={str(path)!r} is not a folder. Pass the folder of a Chroma store."
        )
    return folder


def _is_local(system: System) -> bool:
    return system.settings.chroma_api_impl in (
        "chromadb.api.rust.RustBindingsAPI",
        "chromadb.api.segment.SegmentAPI",
    )


def _system_folder(system: System) -> Path:
    return Path(system.settings.persist_directory).resolve()


def persisted_name(function: object | None) -> str | None:
    """The name that Chroma writes down for an embedding function; None if it cannot."""
    if function is None:
        return "default"
    try:
        function.get_config()  # type: ignore[attr-defined]
        return str(function.name())  # type: ignore[attr-defined]
    except (AttributeError, NotImplementedError):
        return None


_REBUILD = (
    "Sync again: a collection that holds nothing but what reposync wrote is rebuilt, computing"
    " nothing."
)


def _ours(error: Exception, doing: str, default: type[StoreError]) -> StoreError:
    """`error` of Chroma as one of ours, with what to do next."""
    cause = f"{doing}: {type(error).__name__}: {error}"
    if retry.is_damage(error):
        return IndexDamaged(f"Chroma's vector index cannot be read ({cause}). {_REBUILD}")
    if retry.is_transient(error):
        return StoreUnavailable(
            f"The store did not answer ({cause}). Is it running and reachable? Then sync again:"
            " what was written is kept."
        )
    return default(f"Chroma failed while {cause}. What was written is kept; sync again to go on.")
