"""Real folders and real git repositories to scan."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Tree = Callable[[dict[str, str | bytes]], Path]
Git = Callable[..., bytes]

IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


@pytest.fixture(autouse=True)
def _no_user_settings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git reads no settings of the user who runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def git() -> Git:
    """Run git as a user would."""

    def run(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
        command = ["git", "-c", "protocol.file.allow=always", *arguments]
        env = {**os.environ, **IDENTITY}
        done = subprocess.run(command, cwd=folder, env=env, input=stdin, capture_output=True)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files below a fresh folder."""

    def write(files: dict[str, str | bytes]) -> Path:
        root = tmp_path / "tree"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        root.mkdir(exist_ok=True)
        return root

    return write


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may enter; those of pytest are closed."""
    folder = Path(tempfile.mkdtemp(prefix="reposync-scan-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def as_nobody(tmp_path: Path) -> Callable[..., str]:
    """Run Python as a user who is not root, since root may read everything.

    What it needs is imported before the user is changed (`before`), for he may not read the
    packages.
    """

    def run(code: str, before: str = "") -> str:
        start = (
            "import os, pathlib, pickle, sys, subprocess, shutil, hashlib\n"
            "import pathspec.patterns.gitignore.spec\n"
            "from pathlib import Path\n"
            "from reposync.scan import *\n"
            "from reposync.scan import content\n"  # late in a scan, when nobody may read it here
            f"{before}\n"
            "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", start + code],
            capture_output=True,
            text=True,
            cwd="/",
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
