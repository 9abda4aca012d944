"""`ChromaLock`: the store lock, for syncs and for hosts.

A lock alone does not protect a Chroma folder: see `reposync.freshness`. So whoever gets the store
lock here also gets a client that sees what others wrote.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from reposync.errors import LockError, LockTimeout
from reposync.freshness import STATE_FOLDER, FolderState, Hold, make_token
from reposync.lock.also import check_reusable, holding
from reposync.lock.clients import are_fresh, bring_up_to_date, note_glance, note_writer
from reposync.lock.file import make_folder
from reposync.lock.queue import Queue, Taken, Waiting, line_up, poll, wait, wait_async
from reposync.lock.stats import LockStats, Meter
from reposync.store import Store, forked

if TYPE_CHECKING:
    from types import TracebackType

    from chromadb.config import System

LOCK_FILE = ".chroma.lock"
OnRelease = Callable[[float, float], None]


@dataclass(eq=False, slots=True)
class _Held:
    """The one outermost hold of a store in this process.

    Attributes:
        thread: which thread holds it; None if a task does.
        hold: its record; None for a store without a folder.
    """

    thread: int | None
    pid: int
    hold: Hold | None = None


# Who holds which store: keyed on the folder's real path, or on an in-memory client's system.
_held: dict[object, _Held] = {}

# The holds of this task, and of those that it waits for: they inherit its context.
_of_this_task: ContextVar[tuple[_Held, ...]] = ContextVar("reposync_holds", default=())
_stacks_of_this_task: ContextVar[tuple[ExitStack, ...]] = ContextVar("reposync_stacks", default=())

# An in-memory client has no file to lock; its system stands for the store.
_memory_locks: WeakKeyDictionary[System, _MemoryLock] = WeakKeyDictionary()


class ChromaLock:
    """Exclusive use of a Chroma store, with a client that sees what others wrote.

    ``with ChromaLock(client): collection.upsert(...)`` is safe beside any number of threads and
    processes that do the same. It takes ``<store>/.chroma.lock`` with ``flock``, in turn with all
    others who wait for it through a `ChromaLock`. The thread that holds it can take it again. A
    server needs no lock: there it does nothing.

    In a coroutine use ``async with``, which waits without blocking the loop (but for `also`, which
    may block it), excludes other tasks, and can be taken again by the task that holds it and by
    those that it waits for.

    Args:
        store: a Chroma client, or the folder of a store (str or PathLike).
        timeout: seconds to wait for the lock; after that `LockTimeout` names the holder.
        also: another lock to hold whenever this one is held: any context manager that can be
            entered again and again, for a server that is reached from several machines.

    Attributes:
        token: the store's freshness token at the end of the last hold.
        undisturbed: False once somebody else wrote between two holds of this lock.
        used: True once it was held.
        released_at: when it was last let go, on the monotonic clock.
        last_hold: for how many seconds it was held then.

    Raises:
        ConfigError: `store` is neither, or `also` cannot be entered again.
    """

    def __init__(
        self,
        store: object,
        timeout: float = 30.0,
        *,
        also: AbstractContextManager[object] | None = None,
    ) -> None:
        self._store = store if isinstance(store, Store) else Store(store)
        self.timeout = timeout
        self.also = None if also is None else check_reusable(also)
        self.released_at = 0.0
        self.last_hold = 0.0
        self.token = ""
        self.undisturbed = True
        self.used = False
        self._generation: int | None = None
        self._folder = FolderState(self._store.folder) if self._store.folder else None
        self._meter = Meter()
        self._waited = 0.0
        self._on_release: OnRelease | None = None
        self._local = threading.local()

    # -- for hosts -------------------------------------------------------------------------------

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

    async def __aenter__(self) -> ChromaLock:
        with ExitStack() as stack:
            outer = self._outer()
            if outer is not None:
                self._warn(outer)
            elif self._excludes:
                stack.enter_context(holding(self.also))
                asked = time.monotonic()
                taken = self._had(*await wait_async(self._line_up()), asked=asked)
                held = stack.enter_context(self._holding(taken, thread=None, write=True))
                _of_this_task.set((*_of_this_task.get(), held))
                stack.callback(_forget, held)
            _stacks_of_this_task.set((*_stacks_of_this_task.get(), stack.pop_all()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        *others, stack = _stacks_of_this_task.get()
        _stacks_of_this_task.set(tuple(others))
        stack.__exit__(kind, error, traceback)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read what others wrote: ``with lock.reading(): collection.query(...)``.

        Costs two ``os.stat`` calls, and takes no lock, as long as nobody else wrote. If somebody
        did, the lock is held for the block: Chroma loads the index anew at the first read, and
        must not find it half-written then.
        """
        folder = self._folder
        # Without a live client nothing is fresh: the block will open one.
        if folder is None or self._outer() is not None or are_fresh(folder, loading=self._loading):
            yield
        else:
            with self.hold(write=False):
                yield

    def stats(self) -> LockStats:
        """How often this lock was taken, and the waits and holds, as it stands now."""
        return self._meter.stats()

    # -- for syncs -------------------------------------------------------------------------------

    def is_of(self, store: Store) -> bool:
        """True if this is a lock of `store`."""
        mine, theirs = self._store, store
        return (mine.folder, mine.address) == (theirs.folder, theirs.address)

    def listen(self, on_release: OnRelease | None) -> None:
        """Call `on_release` with the seconds of wait and hold after each hold."""
        self._on_release = on_release

    @contextmanager
    def hold(self, *, write: bool = True) -> Iterator[Hold | None]:
        """Hold the lock for the block; `write` warns the others that the content will change.

        Yields:
            the hold's record; None for a store without a folder, or within another hold.
        """
        outer = self._outer()
        if outer is not None:
            if write:
                self._warn(outer)
            yield None
        elif not self._excludes:
            yield None
        else:
            asked = time.monotonic()
            with holding(self.also):
                taken = self._had(*wait(self._line_up()), asked=asked)
                with self._holding(taken, thread=threading.get_ident(), write=write) as held:
                    yield held.hold

    def shut_out_readers(self) -> None:
        """Until the hold ends, have `reading` in this process wait for it, as in others."""
        held = _held.get(self._key)
        if held is not None and held.hold is not None:
            held.hold.shut = True

    # -- taking it -------------------------------------------------------------------------------

    @property
    def _stacks(self) -> list[ExitStack]:
        if not hasattr(self._local, "stacks"):
            self._local.stacks = []
        stacks: list[ExitStack] = self._local.stacks
        return stacks

    @property
    def _excludes(self) -> bool:
        return self._store.kind != "server" or self.also is not None

    @property
    def _key(self) -> object:
        if self._folder is not None:
            return self._folder.folder
        return self if self._store.kind == "server" else self._store.system

    def _outer(self) -> _Held | None:
        """The hold that this thread or task is in already, or None."""
        self._store.check_process()
        held = _held.get(self._key)
        if held is None:
            return None
        if held.pid != os.getpid():
            raise LockError(f"The store lock was held when {forked(held.pid)}")
        mine = held.thread == threading.get_ident() or held in _of_this_task.get()
        return held if mine else None

    def _line_up(self) -> Waiting:
        check = self._store.deadline.check
        if self._folder is not None:
            folder = self._folder.folder
            self._store.require_folder()
            make_folder(folder)
            queue = Queue(folder / STATE_FOLDER / "queue")
            return line_up(folder / LOCK_FILE, queue, self.timeout, rest=self._rest, check=check)
        if self._store.kind == "server":
            return poll(_Nothing, self.timeout, check=check)
        assert self._store.system is not None
        lock = _memory_locks.setdefault(self._store.system, _MemoryLock())
        return poll(lock.attempt, self.timeout, check=lambda: None)

    def _rest(self) -> float:
        """Leave the lock to those who poll it, now and then; see `State.rest`."""
        assert self._folder is not None
        state = self._folder.read()
        return state.rest() if state else 0.0

    def _had(self, taken: Taken | None, sleeps: int, *, asked: float) -> Taken:
        """`taken`, counted; raise `LockTimeout` if it is None."""
        if taken is not None:
            self._waited = time.monotonic() - asked
            self._meter.acquired(self._waited, contended=sleeps > 0)
            return taken
        self._meter.timed_out()
        if self._folder is None:
            raise LockTimeout(
                f"Another thread used the in-memory store for more than {self.timeout:g} s. Wait"
                " for it, or raise lock_timeout."
            )
        state = self._folder.read()
        holder = state.holder if state else None
        who = str(holder) if holder else "a program that takes no part in reposync's records"
        error = LockTimeout(
            f"{self._folder.folder / LOCK_FILE} was not free within {self.timeout:g} s; it is held"
            f" by {who}. Wait for it to end, stop it, or raise lock_timeout; a holder that died has"
            " already let go."
        )
        error.holder = holder
        raise error

    # -- holding it ------------------------------------------------------------------------------

    @contextmanager
    def _holding(self, taken: Taken, *, thread: int | None, write: bool) -> Iterator[_Held]:
        self.used = True
        since = time.monotonic()
        held = _Held(thread, os.getpid())
        _held[self._key] = held
        try:
            with self._up_to_date(held) if self._folder else nullcontext():
                if write:
                    self._warn(held)
                yield held
        finally:
            del _held[self._key]
            taken.release()
            self.released_at = time.monotonic()
            self.last_hold = self.released_at - since
            self._meter.released(self.last_hold)
            if self._on_release is not None:
                self._on_release(self._waited, self.last_hold)

    @contextmanager
    def _up_to_date(self, held: _Held) -> Iterator[None]:
        """Bring every live client of the folder up to date; note what it reflects at the end."""
        folder = self._folder
        assert folder is not None
        with folder.held() as hold:
            held.hold = hold
            if self._generation not in (None, hold.state.generation):
                self.undisturbed = False
            hold.refreshed = bring_up_to_date(folder.folder, hold.state.generation)
            if hold.refreshed:
                self._meter.refreshed()
            try:
                yield
            finally:
                self._generation = hold.state.generation
                note_writer(folder.folder, self._store.system, hold.state.generation)
        self.token = make_token(hold.state)
        note_glance(folder, hold.state.generation)

    def _warn(self, held: _Held) -> None:
        """Tell the others that this hold writes, and that our own client knows what."""
        hold = held.hold
        if hold is not None and not hold.warned:
            hold.will_write()
            note_writer(hold.folder.folder, self._store.system, hold.state.generation)

    @property
    def _loading(self) -> bool:
        """True while a hold of this process is shut, or has clients that loaded no index yet."""
        held = _held.get(self._key)
        hold = held.hold if held else None
        return hold is not None and (hold.shut or (hold.refreshed and not hold.loaded))


def _forget(held: _Held) -> None:
    _of_this_task.set(tuple(one for one in _of_this_task.get() if one is not held))


class _Nothing:
    """What is taken where there is nothing to take."""

    def release(self) -> None:
        pass


class _MemoryLock:
    """Excludes the threads and tasks that share an in-memory client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def attempt(self) -> _MemoryLock | None:
        return self if self._lock.acquire(blocking=False) else None

    def release(self) -> None:
        self._lock.release()
