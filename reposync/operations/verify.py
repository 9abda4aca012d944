"""`verify_repository`: is the collection what it should be? Nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import get_args

from reposync.collection import Collection
from reposync.config import SyncConfig
from reposync.embed import make_embedder
from reposync.errors import (
    CollectionGone,
    ConfigError,
    IndexDamaged,
    SyncInProgress,
    UnknownRepository,
)
from reposync.freshness import State
from reposync.lock import ChromaLock
from reposync.manifest import RENAMED, ManifestDamaged, RepositoryKey
from reposync.naming import collection_name
from reposync.opened import Opened, opened, opened_store
from reposync.operations.alone import patience
from reposync.operations.compare import Comparison
from reposync.operations.findings import Finding, Level, VerifyReport
from reposync.operations.recorded import Asked, recorded_function, recorded_request
from reposync.operations.vector_check import VectorCheck
from reposync.operations.wanted import Wanted, WantedByFiles, wanted_by_manifest
from reposync.reconcile import check_doubtful
from reposync.records import Known
from reposync.state import read_state
from reposync.store import Store
from reposync.swap import is_unsettled

MAX_LOOKS = 3


def verify_repository(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    ref: str | None = None,
    store: object = None,
    collection: str | None = None,
    level: Level = "content",
    embedding_function: object = None,
    config: SyncConfig | None = None,
) -> VerifyReport:
    """Compare what is noted of a repository with what its collection holds, and with its files.

    Nothing is written. The store lock is held for a page of rows at a time. At every level some
    vectors are read, and looked for in the vector index.

    Args:
        name: of the repository.
        path: its folder, or git URL, to compare with its files, too, as a sync would see them.
        ref: as for `reposync.sync_repository`.
        store: as for `reposync.sync_repository`.
        collection: its collection; needed only if repositories of this name are in several.
        level: "ids": is each row there, and no other? With `path`: has any file changed, by its
            stat? "content": are text and metadata of each row as they were written? With `path`:
            as each file, read and cut anew, gives them? "vectors": is the vector of each row the
            one that was computed for its text?
        embedding_function: that of the repository's syncs, to compute a sample of the vectors anew
            at the level "vectors".
        config: as for the repository's syncs.

    Raises:
        UnknownRepository: no such repository was synced into the store.
        SyncInProgress: the repository was being changed all the while.
        EmbeddingMismatch: `embedding_function` is not the one of the repository's syncs.

    >>> from reposync import verify_repository
    >>> print(verify_repository("project", "project", store="chroma"))
    project: sound (2 files, 2 rows and 2 vectors compared)
    """
    config = config or SyncConfig()
    if level not in get_args(Level):
        raise ConfigError(
            f"level={level!r} is no level. Pass one of {', '.join(map(repr, get_args(Level)))}."
        )
    began = time.monotonic()
    with opened_store(store, **patience(config)) as found:
        lock = ChromaLock(found, config.lock_timeout)
        asked = Asked(path, ref, store, level, embedding_function, config)
        try:
            with opened(found, name, collection) as one:
                report = verify(one, lock, asked)
        except (UnknownRepository, ManifestDamaged):
            lost = without_notes(found, lock, name, collection)
            if lost is None:
                raise
            report = lost.report(level)
    return report.model_copy(update={"duration_seconds": time.monotonic() - began})


def verify(one: Opened, lock: ChromaLock, asked: Asked) -> VerifyReport:
    """Look again if somebody changes it meanwhile: what is in flight is no damage.

    Raises:
        SyncInProgress: it never was still.
    """
    for _ in range(MAX_LOOKS):
        before = _notes(one)
        try:
            report = _look(one, lock, asked, before[0])
        except CollectionGone:
            continue  # a rebuild took its place
        if report.ok or _notes(one) == before:
            return report
    raise SyncInProgress(
        f"{one.key.name!r} was changed each time while it was verified. Wait for its sync to end,"
        " and verify again."
    )


def _notes(one: Opened) -> tuple[Mapping[str, Known], object]:
    return one.manifest.files(one.record.id), one.manifest.all_rows(one.record.id)


def _look(one: Opened, lock: ChromaLock, asked: Asked, known: Mapping[str, Known]) -> VerifyReport:
    findings: list[Finding] = []
    report = findings.append
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        if is_unsettled(one.store, one.key.collection):
            detail = "a rebuild, a migration or a renaming ended in the middle"
            report(Finding(kind="unsettled", detail=detail))
        by_files: WantedByFiles | None = None
        wanted = wanted_by_manifest(one, known, report)
        if asked.path is not None:
            request = recorded_request(one, asked)
            source = stack.enter_context(closing(request.open_source()))
            request = request.settled(source)
            cut = asked.level != "ids"
            by_files = WantedByFiles(one, known, request, source, report, cut=cut)
            wanted = iter(by_files)
        try:
            found = _open(one, lock, report)
            if found is not None:
                counts = _compare(one, lock, asked, wanted, report, *found)
        except IndexDamaged as damage:
            report(Finding(kind="index", detail=str(damage)))
        for _ in wanted:
            pass  # what is amiss with files is said all the same
    return VerifyReport(
        repository=one.key.name,
        collection=one.key.collection,
        level=asked.level,
        findings=tuple(findings),
        files=by_files.files if by_files else 0,
        **counts,
    )


def _open(
    one: Opened, lock: ChromaLock, report: Callable[[Finding], None]
) -> tuple[Collection, list[str]] | None:
    """The collection, and the ids of the rows that claim to be the repository's."""
    with lock.hold(write=False) as hold:
        one.store.open()
        live = one.store.find(one.key.collection)
        if live is None:
            if one.manifest.count_rows(one.record.id):
                report(Finding(kind="collection", detail="the collection is gone"))
            return None
        check_doubtful(one.store, live, hold.state if hold else State(), one.record.checked)
        return live, live.ids(one.key.name)


def _compare(
    one: Opened,
    lock: ChromaLock,
    asked: Asked,
    wanted: Iterable[Wanted],
    report: Callable[[Finding], None],
    live: Collection,
    ids: Sequence[str],
) -> dict[str, int]:
    """Compare the rows; how many, and how many vectors."""
    thorough = asked.level == "vectors"
    embedder = None
    if thorough and asked.function is not None:
        function, config = recorded_function(one.key.name, one.record.model, asked)
        embedder = make_embedder(function, model_id=config.model_id, batch_size=config.batch_rows)
    vectors = VectorCheck(
        one, live, lock, report, total=len(ids), every=thorough, embedder=embedder
    )
    rows = Comparison(one, live, lock, vectors, report, content=asked.level != "ids")
    rows.compare(wanted, ids)
    vectors.finish()
    return {"rows": rows.rows, "vectors": vectors.vectors, "computed": vectors.computed}


@dataclass(frozen=True)
class Lost:
    """A repository of which nothing is noted, as far as its collection tells.

    Attributes:
        key: what it is told apart by.
        findings: that it is so.
        model: of its rows.
        function_name: what Chroma wrote down with the collection; "" if it did not.
    """

    key: RepositoryKey
    findings: tuple[Finding, ...]
    model: str = ""
    function_name: str = ""

    def report(self, level: Level) -> VerifyReport:
        """The same as a report."""
        return VerifyReport(
            repository=self.key.name,
            collection=self.key.collection,
            level=level,
            findings=self.findings,
        )


def without_notes(store: Store, lock: ChromaLock, name: str, collection: str | None) -> Lost | None:
    """What can be said of a repository of which nothing is noted; None if it has no rows either.

    Raises:
        ConfigError: several collections have rows of it, and `collection` does not say which.
    """
    with lock.hold(write=False):
        store.open()
        usual = collection_name(name) if collection is None else collection
        if (lost := _without_notes(store, name, usual)) is not None or collection is not None:
            return lost
        found = [_without_notes(store, name, each) for each in store.collections()]
    # Whether rows of it are in one whose index is damaged, nobody can tell.
    known = [each for each in found if each is not None and each.model]
    if len(known) > 1:
        names = ", ".join(repr(each.key.collection) for each in known)
        raise ConfigError(
            f"Rows of {name!r} are in several collections: {names}. Pass collection=."
        )
    return known[0] if known else None


def _without_notes(store: Store, name: str, collection: str) -> Lost | None:
    """The same of one collection, under the lock."""
    key = RepositoryKey(store.tenant, store.database, collection, name)
    live = store.find(collection)
    if live is None:
        return None
    function_name = live.function_name or ""
    try:
        ids = live.ids(name)
        if not ids or _is_renamed(store, key):
            return None
        ((_, _, metadata),) = live.contents(ids[:1])
    except IndexDamaged as damage:
        finding = Finding(kind="index", detail=str(damage))
        return Lost(key, (finding,), function_name=function_name)
    detail = f"nothing is noted of it; a sync with collection={collection!r} notes what is there"
    finding = Finding(kind="manifest", detail=detail)
    return Lost(key, (finding,), str(metadata.get("model", "")), function_name)


def _is_renamed(store: Store, key: RepositoryKey) -> bool:
    """True if rows under this name may be what a renaming that was killed left to be done."""
    with read_state(store) as manifest:
        return manifest is not None and any(
            file.redo == RENAMED
            for other, record in manifest.repositories()
            if replace(other, name=key.name) == key
            for file in manifest.files(record.id).values()
        )
