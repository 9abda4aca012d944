"""A source of files: what a sync asks of the place that its files come from.

`FolderSource` is a folder as it is now.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from reposync.scan.git import GitState, git_state
from reposync.scan.limits import within_limits
from reposync.scan.listing import list_entries
from reposync.scan.missing import still_there
from reposync.scan.own import heed, read_in_folder
from reposync.scan.read import read_entry
from reposync.scan.rules import Rules
from reposync.scan.walk import Disk, Reason
from reposync.scan.wanted import judge_names
from reposync.scan.why import why_not_in_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reposync.config import SyncConfig
    from reposync.records import Failure, Seen
    from reposync.scan.entry import Entry
    from reposync.scan.walk import Reason


class Source(Protocol):
    """Where files come from. Opens nothing before it is asked; `close` ends what it opened.

    Attributes:
        warnings: what the user should know of the last listing although it worked.
    """

    warnings: list[str]

    @property
    def config(self) -> SyncConfig:
        """The settings to go by: the caller's, and what the repository says of itself.

        Here, and nowhere else, they are put together. The repository is asked once.

        Raises:
            ScanError: it cannot be asked.
        """

    def entries(self) -> list[Entry]:
        """List what belongs now, by path, without reading it.

        Raises:
            ScanError: it cannot be listed.
        """

    def read(self, entry: Entry) -> Seen | None:
        """Read one file; None if it is gone by now."""

    def missing(self, path: str, unread: Mapping[str, Failure]) -> bool | Failure:
        """Tell what became of a known file that is not listed, see `still_there`."""

    def why_not(self, raw: bytes) -> Reason:
        """Tell why a path is not among the `entries`, which were asked for before."""

    def state(self) -> GitState | None:
        """Tell which commit the files are of; None if they are not git's."""

    def close(self) -> None:
        """End what was opened."""


class FolderSource:
    """A folder as it is now: a git work tree, a folder in one, or any folder."""

    def __init__(self, root: Path, config: SyncConfig, *, store_path: Path | None = None) -> None:
        self._root = root
        self._asked = config
        self._store_path = store_path
        self._listed: list[Entry] = []
        self.warnings: list[str] = []

    @cached_property
    def config(self) -> SyncConfig:
        """See `Source`."""
        return heed(self._asked, self._root, read_in_folder(os.fsencode(self._root)))

    @cached_property
    def _rules(self) -> Rules:
        return Rules.of(self.config)

    def entries(self) -> list[Entry]:
        """See `list_entries`."""
        config = self.config
        self.warnings[:] = config.own.warnings if config.own else ()
        entries = list_entries(
            self._root,
            include=config.include,
            exclude=config.exclude,
            own=config.own,
            max_file_bytes=config.max_file_bytes,
            store_path=self._store_path,
            submodules=config.submodules,
            follow_symlinks=config.follow_symlinks,
            warnings=self.warnings,
        )
        disk = Disk(os.fsencode(self._root), config.max_file_bytes)
        wanted = judge_names(entries, self._rules, disk.rules)
        self._listed = list(within_limits(wanted, config.max_files, config.max_total_bytes))
        return self._listed

    def read(self, entry: Entry) -> Seen | None:
        """See `read_entry`."""
        return read_entry(
            self._root, entry, max_file_bytes=self.config.max_file_bytes, rules=self._rules
        )

    def missing(self, path: str, unread: Mapping[str, Failure]) -> bool | Failure:
        """See `still_there`."""
        return still_there(self._root, path, unread=unread)

    def why_not(self, raw: bytes) -> Reason:
        """See `why_not_in_folder`."""
        return why_not_in_folder(
            self._root, raw, self.config, self._listed, store_path=self._store_path
        )

    def state(self) -> GitState | None:
        """See `git_state`."""
        return git_state(self._root, store_path=self._store_path)

    def close(self) -> None:
        """Nothing is left open."""
