"""`sync_many`: many repositories, one report, and no failure that spreads."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import HashEmbedding, check_exact, expected_texts, python, read_rows

from reposync import (
    ConfigError,
    ManyProgress,
    ManySyncs,
    RepositorySpec,
    SyncConfig,
    SyncError,
    sync_many,
)

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

NAMES = ("one", "two", "three", "four", "five")


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    """Five folders with three files each; one text is in all of them."""
    roots = {}
    for name in NAMES:
        roots[name] = root = tmp_path / name
        root.mkdir()
        for number in range(2):
            (root / f"note{number}.txt").write_text(f"note {number} of {name}\n")
        (root / "LICENSE").write_text("the same everywhere\n")
    return roots


def sync(roots: dict[str, Path], store: object, **options: Any) -> ManySyncs:
    """Sync them all."""
    return sync_many(list(roots.values()), **{"store": store, **options})


@pytest.mark.parametrize("shared", [False, True])
def test_all_of_them_are_in_step(
    roots: dict[str, Path], place: Path | ClientAPI, shared: bool
) -> None:
    """Each collection, or the one they share, holds what is in them; one text is embedded once."""
    embed = HashEmbedding()
    collection = "together" if shared else None
    specs = [{"path": str(root), "collection": collection} for root in roots.values()]
    report = sync_many(specs, store=place, embedding_function=embed)
    assert report.ok
    report.raise_for_failures()
    assert [len(report.outcomes), len(report.results), report.left] == [5, 5, ()]
    assert max(embed.counts.values()) == 1
    assert embed.total == 11
    for name, root in roots.items():
        rows = read_rows(place, collection or name)
        check_exact(rows, expected_texts(root), repository=name)
    again = sync_many(specs, store=place, embedding_function=embed)
    assert again.ok
    assert sum(one.chunks.added for one in again.results.values()) == 0


def open_files(folder: Path) -> list[str]:
    """The files below a folder that this process has open."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [path for path in found if path.startswith(str(folder))]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into /proc")
def test_nothing_is_left_open(roots: dict[str, Path], tmp_path: Path) -> None:
    """No file of the store stays open, whichever way it was kept open meanwhile."""
    specs = [{"path": str(root), "collection": "together"} for root in roots.values()]
    for _ in range(2):
        assert sync_many(specs, store=tmp_path / "store", embedding_function=HashEmbedding()).ok
        patience = time.monotonic() + 20  # Chroma closes its database in a thread of its own
        while open_files(tmp_path) and time.monotonic() < patience:
            time.sleep(0.02)
        assert not open_files(tmp_path)


def test_it_goes_through_json(roots: dict[str, Path], place: Path | ClientAPI) -> None:
    """Specs come from JSON and the report goes there and back, failures included."""
    specs = json.loads(json.dumps([*({"path": str(r)} for r in roots.values()), {"path": "/gone"}]))
    report = sync_many(specs, store=place, embedding_function=HashEmbedding())
    assert ManySyncs.model_validate_json(report.model_dump_json()) == report
    assert not report.ok


def test_a_failure_stays_its_own(roots: dict[str, Path], place: Path | ClientAPI) -> None:
    """What is missing, emptied, or holds a bad text fails alone; the report names it."""
    embed = HashEmbedding()
    (roots["two"] / "note1.txt").write_text("a poisonous text\n")
    roots["gone"] = roots["one"].parent / "gone"
    report = sync(dict(sorted(roots.items())), place, embedding_function=embed)
    assert [(str(one.repository).rpartition("/")[2], one.error) for one in report.failures] == [
        ("gone", "ConfigError"),
        ("two", None),
    ]
    (result,) = [one.result for one in report.failures if one.result]
    assert [failure.path for failure in result.failures] == ["note1.txt"]
    assert len([one for one in report.outcomes if one.ok]) == 4
    with pytest.raises(SyncError, match=r"(?s)4 of 6.*gone.*two.*again"):
        report.raise_for_failures()


def test_what_may_not_be_read_fails_alone(roots: dict[str, Path], tmp_path: Path) -> None:
    """A folder, or its .git, that may not be entered keeps the others from nothing."""
    (roots["four"] / ".git").mkdir()
    shut = [roots["two"], roots["four"] / ".git"]
    for folder in shut:
        folder.chmod(0)
    code = """
import sys
from support import HashEmbedding
from reposync import sync_many
store, *paths = sys.argv[1:]
report = sync_many(paths, store=store, embedding_function=HashEmbedding())
print([(str(one.repository), one.error) for one in report.failures])
"""
    try:
        said = python(code, tmp_path / "store", *roots.values(), obedient=True).stdout
    finally:
        for folder in shut:
            folder.chmod(0o755)
    assert said.strip() == str([(str(roots["two"]), "ScanError")])


def test_a_folder_out_of_sight_keeps_its_name(roots: dict[str, Path], tmp_path: Path) -> None:
    """A name does not move to another folder while that which has it stands behind a shut door."""
    (tmp_path / "behind").mkdir()
    hidden = roots["one"].rename(tmp_path / "behind" / "one")
    code = """
import sys
from support import HashEmbedding
from reposync import sync_many
store, path = sys.argv[1:]
specs = [{"path": path, "name": "it"}]
(outcome,) = sync_many(specs, store=store, embedding_function=HashEmbedding()).outcomes
print(outcome.error)
"""
    assert python(code, tmp_path / "store", hidden).stdout.strip() == "None"
    hidden.parent.chmod(0)
    try:
        said = python(code, tmp_path / "store", roots["two"], obedient=True).stdout
    finally:
        hidden.parent.chmod(0o755)
    assert said.strip() == "NameTaken"


def test_what_a_sync_warns_of_is_told(roots: dict[str, Path], tmp_path: Path) -> None:
    """Printed, the report has the warnings of those in step, too; a limit is named."""
    (roots["two"] / ".git").mkdir()
    report = sync(roots, tmp_path / "store", embedding_function=HashEmbedding())
    (warning,) = [line for line in str(report).splitlines() if line.startswith("  warning")]
    assert report.ok
    assert f"{roots['two']}: {roots['two']} is scanned without git" in warning
    short = SyncConfig(max_files=2)
    report = sync(roots, tmp_path / "other", embedding_function=HashEmbedding(), config=short)
    assert not report.ok
    assert "0 failed files" not in str(report)
    assert str(report).count("max_files") >= 5


def test_a_path_tells_a_terminal_nothing(tmp_path: Path) -> None:
    """Escape sequences in a path or a name are shown, and not obeyed."""
    specs = [{"path": str(tmp_path / "\x1b[2Jgone")}, {"path": str(tmp_path), "name": "\x1b[2J"}]
    report = sync_many(specs, store=tmp_path / "store", embedding_function=HashEmbedding())
    assert "\x1b" not in str(report)
    assert not any("\x1b" in str(outcome) for outcome in report.outcomes)


def test_a_service_that_is_down_is_not_asked_a_thousand_times(
    roots: dict[str, Path], place: Path | ClientAPI
) -> None:
    """After three in a row that could not be embedded the others are not begun, and told."""
    embed = HashEmbedding(poison=None)
    embed.spoil = lambda vectors: None
    report = sync(roots, place, embedding_function=embed)
    assert [one.error for one in report.outcomes] == ["EmbeddingError"] * 3
    assert (report.stopped, len(report.left)) == ("failing", 2)
    assert "2 (failing)" in str(report)
    embed.spoil = None
    assert sync_many(report.left, store=place, embedding_function=embed).ok


def test_cancel_and_deadline_are_for_all_of_them(
    roots: dict[str, Path], place: Path | ClientAPI
) -> None:
    """A wish to end is heeded at the next batch; what was not begun is told, nothing is lost."""
    cancel, seen = threading.Event(), list[ManyProgress]()

    def watch(now: ManyProgress) -> None:
        seen.append(now)
        if now.done == 2:
            cancel.set()

    embed = HashEmbedding()
    report = sync(roots, place, embedding_function=embed, cancel=cancel, progress=watch)
    assert (report.stopped, len(report.left)) == ("cancelled", 2)
    assert (seen[0].done, seen[0].failed, seen[0].total) == (0, 0, 5)
    assert seen[-1].repository.path == str(roots["three"])
    timer = threading.Event()
    embed.before = lambda: timer.wait(0.4)
    config = SyncConfig(deadline=0.3)
    report = sync_many(report.left, store=place, embedding_function=embed, config=config)
    assert (report.stopped, len(report.left)) == ("deadline", 1)
    embed.before = None
    assert sync(roots, place, embedding_function=embed).ok
    assert max(embed.counts.values()) == 1


def test_max_embeds_is_for_all_of_them(roots: dict[str, Path], place: Path | ClientAPI) -> None:
    """What is computed in all is what is allowed in all."""
    embed = HashEmbedding()
    report = sync(roots, place, embedding_function=embed, config=SyncConfig(max_embeds=7))
    assert embed.total == 7
    assert {one.result.status for one in report.failures if one.result} == {"partial"}


def test_a_spec_that_cannot_be_right(tmp_path: Path) -> None:
    """It is told by its number, before anything is touched."""
    with pytest.raises(ConfigError, match=r"specs\[1\].*colection"):
        sync_many(["here", {"path": "there", "colection": "x"}], store=tmp_path / "store")
    with pytest.raises(ConfigError, match=r"specs\[0\]"):
        sync_many([{"name": "x"}], store=tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert str(RepositorySpec(path="p", name="n")) == "n"


def test_the_default_model_is_loaded_once(
    roots: dict[str, Path], place: Path | ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five repositories, one runtime."""
    from reposync.embed import ort

    made: list[Any] = []
    real = ort.OnnxRuntime.__init__

    def count(self: Any, *arguments: Any) -> None:
        made.append(self)
        real(self, *arguments)

    monkeypatch.setattr(ort.OnnxRuntime, "__init__", count)
    assert sync(roots, place).ok
    assert len(made) == 1
