"""What a caller calls a repository: a folder, a commit of one, a git URL; checked and opened."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reposync.errors import ConfigError, ScanError
from reposync.lock.file import make_folder, try_lock
from reposync.lock.queue import poll, wait
from reposync.retry import Cancelled, Deadline
from reposync.scan import CommitSource, FolderSource, Source
from reposync.scan.clone import (
    Patience,
    check_url,
    clone_folder,
    fetch,
    identity,
    is_url,
    repository_name,
)
from reposync.scan.git import is_bare
from reposync.scan.paths import escape_path

if TYPE_CHECKING:
    from reposync.config import SyncConfig


@dataclass(frozen=True)
class Origin:
    """Where the files of a repository are.

    Attributes:
        root: the folder; of a URL, that of the clone.
        ref: what names a commit, if its files are wanted; else None.
        url: the git URL that was given, password and all; else None.
    """

    root: Path
    ref: str | None = None
    url: str | None = field(default=None, repr=False)

    @property
    def location(self) -> str:
        """Text that any file or queue can hold: the URL without its password, or the folder."""
        return escape_path(os.fsencode(self.root)) if self.url is None else check_url(self.url)

    @property
    def name(self) -> str:
        """What the repository is called unless the caller calls it otherwise."""
        return self.root.name if self.url is None else repository_name(check_url(self.url))

    def is_at(self, location: str) -> bool:
        """Tell whether a recorded URL is that of the same repository."""
        return self.url is not None and identity(self.url) == identity(location)


def find_origin(path: str | os.PathLike[str], ref: str | None = None) -> Origin:
    """Check what a caller passed; nothing is opened, and no network is asked.

    Raises:
        ConfigError: it cannot be right.
    """
    if ref is not None and not (isinstance(ref, str) and ref.strip() and ref.isprintable()):
        raise ConfigError(f"ref={ref!r} names no commit. Pass a branch, a tag or a commit's id.")
    if not is_url(path):
        return Origin(_check_folder(path), ref)
    from platformdirs import user_cache_path

    url = str(path)
    check_url(url)
    return Origin(clone_folder(url, user_cache_path("reposync") / "clones"), ref, url)


def _check_folder(path: str | os.PathLike[str]) -> Path:
    if path == "":  # a variable that is not set; pathlib takes it for the current folder
        raise ConfigError(
            "path='' names no folder. Pass the repository's folder; '.' is the current one."
        )
    try:
        root = Path(path).expanduser().resolve()
        found = root.exists()
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise ConfigError(f"path={path!r} is no path ({error}). Pass a folder.") from error
    if not found:
        raise ConfigError(f"path={os.fspath(path)!r} does not exist. Pass the repository's folder.")
    if not root.is_dir():
        raise ConfigError(f"path={os.fspath(path)!r} is a file. Pass the repository's folder.")
    return root


def open_source(
    origin: Origin,
    config: SyncConfig,
    *,
    store_path: Path | None = None,
    deadline: Deadline | None = None,
) -> Source:
    """Open a repository to be listed and read; to be closed at the end.

    Args:
        origin: what to open; a URL is fetched now.
        config: what belongs.
        store_path: nothing in this folder belongs.
        deadline: a reason to give up a fetch earlier than `config` says.

    Raises:
        ConfigError: there is no such commit.
        ScanError: the URL cannot be read, or the caller cancelled that.
    """
    root, ref = origin.root, origin.ref
    if origin.url is not None:
        ref = _fetch(origin.url, ref, root, config.fetch_timeout, deadline or Deadline(None))
    elif ref is None and is_bare(root):
        ref = "HEAD"
    if ref is None:
        return FolderSource(root, config, store_path=store_path)
    return CommitSource(root, ref, config, store_path=store_path)


def _fetch(url: str, ref: str | None, folder: Path, seconds: float, deadline: Deadline) -> str:
    """Bring the clone up to date, one process at a time; reading it needs no lock."""
    make_folder(folder.parent)
    lock = folder.with_name(f"{folder.name}.lock")
    try:
        taken, _ = wait(poll(lambda: try_lock(lock), seconds, check=deadline.check))
        if taken is None:
            raise ScanError(
                f"{check_url(url)} is being fetched by another process for more than"
                f" {seconds:.0f} s. Wait for it to end, or allow more by"
                " SyncConfig(fetch_timeout=...)."
            )
        try:
            return fetch(url, ref, folder, Patience(seconds, deadline.check))
        finally:
            taken.release()
    except Cancelled:
        raise ScanError(f"{check_url(url)} was not fetched: the sync was cancelled.") from None
