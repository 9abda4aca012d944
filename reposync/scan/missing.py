"""Why a file that was known is not listed now: gone, not wanted any more, or not to be seen.

The third must not be taken for the first: unreadable is not deleted.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from reposync.scan.entry import failed
from reposync.scan.paths import escape_path, unescape_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reposync.records import Failure


def still_there(
    root: Path, path: str, *, unread: Mapping[str, Failure] | None = None
) -> bool | Failure:
    """Tell what became of a file that the manifest knows and `list_entries` does not list.

    Args:
        root: the folder that was scanned.
        path: the file's path, escaped.
        unread: the failures of the listing by path. What lies below a folder that could not be
            listed was not seen, whatever can be said of it now.

    Returns:
        False if it is gone, True if it is there (so it is ignored or excluded now), a `Failure` if
        that cannot be known.
    """
    raw = unescape_path(path)
    above = _folders_above(raw)
    for folder in above:
        if unread and (failure := unread.get(escape_path(folder))):
            return replace(failure, path=path)
    prefix = os.path.join(os.fsencode(root), b"")
    try:
        for folder in above:
            if not stat.S_ISDIR(os.lstat(prefix + folder).st_mode):
                return False  # a symlink now, say: what it leads to is not this file
        if stat.S_ISDIR(os.lstat(prefix + raw).st_mode):
            return False
        for folder in (b"", *above):
            os.scandir(prefix + folder).close()  # or it could not be listed, and so is not ignored
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        return failed(path, error)
    return True


def _folders_above(raw: bytes) -> list[bytes]:
    parts = raw.split(b"/")[:-1]
    return [b"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
