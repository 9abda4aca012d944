"""The limits on a whole repository: what lies beyond them is not indexed, by the order of paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reposync.scan.entry import Entry


def within_limits(
    entries: Iterable[Entry], max_files: int | None, max_total_bytes: int | None
) -> Iterable[Entry]:
    """Mark the entries beyond the limits as skipped; which they are depends on the paths only.

    Only what would be read counts. The first file that does not fit ends it: else a small file
    would come and go with the size of another.
    """
    if max_files is None and max_total_bytes is None:
        return entries
    return _cut_off(entries, max_files, max_total_bytes)


def _cut_off(
    entries: Iterable[Entry], max_files: int | None, max_total_bytes: int | None
) -> Iterator[Entry]:
    files = size = 0
    full = False
    for entry in entries:
        if entry.skip is not None or entry.failure is not None or entry.stat is None:
            yield entry
            continue
        files += 1
        size += entry.stat.size
        full = (
            full
            or (max_files is not None and files > max_files)
            or (max_total_bytes is not None and size > max_total_bytes)
        )
        yield entry._replace(skip="over_limit") if full else entry
