"""Why a path is not among the entries of a folder: which rule decided, asked after the fact."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from reposync.scan.git import ignoring_rule, list_paths
from reposync.scan.git_command import relative_to_root
from reposync.scan.ignore import above_root
from reposync.scan.listing import IGNORE_FILE
from reposync.scan.paths import escape_path
from reposync.scan.walk import Disk, Ground, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from reposync.config import SyncConfig
    from reposync.scan.entry import Entry


def why_not_in_folder(
    root: Path, raw: bytes, config: SyncConfig, entries: Iterable[Entry], store_path: Path | None
) -> Reason:
    """Tell why a path that `list_entries` does not list is not listed; it need not be there.

    A rule is named before it is said that there is nothing: it is the rule that the user can see
    to.
    """
    is_git = list_paths(root) is not None
    names = (IGNORE_FILE,) if is_git else (b".gitignore", IGNORE_FILE)
    disk = Disk(os.fsencode(root), config.max_file_bytes)
    above = above_root(names, config.include, config.exclude, config.own)
    ground = Ground(disk, above, store=relative_to_root(root, store_path))
    try:
        found = os.lstat(os.path.join(os.fsencode(root), raw))
        is_folder = stat.S_ISDIR(found.st_mode)
    except OSError:
        found, is_folder = None, False
    if (reason := ground.why_not(raw, is_folder=is_folder)) is not None:
        return reason
    if (reason := in_submodule(raw, entries)) is not None:
        return reason
    if is_git and (line := ignoring_rule(root, raw)):
        return Reason("git_ignored", line)
    return absent(raw, is_there=found is not None, is_folder=is_folder)


def in_submodule(raw: bytes, entries: Iterable[Entry]) -> Reason | None:
    """Tell that a path lies in a repository of its own."""
    path = escape_path(raw)
    for entry in entries:
        if entry.skip == "submodule" and path.startswith(entry.path + "/"):
            return Reason("submodule", f"{entry.path} is a repository of its own")
    return None


def absent(raw: bytes, *, is_there: bool = False, is_folder: bool = False) -> Reason:
    """What remains to be said where no rule hides a path."""
    if is_folder:
        return Reason("folder", "a folder is not indexed; ask about a file in it")
    if is_there:
        return Reason("unlisted", f"git does not list {escape_path(raw)}")
    return Reason("missing", "there is no such file")
