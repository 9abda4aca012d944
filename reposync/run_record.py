"""What is recorded of a run: that it began to write, and how it ended."""

from __future__ import annotations

import logging
from typing import Literal

from reposync.errors import SyncError
from reposync.manifest import Manifest, RepositoryRecord
from reposync.request import Request
from reposync.result import ModelInfo, SourceInfo, SyncResult
from reposync.scan import Source
from reposync.tally import Tally

logger = logging.getLogger(__name__)


class RunRecord:
    """The record of one run, in the manifest and in its `SyncResult`."""

    def __init__(
        self,
        request: Request,
        source: Source,
        manifest: Manifest,
        record: RepositoryRecord,
        tally: Tally,
    ) -> None:
        self._request = request
        self._files = source
        self._manifest = manifest
        self._repository = record
        self._tally = tally
        self._started = False
        self._source: SourceInfo | None = None
        tally.resumed = manifest.was_cut_off(record.id)

    def note_source(self) -> None:
        """Note which commit the files are of, as it is when the scan begins."""
        found = self._files.state()
        if found is not None:
            self._source = SourceInfo(
                commit=found.commit,
                branch=found.branch,
                dirty=found.dirty,
                ref=self._request.origin.ref,
            )

    def start(self) -> None:
        """The first batch is about to be written: if the run does not end now, it was cut off."""
        if not self._started:
            started_at = self._tally.started_at.isoformat()
            self._manifest.start_run(self._repository.id, self._tally.run_id, started_at)
            self._started = True

    def end(self, *, cancelled: bool) -> SyncResult:
        """The run came to its end."""
        if self._tally.embedded:
            self._manifest.evict(self._request.config.max_cache_bytes)
        status: Literal["complete", "partial", "cancelled"] = "complete"
        if cancelled:
            status = "cancelled"
        elif self._tally.failures or "over_limit" in self._tally.skipped.values():
            status = "partial"
        result = self._result(status)
        self._record(result, status, self._token())
        return result

    def end_badly(self, error: BaseException) -> None:
        """Tell how far it came, in the record and in the error; the error itself goes on."""
        try:
            result = self._result("partial")
            if isinstance(error, SyncError):
                error.result = result
            how = "failed" if isinstance(error, Exception) else "interrupted"
            looked = self._request.lock.used
            token = "" if looked else self._repository.token
            self._record(result, how if self._started else "refused", token)
        except SyncError as second:
            logger.warning("the run's end could not be recorded: %s", second)

    def _token(self) -> str:
        """The store's content that the manifest's knowledge is good for; "" to look next time."""
        lock = self._request.lock
        if not lock.used:
            return self._repository.token
        # What others wrote between two of our holds was not looked at.
        return lock.token if lock.undisturbed else ""

    def _record(self, result: SyncResult, status: str, token: str) -> None:
        self._manifest.end_run(
            self._repository.id,
            self._tally.run_id,
            self._tally.started_at.isoformat(),
            status,
            result.model_dump_json(exclude={"skipped", "encodings", "redactions"}),
            token,
        )

    def _warnings(self) -> list[str]:
        warnings = list(self._files.warnings)
        beyond = sum(reason == "over_limit" for reason in self._tally.skipped.values())
        if beyond:
            config = self._request.config
            limits = [
                f"{name}={value}"
                for name in ("max_files", "max_total_bytes")
                if (value := getattr(config, name)) is not None
            ]
            warnings.append(
                f"{beyond} files lie beyond the limit ({', '.join(limits)}) and are not indexed."
                " Raise it and sync again to go on."
            )
        return warnings

    def _result(self, status: Literal["complete", "partial", "cancelled"]) -> SyncResult:
        request = self._request
        identity = request.embedder.identity
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
            warnings=self._warnings(),
            lock=request.lock.stats(),
            retries=request.store.retries,
        )
