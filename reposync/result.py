"""What a sync says afterwards: `SyncResult`, `SyncPlan` and `SyncProgress`.

All of it is frozen and, but for `SyncProgress`, round-trips through JSON, so that a job queue can
carry it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from reposync.errors import SyncError
from reposync.records import ActionKind, SkipReason
from reposync.report import Report, Tabular
from reposync.words import count, counts, duration, one_line, printable

if TYPE_CHECKING:
    from reposync.display import View

Stage = Literal["scan", "plan", "chunk", "embed", "commit"]


class FileCounts(Report):
    """Files by what became of them; `scanned` is the sum of all but `deleted`."""

    scanned: int = 0
    added: int = 0
    updated: int = 0
    renamed: int = 0
    deleted: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0


class ChunkCounts(Report):
    """Chunks, counted from what the store accepted.

    Attributes:
        total: now in the collection for this repository.
        added: written by this run.
        deleted: removed by this run.
        reused: written with a vector that this run did not compute.
        embedded: texts that this run computed a vector for.
    """

    total: int = 0
    added: int = 0
    deleted: int = 0
    reused: int = 0
    embedded: int = 0


class FileFailure(Report):
    """One file that could not be brought in step; what was indexed of it is still there."""

    path: str
    stage: Literal["scan", "chunk", "embed", "commit"]
    error: str
    message: str
    attempts: int = 1

    def __str__(self) -> str:
        return f"{one_line(self.path)}: {self.stage}: {one_line(self.message)}"


class SkippedFile(Report):
    """One file that belongs to the repository and is not in the index, and why."""

    path: str
    reason: SkipReason

    def __str__(self) -> str:
        return f"{one_line(self.path)}: {self.reason}"


class RedactedSecret(Report):
    """Where a secret was found, and of what kind; the secret itself is nowhere in a result.

    It was taken out of the text that is indexed, or the file is skipped as "secrets".
    """

    path: str
    line: int
    kind: str


class StageSeconds(Report):
    """Wall-clock seconds spent in each stage."""

    scan: float = 0.0
    plan: float = 0.0
    chunk: float = 0.0
    embed: float = 0.0
    commit: float = 0.0


class StoreUse(Report):
    """How the store and the embedding function were used.

    Attributes:
        batches: written.
        retries: calls into the store that were tried again.
        embedding_retries: calls of the embedding function that were tried again.
        lock_acquisitions: how often the store lock was taken.
        lock_contended: how often it was not free at once.
        refreshes: how often somebody else had written meanwhile.
        longest_wait_seconds: for the store lock.
        longest_hold_seconds: of the store lock while writing, without loading the index.
        longest_reload_seconds: how long the index took to load, at first or after somebody else's
            write; the lock was held for that, too.
    """

    batches: int = 0
    retries: int = 0
    embedding_retries: int = 0
    lock_acquisitions: int = 0
    lock_contended: int = 0
    refreshes: int = 0
    longest_wait_seconds: float = 0.0
    longest_hold_seconds: float = 0.0
    longest_reload_seconds: float = 0.0


class ModelInfo(Report):
    """The embedding model; `dimension` is None until a vector of an unknown model was seen."""

    name: str
    dimension: int | None
    fingerprint: str


class SourceInfo(Report):
    """Which commit the files are of.

    Attributes:
        commit: the commit that was read, or that the work tree stood on.
        branch: of the work tree; None on a detached head, and where a commit was read.
        dirty: the work tree differed from the commit.
        ref: what the caller named the commit by; None if the work tree was read.
    """

    commit: str | None
    branch: str | None
    dirty: bool | None
    ref: str | None = None


class SyncResult(Tabular):
    """What one `sync_repository` did; complete when it is returned.

    `failures`, `skipped`, `encodings` (of files that are not UTF-8, by path) and `redactions` are
    those of the whole repository, whether or not this run read the file. `to_dataframe` gives a row
    (`FileNote`) for each file that one of them is about.

    Attributes:
        limits: the settings of `SyncConfig` that kept the run from doing all: "max_embeds", say.
        warnings: what the run met with that is no fault of its files, and that you should know.
        config: stands for the settings that decide what is indexed, see `SyncConfig.fingerprint`.
    """

    repository: str
    path: str
    collection: str
    run_id: str
    status: Literal["complete", "partial", "cancelled"]
    started_at: datetime
    finished_at: datetime
    duration_seconds: float
    resumed: bool = False
    files: FileCounts = FileCounts()
    chunks: ChunkCounts = ChunkCounts()
    failures: tuple[FileFailure, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()
    limits: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    encodings: dict[str, str] = Field(default_factory=dict)
    redactions: tuple[RedactedSecret, ...] = ()
    stages: StageSeconds = StageSeconds()
    store: StoreUse = StoreUse()
    model: ModelInfo
    source: SourceInfo | None = None
    config: str = ""

    @property
    def ok(self) -> bool:
        """True if the collection now holds exactly what is in the repository."""
        return self.status == "complete"

    def raise_for_failures(self) -> None:
        """Raise a `SyncError` that carries this result unless `ok`."""
        if self.ok:
            return
        causes = [f"{failure.path}: {failure.message}" for failure in self.failures[:3]]
        more = len(self.failures) - len(causes)
        error = SyncError(
            f"{self.repository}: the sync ended {self.status}"
            + (f" with {len(self.failures)} failed files: {'; '.join(causes)}" if causes else "")
            + (f"; and {more} more" if more > 0 else "")
            + "".join(f"; {warning.rstrip('.')}" for warning in self.warnings)
            + ". Call sync_repository again to finish; what succeeded is kept."
        )
        error.result = self
        raise error

    def _text_notes(self) -> str:
        """What is special about the texts, in one line; "" if nothing is."""
        notes = []
        if self.encodings:
            kinds = ", ".join(sorted(set(self.encodings.values())))
            notes.append(f"{count(len(self.encodings), 'file')} in {kinds}")
        if self.redactions:
            files = len({one.path for one in self.redactions})
            secrets = count(len(self.redactions), "secret")
            notes.append(f"{secrets} found in {count(files, 'file')} and not indexed")
        return "; ".join(notes)

    def file_counts(self) -> dict[str, int]:
        """How many files met with each outcome, in the words that are shown."""
        return self.files.model_dump(exclude={"scanned"})

    def chunk_counts(self) -> dict[str, int]:
        """What was done to chunks, in the words that are shown."""
        chunks = self.chunks
        return {
            "added": chunks.added,
            "deleted": chunks.deleted,
            "embedded": chunks.embedded,
            "from the cache": chunks.reused,
        }

    def __str__(self) -> str:
        lines = [
            f"{self.repository}: {self.status} in {duration(self.duration_seconds)}"
            + (" (took up an interrupted run)" if self.resumed else ""),
            f"  collection  {self.collection}, {count(self.chunks.total, 'chunk')}",
            f"  files       {counts(self.file_counts())}",
            f"  chunks      {counts(self.chunk_counts())}",
            *([f"  text        {text}"] if (text := self._text_notes()) else ()),
            *(f"  warning     {printable(warning)}" for warning in self.warnings),
            *(f"  failed      {failure}" for failure in self.failures[:10]),
        ]
        if len(self.failures) > 10:
            lines.append(f"  ...         and {len(self.failures) - 10} more, see .failures")
        return "\n".join(lines)

    def _view(self) -> View:
        from reposync import display as d

        total = self.chunks.total
        source = self.source.model_dump() if self.source else {}
        reasons = Counter[str](one.reason for one in self.skipped)
        rows = {
            "collection": d.join(d.code(self.collection), ", ", count(total, "chunk")),
            "files": d.amounts(self.file_counts()),
            "chunks": d.amounts(self.chunk_counts()),
            "skipped": d.amounts(reasons) if reasons else "",
            "text": self._text_notes(),
            "limits": self.limits,
            "time": d.bar(dict(self.stages)),
        }
        details = {
            "path": self.path,
            **source,
            "model": self.model.name,
            "dimension": self.model.dimension,
            "started_at": self.started_at,
            "run_id": self.run_id,
            **dict(self.store),
        }
        parts: list[d.Part] = [
            d.Rows(rows),
            d.Notes(self.warnings),
            d.table_of("failures", self.failures, "failed files"),
            d.table_of("skipped", self.skipped, "skipped files", unfolded=False),
            d.table_of("redactions", self.redactions, "secrets", unfolded=False),
            d.Folded("details", [d.Rows(details)]),
        ]
        return d.View(d.head_of(self), d.tone_of(self.status), parts)

    def _records(self) -> tuple[type[BaseModel], Sequence[BaseModel]]:
        return FileNote, file_notes(self)


class PlannedAction(Report):
    """What a sync would do about one file, and why."""

    path: str
    action: ActionKind
    reason: str
    old_path: str | None = None

    def __str__(self) -> str:
        source = f"{one_line(self.old_path)} -> " if self.old_path else ""
        return f"{self.action:<7} {source}{one_line(self.path)} ({one_line(self.reason)})"

    def _row(self) -> dict[str, object]:
        cells = {"action": self.action, "was": self.old_path, "path": self.path}
        return {**cells, "reason": self.reason}


class SyncPlan(Tabular):
    """What `sync_repository` would do, file by file; made without writing anything.

    `to_dataframe` gives a row for each of `actions`.

    Attributes:
        actions: one for each file that would be touched, skipped or could not be read; files that
            stay as they are count in `files.unchanged` only.
        embeds: how many texts it would compute a vector for: at most so many if the local state was
            lost, about so many with ``cache_vectors=False``, else exactly so many. None if they
            were not counted.
        refused: why the sync would be refused (see `SyncConfig.max_delete_fraction`), else None.
    """

    repository: str
    path: str
    collection: str
    files: FileCounts
    actions: tuple[PlannedAction, ...]
    embeds: int | None = None
    refused: str | None = None

    @property
    def empty(self) -> bool:
        """True if a sync would change nothing."""
        return all(action.action in ("skip", "fail", "forget") for action in self.actions)

    def _to_do(self) -> list[PlannedAction]:
        return [one for one in self.actions if one.action not in ("skip", "forget")]

    def _head(self) -> str:
        files = count(len(self._to_do()), "file")
        embeds = "" if self.embeds is None else f", {count(self.embeds, 'text')} to embed"
        return f"{self.repository}: {files} to do{embeds}, nothing written"

    def __str__(self) -> str:
        to_do = self._to_do()
        lines = [self._head(), *(f"  {one}" for one in to_do[:50])]
        if len(to_do) > 50:
            lines.append(f"  ... and {len(to_do) - 50} more, see .actions")
        if self.refused:
            lines.append(f"  would be refused: {self.refused}")
        return "\n".join(lines)

    def _view(self) -> View:
        from reposync import display as d

        to_do = self._to_do()
        left_alone = tuple(one for one in self.actions if one not in to_do)
        rows = {
            "collection": self.collection,
            "files": d.amounts(self.files.model_dump(exclude={"scanned"})),
            "path": self.path,
        }
        parts: list[d.Part] = [
            d.Rows(rows),
            d.Notes([self.refused] if self.refused else [], "bad", "would be refused"),
            d.table_of("actions", tuple(to_do), "to do"),
            d.table_of("actions", left_alone, "left alone", unfolded=False),
        ]
        return d.View(self._head(), "bad" if self.refused else "plain", parts)

    def _records(self) -> tuple[type[BaseModel], Sequence[BaseModel]]:
        return PlannedAction, self.actions


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """Where a running sync stands; handed to the `progress` callable in the calling thread.

    Attributes:
        chunks_total: how many chunks will be written, `chunks_written` included. An estimate by the
            sizes of files until all of them are cut.
        chunks_per_second: written at the present pace; 0 before the first batch is done.
        remaining_seconds: an estimate that never grows; None before the first batch is done.
    """

    stage: Stage
    files_done: int
    files_total: int
    chunks_written: int
    texts_embedded: int
    chunks_total: int = 0
    chunks_per_second: float = 0.0
    remaining_seconds: float | None = None


def count_files(kinds: Sequence[str], deleted: int) -> FileCounts:
    """Count outcomes ("added", "skipped", ...) so that `scanned` is the sum of all but deleted."""
    names = ("added", "updated", "renamed", "unchanged", "skipped", "failed")
    counts = {name: kinds.count(name) for name in names}
    return FileCounts(scanned=sum(counts.values()), deleted=deleted, **counts)


class FileNote(Report):
    """What a sync's result has to say of one file: a row of `SyncResult.to_dataframe`.

    Attributes:
        outcome: "failed" and "skipped" files are not in step, or not in the index; "indexed" ones
            are, and are told of because of their encoding, or of secrets that were taken out.
        reason: why it was skipped, or the type of the error.
        stage, message, attempts: of a failure.
        encoding: if it is not UTF-8.
        secrets: how many were found in it.
    """

    path: str
    outcome: Literal["failed", "skipped", "indexed"]
    reason: str | None = None
    stage: str | None = None
    message: str | None = None
    attempts: int | None = None
    encoding: str | None = None
    secrets: int = 0


def file_notes(result: SyncResult) -> list[FileNote]:
    """One for each file that a result names, by path."""
    secrets = Counter(one.path for one in result.redactions)
    notes: dict[str, dict[str, object]] = {
        path: {"outcome": "indexed"} for path in {*secrets, *result.encodings}
    }
    notes |= {one.path: {"outcome": "skipped", "reason": one.reason} for one in result.skipped}
    for one in result.failures:
        notes[one.path] = {
            "outcome": "failed",
            "reason": one.error,
            "stage": one.stage,
            "message": one.message,
            "attempts": one.attempts,
        }
    return [
        FileNote.model_validate(
            {
                "path": path,
                "encoding": result.encodings.get(path),
                "secrets": secrets[path],
                **notes[path],
            }
        )
        for path in sorted(notes)
    ]
