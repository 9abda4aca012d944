"""Replaces a collection by one that was built beside it, so that readers never see an empty one.

Beside ``docs`` a complete ``docs.reposync-new-<digest>`` is built. Then, in one hold of the store
lock: ``docs`` becomes ``docs.reposync-old-<digest>``, the new one becomes ``docs``, and the old one
is deleted. Chroma cannot do all of it at once, so the names say how far it came:

====== ====== ====== ================================================================
live   new    old    what a kill left, and what the next call makes of it
====== ====== ====== ================================================================
yes    yes    no     the new one is incomplete: it is deleted, or its migration taken up
no     yes    yes    it was complete: it gets the name
yes    no     yes    it has the name: the old one is deleted
====== ====== ====== ================================================================

A mark in the state folder says that there may be something to settle, so that a sync need not ask
Chroma. While a rebuild or migration runs, its lock says that there is not.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from reposync.collection import Collection
from reposync.errors import CollectionGone, SyncError, SyncInProgress
from reposync.lock import ChromaLock, is_held, repository_lock, state_folder
from reposync.lock.file import make_folder
from reposync.manifest import Manifest, RepositoryKey
from reposync.naming import beside_name, replaced_name
from reposync.probe import segments_in_child
from reposync.store import Store

logger = logging.getLogger(__name__)

FOLDER_NAME_CHARS = 36  # of an index's folder: a UUID


def is_unsettled(store: Store, collection: str) -> bool:
    """True if a rebuild or the like of `collection` ended in the middle; not while one runs."""
    folder = state_folder(store)
    return any(not is_held(folder, _lock_key(marked)) for marked in _marked(store, collection))


def settle(store: Store, lock: ChromaLock, manifest: Manifest, key: RepositoryKey) -> None:
    """Finish or undo what a rebuild or a migration that was killed left beside `key`'s collection.

    Does nothing while one is running.
    """
    for collection in _marked(store, key.collection):
        with suppress(SyncInProgress), _alone(store, collection, 0):
            _settle(store, lock, manifest, replace(key, collection=collection), killed=True)


@contextmanager
def settled(
    store: Store, lock: ChromaLock, manifest: Manifest, key: RepositoryKey, *, resumed: str = ""
) -> Iterator[None]:
    """Keep others from replacing `key`'s collection; what one who was killed left is settled first.

    Args:
        store, lock, manifest, key: where.
        resumed: the model whose migration may go on where it ended; else all begins anew.

    Raises:
        SyncInProgress: another process replaces it for too long.
    """
    with _alone(store, key.collection, lock.timeout):
        killed = store.kind != "memory" and _mark(store, key.collection).exists()
        _settle(store, lock, manifest, key, resumed=resumed, killed=killed)
        yield


@contextmanager
def swapping(
    store: Store,
    lock: ChromaLock,
    manifest: Manifest,
    key: RepositoryKey,
    *,
    former: str = "",
    resumed: str = "",
) -> Iterator[None]:
    """Be the one who replaces `key`'s collection: `settled`, before and after.

    Args:
        store, lock, manifest, key, resumed: as for `settled`.
        former: the name of the collection that `key`'s is to become by a mere rename.
    """
    with settled(store, lock, manifest, key, resumed=resumed):
        if store.kind != "memory":
            _write(_mark(store, key.collection), [key.collection, former])
        try:
            yield
        except BaseException:
            if not resumed:
                with suppress(SyncError):  # then the next call does it
                    _settle(store, lock, manifest, key, former=former)
            raise
        _settle(store, lock, manifest, key, former=former, resumed=resumed)


def exchange(store: Store, lock: ChromaLock, key: RepositoryKey) -> None:
    """Give `key`'s collection's name to the one beside it; call it under the lock."""
    lock.shut_out_readers()  # for a moment, nobody has the name
    live, new = store.find(key.collection), store.find(beside_name(key.collection))
    if new is None:
        raise CollectionGone(
            f"The collection that was to replace {key.collection!r} was deleted meanwhile. Call"
            " this again."
        )
    if live is not None:
        new.copy_metadata(live)
        live.rename(replaced_name(key.collection))
    new.rename(key.collection)


def dispose(store: Store, lock: ChromaLock, collection: Collection) -> None:
    """Delete a collection, with the folder of its index."""
    with lock.hold():
        store.drop(collection.name)
        _clear_folders(store)


def _clear_folders(store: Store) -> None:
    """Remove the indexes of collections that are gone: Chroma 1.5 leaves them there for ever."""
    if store.folder is None:
        return
    # In this order: a folder that is there had its entry before.
    folders = [path for path in store.folder.iterdir() if len(path.name) == FOLDER_NAME_CHARS]
    used = segments_in_child(store)
    for folder in folders:
        if used is not None and folder.name not in used and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)  # on Windows, a client may have it open


def _settle(
    store: Store,
    lock: ChromaLock,
    manifest: Manifest,
    key: RepositoryKey,
    *,
    former: str = "",
    resumed: str = "",
    killed: bool = False,
) -> None:
    """Give names and notes to whom they are due, and delete what is left over.

    Args:
        store, lock, manifest, key, former, resumed: as for `swapping`.
        killed: whoever was at it was killed, so that the folder of a
            collection that is deleted may be left, too.
    """
    beside = _beside(key)
    with lock.hold():
        store.open()
        live, old = store.find(key.collection), store.find(replaced_name(key.collection))
        new = store.find(beside.collection)
        if live is None:
            former = former or _former(store, key.collection)
            live, new, old = _name_again(store, manifest, key, new, old, former)
    if new is not None and old is not None:
        resumed = ""
        logger.warning(
            "somebody made collection %r while it was replaced; what was in it before is kept as"
            " %r: see whether anything is missing, and delete it",
            key.collection,
            old.name,
        )
    _settle_notes(manifest, key, live, resumed=resumed if new is not None else "")
    if manifest.names_in(beside):
        return  # a migration goes on there
    with lock.hold():
        left = old if new is None else new
        if left is not None:
            store.drop(left.name)
        if left is not None or killed:
            _clear_folders(store)
    if store.kind != "memory":
        _mark(store, key.collection).unlink(missing_ok=True)


def _name_again(
    store: Store,
    manifest: Manifest,
    key: RepositoryKey,
    new: Collection | None,
    old: Collection | None,
    former: str,
) -> tuple[Collection | None, Collection | None, Collection | None]:
    """Give a name that nobody has to whom it is due: (live, new, old) as they are then."""
    if old is not None:
        (old if new is None else new).rename(key.collection)
        return (old, None, None) if new is None else (new, None, old)
    if not former or manifest.names_in(replace(key, collection=former)):
        return None, new, None
    live = store.find(former)
    if live is not None:
        live.rename(key.collection)
    return live, new, None


def _settle_notes(
    manifest: Manifest, key: RepositoryKey, live: Collection | None, *, resumed: str
) -> None:
    """What is noted of the copy is noted of the original, once it has its place; or forgotten."""
    for name in manifest.names_in(_beside(key)):
        copy = manifest.repository(replace(_beside(key), name=name))
        original = manifest.repository(replace(key, name=name))
        assert copy is not None
        if original is not None and live is not None and copy.collection_id == live.id:
            manifest.adopt(original.id, copy.id)
        elif not resumed or copy.model != resumed:
            manifest.remove_repository(copy.id)


def _beside(key: RepositoryKey) -> RepositoryKey:
    return replace(key, collection=beside_name(key.collection))


# -- so that others know -------------------------------------------------------------------------


@contextmanager
def _alone(store: Store, collection: str, timeout: float) -> Iterator[None]:
    busy = repository_lock(state_folder(store), _lock_key(collection), timeout)
    with nullcontext() if store.kind == "memory" else busy:
        yield


def _lock_key(collection: str) -> str:
    return f"swap-{_digest(collection)}"


def _mark(store: Store, collection: str) -> Path:
    return state_folder(store) / f"swap-{_digest(collection)}"


def _write(mark: Path, names: list[str]) -> None:
    make_folder(mark.parent)
    with mark.open("w", encoding="utf-8") as file:
        file.write("\n".join(filter(None, names)))
        file.flush()
        os.fsync(file.fileno())


def _former(store: Store, collection: str) -> str:
    """The former name of a collection that is to get this one by a mere rename; "" if it is not."""
    if store.kind == "memory" or not (mark := _mark(store, collection)).exists():
        return ""
    return "".join(mark.read_text("utf-8").splitlines()[1:])


def _marked(store: Store, collection: str) -> list[str]:
    """The collections that are marked, and have, had or get the name `collection`."""
    if store.kind == "memory":
        return []
    marks = [mark.read_text("utf-8").splitlines() for mark in state_folder(store).glob("swap-*")]
    return [names[0] for names in marks if collection in names]


def _digest(collection: str) -> str:
    return hashlib.sha256(collection.encode()).hexdigest()[:16]
