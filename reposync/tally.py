"""What has been done so far; at the end it becomes the `SyncResult`.

Counts are raised only after the store has accepted what they count.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from reposync.batch import Batch, FileWork
from reposync.estimate import Estimate
from reposync.events import Events
from reposync.records import Action, Failure, Known, Redaction, SkipReason
from reposync.result import (
    ChunkCounts,
    FileFailure,
    ModelInfo,
    RedactedSecret,
    SkippedFile,
    SourceInfo,
    Stage,
    StageSeconds,
    StoreUse,
    SyncProgress,
    SyncResult,
    count_files,
)

if TYPE_CHECKING:
    from reposync.lock import LockStats
    from reposync.rows import FileRecord


class Tally:
    """Counts, times and reasons of one run. Used by one thread."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.run_id = events.run_id
        self.started_at = datetime.now(timezone.utc)
        self._started = time.perf_counter()
        self.resumed = False
        self.files_total = 0
        self.outcomes: dict[str, str] = {}
        self.deleted_files: set[str] = set()
        self.failures: dict[str, Failure] = {}
        self.put_off: set[str] = set()
        self.skipped: dict[str, SkipReason] = {}
        self.warnings: tuple[str, ...] = ()
        self.encodings: dict[str, str] = {}
        self.redactions: dict[str, tuple[Redaction, ...]] = {}
        self.added = self.deleted = self.reused = self.embedded = self.moved = self.batches = 0
        self.embedding_retries = 0
        self.longest_hold = self.longest_reload = 0.0
        self._seconds: dict[Stage, float] = dict.fromkeys(
            ("scan", "plan", "chunk", "embed", "commit"), 0.0
        )
        self._told = self._counted()
        self.estimate = Estimate()
        self.stage_now: Stage | None = None
        self._switched = self._started

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Add the block's wall-clock time to a stage; an enclosing stage's clock stands still."""
        outer = self.stage_now
        self._switch(stage)
        try:
            yield
        finally:
            self._switch(outer)

    def _switch(self, stage: Stage | None) -> None:
        now = time.perf_counter()
        if self.stage_now is not None:
            self._seconds[self.stage_now] += now - self._switched
        self.stage_now, self._switched = stage, now

    def fail(self, failure: Failure) -> None:
        """Note that a file could not be brought in step; the first reason stands."""
        if failure.path not in self.failures:
            self.failures[failure.path] = failure
            self.events.emit(
                "file.failed",
                path=failure.path,
                stage=failure.stage,
                error=failure.error,
                attempts=failure.attempts,
            )

    def note_reload(self, seconds: float) -> None:
        """Note how long it took to load the vector index."""
        self.longest_reload = max(self.longest_reload, seconds)

    def note_hold(self, seconds: float) -> None:
        """Note for how long the store lock was held to write."""
        self.longest_hold = max(self.longest_hold, seconds)

    def note_embedding_retry(self, error: BaseException, pause: float) -> None:
        """Note that the embedding function is tried again."""
        self.embedding_retries += 1
        name = type(error.__cause__ or error).__name__
        self.events.emit("call.retried", stage="embed", error=name, pause_seconds=pause)

    def leave(self, path: str, outcome: str, file: Known) -> None:
        """Note a file that needs no work ("unchanged", "skipped").

        What was done to it earlier in this run stands: a run starts over when the store changes
        under it.
        """
        self.outcomes.setdefault(path, outcome)
        self._describe(path, file)

    def leave_all(self, known: Mapping[str, Known]) -> None:
        """Note that all files are as recorded."""
        for path, file in known.items():
            self.leave(path, "skipped" if file.skip else "unchanged", file)

    def _describe(self, path: str, file: Known | FileRecord) -> None:
        """Note what the result says of a file besides what was done to it."""
        if file.skip is not None:
            self.skipped[path] = file.skip
        if file.encoding not in (None, "utf-8"):
            self.encodings[path] = str(file.encoding)
        if file.redactions:
            self.redactions[path] = file.redactions

    def finish(self, work: FileWork) -> None:
        """Count a file whose work is done and recorded."""
        if work.deleted:
            self.deleted_files.add(work.path)
        if work.record is None:
            return
        if self.outcomes.get(work.path) not in ("added", "renamed"):
            self.outcomes[work.path] = work.outcome
        self._describe(work.path, work.record)

    def expect(self, sizes: dict[str, int], deletes: int, chunk_tokens: int) -> None:
        """The plan is about to be carried out: the files to read, and the rows that must go."""
        count = len(sizes)  # they are used up
        self.estimate.expect(sizes, deletes, self._seconds, chunk_tokens=chunk_tokens)
        new = self._lap()
        self.events.emit(
            "sync.scanned",
            files=self.files_total,
            files_to_read=count,
            **{field: new[field] for field in ("scan_seconds", "plan_seconds", "commit_seconds")},
        )

    def cut(self, action: Action, work: FileWork | None) -> None:
        """Note what work the plan's next action makes."""
        if work is None:
            self.estimate.cut(action.path, 0, 0, 0)
            return
        changes = work.changes
        vanished = len(work.old_stale if action.seen else changes.stale)
        others = len(changes.moves) + len(changes.stale) + len(work.old_stale)
        self.estimate.cut(action.path, len(changes.writes), others, vanished)

    def settle(self, batch: Batch) -> None:
        """Note that a batch is done, whatever of it was accepted."""
        writes = len(batch.writes)
        self.estimate.settle(writes, batch.operations - writes, self._seconds)
        self.events.emit(
            "batch.committed",
            batch=self.batches,
            files_done=self._files_done,
            files_total=self.files_total,
            **self._lap(),
        )

    def _counted(self) -> dict[str, int | float]:
        """What was counted and timed so far, by the names that events have for it."""
        return {
            "written": self.added,
            "moved": self.moved,
            "deleted": self.deleted,
            "embedded": self.embedded,
            "reused": self.reused,
            "seconds": time.perf_counter() - self._started,
            **{f"{stage}_seconds": spent for stage, spent in self._seconds.items()},
        }

    def _lap(self) -> dict[str, int | float]:
        """What was counted and timed since this was asked last."""
        before, self._told = self._told, self._counted()
        return {name: value - before[name] for name, value in self._told.items()}

    def start_over(self, reason: str) -> None:
        """Forget failures: every file is looked at again."""
        self.failures.clear()
        self.put_off.clear()
        self.events.emit("sync.restarted", reason=reason)

    def progress(self) -> SyncProgress:
        """Where the run stands now."""
        return SyncProgress(
            self.stage_now or "commit",
            self._files_done,
            self.files_total,
            self.added,
            self.embedded,
            self.added + self.estimate.writes_left,
            round(self.estimate.writes_per_second, 3),
            self.estimate.remaining,
        )

    @property
    def _files_done(self) -> int:
        done = len(self.outcomes) + len(self.failures) + len(self.put_off)
        return min(done, self.files_total)

    def _kinds(self) -> list[str]:
        """How each file counts."""
        put_off = self.put_off - self.failures.keys()
        rest = self.outcomes.keys() - self.failures.keys() - put_off
        return [
            *(kind for path, kind in self.outcomes.items() if path in rest),
            *("skipped" for _ in put_off),
            *("failed" for _ in self.failures),
        ]

    def _skips(self) -> dict[str, SkipReason]:
        put_off: dict[str, SkipReason] = dict.fromkeys(sorted(self.put_off), "over_limit")
        return self.skipped | put_off

    def result(
        self,
        status: Literal["complete", "partial", "cancelled"],
        *,
        repository: str,
        path: str,
        collection: str,
        total_chunks: int,
        model: ModelInfo,
        source: SourceInfo | None,
        config: str,
        limits: Sequence[str],
        warnings: Sequence[str],
        lock: LockStats,
        retries: int,
    ) -> SyncResult:
        """Everything that was counted, as it stands now."""
        return SyncResult(
            repository=repository,
            path=path,
            collection=collection,
            run_id=self.run_id,
            status=status,
            started_at=self.started_at,
            finished_at=datetime.now(timezone.utc),
            duration_seconds=time.perf_counter() - self._started,
            resumed=self.resumed,
            files=count_files(self._kinds(), len(self.deleted_files)),
            chunks=ChunkCounts(
                total=total_chunks,
                added=self.added,
                deleted=self.deleted,
                reused=self.reused,
                embedded=self.embedded,
            ),
            failures=tuple(FileFailure(**asdict(failure)) for failure in self.failures.values()),
            skipped=tuple(
                SkippedFile(path=path, reason=reason) for path, reason in self._skips().items()
            ),
            limits=tuple(limits),
            warnings=(*self.warnings, *warnings),
            encodings=dict(self.encodings),
            redactions=tuple(
                RedactedSecret(path=path, line=one.line, kind=one.kind)
                for path, places in self.redactions.items()
                for one in places
            ),
            stages=StageSeconds(**self._seconds),
            store=StoreUse(
                batches=self.batches,
                retries=retries,
                embedding_retries=self.embedding_retries,
                lock_acquisitions=lock.acquisitions,
                lock_contended=lock.contended,
                refreshes=lock.refreshes,
                longest_wait_seconds=lock.wait.max,
                longest_hold_seconds=self.longest_hold,
                longest_reload_seconds=self.longest_reload,
            ),
            model=model,
            source=source,
            config=config,
        )
