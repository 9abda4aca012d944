"""`repair_repository`: mends what `verify_repository` names, and nothing else.

Vectors come from the cache; files are read by a sync, which is told what not to take on trust. So
whatever is killed here, a sync goes on with it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace

from reposync.config import SyncConfig
from reposync.embed import make_embedder
from reposync.errors import IndexDamaged, UnknownRepository
from reposync.lock import ChromaLock
from reposync.manifest import RepositoryKey
from reposync.mend import mend
from reposync.opened import Opened, opened, opened_store
from reposync.operations.alone import no_syncs, patience
from reposync.operations.findings import Finding, VerifyReport, shown
from reposync.operations.mending import Mending
from reposync.operations.recorded import Asked, NoFunction, recorded_function
from reposync.operations.remedies import Means, Remedy, RepairStep, remedy
from reposync.operations.verify import verify, without_notes
from reposync.report import Report
from reposync.result import SyncResult
from reposync.rows import Row
from reposync.store import Store
from reposync.swap import settle
from reposync.sync import sync_repository

DAMAGED = "it was found to be damaged"
MAX_ROUNDS = 3


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
        count = f"{len(self.steps)} findings"
        if self.dry_run:
            lines = [f"{self.repository}: {count}, nothing was done"]
        elif self.ok:
            lines = [f"{self.repository}: sound; {count} mended, {self.embedded} texts embedded"]
        else:
            lines = [f"{self.repository}: {count}, not all of them mended"]
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
        except UnknownRepository:
            if path is not None:
                lost = _note_again(found, lock, name, collection, asked, dry_run=dry_run)
            if lost is None:
                raise
        if dry_run:
            return lost
        with opened(found, name, collection, write=True) as one:
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
    """Sync a repository whose notes are lost; None if it has no rows either."""
    lost = without_notes(store, lock, name, collection)
    if lost is None:
        return None
    means = Means(files=True, function=True, folder=store.kind == "folder", noted=())
    result = None if dry_run else _sync(lost.key, lost.model, lost.function_name, asked)
    return RepairReport(
        repository=name,
        collection=lost.key.collection,
        dry_run=dry_run,
        steps=tuple(remedy(finding, means) for finding in lost.findings),
        sync=result,
        embedded=result.chunks.embedded if result else 0,
    )


def _repair(one: Opened, lock: ChromaLock, asked: Asked, *, dry_run: bool) -> RepairReport:
    with nullcontext() if dry_run else no_syncs(one.store, lock, [one.key]):
        work = _Work(one, lock, asked)
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


class _Work:
    """The work on one repository; nobody syncs it meanwhile.

    Attributes:
        steps: what was found, and what is done about it.
        computed: how many texts were embedded.
        warnings: what the caller should know.
        function_name: what Chroma wrote down with the collection; "" if it did not.
    """

    def __init__(self, one: Opened, lock: ChromaLock, asked: Asked) -> None:
        self.one = one
        self._lock = lock
        self._asked = asked
        self.steps: list[RepairStep] = []
        self.warnings: tuple[str, ...] = ()
        self.computed = 0
        self.function_name = ""
        self._restorable: dict[str, Row] = {}

    @property
    def to_sync(self) -> bool:
        """True if a sync is to do the rest."""
        return any(step.remedy == "sync" for step in self.steps)

    def reloaded(self) -> Opened:
        """The repository as it is noted now."""
        record = self.one.manifest.repository(self.one.key)
        assert record is not None
        return replace(self.one, record=record)

    def go(self, *, dry_run: bool) -> None:
        """Find out what is to be done, and do it, but for the sync."""
        for _ in range(MAX_ROUNDS):
            steps, mending = self._plan()
            urgent = [step for step in steps if step.remedy in ("settle", "index")]
            if dry_run or not urgent:
                self.steps += steps
                break
            self.steps += urgent  # what else there is can be seen better then
            self._first_aid(urgent)
        if not dry_run and mending is not None:
            self._mend(mending)
        if not dry_run and self.to_sync:
            self._distrust()

    def _plan(self) -> tuple[list[RepairStep], Mending | None]:
        """What is to be done, and with what; None if the index is to be mended first."""
        one, asked = self.one, self._asked
        findings = verify(one, self._lock, asked).findings
        with self._lock.hold(write=False):
            one.store.open()
            live = one.store.find(one.key.collection)
        self.function_name = (live.function_name or "") if live is not None else ""
        function, config = recorded_function(one.key.name, one.record.model, asked)
        can_compute = not isinstance(function, NoFunction)
        means = Means(
            files=asked.path is not None,
            function=can_compute,
            folder=one.store.kind == "folder",
            noted=one.manifest.all_rows(one.record.id),
        )
        mending = None
        if live is not None and not any(finding.kind == "index" for finding in findings):
            embedder = make_embedder(
                function, model_id=config.model_id, batch_size=config.batch_rows
            )
            mending = Mending(one, live, self._lock, embedder if can_compute else None)
            means = self._look_at_rows(means, mending, findings)
        return [remedy(finding, means) for finding in findings], mending

    def _look_at_rows(self, means: Means, mending: Mending, findings: Iterable[Finding]) -> Means:
        rows = {
            kind: {finding.id: finding.path for finding in findings if finding.kind == kind}
            for kind in ("vector", "cache", "metadata")
        }
        cached = mending.with_vectors(list(rows["vector"]))
        if self._asked.function is None:
            cached |= mending.with_stored_vectors(list(rows["cache"]))
        self._restorable = mending.restorable(rows["metadata"])
        return replace(means, cached=cached, restorable=self._restorable)

    def _first_aid(self, steps: Sequence[RepairStep]) -> None:
        """Mend what keeps everything else from being looked at."""
        one = self.one
        if any(step.remedy == "settle" for step in steps):
            settle(one.store, self._lock, one.manifest, one.key)
            self.one = one = self.reloaded()
        damage = next((step.finding for step in steps if step.remedy == "index"), None)
        if damage is None:
            return
        with self._lock.hold(write=False):
            live = one.store.find(one.key.collection)
        assert live is not None
        self.warnings += mend(
            one.store, self._lock, one.manifest, one.key, live, IndexDamaged(damage.detail)
        )

    def _mend(self, mending: Mending) -> None:
        by_remedy: dict[Remedy, dict[str, None]] = defaultdict(dict)
        for step in self.steps:
            if step.finding.id:
                by_remedy[step.remedy][step.finding.id] = None
        again = by_remedy["sync"].keys()  # these are written as a whole
        mending.delete(list(by_remedy["delete"]))
        mending.cache_anew(list(by_remedy["cache"]), trust_stored=self._asked.function is None)
        mending.write_vectors([row_id for row_id in by_remedy["vector"] if row_id not in again])
        mending.strip([*again, *by_remedy["metadata"]])
        mending.restore([self._restorable[row_id] for row_id in by_remedy["metadata"]])
        self.computed = mending.computed

    def _distrust(self) -> None:
        """Have the sync look at what is at fault, and take nothing of it on trust."""
        manifest, repository = self.one.manifest, self.one.record.id
        rows: dict[str, list[str]] = defaultdict(list)
        for step in self.steps:
            if step.remedy == "sync" and step.finding.path:
                rows[step.finding.path] += [step.finding.id] if step.finding.id else []
        known = manifest.files(repository)
        lost = {path: ids for path, ids in rows.items() if path in known}
        manifest.distrust(repository, DAMAGED, rows=False, paths=lost)
        manifest.lose_rows(repository, {path: ids for path, ids in lost.items() if ids}, DAMAGED)
        manifest.describe(repository, token="")
