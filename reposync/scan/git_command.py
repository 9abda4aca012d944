"""Git, run in a way that starts nothing which the repository brings along.

A repository may be hostile: its configuration can name programs (``core.fsmonitor``, hooks,
filters, a remote's helper), and git would run them. Everything of the kind is switched off here.
In return a folder that belongs to another user may be read (``safe.directory``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from reposync.errors import ScanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SAFELY = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "safe.directory=*"),
    *("-c", "safe.bareRepository=all"),
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
PATIENCE_SECONDS = 300.0


class NoAnswer(Exception):
    """Git is not there, or it refused."""


def relative_to_root(root: Path, path: Path | None) -> bytes | None:
    """Give the bytes of a path relative to the root; None unless it lies really inside."""
    if path is None:
        return None
    real, top = os.path.realpath(path), os.path.join(os.path.realpath(root), "")
    inside = os.path.normcase(real).startswith(os.path.normcase(top)) and real != top
    return os.fsencode(real[len(top) :].replace(os.sep, "/")) if inside else None


def run_git(
    root: Path,
    *arguments: str | bytes,
    accept: Iterable[int] = (0,),
    settings: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> bytes:
    """What git says when it is run in a folder.

    Raises:
        NoAnswer: git is not there, or it refused.
        ScanError: it said nothing for too long.
    """
    import subprocess

    command = git_command(root, *arguments)
    try:
        done = subprocess.run(  # noqa: S603  (no shell, and the program is not the repository's)
            command,
            cwd=root,
            env={**calm_environment(), **(settings or {})},
            input=stdin,
            capture_output=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ScanError(
            f"git gave no answer about {root} in {PATIENCE_SECONDS:.0f} s. Run 'git status' there "
            "to see what it waits for; a .gitignore that is not a file is one cause."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        raise NoAnswer(f"git cannot be run ({error})") from error
    if done.returncode not in accept:
        raise NoAnswer(complaint(done.stderr) or f"git ended with {done.returncode}")
    return done.stdout


def complaint(said: bytes) -> str:
    """The line in which git says what went wrong; "" if it said nothing."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    grave = (line for line in lines if line.startswith(("fatal:", "error:", "ssh:")))
    return next(grave, lines[0] if lines else "")


def git_command(root: Path, *arguments: str | bytes) -> list[str | bytes]:
    """The command line that runs git, and nothing else."""
    return [_program(root), *_SAFELY, *arguments]


def calm_environment() -> dict[str, str]:
    """The environment for git: our own, less what leads it elsewhere or makes it ask."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT}
    return {**inherited, **_CALM}


def _program(root: Path) -> str:
    import shutil

    found = shutil.which("git")
    if found is None:
        raise NoAnswer("git is not installed")
    found = os.path.abspath(found)
    # On Windows the current folder is searched first: there a repository's own git.exe may lie.
    if relative_to_root(root, Path(found)) is not None:
        raise NoAnswer(f"{found} lies in the repository itself")
    return found
