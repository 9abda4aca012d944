"""`backup_store` and `verify_backup`: a consistent copy of a store, and whether it is one."""

from __future__ import annotations

import os
import stat
import time
from datetime import datetime
from pathlib import Path

from reposync.config import SyncConfig
from reposync.errors import ArchiveDamaged, ConfigError, StoreError
from reposync.lock import ChromaLock
from reposync.manifest import FILE_NAME
from reposync.opened import opened_store
from reposync.operations.copying import belongs, copy_store, left_out, store_size, without_manifest
from reposync.operations.examine import DATABASE, Findings, inspect_in_child
from reposync.operations.seal import Seal, problem_of, read_seal, write_seal
from reposync.operations.staging import MARK, new_folder, require_space, staged
from reposync.report import Report
from reposync.store import Store
from reposync.words import data_size, encodable, one_line

SEAL, KIND, VERSION = "backup.json", "reposync-backup", 1


class BackupReport(Report):
    """What `backup_store` copied.

    Attributes:
        path: the folder of the backup.
        store: the folder of the store.
        created_at: when it was finished, UTC.
        files: how many were copied.
        bytes: how long they are together.
        collections: the rows of each collection.
        wait_seconds: how long the backup waited for the store lock.
        hold_seconds: how long it held the lock: all others waited for that.
        duration_seconds: of the whole call.
        left_out: what lies in the store's folder, and is neither Chroma's nor reposync's.
        warnings: what you should know although the copy is good.
    """

    path: str
    store: str
    created_at: datetime
    files: int
    bytes: int
    collections: dict[str, int]
    wait_seconds: float
    hold_seconds: float
    duration_seconds: float
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Always True: what cannot be copied raises."""
        return True

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {data_size(self.bytes)} in {self.files} files, copied in"
            f" {self.duration_seconds:.2f} s, of which the store was locked"
            f" {self.hold_seconds:.2f} s",
            *_rows(self.collections),
            *(f"  left out    {one_line(name)}" for name in self.left_out),
            *(f"  warning     {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)


class BackupCheck(Report):
    """What `verify_backup` found.

    Attributes:
        path: the folder of the backup.
        store: the folder that it is a copy of.
        created_at: when it was finished, UTC.
        files: how many there are.
        bytes: how long they are together.
        collections: the rows of each collection.
        problems: why it must not be restored; empty if it may.
        warnings: faults that the store had when it was copied; a sync mends them.
    """

    path: str
    store: str
    created_at: datetime
    files: int
    bytes: int
    collections: dict[str, int]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if it is whole, and as it was written."""
        return not self.problems

    def __str__(self) -> str:
        verdict = "sound" if self.ok else "DAMAGED"
        when = self.created_at.isoformat(" ", "seconds")
        lines = [
            f"{self.path}: {verdict}, {data_size(self.bytes)} in {self.files} files of {when}",
            *_rows(self.collections),
            *(f"  problem     {problem}" for problem in self.problems),
            *(f"  warning     {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)


def backup_store(
    dest: str | os.PathLike[str], *, store: object = None, config: SyncConfig | None = None
) -> BackupReport:
    """Copy a store's folder to a new folder, as it is at one moment, while others use it.

    The store lock is held while Chroma's database is copied: others wait for that long, see
    `BackupReport.hold_seconds`. The copy appears at `dest` when it is complete, was looked at, and
    is on the disk. A backup that is killed leaves nothing at `dest`.

    Args:
        dest: a folder that is not there yet, or empty; not in the store's folder.
        store: the folder of a store, or a client on one. Of a server, copy its folder on its own
            machine while it is stopped, or use `reposync.export_repository`.
        config: its `lock_timeout` says for how long to wait for the lock.

    Raises:
        ConfigError: an argument cannot be right; nothing was touched.
        LockTimeout: the store was not free in time.
        StoreUnavailable: the disk refuses, or somebody goes on writing without the lock.
        StoreError: Chroma's database is damaged.

    >>> from reposync import backup_store
    >>> backup = backup_store("backups/monday", store="chroma")
    >>> backup.ok, backup.collections
    (True, {'project': 2})
    """
    began = time.monotonic()
    config = config or SyncConfig()
    with opened_store(store) as found:
        folder = _folder_of(found)
        target = new_folder(dest, outside=folder)
        require_space(target, store_size(folder))
        lock = ChromaLock(found, config.lock_timeout)
        with staged(target, mode=stat.S_IMODE(folder.stat().st_mode)) as staging:
            waited, held, warnings = copy_store(folder, staging, lock)
            size = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
            findings = inspect_in_child(staging, size)
            warnings += _judge(staging, findings)
            about = {
                "store": str(folder),
                "collections": findings.collections,
                "warnings": warnings,
            }
            seal = write_seal(staging, SEAL, KIND, VERSION, about, _all_files(staging))
    return BackupReport(
        path=encodable(str(target)),
        store=str(folder),
        created_at=seal.created_at,
        files=len(seal.files),
        bytes=seal.bytes,
        collections=findings.collections,
        wait_seconds=waited,
        hold_seconds=held,
        duration_seconds=time.monotonic() - began,
        left_out=left_out(folder),
        warnings=tuple(warnings),
    )


def verify_backup(dest: str | os.PathLike[str]) -> BackupCheck:
    """Tell whether a backup is whole, and as it was written; nothing is changed.

    Every file is summed up, SQLite checks the databases, and the files of the vector indexes are
    compared with what they say of themselves.

    Args:
        dest: the folder that `reposync.backup_store` made.

    Raises:
        ConfigError: there is no such folder, or a newer reposync made it.
        ArchiveDamaged: it is no backup, or one that was never finished.

    >>> from reposync import backup_store, verify_backup
    >>> backup = backup_store("backups/tuesday", store="chroma")
    >>> verify_backup("backups/tuesday").ok
    True
    """
    folder = Path(dest)
    seal = read_backup(folder)
    problems = [
        problem
        for path, expected in seal.files.items()
        if (problem := problem_of(folder, path, expected)) is not None
    ]
    findings = Findings()
    if not problems:
        findings = inspect_in_child(folder, seal.bytes)
        problems += database_problems(findings)
    return BackupCheck(
        path=encodable(str(folder)),
        store=str(seal.about.get("store", "")),
        created_at=seal.created_at,
        files=len(seal.files),
        bytes=seal.bytes,
        collections=findings.collections,
        problems=tuple(problems),
        warnings=_index_warnings(findings),
    )


def read_backup(folder: Path) -> Seal:
    """What a backup says of itself; raises as `verify_backup`."""
    seal = read_seal(folder, SEAL, KIND, VERSION)
    strange = [path for path in seal.files if not belongs(path)]
    if strange or DATABASE not in seal.files:
        what = f"names {strange[0]!r}" if strange else f"has no {DATABASE}"
        raise ArchiveDamaged(f"{folder / SEAL} {what}: it is no backup of ours. Pass another.")
    return seal


def database_problems(findings: Findings) -> list[str]:
    """What is wrong with the databases of a copy."""
    return [
        *(f"{DATABASE}: {fault}" for fault in findings.database),
        *(f"{FILE_NAME}: {fault}" for fault in findings.manifest),
    ]


# -- before --------------------------------------------------------------------------------------


def _folder_of(store: Store) -> Path:
    if store.folder is None:
        where = "on a server" if store.kind == "server" else "in memory"
        raise ConfigError(
            f"The store is {where}, and only a folder can be copied. Pass the folder of a store;"
            " or use export_repository(), which works everywhere."
        )
    return store.folder


# -- after ---------------------------------------------------------------------------------------


def _judge(staging: Path, findings: Findings) -> list[str]:
    """What to warn of; Chroma's database must be sound."""
    if findings.database:
        raise StoreError(
            f"Chroma's database is damaged ({findings.database[0]}), so no backup of it was made."
            " Stop all programs and copy the folder by hand; then restore an older backup, or"
            " remove the store and sync again."
        )
    warnings = list(_index_warnings(findings))
    if findings.manifest:
        (staging / FILE_NAME).unlink()
        warnings.append(without_manifest(findings.manifest[0]))
    return warnings


def _index_warnings(findings: Findings) -> tuple[str, ...]:
    return tuple(
        f"The vector index {fault}. A sync mends it; what others than reposync wrote can be lost."
        for fault in findings.indexes
    )


def _all_files(folder: Path) -> list[str]:
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [path for path in paths if path != MARK]


def _rows(collections: dict[str, int]) -> list[str]:
    return [f"  collection  {name}, {rows} rows" for name, rows in collections.items()]
