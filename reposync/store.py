"""The doorway to Chroma: finds, opens and refreshes stores; the only importer of ``chromadb``.

Chroma keeps one *system* for each spelling of a path in a process. Two systems on one folder are as
dangerous as two processes, so everything here is keyed on the real path, and a system that is live
already is used with its own spelling and settings.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast
from weakref import WeakKeyDictionary

from reposync import retry
from reposync.collection import REBUILD, Collection, persisted_name
from reposync.errors import (
    CollectionGone,
    ConfigError,
    IndexDamaged,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    SyncError,
)
from reposync.retry import Cancelled, Deadline, Fault, OnRetry

if TYPE_CHECKING:
    import httpx
    from chromadb.api import ClientAPI
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection as ChromaCollection
    from chromadb.config import Settings, System

T = TypeVar("T")

# Some batches' worth, with Chroma's log and what an index grows by.
MIN_FREE_BYTES = 32 * 1024**2

# Chroma's table of systems is not guarded against two threads that open the same folder.
_opening = threading.Lock()

# What is worked out once for each Chroma system: the real path of its folder, and the process that
# it was first seen in, since its native threads do not survive a fork.
_folders: WeakKeyDictionary[System, Path] = WeakKeyDictionary()
_births: WeakKeyDictionary[System, int] = WeakKeyDictionary()


def default_folder() -> Path:
    """``$REPOSYNC_STORE``, else ``chroma`` in the user's data folder for reposync."""
    if named := os.environ.get("REPOSYNC_STORE"):
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("reposync") / "chroma"


def chroma_settings() -> Settings:
    """Settings for a client of ours: no telemetry, and nothing that a file ``.env`` says.

    Chroma would read it in the current folder, which may be a stranger's repository, and import
    classes that it names.
    """
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False, _env_file=None)  # type: ignore[call-arg]


class Store:
    """One Chroma store: a folder, an in-memory client, or a server.

    Attributes:
        kind: "folder", "memory" or "server".
        folder: the real path of a store's folder; None for the others.
        retries: how many calls were tried again.
        deadline: when whoever uses it has to be done.
    """

    def __init__(
        self,
        store: object = None,
        *,
        attempts: int = 8,
        deadline: Deadline | None = None,
        request_timeout: float = 30.0,
    ) -> None:
        self._attempts = attempts
        self.deadline = deadline or Deadline(None)
        self._request_timeout = request_timeout
        self._client: ClientAPI | None = None
        self._session: httpx.Client | None = None
        self._own_system: System | None = None
        self._opened = False
        self.retries = 0
        self._on_retry: OnRetry | None = None
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
        _births.setdefault(system, os.getpid())
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

    def check_process(self) -> None:
        """Raise `StoreUnavailable` in a forked child of the process that opened the client."""
        if self._client is not None and self.system is not None:
            _check_birth(self.system)

    def require_folder(self) -> None:
        """Raise `StoreUnavailable` if the folder of an open store was removed."""
        if self.folder is not None and self._client is not None and not self.exists:
            raise StoreUnavailable(
                f"{self.folder} was removed while the store was open. Make the client anew, and"
                " sync again: everything is written anew."
            )

    def open(self) -> None:
        """Open the store; a folder's only while its lock is held. Does nothing if it is open."""
        if self.kind == "server" and self._session is None:
            self._open_session()
        if self._client is not None:
            return
        assert self.folder is not None
        import chromadb
        from chromadb.api.client import Client

        with _opening:
            try:
                live = live_systems(self.folder)
                if live:
                    self._client = Client(settings=live[0].settings)
                else:
                    self._client = chromadb.PersistentClient(str(self.folder), chroma_settings())
            except Exception as error:
                raise _ours(error, f"opening {self.folder}", StoreUnavailable) from error
            _births.setdefault(cast("Client", self._client)._system, os.getpid())  # noqa: SLF001
        self._opened = True

    def _open_session(self) -> None:
        """Use the caller's server through a session of our own, which has a timeout.

        Chroma's has none, so that a call to a server that hangs would never end; and the caller's
        own session is not ours to change.
        """
        from chromadb.api import ServerAPI
        from chromadb.config import System as ChromaSystem

        theirs = cast("Client", self._client)
        self._own_system = ChromaSystem(theirs._system.settings)  # noqa: SLF001
        server = cast("Any", self._own_system).instance(ServerAPI)
        self._own_system.start()
        self._session = server._session  # noqa: SLF001
        ours = copy.copy(theirs)
        ours._server = server  # noqa: SLF001
        self._client = cast("ClientAPI", ours)

    def close(self) -> None:
        """Close what `open` opened, and nothing else."""
        if self._own_system is not None and self._session is not None:
            self._session.close()
            self._own_system.stop()
            self._own_system = None
        if self._opened and self._client is not None:
            with _opening:
                cast("Client", self._client).close()
            self._client, self._opened = None, False

    def require_room(self) -> None:
        """Raise `StoreUnavailable` if a folder's disk is nearly full.

        Chroma 1.5 can hang for good, in native code, when the disk fills up while it writes.
        """
        if self.folder is None:
            return
        self.require_folder()
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise _ours(error, f"looking at {self.folder}", StoreUnavailable) from error
        if free < MIN_FREE_BYTES:
            raise StoreUnavailable(
                f"The disk of {self.folder} has less than {MIN_FREE_BYTES >> 20} MiB left, and"
                " Chroma hangs when it runs full. Make room and sync again: what was written is"
                " kept."
            )

    # -- the server ------------------------------------------------------------------------------

    def heartbeat(self) -> None:
        """Ask for a sign of life; raises `StoreUnavailable` if there is none."""
        self.call(self._chroma.heartbeat, "asking for a sign of life")

    def server_version(self) -> tuple[str, str]:
        """What a server says of itself: its version, and the title of its API, "" if it has none.

        The server that ``chroma run`` starts is written in Rust; it calls its version 1.0.0,
        whatever it is, and its API "chroma-frontend".
        """
        version = self.call(self._chroma.get_version, "asking the server for its version")

        def ask() -> str:
            assert self._session is not None
            answer = self._session.get(f"{self.address}/openapi.json")
            if answer.status_code != 200:
                return ""
            found = answer.json()
            return str(found["info"]["title"]) if isinstance(found, dict) else ""

        return version, self.call(ask, "asking the server for its API")

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
        return None if found is None else Collection(self, _quiet(found))

    def collections(self) -> list[str]:
        """The names of all collections."""
        found = self.call(lambda: self._chroma.list_collections(), "listing the collections")
        return sorted(each.name for each in found)

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

        return Collection(self, _quiet(self.call(make, f"creating collection {name!r}")))

    def create_like(self, name: str, model: str) -> Collection:
        """Make an empty collection with all the settings and the metadata of the one named `model`.

        Its embedding function is neither needed nor made: what was written down of it is copied.
        """

        def make() -> ChromaCollection:
            theirs = self._chroma.get_collection(model, embedding_function=None)._model  # noqa: SLF001
            if theirs.serialized_schema is None:
                raise StoreRefused(
                    f"{self.address} does not tell all settings of collection {model!r}, so that no"
                    " other can be made like it. Upgrade the Chroma server."
                )
            return self._chroma.create_collection(
                name,
                schema=cast("Any", _Settings(theirs.serialized_schema)),
                metadata=theirs.metadata,
                embedding_function=None,
            )

        return Collection(self, _quiet(self.call(make, f"creating collection {name!r}")))

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
            return retry.call(
                lambda: self._timed(function),
                attempts=self._attempts,
                deadline=self.deadline,
                on_retry=self._note_retry,
            )
        except (SyncError, Cancelled):
            raise
        except Exception as error:
            self.require_folder()
            where = f" at {self.address}" if self.kind == "server" else ""
            raise _ours(error, doing + where, StoreError) from error

    def _timed(self, function: Callable[[], T]) -> T:
        if self._session is not None:
            self._session.timeout = max(0.1, min(self._request_timeout, self.deadline.left))
        return function()

    def listen(self, on_retry: OnRetry | None) -> None:
        """Call `on_retry` with the error and the pause before each call that is tried again."""
        self._on_retry = on_retry

    def _note_retry(self, error: BaseException, pause: float) -> None:
        self.retries += 1
        if self._on_retry is not None:
            self._on_retry(error, pause)


class _Settings:
    """A collection's settings, as Chroma gave them and takes them."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema

    def serialize_to_json(self) -> dict[str, Any]:
        """What Chroma asks of its own class, which cannot be made without the function."""
        return self._schema


def live_systems(folder: Path) -> list[System]:
    """The Chroma systems of this process that are open on `folder`, however they spell it.

    Raises:
        StoreUnavailable: one was opened before this process was forked.
    """
    if "chromadb" not in sys.modules:
        return []
    from chromadb.api.shared_system_client import SharedSystemClient

    systems = list(SharedSystemClient._identifier_to_system.values())  # noqa: SLF001
    found = [
        system
        for system in systems
        if _is_local(system) and system.settings.is_persistent and _system_folder(system) == folder
    ]
    for system in found:
        _check_birth(system)
    return found


def _check_birth(system: System) -> None:
    born = _births.setdefault(system, os.getpid())
    if born != os.getpid():
        raise StoreUnavailable(f"The Chroma client was open when {forked(born)}")


def forked(parent: int) -> str:
    """What to tell of something that a fork does not carry over."""
    return (
        f"this process was forked from process {parent}: its calls would hang here. Start workers"
        " with the method spawn, or open the client in each worker after the fork."
    )


def refresh(system: System) -> None:
    """Replace a system's stale native bindings under its live clients (4 ms).

    Stopping it first would break calls that other threads have under way; started alone, those end
    on the old bindings and the next ones see what is on disk. Another thread may close the last
    client meanwhile; bindings that are made after that would stay open for ever.
    """
    from chromadb.api import ServerAPI

    server = cast("Any", system).instance(ServerAPI)
    with _opening:
        if not _is_in_use(system):
            return
        try:
            server.start()
        except Exception as error:
            raise _ours(error, "reading the store anew", StoreUnavailable) from error
        if not _is_in_use(system):  # closed by a host of ours just now
            server.stop()


def _is_in_use(system: System) -> bool:
    from chromadb.api.shared_system_client import SharedSystemClient

    return system in SharedSystemClient._identifier_to_system.values()  # noqa: SLF001


def _quiet(chroma: ChromaCollection) -> ChromaCollection:
    """Keep Chroma from warning, at each write, that it does not know the embedding function.

    At each write it makes anew what the collection's schema names, in search of sparse vectors to
    compute. Where it does not know the function, that fails. The object is ours alone.
    """
    from chromadb.utils.embedding_functions import known_embedding_functions

    model = chroma._model  # noqa: SLF001
    name = (model.configuration_json.get("embedding_function") or {}).get("name")
    if name is not None and name not in known_embedding_functions:
        model.serialized_schema = None
    return chroma


def _folder(path: Path, given: object) -> Path:
    if isinstance(given, str) and re.match(r"https?://", given):
        raise ConfigError(
            f"store={given!r} is an address; pass chromadb.HttpClient(host=..., port=...) instead."
        )
    try:
        folder = path.expanduser().resolve()
        is_file = folder.exists() and not folder.is_dir()
        with suppress(FileNotFoundError, NotADirectoryError):
            (folder / "chroma.sqlite3").stat()  # PermissionError if the folder may not be entered
    except PermissionError as error:
        raise StoreUnavailable(
            f"The store {path} may not be entered ({error}). Give this user the permission, or"
            " pass another store=."
        ) from error
    except (ValueError, RuntimeError) as error:  # a NUL; nobody's home; links in a ring
        raise ConfigError(
            f"store={str(path)!r} is no path ({error}). Pass the folder of a Chroma store."
        ) from error
    if is_file:
        raise ConfigError(
            f"store={str(path)!r} is not a folder. Pass the folder of a Chroma store."
        )
    check_name(folder)
    return folder


def check_name(folder: Path) -> None:
    """Raise ConfigError for a store's folder whose name Chroma does not take."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"store={str(folder)!r} is not UTF-8, and Chroma opens no such folder. Pass another."
        ) from None


def _is_local(system: System) -> bool:
    return system.settings.chroma_api_impl in (
        "chromadb.api.rust.RustBindingsAPI",
        "chromadb.api.segment.SegmentAPI",
    )


def _system_folder(system: System) -> Path:
    if system not in _folders:  # before the working folder changes, if the path is relative
        _folders[system] = Path(system.settings.persist_directory).resolve()
    return _folders[system]


_FAULTS: dict[Fault, tuple[type[StoreError], str]] = {
    Fault.TRANSIENT: (
        StoreUnavailable,
        "The store did not answer ({}). Is it running and reachable? Then sync again: what was"
        " written is kept.",
    ),
    Fault.REFUSED: (
        StoreRefused,
        "Chroma refused what it was given ({}). Mend or exclude what it complains of, and sync"
        " again: what was written is kept.",
    ),
    Fault.DENIED: (
        StoreUnavailable,
        "The store refused the credentials ({}). Give the client ones that may read and write, and"
        " sync again.",
    ),
    Fault.GONE: (
        CollectionGone,
        "The collection, or its database, was deleted meanwhile ({}). Sync again: it is made anew,"
        " computing nothing.",
    ),
    Fault.DAMAGED: (IndexDamaged, "Chroma's vector index cannot be read ({}). " + REBUILD),
    Fault.DISK: (
        StoreUnavailable,
        "The store's disk refused ({}). Make room, make the folder writable, or allow more open"
        " files (ulimit -n), and sync again: what was written is kept.",
    ),
}


def _ours(error: Exception, doing: str, default: type[StoreError]) -> StoreError:
    """`error` of Chroma as one of ours, with what to do next."""
    kind, message = _FAULTS.get(
        retry.fault_of(error),
        (default, "Chroma failed while {}. What was written is kept; sync again to go on."),
    )
    return kind(message.format(f"{doing}: {type(error).__name__}: {error}"))
