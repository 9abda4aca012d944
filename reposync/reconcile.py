"""Before planning: what does the collection really hold, and is its index sound?

The manifest is only trusted as far as nobody else could have changed the collection. Otherwise ids
are compared: rows that are gone are noted as such, and rows that are there unknown to the manifest
are imported with their vectors. Importing is also how a lost manifest is rebuilt: all rows are then
unknown.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reposync.collection import PAGE_ROWS, Collection
from reposync.errors import IndexDamaged
from reposync.freshness import State
from reposync.lock import ChromaLock
from reposync.manifest import Manifest, RepositoryKey, RepositoryRecord
from reposync.mend import cached_vectors, is_unfinished, same_direction
from reposync.parts import parts
from reposync.probe import check_in_child, files_in_child
from reposync.rows import embedded_text, row_digest, text_key
from reposync.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

SAMPLE_ROWS = 200
LOST_ROWS = "chunks were lost from the collection"
LOST_COLLECTION = "the collection was lost"
LOST_MANIFEST = "the local state was lost"


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
            try:
                found = _look_at(store, collection, manifest, key, state, record.checked)
            except IndexDamaged as damage:
                damage.collection_id = collection.id
                raise
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


def _look_at(
    store: Store,
    collection: Collection,
    manifest: Manifest,
    key: RepositoryKey,
    state: State,
    checked: int,
) -> set[str]:
    """The ids of a repository's rows, once the vector index was found to be sound.

    All of it is read if index files changed outside of any hold since the generation `checked`, or
    a holder died; else a sample. A foreign client that only opens the store touches no index file.
    """
    doubtful = check_doubtful(store, collection, state, checked)
    ids = sorted(collection.ids(key.name))
    if doubtful:
        _compare_vectors(collection, manifest, ids)
    else:
        collection.check_vectors(ids[:: len(ids) // SAMPLE_ROWS + 1])
    return set(ids)


def check_doubtful(store: Store, collection: Collection, state: State, checked: int) -> bool:
    """Look at an index that may be half-written, before anything else makes Chroma load it.

    Returns:
        True if it was in doubt.

    Raises:
        IndexDamaged: it cannot be read.
    """
    if is_unfinished(store, collection):
        raise IndexDamaged(f"The index of {collection.name!r} was being mended.")
    # After a clock was set back, generations may begin anew below what was checked.
    begun_anew = state.generation < checked
    doubtful = begun_anew or state.doubtful_at > checked
    if doubtful:
        _look_at_files(store, collection, died=begun_anew or state.died_at > checked)
        check_in_child(store, collection)
    return doubtful


def _look_at_files(store: Store, collection: Collection, *, died: bool) -> None:
    cut_off = files_in_child(store, collection)
    # Sizes that fit prove little after a death in mid-flush, and making it good computes nothing.
    if died and cut_off:
        raise IndexDamaged(f"Whoever wrote the index of {collection.name!r} died in the middle.")


def _compare_vectors(collection: Collection, manifest: Manifest, ids: Sequence[str]) -> None:
    """Raise `IndexDamaged` if a row has another vector than the one that was written.

    Where two programs overwrote each other's index, rows may have each other's vectors.
    """
    for some in parts(ids, PAGE_ROWS):
        page = list(collection.rows(some))
        cached = cached_vectors(manifest, (row[:3] for row in page))
        for row_id, _, _, vector in page:
            if row_id in cached and not same_direction(cached[row_id], vector):
                raise IndexDamaged(f"Row {row_id!r} of {collection.name!r} has a wrong vector.")


def _import(
    collection: Collection,
    lock: ChromaLock,
    manifest: Manifest,
    record: RepositoryRecord,
    ids: Sequence[str],
    model: str,
) -> None:
    import numpy as np

    for some in parts(ids, PAGE_ROWS):
        with lock.hold(write=False):
            page = list(collection.rows(some))
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
                    metadata,
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
