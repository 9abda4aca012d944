"""What ``.gitattributes`` files say of a path: whether it is generated, or another project's.

The files are read from the tree itself, so that no git is needed and a commit can be asked as well
as a folder. As in git, the file nearest to the path decides, and in a file the last line that
matches; patterns are those of ``.gitignore``, but one that matches a folder says nothing of what
lies in it, and none is negated. Macros (``[attr]``) and ``.git/info/attributes`` are not heeded:
the former are hardly ever used for this, the latter is not part of the repository.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from reposync.scan.ignore import parse
from reposync.scan.paths import unescape_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FILE_NAME = b".gitattributes"

_NAMES = (b"linguist-generated", b"linguist-vendored")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"(.*)', re.DOTALL)
_UNSET = (b"false", b"no", b"0", b"off")


class Marks(NamedTuple):
    """What the author says of a file; None where nothing is said."""

    generated: bool | None = None
    vendored: bool | None = None


UNMARKED = Marks()


class _Line(NamedTuple):
    """One line of a file: what it matches, and what it says (in the order of `_NAMES`)."""

    regex: re.Pattern[str]
    states: dict[bytes, bool | None]


class Attributes:
    """The marks of all files of one tree."""

    def __init__(self, read: Callable[[bytes], Iterable[bytes]]) -> None:
        """`read` gives the lines of a file by its path in the tree; none if there is no such file.

        It is called once a folder, and only for folders in which there are files to be judged.
        """
        self._read = read
        self._chains: dict[str, tuple[tuple[int, tuple[_Line, ...]], ...]] = {}
        self._silent: set[str] = set()

    def marks(self, path: str) -> Marks:
        """What is said of the file at `path` (escaped, see `reposync.scan.paths`)."""
        folder = path.rpartition("/")[0]
        if folder in self._silent:
            return UNMARKED
        raw = unescape_path(path).decode("latin-1")
        chain = self._chain(raw.rpartition("/")[0])
        if not chain:
            self._silent.add(folder)
        found: dict[bytes, bool | None] = {}
        for start, lines in chain:
            for line in lines:
                if line.regex.fullmatch(raw[start:]):
                    for name, state in line.states.items():
                        found.setdefault(name, state)
        return Marks(*(found.get(name) for name in _NAMES)) if found else UNMARKED

    def _chain(self, folder: str) -> tuple[tuple[int, tuple[_Line, ...]], ...]:
        """The files that bear on a folder, the nearest first, each with its lines, last first."""
        if folder not in self._chains:
            above = self._chain(folder.rpartition("/")[0]) if folder else ()
            raw = folder.encode("latin-1")
            try:
                found = self._read(raw + b"/" + FILE_NAME if raw else FILE_NAME)
            except OSError:  # what it says of these files is not worth their failure
                found = ()
            lines = tuple(_parse(found))
            own = ((len(folder) + 1 if folder else 0, lines),) if lines else ()
            self._chains[folder] = own + above
        return self._chains[folder]


def _parse(lines: Iterable[bytes]) -> Iterator[_Line]:
    """The lines that say something of what is asked here, the last first."""
    for line in reversed([line for line in lines if b"linguist-" in line]):
        pattern, words = _split(line.strip())
        states = {name: state for word in words for name, state in _state(word) if name in _NAMES}
        if (
            states
            and not pattern.startswith((b"#", b"!", b"[attr]"))
            and not pattern.endswith(b"/")
        ):
            for rule in parse([pattern], 0).rules:
                yield _Line(rule.regex, states)


def _split(line: bytes) -> tuple[bytes, list[bytes]]:
    if quoted := _QUOTED.match(line):
        return re.sub(rb"\\(.)", rb"\1", quoted[1]), quoted[2].split()
    pattern, *words = line.split() or [b""]
    return pattern, words


def _state(word: bytes) -> Iterator[tuple[bytes, bool | None]]:
    """``x`` and ``x=true`` set a mark, ``-x`` and ``x=false`` say the contrary, ``!x`` nothing."""
    name, _, value = word.partition(b"=")
    if name.startswith(b"!"):
        yield name[1:], None
    elif name.startswith(b"-"):
        yield name[1:], False
    else:
        yield name, value.lower() not in _UNSET
