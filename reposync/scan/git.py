"""What git knows of a folder: which files belong, and which commit it stands on."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reposync.scan.git_command import NoAnswer, relative_to_root, run_git
from reposync.scan.ignore import read_lines
from reposync.scan.paths import escape_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = logging.getLogger("reposync.scan")


@dataclass(frozen=True, slots=True)
class GitState:
    """Where a work tree stands.

    Attributes:
        commit: None before the first commit.
        branch: None on a detached head.
        dirty: the folder differs from the commit, untracked files included; None if git cannot say.
    """

    commit: str | None
    branch: str | None
    dirty: bool | None


class Listing(NamedTuple):
    """What git lists of a folder.

    Attributes:
        paths: what is tracked, and what is neither tracked nor ignored.
        sparse: those of them that a sparse checkout leaves out.
        strangers: those of them that are repositories of their own, untracked.
    """

    paths: list[bytes]
    sparse: frozenset[bytes] = frozenset()
    strangers: frozenset[bytes] = frozenset()


def list_paths(root: Path, warnings: list[str] | None = None) -> Listing | None:
    """List what git tracks below a folder and what it does not but does not ignore either.

    None if that is not for git to say: the folder is in no work tree, or git ignores it as a whole.
    Where git has a say and cannot tell, `warnings` gets the reason.
    """
    if not _may_be_git(root):
        return None
    try:
        listing = _ask(root, "ls-files", "-z", "-t", "--cached", "--others", "--exclude-standard")
    except NoAnswer as answer:
        log.info("%s is scanned without git: %s", root, answer)
        if warnings is not None:
            warnings.append(f"{root} is scanned without git, by its ignore files: {answer}")
        return None
    if not listing and _is_ignored(root):
        return None
    # More than once: a path in conflict. With a slash at its end: another repository, untracked.
    found = {(line[:1], line[2:]) for line in listing.split(b"\0") if line}
    return Listing(
        list({raw.removesuffix(b"/") for _, raw in found}),
        frozenset(raw for tag, raw in found if tag == b"S"),
        frozenset(raw.removesuffix(b"/") for _, raw in found if raw.endswith(b"/")),
    )


def git_state(root: Path, *, store_path: Path | None = None) -> GitState | None:
    """Tell the commit and branch that a folder stands on; None if it is not git's."""
    if not _may_be_git(root):
        return None
    if not _is_top(root) and list_paths(root) is None:
        return None
    try:
        return _read_status(_ask(root, *_status(root, store_path), settings=_no_filters(root)))
    except NoAnswer as answer:
        log.info("git cannot tell the state of %s: %s", root, answer)
        return None


def _status(root: Path, store_path: Path | None) -> list[str]:
    # Of a submodule only the commit: to see whether it is dirty, git would start another git in it,
    # which does not know what we switched off.
    question = ["status", "--porcelain=v2", "--branch", "-z", "--no-ahead-behind", "--no-renames"]
    question += ["--untracked-files=normal", "--ignore-submodules=dirty", "--", "."]
    inside = relative_to_root(root, store_path)
    if inside is not None:
        question.append(f":(exclude,literal){os.fsdecode(inside)}")
    return question


def _read_status(answer: bytes) -> GitState:
    heads: dict[bytes, str] = {}
    dirty = False
    for line in answer.split(b"\0"):
        if line.startswith(b"# "):
            _, key, value = line.split(b" ", 2)
            heads[key] = value.decode("utf-8", "replace")
        elif line:
            dirty = True
    commit, branch = heads.get(b"branch.oid"), heads.get(b"branch.head")
    return GitState(
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        dirty=dirty,
    )


def _no_filters(root: Path) -> Mapping[str, str]:
    """Switch off the filters that the repository's own configuration defines.

    To compare a file with its commit, git sends it through the filter that ``.gitattributes``
    names. Those of the user's own configuration are the user's own programs and stay.
    """
    if _surely_has_no_filter(root):
        return {}
    question = ("config", "-z", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
    answer = _ask(root, *question, accept=(0, 1)).split(b"\0")
    names = {
        key.rpartition(b".")[0]
        for scope, key in zip(answer[::2], answer[1::2], strict=False)
        if scope not in (b"system", b"global")
    }
    # Not by "-c key=value": a name with "=" in it would be cut there, and its filter stay.
    keys = [
        name + part for name in sorted(names) for part in (b".clean", b".process", b".required")
    ]
    settings = {"GIT_CONFIG_COUNT": str(len(keys))}
    for number, key in enumerate(keys):
        settings[f"GIT_CONFIG_KEY_{number}"] = os.fsdecode(key)
        settings[f"GIT_CONFIG_VALUE_{number}"] = ""
    return settings


def _surely_has_no_filter(root: Path) -> bool:
    """Tell from the repository's configuration itself, which spares a process, if it is that plain.

    A section's name cannot be spelt otherwise than in letters, and other files are read only if an
    ``include`` says so. What could be anything else is left to git: a linked work tree, a symlink.
    """
    folder = root / ".git"
    files = (folder / "config", folder / "config.worktree")
    try:
        if (folder / "commondir").exists() or not files[0].is_file():
            return False
        text = b"\n".join(line for file in files for line in read_lines(os.fsencode(file)))
    except OSError:
        return False
    plain = not any(file.is_symlink() for file in files)
    return plain and not any(word in text.lower() for word in (b"filter", b"include"))


def _ask(
    root: Path,
    *arguments: str,
    accept: Iterable[int] = (0,),
    settings: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> bytes:
    settings = dict(settings or {})
    if _is_top(root):
        # Else git would pass by a broken .git, and take a repository above for the one meant.
        settings["GIT_CEILING_DIRECTORIES"] = os.path.dirname(os.path.realpath(root))
    return run_git(root, *arguments, accept=accept, settings=settings, stdin=stdin)


def ignoring_rule(root: Path, raw: bytes) -> str | None:
    """Give the line that makes git ignore a path, with its file and number; None if none does."""
    try:
        question = ("check-ignore", "-v", "-z", "--stdin")
        answer = _ask(root, *question, accept=(0, 1), stdin=raw + b"\0").split(b"\0")
    except NoAnswer:
        return None
    if len(answer) < 4 or answer[2].startswith(b"!"):
        return None
    file, number, pattern = (part.decode("utf-8", "replace") for part in answer[:3])
    return f"{file}:{number}: {pattern!r} matches {escape_path(raw)}"


def _is_ignored(root: Path) -> bool:
    try:
        _ask(root, "check-ignore", "-q", ".")
    except NoAnswer:
        return False
    return True


def _is_top(root: Path) -> bool:
    return os.path.lexists(root / ".git")


def _may_be_git(root: Path) -> bool:
    """Look for a ``.git`` here or above: most folders without one need not wait for a process."""
    real = Path(os.path.realpath(root))
    if any(os.path.lexists(folder / ".git") for folder in (real, *real.parents)):
        return True
    if is_bare(root):
        log.info("%s is scanned without git: it is a bare repository", root)
    return False


def is_bare(root: Path) -> bool:
    """True if a folder looks like a repository without a work tree."""
    try:
        return all(
            (
                (root / "HEAD").is_file(),
                (root / "objects").is_dir(),
                (root / "refs").is_dir(),
                not os.path.lexists(root / ".git"),
                root.name != ".git",
            )
        )
    except PermissionError:  # whoever lists it says so, by name
        return False
