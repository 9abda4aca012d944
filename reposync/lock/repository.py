"""The repository lock: one sync of a repository at a time, whoever runs it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from reposync.errors import SyncInProgress
from reposync.freshness import STATE_FOLDER
from reposync.holder import Holder
from reposync.lock.file import make_folder, try_lock
from reposync.lock.queue import poll, wait
from reposync.result import SyncProgress
from reposync.retry import Cancelled, Deadline
from reposync.store import Store

NOTE_SECONDS = 0.5


class SyncNote:
    """What a running sync tells of itself to one that waits for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._holder = asdict(Holder.me())
        self._written_at = 0.0

    def write(self, progress: SyncProgress | None = None) -> None:
        """Write down who syncs, and how far it is; at most every half second."""
        if time.monotonic() - self._written_at < NOTE_SECONDS:
            return
        note = {"holder": self._holder, "progress": progress and asdict(progress)}
        with suppress(OSError):  # a full disk shows up where it matters
            self._path.write_text(json.dumps(note), "utf-8")
        self._written_at = time.monotonic()


@contextmanager
def repository_lock(
    folder: Path, key: str, timeout: float, *, deadline: Deadline | None = None
) -> Iterator[SyncNote]:
    """Hold the lock of one repository.

    Args:
        folder: see `state_folder`.
        key: what tells the repository apart, in hex.
        timeout: seconds to wait.
        deadline: a reason to give up earlier.

    Yields:
        where to note how far the sync is.

    Raises:
        SyncInProgress: it was not free within `timeout` seconds; it says who holds it, and how far
            that sync is.
    """
    lock_path, note_path = folder / f"sync-{key}.lock", folder / f"sync-{key}.json"
    make_folder(folder)
    check = (deadline or Deadline(None)).check
    try:
        taken, _ = wait(poll(lambda: try_lock(lock_path), timeout, check=check))
    except Cancelled:
        taken = None
    if taken is None:
        raise _in_progress(note_path)
    try:
        note = SyncNote(note_path)
        note.write()
        yield note
    finally:
        taken.release()


def _in_progress(note_path: Path) -> SyncInProgress:
    holder, progress = _read(note_path)
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


def _read(note_path: Path) -> tuple[Holder | None, SyncProgress | None]:
    try:
        note = json.loads(note_path.read_text("utf-8"))
        progress = note["progress"]
        return Holder(**note["holder"]), SyncProgress(**progress) if progress else None
    except (OSError, ValueError, TypeError, KeyError):
        return None, None


def state_folder(store: Store) -> Path:
    """Where the records of a store live that Chroma knows nothing of."""
    if store.folder is not None:
        return store.folder / STATE_FOLDER
    from platformdirs import user_state_path

    return user_state_path("reposync") / store.slug
