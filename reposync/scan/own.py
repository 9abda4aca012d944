"""What a repository says of itself: in ``reposync.toml``, or in ``[tool.reposync]`` of its
pyproject.toml.

Whoever can write to the repository says it, and whoever syncs need not know them. So it may only
take away from what is indexed, and choose the size of chunks. What it may not say, or cannot be
right, is passed over and told: a repository must not be able to stop a sync either.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reposync.scan.entry import OPEN_SAFELY
from reposync.scan.ignore import parse as parse_patterns
from reposync.settings import MAX_FILE_BYTES, PYPROJECT, NotToml, near, parse, plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reposync.config import SyncConfig

FILE_NAME = "reposync.toml"
ALLOWED = ("include", "exclude", "chunk_tokens")
MAX_PATTERNS = 1000
MAX_PATTERN_CHARS = 1000
# A line that every pyproject.toml has which says anything of us, unless it hides the word.
_OURS = re.compile(
    rb"""^[ \t]*(\[[ \t]*)?["']?tool["']?[ \t]*(\.[ \t]*["']?reposync|\]|=)""", re.MULTILINE
)
_SHOWN = 5


class Unfit(Exception):
    """There is something of that name, and it is not read; says why."""


@dataclass(frozen=True)
class OwnSettings:
    """What a repository says of itself, as far as it may.

    Attributes:
        file: where it says so; "" if it does not.
        include: only files that match one of these patterns are indexed, and of the caller's.
        exclude: nothing that matches one of these is indexed.
        chunk_tokens: see `SyncConfig`; None if it says nothing of it.
        warnings: what was passed over, and why.
        taken: the settings of the caller that gave way.
    """

    file: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    chunk_tokens: int | None = None
    warnings: tuple[str, ...] = ()
    taken: frozenset[str] = frozenset()

    @property
    def narrows(self) -> bool:
        """True if it takes away from what is indexed."""
        return bool(self.include or self.exclude)

    def taking(self, *names: str) -> OwnSettings:
        """The same, where settings of these names gave way."""
        return replace(self, taken=frozenset(names))


NOTHING = OwnSettings()


def read_own(read: Callable[[str], bytes | None]) -> OwnSettings:
    """What a repository says of itself; ``reposync.toml`` says it all, if there is one.

    Args:
        read: gives a file of the tree's top level by its name; None if there is none. Raises
            `Unfit`, or OSError.
    """
    said = _of_file(FILE_NAME, read)
    return said or _of_file(PYPROJECT, read) or NOTHING


def _of_file(name: str, read: Callable[[str], bytes | None]) -> OwnSettings | None:
    """What one of the files says; None if there is none, or it says nothing of us."""
    try:
        data = read(name)
    except Unfit as why:  # another's pyproject.toml may be what it likes
        return _unheeded(name, str(why)) if name == FILE_NAME else None
    except NotToml as why:
        return _unheeded(name, str(why))
    except OSError as error:
        return _unheeded(name, error.strerror or type(error).__name__)
    if data is None or not (name == FILE_NAME or _OURS.search(data)):
        return None
    return _said(name, data)


@lru_cache(maxsize=8)  # a pyproject.toml takes a millisecond, half of what a sync of little takes
def _said(name: str, data: bytes) -> OwnSettings:
    """What a file says, by its content: nothing is missed whatever its stat says."""
    try:
        table = parse(data, whole=name == FILE_NAME)
    except NotToml as why:
        return _unheeded(name, str(why))
    return NOTHING if table is None else _Judge(name, table).settings()


def heed(config: SyncConfig, root: Path, read: Callable[[str], bytes | None]) -> SyncConfig:
    """The settings of a caller and those of a repository: what a sync of it goes by.

    Args:
        config: the caller's.
        root: where the repository is; a file there that the caller named is the caller's word.
        read: see `read_own`.
    """
    config = config.asked  # it may be what a sync of another repository goes by
    if not config.repository_settings or (config.file and _is_at_top(config.file, root)):
        return config
    own = read_own(read)
    return config if own == NOTHING else config.heeding(own)


def _is_at_top(file: str, root: Path) -> bool:
    folder, name = os.path.split(file)
    return name in (FILE_NAME, PYPROJECT) and folder == os.path.realpath(root)


def check_kind(*, is_link: bool, is_file: bool, size: int) -> None:
    """Raise `Unfit` if there is no file, `NotToml` if there is too much of it."""
    if is_link:  # it could lead anywhere
        raise Unfit("it is a symlink")
    if not is_file:
        raise Unfit("it is no file")
    if size > MAX_FILE_BYTES:
        raise NotToml(f"it has more than {MAX_FILE_BYTES} bytes")


def _unheeded(name: str, why: str) -> OwnSettings:
    return OwnSettings(warnings=(f"The repository's own {name} was not heeded: {why}.",))


def read_in_folder(root: bytes) -> Callable[[str], bytes | None]:
    """What reads the files at the top of a folder, for `read_own`."""

    def read(name: str) -> bytes | None:
        path = os.path.join(root, name.encode())
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        mode = found.st_mode
        check_kind(is_link=stat.S_ISLNK(mode), is_file=stat.S_ISREG(mode), size=found.st_size)
        with open(os.open(path, OPEN_SAFELY), "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)

    return read


class _Judge:
    """What of a table a repository may say, and what of it can be right."""

    def __init__(self, name: str, table: dict[str, Any]) -> None:
        self._name = name
        self._table = table
        self._warnings: list[str] = []

    def settings(self) -> OwnSettings:
        """What is left."""
        self._pass_over()
        return OwnSettings(
            file=self._name,
            include=self._patterns("include"),
            exclude=self._patterns("exclude"),
            chunk_tokens=self._chunk_tokens(),
            warnings=tuple(self._warnings),
        )

    def _warn(self, key: str, why: str) -> None:
        stop = "" if why.endswith("?") else "."
        self._warnings.append(f"The repository's own {self._name}: {key}: {why}{stop}")

    def _pass_over(self) -> None:
        """Tell what a repository cannot say."""
        from reposync.config import SyncConfig

        known = SyncConfig.model_fields
        strangers = [key for key in self._table if key not in known]
        for key in strangers[:_SHOWN]:
            self._warn(plain(key), f"there is no such setting{near(key, ALLOWED)}")
        if len(strangers) > _SHOWN:
            self._warn(f"{len(strangers) - _SHOWN} more", "there are no such settings")
        if barred := [key for key in self._table if key in known and key not in ALLOWED]:
            told = "not for a repository to say; set it where you sync, if you want it"
            self._warn(", ".join(barred), told)

    def _patterns(self, key: str) -> tuple[str, ...]:
        value = self._table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self._warn(key, "it must be a list of patterns")
            return ()
        if len(value) > MAX_PATTERNS:
            self._warn(key, f"of {len(value)} patterns, only the first {MAX_PATTERNS} count")
        taken: list[str] = []
        left: list[str] = []
        for one in value[:MAX_PATTERNS]:
            (taken if _is_pattern(one) else left).append(one)
        if left:
            shown = ", ".join(repr(plain(one)) for one in left[:_SHOWN])
            self._warn(key, f"{len(left)} patterns match nothing, or are too long: {shown}")
        return tuple(taken)

    def _chunk_tokens(self) -> int | None:
        from reposync.config import SyncConfig
        from reposync.errors import ConfigError

        value = self._table.get("chunk_tokens")
        if value is None:
            return None
        try:
            if type(value) is int:
                return SyncConfig(chunk_tokens=value).chunk_tokens
        except ConfigError:
            pass
        self._warn("chunk_tokens", "it must be a whole number from 32 to 200")
        return None


def _is_pattern(text: str) -> bool:
    return len(text) <= MAX_PATTERN_CHARS and bool(parse_patterns([os.fsencode(text)], 0).rules)
