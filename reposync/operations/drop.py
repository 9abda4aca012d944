"""`drop_repository`: takes a repository out of a store."""

from __future__ import annotations

from reposync.collection import Collection
from reposync.config import SyncConfig
from reposync.lock import ChromaLock
from reposync.opened import Opened, opened, opened_store
from reposync.operations.alone import BATCH_ROWS, no_syncs, patience
from reposync.parts import parts
from reposync.rebuild import is_ours_alone
from reposync.report import Report
from reposync.search.opening import forget
from reposync.swap import dispose, settled
from reposync.words import count


class DropReport(Report):
    """What was taken out.

    Attributes:
        repository: its name.
        collection: where its rows were.
        rows: how many they were.
        collection_deleted: nobody else had rows in it, so that it is gone, too.
    """

    repository: str
    collection: str
    rows: int
    collection_deleted: bool

    @property
    def ok(self) -> bool:
        """Always True: what fails raises."""
        return True

    def __str__(self) -> str:
        gone = ", which was deleted" if self.collection_deleted else ""
        return f"{self.repository}: dropped, {count(self.rows, 'row')} of {self.collection}{gone}"


def drop_repository(
    name: str,
    *,
    store: object = None,
    collection: str | None = None,
    config: SyncConfig | None = None,
) -> DropReport:
    """Take a repository out of a store: its rows, what is noted of its files, its history, and
    what is kept of it to search by.

    Its files are not touched. Its collection is deleted if nobody else has rows in it. Vectors stay
    in the cache, so that a sync brings it back computing nothing, until `reposync.prune_cache`.
    Killed in the middle, call it again.

    Args:
        name: of the repository.
        store: as for `reposync.sync_repository`.
        collection: its collection; needed only if repositories of this name are in several.
        config: for `lock_timeout` and the like.

    Raises:
        UnknownRepository: no such repository was synced into the store.
        SyncInProgress, LockTimeout: somebody else holds what is needed for too long.

    >>> from reposync import drop_repository
    >>> print(drop_repository("project", store="chroma"))
    project: dropped, 2 rows of project, which was deleted
    """
    config = config or SyncConfig()
    with (
        opened_store(store, **patience(config)) as found,
        opened(found, name, collection, write=True) as one,
    ):
        lock = ChromaLock(found, config.lock_timeout)
        with settled(found, lock, one.manifest, one.key), no_syncs(found, lock, [one.key]):
            rows, deleted = _drop_rows(one, lock)
            # Last of all: whoever is killed before can still name it.
            one.manifest.remove_repository(one.record.id)
            forget(found, one.key)
        return DropReport(
            repository=name,
            collection=one.key.collection,
            rows=rows,
            collection_deleted=deleted,
        )


def _drop_rows(one: Opened, lock: ChromaLock) -> tuple[int, bool]:
    """Delete the rows; how many they were, and whether the collection went with them."""
    with lock.hold():
        one.store.open()
        live = one.store.find(one.key.collection)
        if live is None:
            return 0, False
        if _is_alone(one, live):
            dispose(one.store, lock, live)
            return one.manifest.count_rows(one.record.id), True
        ids = live.ids(one.key.name)
    for page in parts(ids, BATCH_ROWS):
        with lock.hold():
            live.delete(page)
    return len(ids), False


def _is_alone(one: Opened, live: Collection) -> bool:
    """True if nobody else's rows are in the collection, nor will be at the next sync."""
    name = one.key.name
    siblings = one.manifest.names_in(one.key) - {name}
    return not siblings and is_ours_alone(one.store, live, {name})
