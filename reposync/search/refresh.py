"""Bringing an index in step with the manifest: only files whose rows changed are read again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reposync.manifest import Manifest
from reposync.parts import parts
from reposync.search.index import IndexedChunk, IndexUnusable, SearchIndex
from reposync.search.places import Place
from reposync.search.rows import Rows
from reposync.search.words import Words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SLICE_ROWS = 500
"""Rows that are read from the store at once, and written in one transaction."""

SETTLED_SECONDS = 0.1
"""A file whose time is younger may change again without showing it: clocks of files are coarse."""


class NotedRow(NamedTuple):
    """A row as the manifest notes it."""

    id: str
    text_hash: bytes


class NotedFile(NamedTuple):
    """A file as the manifest notes it; `stamp` changes when its rows do."""

    path: str
    stamp: bytes
    rows: list[NotedRow]


def state_of(manifest: Manifest, path: Path | None) -> str:
    """What changes whenever the manifest does, found without reading it; "" if that is unsure.

    Args:
        manifest: the manifest.
        path: its file; None if it is in memory.
    """
    if path is None:
        return f"changes {manifest.changes}"
    parts = []
    for part in (path, path.with_name(f"{path.name}-wal")):
        try:
            found = os.stat(part)
        except FileNotFoundError:
            continue
        if found.st_size:  # a log that is empty says nothing, as one that is not there
            if abs(time.time() - found.st_mtime) < SETTLED_SECONDS:
                return ""
            parts.append(f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}")
    return " ".join(parts)


def refresh(
    index: SearchIndex, manifest: Manifest, places: Sequence[Place], rows: Rows, state: str
) -> None:
    """Bring what an index holds of `places` in step with the manifest.

    Args:
        index: the index.
        manifest: the manifest.
        places: the repositories that are searched.
        rows: reads the collections.
        state: see `state_of`, as it was before anything else was read from the manifest.

    Raises:
        IndexUnusable: the index would have to be written, and cannot be.
    """
    words = Words()
    for place in places:
        if state and index.seen(place.key) == state:
            continue
        noted = list(_noted(manifest, place))
        known = index.stamps(place.key)
        changed = [file for file in noted if known.get(file.path) != file.stamp]
        gone = sorted(known.keys() - {file.path for file in noted})
        if not index.writable:
            if changed or gone:
                raise IndexUnusable("its folder cannot be written")
            continue
        number = index.add_repository(place.key, place.record.model)
        for part in parts(changed, SLICE_ROWS, weigh=lambda file: len(file.rows)):
            # Another process may have done it meanwhile.
            known = index.stamps(place.key)
            todo = [file for file in part if known.get(file.path) != file.stamp]
            files = _read(manifest, place, todo, rows)
            index.write(number, files, gone, words)
            gone = []
        if gone:
            index.write(number, {}, gone, words)
        if state:
            index.note_seen(number, state)
    if index.writable:
        known_keys = {key for key, _ in manifest.repositories()}
        for key in index.repositories().keys() - known_keys:  # dropped, or renamed
            index.remove_repository(key)


def _noted(manifest: Manifest, place: Place) -> Iterator[NotedFile]:
    found = manifest.noted_chunks(place.record.id)
    for path, chunks in groupby(found, key=lambda row: row[0]):
        digest, rows = hashlib.blake2b(digest_size=16), []
        for _, row_id, text_hash, row_digest, stored in chunks:
            digest.update(b"%s%s%d" % (row_id.encode(), row_digest, stored))
            rows.append(NotedRow(row_id, text_hash))
        yield NotedFile(path, digest.digest(), rows)


def _read(
    manifest: Manifest, place: Place, files: Sequence[NotedFile], rows: Rows
) -> dict[str, tuple[bytes, list[IndexedChunk]]]:
    """What is there of files now: rows that were just deleted, or not written yet, are left out."""
    noted = [row for file in files for row in file.rows]
    contents = rows.contents(place, [row.id for row in noted])
    cached = manifest.vectors(place.record.model, {row.text_hash for row in noted})
    vectors: Mapping[str, NDArray[np.float32]] = {
        row.id: cached[row.text_hash][1] for row in noted if row.text_hash in cached
    }
    lost = [row_id for row_id in contents if row_id not in vectors]
    vectors = {**vectors, **rows.vectors(place, lost)}
    return {
        file.path: (
            file.stamp,
            [
                IndexedChunk(row.id, *contents[row.id], _of_length_one(vectors.get(row.id)))
                for row in file.rows
                if row.id in contents
            ],
        )
        for file in files
    }


def _of_length_one(vector: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    import numpy as np

    if vector is None:
        return None
    length = float(np.linalg.norm(vector))
    return (vector / length).astype(np.float32) if length else vector
