"""`repair_repository`: mends what `verify_repository` names, and nothing else.

Vectors come from the cache; files are read by a sync, which is told what not to take on trust. So
whatever is killed here, a sync goes on with it.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

from reposync.config import SyncConfig
from reposync.errors import UnknownRepository
from reposync.lock import ChromaLock
from reposync.manifest import ManifestDamaged, RepositoryKey
from reposync.opened import Opened, opened, opened_store
from reposync.operations.alone import no_syncs, patience
from reposync.operations.findings import VerifyReport, shown
from reposync.operations.recorded import Asked, recorded_function
from reposync.operations.remedies import Means, RepairStep, remedy
from reposync.operations.repair_work import RepairWork
from reposync.operations.verify import verify, without_notes
from reposync.report import Report
from reposync.result import SyncResult
from reposync.store import Store
from reposync.sync import sync_repository
from reposync.words import count


class RepairReport(Report):
    """What was repaired.

    Attributes:
        repository, collection: what was repaired.
        dry_run: nothing was done; `steps` says what would be.
        steps: what was found, and what was done about it.
        left: what is found now; None in a dry run.
        sync: of the sync that brought files in step; None if there was none to be brought.
        embedded: how many texts were computed.
        warnings: what you should know, such as rows of others that lost their vectors.
    """

    repository: str
    collection: str
    dry_run: bool
    steps: tuple[RepairStep, ...] = ()
    left: VerifyReport | None = None
    sync: SyncResult | None = None
    embedded: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if nothing is amiss now; in a dry run, if nothing would be."""
        if self.left is not None:
            return self.left.ok
        return all(step.remedy != "none" for step in self.steps)

    def __str__(self) -> str:
        found = count(len(self.steps), "finding")
        if self.dry_run:
            head = f"{found}, nothing was done"
        elif self.ok:
            head = f"sound; {found} mended, {count(self.embedded, 'text')} embedded"
        else:
            head = f"{found}, not all of them mended"
        lines = [f"{self.repository}: {head}"]
        lines += shown(self.steps, ".steps")
        lines += [f"  warning    {warning}" for warning in self.warnings]
        if self.left is not None and not self.left.ok:
            lines += ["  left:", *shown(self.left.findings, ".left.findings")]
        return "\n".join(lines)


def repair_repository(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    ref: str | None = None,
    store: object = None,
    collection: str | None = None,
    embedding_function: object = None,
    config: SyncConfig | None = None,
    dry_run: bool = False,
) -> RepairReport:
    """Mend what `verify_repository` finds at its level "vectors", and nothing else.

    Nothing is computed where the cache has the vector. Afterwards everything is verified again: the
    report says what is left. Killed in the middle, call it again, or sync.

    Args:
        name: of the repository.
        path: its folder, or git URL. Without it, what is gone or was changed cannot be restored,
            since nobody else has the text; vectors, the index and rows that do not belong can.
        ref: as for `reposync.sync_repository`.
        store: as for `reposync.sync_repository`.
        collection: its collection; needed only if repositories of this name are in several.
        embedding_function: that of the repository's syncs, for vectors that are lost everywhere.
            With it, a sample of all vectors is computed anew.
        config: as for the repository's syncs.
        dry_run: do nothing; say what would be done.

    Raises:
        UnknownRepository: no such repository was synced into the store.
        EmbeddingMismatch: `embedding_function` is not the one of the repository's syncs.
        SyncInProgress, LockTimeout: somebody else holds what is needed for too long.
        SyncError: as for `reposync.sync_repository`.

    >>> from reposync import repair_repository
    >>> print(repair_repository("project", "project", store="chroma"))
    project: sound; 0 findings mended, 0 texts embedded
    """
    config = config or SyncConfig()
    asked = Asked(path, ref, store, "vectors", embedding_function, config)
    with opened_store(store, **patience(config)) as found:
        lock = ChromaLock(found, config.lock_timeout)
        lost: RepairReport | None = None
        try:
            with opened(found, name, collection, write=not dry_run) as one:
                return _repair(one, lock, asked, dry_run=dry_run)
        except (UnknownRepository, ManifestDamaged):
            lost = _note_again(found, lock, name, collection, asked, dry_run=dry_run)
            if lost is None:
                raise
        if dry_run or path is None:
            return lost
        with opened(found, name, lost.collection, write=True) as one:
            report = _repair(one, lock, asked, dry_run=False)
        return report.model_copy(
            update={
                "steps": lost.steps + report.steps,
                "sync": report.sync or lost.sync,
                "embedded": lost.embedded + report.embedded,
            }
        )


def _note_again(
    store: Store,
    lock: ChromaLock,
    name: str,
    collection: str | None,
    asked: Asked,
    *,
    dry_run: bool,
) -> RepairReport | None:
    """Sync a repository whose notes are lost, if its files are given; None if it has no rows."""
    lost = without_notes(store, lock, name, collection)
    if lost is None:
        return None
    files = asked.path is not None
    means = Means(files=files, function=True, folder=store.kind == "folder", noted=())
    result = (
        None if dry_run or not files else _sync(lost.key, lost.model, lost.function_name, asked)
    )
    return RepairReport(
        repository=name,
        collection=lost.key.collection,
        dry_run=dry_run,
        steps=tuple(remedy(finding, means) for finding in lost.findings),
        left=None if dry_run or files else lost.report(asked.level),
        sync=result,
        embedded=result.chunks.embedded if result else 0,
    )


def _repair(one: Opened, lock: ChromaLock, asked: Asked, *, dry_run: bool) -> RepairReport:
    with nullcontext() if dry_run else no_syncs(one.store, lock, [one.key]):
        work = RepairWork(one, lock, asked)
        work.go(dry_run=dry_run)
    result = None
    if not dry_run and work.to_sync:
        result = _sync(one.key, work.one.record.model, work.function_name, asked)
    return RepairReport(
        repository=one.key.name,
        collection=one.key.collection,
        dry_run=dry_run,
        steps=tuple(work.steps),
        left=None if dry_run else verify(work.reloaded(), lock, asked),
        sync=result,
        embedded=work.computed + (result.chunks.embedded if result else 0),
        warnings=(*work.warnings, *(result.warnings if result else ())),
    )


def _sync(key: RepositoryKey, model: str, function_name: str, asked: Asked) -> SyncResult:
    assert asked.path is not None
    function, config = recorded_function(key.name, model, asked, function_name)
    return sync_repository(
        asked.path,
        key.name,
        ref=asked.ref,
        store=asked.store,
        collection=key.collection,
        embedding_function=function,
        config=config,
    )
