"""What can go wrong, as a tree. Every error says what to do next in its message.

::

    SyncError                   everything that reposync raises on purpose
    ├── ConfigError             a caller's mistake; nothing was touched (also a ValueError)
    │   ├── NameTaken           the name belongs to another folder that still exists
    │   └── UnknownRepository   no repository of that name was synced into the store
    ├── ScanError               the tree as a whole cannot be read
    ├── DeletionRefused         the sync would delete most of the index
    ├── EmbeddingError          the embedding function failed or answered wrongly
    │   ├── ModelUnavailable    no weights for the default model are to be had
    │   └── EmbeddingMismatch   the collection belongs to another model, dimension or function
    ├── LockError
    │   ├── LockTimeout         the store lock was not to be had in time (also a TimeoutError)
    │   └── SyncInProgress      another sync of the same repository is running
    ├── ManifestError           reposync.sqlite3 cannot be used
    ├── ArchiveDamaged          a backup or an export is torn, was edited, or is none
    ├── StoreError              Chroma refused or failed
    │   ├── StoreUnavailable    it cannot be opened, reached or written now
    │   ├── StoreRefused        it will not take what it was given, however often it is asked
    │   ├── CollectionGone      somebody deleted the collection meanwhile
    │   └── IndexDamaged        its vector index cannot be read any more
    └── DeadlineExceeded        the sync did not end within `SyncConfig.deadline` (a TimeoutError)

An error that ends a sync which had begun carries how far it came in `SyncError.result`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reposync.holder import Holder
    from reposync.result import SyncProgress, SyncResult


class SyncError(Exception):
    """The root of the tree.

    Attributes:
        result: what was done before the error, if a sync had begun; else None.
    """

    result: SyncResult | None = None


class ConfigError(SyncError, ValueError):
    """An argument or a setting cannot be right; nothing was touched."""


class NameTaken(ConfigError):
    """The name belongs to another folder, which still exists; an import wants one of its own."""


class UnknownRepository(ConfigError):
    """No repository of that name was ever synced into the store."""


class ScanError(SyncError):
    """The tree as a whole cannot be read."""


class DeletionRefused(SyncError):
    """The sync would delete more of the index than the guard allows; nothing was written."""


class EmbeddingError(SyncError):
    """The embedding function failed, or its answer has a wrong count, dimension or value."""


class ModelUnavailable(EmbeddingError):
    """The default model's weights are neither here nor to be had."""


class EmbeddingMismatch(EmbeddingError):
    """The collection was made with another embedding function, dimension or distance space."""


class LockError(SyncError):
    """A lock could not be had."""


class LockTimeout(LockError, TimeoutError):
    """The store lock was not to be had within the timeout.

    Attributes:
        holder: who holds it; None if that is not known.
    """

    holder: Holder | None = None


class SyncInProgress(LockError):
    """Another sync of the same repository is running.

    Attributes:
        holder: who runs it; None if that is not known.
        progress: how far it was not long ago; None if it had not begun to write.
    """

    holder: Holder | None = None
    progress: SyncProgress | None = None


class ManifestError(SyncError):
    """``reposync.sqlite3`` cannot be used."""


class ArchiveDamaged(SyncError):
    """A backup or an export is torn, was edited, or is none; nothing was taken from it."""


class StoreError(SyncError):
    """Chroma refused a call or failed in it."""


class StoreUnavailable(StoreError):
    """The store cannot be opened, reached or written now."""


class StoreRefused(StoreError):
    """Chroma will not take what it was given; trying again does not help."""


class CollectionGone(StoreError):
    """The collection, or its database, was deleted while it was used; a sync makes it anew."""


class IndexDamaged(StoreError):
    """The collection's vector index cannot be read any more, and trying again does not help.

    Attributes:
        collection_id: Chroma's id of the collection; None if that is not known.
    """

    collection_id: str | None = None


class DeadlineExceeded(SyncError, TimeoutError):
    """The sync did not end within `SyncConfig.deadline` seconds; call again, and it goes on."""
