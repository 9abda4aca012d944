"""The collection that a run writes to: looked into or trusted, opened no earlier than needed."""

from __future__ import annotations

from reposync.collection import Collection
from reposync.errors import IndexDamaged
from reposync.freshness import FolderState, make_token
from reposync.manifest import Manifest, RepositoryRecord
from reposync.rebuild import make_anew
from reposync.reconcile import open_and_compare
from reposync.request import Request


class StoreChanged(Exception):
    """Somebody else wrote to the store after it was decided not to look into it."""


class Target:
    """One run's way to its collection."""

    def __init__(self, request: Request, manifest: Manifest, record: RepositoryRecord) -> None:
        self._request = request
        self._manifest = manifest
        self._record = record
        self._collection: Collection | None = None

    @property
    def as_left(self) -> bool:
        """True if nobody wrote to the store since this repository's last sync."""
        folder, token = self._request.store.folder, self._record.token
        return folder is not None and bool(token) and FolderState(folder).token() == token

    def look(self) -> None:
        """Open the store, make the manifest agree with the collection, and create it if need be.

        Raises:
            EmbeddingMismatch: the collection belongs to another embedding function.
            IndexDamaged: its vectors cannot be read.
        """
        request = self._request
        found = open_and_compare(
            request.store, request.lock, self._manifest, request.key, self._record, request.model
        )
        if found is None:  # made even if no file follows: a host will open it
            request.store.require_room()
            with request.lock.hold():
                found = request.store.create(request.key.collection, request.embedder.function)
        self._accept(found)

    def collection(self) -> Collection:
        """The collection, opened now unless it is open already.

        Raises:
            StoreChanged: it was not looked into, and is not as the last sync left it any more.
        """
        if self._collection is None:
            self._accept(self._open_as_left())
        assert self._collection is not None
        return self._collection

    def make_anew(self, damage: IndexDamaged) -> tuple[str, ...]:
        """Replace or mend a damaged collection, see `reposync.rebuild.make_anew`."""
        request = self._request
        function = request.embedder.function
        if self._collection is not None:
            damage.collection_id = self._collection.id
        return make_anew(request.store, request.lock, self._manifest, request.key, function, damage)

    def _open_as_left(self) -> Collection:
        request = self._request
        with request.lock.hold(write=False) as hold:
            if hold is not None and make_token(hold.state) != self._record.token:
                raise StoreChanged
            request.store.open()
            found = request.store.find(request.key.collection)
        if found is None or found.id != self._record.collection_id:
            raise StoreChanged
        return found

    def _accept(self, collection: Collection) -> None:
        embedder = self._request.embedder
        collection.require(embedder.identity.dimension, embedder.function)
        if collection.id != self._record.collection_id:
            self._manifest.describe(self._record.id, collection_id=collection.id)
        self._collection = collection
