"""`migrate_model`: the same files with the vectors of another model, in the same collection.

The repository is synced, with the new model, into a collection beside the live one, which then
takes its place; see `reposync.swap`. What was computed is never computed again: the vectors are
cached, and a call that was ended goes on where it was.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Literal

from reposync.config import SyncConfig
from reposync.errors import ConfigError
from reposync.lock import ChromaLock
from reposync.manifest import Manifest, RepositoryKey
from reposync.naming import beside_name
from reposync.opened import find_repository, opened_store
from reposync.operations.alone import no_syncs, patience
from reposync.rebuild import is_ours_alone
from reposync.report import Report
from reposync.request import check_owner, make_request
from reposync.result import SyncResult
from reposync.state import open_state
from reposync.store import Store
from reposync.swap import exchange, swapping
from reposync.sync import sync_repository

if TYPE_CHECKING:
    from reposync.progress import OnProgress


class MigrationReport(Report):
    """What became of a migration.

    Attributes:
        repository, collection: what was migrated.
        status: "migrated"; "unchanged" if the collection was of this model already; "unfinished" if
            the sync into the new collection did not end complete, so that the old one stays.
        old_model, new_model: their fingerprints.
        sync: of the last sync into the new collection; None if there was none.
        embedded: how many texts were computed.
    """

    repository: str
    collection: str
    status: Literal["migrated", "unchanged", "unfinished"]
    old_model: str
    new_model: str
    sync: SyncResult | None = None
    embedded: int = 0

    @property
    def ok(self) -> bool:
        """True if the collection is of the new model now."""
        return self.status != "unfinished"

    def __str__(self) -> str:
        lines = [
            f"{self.repository}: {self.status}, {self.old_model} -> {self.new_model},"
            f" {self.embedded} texts embedded"
        ]
        if not self.ok:
            lines += [
                f"  {self.collection} is as it was; call again to go on, it computes nothing twice",
                *str(self.sync).splitlines()[1:],
            ]
        return "\n".join(lines)


def migrate_model(
    name: str,
    path: str | os.PathLike[str],
    *,
    ref: str | None = None,
    store: object = None,
    collection: str | None = None,
    embedding_function: object = None,
    config: SyncConfig | None = None,
    cancel: threading.Event | None = None,
    progress: bool | OnProgress = False,
) -> MigrationReport:
    """Have a repository's collection hold vectors of another model; readers never see a gap.

    Until the new vectors are all there, the collection is as it was, and can be synced with the old
    model. Then the new one takes its place at once: have everybody pass the new embedding function
    from then on. A `Collection` object that was got before raises ``NotFoundError``: get it by its
    name again. It takes the store twice the room meanwhile.

    Killed or cancelled at any instant, call it again: it goes on, and computes nothing twice. A
    sync of the repository instead puts the store in order, and drops what was half done; its
    vectors stay in the cache.

    Args:
        name: of the repository.
        path: its folder, or git URL, as for `reposync.sync_repository`.
        ref, store, cancel, progress: as for `reposync.sync_repository`.
        collection: its collection; needed only if repositories of this name are in several.
        embedding_function: of the new model; default: all-MiniLM-L6-v2.
        config: as for the repository's syncs.

    Raises:
        UnknownRepository: no such repository was synced into the store.
        ConfigError: somebody else has rows in the collection, too, and one collection has one
            model: sync the repository into another collection instead.
        SyncError: as for `reposync.sync_repository`.

    >>> from reposync import migrate_model
    >>> report = migrate_model("project", "project", store="chroma", embedding_function=embed)
    >>> report.status
    'unchanged'
    """
    config = config or SyncConfig()
    with opened_store(store, **patience(config)) as found, open_state(found) as manifest:
        key, record = find_repository(found, manifest, name, collection)
        lock = ChromaLock(found, config.lock_timeout)
        request = make_request(
            path, name, store, key.collection, embedding_function, config, cancel=cancel, ref=ref
        )
        check_owner(request, record)
        arguments = {
            "ref": ref,
            "store": store,
            "collection": beside_name(key.collection),
            "embedding_function": embedding_function,
            "config": config,
            "cancel": cancel,
            "progress": progress,
        }
        with swapping(found, lock, manifest, key, resumed=request.model):
            _check_alone(found, manifest, lock, key)
            old_model = find_repository(found, manifest, name, key.collection)[1].model
            if old_model == request.model:
                result, embedded = None, 0
            else:
                result, embedded = _migrate(found, manifest, lock, key, path, arguments)
    status: Literal["migrated", "unchanged", "unfinished"] = "unchanged"
    if result is not None:
        status = "migrated" if result.ok else "unfinished"
        result = result.model_copy(update={"collection": key.collection})
    return MigrationReport(
        repository=name,
        collection=key.collection,
        status=status,
        old_model=old_model,
        new_model=request.model,
        sync=result,
        embedded=embedded,
    )


def _migrate(
    store: Store,
    manifest: Manifest,
    lock: ChromaLock,
    key: RepositoryKey,
    path: str | os.PathLike[str],
    arguments: dict[str, Any],
) -> tuple[SyncResult, int]:
    """Fill the collection beside, and exchange it if that succeeded; how many texts it took."""
    first = sync_repository(path, key.name, **arguments)
    if not first.ok:
        return first, first.chunks.embedded
    with no_syncs(store, lock, [key]):
        # What syncs of the old model saw meanwhile must not be lost again.
        last = sync_repository(path, key.name, **arguments)
        if last.ok:
            _check_alone(store, manifest, lock, key)
            with lock.hold():
                store.open()
                exchange(store, lock, key)
    return last, first.chunks.embedded + last.chunks.embedded


def _check_alone(store: Store, manifest: Manifest, lock: ChromaLock, key: RepositoryKey) -> None:
    with lock.hold(write=False):
        store.open()
        live = store.find(key.collection)
        siblings = manifest.names_in(key) - {key.name}
        if not siblings and (live is None or is_ours_alone(store, live, {key.name})):
            return
    who = f"repositories {', '.join(sorted(siblings))}" if siblings else "somebody else"
    raise ConfigError(
        f"Collection {key.collection!r} holds rows of {who}, too, and one collection has one model."
        " Sync the repository into another collection=, with the new embedding function, and then"
        " drop_repository() it from this one."
    )
