"""How far a sync is, asked from any process; and the wish that it end."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from reposync.live import Sight, look
from reposync.manifest import Manifest, RepositoryKey
from reposync.operations.looking import looked_up
from reposync.progress import from_json
from reposync.report import Report
from reposync.result import Stage
from reposync.state import open_state
from reposync.words import about

if TYPE_CHECKING:
    from reposync.display import View


FRESH_SECONDS = 5.0


class RunProgress(Report):
    """How far the sync of a repository is; if none is under way, how far the last one came.

    Attributes:
        running: a sync is under way.
        holder: the process that syncs, in words.
        run_id: None if none ever ran, or the one that is under way did not tell of itself yet.
        stage: what it does now.
        chunks_done: written so far.
        chunks_total: how many chunks it will write in all, `chunks_done` included; estimated by the
            sizes of files until all of them are cut.
        chunks_per_second: written at the present pace; 0 before the first batch is done.
        remaining_seconds: an estimate, as of the heartbeat, that never grows; None before the first
            batch is done.
        elapsed_seconds: from its start to the heartbeat.
        heartbeat_age_seconds: since it last told of itself. It does so every half second, except
            while the embedding function or Chroma is at work on one batch.
        cancel_requested: it was asked to end, and will do so before the next batch.
        ended: how the last run ended ("complete", ...); None while one is under way.
    """

    repository: str
    collection: str | None = None
    running: bool = False
    holder: str = ""
    run_id: str | None = None
    started_at: datetime | None = None
    stage: Stage | None = None
    files_done: int = 0
    files_total: int = 0
    chunks_done: int = 0
    chunks_total: int = 0
    texts_embedded: int = 0
    chunks_per_second: float = 0.0
    remaining_seconds: float | None = None
    elapsed_seconds: float = 0.0
    heartbeat_age_seconds: float | None = None
    cancel_requested: bool = False
    ended: str | None = None

    @property
    def ok(self) -> bool:
        """False if the last run was cut off or failed, or none ever ran."""
        return self.running or self.ended in ("complete", "partial")

    @property
    def fraction(self) -> float:
        """How much of the time is over, from 0 to 1; it never falls."""
        if self.remaining_seconds is None:
            return 0.0
        whole = self.elapsed_seconds + self.remaining_seconds
        return self.elapsed_seconds / whole if whole else 1.0

    def _view(self) -> View:
        from reposync import display as d

        left, heard = self.remaining_seconds, self.heartbeat_age_seconds
        rows = {
            "done": d.meter(self.fraction, f"{self.fraction:.0%} of the time"),
            "files": d.of(self.files_done, self.files_total),
            "chunks": d.of(self.chunks_done, self.chunks_total),
            "embedded": d.amounts({"texts": self.texts_embedded}),
            "pace": f"{self.chunks_per_second:.0f} chunks/s" if self.chunks_per_second else "",
            "elapsed": about(self.elapsed_seconds),
            "left": f"about {about(left)}" if self.running and left is not None else "",
            "heard": f"{about(heard)} ago" if heard is not None else "",
            "by": self.holder if self.running else "",
            "asked to end": self.cancel_requested or "",
        }
        tone = "busy" if self.running else d.tone_for(self)
        parts: list[d.Part] = [d.Rows(rows)] if self.run_id else []
        return d.View(self._head(), "plain" if self.run_id is None else tone, parts)

    def _head(self) -> str:
        if self.run_id is None:
            state = "a sync begins" if self.running else "no sync is known"
        else:
            state = str(self.stage if self.running else self.ended)
        return f"{self.repository}: {state}"

    def __str__(self) -> str:
        if self.run_id is None:
            return self._head()
        parts = [
            self._head(),
            f"{self.files_done} of {self.files_total} files",
            f"{self.chunks_done} of {'about ' if self.running else ''}{self.chunks_total} chunks",
        ]
        if self.chunks_per_second:
            parts.append(f"{self.chunks_per_second:.1f} chunks/s")
        if self.running and self.remaining_seconds is not None:
            parts.append(f"about {about(self.remaining_seconds)} left")
        age = self.heartbeat_age_seconds
        if age is not None and (not self.running or age > FRESH_SECONDS):
            parts.append(f"heard {about(age)} ago")
        if self.running and self.holder:
            parts.append(self.holder)
        if self.cancel_requested:
            parts.append("asked to end")
        return ", ".join(parts)


class CancelRequest(Report):
    """What became of the wish that a sync end.

    Attributes:
        requested: a sync is under way, and was told.
        progress: how far it was.
    """

    repository: str
    requested: bool
    progress: RunProgress

    @property
    def ok(self) -> bool:
        """True if there is a sync that will end."""
        return self.requested

    def __str__(self) -> str:
        if not self.requested:
            return f"{self.repository}: no sync is under way"
        return f"{self.repository}: the sync is asked to end ({self.progress})"


def get_progress(name: str, *, store: object = None, collection: str | None = None) -> RunProgress:
    """How far the sync of a repository is, whichever process runs it.

    It reads the local state only: neither the store's lock nor Chroma is touched, so poll it as
    often as you like.

    >>> from reposync import get_progress
    >>> now = get_progress("project", store="chroma")
    >>> now.running, now.ended, now.files_done, now.files_total
    (False, 'complete', 3, 3)

    Args:
        name: the repository's name.
        store: as for `reposync.sync_repository`; it need not be there yet.
        collection: needed only if repositories of that name are in several.

    Raises:
        ConfigError: they are, and `collection` does not say which is meant.
        ManifestError: the local state cannot be read.
    """
    with looked_up(store, name, collection) as (place, found):
        if found is None:
            return RunProgress(repository=name)
        sight = look(place, found.manifest, found.key, found.record.id)
        return progress_of(sight, found.manifest, found.key, found.record.id)


def request_cancel(
    name: str, *, store: object = None, collection: str | None = None
) -> CancelRequest:
    """Ask the sync of a repository to end, whichever process runs it.

    It ends before its next batch with status "cancelled"; what was written stays, and the next sync
    goes on from there. A sync that begins later is not concerned. Poll `get_progress`, or
    sync again, to wait for its end.

    >>> from reposync import request_cancel
    >>> print(request_cancel("project", store="chroma"))
    project: no sync is under way

    Args:
        name, store, collection: as for `get_progress`.

    Raises:
        ConfigError: repositories of that name are in several collections.
        ManifestError: the local state cannot be written.
    """
    with looked_up(store, name, collection) as (place, found):
        if found is None:
            return CancelRequest(
                repository=name, requested=False, progress=RunProgress(repository=name)
            )
        key, repository = found.key, found.record.id
        sight = look(place, found.manifest, key, repository)
        if sight.running:
            with open_state(place) as manifest:
                manifest.ask_to_cancel(repository)
        progress = progress_of(sight, found.manifest, key, repository)
    return CancelRequest(repository=name, requested=sight.running, progress=progress)


def progress_of(
    sight: Sight, manifest: Manifest, key: RepositoryKey, repository: int
) -> RunProgress:
    """How far the sync of a repository is, or how far the last one came."""
    asked_at = manifest.cancel_asked_at(repository)
    fields: dict[str, object] = {
        "repository": key.name,
        "collection": key.collection,
        "running": sight.running,
        "holder": str(sight.holder or ""),
        "cancel_requested": sight.running and 0 < asked_at >= sight.since,
    }
    run = sight.run
    if run is not None:
        started_at = datetime.fromisoformat(run.started_at)
        heard_at = run.heartbeat or started_at.timestamp()
        fields |= {
            "run_id": run.run_id,
            "started_at": started_at,
            "elapsed_seconds": max(0.0, heard_at - started_at.timestamp()),
            "heartbeat_age_seconds": max(0.0, time.time() - heard_at),
        }
        if not sight.running:
            fields["ended"] = "interrupted" if run.status == "running" else run.status
        if (told := from_json(run.progress)) is not None:
            fields |= asdict(told)
            fields["chunks_done"] = fields.pop("chunks_written")
    return RunProgress.model_validate(fields)
