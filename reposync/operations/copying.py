"""Copies what belongs to a store, as it is at one moment, while others use it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from reposync.errors import StoreUnavailable
from reposync.freshness import STATE_FOLDER, FolderState
from reposync.lock import LOCK_FILE, ChromaLock
from reposync.manifest import FILE_NAME, ManifestDamaged, read_manifest
from reposync.operations.examine import DATABASE, Copier, copier
from reposync.operations.staging import MARK
from reposync.search.index import FILE_NAME as INDEX_NAME

TRIES = 3
"""Of copying what somebody changes who does not take the lock."""

RACY_SECONDS = 2.0
"""A file that changed so shortly before it was copied could change again under an equal stat."""

_INDEX = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATE = re.compile(r"damaged-.+|lost-.+\.json|swap-[0-9a-f]+")


def copy_store(folder: Path, staging: Path, lock: ChromaLock) -> tuple[float, float, list[str]]:
    """Copy what belongs to a store.

    Returns:
        for how long the lock was waited for, and held, and warnings.
    """
    with ExitStack() as stack:
        database = stack.enter_context(copier(folder, staging / DATABASE))
        # Most of the index files will not change until the lock is held, and are copied then only
        # if they did.
        _copy_plain(folder, staging, until=time.time() - RACY_SECONDS)
        asked = time.monotonic()
        with lock.hold(write=False):
            had = time.monotonic()
            _copy_consistently(folder, staging, database)
            copy_manifest = _freeze_manifest(folder, stack)
            held = time.monotonic() - had
        warnings = _copy_manifest(folder, staging, copy_manifest)
    copy_modes(folder, staging)
    return had - asked, held, warnings


def _freeze_manifest(folder: Path, stack: ExitStack) -> Callable[[Path], None] | None:
    """What copies the manifest as it is now; it is large, and others need not wait for that."""
    manifest = read_manifest(folder / FILE_NAME)
    if manifest is None:
        return None
    return stack.enter_context(stack.enter_context(manifest).frozen())


def _copy_manifest(folder: Path, staging: Path, copy: Callable[[Path], None] | None) -> list[str]:
    if copy is None:
        there = (folder / FILE_NAME).exists()
        return [without_manifest("it is damaged, or another program's")] if there else []
    try:
        copy(staging / FILE_NAME)
    except ManifestDamaged as error:
        (staging / FILE_NAME).unlink(missing_ok=True)
        return [without_manifest(str(error))]
    return []


def without_manifest(reason: str) -> str:
    """What to warn of where the manifest could not be copied."""
    return f"{FILE_NAME} is not in the backup ({reason}); the next sync rebuilds it."


def _copy_consistently(folder: Path, staging: Path, database: Copier) -> None:
    """Copy Chroma's files; under the lock, so that they change only if somebody ignores it."""
    state = FolderState(folder)
    for _ in range(TRIES):
        before = state.stat()
        database.copy()
        _copy_plain(folder, staging)
        if state.stat() == before:
            return
    raise StoreUnavailable(
        f"Somebody writes to {folder} without taking its lock, so that no copy of it is consistent."
        " Have every program that writes take ChromaLock, or stop it for the backup."
    )


def _copy_plain(folder: Path, staging: Path, *, until: float | None = None) -> None:
    """Copy all but the databases; files that were copied and did not change since are left.

    Args:
        folder: the store's.
        staging: where the copies go; what is gone in `folder` is removed there.
        until: leave files that changed after this time.
    """
    paths = _plain_files(folder)
    for path in _plain_files(staging) - paths:
        (staging / path).unlink()
    for path in paths:
        with suppress(FileNotFoundError):  # somebody ignores the lock, and that is found out
            _copy_file(folder / path, staging / path, until)


def _copy_file(source: Path, copy: Path, until: float | None) -> None:
    found = source.stat()
    if until is not None and max(found.st_mtime, found.st_ctime) > until:
        return
    if copy.exists():
        known = copy.stat()
        if (known.st_size, known.st_mtime_ns) == (found.st_size, found.st_mtime_ns):
            return
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    # The times tell whether the last flush of an index came to its end, see `reposync.probe`.
    os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))


def _plain_files(folder: Path) -> set[str]:
    """The files of the vector indexes, and of our state what must be kept, as relative paths."""
    return {path.relative_to(folder).as_posix() for path in _walk(folder)}


def _walk(folder: Path) -> Iterator[Path]:
    state = folder / STATE_FOLDER
    tops = [path for path in folder.iterdir() if _INDEX.fullmatch(path.name)]
    tops += [path for path in state.glob("*") if _STATE.fullmatch(path.name)]
    for top in tops:
        for path in (top, *top.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path


def copy_modes(folder: Path, copy: Path) -> None:
    """Give the files and folders of a copy the permissions of those that they are copies of.

    Their owner may write them, also if the copied ones were made read-only.
    """
    for path in copy.rglob("*"):
        with suppress(FileNotFoundError):  # it is no copy, or what it is a copy of is gone
            mode = stat.S_IMODE((folder / path.relative_to(copy)).stat().st_mode)
            path.chmod(mode | (0o700 if path.is_dir() else 0o600))


def belongs(path: str) -> bool:
    """True if a copy may hold a file of this relative path."""
    top, _, rest = path.partition("/")
    if top == STATE_FOLDER:
        return _STATE.fullmatch(rest.partition("/")[0]) is not None
    return path in (DATABASE, FILE_NAME) or (bool(rest) and _INDEX.fullmatch(top) is not None)


def store_size(folder: Path) -> int:
    """How long a copy will be, by and large."""
    files = [folder / path for path in (DATABASE, FILE_NAME, f"{FILE_NAME}-wal")]
    files += [folder / path for path in _plain_files(folder)]
    return sum(file.stat().st_size for file in files if file.exists())


def left_out(folder: Path) -> tuple[str, ...]:
    """What lies in a store's folder, and is neither Chroma's nor ours."""
    ours = (LOCK_FILE, STATE_FOLDER, DATABASE, FILE_NAME, INDEX_NAME, MARK)
    names = (path.name for path in folder.iterdir())
    return tuple(sorted(n for n in names if not n.startswith(ours) and not _INDEX.fullmatch(n)))
