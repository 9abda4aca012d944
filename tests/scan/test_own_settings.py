"""What a repository may say of itself, and that nothing else it says has any effect."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Git, Tree
from hypothesis import given
from hypothesis import strategies as st

from reposync import SyncConfig
from reposync.scan import CommitSource, FolderSource
from reposync.scan.own import ALLOWED, MAX_PATTERNS, NOTHING, OwnSettings, read_own

TOML, PYPROJECT = "reposync.toml", "pyproject.toml"


def own(text: str | bytes, name: str = TOML) -> OwnSettings:
    """What is heeded of a file of such a text."""
    data = text.encode() if isinstance(text, str) else text
    return read_own({name: data}.get)


def paths(source: FolderSource | CommitSource) -> list[str]:
    """What a source lists, but for the files of settings."""
    return [one.path for one in source.entries() if one.path not in (TOML, PYPROJECT)]


# -- what it may say -----------------------------------------------------------------------------


def test_what_a_repository_may_say() -> None:
    """Patterns, and the size of chunks."""
    found = own('include = ["src/"]\nexclude = ["*.csv", "!a.csv"]\nchunk_tokens = 64\n')
    assert found == OwnSettings(TOML, ("src/",), ("*.csv", "!a.csv"), 64)


def test_in_a_pyproject() -> None:
    """The table tool.reposync counts, however it is written; another's file says nothing."""
    for text in ("[tool.reposync]\nchunk_tokens = 64\n", '[tool]\n"reposync".chunk_tokens = 64\n'):
        assert own(text, PYPROJECT) == OwnSettings(PYPROJECT, chunk_tokens=64)
    assert own("[project]\nname = 'x'\n", PYPROJECT) is NOTHING
    assert own("[project]\nname = 'reposync'\n", PYPROJECT) is NOTHING
    assert own("this is [ no TOML, and none of ours", PYPROJECT) is NOTHING


def test_both_files(tree: Tree) -> None:
    """reposync.toml says it all; the other is not even read."""
    root = tree({TOML: "exclude = ['a']", PYPROJECT: "[tool.reposync]\nexclude = [1]\n"})
    config = FolderSource(root, SyncConfig()).config
    assert config.own == OwnSettings(TOML, exclude=("a",))


LIMITS = [name for name in SyncConfig.model_fields if name not in ALLOWED]


@pytest.mark.parametrize("name", LIMITS)
def test_nothing_else(tree: Tree, name: str) -> None:
    """No other setting changes by what a repository says, and that it says so is told."""
    values = {"secrets": '"keep"', "max_delete_fraction": "1.0", "rate_limit_by": '"requests"'}
    root = tree({TOML: f"{name} = {values.get(name, 'true')}\n"})
    source = FolderSource(root, SyncConfig())
    assert source.config.model_dump() == SyncConfig().model_dump()
    assert source.entries()
    (told,) = source.warnings
    assert told.startswith(f"The repository's own reposync.toml: {name}: not for a repository")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exlude = []", "exlude: there is no such setting; did you mean exclude?"),
        ("exclude = 'docs/'", "exclude: it must be a list of patterns."),
        ("exclude = [1]", "exclude: it must be a list of patterns."),
        ("include = ['#', 'a']", "include: 1 patterns match nothing, or are too long: '#'."),
        ("chunk_tokens = 31", "chunk_tokens: it must be a whole number from 32 to 200."),
        ("chunk_tokens = true", "chunk_tokens: it must be a whole number from 32 to 200."),
        ("chunk_tokens = '64'", "chunk_tokens: it must be a whole number from 32 to 200."),
        ('"\\u001b[2J\\n" = 1', "?[2J?: there is no such setting."),
        (f'"{"x" * 999}" = 1', "x" * 60 + "...: there is no such setting."),
    ],
)
def test_what_cannot_be_right(text: str, told: str) -> None:
    """It is passed over and told in one line that no terminal obeys; the rest counts."""
    found = own(f"{text}\n")
    assert [one.partition("reposync.toml: ")[2] for one in found.warnings] == [told]
    assert found.include == (("a",) if "include" in text else ())
    assert (found.exclude, found.chunk_tokens) == ((), None)


def test_many_mistakes_are_told_in_few_lines() -> None:
    """A file full of nonsense does not fill a result."""
    found = own("\n".join(f"k{number} = 1" for number in range(5000)))
    assert len(found.warnings) == 6
    assert found.warnings[-1].endswith("4995 more: there are no such settings.")
    most = own(f"exclude = {[f'p{number}' for number in range(2 * MAX_PATTERNS)]}")
    assert (len(most.exclude), len(most.warnings)) == (MAX_PATTERNS, 1)


# -- what is hostile -----------------------------------------------------------------------------

HOSTILE = {
    "no TOML": b"exclude = [",
    "no UTF-8": b"\xff\xfe\x00",
    "large": b"#" * 300_000,
    "deep": b"a = " + b"[" * 50_000,
    "deep tables": b"a = " + b"{a = " * 20_000,
    "a long key": b"a." * 100_000 + b"a = 1",
    "a long header": b"[" + b"a." * 100_000 + b"a]",
    "a long number": b"chunk_tokens = " + b"9" * 100_000,
    "a date for a table": b"tool = 1979-05-27",
}


@pytest.mark.parametrize("name", [TOML, PYPROJECT])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_texts(data: bytes, name: str) -> None:
    """They end soon, without an error, and change nothing."""
    began = time.process_time()
    found = own(data + b"\n# reposync\n", name)
    assert time.process_time() - began < 5, "it would be minutes"
    assert (found.include, found.exclude, found.chunk_tokens) == ((), (), None)
    assert len(found.warnings) <= 1


@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes(data: bytes) -> None:
    """No content of a settings file is an error."""
    assert isinstance(own(data), OwnSettings)


def test_a_pattern_that_is_too_long() -> None:
    """It is passed over; the others count."""
    assert own(f"exclude = ['{'a' * 2000}', 'docs/']").exclude == ("docs/",)


def make_link(path: Path) -> None:
    outside = path.parent.parent / "outside.toml"
    outside.write_text("exclude = ['a.txt']")
    path.symlink_to(outside)


def make_loop(path: Path) -> None:
    path.symlink_to(path)


MAKERS: dict[str, Any] = {
    "a link outside": (make_link, "symlink"),
    "a loop": (make_loop, "symlink"),
    "a FIFO": (os.mkfifo, "no file"),
    "a folder": (os.mkdir, "no file"),
}


@pytest.mark.parametrize("name", [TOML, PYPROJECT])
@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_no_file(tree: Tree, kind: str, name: str) -> None:
    """It is not opened; a name that is ours is told of, another's is not."""
    root = tree({"a.txt": "a"})
    make, told = MAKERS[kind]
    make(root / name)
    source = FolderSource(root, SyncConfig())
    assert "a.txt" in paths(source)
    assert [told in warning for warning in source.warnings] == ([True] if name == TOML else [])


def test_a_file_that_cannot_be_read(open_folder: Path, as_nobody: Any) -> None:
    """It is told, and the sync goes by the caller's settings."""
    (open_folder / "a.txt").write_text("a")
    (open_folder / TOML).write_text("exclude = ['a.txt']")
    (open_folder / TOML).chmod(0)
    code = (
        f"source = FolderSource(Path({str(open_folder)!r}), SyncConfig());"
        "print([one.path for one in source.entries()], source.warnings)"
    )
    said = as_nobody(code, before="from reposync import SyncConfig")
    assert "'a.txt'" in said
    assert "not heeded: Permission denied" in said


# -- what the caller says comes first ------------------------------------------------------------

FILES = {"a.py": "a", "b.py": "b", "c.md": "c", "d/e.py": "e", "d/f.md": "f"}


@pytest.mark.parametrize(
    ("caller", "text", "left"),
    [
        ({}, "exclude = ['d/']", ["a.py", "b.py", "c.md"]),
        ({}, "include = ['*.py']", ["a.py", "b.py", "d/e.py"]),
        ({"include": ["d/"]}, "include = ['*.py']", ["d/e.py"]),
        ({"exclude": ["a.py"]}, "include = ['*.py']", ["b.py", "d/e.py"]),
        ({"exclude": ["*.py"]}, "exclude = ['!a.py', 'c.md']", ["d/f.md"]),
        ({"include": ["*.md"]}, "include = ['a.py', '*.md']", ["c.md", "d/f.md"]),
        ({"include": ["*.md"]}, "include = ['*.py']", []),
        ({"repository_settings": False}, "exclude = ['*']", sorted(FILES)),
    ],
)
def test_both_narrow(
    tree: Tree, git: Git, caller: dict[str, Any], text: str, left: list[str]
) -> None:
    """A file must be wanted by both; neither brings back what the other takes out.

    It is so in a plain folder, in a git work tree and in a commit.
    """
    root = tree({**FILES, TOML: text})
    config = SyncConfig(**caller)
    assert paths(FolderSource(root, config)) == left
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    assert paths(FolderSource(root, config)) == left
    source = CommitSource(root, "HEAD", config)
    assert paths(source) == left
    source.close()


def test_credentials_are_asked_for_by_the_caller_only(tree: Tree) -> None:
    """A repository cannot have its own keys, or another's code, indexed by asking for them."""
    files = {".env": "TOKEN=x", "vendor/a.py": "a", "poetry.lock": "x"}
    root = tree({**files, TOML: "include = ['.env', 'vendor/', 'poetry.lock']"})
    skips = {one.path: one.skip for one in FolderSource(root, SyncConfig()).entries()}
    assert skips == {".env": "credentials", "vendor/a.py": "vendored", "poetry.lock": "lock_file"}


@pytest.mark.parametrize(
    ("caller", "tokens", "origin"),
    [
        (SyncConfig(), 64, "repository: reposync.toml"),
        (SyncConfig(chunk_tokens=100), 100, "argument"),
        (SyncConfig(chunk_tokens=200), 200, "argument"),
        (
            SyncConfig.from_env({"REPOSYNC_CHUNK_TOKENS": "100"}),
            100,
            "environment variable REPOSYNC_CHUNK_TOKENS",
        ),
    ],
)
def test_chunk_tokens(tree: Tree, caller: SyncConfig, tokens: int, origin: str) -> None:
    """What the caller says of it counts, even if it is the default."""
    root = tree({"a.txt": "a", TOML: "chunk_tokens = 64"})
    config = FolderSource(root, caller).config
    assert (config.chunk_tokens, config.origin("chunk_tokens")) == (tokens, origin)


def test_what_a_sync_goes_by_may_be_passed_on(tree: Tree) -> None:
    """It says again what the caller said, and another repository's word does not stick to it."""
    root = tree({"a.txt": "a", TOML: "chunk_tokens = 64\nexclude = ['b']"})
    config = FolderSource(root, SyncConfig(max_files=9)).config
    assert FolderSource(root, config).config == config
    changed = config.model_copy(update={"max_files": 8})
    (root / TOML).unlink()
    assert FolderSource(root, changed).config == SyncConfig(max_files=8)
    (root / TOML).write_text("chunk_tokens = 32")
    assert FolderSource(root, changed).config.chunk_tokens == 32


def test_explain_tells_both(tree: Tree) -> None:
    """What the repository says stands beside what the caller says."""
    root = tree({"a.txt": "a", TOML: "exclude = ['b']\nmax_files = 1\nchunk_tokens = 64"})
    config = FolderSource(root, SyncConfig(exclude=["c"])).config
    report = config.explain()
    said = [(one.value, one.origin) for one in report.settings if one.name == "exclude"]
    assert said == [(("c",), "argument"), (("b",), "repository: reposync.toml")]
    (tokens,) = (one for one in report.settings if one.name == "chunk_tokens")
    assert str(tokens) == "chunk_tokens = 64 tokens  [repository: reposync.toml]"
    assert not report.ok
    assert "warning: The repository's own reposync.toml: max_files: not for" in str(report)
    assert config.fingerprint != SyncConfig(exclude=["c"], chunk_tokens=64).fingerprint


def test_a_file_that_the_caller_names(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by the caller, the repository's file is the caller's word, and may say all."""
    root = tree({"a.txt": "a", TOML: "max_files = 7"})
    monkeypatch.chdir(root.parent)
    source = FolderSource(root, SyncConfig.from_file(os.path.join(root.name, TOML)))
    source.entries()
    assert (source.config.max_files, source.warnings) == (7, [])


def test_a_commit_says_what_it_said(tree: Tree, git: Git) -> None:
    """The files of settings are those of the commit, a link among them is not followed."""
    root = tree({"a.py": "a", "c.md": "c", PYPROJECT: "[tool.reposync]\nexclude = ['*.md']\n"})
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    (root / TOML).symlink_to(PYPROJECT)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "two")
    (root / PYPROJECT).write_text("")
    for ref, left in (("HEAD~1", ["a.py"]), ("HEAD", ["a.py", "c.md"])):
        source = CommitSource(root, ref, SyncConfig())
        assert paths(source) == left
        assert [("symlink" in one) for one in source.warnings] == [True] * (ref == "HEAD")
        source.close()
