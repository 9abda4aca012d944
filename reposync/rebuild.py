"""Makes a damaged collection anew, computing nothing: every vector is in the cache."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from reposync.collection import Collection
from reposync.errors import IndexDamaged
from reposync.lock import ChromaLock, state_folder
from reposync.manifest import Manifest, RepositoryKey
from reposync.mend import cached_vectors, mend
from reposync.parts import parts
from reposync.probe import owners_in_child, rows_in_child
from reposync.rows import Row, embedded_text, row_digest, text_key
from reposync.store import Store

logger = logging.getLogger(__name__)

DAMAGED = "the index was damaged"
BATCH_ROWS = 128


def make_anew(
    store: Store,
    lock: ChromaLock,
    manifest: Manifest,
    key: RepositoryKey,
    function: object,
    damage: IndexDamaged,
) -> tuple[str, ...]:
    """Replace a damaged collection by a new one; or mend it, if others' rows are in it, too.

    Rows of other repositories in it are written again here. Those of `key` are left to its sync,
    which is under way and has the files at hand.

    Returns:
        warnings, see `reposync.mend`.

    Raises:
        IndexDamaged: that cannot be done.
    """
    store.require_room()  # what is dropped must be written again
    saved = state_folder(store) / f"saved-{key.collection}.jsonl"
    saved.unlink(missing_ok=True)  # left behind by a kill: of an older state
    with lock.hold():
        store.open()
        collection = store.find(key.collection)
        if collection is not None and damage.collection_id not in (None, collection.id):
            return ()  # the sync of a sibling was faster
        warnings: tuple[str, ...] = ()
        names = manifest.names_in(key)
        try:
            shared = collection is not None and not is_ours_alone(store, collection, names)
        except IndexDamaged:  # of a server, which cannot even list the rows
            assert collection is not None
            warnings, collection, shared = (_set_aside(collection),), None, False
        if not shared:
            if collection is not None:
                if store.kind == "folder" and len(names) > 1:
                    rows_in_child(store, collection, key.name, saved)
                store.drop(key.collection)
            manifest.lose_collection(key, DAMAGED)
            collection = store.create(key.collection, function)
    assert collection is not None
    if shared:
        return mend(store, lock, manifest, key, collection, damage)
    logger.warning("collection %r is made anew: %s", key.collection, damage)
    if saved.exists():
        _write_again(collection, lock, manifest, key, saved)
        saved.unlink()
    return warnings


def is_ours_alone(store: Store, collection: Collection, names: set[str]) -> bool:
    """True if `collection` holds nothing but rows of the repositories `names`.

    Raises:
        IndexDamaged: a server cannot list them.
    """
    owners: set[str | None] | None
    if store.kind == "folder":
        owners = owners_in_child(store, collection)
    else:
        owners = collection.repositories()
    return owners is not None and owners <= names


def _set_aside(collection: Collection) -> str:
    """Rename a collection, so that a new one can take its name; a warning that says so.

    A server reads nothing without the index, so nobody can tell whose rows these are; and a new
    collection of the name takes nothing from anybody who could not read the old one either.
    """
    aside = collection.set_aside()
    return (
        f"The server could not read collection {collection.name!r} any more. It was made anew"
        f" and holds what reposync wrote; the old one is kept as {aside!r}. If others wrote to"
        " it, have them write again; then delete it."
    )


def _write_again(
    collection: Collection, lock: ChromaLock, manifest: Manifest, key: RepositoryKey, saved: Path
) -> None:
    """Write saved rows with their vectors; a row whose vector is not cached waits for its sync."""
    import numpy as np

    with saved.open(encoding="utf-8") as lines:
        for rows in parts(map(_row, lines), BATCH_ROWS):
            vectors = cached_vectors(manifest, [(r.id, r.document, r.metadata) for r in rows])
            found = [row for row in rows if row.id in vectors]
            if found:
                stack = np.stack([vectors[row.id] for row in found])
                with lock.hold():
                    collection.upsert(found, stack)
                manifest.found_again(key, found)


def _row(line: str) -> Row:
    row_id, document, metadata = json.loads(line)
    text = embedded_text(document, metadata)
    path = str(metadata["path"])
    digest = row_digest(document, metadata)
    return Row(row_id, path, text, document, metadata, text_key(text), digest)
