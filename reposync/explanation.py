"""`explain`: is this file indexed, and which rule decides; `repository_config`: by which settings.

They ask the same source as a sync.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from reposync.config import SyncConfig
from reposync.errors import ConfigError
from reposync.origin import find_origin, open_source
from reposync.report import Report
from reposync.scan import Entry, Source
from reposync.scan.entry import most_bytes
from reposync.scan.paths import escape_path
from reposync.words import one_line

if TYPE_CHECKING:
    from reposync.display import View

_DETAILS = {
    "credentials": "it holds credentials by nature; a pattern of include= with its very name asks"
    " for it",
    "empty": "it holds nothing",
    "generated": "a program wrote it; see SyncConfig.index_generated",
    "lfs_pointer": "the file that it stands for is in git LFS",
    "lock_file": "it is a lock file; see SyncConfig.index_lock_files",
    "long_lines": "people write no such lines; see SyncConfig.max_line_chars",
    "minified": "it is made small; see SyncConfig.index_minified",
    "not_checked_out": "the sparse checkout leaves it out",
    "secrets": "it holds a secret; see SyncConfig.secrets",
    "special": "it is a pipe, a socket or a device",
    "submodule": "it is a repository of its own; see SyncConfig.submodules",
    "symlink": "it is a symlink; see SyncConfig.follow_symlinks",
    "vendored": "it is of another project; see SyncConfig.index_vendored",
}


class Explanation(Report):
    """Why a file is indexed, or why not; prints as one line.

    Attributes:
        path: the file, relative to the repository.
        included: True if a sync would index it.
        rule: what decides: "indexed", a reason of `SyncResult.skipped`, or, for what does not
            belong at all, "git_ignored", "reposyncignore", "include", "exclude", "submodule",
            "behind_symlink", "store", "git_folder", "folder", "missing", "unlisted"; "unreadable"
            if it cannot be known.
        detail: the same in words, with the ignore file, the line and the pattern where there are.
    """

    path: str
    included: bool
    rule: str
    detail: str

    def __str__(self) -> str:
        verdict = "in" if self.included else "out"
        return f"{one_line(self.path)}: {verdict} ({self.rule}): {one_line(self.detail)}"

    def _view(self) -> View:
        from reposync import display as d

        return d.View(str(self), "good" if self.included else "plain")


def explain(
    path: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    ref: str | None = None,
    store: str | os.PathLike[str] | None = None,
    config: SyncConfig | None = None,
) -> Explanation:
    """Tell whether a sync of a repository would index a file, and which rule decides.

    >>> from reposync import explain
    >>> print(explain("project", "logo.png"))
    logo.png: out (binary): ...

    Args:
        path, ref, config: as for `reposync.sync_repository`.
        file: relative to the repository, or absolute; it need not exist (any more).
        store: the folder of the store, if it lies in the repository.

    Raises:
        ConfigError: an argument cannot be right, or the file lies outside of the repository.
        ScanError: the repository cannot be listed.
    """
    config = config or SyncConfig()
    origin = find_origin(path, ref)
    raw = _relative(origin.root, file)
    store_path = None if store is None else Path(store)
    with closing(open_source(origin, config, store_path=store_path)) as source:
        shown = escape_path(raw)
        for entry in source.entries():
            if entry.path == shown:
                return _of_entry(source, entry, source.config)
        reason = source.why_not(raw)
    return Explanation(path=shown, included=False, rule=reason.rule, detail=reason.detail)


def repository_config(
    path: str | os.PathLike[str], *, ref: str | None = None, config: SyncConfig | None = None
) -> SyncConfig:
    """The settings that a sync of a repository goes by: the caller's, and the repository's own.

    >>> from reposync import repository_config
    >>> repository_config("project").origin("chunk_tokens")
    'default'

    Ask the answer to `explain` itself.

    Args:
        path, ref, config: as for `reposync.sync_repository`.

    Raises:
        ConfigError: an argument cannot be right.
        ScanError: the repository cannot be read.
    """
    with closing(open_source(find_origin(path, ref), config or SyncConfig())) as source:
        return source.config


def _of_entry(source: Source, entry: Entry, config: SyncConfig) -> Explanation:
    seen = source.read(entry)
    if seen is None:
        return _out(entry.path, "missing", "it vanished just now")
    if seen.failure is not None:
        return _out(entry.path, "unreadable", seen.failure.message)
    if seen.skip is None:
        detail = f"it belongs, and is text in {seen.encoding}"
        if seen.redactions:
            detail += f"; secrets in it are masked: {len(seen.redactions)}"
        return Explanation(path=entry.path, included=True, rule="indexed", detail=detail)
    detail = _DETAILS.get(seen.skip, "")
    if seen.skip == "too_large":
        size = f"{seen.stat.size} bytes" if seen.stat else "it"
        limit = most_bytes(entry.path, config.max_file_bytes)
        share = f"{limit // config.max_file_bytes} * " if limit > config.max_file_bytes else ""
        detail = f"{size} are more than {share}max_file_bytes={config.max_file_bytes}"
    elif seen.skip == "over_limit":
        limits = (config.max_files, config.max_total_bytes)
        detail = "files before it reach max_files={} or max_total_bytes={}".format(*limits)
    elif seen.rule:
        detail = "; ".join(filter(None, (seen.rule, detail)))
    return _out(entry.path, seen.skip, detail)


def _out(path: str, rule: str, detail: str) -> Explanation:
    return Explanation(path=path, included=False, rule=rule, detail=detail)


def _relative(root: Path, file: str | os.PathLike[str]) -> bytes:
    """Give a file's path relative to the root; a symlink on the way is taken as it is named."""
    named = Path(os.path.normpath(Path(file)))
    if named.is_absolute():
        if not named.is_relative_to(root):  # by another way to the root, that is
            named = Path(os.path.realpath(named.parent), named.name)
        named = named.relative_to(root) if named.is_relative_to(root) else Path("..")
    if not named.parts or named.parts[0] == "..":
        raise ConfigError(f"file={os.fspath(file)!r} is no file in {root}. Pass one that is.")
    return os.fsencode(named.as_posix())
