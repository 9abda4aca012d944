"""A repository's own settings, as all that look at a repository go by them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Desk, counts, make_folder

from reposync import (
    DeletionRefused,
    SyncConfig,
    explain,
    is_current,
    plan_repository,
    repository_config,
    verify_repository,
)

TOML = "reposync.toml"
CODE = "".join(f"def number{n}():\n    return {n} + {n} * {n}\n\n\n" for n in range(40))


@pytest.fixture(autouse=True)
def _own_home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a home of its own, and a name to commit by."""
    for kind in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{kind}_NAME", "a")
        monkeypatch.setenv(f"GIT_{kind}_EMAIL", "a@example.org")


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A repository that was synced before it said anything of itself."""
    folder = make_folder("reposync-own-")
    desk = Desk(folder / "tree", folder / "store", config=SyncConfig())
    for number in range(5):
        desk.write(f"code{number}.py", CODE)
    desk.write("docs/one.md", "# One\n\nwords\n")
    desk.settled()
    yield desk
    subprocess.run(["rm", "-r", str(folder)], check=True)


def ask(desk: Desk, **changes: Any) -> bool:
    """Whether it is still current."""
    arguments = desk.arguments(**changes)
    return bool(is_current(arguments.pop("path"), **arguments))


def verify(desk: Desk, **changes: Any) -> bool:
    """Whether it is as its files say."""
    functions = {"embedding_function": desk.embedding, "config": desk.config, **changes}
    return verify_repository(desk.name, desk.root, store=desk.store, **functions).ok


def test_all_agree(desk: Desk) -> None:
    """Whatever looks at the repository goes by what it says, before the sync and after it."""
    desk.write(TOML, "exclude = ['docs/', 'reposync.toml']\nchunk_tokens = 64\nmax_files = 1\n")
    before = len(desk.rows())
    assert not ask(desk)
    assert not verify(desk)
    planned = plan_repository(**desk.arguments())
    assert (planned.files.updated, planned.files.deleted) == (5, 1)
    told = explain(desk.root, "docs/one.md")
    assert told.rule == "exclude"
    assert told.detail == "'docs/' of exclude in reposync.toml matches docs"

    result = desk.sync()
    assert counts(result) == {"updated": 5, "deleted": 1}
    assert result.ok
    (warning,) = result.warnings
    assert warning.startswith("The repository's own reposync.toml: max_files: not for")
    assert len(desk.rows()) > before
    desk.settle()
    assert counts(desk.sync()) == {"unchanged": 5}
    assert ask(desk)
    assert verify(desk)
    assert plan_repository(**desk.arguments()).empty

    without = SyncConfig(repository_settings=False)
    assert not ask(desk, config=without)
    assert not verify(desk, config=without)
    assert plan_repository(**desk.arguments(config=without)).files.added == 2
    assert explain(desk.root, "docs/one.md", config=without).included


def test_a_change_is_noticed_however_it_is_made(desk: Desk) -> None:
    """An edit that leaves size and times as they were counts, as does a file that vanishes."""
    file = desk.write(TOML, "exclude = ['docs/', 'reposync.toml']\n")
    assert counts(desk.settled()) == {"unchanged": 5}
    found = file.stat()
    file.write_text("exclude = ['code/', 'reposync.toml']\n")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert counts(desk.sync()) == {"unchanged": 5, "added": 1}
    file.write_text("exclude = ['docs/'  'reposync.toml']\n")
    result = desk.sync()
    assert "it is no TOML" in result.warnings[0]
    assert counts(result) == {"unchanged": 6, "added": 1}
    file.unlink()
    assert counts(desk.sync()) == {"unchanged": 6, "deleted": 1}


def test_it_counts_as_a_setting(desk: Desk) -> None:
    """Two runs under different settings can be told apart, whoever set them."""
    first = desk.sync().config
    assert first == SyncConfig().fingerprint
    desk.write(TOML, "exclude = ['docs/']\n")
    second = desk.sync().config
    desk.write(TOML, "exclude = ['docs/']\nmax_files = 1\n# a note\n")
    assert second == desk.sync().config != first
    desk.write(TOML, "chunk_tokens = 100\n")
    assert desk.sync().config == SyncConfig(chunk_tokens=100).fingerprint


def test_it_cannot_empty_the_index(desk: Desk) -> None:
    """A repository that leaves itself out is refused as one that was emptied is."""
    desk.write_many(12)
    desk.sync()
    desk.write(TOML, "exclude = ['*']\n")
    with pytest.raises(DeletionRefused):
        desk.sync()
    assert len(desk.rows()) > 12


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def test_commits_bare_repositories_and_urls(desk: Desk) -> None:
    """There a repository says what the commit says, whatever lies in the folder."""
    desk.write("pyproject.toml", "[tool.reposync]\nexclude = ['docs/', '*.toml']\n")
    git(desk.root, "init", "-q", "-b", "main")
    git(desk.root, "add", "-A")
    git(desk.root, "commit", "-qm", "one")
    bare = desk.root.with_name("bare.git")
    git(desk.root, "clone", "-q", "--bare", ".", str(bare))
    (desk.root / "pyproject.toml").unlink()
    listed = [f"code{number}.py" for number in range(5)]
    places: tuple[dict[str, Any], ...] = (
        {"ref": "HEAD"},
        {"path": bare, "name": "bare"},
        {"path": f"file://{bare}", "name": "url"},
    )
    for place in places:
        desk.sync(**place)
        name = place.get("name", desk.name)
        assert sorted({str(row.metadata["path"]) for row in desk.rows(name).values()}) == listed
        path = place.get("path", desk.root)
        config = repository_config(path, ref=place.get("ref"))
        assert config.own is not None
        assert config.own.exclude == ("docs/", "*.toml")
        assert counts(desk.sync(**place)) == {"unchanged": 5}
