"""A folder that is there as a whole or not at all: made beside its place, then renamed into it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reposync.errors import ConfigError, StoreUnavailable, SyncError
from reposync.lock.file import LockedFile, try_lock

MARK = ".reposync-unfinished"
"""A file in an unfinished folder that is locked for as long as somebody works on it."""


def new_folder(given: str | os.PathLike[str], *, outside: Path | None = None) -> Path:
    """The real path of a folder that is to be made, and is not there yet, or empty.

    Args:
        given: where the caller wants it.
        outside: a folder that it must not be in.

    Raises:
        ConfigError: it cannot be made there.
    """
    if isinstance(given, str) and re.match(r"https?://", given):
        raise ConfigError(f"{given!r} is an address, and must be a folder. Pass one.")
    try:
        folder = Path(given).expanduser().resolve()
        there = os.path.lexists(folder)
        empty = there and folder.is_dir() and not any(folder.iterdir())
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise ConfigError(f"{given!r} is no path for a folder ({error}). Pass another.") from error
    if outside is not None and outside in (folder, *folder.parents):
        raise ConfigError(
            f"{folder} lies in the store's folder. Pass one outside, best of all on another disk."
        )
    if there and not empty:
        raise ConfigError(
            f"{folder} exists, and is not an empty folder. Nothing is overwritten: pass another"
            " folder, or move this one away."
        )
    if os.path.ismount(folder):
        raise ConfigError(
            f"{folder} is a mount point, which a finished folder cannot be renamed to. Pass a"
            " folder in it."
        )
    return folder


@contextmanager
def staged(target: Path, *, mode: int = 0o700) -> Iterator[Path]:
    """Make a folder that becomes `target`, which is not there or empty, when the block ends well.

    Otherwise it is removed; that of a process that died is removed by the next one with the same
    target.

    Args:
        target: see `new_folder`.
        mode: its permissions; its owner has all of them.

    Raises:
        StoreUnavailable: the disk refuses.
        ConfigError: `target` is not empty any more.
    """
    with disk_faults(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        folder, lock = _make_locked(target)
    try:
        with disk_faults(target):
            yield folder
            folder.chmod(mode | 0o700)
            make_durable(folder)
            _put_in_place(folder, target, lock)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release()


def _make_locked(target: Path) -> tuple[Path, LockedFile]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        try:
            lock = try_lock(folder / MARK)
        except StoreUnavailable:
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=True)
                raise
            lock = None
        if lock is not None:  # else somebody took it for dead before it was locked
            return folder, lock


def _put_in_place(folder: Path, target: Path, lock: LockedFile) -> None:
    try:
        folder.rename(target)  # takes the place of an empty folder, and of nothing else
    except OSError as error:
        if target.exists():
            raise ConfigError(
                f"{target} is not empty any more ({error}): somebody wrote to it meanwhile. Stop"
                " who does, and call again."
            ) from error
        raise
    (target / lock.path.name).unlink()
    _sync(target)
    _sync(target.parent)


def _prefix(target: Path) -> str:
    return f".{target.name[:200]}.unfinished-"


def _remove_leftovers(target: Path) -> None:
    with os.scandir(target.parent) as entries:
        found = [Path(entry.path) for entry in entries if entry.name.startswith(_prefix(target))]
    for folder in found:
        with suppress(StoreUnavailable):  # another user's, or gone by now
            lock = try_lock(folder / MARK)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)  # a child may write for a moment yet
                lock.release()


def make_durable(folder: Path) -> None:
    """Have the disk keep a folder with all that is in it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # there a folder cannot be opened, and need not be
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(target: Path, needed: int) -> None:
    """Raise `StoreUnavailable` unless the disk of `target` has room for so many bytes more."""
    there = next(folder for folder in (target, *target.parents) if folder.exists())
    with disk_faults(target):
        free = shutil.disk_usage(there).free
    if free < needed:
        raise StoreUnavailable(
            f"The disk of {target} has {free >> 20} MiB left, and {-(-needed >> 20)} MiB are"
            " needed. Make room, or pass a folder on another disk; nothing was written."
        )


@contextmanager
def disk_faults(target: Path) -> Iterator[None]:
    """Errors of the system within the block become `StoreUnavailable`."""
    try:
        yield
    except SyncError:  # a LockTimeout is an OSError, too
        raise
    except OSError as error:
        raise StoreUnavailable(
            f"{target} cannot be made ({error}). Make room or give the permission, and call again;"
            " nothing was left behind."
        ) from error
