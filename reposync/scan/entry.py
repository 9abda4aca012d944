"""What ``lstat`` says of one path, and what follows from it before anything is opened."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from reposync.records import Failure, FileStat, SkipReason
from reposync.scan.paths import escape_path

MAX_FILE_BYTES = 1_048_576
NOTEBOOK_SHARE = 16
NOTEBOOK = ".ipynb"

# Between the look at a file and its opening it may have become a symlink or a FIFO: the one must
# not be followed, and the other not be waited for.
OPEN_SAFELY = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


NOT_CHECKED_OUT = FileStat(0, 0, 0, 0)
"""Stands in for the stat of a file that a sparse checkout leaves out."""


class Entry(NamedTuple):
    """One path that belongs to the repository.

    Attributes:
        path: relative, ``/`` between the parts, escaped (see `reposync.scan.paths`).
        stat: None where ``lstat`` failed.
        skip: why it is not to be opened at all.
        failure: ``lstat`` failed, or `path` is a folder that could not be listed. Then nothing is
            known of what lies below it either.
        rule: in a few words, which rule decided that it is skipped, where `skip` does not tell.
        exempt: its content is wanted whoever wrote it, see `reposync.scan.names.Named`.
        rules: stands for the rules that its content is to be judged by, see `Rules.fingerprint`.
    """

    path: str
    stat: FileStat | None = None
    skip: SkipReason | None = None
    failure: Failure | None = None
    rule: str = ""
    exempt: bool = False
    rules: str = ""


def look(prefix: bytes, raw: bytes, max_file_bytes: int) -> Entry | None:
    """Look at one path without opening it; None if there is nothing (any more)."""
    path = escape_path(raw)
    try:
        found = os.lstat(prefix + raw)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Entry(path, failure=failed(path, error))
    return Entry(path, file_stat(found), _skip(path, found, max_file_bytes))


def most_bytes(path: str, max_file_bytes: int) -> int:
    """How large a file may be: a notebook is mostly outputs, pictures above all, and those are not
    indexed."""
    return max_file_bytes * NOTEBOOK_SHARE if path.lower().endswith(NOTEBOOK) else max_file_bytes


def _skip(path: str, found: os.stat_result, max_file_bytes: int) -> SkipReason | None:
    mode, size = found.st_mode, found.st_size
    if stat.S_ISREG(mode):
        if size == 0:
            return "empty"
        if size <= max_file_bytes or size <= most_bytes(path, max_file_bytes):
            return None
        return "too_large"
    if stat.S_ISLNK(mode):
        return "symlink"
    # A listing names files; where a folder answers to one, git does not look inside: a submodule.
    return "submodule" if stat.S_ISDIR(mode) else "special"


def file_stat(found: os.stat_result) -> FileStat:
    """Keep what tells one state of a file from the next."""
    return FileStat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def failed(path: str, error: OSError, attempts: int = 1) -> Failure:
    """Say what the operating system said, without the absolute path that ``str(error)`` holds."""
    return Failure(path, "scan", type(error).__name__, error.strerror or str(error), attempts)
