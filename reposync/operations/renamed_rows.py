"""The rows of a renamed repository, written again under its new name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import cast

from reposync.batch import FileWork, batches
from reposync.collection import Collection
from reposync.errors import IndexDamaged
from reposync.lock import ChromaLock
from reposync.manifest import RENAMED
from reposync.mend import cached_vectors
from reposync.opened import Opened
from reposync.operations.alone import BATCH_ROWS
from reposync.parts import parts
from reposync.records import Known
from reposync.rows import (
    FileRecord,
    Row,
    RowChanges,
    embedded_text,
    find_occurrence,
    make_id,
    row_digest,
    text_key,
)

Content = tuple[str, str, dict[str, object]]


def write_again(one: Opened, old: str, lock: ChromaLock) -> int:
    """Write the rows of `old` under their new name; how many they were."""
    import numpy as np

    with lock.hold(write=False):
        one.store.open()
        live = one.store.find(one.key.collection)
        if live is None:
            return 0
        left, there = set(live.ids(old)), set(live.ids(one.key.name))
    for batch in batches(_works(one, live, lock, left, there), BATCH_ROWS):
        one.store.require_room()
        # What cannot be vouched for is looked at by the next sync.
        batch.finished = [work for work in batch.finished if work.record is not None]
        rows = [row for _, row in batch.writes]
        vectors = cached_vectors(one.manifest, [(r.id, r.document, r.metadata) for r in rows])
        one.manifest.begin(one.record.id, one.record.model, batch, {}, RENAMED)
        with lock.hold():
            if rows:
                live.upsert(rows, np.stack([vectors[row.id] for row in rows]))
            if batch.deletes:
                live.delete([row_id for _, _, row_id in batch.deletes])
        one.manifest.finish(one.record.id, batch)
    return len(left)


def _works(
    one: Opened, live: Collection, lock: ChromaLock, left: Container[str], there: Container[str]
) -> Iterator[FileWork]:
    """What is to be done for each file, read a page of files at a time.

    Args:
        one, live, lock: the repository and its collection.
        left: the ids of rows under the old name.
        there: those under the new one; some may be from a call that was killed.
    """
    files = one.manifest.files(one.record.id)
    noted: dict[str, dict[str, bool]] = defaultdict(dict)
    for row_id, (path, stored) in one.manifest.all_rows(one.record.id).items():
        noted[path][row_id] = stored
    for paths in parts(noted, BATCH_ROWS, weigh=lambda path: len(noted[path])):
        wanted = [
            row_id
            for path in paths
            for row_id, stored in noted[path].items()
            if row_id in left or (row_id in there and not stored)
        ]
        rows = _read(one, live, lock, wanted, {path: len(noted[path]) for path in paths})
        for path in paths:
            file, found = files[path], rows.get(path, {})
            done = set(found).union(row_id for row_id in noted[path] if row_id in there)
            vouched = file.redo == RENAMED and file.content_hash and len(done) == file.chunks
            yield FileWork(
                path,
                "renamed",
                RowChanges(
                    writes=tuple(found.values()),
                    stale=tuple(row_id for row_id in noted[path] if row_id not in done),
                ),
                _record(file) if vouched else None,
            )


def _read(
    one: Opened,
    live: Collection,
    lock: ChromaLock,
    ids: Sequence[str],
    sizes: Mapping[str, int],
) -> dict[str, dict[str, Row]]:
    """Rows under their new name, by path and new id; their vectors are in the cache then."""
    rows: dict[str, dict[str, Row]] = defaultdict(dict)
    for page in parts(ids, BATCH_ROWS):
        with lock.hold(write=False):
            content = live.contents(page)
            _cache_all(one, live, content)
        for row_id, document, metadata in content:
            limit = sizes.get(str(metadata.get("path", "")), 0)
            row = _renamed(row_id, document, metadata, one.key.name, limit)
            rows[row.path][row.id] = row
    return rows


def _cache_all(one: Opened, live: Collection, content: Sequence[Content]) -> None:
    """Have the vectors of rows in the cache, if need be those that are stored."""
    cached = cached_vectors(one.manifest, content)
    missing = {row[0]: row for row in content if row[0] not in cached}
    found = live.readable_vectors(list(missing))
    if len(found) < len(missing):
        raise IndexDamaged(
            f"{len(missing) - len(found)} rows of {one.key.name!r} have no readable vector. Call"
            " repair_repository, and then this again."
        )
    one.manifest.keep_vectors(
        (str(metadata.get("model")), text_key(embedded_text(document, metadata)), found[row_id])
        for row_id, document, metadata in missing.values()
    )


def _renamed(
    row_id: str, document: str, metadata: Mapping[str, object], name: str, limit: int
) -> Row:
    """A row under its repository's new name; its id stays if it was none of ours."""
    text, path = embedded_text(document, metadata), str(metadata.get("path", ""))
    key, old = text_key(text), str(metadata.get("repository", ""))
    occurrence = find_occurrence(row_id, old, path, key, limit)
    new_id = row_id if occurrence is None else make_id(name, path, key, occurrence)
    now = cast("dict[str, str | int]", {**metadata, "repository": name})
    return Row(new_id, path, text, document, now, key, row_digest(document, now))


def _record(file: Known) -> FileRecord:
    return FileRecord(
        file.path,
        file.stat,
        file.content_hash,
        file.skip,
        file.chunks,
        file.rules,
        file.encoding,
        file.redactions,
    )
