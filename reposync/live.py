"""The run of a repository that is under way, seen from whatever process asks."""

from __future__ import annotations

from contextlib import suppress

from reposync.errors import SyncError
from reposync.holder import Holder
from reposync.lock import holder_of, is_held, state_folder
from reposync.manifest import Manifest, RepositoryKey, RepositoryRecord, RunRow
from reposync.opened import lock_key
from reposync.progress import from_json
from reposync.result import SyncProgress
from reposync.state import read_state
from reposync.store import Store


def is_under_way(store: Store, manifest: Manifest, key: RepositoryKey, repository: int) -> bool:
    """True if a sync of a repository runs now, in whatever process; nobody is waited for."""
    if store.kind != "memory":
        return is_held(state_folder(store), lock_key(key))
    # What is in memory goes with its process, so no run can be left behind as running.
    last = manifest.last_run(repository)
    return last is not None and last.status == "running"


def who_syncs(store: Store, key: RepositoryKey) -> Holder | None:
    """The process that holds the lock of a repository, or held it last."""
    if store.kind == "memory":
        return None
    return holder_of(state_folder(store), lock_key(key))


def run_since(run: RunRow | None, since: float) -> RunRow | None:
    """`run` if it was heard of after the moment `since`: else it is one that was cut off before."""
    return run if run and run.status == "running" and (run.heartbeat or 0.0) >= since else None


def how_far(store: Store, key: RepositoryKey, since: float) -> SyncProgress | None:
    """How far the run is that began at `since`; None if it did not tell yet."""
    with suppress(SyncError), read_state(store) as manifest:
        record: RepositoryRecord | None = manifest.repository(key) if manifest else None
        if manifest is not None and record is not None:
            run = run_since(manifest.last_run(record.id), since)
            return from_json(run.progress) if run else None
    return None
