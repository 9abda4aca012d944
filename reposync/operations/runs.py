"""One run as it is remembered: what it did, or how far it came and why it ended."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Literal

from reposync.manifest import RunRow
from reposync.progress import from_json
from reposync.report import Report
from reposync.result import ChunkCounts, FileCounts
from reposync.words import count, counts, duration, one_line

RunStatus = Literal[
    "running", "complete", "partial", "cancelled", "failed", "interrupted", "refused"
]


class RunEntry(Report):
    """One run of `reposync.sync_repository`.

    Attributes:
        path: the folder or URL that was synced.
        status: as in `SyncResult.status`; or "running"; "failed": an error ended it; "refused":
            likewise, before it wrote anything; "interrupted": it was cut off.
        heard_at: when it last said that it goes on; of one that was cut off, about when that was.
        files, chunks: as in `SyncResult`; of one that was cut off, what it told last.
        files_done, files_total: how far it came.
        model: the embedding model's fingerprint.
        config: stands for the settings, see `SyncConfig.fingerprint`.
        commit, branch, ref: of the files, if they are git's.
        dirty: the work tree differed from the commit.
        error: what ended it.
    """

    run_id: str
    repository: str
    collection: str
    path: str = ""
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    heard_at: datetime | None = None
    duration_seconds: float | None = None
    files: FileCounts = FileCounts()
    chunks: ChunkCounts = ChunkCounts()
    files_done: int = 0
    files_total: int = 0
    model: str = ""
    config: str = ""
    commit: str | None = None
    branch: str | None = None
    ref: str | None = None
    dirty: bool | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def ok(self) -> bool:
        """True if it made the collection exact."""
        return self.status == "complete"

    def __str__(self) -> str:
        parts = [f"{self.started_at:%Y-%m-%d %H:%M:%S} {self.repository}: {self.status}"]
        if self.duration_seconds is not None:
            parts.append(f" in {duration(self.duration_seconds)}")
        if self.commit:
            parts.append(f", commit {self.commit[:12]}{' (dirty)' if self.dirty else ''}")
        if self.status in ("complete", "partial"):
            files = self.files
            parts.append(
                f", files +{files.added} ~{files.updated + files.renamed} -{files.deleted}"
                f" !{files.failed}, {count(self.chunks.total, 'chunk')}"
            )
        else:
            parts.append(f", {self.files_done} of {self.files_total} files")
        if self.error:
            parts.append(f": {one_line(self.error)}")
        return "".join(parts)

    def _row(self) -> dict[str, object]:
        return {"repository": self.repository, **self.cells()}

    def cells(self) -> dict[str, object]:
        """What is told of it in a table of one repository's runs, by column."""
        files = self.files.model_dump(exclude={"scanned", "unchanged"})
        done = f"{self.files_done} of {self.files_total}"
        return {
            "started_at": self.started_at,
            "status": self.status,
            "duration_seconds": self.duration_seconds,
            "files": counts(files) if self.status in ("complete", "partial") else done,
            "chunks": self.chunks.total or None,
            "embedded": self.chunks.embedded,
            "commit": f"{self.commit[:8]}{' (dirty)' if self.dirty else ''}" if self.commit else "",
            "note": "; ".join(filter(None, (self.error, *self.warnings))),
        }


def entry_of(
    row: RunRow, *, repository: str, collection: str, path: str, under_way: bool
) -> RunEntry:
    """A noted run, told.

    Args:
        row: what is noted.
        repository, collection, path: of the repository that it was a run of.
        under_way: a sync of that repository runs now.
    """
    result: dict[str, Any] = json.loads(row.result) if row.result else {}
    progress = from_json(row.progress)
    source = result.get("source") or {}
    status: Any = row.status
    if status == "running" and not under_way:
        status = "interrupted"
    chunks = ChunkCounts()
    if progress is not None:
        chunks = ChunkCounts(added=progress.chunks_written, embedded=progress.texts_embedded)
    return RunEntry(
        run_id=row.run_id,
        repository=repository,
        collection=collection,
        path=result.get("path", path),
        status=status,
        started_at=datetime.fromisoformat(row.started_at),
        finished_at=result.get("finished_at"),
        heard_at=datetime.fromtimestamp(row.heartbeat, timezone.utc) if row.heartbeat else None,
        duration_seconds=result.get("duration_seconds"),
        files=FileCounts(**result.get("files", {})),
        chunks=ChunkCounts(**result["chunks"]) if "chunks" in result else chunks,
        files_done=progress.files_done if progress else 0,
        files_total=progress.files_total if progress else 0,
        model=result.get("model", {}).get("fingerprint", ""),
        config=result.get("config", ""),
        commit=source.get("commit"),
        branch=source.get("branch"),
        ref=source.get("ref"),
        dirty=source.get("dirty"),
        warnings=tuple(result.get("warnings", ())),
        error=row.error,
    )
