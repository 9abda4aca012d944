"""Cheap signs that a store is damaged: a few small files and stats; nothing of Chroma is opened."""

from __future__ import annotations

from functools import cached_property

from reposync.freshness import FolderState, State
from reposync.lock import LOCK_FILE
from reposync.lock.file import is_locked
from reposync.manifest import RepositoryRecord
from reposync.mend import unfinished_mends
from reposync.store import Store


class Signs:
    """The signs of one store; what concerns all of its repositories is looked at once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_store(self) -> list[str]:
        """What is certainly wrong with the store as a whole."""
        if self._store.exists:
            return []
        return [f"{self._store.folder} has no chroma.sqlite3 any more; a sync writes all rows anew"]

    def of_collection(self, collection_id: str) -> list[str]:
        """What is certainly wrong with a collection."""
        if collection_id and unfinished_mends(self._store, collection_id):
            return ["its damaged index was being mended; a sync goes on with that"]
        return []

    def doubts(self, record: RepositoryRecord) -> list[str]:
        """What may be wrong with a collection's index since its rows were last compared."""
        state = self._state
        if state is None:
            return []
        doubts = []
        if state.doubtful_at > record.checked:
            if state.restored:
                return []  # it was checked before it was put in place
            died = state.died_at > record.checked
            doubts.append(_DIED if died else _CHANGED)
        elif self._changed_now:
            doubts.append(self._changed_now)
        return doubts

    @cached_property
    def _folder(self) -> FolderState | None:
        return FolderState(self._store.folder) if self._store.folder is not None else None

    @cached_property
    def _state(self) -> State | None:
        return self._folder.read() if self._folder else None

    @cached_property
    def _changed_now(self) -> str:
        """What happened that nobody who holds the lock has noted yet."""
        folder, state = self._folder, self._state
        if folder is None or state is None or not state.generation:
            return ""
        if state.holder is None and not folder.index_changed(state):
            return ""  # the lock is not even looked at: that could get into a host's way
        if is_locked(folder.folder / LOCK_FILE) or folder.read() != state:
            return ""  # somebody is at work, or was just now, and notes what there is to note
        return _DIED if state.holder is not None else _CHANGED


_DIED = (
    "a process died while it wrote to the store; a sync looks whether the index can be read, and so"
    " does verify_repository"
)
_CHANGED = (
    "index files changed while nobody held the store's lock; a sync looks whether they can be read,"
    " and so does verify_repository"
)
