"""What `check_health` looks at in a store's folder, one thing a function."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from reposync.errors import LockTimeout
from reposync.freshness import STATE_FOLDER, FolderState
from reposync.holder import Holder
from reposync.lock import LOCK_FILE, ChromaLock, state_folder
from reposync.lock.file import is_locked
from reposync.manifest import FILE_NAME
from reposync.operations.copying import store_size
from reposync.operations.damage import Signs
from reposync.operations.examine import DATABASE
from reposync.operations.health_check import HealthCheck
from reposync.operations.sample import sample_in_child
from reposync.state import read_state
from reposync.store import MIN_FREE_BYTES, Store
from reposync.words import count, data_size

LONG_HOLD_SECONDS = 30.0
"""`SyncConfig.lock_timeout`: those who wait longer give up."""

LOCK_SECONDS = 5.0
"""That a thorough look waits for the store lock."""

LARGE_LOG_BYTES = 256 << 20


def folder_of(store: Store) -> Path:
    """The folder of a store that is in one."""
    assert store.folder is not None
    return store.folder


def check_folder(store: Store) -> HealthCheck:
    """Is there a store at all?"""
    folder = folder_of(store)
    if not store.exists:
        return HealthCheck(
            name="store",
            status="fail",
            message=f"there is no {DATABASE} in {folder}",
            advice="Pass the folder of a store, sync into this one, or restore a backup.",
        )
    size = store_size(folder)
    return HealthCheck(
        name="store", message=f"{folder}, {data_size(size)}", figures={"bytes": size}
    )


def check_writable(store: Store) -> HealthCheck:
    """May it be written?"""
    folder = folder_of(store)
    paths = [folder, folder / DATABASE, folder / FILE_NAME, folder / STATE_FOLDER]
    denied = [path for path in paths if path.exists() and not os.access(path, os.W_OK)]
    if denied:
        return HealthCheck(
            name="writable",
            status="fail",
            message=f"{denied[0]} cannot be written",
            advice="Give this user the permission, or mount the disk for writing.",
        )
    return HealthCheck(name="writable", message="yes")


def check_space(store: Store) -> HealthCheck:
    """Is there room for what comes next?"""
    folder = store.folder if store.folder is not None else state_folder(store)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    needed = store_size(folder) if store.folder is not None else 0
    figures = {"free_bytes": free, "needed_bytes": max(needed, MIN_FREE_BYTES)}
    message = f"{data_size(free)} free"
    if free < MIN_FREE_BYTES:
        return HealthCheck(
            name="space",
            status="fail",
            message=message,
            figures=figures,
            advice=f"Make room: below {data_size(MIN_FREE_BYTES)} nothing is written.",
        )
    if free < needed:
        return HealthCheck(
            name="space",
            status="warn",
            message=f"{message}, and the store has {data_size(needed)}",
            figures=figures,
            advice="Make room: a damaged index could not be rebuilt.",
        )
    return HealthCheck(name="space", message=message, figures=figures)


def check_lock(store: Store) -> HealthCheck:
    """Is the store lock free, or who holds it, and for how long?"""
    folder = folder_of(store)
    holder = _holder(folder)
    waiting = _tickets(folder)
    if is_locked(folder / LOCK_FILE):
        age = max(0.0, time.time() - holder.since) if holder else None
        figures = {"held": True, "held_seconds": age, "waiting": waiting}
        who = str(holder) if holder else "a program that takes no part in reposync's records"
        long = age is None or age > LONG_HOLD_SECONDS
        return HealthCheck(
            name="lock",
            status="warn" if long else "pass",
            message=f"held by {who}; {waiting} wait",
            figures=figures,
            advice="See what it does; if it hangs, end it: the lock is free then." if long else "",
        )
    figures = {"held": False, "held_seconds": 0.0, "waiting": waiting}
    # Whoever lets go takes its note away first: one that stays is of a holder who died.
    if holder is not None and holder == _holder(folder):
        return HealthCheck(
            name="lock",
            status="warn",
            message=f"free, but its last holder died: {holder}",
            figures=figures,
            advice="Sync: that examines the index, and mends it if need be.",
        )
    return HealthCheck(name="lock", message="free", figures=figures)


def _holder(folder: Path) -> Holder | None:
    state = FolderState(folder).read()
    return state.holder if state else None


def _tickets(folder: Path) -> int:
    queue = folder / STATE_FOLDER / "queue"
    return len(os.listdir(queue)) if queue.is_dir() else 0


def check_freshness(store: Store) -> HealthCheck:
    """Does the freshness record hold, and was the index examined since it was last in doubt?"""
    folder = FolderState(folder_of(store))
    state = folder.read()
    if state is None:
        return HealthCheck(
            name="freshness",
            status="warn",
            message=f"{STATE_FOLDER}/state.json is torn",
            advice="Sync: that looks into the store.",
        )
    with read_state(store) as manifest:
        records = [record for _, record in manifest.repositories()] if manifest else []
    token = folder.token()
    current = sum(bool(token) and record.token == token for record in records)
    figures = {"generation": state.generation, "repositories": len(records), "current": current}
    noted = not state.restored and any(state.doubtful_at > record.checked for record in records)
    signs = Signs(store)
    # That the last holder died is told of the lock.
    if noted or (state.holder is None and any(signs.doubts(record) for record in records)):
        return HealthCheck(
            name="freshness",
            status="warn",
            message="index files changed outside of the lock, or a holder died",
            figures=figures,
            advice="Sync each repository: that examines the index, and mends it if need be.",
        )
    if state.holder is not None:
        message = "not to be told while the lock is held"
    elif current == len(records):
        message = "nothing was written since the last syncs"
    else:
        why = "restored" if state.restored else "opened or written"
        message = (
            f"the store was {why} since; the next sync compares what it holds, of"
            f" {len(records) - current} of {len(records)} repositories"
        )
    return HealthCheck(name="freshness", message=message, figures=figures)


def check_logs(store: Store) -> HealthCheck:
    """How long are SQLite's own logs?"""
    folder = store.folder if store.folder is not None else state_folder(store)
    names = (f"{DATABASE}-wal", f"{DATABASE}-journal", f"{FILE_NAME}-wal")
    sizes = {name: _size(folder / name) for name in names}
    figures = {f"{name.replace('.sqlite3-', '_')}_bytes": size for name, size in sizes.items()}
    name, largest = max(sizes.items(), key=lambda item: item[1])
    if largest > LARGE_LOG_BYTES:
        return HealthCheck(
            name="logs",
            status="warn",
            message=f"{name} has {data_size(largest)}",
            figures=figures,
            advice="Look for a process that keeps the database open and reads for very long.",
        )
    return HealthCheck(
        name="logs", message=f"{data_size(sum(sizes.values()))} in all", figures=figures
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def check_opens(store: Store) -> Iterator[HealthCheck]:
    """Can Chroma open it, and read and query each collection? Asked of a child process."""
    try:
        with ChromaLock(store, LOCK_SECONDS).hold(write=False):
            found = sample_in_child(folder_of(store))
    except LockTimeout as error:
        yield HealthCheck(
            name="index",
            status="warn",
            message=f"not looked into: {error}",
            advice="Check again when the lock is free.",
        )
        return
    if why := found.faults.pop("", ""):
        yield HealthCheck(
            name="opens",
            status="fail",
            message=f"Chroma cannot open it: {why}",
            advice="Copy the folder; then restore a backup, or remove it and sync again.",
        )
    else:
        yield HealthCheck(name="opens", message="Chroma opens it")
    yield index_check(found.rows, found.faults, sum(found.log_rows.values()))


def index_check(
    rows: Mapping[str, int], faults: Mapping[str, str], log_rows: int | None = None
) -> HealthCheck:
    """What to say of collections that were read and queried.

    Args:
        rows: of those that could be.
        faults: why others could not.
        log_rows: how many rows are in Chroma's log and in no file of an index.
    """
    figures = {
        "collections": len(rows),
        "rows": sum(rows.values()),
        "faults": len(faults),
        "log_rows": log_rows,
    }
    if faults:
        return HealthCheck(
            name="index",
            status="fail",
            message="; ".join(f"{name}: {why}" for name, why in faults.items()),
            figures=figures,
            advice="Sync the repositories in it: what is ours is restored, computing nothing. If"
            " others wrote to it, copy the store first.",
        )
    amount = f"{count(len(rows), 'collection')} with {count(sum(rows.values()), 'row')}"
    message = f"{amount} can be read and queried"
    return HealthCheck(name="index", message=message, figures=figures)
