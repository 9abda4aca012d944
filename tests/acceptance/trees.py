"""Real repositories for the tests, copied from what is installed: real code, a known size.

Which files are taken depends on the machine (its Python, its packages), never on chance: files come
in the order of a hash of their path, so a tree is a fair sample of its source.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import os
import shutil
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import git

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = Path(sysconfig.get_paths()["purelib"])
LIBRARY = Path(sysconfig.get_paths()["stdlib"])
NOT_LIBRARY = ("site-packages", "test", "tests", "__pycache__", "pydoc_data", "encodings")
KILOBYTE = 1024


@dataclass(frozen=True)
class Source:
    """Where a tree's files come from: all those below `base` with one of the endings."""

    base: Path
    endings: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Names of folders that are passed over."""

    def files(self) -> Iterator[Path]:
        for folder, names, files in os.walk(self.base):
            names[:] = sorted(name for name in names if name not in self.without)
            yield from (Path(folder, name) for name in files if name.endswith(self.endings))


def sample(sources: list[Source], tree: Path, *, files: int, size: int, largest: int) -> None:
    """Copy up to `files` UTF-8 files, of `size` bytes in all, none above `largest`, into `tree`."""
    taken: dict[Path, bytes] = {}
    for source in sources:
        share = (len(taken) + (files - len(taken)) // (len(sources) - sources.index(source)), size)
        for file in sorted(source.files(), key=by_hash(source.base)):
            if len(taken) >= share[0] or sum(map(len, taken.values())) >= size:
                break
            data = file.read_bytes()
            if 0 < len(data) <= largest and is_text(data) and not file.is_symlink():
                taken[file.relative_to(source.base)] = data
    for path, data in taken.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)


def by_hash(base: Path) -> Callable[[Path], bytes]:
    """A sorting key that mixes files well, and equally on every machine."""
    return lambda file: hashlib.blake2b(str(file.relative_to(base)).encode()).digest()


def is_text(data: bytes) -> bool:
    """Whether this is UTF-8 text."""
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


def packages(tree: Path) -> None:
    """Installed packages' Python code, as it lies in an environment: no git."""
    names = ("pydantic", "rich", "httpx", "chromadb", "tokenizers", "opentelemetry", "pip")
    sources = [Source(PACKAGES / name, (".py", ".pyi"), ("__pycache__",)) for name in names]
    for source in sources:
        part = tree / source.base.name
        sample([source], part, files=45, size=200 * KILOBYTE, largest=12 * KILOBYTE)
    add_oddities(tree)


def library(tree: Path) -> None:
    """A part of the standard library, under git, with a second branch."""
    sources = [Source(LIBRARY, (".py",), NOT_LIBRARY)]
    sample(sources, tree, files=260, size=1100 * KILOBYTE, largest=14 * KILOBYTE)
    add_oddities(tree)
    put_under_git(tree)


def mixture(tree: Path) -> None:
    """Many kinds of files: documentation, headers, C, queries, data; under git, some ignored."""
    without = ("__pycache__", "kubernetes", "tests", "testing")
    kinds = [
        (".md", ".rst", "METADATA", "LICENSE", ".txt"),
        (".h", ".hpp", ".c", ".cpp", ".js", ".ts"),
        (".json", ".toml", ".yaml", ".sql", ".scm", ".proto", ".csv", ".pyx", ".pxd"),
        (".pyi",),
        (".py",),
    ]
    sources = [Source(PACKAGES, kind, without) for kind in kinds]
    sample(sources, tree, files=280, size=1100 * KILOBYTE, largest=12 * KILOBYTE)
    add_oddities(tree)
    (tree / ".gitignore").write_text("*.log\n/build/\n!important.log\n", "utf-8")
    for path in ("noise.log", "important.log", "build/made.py", "odd/build/kept.py"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(f"# {path}\n", "utf-8")
    put_under_git(tree)


def large(tree: Path) -> None:
    """Enough code for more than 3 000 chunks, so that the vector index is flushed several times."""
    sources = [Source(LIBRARY, (".py",), NOT_LIBRARY)]
    sample(sources, tree, files=400, size=2300 * KILOBYTE, largest=30 * KILOBYTE)


def small(tree: Path) -> None:
    """Enough code for some 500 chunks."""
    sources = [Source(LIBRARY, (".py",), NOT_LIBRARY)]
    sample(sources, tree, files=80, size=250 * KILOBYTE, largest=20 * KILOBYTE)


def add_oddities(tree: Path) -> None:
    """Add what real trees have somewhere: files without text, odd names, other line ends."""
    odd = tree / "odd"
    odd.mkdir()
    (odd / "empty.py").write_bytes(b"")
    (odd / "blank.py").write_bytes(b"\n \n\t\n")
    (odd / "binary.dat").write_bytes(bytes(range(256)))
    (odd / "huge.txt").write_bytes(b"word " * (210 * KILOBYTE))
    (odd / "link.py").symlink_to("one line.py")
    (odd / "one line.py").write_bytes(b"answer = 42")
    (odd / "größe 大小.md").write_bytes("# Größe\n\nText: 大小.\n".encode())
    (odd / "windows.md").write_bytes(b"# Title\r\n\r\n" + b"A line.\r\nAnother.\r\n\r\n" * 60)
    (odd / "no-breaks.txt").write_bytes("wörter ohne umbruch ".encode() * 200)
    (odd / "twice.py").write_bytes(b"def f():\n    return 'the same twice'\n\n\n" * 60)
    shutil.copy(odd / "twice.py", odd / "twin.py")


def put_under_git(tree: Path) -> None:
    """Commit everything to `main`; the branch `other` differs in some files."""
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "Everything")
    git(tree, "checkout", "-qb", "other")
    files = [tree / path for path in git(tree, "ls-files", "-z", "*.py").split("\0") if path]
    files = [file for file in files if file.is_file() and file.stat().st_size > KILOBYTE]
    for number, file in enumerate(files[:24]):
        if number % 3 == 0:
            file.unlink()
        elif number % 3 == 1:
            file.write_bytes(file.read_bytes() + b"\n\nON_THE_OTHER_BRANCH = %d\n" % number)
        else:
            file.rename(file.with_name(f"moved_{file.name}"))
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "Other")
    git(tree, "checkout", "-q", "main")


# -- Edits of Python code ------------------------------------------------------------------------


@dataclass(frozen=True)
class Spot:
    """A class, with two methods that follow each other, in a file of a tree (lines from 1)."""

    file: Path
    class_name: str
    class_line: int
    first: tuple[int, int]
    second: tuple[int, int]
    indent: int
    """Blanks before the statements of the first method."""


def spots(tree: Path) -> Iterator[Spot]:
    """Classes that lend themselves to edits, in a fixed order, one a file."""
    for file in sorted(tree.rglob("*.py")):
        if not file.is_symlink() and 2 * KILOBYTE < file.stat().st_size < 100 * KILOBYTE:
            text = file.read_bytes().decode("utf-8")
            if "\r" not in text and "\f" not in text and (spot := find_spot(file, text)):
                yield spot


def find_spot(file: Path, text: str) -> Spot | None:
    """The first class of a file with two plain methods of some length in a row."""
    for node in parse(text):
        if not isinstance(node, ast.ClassDef):
            continue
        methods = [
            item
            for item in node.body
            if isinstance(item, ast.FunctionDef)
            and not item.decorator_list
            and item.end_lineno
            and 4 <= item.end_lineno - item.lineno <= 40
        ]
        for first, second in itertools.pairwise(methods):
            if first.end_lineno and second.end_lineno and second.lineno - first.end_lineno <= 3:
                return Spot(
                    file,
                    node.name,
                    node.lineno,
                    (first.lineno, first.end_lineno),
                    (second.lineno, second.end_lineno),
                    first.body[0].col_offset,
                )
    return None


def edit_function(spot: Spot) -> None:
    """Add a line at the end of the first method."""
    lines = spot.file.read_text("utf-8").split("\n")
    edit = " " * spot.indent + "_ = 'an edit inside of one function'"
    lines.insert(spot.first[1], edit)
    write(spot.file, lines)


def rename_class(spot: Spot) -> None:
    """Give the class another name, where it is defined."""
    lines = spot.file.read_text("utf-8").split("\n")
    line = lines[spot.class_line - 1]
    lines[spot.class_line - 1] = line.replace(spot.class_name, f"Renamed{spot.class_name}", 1)
    write(spot.file, lines)


def swap_methods(spot: Spot) -> None:
    """Let the two methods change places; what is between them stays."""
    lines = spot.file.read_text("utf-8").split("\n")
    (a, b), (c, d) = spot.first, spot.second
    swapped = [*lines[: a - 1], *lines[c - 1 : d], *lines[b : c - 1], *lines[a - 1 : b], *lines[d:]]
    write(spot.file, swapped)


def write(file: Path, lines: list[str]) -> None:
    """Write lines back, line ends as they were; the result is still Python."""
    text = "\n".join(lines)
    assert parse(text)
    file.write_bytes(text.encode("utf-8"))


def parse(text: str) -> list[ast.stmt]:
    """The statements of a module; none where it is not Python of this version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            return ast.parse(text).body
        except SyntaxError:
            return []
