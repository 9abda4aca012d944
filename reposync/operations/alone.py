"""What operations that write have in common: nobody syncs meanwhile, and they go page by page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from reposync.config import SyncConfig
from reposync.lock import ChromaLock, repository_lock, state_folder
from reposync.manifest import RepositoryKey
from reposync.opened import lock_key
from reposync.store import Store

BATCH_ROWS = 64
"""Rows that are read and written in one hold of the store lock."""


@contextmanager
def no_syncs(store: Store, lock: ChromaLock, keys: Iterable[RepositoryKey]) -> Iterator[None]:
    """Keep repositories from being synced for the block.

    Raises:
        SyncInProgress: one of them is being synced for too long.
    """
    with ExitStack() as stack:
        if store.kind == "memory":
            stack.enter_context(lock.hold())
        else:
            for key in sorted(set(map(lock_key, keys))):  # all in one order: no two wait in a ring
                stack.enter_context(repository_lock(state_folder(store), key, lock.timeout))
        yield


def patience(config: SyncConfig) -> dict[str, float]:
    """How patient a `Store` is to be, by a user's settings."""
    return {"attempts": config.max_attempts, "request_timeout": config.request_timeout}
