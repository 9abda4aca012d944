"""Mends the index of a collection that also holds rows of others; it is never dropped.

All rows and their documents are in Chroma's database; only vectors can be lost. So the files of the
index are put aside, which makes Chroma begin with an empty one (and what its log still holds), and
all vectors are written back: ours from the cache, computing nothing; others' as the files told
them. Writing only what is missing would not do: where two programs overwrote each other's index,
its graph is a mixture of both, and rows may have each other's vectors without any error.

Killed at any instant, the next sync goes on: what is not yet written back lies beside the index
that was put aside, in a folder where that index appears by one rename.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from reposync.collection import Collection
from reposync.errors import IndexDamaged, SyncInProgress
from reposync.lock import ChromaLock, repository_lock, state_folder
from reposync.manifest import Manifest, RepositoryKey
from reposync.parts import parts
from reposync.probe import IDS, VECTORS, given_up, vectors_in_child
from reposync.rows import embedded_text, text_key
from reposync.store import Store, live_systems, refresh

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]
    Content = tuple[str, str, Mapping[str, object]]

logger = logging.getLogger(__name__)

LOST_VECTOR = "the vector of a chunk was lost"
BATCH_ROWS = 64  # others' rows are asked for their vectors first, which doubles what they cost
NAMED_ROWS = 20
INDEX = "index"
SAME_COSINE = 0.99  # other weights of the same model come as near as 0.995


def mend(
    store: Store,
    lock: ChromaLock,
    manifest: Manifest,
    key: RepositoryKey,
    collection: Collection,
    damage: IndexDamaged,
) -> tuple[str, ...]:
    """Give the rows of a damaged collection their vectors back.

    Rows of the repositories that share `key`'s collection get the vectors that are cached; one that
    has none is deleted, and noted, so that its sync embeds it again. All other rows stay, and get
    the vectors that could be read from the damaged index.

    Returns:
        a warning that names the others' rows whose vectors are lost, if there are any.

    Raises:
        IndexDamaged: the index can neither be read nor put aside.
        SyncInProgress: the sync of another repository mends it, for too long.
    """
    with _alone(store, collection, lock.timeout) as nobody_else:
        if not nobody_else:  # what the sync of another repository mended is looked at anew
            return ()
        logger.warning(
            "collection %r holds rows of others, and is mended: %s", key.collection, damage
        )
        with lock.hold():
            if store.folder is not None:
                _put_aside(store, collection)
            ids = collection.all_ids()
        asides = _aside(store, collection.id)
        given = _write_all_back(collection, lock, manifest, key, ids, _Saved(asides))
        if store.folder is not None:
            _note_given_up(store.folder, collection, given)
        kept = _clear(asides, keep=bool(given))
    return (_warning(collection, given, kept),) if given else ()


@contextmanager
def _alone(store: Store, collection: Collection, timeout: float) -> Iterator[bool]:
    """Keep other syncs from mending the same collection; False if one was at it, and has ended."""
    folder, name = state_folder(store), f"mend-{collection.id}"
    with ExitStack() as stack:
        try:
            stack.enter_context(repository_lock(folder, name, 0))
            first = True
        except SyncInProgress:
            stack.enter_context(repository_lock(folder, name, timeout))
            first = False
        yield first


def _write_all_back(
    collection: Collection,
    lock: ChromaLock,
    manifest: Manifest,
    key: RepositoryKey,
    ids: Sequence[str],
    saved: _Saved,
) -> list[str]:
    """Write vectors back, in batches of a hold each; the others' rows that have none any more."""
    names = manifest.names_in(key)
    given: list[str] = []
    for some in parts(ids, BATCH_ROWS):
        with lock.hold():
            content = collection.contents(some)
            lost = _write_back(collection, manifest, names, content, saved)
            ours = [row for row in lost if row[2].get("repository") in names]
            if ours:
                collection.delete([row_id for row_id, _, _ in ours])
        _lose(manifest, key, ours)
        given += [row_id for row_id, _, metadata in lost if metadata.get("repository") not in names]
    return given


def is_unfinished(store: Store, collection: Collection) -> bool:
    """True if `collection` was being mended when whoever did it ended."""
    return unfinished_mends(store, collection.id)


def unfinished_mends(store: Store, collection_id: str) -> bool:
    """The same, of a collection that need not be opened."""
    return any((aside / IDS).exists() for aside in _aside(store, collection_id))


def cached_vectors(manifest: Manifest, content: Iterable[Content]) -> dict[str, Vector]:
    """The cached vectors of rows that reposync wrote, by id."""
    by_model: dict[str, dict[str, bytes]] = defaultdict(dict)
    for row_id, document, metadata in content:
        by_model[str(metadata.get("model"))][row_id] = text_key(embedded_text(document, metadata))
    found = {}
    for model, keys in by_model.items():
        cached = manifest.vectors(model, set(keys.values()))
        found.update({row: cached[text][1] for row, text in keys.items() if text in cached})
    return found


# -- the damaged index ---------------------------------------------------------------------------


def _put_aside(store: Store, collection: Collection) -> None:
    """Copy what the index files tell, then move them away, by one rename."""
    state = state_folder(store)
    for begun in state.glob(f"damaged-{collection.id}-*"):
        if not (begun / INDEX).exists():  # left behind by a kill; the index is where it was
            shutil.rmtree(begun)
    names = (state / f"damaged-{collection.id}-{number}" for number in count(1))
    aside = next(name for name in names if not name.exists())
    aside.mkdir(parents=True)
    index = vectors_in_child(store, collection, aside)
    index.mkdir(exist_ok=True)  # nothing was ever flushed
    index.rename(aside / INDEX)
    assert store.folder is not None
    for system in live_systems(store.folder):
        refresh(system)  # it may have the damaged index in memory


def _aside(store: Store, collection_id: str) -> list[Path]:
    """The folders with indexes that were put aside, the newest first."""
    if store.folder is None:
        return []
    found = state_folder(store).glob(f"damaged-{collection_id}-*/{INDEX}")
    return sorted((index.parent for index in found), key=_number, reverse=True)


def _number(aside: Path) -> int:
    return int(aside.name.rpartition("-")[2])


class _Saved:
    """The vectors that were read from indexes before they were put aside."""

    def __init__(self, asides: Sequence[Path]) -> None:
        import numpy as np

        self._where: dict[str, tuple[NDArray[np.float32], int]] = {}
        for aside in asides:  # the newest knows best
            ids = json.loads((aside / IDS).read_text("utf-8")) if (aside / IDS).exists() else []
            if ids:
                vectors = np.load(aside / VECTORS, mmap_mode="r")
                for at, row_id in enumerate(ids):
                    self._where.setdefault(row_id, (vectors, at))

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._where

    def __getitem__(self, row_id: str) -> Vector:
        vectors, at = self._where[row_id]
        vector: Vector = vectors[at]
        return vector


def _clear(asides: Sequence[Path], *, keep: bool) -> Path | None:
    """Note that all is written back; an index is kept if something in it could not be read."""
    for aside in asides:
        unfinished = (aside / IDS).exists()
        (aside / IDS).unlink(missing_ok=True)
        (aside / VECTORS).unlink(missing_ok=True)
        if unfinished and not keep:
            shutil.rmtree(aside)
    return asides[0] if asides else None


# -- the rows ------------------------------------------------------------------------------------


def _write_back(
    collection: Collection,
    manifest: Manifest,
    names: set[str],
    content: Sequence[Content],
    saved: _Saved,
) -> list[Content]:
    """Write the vectors of rows that have none, or a wrong one; the rows that have none at all.

    What the index holds of others by now was written by them, and is newer than what was saved.
    """
    cached = cached_vectors(manifest, (r for r in content if r[2].get("repository") in names))
    others = [row for row in content if row[0] not in cached]
    present = collection.readable_vectors(list(cached), singly=False)
    present |= collection.readable_vectors([row_id for row_id, _, _ in others])
    wanted = {
        row_id: vector
        for row_id, vector in cached.items()
        if row_id not in present or not same_direction(vector, present[row_id])
    }
    lost = []
    for row in others:
        if row[0] not in present:
            if row[0] in saved:
                wanted[row[0]] = saved[row[0]]
            else:
                lost.append(row)
    if wanted:
        collection.write_vectors(wanted)
    return lost


def same_direction(one: Vector, other: Vector) -> bool:
    """True if two vectors are the same but for their length and a little imprecision."""
    import numpy as np

    if one.shape != other.shape:
        return False
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return lengths == 0 or float(one @ other) >= SAME_COSINE * lengths


def _lose(manifest: Manifest, key: RepositoryKey, rows: Iterable[Content]) -> None:
    """Note that rows of ours are not in the collection any more."""
    lost: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row_id, _, metadata in rows:
        lost[str(metadata["repository"])][str(metadata.get("path", ""))].append(row_id)
    for name, by_path in lost.items():
        record = manifest.repository(replace(key, name=name))
        assert record is not None
        manifest.lose_rows(record.id, by_path, LOST_VECTOR)
        manifest.describe(record.id, token="")


def _note_given_up(folder: Path, collection: Collection, ids: Sequence[str]) -> None:
    note = given_up(folder, collection.id)
    if ids:
        new = note.with_suffix(".new")
        new.write_text(json.dumps(ids), "utf-8")
        new.replace(note)
    else:
        note.unlink(missing_ok=True)


def _warning(collection: Collection, ids: Sequence[str], kept: Path | None) -> str:
    rows = "1 row" if len(ids) == 1 else f"{len(ids)} rows"
    named = ", ".join(sorted(ids)[:NAMED_ROWS])
    more = f", and {len(ids) - NAMED_ROWS} more" if len(ids) > NAMED_ROWS else ""
    where = f" The damaged index is kept in {kept}." if kept else ""
    text = (
        f"{rows} of collection {collection.name!r} that reposync did not write have no readable"
        f" vector any more; write them again, or delete them: {named}{more}. Until then, queries"
        f" with a filter that selects them fail.{where}"
    )
    logger.warning("%s", text)
    return text
