"""From a root to its entries: walk the folders, or sift the list that git gave.

Both ask the same questions of each folder, once: is it a real folder inside the root, does it
belong, and which ignore files lie in it. What git lists cannot be taken as it is: its index is a
file of the repository's and may name ``../../etc/passwd``, or ``docs/x`` where ``docs`` has become
a symlink that leads outside.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple, Protocol

from reposync.scan.entry import Entry, failed, look
from reposync.scan.ignore import read_lines
from reposync.scan.paths import escape_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from reposync.records import Failure
    from reposync.scan.ignore import Folder, Hidden

_NEVER = frozenset((b"", b".", b"..", b".git"))
_FOREIGN = (b"\\", b":") if os.name == "nt" else ()


class View(Protocol):
    """What can be asked of a tree of files, on disk or not, by a path relative to its root."""

    def look(self, raw: bytes) -> Entry | None:
        """Say what is there without opening it; None if there is nothing."""

    def is_folder(self, raw: bytes) -> bool:
        """Tell whether there is a real folder; raises OSError if that cannot be told."""

    def rules(self, raw: bytes) -> list[bytes]:
        """Give the lines of an ignore file; none if it is no file."""


class Disk:
    """A folder of the file system."""

    def __init__(self, root: bytes, max_file_bytes: int) -> None:
        self._prefix = os.path.join(root, b"")
        self._max_file_bytes = max_file_bytes

    def look(self, raw: bytes) -> Entry | None:
        """See `View`."""
        return look(self._prefix, raw, self._max_file_bytes)

    def is_folder(self, raw: bytes) -> bool:
        """See `View`."""
        return stat.S_ISDIR(os.lstat(self._prefix + raw).st_mode)

    def rules(self, raw: bytes) -> list[bytes]:
        """See `View`."""
        return read_lines(self._prefix + raw)

    def list(self, raw: bytes) -> Iterator[os.DirEntry[bytes]]:
        """List what lies in a folder."""
        with os.scandir(self._prefix + raw) as listing:
            yield from listing


class Reason(NamedTuple):
    """Why a path does not belong: a word for it, and the rest of the sentence."""

    rule: str
    detail: str


def _hidden_by(hidden: Hidden, path: str) -> Reason:
    option, file = hidden.by.option, hidden.by.file
    setting = f"{option} in {file}" if file else f"{option}="
    if hidden.rule is None:
        return Reason("include", f"no pattern of {setting} matches {path}")
    if option:
        return Reason("exclude", f"{hidden.rule.text!r} of {setting} matches {path}")
    rule = "reposyncignore" if file.endswith(".reposyncignore") else "git_ignored"
    place = f"{file}:{hidden.rule.number}"
    return Reason(rule, f"{place}: {hidden.rule.text!r} matches {path}")


class Ground:
    """The tree that is scanned, and what of it can hold files that belong.

    Attributes:
        failures: the folders that could not be looked into, by their bytes.
    """

    def __init__(self, view: View, above: Folder, *, store: bytes | None = None) -> None:
        self.failures: dict[bytes, Failure] = {}
        self._view = view
        self._store = store
        self._folders: dict[bytes, Folder | None] = {b"": above.enter("", view.rules)}

    def entries(
        self,
        paths: Iterable[bytes],
        descend: Callable[[bytes], Iterable[bytes] | None] = lambda _: None,
    ) -> Iterator[Entry]:
        """Look at each path that belongs; the folders that failed come last.

        Args:
            paths: what is listed.
            descend: gives what is listed in a submodule; None if it is to be left alone.
        """
        yield from self._entries(paths, descend)
        for failure in self.failures.values():
            yield Entry(failure.path, failure=failure)

    def _entries(
        self, paths: Iterable[bytes], descend: Callable[[bytes], Iterable[bytes] | None]
    ) -> Iterator[Entry]:
        modules = []
        for raw in paths:
            entry = self.entry(raw)
            if entry is not None and entry.skip == "submodule":
                modules.append((raw, entry))
            elif entry is not None:
                yield entry
        for raw, entry in modules:
            # Git also lists a tracked file that became a folder. That one it looks into, so that by
            # now it is known as the folder of another path.
            if raw in self._folders:
                continue
            inside = descend(raw)
            if inside is None:
                yield entry
            else:
                yield from self._entries(inside, descend)

    def entry(self, raw: bytes) -> Entry | None:
        """Look at one path; None if it does not belong."""
        parent, _, name = raw.rpartition(b"/")
        folder = self.folder(parent)
        if folder is None or not _is_name(name):
            return None
        entry = self._view.look(raw)
        if entry is None or not folder.heeds:
            return entry
        hidden = folder.hides(raw.decode("latin-1"), is_folder=entry.skip == "submodule")
        return entry if hidden is None else None

    def why_not(self, raw: bytes, *, is_folder: bool = False) -> Reason | None:
        """Tell why a path does not belong, be it there or not; None if it does, or would."""
        folder = self._folders[b""]
        assert folder is not None
        parts = raw.split(b"/")
        for depth in range(1, len(parts) + 1):
            path, last = b"/".join(parts[:depth]), depth == len(parts)
            if not _is_name(parts[depth - 1]):
                return Reason("git_folder", f"{escape_path(path)} is never looked into")
            if path == self._store:
                return Reason("store", f"{escape_path(path)} is the store's own folder")
            text = path.decode("latin-1")
            hidden = folder.hides(text, is_folder=is_folder or not last)
            if hidden is not None:
                return _hidden_by(hidden, escape_path(path))
            if not last:
                there = self._is_there(path)
                if there is None:
                    return Reason("behind_symlink", f"{escape_path(path)} is no folder of the root")
                inside = self.folder(path) if there else folder.enter(text, lambda _: [])
                if inside is None:
                    return Reason("unreadable", f"{escape_path(path)} cannot be looked into")
                folder = inside
        return None

    def _is_there(self, raw: bytes) -> bool | None:
        """True for a folder, False for nothing, None for what is no folder."""
        try:
            if self._view.is_folder(raw):
                return True
        except OSError:
            return False
        return None if self._view.look(raw) is not None else False

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
            if not self._view.is_folder(raw):
                return None
            if parent.hides(path, is_folder=True) is not None:
                return None
            return parent.enter(path, self._view.rules)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.failures[raw] = failed(escape_path(raw), error)
            return None

    def walk(self, disk: Disk, top: bytes = b"") -> Iterator[bytes]:
        """List the files below a folder without following a symlink."""
        pending = [top]
        while pending:
            raw = pending.pop()
            if self.folder(raw) is None:
                continue
            for found in self._list(disk, raw):
                path = raw + b"/" + found.name if raw else found.name
                if _is_folder(found):
                    pending.append(path)
                else:
                    yield path

    def _list(self, disk: Disk, raw: bytes) -> Iterator[os.DirEntry[bytes]]:
        try:
            yield from disk.list(raw)
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
