"""What git knows of a folder, asked in a way that runs nothing which the repository brings along.

A repository may be hostile: its configuration can name programs (``core.fsmonitor``, hooks,
filters, a remote's helper), and git would run them. Everything of the kind is switched off here.
In return a folder that belongs to another user may be read (``safe.directory``).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reposync.errors import ScanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = logging.getLogger("reposync.scan")

_SAFELY = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "safe.directory=*"),
)
# Inherited from a hook or an alias that started us, the others would make git look at another
# repository than the one that we were given.
_KEPT = frozenset(
    (
        "GIT_CEILING_DIRECTORIES",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
        "GIT_EXEC_PATH",
    )
)
_CALM = {
    "GIT_ALLOW_PROTOCOL": "none",  # a partial clone would fetch what is missing, by any program
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",  # or our status could fail a commit that runs at the same time
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
# Git opens a ``.gitignore`` that is a FIFO and waits; so we must not wait for git without end.
_PATIENCE_SECONDS = 300.0


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


class _NoAnswer(Exception):
    """Git is not there, or it refused."""


def list_paths(root: Path) -> list[bytes] | None:
    """List what git tracks below a folder and what it does not but does not ignore either.

    None if that is not for git to say: the folder is in no work tree, or git ignores it as a whole.
    """
    if not _may_be_git(root):
        return None
    try:
        listing = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    except _NoAnswer as answer:
        log.info("%s is scanned without git: %s", root, answer)
        return None
    if not listing and _is_ignored(root):
        return None
    # More than once: a path in conflict. With a slash at its end: another repository, untracked.
    return list({raw.removesuffix(b"/") for raw in listing.split(b"\0") if raw})


def git_state(root: Path, *, store_path: Path | None = None) -> GitState | None:
    """Tell the commit and branch that a folder stands on; None if it is not git's."""
    if not _may_be_git(root):
        return None
    if not _is_top(root) and list_paths(root) is None:
        return None
    try:
        return _read_status(_git(root, *_status(root, store_path), settings=_no_filters(root)))
    except _NoAnswer as answer:
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
    question = ("config", "-z", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
    answer = _git(root, *question, accept=(0, 1)).split(b"\0")
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


def _is_ignored(root: Path) -> bool:
    try:
        _git(root, "check-ignore", "-q", ".")
    except _NoAnswer:
        return False
    return True


def _is_top(root: Path) -> bool:
    return os.path.lexists(root / ".git")


def _may_be_git(root: Path) -> bool:
    """Look for a ``.git`` here or above: most folders without one need not wait for a process."""
    real = Path(os.path.realpath(root))
    if any(os.path.lexists(folder / ".git") for folder in (real, *real.parents)):
        return True
    if (real / "HEAD").is_file() and (real / "objects").is_dir() and (real / "refs").is_dir():
        log.info("%s is scanned without git: it is a bare repository", root)
    return False


def relative_to_root(root: Path, path: Path | None) -> bytes | None:
    """Give the bytes of a path relative to the root; None unless it lies really inside."""
    if path is None:
        return None
    real, top = os.path.realpath(path), os.path.join(os.path.realpath(root), "")
    inside = os.path.normcase(real).startswith(os.path.normcase(top)) and real != top
    return os.fsencode(real[len(top) :].replace(os.sep, "/")) if inside else None


def _git(
    root: Path,
    *arguments: str,
    accept: Iterable[int] = (0,),
    settings: Mapping[str, str] | None = None,
) -> bytes:
    import subprocess

    command = [_program(root), *_SAFELY, *arguments]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT}
    try:
        done = subprocess.run(  # noqa: S603  (no shell, and the program is not the repository's)
            command,
            cwd=root,
            env={**inherited, **_CALM, **(settings or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ScanError(
            f"git gave no answer about {root} in {_PATIENCE_SECONDS:.0f} s. Run 'git status' there "
            "to see what it waits for; a .gitignore that is not a file is one cause."
        ) from error
    except OSError as error:
        raise _NoAnswer(f"{command[0]} cannot be run ({error.strerror})") from error
    if done.returncode not in accept:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _NoAnswer(lines[0] if lines else f"git ended with {done.returncode}")
    return done.stdout


def _program(root: Path) -> str:
    import shutil

    found = shutil.which("git")
    if found is None:
        raise _NoAnswer("git is not installed")
    found = os.path.abspath(found)
    # On Windows the current folder is searched first: there a repository's own git.exe may lie.
    if relative_to_root(root, Path(found)) is not None:
        raise _NoAnswer(f"{found} lies in the repository itself")
    return found
