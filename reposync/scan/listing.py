"""The entries of a folder: git's list where there is one, else what a walk finds."""

from __future__ import annotations

import os
from operator import attrgetter
from typing import TYPE_CHECKING

from reposync.errors import ScanError
from reposync.scan.entry import MAX_FILE_BYTES, NOT_CHECKED_OUT, Entry
from reposync.scan.git import Listing, list_paths
from reposync.scan.git_command import relative_to_root
from reposync.scan.ignore import above_root
from reposync.scan.links import follow
from reposync.scan.paths import escape_path
from reposync.scan.walk import Disk, Ground

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from reposync.scan.own import OwnSettings

IGNORE_FILE = b".reposyncignore"


def list_entries(
    root: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    own: OwnSettings | None = None,
    max_file_bytes: int = MAX_FILE_BYTES,
    store_path: Path | None = None,
    submodules: bool = False,
    follow_symlinks: bool = False,
    warnings: list[str] | None = None,
) -> list[Entry]:
    """List what belongs to the repository at `root`, by path.

    Args:
        root: the top of a git work tree, a folder in one, or any folder.
        include: patterns as in ``.gitignore``, relative to the root; if any, only what they match.
        exclude: the same; what they match does not belong.
        own: what the repository says of itself.
        max_file_bytes: a larger file is listed as skipped.
        store_path: nothing in this folder belongs, if it lies in the root.
        submodules: what lies in a submodule belongs, too.
        follow_symlinks: what a symlink leads to belongs, if it lies in the root.
        warnings: gets what the caller should know although it was listed.

    Raises:
        ConfigError: `include` or `exclude` hold something that is no pattern.
        ScanError: the root cannot be listed.
    """
    if not root.is_dir():
        raise ScanError(f"{root} is not a folder")
    listing = list_paths(root, warnings)
    names = (IGNORE_FILE,) if listing is not None else (b".gitignore", IGNORE_FILE)
    store = relative_to_root(root, store_path)
    try:
        disk = Disk(os.fsencode(root), max_file_bytes)
        ground = Ground(disk, above_root(names, include, exclude, own), store=store)
        if listing is None:
            entries = list(ground.entries(ground.walk(disk)))
        else:
            entries = list(_sifted(root, ground, listing, submodules, warnings))
        if follow_symlinks:
            # What git ignores may be led to; what the caller does not want may not.
            free = Ground(disk, above_root((IGNORE_FILE,), include, exclude, own), store=store)
            entries += follow(root, entries, free, disk)
        return sorted(entries, key=attrgetter("path"))
    except OSError as error:
        raise ScanError(f"{root} cannot be listed: {error}") from error


def _sifted(
    root: Path, ground: Ground, listing: Listing, submodules: bool, warnings: list[str] | None
) -> Iterator[Entry]:
    """Sift git's list, and those of the submodules if they are wanted."""
    listings = [(b"", listing)]

    def descend(raw: bytes) -> list[bytes] | None:
        folder = root / os.fsdecode(raw)
        strange = any(raw == top + path for top, one in listings for path in one.strangers)
        if not submodules or strange or not os.path.lexists(folder / ".git"):
            return None
        inner = list_paths(folder, warnings)
        if inner is None:
            return None
        listings.append((raw + b"/", inner))
        return [raw + b"/" + path for path in inner.paths]

    seen = set()
    for entry in ground.entries(listing.paths, descend):
        seen.add(entry.path)
        yield entry
    for top, one in listings:
        for path in one.sparse:
            absent = escape_path(top + path)
            if absent not in seen and ground.why_not(top + path) is None:
                yield Entry(absent, NOT_CHECKED_OUT, "not_checked_out")
