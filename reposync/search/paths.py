"""What ``path=`` means: a file or folder by its name, or else a pattern as in ``.gitignore``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from reposync.errors import ConfigError
from reposync.scan.ignore import matcher
from reposync.scan.paths import unescape_path


def check_path(path: str | os.PathLike[str]) -> str:
    """A path as the index spells it, ``/`` between the parts; "" for the whole repository.

    Raises:
        ConfigError: it cannot be the path of anything in a repository.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(
            f"path={path!r} is no path. Pass a file, a folder or a pattern, relative to the"
            " repository, such as 'src' or '*.py'."
        )
    if os.name == "nt":
        text = text.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ConfigError(f"path={path!r} leads out of the repository. Pass one that does not.")
    kept = "/".join(parts)
    # In a pattern, what stands at its ends says something: from the root, or folders only.
    if _is_pattern(kept):
        return "/" * text.startswith("/") + kept + "/" * text.endswith("/")
    return kept


def choose(wanted: str, paths: Iterable[str]) -> Callable[[str], bool]:
    """Which of `paths` belong to what was asked for, see `check_path`.

    A name with a ``[`` or ``*`` in it is a name first: there are files that are called so.
    """
    literal = wanted.strip("/")
    below = f"{literal}/"

    def is_it(path: str) -> bool:
        return not literal or path == literal or path.startswith(below)

    if not _is_pattern(literal) or any(map(is_it, paths)):
        return is_it
    matches = matcher(wanted)
    return lambda path: matches(unescape_path(path))


def _is_pattern(path: str) -> bool:
    return any(mark in path for mark in "*?[")
