"""`sync_repository`: the only file that knows the order in which things happen.

    scan -> plan -> chunk -> embed -> commit -> SyncResult

Each step lives in a file of its own. All of it is lazy: actions, rows and batches are made as the
batch before them is written, so that memory does not grow with the repository.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial

from reposync.ahead import look_ahead
from reposync.batch import Batch, FileWork, batches
from reposync.commit import Committer
from reposync.config import SyncConfig
from reposync.errors import CollectionGone, DeletionRefused, IndexDamaged
from reposync.events import Events
from reposync.live import how_far
from reposync.lock import repository_lock, state_folder
from reposync.manifest import Manifest, ManifestDamaged, RepositoryRecord, set_aside
from reposync.narrate import narrated
from reposync.opened import lock_key
from reposync.plan import deletions, is_indexed, look_again, plan, too_many
from reposync.progress import OnProgress, Reporter, reporter
from reposync.records import Action, Known
from reposync.request import Request, check_owner, make_request
from reposync.result import SyncResult
from reposync.retry import Cancelled
from reposync.run_record import RunRecord
from reposync.scan import Source
from reposync.state import manifest_path, open_state
from reposync.survey import Survey
from reposync.swap import settle
from reposync.tally import Tally
from reposync.target import StoreChanged, Target
from reposync.work import Workshop

MODEL_CHANGED = "the embedding model changed"
RECIPE_CHANGED = "the way of chunking changed"
FULL = "everything is to be written again"
MAX_STARTS = 4


def sync_repository(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    ref: str | None = None,
    store: object = None,
    collection: str | None = None,
    embedding_function: object = None,
    config: SyncConfig | None = None,
    lock: AbstractContextManager[object] | None = None,
    full: bool = False,
    allow_deletions: bool = False,
    cancel: threading.Event | None = None,
    progress: bool | OnProgress = False,
) -> SyncResult:
    """Make a Chroma collection hold exactly what is in a repository; done when it returns.

    >>> from reposync import sync_repository
    >>> result = sync_repository("project", store="chroma", embedding_function=embed)
    >>> result.status, result.files.unchanged, result.chunks.embedded
    ('complete', 2, 0)

    Args:
        path: the repository's folder (a git work tree, a bare repository, or any folder), or a git
            URL, which is cloned into a cache folder.
        name: the repository's name; default: the folder's name.
        ref: a branch, a tag or a commit, to index its files instead of those in the folder; they
            are read from git, and no checkout is touched.
        store: a Chroma client, or the folder of a Chroma store; default: ``$REPOSYNC_STORE``, else
            a store in the user's data folder.
        collection: the collection's name; default: made from `name`, see `SyncResult.collection`.
        embedding_function: any Chroma embedding function; default: all-MiniLM-L6-v2.
        config: see `SyncConfig`.
        lock: a lock to hold at each write, on top of the store's own: any context manager that can
            be entered again and again (``redis.Redis(...).lock("chroma")``), for a server that is
            reached from several machines.
        full: read, chunk and write everything again; vectors still come from the cache.
        allow_deletions: let a sync pass that deletes most of the index.
        cancel: set it, and the call ends after the batch in flight, with status "cancelled".
        progress: True shows how far it is: a bar on a terminal, a display in a notebook, elsewhere
            a line on standard error every ten seconds and at the end. Or a callable that gets
            `SyncProgress` values.

    Returns:
        what was done, counted from what the store accepted. Its `status` is "partial" if files
        failed: they are in `failures`, what was indexed of them stays, and the next call tries
        again.

    Raises:
        ConfigError: an argument cannot be right; nothing was touched. `NameTaken` is one.
        DeletionRefused: the sync would delete most of the index; nothing was written.
        SyncInProgress, LockTimeout: somebody else holds what is needed for too long.
        DeadlineExceeded: `SyncConfig.deadline` passed.
        SyncError: a fault that is not one file's; `result` says how far it came, and the next call
            goes on from there.
    """
    request = make_request(
        path, name, store, collection, embedding_function, config, lock, cancel, ref=ref
    )
    return carry_out(request, full=full, allow_deletions=allow_deletions, progress=progress)


def carry_out(
    request: Request, *, full: bool, allow_deletions: bool, progress: bool | OnProgress
) -> SyncResult:
    """Do what was asked for, see `sync_repository`."""

    def tell_damage(damage: ManifestDamaged) -> None:
        events.emit("state.damaged", error=type(damage.__cause__ or damage).__name__)

    def run() -> SyncResult:
        with open_state(request.store, tell_damage) as manifest:
            settle(request.store, request.lock, manifest, request.key)
            run = _Run(request, source, manifest, report, events, since)
            return run.run(full=full, allow_deletions=allow_deletions)

    with (
        reporter(progress, request.key.name) as report,
        narrated(request) as events,
        closing(request.store),
        closing(request.open_source()) as source,
        _alone(request),
    ):
        since = time.time()
        try:
            return run()
        except ManifestDamaged as damage:
            tell_damage(damage)
            set_aside(manifest_path(request.store))
            return run()


@contextmanager
def _alone(request: Request) -> Iterator[None]:
    """One sync of a repository at a time; in memory, one user of the whole store."""
    if request.store.kind == "memory":
        with request.lock:
            yield
    else:
        folder, key = state_folder(request.store), lock_key(request.key)
        timeout, deadline = request.config.lock_timeout, request.deadline
        ask = partial(how_far, request.store, request.key)
        with repository_lock(folder, key, timeout, deadline=deadline, how_far=ask):
            yield


class _Run:
    """One sync of one repository, told in the order in which it happens."""

    def __init__(
        self,
        request: Request,
        source: Source,
        manifest: Manifest,
        report: Reporter,
        events: Events,
        since: float,
    ) -> None:
        self.request = request
        self.source = source
        self.manifest = manifest
        self.report = report
        self.since = since
        self.events = events
        self.tally = Tally(events)

    def run(self, *, full: bool, allow_deletions: bool) -> SyncResult:
        """Sync, and record how it ended whatever happens."""
        record = self._record()
        self.log = RunRecord(
            self.request,
            self.source,
            self.manifest,
            record,
            self.tally,
            self.since,
            self.report.beat,
        )
        try:
            with self.tally.stage("scan"):
                self.log.note_source()
                self.request = self.log.request = self.request.settled(self.source)
            self.redo = self._reason_to_redo(record, full=full)
            cancelled = False
            try:
                self._bring_in_step(allow_deletions=allow_deletions)
            except Cancelled:
                cancelled = True
            result = self.log.end(cancelled=cancelled)
        except BaseException as error:
            self.log.end_badly(error)
            raise
        self.report.end(self.tally.progress(), result)
        return result

    def _bring_in_step(self, *, allow_deletions: bool) -> None:
        """Start over when the store turns out to have changed meanwhile, or to be damaged."""
        must_look = False
        for starts in range(1, MAX_STARTS + 1):
            target = Target(self.request, self.manifest, self._record())
            try:
                self._attempt(target, must_look=must_look, allow_deletions=allow_deletions)
            except StoreChanged:  # cannot happen again once the store was looked into
                self.tally.start_over("store changed")
            except CollectionGone:
                if starts == MAX_STARTS or self.request.store.kind == "memory":
                    raise
                self.tally.start_over("collection gone")
            except IndexDamaged as damage:
                if starts == MAX_STARTS or self.request.store.kind == "memory":
                    raise
                self.tally.warnings += self._mend(target, damage)
                self.tally.start_over("index mended")
            else:
                return
            must_look = True

    def _mend(self, target: Target, damage: IndexDamaged) -> tuple[str, ...]:
        self.events.emit("index.damaged", error=type(damage.__cause__ or damage).__name__)
        began = time.monotonic()
        with self.tally.stage("commit"):
            warnings = target.make_anew(damage)
        self.events.emit("index.mended", seconds=time.monotonic() - began)
        return warnings

    def _attempt(self, target: Target, *, must_look: bool, allow_deletions: bool) -> None:
        with self.tally.stage("scan"):
            survey = Survey(self.source, self._known())
        self.tally.files_total = len(survey.listed)
        if must_look or not target.as_left:
            with self.tally.stage("commit"):
                self.log.beat()
                target.look()
            survey = survey.with_known(self._known())
        elif survey.nothing_to_do:
            self.tally.leave_all(survey.known)
            return
        if not allow_deletions:
            self._guard(survey)
        self._carry_out(survey, target)
        self._settle()

    # -- before anything is written --------------------------------------------------------------

    def _record(self) -> RepositoryRecord:
        """What is noted of the repository; a new one is noted now."""
        record = self.manifest.repository(self.request.key)
        if record is None:
            record = self.manifest.add_repository(self.request.key, self.request.location)
        check_owner(self.request, record)
        return record

    def _reason_to_redo(self, record: RepositoryRecord, *, full: bool) -> str:
        """Why all files must be read again; "" if they need not."""
        if full:
            return FULL
        if record.model not in ("", self.request.model):
            return MODEL_CHANGED
        return RECIPE_CHANGED if record.recipe not in ("", self.request.recipe) else ""

    def _known(self) -> dict[str, Known]:
        record = self._record()
        known = self.manifest.files(record.id)
        return look_again(known, self._to_redo(record, known), self.redo) if self.redo else known

    def _to_redo(self, record: RepositoryRecord, paths: Iterable[str]) -> Iterable[str]:
        """The paths that `redo` is about."""
        recut = self.redo == RECIPE_CHANGED
        return self.request.outdated(record.recipe, paths) if recut else paths

    def _guard(self, survey: Survey) -> None:
        """Refuse to delete most of the index: an emptied folder is suspicious, no instruction."""
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
                f" {self.request.location}."
            )

    def _settle(self) -> None:
        """Record what the rows are made with, right before the first of them is written.

        Any earlier, a refused sync or a wrong embedding function would cost the next sync that all
        rows are written anew.
        """
        request, record = self.request, self._record()
        if self.redo:
            paths = self._to_redo(record, self.manifest.files(record.id))
            self.manifest.distrust(record.id, self.redo, rows=self._rewrites, paths=paths)
            self.redo = ""
        now = {"path": request.location, "model": request.model, "recipe": request.recipe}
        if (record.path, record.model, record.recipe) != tuple(now.values()):
            self.manifest.describe(record.id, **now)

    @property
    def _rewrites(self) -> bool:
        """True if the rows themselves must be written again, not only looked at."""
        return self.redo in (FULL, MODEL_CHANGED)

    # -- the work --------------------------------------------------------------------------------

    def _carry_out(self, survey: Survey, target: Target) -> None:
        record = self._record()
        committer = Committer(
            self.request, self.manifest, record, self.tally, before_writing=self._before_writing
        )
        workshop = Workshop(
            self.request, self.manifest, record, survey.known, self.tally, rewrite=self._rewrites
        )
        size = self.request.config.chunk_tokens
        self.tally.expect(survey.sizes_to_read, survey.vanished_rows, size)
        self.log.beat("chunk")
        cut = batches(self._works(survey, workshop), self.request.config.batch_rows)
        with closing(look_ahead(cut, self.request, self.manifest, self.tally)) as ahead:
            for batch in ahead:
                self._bring_in(batch, committer, target)

    def _bring_in(self, batch: Batch, committer: Committer, target: Target) -> None:
        self.log.heed()
        self.request.deadline.check()
        with self.tally.stage("commit"):
            collection = target.collection() if batch.operations else None
        self.log.start()
        if batch.writes:
            self.log.beat("embed")
        committer.commit(batch, collection)
        self.tally.settle(batch)
        self.report(self.tally.progress())

    def _before_writing(self) -> None:
        self._settle()
        self.log.beat()

    def _works(self, survey: Survey, workshop: Workshop) -> Iterator[FileWork]:
        for action in self._actions(survey):
            self.request.deadline.check()
            with self.tally.stage("chunk"):
                work = workshop.make(action)
            self.tally.cut(action, work)
            if work is not None:
                yield work

    def _actions(self, survey: Survey) -> Iterator[Action]:
        """The plan, its time counted as "plan"; reading files within it counts as "scan"."""
        actions = plan(survey.listed, survey.seen(self.tally), survey.known)
        while True:
            with self.tally.stage("plan"):
                action = next(actions, None)
            if action is None:
                return
            yield action
