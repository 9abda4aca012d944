"""Which paths the ignore files and patterns hide: git's rules, one level of folders at a time.

pathspec turns a pattern into a regular expression. What it does not do is git's walk over levels:
deeper files override, the last matching rule of a file decides, and below a hidden folder nothing
can be brought back. So a path is asked about only after all folders above it were found not to be
hidden, and a rule counts only where it matches the path itself, not a folder above it.

Patterns and paths are compared byte by byte, as git does: both are Latin-1 text here, in which one
character is one byte, so that ``?`` matches the same as for git and no name is undecodable.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from reposync.errors import ConfigError
from reposync.scan.entry import OPEN_SAFELY
from reposync.scan.paths import escape_path
from reposync.scan.steady import steady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reposync.scan.own import OwnSettings

_CLASSES = {
    "[:alnum:]": "a-zA-Z0-9",
    "[:alpha:]": "a-zA-Z",
    "[:blank:]": " \t",
    "[:digit:]": "0-9",
    "[:lower:]": "a-z",
    "[:space:]": " \t\n\r\f\v",
    "[:upper:]": "A-Z",
    "[:xdigit:]": "0-9a-fA-F",
}
_CLASS = re.compile("|".join(map(re.escape, _CLASSES)))
_ESCAPE = re.compile(r"\\.", re.DOTALL)
MAX_RULES_BYTES = 16 * 1_048_576


class Rule(NamedTuple):
    """One line of an ignore file."""

    regex: re.Pattern[str]
    hides: bool
    folders_only: bool
    text: str
    number: int


class Rules(NamedTuple):
    """One ignore file: its rules, the last first, and how much of a path leads to its folder.

    Or a setting, `option`: the caller's, or that of a repository's own `file`.
    """

    start: int
    rules: tuple[Rule, ...]
    file: str = ""
    option: str = ""

    def match(self, path: str, is_folder: bool) -> Rule | None:
        """Give the last rule that matches: it decides."""
        local = path[self.start :]
        for rule in self.rules:
            if (is_folder or not rule.folders_only) and rule.regex.fullmatch(local):
                return rule
        return None


class Hidden(NamedTuple):
    """What hides a path.

    Attributes:
        by: the ignore file, or the setting.
        rule: the line that does; None for ``include``, where it is that none matches.
    """

    by: Rules
    rule: Rule | None = None


Chain = tuple[Rules, ...]
"""The ignore files of one name that bear on a folder, the nearest first."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What the rules say of one folder, and so of what lies in it.

    Attributes:
        names: the ignore files to heed, each a chain of its own that can hide but not show what
            another one hides.
        chains: one for each of `names`, and one for each setting ``exclude``.
        includes: each setting ``include``; a file must match all of them.
        included: what each of them says of this folder.
    """

    names: tuple[bytes, ...]
    chains: tuple[Chain, ...]
    includes: tuple[Rules, ...] = ()
    included: tuple[bool, ...] = ()

    @property
    def heeds(self) -> bool:
        """False if there is no rule to ask, as in most trees that git lists."""
        return bool(self.includes) or any(self.chains)

    def hides(self, path: str, is_folder: bool) -> Hidden | None:
        """Tell what hides a path that lies directly in this folder, if anything does."""
        for chain in self.chains:
            for rules in chain:
                rule = rules.match(path, is_folder)
                if rule is not None:
                    if rule.hides:
                        return Hidden(rules, rule)
                    break
        if not self.includes or is_folder:
            return None
        verdicts = zip(self.includes, self._includes(path, False), strict=True)
        return next((Hidden(include) for include, says in verdicts if not says), None)

    def enter(self, path: str, read: Callable[[bytes], list[bytes]]) -> Folder:
        """Go down into a folder that is not hidden, reading the ignore files that lie in it.

        Args:
            path: the folder.
            read: gives the lines of an ignore file by its path; none if it is no file.
        """
        raw = path.encode("latin-1")
        start = len(path) + 1 if path else 0
        inside = replace(self, included=self._includes(path, True)) if self.includes else self
        for number, name in enumerate(self.names):
            lines = read(os.path.join(raw, name))
            if lines and (rules := parse(lines, start, _shown(raw, name))).rules:
                chains = list(inside.chains)
                chains[number] = (rules, *chains[number])
                inside = replace(inside, chains=tuple(chains))
        return inside

    def _includes(self, path: str, is_folder: bool) -> tuple[bool, ...]:
        found = (include.match(path, is_folder) for include in self.includes)
        verdicts = zip(found, self.included, strict=True)
        return tuple(before if rule is None else rule.hides for rule, before in verdicts)


def _shown(raw: bytes, name: bytes) -> str:
    return escape_path(os.path.join(raw, name))


def above_root(
    names: tuple[bytes, ...],
    include: Sequence[str],
    exclude: Sequence[str],
    own: OwnSettings | None = None,
) -> Folder:
    """Make what the walk begins with: the settings, and no ignore file read yet.

    Args:
        names: the ignore files to heed.
        include, exclude: the caller's patterns.
        own: the repository's; they can hide, but not show what the caller's hide.
    """
    said = [(include, exclude, "")]
    if own is not None:
        said.append((own.include, own.exclude, own.file))
    excludes = tuple((_patterns(found, "exclude", file),) for _, found, file in said if found)
    includes = tuple(_patterns(found, "include", file) for found, _, file in said if found)
    chains: tuple[Chain, ...] = ((),) * len(names)
    return Folder(names, chains + excludes, includes, (False,) * len(includes))


def matcher(pattern: str) -> Callable[[bytes], bool]:
    """What tells whether a pattern of an ignore file matches a file, or a folder above it.

    Raises:
        ConfigError: it is no pattern.
    """
    rules = parse([os.fsencode(pattern)], 0)
    if not rules.rules:
        raise ConfigError(f"{pattern!r} is a pattern that matches nothing, see git's gitignore(5).")

    def matches(path: bytes) -> bool:
        text = path.decode("latin-1")
        above = (text[:at] for at, letter in enumerate(text) if letter == "/")
        return any(rules.match(folder, True) for folder in above) or bool(rules.match(text, False))

    return matches


def _patterns(patterns: Sequence[str], option: str, file: str) -> Rules:
    if isinstance(patterns, str):
        raise ConfigError(
            f"{option}={patterns!r} is one string. Pass a list of patterns, [{patterns!r}]."
        )
    lines = [os.fsencode(pattern) for pattern in patterns]
    for line, pattern in zip(lines, patterns, strict=True):
        if not parse([line], 0).rules:
            raise ConfigError(
                f"{option} holds a pattern that matches nothing: {pattern!r}. Take it out, or write"
                " it as a line of .gitignore."
            )
    return parse(lines, 0, file)._replace(option=option)


def parse(lines: Iterable[bytes], start: int, file: str = "") -> Rules:
    """Read the lines of an ignore file; a line that is no pattern is passed over, as git does."""
    rules = [
        rule
        for number, line in enumerate(lines, start=1)
        if (rule := _parse_line(line.decode("latin-1"), number))
    ]
    return Rules(start, tuple(reversed(rules)), file)


def _parse_line(line: str, number: int) -> Rule | None:
    line = _trim(line.removesuffix("\r"))
    if not line or line.startswith("#"):
        return None
    hides = not line.startswith("!")
    body = line if hides else line[1:]
    folders_only = body.endswith("/")
    regex = _compile(body.removesuffix("/"))
    if regex is None:
        return None
    return Rule(regex, hides, folders_only, escape_path(line.encode("latin-1")), number)


def _trim(line: str) -> str:
    """Take trailing blanks away, but for one that is escaped."""
    bare = line.rstrip(" ")
    escaped = (len(bare) - len(bare.rstrip("\\"))) % 2
    return line[: len(bare) + 1] if escaped and bare != line else bare


def _compile(body: str) -> re.Pattern[str] | None:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    if not body:
        return None
    try:
        text, _ = GitIgnoreSpecPattern.pattern_to_regex(_for_pathspec(body))
        if text is None:
            return None
        # In git a bracket never matches a slash. And a name may hold a newline: DOTALL.
        text = text.replace("[^", "[^/")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # "[[" is a set of one in a pattern
            return re.compile(steady(text), re.DOTALL)
    except (ValueError, re.error):
        return None  # not a pattern; git passes it over too


def _for_pathspec(body: str) -> str:
    """Word a pattern so that pathspec's expression matches all of a path, not a folder above it."""
    body = _ESCAPE.sub(lambda found: "/" if found[0] == "\\/" else found[0], body)
    last = body.rpartition("/")[2]
    if last == "**":
        body += "/?*"
    elif last == "*":
        body = body[:-1] + "?*"
    if "[" in body:
        body = _CLASS.sub(lambda found: _CLASSES[found[0]], body)
    if body[0] in "!#":
        body = "\\" + body
    if body[-1].isspace():  # it would be stripped, as would the last byte of some UTF-8 letters
        head = body[:-1]
        if (len(head) - len(head.rstrip("\\"))) % 2:
            head = head[:-1]
        body = f"{head}[{body[-1]}]"
    return body


def read_lines(path: bytes) -> list[bytes]:
    """Read an ignore file if it is a file: opening a FIFO of that name would wait for ever.

    A symlink is not followed, as in git: it could lead anywhere.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    if not stat.S_ISREG(found.st_mode):
        return []
    if found.st_size > MAX_RULES_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    with open(os.open(path, OPEN_SAFELY), "rb") as file:
        return split_lines(file.read())


def split_lines(data: bytes) -> list[bytes]:
    """Cut the content of an ignore file into lines, without the mark that some editors set."""
    return data.removeprefix(codecs.BOM_UTF8).split(b"\n")
