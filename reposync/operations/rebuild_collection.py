"""`rebuild_collection`: the same rows in a new collection, without what churn left behind.

Chroma never reclaims the slots of deleted rows in a vector index. All rows, whoever wrote them, are
copied to a collection beside the live one, which then takes its place; see `reposync.swap`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from reposync.collection import PAGE_ROWS, Collection, WholeRow
from reposync.config import SyncConfig
from reposync.errors import CollectionGone, IndexDamaged
from reposync.freshness import State
from reposync.lock import ChromaLock
from reposync.manifest import Manifest
from reposync.mend import cached_vectors, same_direction
from reposync.naming import beside_name
from reposync.opened import Opened, opened, opened_store
from reposync.operations.alone import BATCH_ROWS, no_syncs, patience
from reposync.parts import parts
from reposync.reconcile import check_doubtful
from reposync.report import Report
from reposync.store import Store
from reposync.swap import exchange, swapping

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

PASSES = 3
SAME = 1e-5


class RebuildReport(Report):
    """What was rebuilt.

    Attributes:
        collection: its name.
        repositories: whose rows are in it, as far as is known here.
        rows: how many rows it holds, those of others included.
        passes: how often it was gone through; more than once if somebody wrote meanwhile.
        duration_seconds: how long it took.
    """

    collection: str
    repositories: tuple[str, ...]
    rows: int
    passes: int
    duration_seconds: float

    @property
    def ok(self) -> bool:
        """Always True: a rebuild that fails raises, and leaves the collection as it was."""
        return True

    def __str__(self) -> str:
        return (
            f"{self.collection}: rebuilt in {self.duration_seconds:.2f} s, {self.rows} rows of"
            f" {', '.join(self.repositories)}"
        )


def rebuild_collection(
    name: str,
    *,
    store: object = None,
    collection: str | None = None,
    config: SyncConfig | None = None,
) -> RebuildReport:
    """Copy the collection of a repository into a new one that takes its place; nothing is embedded.

    Worth it after much has been changed and deleted: a vector index only grows. All rows go along,
    those of other repositories and of hosts, too. Meanwhile the collection can be read and written
    as ever, but for syncs into it, which wait. In the end a `Collection` object that was got before
    raises ``NotFoundError``: get it by its name again.

    Killed at any instant, the collection is as it was or as it is to be after the next sync, and
    nothing else is left.

    Args:
        name: of the repository.
        store: as for `reposync.sync_repository`.
        collection: its collection; needed only if repositories of this name are in several.
        config: for `lock_timeout` and the like.

    Raises:
        UnknownRepository: no such repository was synced into the store.
        IndexDamaged: a row's vector cannot be read; `reposync.repair_repository` comes first.
        SyncInProgress, LockTimeout: somebody else holds what is needed for too long.

    >>> from reposync import rebuild_collection
    >>> rebuild_collection("project", store="chroma").rows
    2
    """
    config = config or SyncConfig()
    began = time.monotonic()
    with (
        opened_store(store, **patience(config)) as found,
        opened(found, name, collection, write=True) as one,
    ):
        lock = ChromaLock(found, config.lock_timeout)
        names = one.manifest.names_in(one.key)
        with (
            swapping(found, lock, one.manifest, one.key),
            no_syncs(found, lock, [replace(one.key, name=each) for each in names]),
        ):
            rows, passes = _rebuild(one, lock)
        return RebuildReport(
            collection=one.key.collection,
            repositories=tuple(sorted(names)),
            rows=rows,
            passes=passes,
            duration_seconds=time.monotonic() - began,
        )


def _rebuild(one: Opened, lock: ChromaLock) -> tuple[int, int]:
    """Build it and exchange it; how many rows there are, and how many passes it took."""
    store, key = one.store, one.key
    with lock.hold() as hold:
        state = hold.state if hold else State()
        live = store.find(key.collection)
        if live is None:
            raise CollectionGone(f"Collection {key.collection!r} is gone. Sync again: it is made.")
        check_doubtful(store, live, state, one.record.checked)
        new = store.create_like(beside_name(key.collection), key.collection)
    # Only of a folder it is known whether somebody wrote meanwhile.
    most = PASSES if store.kind == "folder" else 2
    for passes in range(1, most + 1):
        watch = ChromaLock(store, lock.timeout)  # which knows who writes from now on
        last = passes == most
        with watch.hold() if last else nullcontext():
            _bring_in_step(one.manifest, store, live, new, watch)
            with watch.hold():
                if last or (store.kind == "folder" and watch.undisturbed):
                    rows = len(new.all_ids())
                    exchange(store, watch, key)
                    return rows, passes
    raise AssertionError("the last pass is alone")


def _bring_in_step(
    manifest: Manifest, store: Store, live: Collection, new: Collection, lock: ChromaLock
) -> None:
    """Make `new` hold what `live` holds, page by page, each in a hold of the lock."""
    with lock.hold():
        wanted, there = live.all_ids(), set(new.all_ids())
    gone = sorted(there.difference(wanted))
    for ids in parts(gone, PAGE_ROWS):
        with lock.hold():
            new.delete(ids)
    for ids in parts(wanted, BATCH_ROWS):
        store.require_room()
        with lock.hold():
            rows = live.whole_rows(ids)
            vectors = _vectors(manifest, live, rows)
            _write_what_differs(new, rows, vectors, there)


def _vectors(manifest: Manifest, live: Collection, rows: Sequence[WholeRow]) -> list[Vector]:
    """The vectors of rows: as they were computed where that is known, else as they are stored."""
    stored = live.readable_vectors([row.id for row in rows])
    lost = [row.id for row in rows if row.id not in stored]
    if lost:
        raise IndexDamaged(
            f"{len(lost)} rows of {live.name!r} have no readable vector, such as {lost[0]!r}."
            " Nothing was changed. Call repair_repository first; rows of others that it names must"
            " be written again, or deleted, by their owner."
        )
    content = [(row.id, row.document or "", row.metadata or {}) for row in rows]
    cached = cached_vectors(manifest, content)
    return [
        cached[row.id]
        if row.id in cached and same_direction(cached[row.id], stored[row.id])
        else stored[row.id]
        for row in rows
    ]


def _write_what_differs(
    new: Collection, rows: Sequence[WholeRow], vectors: Sequence[Vector], there: Iterable[str]
) -> None:
    import numpy as np

    known = [row.id for row in rows if row.id in there]
    written = {row.id: row for row in new.whole_rows(known)} if known else {}
    stored = new.readable_vectors(known)
    differ = [
        at
        for at, row in enumerate(rows)
        if written.get(row.id) != row or not np.allclose(stored[row.id], vectors[at], atol=SAME)
    ]
    changed = [rows[at].id for at in differ if rows[at].id in written]
    if changed:  # an upsert would keep the metadata that is gone
        new.delete(changed)
    if differ:
        new.write_whole([rows[at] for at in differ], [vectors[at] for at in differ])
