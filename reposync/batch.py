"""Cuts the work on files into batches that each hold the store lock only shortly.

A batch may hold parts of many files, and a large file spans many batches. What matters is the order
within a file: new rows first, then moved ones, then the removal of stale rows, then the note that
the file is done. So a file stays findable at every moment, and a kill in between leaves too many
rows, never too few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from reposync.rows import FileRecord, Row, RowChanges


@dataclass(frozen=True, slots=True)
class FileWork:
    """All that is to be done for one action.

    Attributes:
        path: the file that the work is for.
        outcome: how the file counts in the result once the work is done ("added", ...).
        changes: its rows to write, move and remove.
        record: what to note when its rows are in; None if the file leaves the manifest.
        old_path: for a rename, the path whose rows go once the new ones are in.
        old_stale: the ids of those rows.
        deleted: True if this takes a file out of the index.
    """

    path: str
    outcome: str
    changes: RowChanges = field(default=RowChanges(), repr=False)
    record: FileRecord | None = None
    old_path: str | None = None
    old_stale: tuple[str, ...] = field(default=(), repr=False)
    deleted: bool = False


@dataclass(slots=True)
class Batch:
    """Up to `size` row operations; each entry is tagged with the path of the work it belongs to."""

    writes: list[tuple[str, Row]] = field(default_factory=list)
    moves: list[tuple[str, Row]] = field(default_factory=list)
    deletes: list[tuple[str, str, str]] = field(default_factory=list)
    """(work's path, path that the row belongs to, id)"""
    finished: list[FileWork] = field(default_factory=list)

    @property
    def operations(self) -> int:
        """How many rows the store is asked to change."""
        return len(self.writes) + len(self.moves) + len(self.deletes)

    @property
    def paths(self) -> set[str]:
        """Every file whose rows this batch changes."""
        return {
            *(row.path for _, row in self.writes),
            *(row.path for _, row in self.moves),
            *(path for _, path, _ in self.deletes),
        }

    def without(self, failed: set[str]) -> Batch:
        """This batch less the work on files that failed: their old rows must stay."""
        if not failed:
            return self
        return Batch(
            [entry for entry in self.writes if entry[0] not in failed],
            [entry for entry in self.moves if entry[0] not in failed],
            [entry for entry in self.deletes if entry[0] not in failed],
            [work for work in self.finished if work.path not in failed],
        )


# Finishing files costs no store time, but they must not pile up without bound either.
MAX_FINISHED = 1000


def batches(works: Iterable[FileWork], size: int) -> Iterator[Batch]:
    """Cut `works` into batches of at most `size` row operations, lazily and in order."""
    batch = Batch()
    for work in works:
        for entries, entry in _operations(work):
            getattr(batch, entries).append(entry)
            if batch.operations >= size:
                yield batch
                batch = Batch()
        batch.finished.append(work)
        if len(batch.finished) >= MAX_FINISHED:
            yield batch
            batch = Batch()
    if batch.operations or batch.finished:
        yield batch


def _operations(work: FileWork) -> Iterator[tuple[str, tuple[object, ...]]]:
    """The row operations of one file in the order that never leaves a gap."""
    for row in work.changes.writes:
        yield "writes", (work.path, row)
    for row in work.changes.moves:
        yield "moves", (work.path, row)
    for row_id in work.changes.stale:
        yield "deletes", (work.path, work.path, row_id)
    for row_id in work.old_stale:
        yield "deletes", (work.path, work.old_path, row_id)
