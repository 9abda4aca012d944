"""Before planning: what does the collection really hold, and is its index sound?

The manifest is only trusted as far as nobody else could have changed the collection. Otherwise ids
are compared: rows that are gone are noted as such, and rows that are there unknown to the manifest
are imported with their vectors. Importing is also how a lost manifest is rebuilt: all rows are then
unknown.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reposync.errors import IndexDamaged
from reposync.freshness import State
from reposync.lock import ChromaLock
from reposync.manifest import Manifest, RepositoryKey, RepositoryRecord
from reposync.rows import embedded_text, row_digest, text_key
from reposync.store import PAGE_ROWS, Collection, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

PROBE_SECONDS = 300
SAMPLE_ROWS = 200
LOST_ROWS = "chunks were lost from the collection"
LOST_COLLECTION = "the collection was lost"
LOST_MANIFEST = "the local state was lost"
DAMAGED = "the index was damaged"


def open_and_compare(
    store: Store,
    lock: ChromaLock,
    manifest: Manifest,
    key: RepositoryKey,
    record: RepositoryRecord,
    model: str,
) -> Collection | None:
    """Open the store and make the manifest agree with what the collection holds.

    Returns:
        the collection, or None if there is none yet.

    Raises:
        IndexDamaged: its vectors cannot be read.
    """
    with lock.hold(write=False) as hold:
        state = hold.state if hold else State()
        store.open()
        collection = store.find(key.collection)
        if collection is not None:
            found = set(collection.ids(key.name))
            check_index(store, collection, state, record.checked, sorted(found))
    manifest.describe(record.id, checked=state.generation)
    noted = manifest.all_rows(record.id)
    if collection is None:
        if noted:
            logger.info("collection %r is gone; its rows are written again", key.collection)
            manifest.lose_collection(key, LOST_COLLECTION)
        return None
    lost = defaultdict(list)
    for row_id, (path, stored) in noted.items():
        if stored and row_id not in found:
            lost[path].append(row_id)
    if lost:
        logger.info("%d files of %r lost chunks", len(lost), key.name)
        manifest.lose_rows(record.id, lost, LOST_ROWS)
    strangers = sorted(found - noted.keys())
    if strangers:
        logger.info("%d rows of %r were not known here; importing", len(strangers), key.name)
        _import(collection, lock, manifest, record, strangers, model)
    return collection


def check_index(
    store: Store, collection: Collection, state: State, checked: int, ids: Sequence[str]
) -> None:
    """Look at the vector index: all of it if something happened since `checked` that may have
    damaged it, else at a sample of `ids`."""
    if state.died_at > checked:
        _probe_in_child(store, collection)
    elif state.foreign_at > checked:
        collection.check_index()
    else:
        collection.check_vectors(ids[:: len(ids) // SAMPLE_ROWS + 1])


def _probe_in_child(store: Store, collection: Collection) -> None:
    """Read the whole index in a child process: a half-written one can hang or kill its reader."""
    command = [sys.executable, "-m", "reposync.probe", str(store.folder)]
    command += [store.tenant, store.database, collection.name]
    try:
        child = subprocess.run(  # noqa: S603 - our own module, no shell
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise IndexDamaged(
            f"Reading the vector index of {collection.name!r} did not end within {PROBE_SECONDS} s."
        ) from error
    if child.returncode != 0:
        last = child.stderr.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        raise IndexDamaged(f"The vector index of {collection.name!r} cannot be read: {last[0]}")


def _import(
    collection: Collection,
    lock: ChromaLock,
    manifest: Manifest,
    record: RepositoryRecord,
    ids: Sequence[str],
    model: str,
) -> None:
    import numpy as np

    for start in range(0, len(ids), PAGE_ROWS):
        with lock.hold(write=False):
            page = list(collection.rows(ids[start : start + PAGE_ROWS]))
        manifest.keep_vectors(_vectors(page))
        manifest.import_rows(
            record.id,
            (
                (
                    str(metadata.get("path", "")),
                    row_id,
                    text_key(embedded_text(document or "", metadata)),
                    row_digest(document or "", metadata),
                    metadata.get("model") == model and bool(np.isfinite(vector).all()),
                )
                for row_id, document, metadata, vector in page
            ),
            LOST_MANIFEST,
        )


def _vectors(
    page: Sequence[tuple[str, str, dict[str, object], NDArray[np.float32]]],
) -> Iterator[tuple[str, bytes, NDArray[np.float32]]]:
    import numpy as np

    for _, document, metadata, vector in page:
        if np.isfinite(vector).all():
            key = text_key(embedded_text(document or "", metadata))
            yield str(metadata.get("model")), key, vector


def make_anew(
    store: Store, lock: ChromaLock, manifest: Manifest, key: RepositoryKey, damage: IndexDamaged
) -> None:
    """Drop a collection whose index is damaged, so that its rows are written again from the cache.

    Raises:
        IndexDamaged: the collection also holds rows that reposync did not write.
    """
    with lock.hold():
        store.open()
        collection = store.find(key.collection)
        if collection is not None:
            strangers = collection.repositories() - manifest.names_in(key)
            if strangers:
                raise IndexDamaged(
                    f"{damage} Collection {key.collection!r} also holds rows that reposync does not"
                    " know, so it is left as it is. Save their documents with collection.get(),"
                    " delete the collection, and sync again: that computes nothing."
                ) from damage
            store.drop(key.collection)
        manifest.lose_collection(key, DAMAGED)
    logger.warning("collection %r is made anew: %s", key.collection, damage)
