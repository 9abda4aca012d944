"""Hosts with an event loop: syncs in threads beside it, and the lock in its coroutines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import Desk, HashEmbedding, start_python

from reposync import ChromaLock, LockTimeout, SyncInProgress, SyncResult, with_chroma_lock
from reposync.lock.chroma import _of_this_task

DEADLINE = 30
SHORT = 0.2


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository of a few files, and a store that is not there yet."""
    (tmp_path / "tree").mkdir()
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write_many(12)
    return desk


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a store."""
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a loop to its end, which must come; nothing may run on afterwards."""
    before = threading.enumerate()
    asyncio.run(asyncio.wait_for(main, DEADLINE))
    assert set(threading.enumerate()) <= set(before)


@contextmanager
def held_elsewhere(store: Path) -> Iterator[Callable[[], None]]:
    """Another process holds the lock until the value is called, or the block ends."""
    code = (
        "import sys\nfrom reposync import ChromaLock\nwith ChromaLock(sys.argv[1]):\n"
        "    print('held', flush=True)\n    sys.stdin.readline()\n"
    )
    with start_python(code, store) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stdin = child.stdin
        assert child.stdout.readline() == "held\n"

        def let_go() -> None:
            stdin.write("\n")
            stdin.flush()
            child.wait(DEADLINE)

        try:
            yield let_go
        finally:
            child.kill()


async def until(met: Callable[[], bool]) -> None:
    """Wait for a condition, while the loop goes on."""
    while not met():
        await asyncio.sleep(0.001)


def waiting(store: Path) -> int:
    """How many stand in line for the lock."""
    return len(list(store.glob(".reposync/queue/*")))


def is_free(store: Path) -> bool:
    """True if another thread gets the lock at once, and nobody waits for it."""
    got: list[bool] = []

    def take() -> None:
        try:
            with ChromaLock(store, timeout=0.5):
                got.append(True)
        except LockTimeout:
            got.append(False)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(DEADLINE)
    return got == [True] and waiting(store) == 0


# -- a sync beside a loop ----------------------------------------------------------------------


def test_a_sync_in_a_thread_beside_the_loop(desk: Desk) -> None:
    """``await asyncio.to_thread(sync_repository, ...)``: the loop goes on, and all is done."""
    started, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        started.set()
        assert go_on.wait(DEADLINE)

    desk.embedding = HashEmbedding(before=hold_up)

    async def main() -> None:
        sync = asyncio.create_task(asyncio.to_thread(desk.sync))
        await until(started.is_set)
        go_on.set()  # by the loop, which is free while the sync waits for it
        result = await sync
        assert result.files.added == 12

    run(main())
    desk.check()


def test_cancel_and_wait_for_the_end(desk: Desk) -> None:
    """A host that is told to stop sets ``cancel``, waits, and knows that nothing runs on."""
    cancel, started = threading.Event(), threading.Event()
    desk.embedding = HashEmbedding(before=started.set)

    async def sync_until_cancelled() -> SyncResult:
        sync = asyncio.create_task(asyncio.to_thread(desk.sync, cancel=cancel))
        try:
            return await asyncio.shield(sync)
        except asyncio.CancelledError:
            cancel.set()  # a cancelled to_thread would leave its thread running
            return await sync

    async def main() -> None:
        host = asyncio.create_task(sync_until_cancelled())
        await until(started.is_set)
        host.cancel()
        result = await host
        assert result.status == "cancelled"
        assert is_free(desk.store)

    run(main())
    assert desk.sync().status == "complete"
    desk.check()


def test_in_a_running_loop(desk: Desk) -> None:
    """A notebook's cell runs in a loop: the plain call works there, and leaves the loop alone."""

    async def main() -> None:
        assert desk.sync().status == "complete"
        await asyncio.sleep(0)
        assert desk.sync().files.unchanged == 12

    run(main())
    desk.check()


def test_two_syncs_of_one_repository_beside_a_loop(desk: Desk) -> None:
    """The second one waits for the first, or names it when it may not wait."""
    started, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        started.set()
        assert go_on.wait(DEADLINE)

    first = HashEmbedding(before=hold_up)
    hasty = desk.config.model_copy(update={"lock_timeout": SHORT})

    async def main() -> None:
        sync = asyncio.create_task(asyncio.to_thread(desk.sync, embedding_function=first))
        await until(started.is_set)
        with pytest.raises(SyncInProgress):
            await asyncio.to_thread(desk.sync, config=hasty)
        patient = asyncio.create_task(asyncio.to_thread(desk.sync))
        go_on.set()
        assert (await sync).files.added == 12
        assert (await patient).files.added == 0

    run(main())
    desk.check()


def test_a_sync_under_the_lock_of_a_task(desk: Desk) -> None:
    """A coroutine that holds the lock may await a sync in a thread: it is the same holder."""

    async def main() -> None:
        async with ChromaLock(desk.store, timeout=SHORT):
            result = await asyncio.to_thread(desk.sync)
        assert result.status == "complete"
        assert is_free(desk.store)

    run(main())
    desk.check()


# -- the lock in coroutines --------------------------------------------------------------------


def decorated(store: Path) -> Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]:
    """Call a coroutine function under the decorator."""

    @with_chroma_lock(store, timeout=DEADLINE)
    async def call(body: Callable[[], Awaitable[None]]) -> None:
        await body()

    return call


def with_block(store: Path) -> Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]:
    """Call a coroutine function in an ``async with`` block."""
    lock = ChromaLock(store, timeout=DEADLINE)

    async def call(body: Callable[[], Awaitable[None]]) -> None:
        async with lock:
            await body()

    return call


FORMS = pytest.mark.parametrize("form", [decorated, with_block])


@FORMS
def test_the_loop_goes_on_while_a_coroutine_waits(form: Any, store: Path) -> None:
    """Others in the loop run while the lock is with another process; then it is had."""
    entered = []

    async def body() -> None:
        entered.append(True)

    async def main() -> None:
        with held_elsewhere(store) as let_go:
            task = asyncio.create_task(form(store)(body))
            await until(lambda: waiting(store) == 1)
            for _ in range(100):  # turns of a loop that nobody blocks
                await asyncio.sleep(0.001)
            assert not entered
            let_go()
            await task
        assert entered == [True]

    run(main())
    assert is_free(store)


@FORMS
def test_tasks_exclude_each_other(form: Any, store: Path) -> None:
    """Of many tasks in one loop one at a time is inside, also while it awaits something."""
    inside: list[int] = []
    most: list[int] = []

    async def body() -> None:
        inside.append(1)
        await asyncio.sleep(0.001)
        most.append(len(inside))
        inside.pop()

    async def main() -> None:
        enter = form(store)
        await asyncio.gather(*(enter(body) for _ in range(8)))

    run(main())
    assert most == [1] * 8
    assert is_free(store)


def test_tasks_and_threads_exclude_each_other(store: Path) -> None:
    """A task keeps a thread out, and a thread keeps a task out, by locks of their own."""
    order: list[str] = []

    def in_thread() -> None:
        with ChromaLock(store, timeout=DEADLINE):
            order.append("thread in")
            time.sleep(0.02)
            order.append("thread out")

    async def in_task() -> None:
        async with ChromaLock(store, timeout=DEADLINE):
            order.append("task in")
            await asyncio.sleep(0.02)
            order.append("task out")

    async def main() -> None:
        threads = [asyncio.to_thread(in_thread) for _ in range(3)]
        await asyncio.gather(*threads, *(in_task() for _ in range(3)))

    run(main())
    pairs = list(zip(order[::2], order[1::2], strict=True))
    assert sorted(pairs) == [("task in", "task out")] * 3 + [("thread in", "thread out")] * 3


def test_a_task_can_take_it_again(store: Path) -> None:
    """Within its hold a task, and those that it waits for, take the lock again; others do not."""
    lock = ChromaLock(store, timeout=SHORT)

    async def again() -> None:
        async with ChromaLock(store, timeout=0):
            await asyncio.sleep(0)

    async def main() -> None:
        asked, hold = asyncio.Event(), asyncio.Event()

        async def stranger() -> None:
            await hold.wait()
            with pytest.raises(LockTimeout):
                await again()
            asked.set()

        other = asyncio.create_task(stranger())  # made before the hold: no part of it
        async with lock, lock:
            await again()
            await asyncio.gather(again(), again())
            hold.set()
            await asked.wait()
        await other
        await again()

    run(main())
    assert lock.stats().acquisitions == 1
    assert is_free(store)


@FORMS
def test_a_wait_that_is_cancelled_leaves_the_lock_free(form: Any, store: Path) -> None:
    """A task that is cancelled in the line leaves it, and never gets the lock."""
    entered = []

    async def body() -> None:
        entered.append(True)

    async def main() -> None:
        with held_elsewhere(store) as let_go:
            task = asyncio.create_task(form(store)(body))
            await until(lambda: waiting(store) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert waiting(store) == 0
            let_go()

    run(main())
    assert not entered
    assert is_free(store)


@FORMS
def test_a_hold_that_is_cancelled_lets_go(form: Any, store: Path) -> None:
    """A task that is cancelled inside lets the lock go; an error does so, too."""

    entered = asyncio.Event()

    async def sleep() -> None:
        entered.set()
        await asyncio.sleep(DEADLINE)

    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        enter = form(store)
        task = asyncio.create_task(enter(sleep))
        await entered.wait()
        assert not is_free(store)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_free(store)
        with pytest.raises(ZeroDivisionError):
            await enter(fail)

    run(main())
    assert is_free(store)


def test_a_coroutine_waits_no_longer_than_it_was_told(store: Path) -> None:
    """The timeout of the decorator ends the wait, with an error that names the holder."""

    @with_chroma_lock(store, timeout=SHORT)
    async def never() -> None:
        raise AssertionError

    async def main() -> None:
        with held_elsewhere(store), pytest.raises(LockTimeout) as caught:
            await never()
        assert caught.value.holder is not None

    run(main())
    assert is_free(store)


def test_a_long_lived_task_piles_nothing_up(store: Path) -> None:
    """A server's task that takes the lock again and again keeps nothing of its former holds."""
    lock = ChromaLock(store)

    async def main() -> None:
        for _ in range(3):
            async with lock:
                assert len(_of_this_task.get()) == 1
        assert _of_this_task.get() == ()

    run(main())


class Other:
    """Another lock, as that of a server's; it counts how often it is held."""

    held = 0

    def __enter__(self) -> None:
        self.held += 1

    def __exit__(self, *_: object) -> None:
        self.held -= 1


def test_another_lock_is_let_go_when_the_wait_is_cancelled(store: Path) -> None:
    """What was taken along with the lock is free again, whatever ends the wait for it."""
    other = Other()

    async def take(timeout: float) -> None:
        async with ChromaLock(store, timeout, also=other):
            raise AssertionError

    async def main() -> None:
        with held_elsewhere(store):
            with pytest.raises(LockTimeout):
                await take(SHORT)
            assert other.held == 0
            task = asyncio.create_task(take(DEADLINE))
            await until(lambda: waiting(store) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert other.held == 0

    run(main())
