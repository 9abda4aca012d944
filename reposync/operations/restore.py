"""`restore_store`: a backup becomes a store again, checked before it is in place."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path

from reposync.errors import ArchiveDamaged, ConfigError
from reposync.freshness import FolderState, State
from reposync.operations.backup import database_problems, read_backup
from reposync.operations.copying import copy_modes
from reposync.operations.examine import inspect_in_child
from reposync.operations.seal import FileSum, inside
from reposync.operations.staging import new_folder, require_space, staged
from reposync.report import Report
from reposync.store import check_name, default_folder, live_systems
from reposync.words import data_size, encodable


class RestoreReport(Report):
    """What `restore_store` put in place.

    Attributes:
        path: the folder of the store.
        backup: the folder that it was copied from.
        files: how many were copied.
        bytes: how long they are together.
        collections: the rows of each collection.
        duration_seconds: of the whole call.
    """

    path: str
    backup: str
    files: int
    bytes: int
    collections: dict[str, int]
    duration_seconds: float

    @property
    def ok(self) -> bool:
        """Always True: what cannot be restored raises."""
        return True

    def __str__(self) -> str:
        return (
            f"{self.path}: restored {data_size(self.bytes)} in {self.files} files from"
            f" {self.backup} in {self.duration_seconds:.2f} s"
        )


def restore_store(
    src: str | os.PathLike[str], *, store: str | os.PathLike[str] | None = None
) -> RestoreReport:
    """Make a store's folder of a backup; nothing is overwritten.

    All is copied beside `store` and checked there, then renamed into place at once. The next sync
    of each repository reads the whole index and compares ids, whatever the backup's records say;
    it embeds only what changed since the backup.

    Args:
        src: the folder that `reposync.backup_store` made. Restore only what you trust: sums tell
            damage, not who wrote it.
        store: the folder of the store, which is not there yet, or empty. Default: as for
            `reposync.sync_repository`.

    Raises:
        ConfigError: there is no such backup, the store exists or would lie in the backup, or a
            client is open on it.
        ArchiveDamaged: the backup is torn, or was edited.
        StoreUnavailable: the disk refuses.

    >>> from reposync import backup_store, restore_store
    >>> backup = backup_store("backups/friday", store="chroma")
    >>> restore_store("backups/friday", store="restored").ok
    True
    """
    began = time.monotonic()
    source = Path(src)
    seal = read_backup(source)
    target = _check(store, source)
    require_space(target, seal.bytes)
    with staged(target, mode=stat.S_IMODE(source.stat().st_mode)) as staging:
        for path, expected in seal.files.items():
            _copy(source, path, staging / path, expected)
        findings = inspect_in_child(staging, seal.bytes)
        if problems := database_problems(findings):
            raise ArchiveDamaged(
                f"{source} is a copy of a damaged store: {problems[0]}. Nothing was restored; pass"
                " another backup."
            )
        _write_state(staging)
        copy_modes(source, staging)
    return RestoreReport(
        path=str(target),
        backup=encodable(str(source)),
        files=len(seal.files),
        bytes=seal.bytes,
        collections=findings.collections,
        duration_seconds=time.monotonic() - began,
    )


def _check(store: object, source: Path) -> Path:
    if store is not None and not isinstance(store, (str, os.PathLike)):
        raise ConfigError(
            f"store={store!r} must be the folder that the store is to be in. Close all clients on"
            " it first."
        )
    target = new_folder(default_folder() if store is None else store)
    check_name(target)
    if source.resolve() in target.parents:
        raise ConfigError(f"{target} lies in the backup. Pass a folder outside of it.")
    if live_systems(target):
        raise ConfigError(
            f"A Chroma client of this process is open on {target}, and would go on with the store"
            " that was there. Close it first."
        )
    return target


def _copy(source: Path, path: str, copy: Path, expected: FileSum) -> None:
    """Copy a file, and see that the copy is what was backed up."""
    try:
        original = inside(source, path)
        found = original.stat()
        copy.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _damaged(source, f"{path} cannot be read ({error})") from error
    digest = hashlib.sha256()
    with original.open("rb") as bytes_in, copy.open("wb") as bytes_out:
        while block := bytes_in.read(1 << 20):
            digest.update(block)
            bytes_out.write(block)
    if digest.hexdigest() != expected.sha256:
        raise _damaged(source, f"{path} is not as it was written")
    # The times tell whether the last flush of an index came to its end, see `reposync.probe`.
    os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))


def _damaged(source: Path, problem: str) -> ArchiveDamaged:
    return ArchiveDamaged(
        f"{source} is damaged: {problem}. Nothing was restored; pass another backup."
    )


def _write_state(staging: Path) -> None:
    """Have whoever opens the store take nothing for granted.

    Time and inodes of all files are new, so no token holds. The generation is higher than any that
    a living client could reflect, and the index counts as one that could be half-written.
    """
    now = time.time_ns()
    FolderState(staging).write(State(now, doubtful_at=now, died_at=now, restored_at=now))
