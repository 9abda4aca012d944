"""Rows as the collections hold them: what an index is filled from, and hits are checked by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reposync.collection import PAGE_ROWS, Collection
from reposync.errors import StoreUnavailable
from reposync.freshness import FolderState, State
from reposync.lock import ChromaLock
from reposync.reconcile import check_doubtful
from reposync.search.places import Place
from reposync.store import Store, live_systems

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        found: dict[str, Content] = {}
        for start in range(0, len(ids), PAGE_ROWS):
            with self._lock.reading():
                collection = self._open(place)
                if collection is not None:
                    part = collection.contents(ids[start : start + PAGE_ROWS])
                    found |= {row_id: (document, about) for row_id, document, about in part}
        return found

    def vectors(self, place: Place, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors of rows, by id; of those that can be read."""
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(ids), PAGE_ROWS):
            with self._lock.reading():
                collection = self._open(place)
                if collection is not None:
                    found |= collection.readable_vectors(ids[start : start + PAGE_ROWS])
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
        collection = self._store.find(place.key.collection)
        if collection is None or self.at_hand or collection.id in self._sound:
            return collection
        # A half-written index can hang or crash whoever loads it.
        state = (self._folder.read() if self._folder else None) or State()
        check_doubtful(self._store, collection, state, place.record.checked)
        self._sound.add(collection.id)
        return collection
