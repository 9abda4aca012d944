"""`explain` and ``reposync why``: is this file indexed, and which rule decides."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reposync import ConfigError, Explanation, SyncConfig, explain

FILES = {
    ".gitignore": "*.log\nbuild/\n!keep.log\n",
    ".reposyncignore": "# private\n\nnotes/*\n!notes/public.txt\n",
    "a.py": "x = 1\n",
    "sub/.gitignore": "local.txt\n",
    "sub/local.txt": "x\n",
    "sub/.reposyncignore": "here.txt\n",
    "sub/here.txt": "x\n",
    "b.log": "x\n",
    "keep.log": "x\n",
    "tracked.log": "x\n",
    "build/deep/out.txt": "x\n",
    "notes/private.txt": "x\n",
    "notes/public.txt": "x\n",
    "docs/a.md": "x\n",
    "image.png": "\0\0",
    "large.txt": "x" * 200,
    "empty": "",
    ".env": "KEY=1\n",
    "vendor/x.go": "package x\n",
    "token.txt": "AKIA" + "IOSFODNN7EXAMQQQ\n",
    "store/x.txt": "x\n",
}
CONFIG = SyncConfig(exclude=["docs/*.md"], max_file_bytes=100)
RULES = {
    "a.py": "indexed",
    "keep.log": "indexed",
    "tracked.log": "indexed",
    "notes/public.txt": "indexed",
    "b.log": "git_ignored: .gitignore:1: '*.log' matches b.log",
    "sub/local.txt": "git_ignored: sub/.gitignore:1: 'local.txt' matches sub/local.txt",
    "build/deep/out.txt": "git_ignored: .gitignore:2: 'build/' matches",
    "build/deep/gone.txt": "git_ignored",
    "notes/private.txt": "reposyncignore: .reposyncignore:3: 'notes/*' matches notes/private.txt",
    "sub/here.txt": "reposyncignore: sub/.reposyncignore:1: 'here.txt' matches sub/here.txt",
    "notes/gone.txt": "reposyncignore: .reposyncignore:3",
    "docs/a.md": "exclude: 'docs/*.md' of exclude= matches docs/a.md",
    "image.png": "binary",
    "large.txt": "too_large: 200 bytes are more than max_file_bytes=100",
    "empty": "empty: it holds nothing",
    ".env": "credentials: named ",
    "vendor/x.go": "vendored: named vendor/",
    "link": "symlink",
    "folder-link/x": "behind_symlink",
    "docs": "folder",
    "gone": "missing",
    "no/such/folder/x": "missing",
    ".git/config": "git_folder",
    "sub/.GIT/x": "git_folder",
    "store/x.txt": "store",
}


@pytest.fixture(autouse=True)
def _no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository in which every rule has a file to decide about."""
    root = tmp_path / "tree"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    os.symlink("a.py", root / "link")
    os.symlink("docs", root / "folder-link")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "add", "-f", "tracked.log")
    git(root, "commit", "-qm", "x")
    return root


def check(root: Path, path: str, wanted: str, ref: str | None = None) -> None:
    found = explain(root, path, config=CONFIG, store=root / "store", ref=ref)
    assert (found.path, found.included) == (path, wanted == "indexed")
    assert f"{found.rule}: {found.detail}".startswith(wanted)
    assert str(found).startswith(f"{path}: {'in' if found.included else 'out'} ({found.rule})")
    assert Explanation.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("path", RULES)
def test_each_rule_is_named(root: Path, path: str) -> None:
    """Whatever decides about a file is named, with file, line and pattern, be it there or not."""
    check(root, path, RULES[path])


@pytest.mark.parametrize("path", [path for path, rule in RULES.items() if "git_ign" not in rule])
def test_each_rule_is_named_for_a_ref(root: Path, path: str) -> None:
    """For a commit, too; there nothing is ignored by git, for what is in it is tracked."""
    check(root, path, RULES[path], "HEAD")


def test_masked_secrets_are_told(root: Path) -> None:
    """That something in a file is masked is said, not what."""
    found = explain(root, "token.txt")
    assert found.included
    assert found.detail.endswith("secrets in it are masked: 1")


def test_what_git_ignores_is_not_in_a_commit(root: Path) -> None:
    """So it is simply not there."""
    check(root, "b.log", "missing", "HEAD")


def test_a_plain_folder_has_rules_too(root: Path) -> None:
    """Without git the ignore files are named just the same."""
    (root / ".git").rename(root.parent / "away")
    for path in ("a.py", "b.log", "sub/local.txt", "notes/private.txt", "gone"):
        check(root, path, RULES[path])


def test_include_is_a_rule(root: Path) -> None:
    """What no include pattern matches says so."""
    found = explain(root, "b.txt", config=SyncConfig(include=["*.py"]))
    assert (found.rule, found.detail) == ("include", "no pattern of include= matches b.txt")


def test_a_submodule_is_named(root: Path) -> None:
    """A file in another repository leads to that repository."""
    git(root, "init", "-q", "other")
    (root / "other/x.txt").write_text("x\n")
    found = explain(root, "other/x.txt")
    assert (found.rule, "other is a repository" in found.detail) == ("submodule", True)


def test_a_limit_is_named(root: Path) -> None:
    """What lies beyond a limit says which it is."""
    found = explain(root, "sub/.gitignore", config=SyncConfig(max_files=1))
    assert (found.rule, "max_files=1" in found.detail) == ("over_limit", True)


def test_every_way_to_name_a_file(root: Path, tmp_path: Path) -> None:
    """Relative to the repository, absolute, or absolute by way of a symlink to the repository."""
    (tmp_path / "way").symlink_to(root)
    names = ("docs/../a.py", "./a.py", root / "a.py", tmp_path / "way" / "a.py")
    for name in names:
        assert explain(root, name).path == "a.py"
    for name in ("../a.py", ".", tmp_path / "x", ""):
        with pytest.raises(ConfigError, match="is no file in"):
            explain(root, name)
