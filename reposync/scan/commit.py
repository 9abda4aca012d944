"""The files of a commit, read from git's objects: no checkout is made, touched or needed."""

from __future__ import annotations

import errno
import os
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING

from reposync.records import Failure, Seen, SkipReason
from reposync.scan.entry import Entry, failed, most_bytes
from reposync.scan.git import GitState
from reposync.scan.git_command import relative_to_root
from reposync.scan.ignore import MAX_RULES_BYTES, above_root, split_lines
from reposync.scan.limits import within_limits
from reposync.scan.listing import IGNORE_FILE
from reposync.scan.own import check_kind, heed
from reposync.scan.paths import escape_path, unescape_path
from reposync.scan.read import judge, unread
from reposync.scan.rules import Rules
from reposync.scan.tree import LINK, MODULE, Leaf, Tree
from reposync.scan.walk import Ground, Reason
from reposync.scan.wanted import judge_names
from reposync.scan.why import absent, in_submodule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from reposync.config import SyncConfig

_KINDS: dict[bytes, SkipReason] = {LINK: "symlink", MODULE: "submodule"}


class CommitSource:
    """A commit of the repository that a folder belongs to, from that folder downwards."""

    def __init__(
        self, root: Path, ref: str, config: SyncConfig, *, store_path: Path | None = None
    ) -> None:
        self._root = root
        self._asked = config
        self._store = relative_to_root(root, store_path)
        self._tree = Tree(root, ref)
        self._entries: list[Entry] | None = None
        self.warnings: list[str] = []

    @cached_property
    def config(self) -> SyncConfig:
        """See `Source`; the files of settings are those of the commit, too."""
        return heed(self._asked, self._root, self._read_settings)

    @cached_property
    def _rules(self) -> Rules:
        return Rules.of(self.config)

    @cached_property
    def _leaves(self) -> dict[bytes, Leaf]:
        return self._tree.leaves(submodules=self._asked.submodules)

    @cached_property
    def _folders(self) -> set[bytes]:
        return _folders(self._leaves)

    def _read_settings(self, name: str) -> bytes | None:
        leaf = self._leaves.get(name.encode())
        if leaf is None:
            return None
        check_kind(is_link=leaf.mode == LINK, is_file=leaf.is_file, size=leaf.size or 0)
        return leaf.blobs.read(leaf.oid)

    def entries(self) -> list[Entry]:
        """List what belongs; a commit does not change, so it is listed once."""
        if self._entries is None:
            config = self.config
            self.warnings += config.own.warnings if config.own else ()
            above = above_root((IGNORE_FILE,), config.include, config.exclude, config.own)
            self._ground = Ground(self, above, store=self._store)
            entries = sorted(self._ground.entries(self._leaves), key=attrgetter("path"))
            wanted = judge_names(entries, self._rules, self.rules)
            self._entries = list(within_limits(wanted, config.max_files, config.max_total_bytes))
        return self._entries

    def read(self, entry: Entry) -> Seen | None:
        """Read one blob, and make of it what a checkout would."""
        if entry.skip or entry.failure:
            return unread(entry)
        try:
            data = self._leaves[unescape_path(entry.path)].read()
        except OSError as error:
            return Seen(entry.path, failure=failed(entry.path, error))
        if len(data) > most_bytes(entry.path, self._asked.max_file_bytes):
            return Seen(entry.path, entry.stat, skip="too_large")
        assert entry.stat is not None
        return judge(entry, data, entry.stat, self._rules)

    def missing(self, path: str, unread: Mapping[str, Failure]) -> bool | Failure:
        """What a commit does not list is not in it, or does not belong."""
        return unescape_path(path) in self._leaves

    def why_not(self, raw: bytes) -> Reason:
        """Tell why a path is not among the entries of the commit."""
        is_folder = self.is_folder(raw)
        return (
            self._ground.why_not(raw, is_folder=is_folder)
            or in_submodule(raw, self.entries())
            or absent(raw, is_there=raw in self._leaves, is_folder=is_folder)
        )

    def state(self) -> GitState | None:
        """Tell the commit."""
        return GitState(self._tree.commit, None, dirty=False)

    def close(self) -> None:
        """End the processes that read the blobs."""
        self._tree.close()

    # -- the commit as a tree of files, see `reposync.scan.walk.View` ------------------------------

    def look(self, raw: bytes) -> Entry | None:
        """See `View`."""
        leaf = self._leaves.get(raw)
        if leaf is None:
            return None
        path = escape_path(raw)
        if (kind := _KINDS.get(leaf.mode)) is not None:
            return Entry(path, leaf.stamp, kind)
        if leaf.size is None:
            lost = FileNotFoundError(errno.ENOENT, f"git has no blob {leaf.oid}")
            return Entry(path, failure=failed(path, lost))
        if leaf.size == 0:
            return Entry(path, leaf.stamp, "empty")
        too_large = leaf.size > most_bytes(path, self._asked.max_file_bytes)
        return Entry(path, leaf.stamp, "too_large" if too_large else None)

    def is_folder(self, raw: bytes) -> bool:
        """See `View`."""
        return raw in self._folders and raw not in self._leaves

    def rules(self, raw: bytes) -> list[bytes]:
        """See `View`."""
        leaf = self._leaves.get(raw)
        if leaf is None or not leaf.is_file:
            return []
        if leaf.size is not None and leaf.size > MAX_RULES_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), raw)
        return split_lines(leaf.blobs.read(leaf.oid))


def _folders(leaves: Iterable[bytes]) -> set[bytes]:
    """All folders that hold a file, at whatever depth."""
    folders: set[bytes] = set()
    for path in leaves:
        above = path.rpartition(b"/")[0]
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition(b"/")[0]
    return folders
