"""What is recorded of a run: that it began to write, and how it ended."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from reposync.errors import ManifestError, SyncError
from reposync.limits import reached
from reposync.manifest import Manifest, RepositoryRecord
from reposync.progress import OnProgress, as_json
from reposync.request import Request
from reposync.result import ModelInfo, SourceInfo, Stage, SyncProgress, SyncResult
from reposync.scan import Source
from reposync.tally import Tally

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.5
MAX_ERROR_CHARS = 2000


class RunRecord:
    """The record of one run, in the manifest and in its `SyncResult`.

    Args:
        request, source, manifest, tally: those of the run; `request` may be replaced by what it is
            once the repository itself was asked for its settings.
        record: what is noted of its repository.
        since: when the run got the repository to itself, in seconds since 1970.
        on_beat: is told, too.
    """

    def __init__(
        self,
        request: Request,
        source: Source,
        manifest: Manifest,
        record: RepositoryRecord,
        tally: Tally,
        since: float,
        on_beat: OnProgress | None = None,
    ) -> None:
        self.request = request
        self._files = source
        self._manifest = manifest
        self._repository = record
        self._tally = tally
        self._started = False
        self._since = since
        self._on_beat = on_beat
        self._beaten_at = time.monotonic()
        self._source: SourceInfo | None = None
        tally.resumed = manifest.was_cut_off(record.id)
        request.deadline.listen(self._go_on)

    def note_source(self) -> None:
        """Note which commit the files are of, as it is when the scan begins."""
        found = self._files.state()
        if found is not None:
            self._source = SourceInfo(
                commit=found.commit,
                branch=found.branch,
                dirty=found.dirty,
                ref=self.request.origin.ref,
            )

    def start(self) -> None:
        """The first batch is about to be written: if the run does not end now, it was cut off."""
        if not self._started:
            self._manifest.start_run(*self._who, as_json(self._now()))
            self._started = True

    def _go_on(self) -> None:
        """Every half second, also while something is waited for: `beat`, and `heed`."""
        if time.monotonic() - self._beaten_at >= BEAT_SECONDS:
            self.beat()
            self.heed()

    def beat(self, stage: Stage | None = None) -> None:
        """Tell whoever asks that the run goes on, and how far it is; now in `stage`, if given."""
        with suppress(ManifestError):  # a full disk shows up where it matters
            self._manifest.beat(*self._who, as_json(self._now(stage)))
        self._beaten_at = time.monotonic()
        if self._on_beat is not None:
            self._on_beat(self._now(stage))

    def heed(self) -> None:
        """Have the run end at its next check if somebody asked for that while it ran."""
        if self._manifest.cancel_asked_at(self._repository.id) >= self._since:
            self.request.deadline.cancel()

    @property
    def _who(self) -> tuple[int, str, str]:
        return self._repository.id, self._tally.run_id, self._tally.started_at.isoformat()

    def _now(self, stage: Stage | None = None) -> SyncProgress:
        now = self._tally.progress()
        return replace(now, stage=stage) if stage else now

    def end(self, *, cancelled: bool) -> SyncResult:
        """The run came to its end."""
        if self._tally.embedded:
            self._manifest.evict(self.request.config.max_cache_bytes)
        status: Literal["complete", "partial", "cancelled"] = "complete"
        if cancelled:
            status = "cancelled"
        elif self._tally.failures or any(reached(self.request.config, self._tally)):
            status = "partial"
        result = self._result(status)
        self._record(result, status, self._token(), "")
        self._tally.events.note_end(status, result)
        return result

    def end_badly(self, error: BaseException) -> None:
        """Tell how far it came, in the record and in the error; the error itself goes on."""
        try:
            result = self._result("partial", error)
            if isinstance(error, SyncError):
                error.result = result
            how = "failed" if isinstance(error, Exception) else "interrupted"
            how = how if self._started else "refused"
            self._tally.events.note_end(how, result)
            looked = self.request.lock.used
            token = "" if looked else self._repository.token
            told = f"{type(error).__name__}: {error}".rstrip(": ")[:MAX_ERROR_CHARS]
            self._record(result, how, token, told)
        except SyncError as second:
            logger.warning("the run's end could not be recorded: %s", type(second).__name__)

    def _token(self) -> str:
        """The store's content that the manifest's knowledge is good for; "" to look next time."""
        lock = self.request.lock
        if not lock.used:
            return self._repository.token
        # What others wrote between two of our holds was not looked at.
        return lock.token if lock.undisturbed else ""

    def _record(self, result: SyncResult, status: str, token: str, error: str) -> None:
        self.request.deadline.listen(None)
        self._manifest.end_run(
            *self._who,
            status,
            result.model_dump_json(exclude={"skipped", "encodings", "redactions"}),
            token,
            progress=as_json(self._now()),
            error=error,
        )

    def _result(
        self,
        status: Literal["complete", "partial", "cancelled"],
        error: BaseException | None = None,
    ) -> SyncResult:
        request = self.request
        identity = request.embedder.identity
        limits = list(reached(request.config, self._tally, error))
        for limit in limits:
            self._tally.events.emit("limit.reached", limit=limit.name, value=limit.value)
        return self._tally.result(
            status,
            repository=request.key.name,
            path=request.location,
            collection=request.key.collection,
            total_chunks=self._manifest.count_rows(self._repository.id),
            model=ModelInfo(
                name=identity.name,
                dimension=request.embedder.dimension
                or self._manifest.dimension(identity.fingerprint),
                fingerprint=identity.fingerprint,
            ),
            source=self._source,
            config=request.config.fingerprint,
            limits=[limit.name for limit in limits],
            warnings=[*self._files.warnings, *dict.fromkeys(limit.warning for limit in limits)],
            lock=request.lock.stats(),
            retries=request.store.retries,
        )
