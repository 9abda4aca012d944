"""One file, locked with ``flock``; the only importer of ``filelock`` and ``fcntl``."""

from __future__ import annotations

import os
from pathlib import Path

import filelock

from reposync.errors import StoreUnavailable


class _OurFileLock(filelock.FileLock):
    """A subclass, so that filelock's bookkeeping of who holds what is ours alone: a host may use
    its own ``FileLock`` on the same file with other settings."""


class LockedFile:
    """A lock file that is held until `release`; the kernel frees it if the process dies."""

    def __init__(self, path: Path, lock: filelock.BaseFileLock) -> None:
        self.path = path
        self._lock = lock

    def release(self) -> None:
        """Let go; the file stays, since others may be waiting on it."""
        self._lock.release()

    def remove(self) -> None:
        """Let go, and remove the file, too."""
        self.path.unlink(missing_ok=True)
        self._lock.release()


def try_lock(path: Path) -> LockedFile | None:
    """Lock the file, which is made if need be, or return None at once if somebody holds it.

    Raises:
        StoreUnavailable: its folder cannot be written, or does not know ``flock``.
    """
    # Nothing is thread-local: the lock of a coroutine may be let go by another thread.
    lock = _OurFileLock(path, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    except OSError as error:
        raise unusable(path.parent, error) from error
    return LockedFile(path, lock)


def is_locked(path: Path) -> bool:
    """True if somebody holds the lock of a file that is there.

    Those who ask do not take each other for a holder, and need not be allowed to write the file.
    """
    try:
        import fcntl
    except ImportError:  # Windows, which knows no shared locks of this kind
        taken = try_lock(path) if path.exists() else None
        if taken is not None:
            taken.release()
        return taken is None and path.exists()
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unusable(path.parent, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise unusable(path.parent, error) from error
    finally:
        os.close(descriptor)  # lets go of it, too
    return False


def make_folder(folder: Path) -> None:
    """Make a folder for lock files, and those above it.

    Raises:
        StoreUnavailable: that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(folder, error) from error


def unusable(folder: Path, error: OSError) -> StoreUnavailable:
    """What to tell of a folder that does not take a lock."""
    return StoreUnavailable(
        f"The folder {folder} cannot be used or locked ({error}). Make it writable, on a file"
        " system that knows flock (Chroma's own SQLite needs that, too), or pass another store=."
    )
