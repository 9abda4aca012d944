"""From a root to its entries: walk the folders, or sift the list that git gave.

Both ask the same questions of each folder, once: is it a real folder inside the root, does it
belong, and which ignore files lie in it. What git lists cannot be taken as it is: its index is a
file of the repository's and may name ``../../etc/passwd``, or ``docs/x`` where ``docs`` has become
a symlink that leads outside.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from reposync.scan.entry import Entry, failed, look
from reposync.scan.paths import escape_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reposync.records import Failure
    from reposync.scan.ignore import Folder

_NEVER = frozenset((b"", b".", b"..", b".git"))
_FOREIGN = (b"\\", b":") if os.name == "nt" else ()


class Ground:
    """The folder that is scanned, and what of it can hold files that belong.

    Attributes:
        failures: the folders that could not be looked into, by their bytes.
    """

    def __init__(
        self, root: bytes, above: Folder, *, store: bytes | None, max_file_bytes: int
    ) -> None:
        self.prefix = os.path.join(root, b"")
        self.failures: dict[bytes, Failure] = {}
        self._store = store
        self._max_file_bytes = max_file_bytes
        self._folders: dict[bytes, Folder | None] = {b"": above.enter("", self.prefix)}

    def entries(self, paths: Iterable[bytes]) -> Iterator[Entry]:
        """Look at each path that belongs; the folders that failed come last."""
        modules = []
        for raw in paths:
            entry = self._entry(raw)
            if entry is not None and entry.skip == "submodule":
                modules.append((raw, entry))
            elif entry is not None:
                yield entry
        # Git also lists a tracked file that became a folder. That one it looks into, so that by now
        # it is known as the folder of another path.
        yield from (entry for raw, entry in modules if raw not in self._folders)
        for failure in self.failures.values():
            yield Entry(failure.path, failure=failure)

    def _entry(self, raw: bytes) -> Entry | None:
        parent, _, name = raw.rpartition(b"/")
        folder = self.folder(parent)
        if folder is None or not _is_name(name):
            return None
        entry = look(self.prefix, raw, self._max_file_bytes)
        if entry is None or not folder.heeds:
            return entry
        hidden = folder.hides(raw.decode("latin-1"), is_folder=entry.skip == "submodule")
        return None if hidden else entry

    def folder(self, raw: bytes) -> Folder | None:
        """Give a folder's rules; None if nothing that lies in it belongs."""
        if raw not in self._folders:
            end = -1  # from the top, since a hidden folder hides all that is below it
            while end < len(raw):
                end = raw.find(b"/", end + 1)
                end = len(raw) if end < 0 else end
                if raw[:end] not in self._folders:
                    self._folders[raw[:end]] = self._enter(raw[:end])
        return self._folders[raw]

    def _enter(self, raw: bytes) -> Folder | None:
        above, _, name = raw.rpartition(b"/")
        parent = self._folders[above]
        if parent is None or not _is_name(name) or raw == self._store:
            return None
        path = raw.decode("latin-1")
        try:
            if not stat.S_ISDIR(os.lstat(self.prefix + raw).st_mode):
                return None
            return None if parent.hides(path, is_folder=True) else parent.enter(path, self.prefix)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.failures[raw] = failed(escape_path(raw), error)
            return None

    def walk(self) -> Iterator[bytes]:
        """List the files below the root without following a symlink."""
        pending = [b""]
        while pending:
            raw = pending.pop()
            if self.folder(raw) is None:
                continue
            for found in self._list(raw):
                path = raw + b"/" + found.name if raw else found.name
                if _is_folder(found):
                    pending.append(path)
                else:
                    yield path

    def _list(self, raw: bytes) -> Iterator[os.DirEntry[bytes]]:
        try:
            with os.scandir(self.prefix + raw) as listing:
                yield from listing
        except (FileNotFoundError, NotADirectoryError):
            pass  # gone since it was listed
        except OSError as error:
            if not raw:
                raise
            self.failures[raw] = failed(escape_path(raw), error)


def _is_name(name: bytes) -> bool:
    return name.lower() not in _NEVER and not (_FOREIGN and any(sign in name for sign in _FOREIGN))


def _is_folder(found: os.DirEntry[bytes]) -> bool:
    try:
        return found.is_dir(follow_symlinks=False) and not _is_junction(found)
    except OSError:
        return False  # the look at it will tell


def _is_junction(found: os.DirEntry[bytes]) -> bool:
    # On Windows a junction says that it is a folder, and may lead back to one above it.
    return bool(getattr(found, "is_junction", bool)())
