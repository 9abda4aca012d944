"""`rename_repository`: the same rows under another name, embedding nothing.

A row's id is a function of its repository's name, so all rows are written again, batch by batch,
each new one before the old one goes. First of all the manifest is told: from then on the repository
has its new name, with rows that are still to be written, and whoever syncs it writes them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import cast

from reposync.batch import FileWork, batches
from reposync.collection import Collection
from reposync.config import SyncConfig
from reposync.errors import ConfigError, IndexDamaged, NameTaken, UnknownRepository
from reposync.lock import ChromaLock
from reposync.manifest import RENAMED, Manifest, RepositoryKey, RepositoryRecord
from reposync.mend import cached_vectors
from reposync.naming import collection_name
from reposync.opened import Opened, find_repository, opened_store
from reposync.operations.alone import BATCH_ROWS, no_syncs, pages, patience
from reposync.rebuild import is_ours_alone
from reposync.reconcile import open_and_compare
from reposync.records import Known
from reposync.report import Report
from reposync.request import check_name
from reposync.rows import (
    FileRecord,
    Row,
    RowChanges,
    embedded_text,
    find_occurrence,
    make_id,
    row_digest,
    text_key,
)
from reposync.state import open_state
from reposync.store import Store
from reposync.swap import settle, settled, swapping

Content = tuple[str, str, dict[str, object]]


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
        raise ConfigError(f"Repository {old!r} has this name already.")
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
            rows = _write_again(Opened(found, manifest, target, record), old, lock)
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


# -- the rows ------------------------------------------------------------------------------------


def _write_again(one: Opened, old: str, lock: ChromaLock) -> int:
    """Write the rows of `old` under their new name; how many they were."""
    import numpy as np

    with lock.hold(write=False):
        one.store.open()
        live = one.store.find(one.key.collection)
        if live is None:
            return 0
        left, there = set(live.ids(old)), set(live.ids(one.key.name))
    for batch in batches(_works(one, live, lock, left, there), BATCH_ROWS):
        one.store.require_room()
        # What cannot be vouched for is looked at by the next sync.
        batch.finished = [work for work in batch.finished if work.record is not None]
        rows = [row for _, row in batch.writes]
        vectors = cached_vectors(one.manifest, [(r.id, r.document, r.metadata) for r in rows])
        one.manifest.begin(one.record.id, one.record.model, batch, {}, RENAMED)
        with lock.hold():
            if rows:
                live.upsert(rows, np.stack([vectors[row.id] for row in rows]))
            if batch.deletes:
                live.delete([row_id for _, _, row_id in batch.deletes])
        one.manifest.finish(one.record.id, batch)
    return len(left)


def _works(
    one: Opened, live: Collection, lock: ChromaLock, left: Container[str], there: Container[str]
) -> Iterator[FileWork]:
    """What is to be done for each file, read a page of files at a time.

    Args:
        one, live, lock: the repository and its collection.
        left: the ids of rows under the old name.
        there: those under the new one; some may be from a call that was killed.
    """
    files = one.manifest.files(one.record.id)
    noted: dict[str, dict[str, bool]] = defaultdict(dict)
    for row_id, (path, stored) in one.manifest.all_rows(one.record.id).items():
        noted[path][row_id] = stored
    for paths in _pages({path: len(ids) for path, ids in noted.items()}):
        wanted = [
            row_id
            for path in paths
            for row_id, stored in noted[path].items()
            if row_id in left or (row_id in there and not stored)
        ]
        rows = _read(one, live, lock, wanted, {path: len(noted[path]) for path in paths})
        for path in paths:
            file, found = files[path], rows.get(path, {})
            done = set(found).union(row_id for row_id in noted[path] if row_id in there)
            vouched = file.redo == RENAMED and file.content_hash and len(done) == file.chunks
            yield FileWork(
                path,
                "renamed",
                RowChanges(
                    writes=tuple(found.values()),
                    stale=tuple(row_id for row_id in noted[path] if row_id not in done),
                ),
                _record(file) if vouched else None,
            )


def _read(
    one: Opened,
    live: Collection,
    lock: ChromaLock,
    ids: Sequence[str],
    sizes: Mapping[str, int],
) -> dict[str, dict[str, Row]]:
    """Rows under their new name, by path and new id; their vectors are in the cache then."""
    rows: dict[str, dict[str, Row]] = defaultdict(dict)
    for page in pages(ids):
        with lock.hold(write=False):
            content = live.contents(page)
            _cache_all(one, live, content)
        for row_id, document, metadata in content:
            limit = sizes.get(str(metadata.get("path", "")), 0)
            row = _renamed(row_id, document, metadata, one.key.name, limit)
            rows[row.path][row.id] = row
    return rows


def _pages(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    page: list[str] = []
    rows = 0
    for path, size in sizes.items():
        page.append(path)
        rows += size
        if rows >= BATCH_ROWS:
            yield page
            page, rows = [], 0
    if page:
        yield page


def _cache_all(one: Opened, live: Collection, content: Sequence[Content]) -> None:
    """Have the vectors of rows in the cache, if need be those that are stored."""
    cached = cached_vectors(one.manifest, content)
    missing = {row[0]: row for row in content if row[0] not in cached}
    found = live.readable_vectors(list(missing))
    if len(found) < len(missing):
        raise IndexDamaged(
            f"{len(missing) - len(found)} rows of {one.key.name!r} have no readable vector. Call"
            " repair_repository, and then this again."
        )
    one.manifest.keep_vectors(
        (str(metadata.get("model")), text_key(embedded_text(document, metadata)), found[row_id])
        for row_id, document, metadata in missing.values()
    )


def _renamed(
    row_id: str, document: str, metadata: Mapping[str, object], name: str, limit: int
) -> Row:
    """A row under its repository's new name; its id stays if it was none of ours."""
    text, path = embedded_text(document, metadata), str(metadata.get("path", ""))
    key, old = text_key(text), str(metadata.get("repository", ""))
    occurrence = find_occurrence(row_id, old, path, key, limit)
    new_id = row_id if occurrence is None else make_id(name, path, key, occurrence)
    now = cast("dict[str, str | int]", {**metadata, "repository": name})
    return Row(new_id, path, text, document, now, key, row_digest(document, now))


def _record(file: Known) -> FileRecord:
    return FileRecord(
        file.path,
        file.stat,
        file.content_hash,
        file.skip,
        file.chunks,
        file.rules,
        file.encoding,
        file.redactions,
    )
