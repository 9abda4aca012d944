"""Read a file so that its bytes, its hash and its stat belong together, or say that they do not."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

from reposync.records import Failure, FileStat, Seen, SkipReason
from reposync.scan.entry import (
    MAX_FILE_BYTES,
    OPEN_SAFELY,
    Entry,
    failed,
    file_stat,
    most_bytes,
)
from reposync.scan.paths import unescape_path
from reposync.scan.rules import Rules

if TYPE_CHECKING:
    from pathlib import Path

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.005

# A file system stamps a change with the time of its last clock tick (1-10 ms), a coarse one with
# the second. A change in the same tick as the one before leaves an equal stamp.
_TICK_NS = 20_000_000
_COARSE_TICK_NS = 2_000_000_000
_SECOND_NS = 1_000_000_000


class _Changed(Exception):
    """The file changed while it was read."""


class _NotForReading(Exception):
    """Since it was listed the file became something that is not read."""

    def __init__(self, reason: SkipReason, found: FileStat | None = None) -> None:
        super().__init__(reason)
        self.reason: SkipReason = reason
        self.stat = found


def read_entry(
    root: Path, entry: Entry, *, max_file_bytes: int = MAX_FILE_BYTES, rules: Rules | None = None
) -> Seen | None:
    """Read one file that `list_entries` gave; None if it is gone by now."""
    if entry.skip or entry.failure:
        return unread(entry)
    location = os.path.join(os.fsencode(root), unescape_path(entry.path))
    for attempt in range(1, _ATTEMPTS + 1):
        before = time.time_ns()
        try:
            data, found = _read(location, most_bytes(entry.path, max_file_bytes))
        except _Changed:
            time.sleep(_PAUSE_SECONDS * attempt)
        except _NotForReading as reason:
            return Seen(entry.path, reason.stat, skip=reason.reason)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            return Seen(entry.path, failure=failed(entry.path, error, attempt))
        else:
            return judge(entry, data, found, rules or Rules(), racy=is_racy(found, before))
    message = f"it was written to during each of {_ATTEMPTS} attempts to read it"
    failure = Failure(entry.path, "scan", "FileChanged", message, _ATTEMPTS)
    return Seen(entry.path, failure=failure)


def unread(entry: Entry) -> Seen:
    """Say what is known of a file that is not to be opened."""
    return Seen(entry.path, entry.stat, skip=entry.skip, failure=entry.failure, rule=entry.rule)


def judge(entry: Entry, data: bytes, found: FileStat, rules: Rules, *, racy: bool = False) -> Seen:
    """Say what is in a file, wherever its bytes come from.

    The hash is that of the bytes, whatever is taken out of the text: a file is the same file under
    other rules.
    """
    from reposync.scan import content  # some sixty patterns, for nothing if nothing is read

    judged = content.judge(entry.path, data, rules, exempt=entry.exempt)
    return Seen(
        entry.path,
        found,
        hashlib.sha256(data).hexdigest(),
        judged.text,
        judged.skip.reason if judged.skip else None,
        racy=racy,
        rule=judged.skip.rule if judged.skip else "",
        rules=entry.rules,
        encoding=judged.encoding,
        redactions=judged.redactions,
    )


def is_racy(found: FileStat, before: int) -> bool:
    """Tell whether a change after the moment `before` could leave this very stat.

    A stamp that lies in the future of our clock says nothing, so it counts too.
    """
    coarse = found.ctime_ns % _SECOND_NS == 0 or found.mtime_ns % _SECOND_NS == 0
    slack = _COARSE_TICK_NS if coarse else _TICK_NS
    return max(found.ctime_ns, found.mtime_ns) >= before - slack


def _read(location: bytes, max_file_bytes: int) -> tuple[bytes, FileStat]:
    handle = _open(location)
    try:
        found = os.fstat(handle)
        before = file_stat(found)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError
        if not stat.S_ISREG(found.st_mode):
            raise _NotForReading("special", before)
        if before.size > max_file_bytes:
            raise _NotForReading("too_large", before)
        data = _read_up_to(handle, before.size + 1)
        if len(data) != before.size or file_stat(os.fstat(handle)) != before:
            raise _Changed
    finally:
        os.close(handle)
    if not data:
        raise _NotForReading("empty", before)
    return data, before


def _open(location: bytes) -> int:
    try:
        return os.open(location, OPEN_SAFELY)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # O_NOFOLLOW met a symlink
            raise _NotForReading("symlink") from None
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # a socket
            raise _NotForReading("special") from None
        raise


def _read_up_to(handle: int, limit: int) -> bytes:
    data = os.read(handle, limit)
    while len(data) < limit and (more := os.read(handle, limit - len(data))):
        data += more
    return data
