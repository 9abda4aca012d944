"""The entries of a folder: git's list where there is one, else what a walk finds."""

from __future__ import annotations

import os
from operator import attrgetter
from typing import TYPE_CHECKING

from reposync.errors import ScanError
from reposync.scan.entry import MAX_FILE_BYTES, Entry
from reposync.scan.git import list_paths, relative_to_root
from reposync.scan.ignore import above_root
from reposync.scan.walk import Ground

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def list_entries(
    root: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_file_bytes: int = MAX_FILE_BYTES,
    store_path: Path | None = None,
) -> list[Entry]:
    """List what belongs to the repository at `root`, by path.

    Args:
        root: the top of a git work tree, a folder in one, or any folder.
        include: patterns as in ``.gitignore``, relative to the root; if any, only what they match.
        exclude: the same; what they match does not belong.
        max_file_bytes: a larger file is listed as skipped.
        store_path: nothing in this folder belongs, if it lies in the root.

    Raises:
        ConfigError: `include` or `exclude` hold something that is no pattern.
        ScanError: the root cannot be listed.
    """
    if not root.is_dir():
        raise ScanError(f"{root} is not a folder")
    paths = list_paths(root)
    names = (b".reposyncignore",) if paths is not None else (b".gitignore", b".reposyncignore")
    above = above_root(names, include, exclude)
    store = relative_to_root(root, store_path)
    try:
        ground = Ground(os.fsencode(root), above, store=store, max_file_bytes=max_file_bytes)
        entries = ground.entries(ground.walk() if paths is None else paths)
        return sorted(entries, key=attrgetter("path"))
    except OSError as error:
        raise ScanError(f"{root} cannot be listed: {error}") from error
