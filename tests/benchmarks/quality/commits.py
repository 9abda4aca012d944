"""Commit subject -> changed files: the subject asks, any file that the commit changed answers.

Two kinds of history, both real: that of this repository up to a fixed commit, and upstream commits
that Debian applied to released sources, see ``debian``. Of the latter, the text is the one before
the change; of ours, that of the fixed commit.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from . import debian
from .corpora import TOKENS, Query, Repository, Target, sample
from .debian import Commit

if TYPE_CHECKING:
    from collections.abc import Iterable

OWN_COMMIT = "072434b"
OWN_PARTS = ("reposync/", "docs/", "README.md")
OWN_CAP = 60_000
PACKAGES = {
    "python-django": ("django/", (".py",), 45_000),
    "rsync": ("", (".c", ".h"), 35_000),
    "curl": ("lib/", (".c", ".h"), 25_000),
    "grub2": ("grub-core/", (".c", ".h"), 45_000),
}
"""Where in the source, which files, and how many tokens of them: the whole table should take
minutes. Four fifths are files that commits change, those of the smallest first; the others are
drawn at random."""

LEAST_WORDS = 3
MOST_FILES = 20
"""A commit that changes more is about no file in particular."""

_ROOT = Path(__file__).parents[3]


def commit_repositories(cache: Path) -> tuple[list[Repository], list[str]]:
    """The repositories, and what could not be had."""
    repositories, missing = [], []
    own = _own()
    if own:
        repositories.append(own)
    else:
        missing.append(f"the history of {_ROOT}: no commit {OWN_COMMIT} (a shallow clone?)")
    for package, (part, suffixes, cap) in PACKAGES.items():
        folder = debian.fetch(package, cache)
        if folder is None:
            missing.append(f"Debian's source of {package}: apt-get could not fetch it")
            continue
        files = {
            path: text
            for path, text in debian.read_files(folder, suffixes).items()
            if path.startswith(part)
        }
        commits = debian.read_commits(folder)
        name = debian.version_of(folder)
        repositories.append(history(name, files, commits, cap))
    return repositories, missing


def history(name: str, files: dict[str, str], commits: Iterable[Commit], cap: int) -> Repository:
    """A repository of at most about `cap` tokens, and the commits that change files of it."""
    files = {path: text for path, text in files.items() if text.strip()}
    usable = [
        commit
        for commit in commits
        if len(commit.subject.split()) >= LEAST_WORDS
        and 0 < len(commit.paths) <= MOST_FILES
        and commit.paths & files.keys()
    ]
    random = Random(name.split()[0])
    weights = {
        path: TOKENS.count([files[path]])[0]
        for commit in usable
        for path in commit.paths & files.keys()
    }
    wanted: set[str] = set()
    for commit in sorted(usable, key=lambda c: sum(weights.get(path, 0) for path in c.paths)):
        new = wanted | (commit.paths & files.keys())
        if sum(weights[path] for path in new) <= cap * 4 // 5:
            wanted = new
    chosen = sample(files, wanted, cap, random)
    queries = {}
    for commit in usable:
        changed = sorted(commit.paths & set(chosen))
        if changed:
            queries[commit.subject] = tuple(map(Target, changed))
    return Repository(
        name,
        {path: files[path] for path in chosen},
        tuple(Query(subject, targets) for subject, targets in queries.items()),
        finds="files",
    )


def _own() -> Repository | None:
    try:
        log = _git("log", "--no-merges", "--name-only", "--format=%x00%s", OWN_COMMIT)
        names = _git("ls-tree", "-r", "--name-only", OWN_COMMIT).split("\n")
    except subprocess.CalledProcessError:
        return None
    files = {
        name: _git("show", f"{OWN_COMMIT}:{name}")
        for name in names
        if name.startswith(OWN_PARTS) and name.endswith((".py", ".md"))
    }
    commits = []
    for entry in log.split("\0")[1:]:
        subject, _, paths = entry.partition("\n")
        commits.append(Commit(subject, frozenset(paths.split())))
    return history(f"reposync {OWN_COMMIT}", files, commits, OWN_CAP)


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=_ROOT, check=True, capture_output=True)
    return run.stdout.decode("utf-8")
