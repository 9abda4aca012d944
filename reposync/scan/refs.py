"""What names a commit, and the tree that a folder is in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reposync.errors import ConfigError, ScanError
from reposync.naming import nearest
from reposync.scan.git_command import NoAnswer, run_git

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = {"GIT_NO_REPLACE_OBJECTS": "1"}
"""What is read under a commit's id is that commit."""


def prefix_of(root: Path, ref: str) -> bytes:
    """Give the path of a folder in its repository; nothing for the top, or a bare repository.

    Raises:
        ConfigError: there is no repository.
    """
    try:
        answer = run_git(root, "rev-parse", "--show-prefix")
    except NoAnswer as refusal:
        if "not a git repository" in str(refusal):
            raise ConfigError(
                f"ref={ref!r}: {root} is in no git repository. Pass a repository, or no ref."
            ) from refusal
        raise ScanError(f"{root}: ref={ref!r} cannot be read from git: {refusal}.") from refusal
    return answer.removesuffix(b"\n").removesuffix(b"/")


def resolve(root: Path, ref: str) -> str:
    """Give the id of the commit that `ref` names in a repository.

    Raises:
        ConfigError: there is no such commit.
    """
    question = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    try:
        lines = run_git(root, *question, accept=(0, 1), settings=PLAIN).decode("ascii").split()
    except NoAnswer:
        lines = []
    if not lines:
        raise ConfigError(wrong_ref(ref, str(root), _ref_names(root)))
    return lines[-1]


def wrong_ref(ref: str, where: str, names: list[str]) -> str:
    """Say that there is no such ref, and which ones are spelt nearly so."""
    hint = nearest(ref, names)
    return (
        f"ref={ref!r} names no commit in {where}.{f' {hint}' if hint else ''}"
        " Pass a branch, a tag or a commit's id."
    )


def _ref_names(root: Path) -> list[str]:
    try:
        answer = run_git(root, "for-each-ref", "--count=5000", "--format=%(refname:short)")
    except NoAnswer:
        return []
    return answer.decode("utf-8", "replace").split()


def find_tree(root: Path, commit: str, prefix: bytes, ref: str) -> str:
    """Name the tree that the root, which is at `prefix` in its repository, is in a commit."""
    if not prefix:
        return commit
    tree = b":".join((commit.encode(), prefix))
    try:
        kind = run_git(root, "cat-file", "-t", tree, settings=PLAIN)
    except NoAnswer:
        kind = b""
    if kind.strip() != b"tree":
        raise ConfigError(
            f"ref={ref!r}: {root} is not a folder in that commit. Pass a commit that has it, or the"
            " top of the repository as path."
        )
    return os.fsdecode(tree)
