"""How a command ends: one exit code for each error and each outcome of a report.

A code says what to do next, not which function failed; docs/reference/command.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reposync.errors import SyncError
    from reposync.report import Report

DONE = 0
PARTIAL = 1
USAGE = 2
LOCKED = 3
UNAVAILABLE = 4
DAMAGED = 5
REFUSED = 6
INTERRUPTED = 130
PIPE_CLOSED = 141
TERMINATED = 143

MEANINGS = {
    DONE: "done; of a question: yes",
    PARTIAL: "not done, or not all of it; of a question: no, nothing",
    USAGE: "the command cannot be right as it was given; nothing was touched",
    LOCKED: "somebody else holds what is needed",
    UNAVAILABLE: "the store cannot be opened, reached or written, or it failed",
    DAMAGED: "something is damaged: the index, the local state, a backup",
    REFUSED: "the sync would delete most of the index, and was refused",
    INTERRUPTED: "interrupted by Ctrl-C",
    PIPE_CLOSED: "whoever read the output went away (`| head`)",
    TERMINATED: "ended by SIGTERM",
}

WHAT_TO_DO = {
    DONE: "",
    PARTIAL: "read what it says; run it again",
    USAGE: "mend the command",
    LOCKED: "wait, and run it again",
    UNAVAILABLE: "see to the disk or the server, and run it again",
    DAMAGED: "`reposync repair`, or another backup",
    REFUSED: "look what became of the folder; else `--allow-deletions`",
    INTERRUPTED: "run it again: it goes on from there",
    PIPE_CLOSED: "",
    TERMINATED: "run it again: it goes on from there",
}

OF_ERRORS = {
    "SyncError": PARTIAL,
    "ConfigError": USAGE,
    "NameTaken": USAGE,
    "UnknownRepository": USAGE,
    "ScanError": PARTIAL,
    "DeletionRefused": REFUSED,
    "EmbeddingError": PARTIAL,
    "ModelUnavailable": PARTIAL,
    "EmbeddingMismatch": USAGE,
    "LockError": LOCKED,
    "LockTimeout": LOCKED,
    "SyncInProgress": LOCKED,
    "ManifestError": UNAVAILABLE,
    "ManifestDamaged": DAMAGED,
    "ArchiveDamaged": DAMAGED,
    "StoreError": UNAVAILABLE,
    "StoreUnavailable": UNAVAILABLE,
    "StoreRefused": UNAVAILABLE,
    "CollectionGone": UNAVAILABLE,
    "IndexDamaged": DAMAGED,
    "DeadlineExceeded": PARTIAL,
}
"""Every error that the library raises on purpose, by name."""


def _plan(plan: Any) -> int:
    return REFUSED if plan.refused else DONE


def _status(status: Any) -> int:
    if status.ok:
        return DONE
    return DAMAGED if status.state == "damaged" else PARTIAL


def _health(health: Any) -> int:
    if health.ok:
        return DONE
    failed = {check.name for check in health.checks if not check.ok}
    return UNAVAILABLE if failed & {"store", "server", "writable", "space"} else DAMAGED


OF_REPORTS: dict[str, int | Callable[[Any], int]] = {
    "BackupCheck": DAMAGED,
    "BackupReport": DONE,
    "CancelRequest": PARTIAL,
    "ConfigReport": DONE,
    "CurrentReport": PARTIAL,
    "DropReport": DONE,
    "Explanation": lambda explanation: DONE if explanation.included else PARTIAL,
    "ExportReport": PARTIAL,
    "HealthReport": _health,
    "HistoryExport": DONE,
    "ImportReport": PARTIAL,
    "ManySyncs": PARTIAL,
    "MigrationReport": PARTIAL,
    "Page": DONE,
    "PruneReport": DONE,
    "RebuildReport": DONE,
    "RenameReport": DONE,
    "RepairReport": DAMAGED,
    "RepositoryStatus": _status,
    "RestoreReport": DONE,
    "RunProgress": PARTIAL,
    "SearchResult": lambda found: DONE if found.hits else PARTIAL,
    "SyncPlan": _plan,
    "SyncResult": PARTIAL,
    "VerifyReport": DAMAGED,
}
"""The code of each report that is not `ok`, or what tells it; by name, so that none is imported.

A search that finds nothing, and a file that is not in, end as ``grep`` ends that finds nothing."""


def code_of(error: SyncError) -> int:
    """The exit code of an error; one of no known class ends as the class that it is one of."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next(OF_ERRORS[name] for name in names if name in OF_ERRORS)


def outcome(report: Report) -> int:
    """The exit code of a report."""
    rule = OF_REPORTS[type(report).__name__.partition("[")[0]]
    if callable(rule):
        return rule(report)
    return DONE if getattr(report, "ok", False) else rule
