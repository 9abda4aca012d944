"""First come, first served: those who wait for a lock file line up with a ticket each.

Polling a lock file is a lottery: with filelock's default of 50 ms one of four waiting hosts sat out
42 holds, and with any interval somebody draws blanks. So whoever does not get the lock at once puts
a ticket, a small file that it keeps locked, into a folder beside it. Only the owner of the oldest
one tries for the lock itself, and a newcomer who sees tickets takes one, too. The kernel unlocks
the ticket of a process that died; whoever is next finds that out and removes it.

Programs that know nothing of tickets just poll the lock file. They are let in through gaps, see
`reposync.freshness.State.rest`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Protocol

from reposync.lock.file import LockedFile, make_folder, try_lock, unusable

POLL_SECONDS = 0.005
LOOKS_AT_THE_DEAD = 10  # every so many polls: a ticket without an owner is a rare thing

_numbers = itertools.count()


class Taken(Protocol):
    """A lock that was taken."""

    def release(self) -> None:
        """Let go."""
        ...


Waiting = Generator[float, None, Taken | None]
"""Yields how many seconds to sleep, and returns the lock; None if it was not free in time."""


class Queue:
    """Those who wait for one lock file, in whichever process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def join(self) -> LockedFile:
        """Take a ticket; `LockedFile.remove` gives it back."""
        make_folder(self._folder)
        while True:
            # The monotonic clock is one for all processes of a machine, and nobody sets it back.
            name = f"{time.monotonic_ns():020}-{os.getpid()}-{next(_numbers)}"
            ticket = try_lock(self._folder / name)
            if ticket is not None:  # else somebody took it for dead before it was locked
                return ticket

    def first(self) -> str | None:
        """The name of the oldest ticket, or None if nobody waits."""
        try:
            return min(os.listdir(self._folder), default=None)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(self._folder, error) from error

    def remove_if_dead(self, name: str) -> None:
        """Remove a ticket whose owner died."""
        ticket = try_lock(self._folder / name)
        if ticket is not None:
            ticket.remove()


def line_up(
    path: Path,
    queue: Queue,
    timeout: float,
    *,
    rest: Callable[[], float],
    check: Callable[[], None],
) -> Waiting:
    """Take the lock file `path` in turn.

    Args:
        path: the lock file; its folder is there.
        queue: those who wait for it.
        timeout: seconds.
        rest: for how many more seconds the lock is to be left to those who only poll.
        check: raises when there is a reason to give up.
    """
    ends = time.monotonic() + timeout
    if queue.first() is None and not rest():
        taken = try_lock(path)
        if taken is not None:
            return taken
    ticket = queue.join()
    try:
        for polls in itertools.count(1):
            first = queue.first()
            if first == ticket.path.name:
                if not rest() and (taken := try_lock(path)) is not None:
                    return taken
            elif first is not None and polls % LOOKS_AT_THE_DEAD == 0:
                queue.remove_if_dead(first)
            if time.monotonic() >= ends:
                return None
            check()
            yield POLL_SECONDS
    finally:
        ticket.remove()
    raise AssertionError  # a count does not end


def poll(
    attempt: Callable[[], Taken | None], timeout: float, *, check: Callable[[], None]
) -> Waiting:
    """Take a lock that nobody lines up for; the arguments are as for `line_up`."""
    ends = time.monotonic() + timeout
    while (taken := attempt()) is None and time.monotonic() < ends:
        check()
        yield POLL_SECONDS
    return taken


def wait(waiting: Waiting) -> tuple[Taken | None, int]:
    """Wait in this thread; the lock, and how often it slept."""
    sleeps = 0
    try:
        while True:
            time.sleep(next(waiting))
            sleeps += 1
    except StopIteration as end:
        return end.value, sleeps
    finally:
        waiting.close()  # a Ctrl-C gives the ticket back


async def wait_async(waiting: Waiting) -> tuple[Taken | None, int]:
    """Wait in this task, while the loop goes on with others; the lock, and how often it slept."""
    import asyncio

    sleeps = 0
    try:
        while True:
            await asyncio.sleep(next(waiting))
            sleeps += 1
    except StopIteration as end:
        return end.value, sleeps
    finally:
        waiting.close()  # a cancelled task gives its ticket back
