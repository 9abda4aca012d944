"""reposync: one blocking call keeps a ChromaDB collection exactly in step with a repository."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reposync._version import __version__

if TYPE_CHECKING:
    from reposync.config import SyncConfig
    from reposync.config_report import ConfigReport, SettingReport
    from reposync.dry_run import plan_repository
    from reposync.errors import (
        ArchiveDamaged,
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
    from reposync.events import SyncEvent
    from reposync.explanation import Explanation, explain, repository_config
    from reposync.lock import ChromaLock, LockStats, with_chroma_lock
    from reposync.many import ManyProgress, ManySyncs, RepositoryOutcome, RepositorySpec, sync_many
    from reposync.operations.backup import BackupCheck, BackupReport, backup_store, verify_backup
    from reposync.operations.current import CurrentReport, is_current
    from reposync.operations.drop import DropReport, drop_repository
    from reposync.operations.export import ExportReport, export_repository
    from reposync.operations.findings import Finding, VerifyReport
    from reposync.operations.health import HealthReport, check_health
    from reposync.operations.health_check import HealthCheck
    from reposync.operations.history import sync_history
    from reposync.operations.history_file import HistoryExport, export_history, read_history
    from reposync.operations.importing import ImportReport, import_repository
    from reposync.operations.migrate import MigrationReport, migrate_model
    from reposync.operations.pages import (
        ChunkEntry,
        FileEntry,
        RepositoryEntry,
        list_chunks,
        list_files,
        list_repositories,
    )
    from reposync.operations.plotting import plot_history
    from reposync.operations.progress import (
        CancelRequest,
        RunProgress,
        get_progress,
        request_cancel,
    )
    from reposync.operations.prune import PruneReport, prune_cache
    from reposync.operations.rebuild_collection import RebuildReport, rebuild_collection
    from reposync.operations.remedies import RepairStep
    from reposync.operations.rename import RenameReport, rename_repository
    from reposync.operations.repair import RepairReport, repair_repository
    from reposync.operations.restore import RestoreReport, restore_store
    from reposync.operations.runs import RunEntry
    from reposync.operations.status import RepositoryStatus, repository_status
    from reposync.operations.verify import verify_repository
    from reposync.records import Chunk
    from reposync.report import Page
    from reposync.result import SyncPlan, SyncProgress, SyncResult
    from reposync.search.hits import Hit, SearchResult
    from reposync.search.repository import search_repository
    from reposync.sync import sync_repository

# Importing reposync loads none of it: each name is fetched when it is first asked for.
_HOMES = {
    "ArchiveDamaged": "errors",
    "BackupCheck": "operations.backup",
    "BackupReport": "operations.backup",
    "CancelRequest": "operations.progress",
    "ChromaLock": "lock",
    "Chunk": "records",
    "ChunkEntry": "operations.pages",
    "CollectionGone": "errors",
    "ConfigError": "errors",
    "ConfigReport": "config_report",
    "CurrentReport": "operations.current",
    "DeadlineExceeded": "errors",
    "DeletionRefused": "errors",
    "DropReport": "operations.drop",
    "EmbeddingError": "errors",
    "EmbeddingMismatch": "errors",
    "Explanation": "explanation",
    "ExportReport": "operations.export",
    "FileEntry": "operations.pages",
    "Finding": "operations.findings",
    "HealthCheck": "operations.health_check",
    "HealthReport": "operations.health",
    "HistoryExport": "operations.history_file",
    "Hit": "search.hits",
    "ImportReport": "operations.importing",
    "IndexDamaged": "errors",
    "LockError": "errors",
    "LockStats": "lock",
    "LockTimeout": "errors",
    "ManifestError": "errors",
    "ManyProgress": "many",
    "ManySyncs": "many",
    "MigrationReport": "operations.migrate",
    "ModelUnavailable": "errors",
    "NameTaken": "errors",
    "Page": "report",
    "PruneReport": "operations.prune",
    "RebuildReport": "operations.rebuild_collection",
    "RenameReport": "operations.rename",
    "RepairReport": "operations.repair",
    "RepairStep": "operations.remedies",
    "RepositoryEntry": "operations.pages",
    "RepositoryOutcome": "many",
    "RepositorySpec": "many",
    "RepositoryStatus": "operations.status",
    "RestoreReport": "operations.restore",
    "RunEntry": "operations.runs",
    "RunProgress": "operations.progress",
    "ScanError": "errors",
    "SearchResult": "search.hits",
    "SettingReport": "config_report",
    "StoreError": "errors",
    "StoreRefused": "errors",
    "StoreUnavailable": "errors",
    "SyncConfig": "config",
    "SyncError": "errors",
    "SyncEvent": "events",
    "SyncInProgress": "errors",
    "SyncPlan": "result",
    "SyncProgress": "result",
    "SyncResult": "result",
    "UnknownRepository": "errors",
    "VerifyReport": "operations.findings",
    "backup_store": "operations.backup",
    "check_health": "operations.health",
    "drop_repository": "operations.drop",
    "explain": "explanation",
    "export_history": "operations.history_file",
    "export_repository": "operations.export",
    "get_progress": "operations.progress",
    "import_repository": "operations.importing",
    "is_current": "operations.current",
    "list_chunks": "operations.pages",
    "list_files": "operations.pages",
    "list_repositories": "operations.pages",
    "migrate_model": "operations.migrate",
    "plan_repository": "dry_run",
    "plot_history": "operations.plotting",
    "prune_cache": "operations.prune",
    "read_history": "operations.history_file",
    "rebuild_collection": "operations.rebuild_collection",
    "rename_repository": "operations.rename",
    "repair_repository": "operations.repair",
    "repository_config": "explanation",
    "repository_status": "operations.status",
    "request_cancel": "operations.progress",
    "restore_store": "operations.restore",
    "search_repository": "search.repository",
    "sync_history": "operations.history",
    "sync_many": "many",
    "sync_repository": "sync",
    "verify_backup": "operations.backup",
    "verify_repository": "operations.verify",
    "with_chroma_lock": "lock",
}

__all__ = [
    "ArchiveDamaged",
    "BackupCheck",
    "BackupReport",
    "CancelRequest",
    "ChromaLock",
    "Chunk",
    "ChunkEntry",
    "CollectionGone",
    "ConfigError",
    "ConfigReport",
    "CurrentReport",
    "DeadlineExceeded",
    "DeletionRefused",
    "DropReport",
    "EmbeddingError",
    "EmbeddingMismatch",
    "Explanation",
    "ExportReport",
    "FileEntry",
    "Finding",
    "HealthCheck",
    "HealthReport",
    "HistoryExport",
    "Hit",
    "ImportReport",
    "IndexDamaged",
    "LockError",
    "LockStats",
    "LockTimeout",
    "ManifestError",
    "ManyProgress",
    "ManySyncs",
    "MigrationReport",
    "ModelUnavailable",
    "NameTaken",
    "Page",
    "PruneReport",
    "RebuildReport",
    "RenameReport",
    "RepairReport",
    "RepairStep",
    "RepositoryEntry",
    "RepositoryOutcome",
    "RepositorySpec",
    "RepositoryStatus",
    "RestoreReport",
    "RunEntry",
    "RunProgress",
    "ScanError",
    "SearchResult",
    "SettingReport",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "SyncConfig",
    "SyncError",
    "SyncEvent",
    "SyncInProgress",
    "SyncPlan",
    "SyncProgress",
    "SyncResult",
    "UnknownRepository",
    "VerifyReport",
    "__version__",
    "backup_store",
    "check_health",
    "drop_repository",
    "explain",
    "export_history",
    "export_repository",
    "get_progress",
    "import_repository",
    "is_current",
    "list_chunks",
    "list_files",
    "list_repositories",
    "migrate_model",
    "plan_repository",
    "plot_history",
    "prune_cache",
    "read_history",
    "rebuild_collection",
    "rename_repository",
    "repair_repository",
    "repository_config",
    "repository_status",
    "request_cancel",
    "restore_store",
    "search_repository",
    "sync_history",
    "sync_many",
    "sync_repository",
    "verify_backup",
    "verify_repository",
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
