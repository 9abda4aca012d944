"""`prune_cache`: gives back the room of vectors that no row uses."""

from __future__ import annotations

import shutil
from pathlib import Path

from reposync.opened import opened_store
from reposync.report import Report
from reposync.state import manifest_path, open_state


class PruneReport(Report):
    """What was dropped, and what is left.

    Attributes:
        dropped: how many vectors.
        dropped_bytes: how long they were together.
        kept: how many vectors are cached still.
        kept_bytes: how long they are together.
        file_bytes: how much smaller the manifest's file is; 0 where the disk had no room to write
            it anew: then the room is used by what is cached next.
    """

    dropped: int
    dropped_bytes: int
    kept: int
    kept_bytes: int
    file_bytes: int

    @property
    def ok(self) -> bool:
        """Always True: what fails raises."""
        return True

    def __str__(self) -> str:
        return (
            f"cache: {self.dropped} vectors dropped ({self.dropped_bytes} bytes), {self.kept} kept"
            f" ({self.kept_bytes} bytes); the file is {self.file_bytes} bytes smaller"
        )


def prune_cache(*, store: object = None) -> PruneReport:
    """Drop the cached vectors that no row of any repository uses.

    They are those of texts that were changed or deleted: a branch that is switched back, or a file
    that is restored, finds its vectors in the cache, and not after this. A sync drops them by
    itself once the cache holds more than `SyncConfig.max_cache_bytes`.

    Args:
        store: as for `reposync.sync_repository`.

    >>> from reposync import prune_cache
    >>> prune_cache(store="chroma").dropped
    0
    """
    with opened_store(store) as found, open_state(found) as manifest:
        path = None if found.kind == "memory" else manifest_path(found)
        count, size = manifest.cache_size()
        manifest.evict(0)
        kept, kept_bytes = manifest.cache_size()
        before = after = _size(path)
        if kept < count and (path is None or shutil.disk_usage(path.parent).free > 2 * before):
            manifest.shrink()
            after = _size(path)
    return PruneReport(
        dropped=count - kept,
        dropped_bytes=size - kept_bytes,
        kept=kept,
        kept_bytes=kept_bytes,
        file_bytes=max(0, before - after),
    )


def _size(path: Path | None) -> int:
    """Of a file, with the log that belongs to it."""
    if path is None:
        return 0
    parts = (path, path.with_name(f"{path.name}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())
