"""Cuts the work on files into batches that each hold the store lock only shortly.

A batch may hold parts of many files, and a large file spans many batches. What matters is the order
within a file: new rows first, then moved ones, then the removal of stale rows, then the note that
the file is done. So a file stays findable at every moment, and a kill in between leaves too many
rows, never too few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
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
    """Some row operations; each entry is tagged with the path of the work it belongs to."""

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

    def put_off(self, texts: Collection[bytes], paths: set[str]) -> Batch:
        """This batch less the rows of `texts`, whose files are `paths` and have to wait.

        Their other rows are written, so that the next run finds them; their old rows stay.
        """
        if not paths:
            return self
        rest = self.without(paths)
        rest.writes = [entry for entry in self.writes if entry[1].text_hash not in texts]
        return rest


# Moving or deleting a row costs Chroma a third of writing one, and each call 20 ms whatever it
# does: counted alike, the rename of a folder would make twice the calls.
PER_WRITE = 4
MAX_OPERATIONS = 5000  # Chroma takes 5 461 at once

# Finishing files costs no store time, but they must not pile up without bound either.
MAX_FINISHED = 1000


def batches(works: Iterable[FileWork], size: int) -> Iterator[Batch]:
    """Cut `works` into batches, lazily and in order.

    Each has at most `size` writes, and at most `PER_WRITE` times as many row operations in all.
    """
    most = min(PER_WRITE * size, MAX_OPERATIONS)
    batch = Batch()
    for work in works:
        for entries, entry in _operations(work):
            getattr(batch, entries).append(entry)
            if len(batch.writes) >= size or batch.operations >= most:
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
