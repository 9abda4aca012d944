"""`rename_repository`: the same rows under another name, embedding nothing.

A row's id is a function of its repository's name, so all rows are written again, batch by batch,
each new one before the old one goes. First of all the manifest is told: from then on the repository
has its new name, with rows that are still to be written, and whoever syncs it writes them.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from reposync.config import SyncConfig
from reposync.errors import ConfigError, NameTaken, UnknownRepository
from reposync.lock import ChromaLock
from reposync.manifest import RENAMED, Manifest, RepositoryKey, RepositoryRecord
from reposync.naming import collection_name
from reposync.opened import Opened, find_repository, opened_store
from reposync.operations.alone import no_syncs, patience
from reposync.operations.renamed_rows import write_again
from reposync.rebuild import is_ours_alone
from reposync.reconcile import open_and_compare
from reposync.report import Report
from reposync.request import check_name
from reposync.state import open_state
from reposync.store import Store
from reposync.swap import settle, settled, swapping


class RenameReport(Report):
    """What was renamed.

    Attributes:
        old, new: the names.
        collection: where the rows are now. If it is not named after the repository, pass it as
            ``collection=`` from now on.
        rows: how many were written again.
        duration_seconds: how long it took.
    """

    old: str
    new: str
    collection: str
    rows: int
    duration_seconds: float

    @property
    def ok(self) -> bool:
        """Always True: what fails raises, and the next call goes on."""
        return True

    def __str__(self) -> str:
        where = self.collection
        if where != collection_name(self.new):
            where += f"; sync it with collection={where!r} from now on"
        return f"{self.old} -> {self.new}: {self.rows} rows in {where}"


def rename_repository(
    old: str,
    new: str,
    *,
    store: object = None,
    collection: str | None = None,
    config: SyncConfig | None = None,
) -> RenameReport:
    """Call a repository otherwise; nothing is embedded, and its history goes along.

    A collection that was named after the repository, and holds nobody else's rows, is renamed, too;
    a `Collection` object that was got before stays good. Each row stays findable: under its new
    name before it goes under the old one. Killed in the middle, call it again, or sync the
    repository under its new name.

    Args:
        old: the name.
        new: the name to be.
        store: as for `reposync.sync_repository`.
        collection: its collection; needed only if repositories of this name are in several.
        config: for `lock_timeout` and the like.

    Raises:
        UnknownRepository: no repository `old` was synced into the store.
        NameTaken: there is a repository `new` already.
        IndexDamaged: a row's vector cannot be read; `reposync.repair_repository` comes first.
        SyncInProgress, LockTimeout: somebody else holds what is needed for too long.

    >>> from reposync import rename_repository
    >>> print(rename_repository("project", "renamed", store="chroma"))
    project -> renamed: 2 rows in renamed
    """
    check_name(new)
    if old == new:
        raise ConfigError(f"Repository {old!r} has this name already. Pass another new name.")
    config = config or SyncConfig()
    began = time.monotonic()
    with opened_store(store, **patience(config)) as found, open_state(found) as manifest:
        lock = ChromaLock(found, config.lock_timeout)
        try:
            key, record = find_repository(found, manifest, old, collection)
        except UnknownRepository as unknown:
            key, record = _begun(found, manifest, lock, old, new, unknown)
        begun = key.name == new  # a former call was killed
        target = key if begun else _target(found, manifest, lock, key, new)
        with settled(found, lock, manifest, key), no_syncs(found, lock, [key, target]):
            if not begun:
                open_and_compare(found, lock, manifest, key, record, record.model)
            if target.collection != key.collection:
                # Leaving it gives the collection its new name, as whoever comes after a kill does.
                with swapping(found, lock, manifest, target, former=key.collection):
                    manifest.rename_repository(record.id, target)
            elif target != key:
                manifest.rename_repository(record.id, target)
            rows = write_again(Opened(found, manifest, target, record), old, lock)
    return RenameReport(
        old=old,
        new=new,
        collection=target.collection,
        rows=rows,
        duration_seconds=time.monotonic() - began,
    )


def _target(
    store: Store, manifest: Manifest, lock: ChromaLock, key: RepositoryKey, new: str
) -> RepositoryKey:
    """What the repository is to be told apart by: its collection follows its name, if it can."""
    with suppress(UnknownRepository):
        taken, _ = find_repository(store, manifest, new)
        raise NameTaken(
            f"There is a repository {new!r} in collection {taken.collection!r} already. Choose"
            " another name, or drop that repository first."
        )
    stays = replace(key, name=new)
    moves = replace(stays, collection=collection_name(new))
    if key.collection != collection_name(key.name) or manifest.names_in(key) != {key.name}:
        return stays
    with lock.hold(write=False):
        store.open()
        live, other = store.find(key.collection), store.find(moves.collection)
        alone = live is None or is_ours_alone(store, live, {key.name})
    return moves if alone and other is None and not manifest.names_in(moves) else stays


def _begun(
    store: Store,
    manifest: Manifest,
    lock: ChromaLock,
    old: str,
    new: str,
    unknown: UnknownRepository,
) -> tuple[RepositoryKey, RepositoryRecord]:
    """The repository as it is called since a call that was killed; raises `unknown` if none was."""
    try:
        key, record = find_repository(store, manifest, new)
    except ConfigError:
        raise unknown from None
    settle(store, lock, manifest, key)
    with lock.hold(write=False):
        store.open()
        live = store.find(key.collection)
        left = live is not None and live.ids(old)
    if not left and not any(file.redo == RENAMED for file in manifest.files(record.id).values()):
        raise unknown
    return key, record
