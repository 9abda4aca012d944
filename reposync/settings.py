"""Settings as text: from environment variables, and from TOML files.

Here text becomes the arguments of `reposync.SyncConfig`, each with the place that it came from, so
that an error can name the place, and `SyncConfig.explain` the origin.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from reposync.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

PREFIX = "REPOSYNC_"

STORE_VARIABLE = "REPOSYNC_STORE"
FILE_VARIABLE = "REPOSYNC_CONFIG"
OTHER_VARIABLES = {
    STORE_VARIABLE: "the folder of the store, where a call names none",
    FILE_VARIABLE: "a settings file; variables of single settings come before what it says",
}
"""The variables with our prefix that are no settings."""

# Kubernetes sets these in each pod once a service is called "reposync" or "reposync-something".
_OF_KUBERNETES = re.compile(
    r"REPOSYNC_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?"
    r"|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_LIST = re.compile(r'\s*\[\s*["\]]')
PYPROJECT = "pyproject.toml"
MAX_FILE_BYTES = 256 * 1024
# A parser of TOML takes time with the square of the parts of a dotted key. This many squares take
# it some 40 ms; files that people write have a thousandth of them.
_MAX_SQUARED_DOTS = 4_000_000


class Unit(str):
    """What a number counts; stands in the annotation of a setting."""


class Setting(NamedTuple):
    """One setting as it was read.

    Attributes:
        value: what it is set to.
        origin: where that was said, to be shown: "environment variable REPOSYNC_MAX_FILES".
        place: the same in short, to begin an error with: "sync.toml:3: max_files".
    """

    value: Any
    origin: str
    place: str


Settings = dict[str, Setting]


def near(name: str, names: Iterable[str]) -> str:
    """A hint at the name that was meant, to go on with after "there is no such setting"."""
    import difflib

    spelt = {one.lower(): one for one in names}
    found = difflib.get_close_matches(name.lower(), spelt, n=1)
    return f"; did you mean {spelt[found[0]]}?" if found else ""


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def is_textual(field: FieldInfo) -> bool:
    """False for the settings that no text can say: functions, an executor."""
    return not field.exclude


# -- the environment -----------------------------------------------------------------------------


def from_environment(environ: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> Settings:
    """The settings that variables say; one that is empty says nothing.

    Raises:
        ConfigError: a variable with our prefix is no setting, or no text can say it.
    """
    names = {variable(name): name for name in fields}
    found: Settings = {}
    for key in sorted(key for key in environ if key.startswith(PREFIX)):
        text = environ[key]
        if key in OTHER_VARIABLES or _OF_KUBERNETES.fullmatch(key) or not text:
            continue
        if key not in names:
            hint = near(key, [*names, *OTHER_VARIABLES])
            raise ConfigError(
                f"{key}: there is no such setting{hint or '.'} Unset it, or see"
                " docs/reference/configuration.md for the variables that there are."
            )
        field = fields[names[key]]
        if not is_textual(field):
            raise ConfigError(
                f"{key}: no text can say that; unset it, and pass"
                f" SyncConfig.from_env({names[key]}=...)."
            )
        value = _from_text(text, field, key)
        found[names[key]] = Setting(value, f"environment variable {key}", key)
    return found


def _from_text(text: str, field: FieldInfo, key: str) -> Any:
    """What a text says; numbers and the like are left for `SyncConfig` to read and to judge."""
    kind = field.annotation
    if kind == tuple[str, ...]:
        return _patterns(text, key)
    if type(None) in get_args(kind) and text.strip().lower() == "none":
        return None
    return text if kind is str or str in get_args(kind) else text.strip()


def _patterns(text: str, key: str) -> list[str]:
    """One pattern a line, or a JSON list; a pattern may begin with a bracket, too."""
    if not _LIST.match(text):
        return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"{key}: it begins as a JSON list and is none ({error}). Write one pattern a line, or a"
            ' JSON list: ["docs/", "*.md"].'
        ) from error
    return [found] if isinstance(found, str) else list(found)


# -- files ---------------------------------------------------------------------------------------


def from_file(path: str | os.PathLike[str], names: Iterable[str]) -> Settings:
    """The settings that a TOML file says; of a pyproject.toml, those in ``[tool.reposync]``.

    Raises:
        ConfigError: it cannot be read, is no TOML, or says something that is no setting.
    """
    shown, whole = os.fspath(path), Path(path).name != PYPROJECT
    try:
        data = Path(path).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # the last: nobody's home folder
        raise ConfigError(
            f"The settings file {shown!r} cannot be read ({error}). Pass one that can."
        ) from error
    try:
        table = parse(data, whole=whole)
    except NotToml as error:
        raise ConfigError(f"{shown}: {error}. Mend it, or pass another settings file.") from error
    if table is None:
        raise ConfigError(f"{shown} has no table [tool.reposync]. Add it, or pass another file.")
    names = list(names)
    found: Settings = {}
    for key, value in table.items():
        place = f"{shown}{line_of(data, key, whole=whole)}: {plain(key)}"
        if key not in names:
            raise ConfigError(
                f"{place}: there is no such setting{near(key, names) or '.'} Take it out, or see"
                " docs/reference/configuration.md for the settings that there are."
            )
        found[key] = Setting(value, f"file {shown}", place)
    return found


class NotToml(ValueError):
    """A text cannot be read as TOML; says why."""


def parse(data: bytes, *, whole: bool) -> dict[str, Any] | None:
    """The settings in a TOML file; None if there is no table of ours.

    Work is bounded, whoever wrote it.

    Args:
        data: the file's bytes.
        whole: all of it is ours; else the table tool.reposync is.

    Raises:
        NotToml: it is none.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    if len(data) > MAX_FILE_BYTES:
        raise NotToml(f"it has more than {MAX_FILE_BYTES} bytes")
    if sum(line.count(b".") ** 2 for line in data.split(b"\n")) > _MAX_SQUARED_DOTS:
        raise NotToml("it has a line with thousands of dots")
    try:
        found: Any = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise NotToml("it is not UTF-8") from None
    except RecursionError:
        raise NotToml("its values are nested too deeply") from None
    except ValueError as error:  # a number may be too long, too
        raise NotToml(f"it is no TOML: {plain(str(error), 200)}") from None
    for key in () if whole else ("tool", "reposync"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def line_of(data: bytes, key: str, *, whole: bool) -> str:
    """Where a file sets a key, as ":12"; "" if that cannot be told without a parser."""
    lines = data.decode("utf-8", "replace").splitlines()
    first = 0
    if not whole:
        first = _find(lines, 0, r"\[\s*tool\s*\.\s*reposync\s*\]") or 0
    name = re.escape(key)
    number = _find(lines, first, rf"(?:{name}|\"{name}\"|'{name}')\s*[=.]")
    return "" if number is None else f":{number + 1}"


def _find(lines: list[str], first: int, expression: str) -> int | None:
    found = (at for at in range(first, len(lines)) if re.match(expression, lines[at].lstrip()))
    return next(found, None)


def plain(text: str, most: int = 60) -> str:
    """A name out of somebody's file, fit to be shown: short, in one line, nothing to obey in it."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:most])
    return shown + ("..." if len(text) > most else "")
