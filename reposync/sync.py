"""`sync_repository`: the only file that knows the order in which things happen.

    scan -> plan -> chunk -> embed -> commit -> SyncResult

Each step lives in a file of its own. All of it is lazy: actions, rows and batches are made as the
batch before them is written, so that memory does not grow with the repository.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from typing import Literal

from reposync.batch import Batch, FileWork, batches
from reposync.commit import Committer
from reposync.config import SyncConfig
from reposync.errors import DeletionRefused, IndexDamaged, SyncError
from reposync.freshness import FolderState, make_token
from reposync.lock import repository_lock, state_folder
from reposync.manifest import Manifest, ManifestDamaged, RepositoryRecord, set_aside
from reposync.plan import deletions, is_indexed, look_again, plan, too_many
from reposync.progress import Report, reporter
from reposync.reconcile import make_anew, open_and_compare
from reposync.records import Action, Known
from reposync.request import Request, check_owner, make_request, open_state
from reposync.result import ModelInfo, SourceInfo, SyncResult
from reposync.scan import git_source
from reposync.store import Collection
from reposync.survey import Survey
from reposync.tally import Tally
from reposync.work import Workshop

logger = logging.getLogger(__name__)

MODEL_CHANGED = "the embedding model changed"
RECIPE_CHANGED = "the way of chunking changed"
FULL = "everything is to be written again"
MAX_STARTS = 4


def sync_repository(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    store: object = None,
    collection: str | None = None,
    embedding_function: object = None,
    config: SyncConfig | None = None,
    full: bool = False,
    allow_deletions: bool = False,
    cancel: threading.Event | None = None,
    progress: bool | Report = False,
) -> SyncResult:
    """Make a Chroma collection hold exactly what is in a repository; done when it returns.

    Args:
        path: the repository's folder; a git work tree, or any folder.
        name: the repository's name; default: the folder's name.
        store: a Chroma client, or the folder of a Chroma store; default: ``$REPOSYNC_STORE``, else
            a store in the user's data folder.
        collection: the collection's name; default: made from `name`, see `SyncResult.collection`.
        embedding_function: any Chroma embedding function; default: all-MiniLM-L6-v2.
        config: see `SyncConfig`.
        full: read, chunk and write everything again; vectors still come from the cache.
        allow_deletions: let a sync pass that deletes most of the index.
        cancel: set it, and the call ends after the batch in flight, with status "cancelled".
        progress: True for a progress bar, or a callable that gets `SyncProgress` values.

    Returns:
        what was done, counted from what the store accepted. Its `status` is "partial" if files
        failed: they are in `failures`, what was indexed of them stays, and the next call tries
        again.

    Raises:
        ConfigError: an argument cannot be right; nothing was touched. `NameTaken` is one.
        DeletionRefused: the sync would delete most of the index; nothing was written.
        SyncInProgress, LockTimeout: somebody else holds what is needed for too long.
        SyncError: a fault that is not one file's; `result` says how far it came, and the next call
            goes on from there.
    """
    request = make_request(path, name, store, collection, embedding_function, config)

    def run(report: Report) -> SyncResult:
        with open_state(request) as manifest:
            return _Run(request, manifest, cancel, report).run(
                full=full, allow_deletions=allow_deletions
            )

    with reporter(progress) as report, closing(request.store), _alone(request):
        try:
            return run(report)
        except ManifestDamaged as damage:
            logger.warning("%s It is set aside, and rebuilt from the collection.", damage)
            set_aside(request.manifest_path)
            return run(report)


def _alone(request: Request) -> AbstractContextManager[object]:
    """One sync of a repository at a time; in memory, one user of the whole store."""
    if request.store.kind == "memory":
        return request.lock.hold()
    folder = state_folder(request.store)
    return repository_lock(folder, request.lock_key, request.config.lock_timeout)


class _StoreChanged(Exception):
    """Somebody else wrote to the store after this run had decided not to look into it."""


class _Run:
    """One sync of one repository, told in the order in which it happens."""

    def __init__(
        self,
        request: Request,
        manifest: Manifest,
        cancel: threading.Event | None,
        report: Report,
    ) -> None:
        self.request = request
        self.manifest = manifest
        self.cancel = cancel or threading.Event()
        self.report = report
        self.tally = Tally()
        self.collection: Collection | None = None
        self.source: SourceInfo | None = None
        self.started = False

    def run(self, *, full: bool, allow_deletions: bool) -> SyncResult:
        """Sync, and record how it ended whatever happens."""
        self.record = self._introduce()
        self.redo = self._reason_to_redo(full=full)
        self.tally.resumed = self.manifest.was_cut_off(self.record.id)
        try:
            self.source = self._source()
            self._bring_in_step(allow_deletions=allow_deletions)
        except BaseException as error:
            self._end_badly(error)
            raise
        return self._end_well()

    def _bring_in_step(self, *, allow_deletions: bool) -> None:
        """Start over when the store turns out to have changed meanwhile, or to be damaged."""
        looked = False
        for again in range(MAX_STARTS):
            try:
                self._attempt(must_look=looked, allow_deletions=allow_deletions)
            except _StoreChanged:
                pass  # cannot happen again once the store was looked into
            except IndexDamaged as damage:
                if again + 1 == MAX_STARTS or self.request.store.kind == "memory":
                    raise
                self._make_anew(damage)
            else:
                return
            looked = True
            self._forget_attempt()

    def _attempt(self, *, must_look: bool, allow_deletions: bool) -> None:
        with self.tally.stage("scan"):
            survey = Survey(self.request, self._known())
        self.tally.files_total = len(survey.listed)
        if must_look or not self._token_holds():
            with self.tally.stage("commit"):
                self._look_into_store()
            survey = survey.with_known(self._known())
        elif survey.nothing_to_do:
            self.tally.leave_all(survey.known)
            return
        self._guard(survey, allow_deletions=allow_deletions)
        self._settle()
        self._carry_out(survey)

    # -- before ----------------------------------------------------------------------------------

    def _introduce(self) -> RepositoryRecord:
        """What is noted of the repository; a new one is noted now."""
        record = self.manifest.repository(self.request.key)
        if record is None:
            record = self.manifest.add_repository(self.request.key, self.request.location)
        check_owner(self.request, record)
        return record

    def _reason_to_redo(self, *, full: bool) -> str:
        """Why all files must be read again; "" if they need not."""
        if full:
            return FULL
        if self.record.model not in ("", self.request.model):
            return MODEL_CHANGED
        return RECIPE_CHANGED if self.record.recipe not in ("", self.request.recipe) else ""

    def _known(self) -> dict[str, Known]:
        known = self.manifest.files(self.record.id)
        return look_again(known, known, self.redo) if self.redo else known

    def _settle(self) -> None:
        """Record what the rows will be made with, once it is certain that the sync goes on.

        Before that, a refused sync or a wrong embedding function would have all rows written anew.
        """
        request, record = self.request, self.record
        if self.redo:
            if self.redo == MODEL_CHANGED and request.embedder.identity.dimension is None:
                self._check_dimension()
            rewrite = self.redo != RECIPE_CHANGED
            self.manifest.distrust(record.id, self.redo, rows=rewrite)
            self.redo = ""
        now = {"path": request.location, "model": request.model, "recipe": request.recipe}
        if (record.path, record.model, record.recipe) != tuple(now.values()):
            self.manifest.describe(record.id, **now)

    def _check_dimension(self) -> None:
        """All texts are about to be embedded, so it is worth one more to see if they will fit."""
        found = self.request.store.find(self.request.key.collection) if self.collection else None
        if found is not None:
            dimension = self.request.embedder.embed(["reposync"]).shape[1]
            found.require(int(dimension), self.request.embedder.function)

    def _source(self) -> SourceInfo | None:
        found = git_source(self.request.root, store_path=self.request.store.folder)
        if found is None:
            return None
        return SourceInfo(commit=found.commit, branch=found.branch, dirty=found.dirty)

    def _token_holds(self) -> bool:
        """True if nobody wrote to the store since this repository's last sync."""
        folder = self.request.store.folder
        return bool(self.record.token) and (
            folder is not None and FolderState(folder).token() == self.record.token
        )

    def _look_into_store(self) -> None:
        request = self.request
        self.collection = open_and_compare(
            request.store, request.lock, self.manifest, request.key, self.record, request.model
        )
        if self.collection is None:  # made even if no file follows: a host will open it
            with request.lock.hold():
                self.collection = request.store.create(
                    request.key.collection, request.embedder.function
                )
        self._accept(self.collection)

    def _accept(self, collection: Collection) -> None:
        embedder = self.request.embedder
        collection.require(embedder.identity.dimension, embedder.function)
        if collection.id != self.record.collection_id:
            self.manifest.describe(self.record.id, collection_id=collection.id)

    def _guard(self, survey: Survey, *, allow_deletions: bool) -> None:
        """Refuse to delete most of the index: an emptied folder is suspicious, no instruction."""
        if allow_deletions:
            return
        indexed = sum(map(is_indexed, survey.known.values()))
        fraction = self.request.config.max_delete_fraction
        if not too_many(survey.deletion_candidates, indexed, fraction):
            return
        # Only now is it worth reading files twice: renames are no deletions.
        with self.tally.stage("plan"):
            deleted = deletions(plan(survey.listed, survey.seen(), survey.known), survey.known)
        if too_many(deleted, indexed, fraction):
            raise DeletionRefused(
                f"This sync would delete {deleted} of {indexed} indexed files of"
                f" {self.request.key.name!r}, so it was refused and nothing was written. If that is"
                f" right, pass allow_deletions=True; else look what happened to"
                f" {self.request.root}."
            )

    # -- the work --------------------------------------------------------------------------------

    def _carry_out(self, survey: Survey) -> None:
        request = self.request
        committer = Committer(
            self.manifest, self.record, request.lock, request.embedder, self.tally,
            cache_vectors=request.config.cache_vectors,
        )  # fmt: skip
        for batch in batches(self._works(survey), request.config.batch_rows):
            target = self._open_for(batch) if batch.operations else None
            self._note_start()
            committer.commit(batch, target)
            self.report(self.tally.progress())
            if self.cancel.is_set():
                return

    def _works(self, survey: Survey) -> Iterator[FileWork]:
        workshop = Workshop(self.request, self.manifest, self.record, survey.known, self.tally)
        actions = self._timed_actions(survey)
        for action in actions:
            if self.cancel.is_set():
                return
            with self.tally.stage("chunk"):
                work = workshop.make(action)
            if work is not None:
                yield work

    def _timed_actions(self, survey: Survey) -> Iterator[Action]:
        """The plan, its time counted as "plan"; reading files within it counts as "scan"."""
        actions = plan(survey.listed, survey.seen(self.tally), survey.known)
        while True:
            with self.tally.stage("plan"):
                action = next(actions, None)
            if action is None:
                return
            yield action

    def _open_for(self, batch: Batch) -> Collection:
        """The collection to write to, opened at the first batch that needs it."""
        if self.collection is None:
            with self.tally.stage("commit"):
                self.collection = self._open_as_left()
        return self.collection

    def _open_as_left(self) -> Collection:
        """The collection, if it is as the last sync left it; raise `_StoreChanged` if not."""
        request = self.request
        with request.lock.hold(write=False) as hold:
            if hold is not None and make_token(hold.state) != self.record.token:
                raise _StoreChanged
            request.store.open()
            found = request.store.find(request.key.collection)
        if found is None or found.id != self.record.collection_id:
            raise _StoreChanged
        self._accept(found)
        return found

    def _make_anew(self, damage: IndexDamaged) -> None:
        request = self.request
        with self.tally.stage("commit"):
            make_anew(request.store, request.lock, self.manifest, request.key, damage)

    def _forget_attempt(self) -> None:
        self.collection = None
        self.tally.start_over()
        record = self.manifest.repository(self.request.key)
        assert record is not None
        self.record = record

    # -- after -----------------------------------------------------------------------------------

    def _note_start(self) -> None:
        """From the first batch on, a run that does not end was cut off."""
        if not self.started:
            started_at = self.tally.started_at.isoformat()
            self.manifest.start_run(self.record.id, self.tally.run_id, started_at)
            self.started = True

    def _end_well(self) -> SyncResult:
        if self.tally.embedded:
            self.manifest.evict(self.request.config.max_cache_bytes)
        if self.cancel.is_set():
            result = self._result("cancelled")
        else:
            result = self._result("partial" if self.tally.failures else "complete")
        self._record_end(result, result.status)
        self.report(self.tally.progress())
        return result

    def _end_badly(self, error: BaseException) -> None:
        """Say how far it came; the error itself goes on to the caller."""
        try:
            result = self._result("partial")
            if isinstance(error, SyncError):
                error.result = result
            how = "failed" if isinstance(error, Exception) else "interrupted"
            self._record_end(result, how if self.started else "refused")
        except SyncError as second:
            logger.warning("the run's end could not be recorded: %s", second)

    def _record_end(self, result: SyncResult, status: str) -> None:
        lock = self.request.lock
        token = self.record.token
        if lock.stats.acquisitions:
            # What others wrote between two of our holds was not looked at: look next time.
            well = status in ("complete", "partial", "cancelled") and lock.undisturbed
            token = lock.token if well else ""
        self.manifest.end_run(
            self.record.id,
            self.tally.run_id,
            self.tally.started_at.isoformat(),
            status,
            result.model_dump_json(exclude={"skipped"}),
            token,
        )

    def _result(self, status: Literal["complete", "partial", "cancelled"]) -> SyncResult:
        request = self.request
        identity = request.embedder.identity
        return self.tally.result(
            status,
            repository=request.key.name,
            path=request.location,
            collection=request.key.collection,
            total_chunks=self.manifest.count_rows(self.record.id),
            model=ModelInfo(
                name=identity.name,
                dimension=identity.dimension,
                fingerprint=identity.fingerprint,
            ),
            source=self.source,
            lock=request.lock.stats,
            retries=request.store.retries,
        )
