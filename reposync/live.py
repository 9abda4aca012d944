"""The run of a repository that is under way, or was the last one, seen from any process."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from reposync.errors import SyncError
from reposync.holder import Holder
from reposync.lock import holder_of, is_held, state_folder
from reposync.manifest import Manifest, RepositoryKey, RunRow
from reposync.opened import lock_key
from reposync.progress import from_json
from reposync.result import SyncProgress
from reposync.state import read_state
from reposync.store import Store


@dataclass(frozen=True, slots=True)
class Sight:
    """What is to be seen of a repository's runs.

    Attributes:
        running: a sync is under way.
        holder: the process that syncs; None if that is not known.
        run: the one that is under way, or the last one that was not refused; None if there is none,
            or it did not tell of itself yet.
    """

    running: bool
    holder: Holder | None
    run: RunRow | None

    @property
    def since(self) -> float:
        """When the one that is under way began, in seconds since 1970."""
        return self.holder.since if self.holder else 0.0

    @property
    def was_cut_off(self) -> bool:
        """True if the last run did not come to its end."""
        return not self.running and self.run is not None and self.run.was_cut_off

    @property
    def was_killed(self) -> bool:
        """True if the last run ended without noting that it did."""
        return not self.running and self.run is not None and self.run.status == "running"


def look(store: Store, manifest: Manifest, key: RepositoryKey, repository: int) -> Sight:
    """Look whether a sync of a repository runs now; nobody is waited for."""
    running, run = _is_held(store, key), manifest.last_run(repository)
    if store.kind == "memory":
        # What is in memory goes with its process, so no run can be left behind as running.
        return Sight(run is not None and run.status == "running", None, run)
    if not running and run is not None and run.status == "running":
        running = _is_held(store, key)  # it may have begun between the two looks
    if not running:
        return Sight(False, None, run)
    holder = holder_of(state_folder(store), lock_key(key))
    if run is not None and (run.heartbeat or 0.0) < (holder.since if holder else 0.0):
        return Sight(True, holder, None)
    if run is not None and run.status != "running":  # it ended between the two looks
        return Sight(False, None, run)
    return Sight(True, holder, run)


def how_far(store: Store, key: RepositoryKey, since: float) -> SyncProgress | None:
    """How far the run is that began at `since`; None if it did not tell yet."""
    with suppress(SyncError), read_state(store) as manifest:
        record = manifest.repository(key) if manifest else None
        run = manifest.last_run(record.id) if manifest and record else None
        if run is not None and run.status == "running" and (run.heartbeat or 0.0) >= since:
            return from_json(run.progress)
    return None


def _is_held(store: Store, key: RepositoryKey) -> bool:
    return store.kind != "memory" and is_held(state_folder(store), lock_key(key))
