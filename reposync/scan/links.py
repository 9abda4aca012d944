"""What symlinks lead to, for those who want it indexed: inside the root, each target once."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from reposync.scan.entry import Entry
from reposync.scan.paths import escape_path, unescape_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from reposync.scan.walk import Disk, Ground


def follow(root: Path, entries: Iterable[Entry], ground: Ground, disk: Disk) -> Iterator[Entry]:
    """List what the symlinks among `entries` lead to and what is not listed yet.

    It is listed under its real path, so that two ways to a file are one file, and a loop ends.
    """
    listed, pending = set(), []
    for entry in entries:
        listed.add(entry.path)
        if entry.skip == "symlink":
            pending.append(unescape_path(entry.path))
    top = os.fsencode(os.path.realpath(root))
    while pending:
        link = pending.pop()
        for raw in _targets(top, link, ground, disk):
            if (path := escape_path(raw)) in listed:
                continue
            listed.add(path)
            found = ground.entry(raw)
            if found is not None:
                yield found
                if found.skip == "symlink":
                    pending.append(raw)
    for failure in ground.failures.values():
        if failure.path not in listed:
            yield Entry(failure.path, failure=failure)


def _targets(top: bytes, link: bytes, ground: Ground, disk: Disk) -> Iterable[bytes]:
    """The files that a symlink leads to, by their real paths below the root."""
    real = os.path.realpath(os.path.join(top, link))
    prefix = os.path.join(top, b"")
    if not real.startswith(prefix):
        return ()
    raw = real[len(prefix) :].replace(os.fsencode(os.sep), b"/")
    try:
        is_folder = stat.S_ISDIR(os.lstat(real).st_mode)
    except OSError:
        return ()  # it leads nowhere, or round in a circle
    if not is_folder:
        return (raw,)
    # A folder that the link itself lies in is listed as far as it belongs; a repository of its own
    # is not opened by a way round.
    if link.startswith(raw + b"/") or _is_foreign(prefix, raw):
        return ()
    return ground.walk(disk, raw)


def _is_foreign(prefix: bytes, raw: bytes) -> bool:
    parts = raw.split(b"/")
    return any(
        os.path.lexists(os.path.join(prefix, *parts[:depth], b".git"))
        for depth in range(1, len(parts) + 1)
    )
