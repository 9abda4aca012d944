"""reposync: one blocking call keeps a ChromaDB collection exactly in step with a repository."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reposync._version import __version__

if TYPE_CHECKING:
    from reposync.config import SyncConfig
    from reposync.dry_run import plan_repository
    from reposync.errors import (
        CollectionGone,
        ConfigError,
        DeadlineExceeded,
        DeletionRefused,
        EmbeddingError,
        EmbeddingMismatch,
        IndexDamaged,
        LockError,
        LockTimeout,
        ManifestError,
        ModelUnavailable,
        NameTaken,
        ScanError,
        StoreError,
        StoreRefused,
        StoreUnavailable,
        SyncError,
        SyncInProgress,
        UnknownRepository,
    )
    from reposync.explanation import Explanation, explain
    from reposync.lock import ChromaLock, LockStats, with_chroma_lock
    from reposync.records import Chunk
    from reposync.result import SyncPlan, SyncProgress, SyncResult
    from reposync.sync import sync_repository

# Importing reposync loads none of it: each name is fetched when it is first asked for.
_HOMES = {
    "ChromaLock": "lock",
    "Chunk": "records",
    "CollectionGone": "errors",
    "ConfigError": "errors",
    "DeadlineExceeded": "errors",
    "DeletionRefused": "errors",
    "EmbeddingError": "errors",
    "EmbeddingMismatch": "errors",
    "Explanation": "explanation",
    "IndexDamaged": "errors",
    "LockError": "errors",
    "LockStats": "lock",
    "LockTimeout": "errors",
    "ManifestError": "errors",
    "ModelUnavailable": "errors",
    "NameTaken": "errors",
    "ScanError": "errors",
    "StoreError": "errors",
    "StoreRefused": "errors",
    "StoreUnavailable": "errors",
    "SyncConfig": "config",
    "SyncError": "errors",
    "SyncInProgress": "errors",
    "SyncPlan": "result",
    "SyncProgress": "result",
    "SyncResult": "result",
    "UnknownRepository": "errors",
    "explain": "explanation",
    "plan_repository": "dry_run",
    "sync_repository": "sync",
    "with_chroma_lock": "lock",
}

__all__ = [
    "ChromaLock",
    "Chunk",
    "CollectionGone",
    "ConfigError",
    "DeadlineExceeded",
    "DeletionRefused",
    "EmbeddingError",
    "EmbeddingMismatch",
    "Explanation",
    "IndexDamaged",
    "LockError",
    "LockStats",
    "LockTimeout",
    "ManifestError",
    "ModelUnavailable",
    "NameTaken",
    "ScanError",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "SyncConfig",
    "SyncError",
    "SyncInProgress",
    "SyncPlan",
    "SyncProgress",
    "SyncResult",
    "UnknownRepository",
    "__version__",
    "explain",
    "plan_repository",
    "sync_repository",
    "with_chroma_lock",
]


def __getattr__(name: str) -> object:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'reposync' has no attribute {name!r}") from None
    value = getattr(import_module(f"reposync.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
