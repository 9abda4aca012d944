"""The store lock and the repository lock; the only importer of ``filelock``.

A lock alone does not protect a Chroma folder: see `reposync.freshness`. So whoever gets the store
lock here also gets a client that sees what others wrote.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import filelock

from reposync.errors import LockTimeout, StoreUnavailable, SyncInProgress
from reposync.freshness import STATE_FOLDER, FolderState, Hold, Holder, make_token
from reposync.store import Store, live_systems, refresh

if TYPE_CHECKING:
    from types import TracebackType

    from chromadb.config import System

LOCK_FILE = ".chroma.lock"
POLL_SECONDS = 0.005  # filelock's default of 50 ms made one of four waiting hosts sit out 42 holds

# Which generation of its folder each live system's native index reflects. It belongs to the system,
# not to a lock object: any lock on the folder may be the one that refreshes it.
_reflects: WeakKeyDictionary[System, int] = WeakKeyDictionary()

# An in-memory client has no file to lock; its system stands for the store.
_memory_locks: WeakKeyDictionary[System, threading.RLock] = WeakKeyDictionary()


class _Holds(threading.local):
    """The outermost hold of each folder in this thread: inner ones write on its account."""

    def __init__(self) -> None:
        self.of: dict[Path, Hold] = {}


_holds = _Holds()


class _StoreFileLock(filelock.FileLock):
    """A subclass, so that filelock's registry of singletons is ours alone: a host may use its own
    ``FileLock`` on the same file with other settings."""


@dataclass(slots=True)
class LockStats:
    """How often a lock was taken, and the longest wait and hold in seconds."""

    acquisitions: int = 0
    longest_wait: float = 0.0
    longest_hold: float = 0.0


class ChromaLock:
    """Exclusive use of a Chroma store, with a client that sees what others wrote.

    ``with ChromaLock(client): collection.upsert(...)`` is safe beside any number of threads and
    processes that do the same. It takes ``<store>/.chroma.lock`` with ``flock``; within one thread
    it can be taken again while held. A server needs no lock: there it does nothing.

    Args:
        store: a Chroma client, or the folder of a store (str or PathLike).
        timeout: seconds to wait for the lock; after that `LockTimeout` names the holder.

    Attributes:
        stats: acquisitions, longest wait and longest hold.
        token: the store's freshness token at the end of the last hold.
        undisturbed: False once somebody else wrote between two holds of this lock.

    Raises:
        ConfigError: `store` is neither.
    """

    def __init__(self, store: object, timeout: float = 30.0) -> None:
        self._store = store if isinstance(store, Store) else Store(store)
        self.timeout = timeout
        self.stats = LockStats()
        self.released_at = 0.0
        self.last_hold = 0.0
        self.token = ""
        self.undisturbed = True
        self._generation: int | None = None
        self._folder = FolderState(self._store.folder) if self._store.folder else None
        self._local = threading.local()

    def __enter__(self) -> ChromaLock:
        stack = ExitStack()
        stack.enter_context(self.hold())
        self._stacks.append(stack)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stacks.pop().__exit__(kind, error, traceback)

    @property
    def _stacks(self) -> list[ExitStack]:
        if not hasattr(self._local, "stacks"):
            self._local.stacks = []
        stacks: list[ExitStack] = self._local.stacks
        return stacks

    @contextmanager
    def hold(self, *, write: bool = True) -> Iterator[Hold | None]:
        """Hold the lock for the block; `write` warns the others that the content will change.

        Yields:
            the hold's record; None for a store without a folder, or within another hold.
        """
        waiting_since = time.monotonic()
        with self._exclusive() as first:
            held_since = time.monotonic()
            self.stats.acquisitions += 1
            self.stats.longest_wait = max(self.stats.longest_wait, held_since - waiting_since)
            try:
                if self._folder is None:
                    yield None
                elif not first:
                    if write:
                        _holds.of[self._folder.folder].will_write()
                    yield None
                else:
                    with self._fresh(self._folder, write=write) as hold:
                        yield hold
            finally:
                self.released_at = time.monotonic()
                self.last_hold = self.released_at - held_since
                self.stats.longest_hold = max(self.stats.longest_hold, self.last_hold)

    @contextmanager
    def _fresh(self, folder: FolderState, *, write: bool) -> Iterator[Hold]:
        """Bring every live client of the folder up to date; note what it reflects at the end."""
        with folder.held() as hold:
            if self._generation not in (None, hold.state.generation):
                self.undisturbed = False
            for system in live_systems(folder.folder):
                if _reflects.get(system) != hold.state.generation:
                    refresh(system)
                    _reflects[system] = hold.state.generation
            if write:
                hold.will_write()
            _holds.of[folder.folder] = hold
            try:
                yield hold
            finally:
                del _holds.of[folder.folder]
                self._generation = hold.state.generation
                for system in self._writers(folder):
                    _reflects[system] = hold.state.generation
        self.token = make_token(hold.state)

    def _writers(self, folder: FolderState) -> list[System]:
        """The systems whose index holds what was written under this lock.

        With two systems on one folder in one process (two spellings of its path), only the one that
        the lock was made for is known to; the other is refreshed the next time.
        """
        if self._store.system is not None:
            return [self._store.system]
        live = live_systems(folder.folder)
        return live if len(live) == 1 else []

    def _exclusive(self) -> AbstractContextManager[bool]:
        if self._store.kind == "server":
            return _nothing()
        if self._folder is None:
            assert self._store.system is not None
            return _thread_lock(self._store.system, self.timeout)
        return self._file_lock(self._folder)

    @contextmanager
    def _file_lock(self, folder: FolderState) -> Iterator[bool]:
        """Take the lock file; yields True unless this thread held it already."""
        lock = _open_lock(folder.folder)
        try:
            lock.acquire(timeout=self.timeout, poll_interval=POLL_SECONDS)
        except filelock.Timeout as error:
            state = folder.read()
            holder = state.holder if state else None
            who = str(holder) if holder else "a program that takes no part in reposync's records"
            raise LockTimeout(
                f"{lock.lock_file} was not free within {self.timeout:g} s; it is held by {who}."
                " Wait for it to end, stop it, or raise lock_timeout; a holder that died has"
                " already let go."
            ) from error
        except OSError as error:
            raise _unusable(folder.folder, error) from error
        try:
            yield lock.lock_counter == 1
        finally:
            lock.release()


def _open_lock(folder: Path) -> _StoreFileLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from error
    return _StoreFileLock(
        folder / LOCK_FILE, is_singleton=True, fallback_to_soft=False, preserve_lock_file=True
    )


def _unusable(folder: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"The folder {folder} cannot be used or locked ({error}). Make it writable, on a file"
        " system that knows flock (Chroma's own SQLite needs that, too), or pass another store=."
    )


@contextmanager
def _thread_lock(system: System, timeout: float) -> Iterator[bool]:
    lock = _memory_locks.setdefault(system, threading.RLock())
    if not lock.acquire(timeout=timeout):
        raise LockTimeout(
            f"Another thread used the in-memory store for more than {timeout:g} s. Wait for it, or"
            " raise lock_timeout."
        )
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def _nothing() -> Iterator[bool]:
    yield True


@contextmanager
def repository_lock(folder: Path, key: str, timeout: float) -> Iterator[None]:
    """One sync of a repository at a time, whoever runs it.

    Args:
        folder: see `state_folder`.
        key: what tells the repository apart, in hex.
        timeout: seconds to wait.

    Raises:
        SyncInProgress: it was not free within `timeout` seconds; the message names its holder.
    """
    lock_path, note = folder / f"sync-{key}.lock", folder / f"sync-{key}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(lock_path, fallback_to_soft=False, preserve_lock_file=True)
        lock.acquire(timeout=timeout, poll_interval=POLL_SECONDS)
    except filelock.Timeout as error:
        raise SyncInProgress(
            f"Another sync of this repository is running: {_read_holder(note)}. Wait for it to"
            " end, cancel it, or raise lock_timeout."
        ) from error
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        note.write_text(json.dumps(asdict(Holder.me())), "utf-8")
        yield
    finally:
        lock.release()


def _read_holder(note: Path) -> str:
    try:
        return str(Holder(**json.loads(note.read_text("utf-8"))))
    except (OSError, ValueError, TypeError):
        return "by whom is not known"


def state_folder(store: Store) -> Path:
    """Where the records of a store live that Chroma knows nothing of."""
    if store.folder is not None:
        return store.folder / STATE_FOLDER
    from platformdirs import user_state_path

    return user_state_path("reposync") / store.slug
