"""The repository lock: one sync of a repository at a time, whoever runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from reposync.errors import SyncInProgress
from reposync.freshness import STATE_FOLDER
from reposync.holder import Holder
from reposync.lock.file import is_locked, make_folder, try_lock
from reposync.lock.queue import poll, wait
from reposync.retry import Cancelled, Deadline
from reposync.store import Store

if TYPE_CHECKING:
    from reposync.result import SyncProgress

LOOK_SECONDS = 0.05
"""Whoever asks whether the lock is held takes it for an instant, which must not end a sync that
would not wait for it."""

HowFar = Callable[[float], "SyncProgress | None"]


@contextmanager
def repository_lock(
    folder: Path,
    key: str,
    timeout: float,
    *,
    deadline: Deadline | None = None,
    how_far: HowFar = lambda _: None,
) -> Iterator[None]:
    """Hold the lock of one repository, with a note of who holds it.

    Args:
        folder: see `state_folder`.
        key: what tells the repository apart, in hex.
        timeout: seconds to wait.
        deadline: a reason to give up earlier.
        how_far: tells how far the sync is that began at a moment, if it is under way.

    Raises:
        SyncInProgress: it was not free within `timeout` seconds; it says who holds it, and how far
            that sync is.
    """
    lock_path = _lock_path(folder, key)
    make_folder(folder)
    check = (deadline or Deadline(None)).check
    try:
        timeout = max(timeout, LOOK_SECONDS)
        taken, _ = wait(poll(lambda: try_lock(lock_path), timeout, check=check))
    except Cancelled:
        taken = None
    if taken is None:
        raise _in_progress(holder_of(folder, key), how_far)
    try:
        with suppress(OSError):  # a full disk shows up where it matters
            _note_path(folder, key).write_text(json.dumps(asdict(Holder.me())), "utf-8")
        yield
    finally:
        taken.release()


def is_held(folder: Path, key: str) -> bool:
    """True if somebody holds the lock of a repository now; nobody is waited for."""
    return is_locked(_lock_path(folder, key))


def holder_of(folder: Path, key: str) -> Holder | None:
    """Who held the lock of a repository last, or holds it; None if that cannot be made out."""
    try:
        return Holder(**json.loads(_note_path(folder, key).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _in_progress(holder: Holder | None, how_far: HowFar) -> SyncInProgress:
    progress = how_far(holder.since if holder else 0.0)
    where = ""
    if progress is not None:
        where = (
            f"; {progress.files_done} of {progress.files_total} files done,"
            f" {progress.chunks_written} chunks written"
        )
    error = SyncInProgress(
        f"Another sync of this repository is running: {holder or 'by whom is not known'}{where}."
        " Wait for it to end, cancel it, or raise lock_timeout."
    )
    error.holder, error.progress = holder, progress
    return error


def _lock_path(folder: Path, key: str) -> Path:
    return folder / f"sync-{key}.lock"


def _note_path(folder: Path, key: str) -> Path:
    return folder / f"sync-{key}.json"


def state_folder(store: Store) -> Path:
    """Where the records of a store live that Chroma knows nothing of."""
    if store.folder is not None:
        return store.folder / STATE_FOLDER
    from platformdirs import user_state_path

    return user_state_path("reposync") / store.slug
