"""Every code block of the documentation runs, or says why it cannot.

Each page is read in a folder of its own, which holds a small git repository, ``path/to/repo``, that
was synced as "my-repo" into ``./chroma`` with the default model, and ``sync.toml``. The reader's
``/srv/code/my-repo`` is that repository, and ``/opt/reposync`` has the programs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support import RACY_SECONDS, make_folder

from documentation.blocks import FOR_PEOPLE, ROOT, blocks, pages
from reposync import sync_repository

HERE = Path(__file__).parent
MODULE, FUNCTION = re.findall(  # what an installation makes the script of
    r'^reposync = "([\w.]+):(\w+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
)[0]
COMMAND = f"#!{sys.executable}\nfrom {MODULE} import {FUNCTION}\n\n{FUNCTION}()\n"
FILES = {
    "README.md": "# Greetings\n\nSays hello to whoever asks.\n",
    "src/app.py": 'def greet(name):\n    """A greeting."""\n    return f"Hello {name}"\n',
    "src/locks.py": "import threading\n\nLOCK = threading.Lock()  # locks are taken here\n",
    "build/out.log": "built\n",
    ".gitignore": "*.log\n",
    "logo.png": "\0",
}
LINKS = {"root/srv/code/my-repo": "path/to/repo", "root/opt/reposync/bin": "bin"}
NOT_RUN = {
    "CONTRIBUTING.md": 2,
    "docs/explanation/chunking.md": 1,
    "docs/explanation/comparison.md": 1,
    "docs/explanation/performance-runner.md": 1,
    "docs/explanation/performance.md": 1,
    "docs/explanation/sharing.md": 1,
    "docs/how-to/cluster.md": 2,
    "docs/how-to/job-queue.md": 1,
    "docs/how-to/notebook.md": 1,
    "docs/how-to/operations-runbook.md": 1,
    "docs/how-to/own-lock.md": 2,
    "docs/how-to/schedule.md": 1,
    "docs/how-to/server.md": 1,
}
"""How many blocks of which pages do not run; each says why in a comment before it."""


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """The prepared folder as it is before a page is read."""
    where = make_folder("reposync-pages-") / "reader"
    repository = where / "path/to/repo"
    for name, text in FILES.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text, "utf-8")
    for link, target in LINKS.items():
        (where / link).parent.mkdir(parents=True, exist_ok=True)
        (where / link).symlink_to(where / target)
    (where / "home").mkdir()
    (where / "sync.toml").write_text("max_files = 5000\n")
    (where / "home/.gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "first")):
        subprocess.run(["git", *command], cwd=repository, env=surroundings(where), check=True)
    time.sleep(RACY_SECONDS)  # else a file that was just written counts as changed
    sync_repository(repository, "my-repo", store=where / "chroma")
    kept = where.with_name("kept")
    where.rename(kept)
    yield kept
    shutil.rmtree(kept.parent)


@pytest.fixture
def where(template: Path) -> Iterator[Path]:
    """The prepared folder, always at one place: a store knows where its repositories are."""
    where = template.with_name("reader")
    shutil.copytree(template, where, symlinks=True)
    yield where
    shutil.rmtree(where)


def surroundings(where: Path) -> dict[str, str]:
    """A home of its own, and ``python`` and ``reposync`` of this environment."""
    binaries = where / "bin"
    if not binaries.is_dir():
        binaries.mkdir()
        (binaries / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (binaries / "reposync").write_text(COMMAND)
        for program in binaries.iterdir():
            program.chmod(0o755)
    ours = ("XDG", "REPOSYNC")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = [str(binaries), str(Path(sys.executable).parent), kept["PATH"]]
    source = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "HOME": str(where / "home"),
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": os.pathsep.join(source),
        "GIT_CONFIG_GLOBAL": str(where / "home/.gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }


@pytest.mark.timeout(300)  # some pages start twenty programs
@pytest.mark.parametrize("page", [page for page in pages() if any(b.runs for b in blocks(page))])
def test_what_a_page_says_to_do_can_be_done(where: Path, page: str) -> None:
    """The blocks of a page run, one after the other, in one folder."""
    child = subprocess.Popen(
        [sys.executable, "-W", "error", HERE / "run_page.py", page],
        cwd=where,
        env=surroundings(where),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = child.communicate(timeout=280)
    finally:
        with suppress(ProcessLookupError):  # nothing that a page started is left
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == 0, said


def test_what_does_not_run_is_listed_and_says_why() -> None:
    """A reader may trust a block unless this list has its page."""
    left = [block for page in pages() for block in blocks(page) if block.kind == "not run"]
    assert Counter(block.page for block in left) == NOT_RUN
    assert all(len(block.said) > 10 for block in left)


def test_what_other_tests_run_they_do_run() -> None:
    """A test that a block names is there, and knows the page."""
    for page in pages():
        for block in blocks(page):
            if block.kind == "run by":
                assert Path(page).name in (ROOT / block.said).read_text("utf-8")


def test_every_block_names_its_language() -> None:
    """So that each is highlighted, and none is passed over."""
    known = FOR_PEOPLE | {"python", "sh", "toml", "yaml", "json", "ini", "crontab"}
    for page in pages():
        for block in blocks(page):
            assert block.language in known, f"{page}:{block.line}"
