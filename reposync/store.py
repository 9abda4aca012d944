"""The doorway to Chroma: finds, opens and refreshes stores; the only importer of ``chromadb``.

Chroma keeps one *system* for each spelling of a path in a process. Two systems on one folder are as
dangerous as two processes, so everything here is keyed on the real path, and a system that is live
already is used with its own spelling and settings.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from reposync import retry
from reposync.collection import REBUILD, Collection, persisted_name
from reposync.errors import ConfigError, IndexDamaged, StoreError, StoreUnavailable, SyncError

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection as ChromaCollection
    from chromadb.config import System

T = TypeVar("T")

# Some batches' worth, with Chroma's log and what an index grows by.
MIN_FREE_BYTES = 32 * 1024**2

# Chroma's table of systems is not guarded against two threads that open the same folder.
_opening = threading.Lock()


def default_folder() -> Path:
    """``$REPOSYNC_STORE``, else ``chroma`` in the user's data folder for reposync."""
    if named := os.environ.get("REPOSYNC_STORE"):
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("reposync") / "chroma"


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

    def require_room(self) -> None:
        """Raise `StoreUnavailable` if a folder's disk is nearly full.

        Chroma 1.5 can hang for good, in native code, when the disk fills up while it writes.
        """
        if self.folder is not None and shutil.disk_usage(self.folder).free < MIN_FREE_BYTES:
            raise StoreUnavailable(
                f"The disk of {self.folder} has less than {MIN_FREE_BYTES >> 20} MiB left, and"
                " Chroma hangs when it runs full. Make room and sync again: what was written is"
                " kept."
            )

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


def _ours(error: Exception, doing: str, default: type[StoreError]) -> StoreError:
    """`error` of Chroma as one of ours, with what to do next."""
    cause = f"{doing}: {type(error).__name__}: {error}"
    if retry.is_damage(error):
        return IndexDamaged(f"Chroma's vector index cannot be read ({cause}). {REBUILD}")
    if retry.is_disk_trouble(error):
        return StoreUnavailable(
            f"The store's disk refused ({cause}). Make room, or make the folder writable, and sync"
            " again: what was written is kept."
        )
    if retry.is_transient(error):
        return StoreUnavailable(
            f"The store did not answer ({cause}). Is it running and reachable? Then sync again:"
            " what was written is kept."
        )
    return default(f"Chroma failed while {cause}. What was written is kept; sync again to go on.")
