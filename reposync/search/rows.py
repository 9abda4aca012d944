"""Rows as the collections hold them: what an index is filled from, and hits are checked by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from reposync.collection import PAGE_ROWS, REBUILD, Collection
from reposync.errors import CollectionGone, IndexDamaged, StoreUnavailable
from reposync.freshness import FolderState, State
from reposync.lock import ChromaLock
from reposync.naming import replaced_name
from reposync.parts import parts
from reposync.reconcile import check_doubtful
from reposync.search.places import Place
from reposync.store import Store, live_systems

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

Content = tuple[str, dict[str, Any]]
"""A document and its metadata."""


class Rows:
    """Reads rows in short holds of the store lock, or in none while nobody else writes.

    at_hand: rows are read in milliseconds, since a client of the host's is open.
    """

    def __init__(self, store: Store, lock: ChromaLock) -> None:
        self._store = store
        self._lock = lock
        self._folder = FolderState(store.folder) if store.folder else None
        self._sound: set[str] = set()
        self.at_hand = self._folder is None or bool(live_systems(self._folder.folder))

    def token(self) -> str:
        """What identifies the content of a store's folder now; "" if that cannot be said."""
        return self._folder.token() if self._folder else ""

    def contents(self, place: Place, ids: Sequence[str]) -> dict[str, Content]:
        """Those rows that are there, by id."""

        def read(collection: Collection, part: Sequence[str]) -> dict[str, Content]:
            return {row_id: (text, about) for row_id, text, about in collection.contents(part)}

        return self._read(place, ids, read)

    def vectors(self, place: Place, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors of rows, by id; of those that can be read."""
        return self._read(place, ids, Collection.readable_vectors)

    def _read(
        self,
        place: Place,
        ids: Sequence[str],
        read: Callable[[Collection, Sequence[str]], dict[str, T]],
    ) -> dict[str, T]:
        found: dict[str, T] = {}
        for part in parts(ids, PAGE_ROWS):
            with self._lock.reading():
                try:
                    collection = self._open(place)
                    found |= read(collection, part) if collection else {}
                except CollectionGone:  # it was replaced just now: what took its place has the rows
                    collection = self._open(place)
                    found |= read(collection, part) if collection else {}
        return found

    def all_ids(self, place: Place) -> tuple[set[str], str]:
        """The ids of a collection's rows, and the token of the store that they are of."""
        with self._lock.hold(write=False):
            collection = self._open(place)
            ids = set(collection.all_ids()) if collection is not None else set()
        return ids, self._lock.token

    def _open(self, place: Place) -> Collection | None:
        """The collection; call it while the lock is held, or under `ChromaLock.reading`."""
        if not self._store.exists:
            raise StoreUnavailable(
                f"{self._store.folder} has no chroma.sqlite3 any more. Sync again: all rows are"
                " written anew, computing nothing."
            )
        self._store.open()
        name = place.key.collection
        # On a server, where no lock keeps others out, it may be between two names right now.
        names = (name, replaced_name(name), name)
        collection = next((one for one in map(self._store.find, names) if one is not None), None)
        if collection is None or self.at_hand or collection.id in self._sound:
            return collection
        # A half-written index can hang or crash whoever loads it.
        state = (self._folder.read() if self._folder else None) or State()
        try:
            check_doubtful(self._store, collection, state, place.record.checked)
        except IndexDamaged as damage:
            if REBUILD in str(damage):
                raise
            raise IndexDamaged(f"{damage}. {REBUILD}") from damage
        self._sound.add(collection.id)
        return collection
