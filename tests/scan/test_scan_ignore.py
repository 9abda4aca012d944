"""The plain walk gives git's own answer; .reposyncignore, include and exclude work on top."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reposync import SyncConfig
from reposync.errors import ConfigError
from reposync.scan import FolderSource, list_entries
from reposync.scan.ignore import _for_pathspec, above_root
from reposync.scan.steady import steady
from reposync.scan.walk import Disk, Ground

Tree = Callable[[dict[str, str | bytes]], Path]
Git = Callable[..., bytes]


def listed(root: Path, **options: object) -> list[str]:
    return [entry.path for entry in list_entries(root, **options)]  # type: ignore[arg-type]


def walked(root: Path) -> set[bytes]:
    """List a folder as if it were in no work tree."""
    above = above_root((b".gitignore",), (), ())
    disk = Disk(os.fsencode(root), max_file_bytes=100)
    ground = Ground(disk, above)
    return {os.fsencode(entry.path) for entry in ground.entries(ground.walk(disk))}


def git_lists(root: Path, git_folder: Path) -> set[bytes]:
    """Ask git about the same folder, its repository being elsewhere."""
    where = [f"--git-dir={git_folder}", f"--work-tree={root}"]
    subprocess.run(["git", "init", "-q", "--bare", git_folder], check=True)
    question = ["git", *where, "-c", "core.bare=false", "ls-files", "-zo", "--exclude-standard"]
    answer = subprocess.run(question, cwd=root, check=True, capture_output=True).stdout
    return set(answer.split(b"\0")) - {b""}


NAMES = ["a", "b", "ab", "a.c", "b.c", "é", "[a]", "!a", "#a", "a ", "à", "a\nb", "keep", "build"]
FOLDERS = ["", "a", "b", "a/b", "a/b/a", "b/a", "build", "build/keep", "à", "x\ny"]
files = st.lists(
    st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)).map(
        lambda two: "/".join(two).strip("/")
    ),
    min_size=1,
    max_size=14,
)
atoms = [
    *(
        "*",
        "**",
        "?",
        "a",
        "b",
        "a*",
        "*.c",
        "[ab]",
        "[!a]",
        "[^b]*",
        "[[:alpha:]]",
        "[a-b]?",
        "[[]a]",
    ),
    *("é", "?c", "à", "\\!a", "\\#a", "a\\ ", "keep", "build", "b\\", "a.?", "\\a", "!a"),
]
globs = st.builds(
    lambda bang, head, parts, tail: bang + head + "/".join(parts) + tail,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/", "**/"]),
    st.lists(st.sampled_from(atoms), min_size=1, max_size=3),
    st.sampled_from(["", "", "/", "/**", "/*", " ", "\r"]),
)
ignores = st.lists(globs, max_size=6).map("\n".join)


@settings(max_examples=120, deadline=None)
@given(files, st.dictionaries(st.sampled_from(FOLDERS), ignores, max_size=4))
def test_the_plain_walk_lists_what_git_lists(names: list[str], rules: dict[str, str]) -> None:
    """Nested ignore files, negations and all hide the same files as they do for git."""
    with tempfile.TemporaryDirectory() as top:
        root = Path(top, "tree")
        root.mkdir()
        contents = dict.fromkeys(names, "")
        contents |= {os.path.join(folder, ".gitignore"): text for folder, text in rules.items()}
        for name, text in contents.items():
            path = root / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="")
            except OSError:
                continue  # a file and a folder of one name
        assert walked(root) == git_lists(root, Path(top, "git"))


def test_odd_brackets_warn_nobody(tree: Tree) -> None:
    """A pattern that Python's own expressions would warn of is only a pattern."""
    root = tree({".gitignore": "[[]x]\n[a--]\n[z-a]\n[\n", "[x]": "x", "b": "x"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert listed(root) == [".gitignore", "b"]


@pytest.mark.parametrize("in_git", [False, True])
class TestOnTop:
    """What holds in a git work tree and outside alike."""

    @pytest.fixture
    def grow(self, in_git: bool, tree: Tree, git: Git) -> Tree:
        def make(files: dict[str, str | bytes]) -> Path:
            root = tree(files)
            if in_git:
                git(root, "init", "-q")
                git(root, "add", "-A")
            return root

        return make

    def test_reposyncignore_hides_at_any_depth(self, grow: Tree) -> None:
        """A .reposyncignore holds for its folder, deeper ones come first, folders are pruned."""
        root = grow(
            {
                ".reposyncignore": "*.md\n/gen/\n",
                "a.md": "x",
                "a.py": "x",
                "docs/.reposyncignore": "!*.md\n*.py\n",
                "docs/b.md": "x",
                "docs/b.py": "x",
                "gen/.reposyncignore": "!*\n",
                "gen/c.py": "x",
                "deep/gen/d.py": "x",
            }
        )
        assert listed(root) == [
            ".reposyncignore",
            "a.py",
            "deep/gen/d.py",
            "docs/.reposyncignore",
            "docs/b.md",
        ]

    def test_reposyncignore_cannot_show_what_gitignore_hides(self, grow: Tree) -> None:
        """It is on top of what git decides: it takes away and never adds."""
        root = grow({".gitignore": "*.log\n", ".reposyncignore": "!*.log\n", "a.log": "x"})
        assert listed(root) == [".gitignore", ".reposyncignore"]

    def test_a_reposyncignore_that_git_ignores_counts(self, grow: Tree) -> None:
        """Somebody's own .reposyncignore need not be shared to be heeded."""
        root = grow(
            {".gitignore": ".reposyncignore\n", ".reposyncignore": "b\n", "a": "x", "b": "x"}
        )
        assert listed(root) == [".gitignore", "a"]

    def test_include_takes_only_what_matches(self, grow: Tree) -> None:
        """With include, a file belongs if a pattern matches it or a folder above it."""
        root = grow({"a.py": "x", "a.md": "x", "src/b.c": "x", "src/c.md": "x", "x/y/d.py": "x"})
        assert listed(root, include=["*.py"]) == ["a.py", "x/y/d.py"]
        assert listed(root, include=["src/", "!*.md"]) == ["src/b.c"]
        assert listed(root, include=["/x/**"]) == ["x/y/d.py"]

    def test_exclude_wins_over_include(self, grow: Tree) -> None:
        """What is excluded does not belong, whatever else is said."""
        root = grow({"a.py": "x", "test/b.py": "x", "test/c/d.py": "x"})
        assert listed(root, include=["*.py"], exclude=["test/"]) == ["a.py"]
        assert listed(root, exclude=["test/*", "!test/c"]) == ["a.py", "test/c/d.py"]

    def test_the_store_in_the_root_does_not_belong(self, grow: Tree) -> None:
        """What we write ourselves is never scanned, by whatever name the store is given."""
        root = grow({"a": "x", "chroma/db/x": "x", "chroma2/y": "x"})
        (root.parent / "link").symlink_to(root / "chroma")
        for store in (root / "chroma", root / "chroma2" / ".." / "chroma", root.parent / "link"):
            assert listed(root, store_path=store) == ["a", "chroma2/y"]
        assert listed(root, store_path=root.parent) == ["a", "chroma/db/x", "chroma2/y"]

    def test_an_unreadable_reposyncignore_closes_its_folder(
        self, grow: Tree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where it cannot be known what is to be hidden, nothing is shown and nothing is lost."""
        root = grow({"a": "x", "b/.reposyncignore": "", "b/c": "x"})
        really = os.lstat

        def refuse(path: bytes) -> os.stat_result:
            if os.fsencode(path).endswith(b"b/.reposyncignore"):
                raise PermissionError(13, "Permission denied")
            return really(path)

        with monkeypatch.context() as patched:
            patched.setattr(os, "lstat", refuse)
            first, closed = list_entries(root)
        assert first.path == "a"
        assert closed.path == "b"
        assert closed.failure is not None
        assert closed.failure.error == "PermissionError"


@pytest.mark.parametrize("option", ["include", "exclude"])
@pytest.mark.parametrize("patterns", [["ok", "[a"], ["# note"], [""], "*.py"])
def test_a_pattern_that_is_none_is_the_callers_mistake(
    tree: Tree, option: str, patterns: list[str]
) -> None:
    """A pattern that could never match is refused and not passed over."""
    with pytest.raises(ConfigError, match=option):
        listed(tree({"a": "x"}), **{option: patterns})


def test_a_fifo_for_an_ignore_file_is_not_waited_for(tree: Tree) -> None:
    """An ignore file that is no file has no rules, and a symlink to one is not followed."""
    root = tree({"a/b": "x", "c/b": "x", "rules": "b"})
    os.mkfifo(root / "a" / ".gitignore")
    (root / "c" / ".gitignore").symlink_to("../rules")
    assert listed(root) == ["a/.gitignore", "a/b", "c/.gitignore", "c/b", "rules"]


# -- hostile patterns ------------------------------------------------------------------------------

PIECES = ["*", "*", "**", "**/", "/**/", "/", "/", "a", "b", "?", "[ab]", "[!a]", "[]a]", "\\*"]


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(PIECES), min_size=3, max_size=12).map("".join),
    st.lists(st.text("aab*]", min_size=1, max_size=5), min_size=1, max_size=5).map("/".join),
)
def test_a_steady_pattern_matches_what_it_did(pattern: str, path: str) -> None:
    """Bounding the time of a pattern with many wildcards changes nothing of what it matches."""
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    body = pattern.rstrip("/")
    assume(body)
    text, _ = GitIgnoreSpecPattern.pattern_to_regex(_for_pathspec(body))
    assume(text)
    text = str(text).replace("[^", "[^/")
    expected = re.compile(text, re.DOTALL).fullmatch(path)
    assert bool(re.compile(steady(text), re.DOTALL).fullmatch(path)) == bool(expected)


@pytest.mark.parametrize("file", [".gitignore", ".reposyncignore", ".gitattributes"])
@pytest.mark.parametrize(
    "pattern",
    [
        "*a*a*a*a*a*a*a*a*a*b",
        "**/a/**/a/**/a/**/a/**/b",
        "**/*a*a*b/**/*a*a*a/**/a*a*b",
        "*?*?*?*?*?*?*?*?b",
        "**a**a**a**a**a**b",
        "[!b]*[!b]*[!b]*[!b]*[!b]*[]b]",
    ],
)
def test_a_hostile_pattern_ends(tree: Tree, pattern: str, file: str) -> None:
    """No line of a repository's holds up a sync, whatever names it is to be compared with."""
    names = ["a" * 250 + "c", "a/" * 90 + "c", ("a" * 100 + "/") * 3 + "c"]
    line = f"{pattern} linguist-generated" if file == ".gitattributes" else pattern
    root = tree({**dict.fromkeys(names, "x"), file: line})
    entries = FolderSource(root, SyncConfig()).entries()
    assert set(names) <= {one.path for one in entries if one.skip is None}
