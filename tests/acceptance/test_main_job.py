"""The main job on real trees: after every step the collection is exact, and only new text costs.

Each tree goes through one long story in one store. Every sync and every check is a fresh process;
what was embedded is counted twice, by the result and by the embedding function's own log.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import trees
from checker import expected_files
from harness import Workshop, git

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FEW = 5
"""Texts that a small edit may newly embed."""

SLOW_TREES = [
    pytest.param(trees.packages, id="packages", marks=pytest.mark.slow),
    pytest.param(trees.mixture, id="mixture", marks=pytest.mark.slow),
]


class Story:
    """One tree and its store, led from step to step."""

    def __init__(self, folder: Path, make: Callable[[Path], None]) -> None:
        self.shop = Workshop(folder / "tree", folder / "store", folder / "log")
        make(self.shop.tree)
        assert len(self.files()) >= 200
        self.steps: list[str] = []

    def files(self) -> dict[str, str]:
        """Text by path, of the files that belong now."""
        return expected_files(self.shop.tree)[0]

    def after(self, step: str, *checker: str) -> tuple[dict[str, int], dict[str, int]]:
        """Sync, check everything, and give the counts of (files, chunks).

        The checker opens the store, as any reader would; with `--copy` nobody else touches it.
        """
        self.steps.append(step)
        result = self.shop.sync(step)
        report = self.shop.check(step, *checker)
        assert result["status"] == "complete", step
        check_counts(step, result, report)
        return result["files"], result["chunks"]

    def free(self, step: str, *checker: str) -> dict[str, int]:
        """After a step that brought no new text: nothing was embedded. Gives the file counts."""
        files, chunks = self.after(step, *checker)
        assert chunks["embedded"] == 0, f"{step} embedded {chunks['embedded']} texts"
        return files


def check_counts(step: str, result: dict[str, Any], report: dict[str, Any]) -> None:
    """What the result says must fit with itself and with what the checker counted."""
    files, chunks = result["files"], result["chunks"]
    assert chunks["total"] == report["rows"], f"{step}: {chunks}"
    assert files["scanned"] == sum(files.values()) - files["scanned"] - files["deleted"], step
    in_collection = sum(files[key] for key in ("added", "updated", "renamed", "unchanged"))
    assert in_collection == report["files"], f"{step}: {files}"
    assert files["skipped"] == len(result["skipped"]), step
    assert files["failed"] == 0 == len(result["failures"]), step
    assert chunks["added"] >= chunks["embedded"], f"{step}: {chunks}"


@pytest.fixture
def story(tmp_path: Path, make: Callable[[Path], None]) -> Iterator[Story]:
    """The story of one tree; says at its end how long each sync took."""
    story = Story(tmp_path, make)
    yield story
    seconds = ", ".join(f"{step} {spent:.1f}" for step, spent in story.shop.seconds.items())
    print(f"\nseconds a sync: {seconds}")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("make", [pytest.param(trees.library, id="library"), *SLOW_TREES])
def test_main_job(story: Story) -> None:
    """A tree stays exact through edits, moves, branches and lost state, at least cost."""
    cold_and_idle(story)
    real_edits(story)
    moves_and_deletions(story)
    if (story.shop.tree / ".git").exists():
        branches(story)
    assert max(story.shop.embedded().values()) == 1, "a text was embedded twice"
    lost_state(story)
    assert max(story.shop.embedded().values()) == 1, "a text was embedded twice"


def cold_and_idle(story: Story) -> None:
    """The first sync embeds each different text once, the second one does nothing."""
    files, chunks = story.after("cold sync", "--copy", "--sample", "400")
    assert files["added"] == len(story.files())
    assert chunks["added"] == chunks["total"]
    assert chunks["reused"] == 0  # chunks that are equal share a vector of this run
    assert chunks["embedded"] == len(story.shop.embedded()) > 500
    assert story.free("no change")["unchanged"] == len(story.files())
    assert story.free("no change, after a reader")["unchanged"] == len(story.files())


def real_edits(story: Story) -> None:
    """An edit embeds what is new around it, and no more."""
    edited, renamed, swapped = islice(trees.spots(story.shop.tree), 3)
    trees.edit_function(edited)
    files, chunks = story.after("edit inside a function")
    assert (files["updated"], files["unchanged"]) == (1, len(story.files()) - 1)
    assert 1 <= chunks["embedded"] <= FEW

    rows_of_file = len(story.files()[str(renamed.file.relative_to(story.shop.tree))]) // 100
    trees.rename_class(renamed)
    files, chunks = story.after("renamed class")
    assert files["updated"] == 1
    assert 1 <= chunks["embedded"] <= max(FEW, rows_of_file)

    trees.swap_methods(swapped)
    files, chunks = story.after("two swapped methods")
    assert files["updated"] == 1
    assert chunks["embedded"] <= FEW


def moves_and_deletions(story: Story) -> None:
    """Touched, moved and deleted files cost no embedding."""
    tree = story.shop.tree
    for path in story.files():
        os.utime(tree / path)
    assert story.free("touching all files")["unchanged"] == len(story.files())

    folder = fullest_folder(story)
    inside = [path for path in story.files() if path.startswith(f"{folder}/")]
    (tree / folder).rename(tree / f"{folder}_elsewhere")
    files = story.free("renaming a folder")
    assert (files["renamed"], files["deleted"], files["added"]) == (len(inside), 0, 0)

    doomed = sorted(path for path in story.files() if ".gitignore" not in path)[::25]
    for path in doomed:
        (tree / path).unlink()
    files = story.free("deleting files")
    assert (files["deleted"], files["unchanged"]) == (len(doomed), len(story.files()))


def fullest_folder(story: Story) -> str:
    """The folder at the top, `odd` aside, with most files, but not more than half of all."""
    tops = [path.split("/")[0] for path in story.files() if "/" in path]
    counts = {top: tops.count(top) for top in tops if top != "odd"}
    return max((top for top in counts if 2 * counts[top] < len(tops)), key=lambda top: counts[top])


def branches(story: Story) -> None:
    """Another branch embeds what only it has; the way back is free."""
    tree = story.shop.tree
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "All of the edits")
    story.free("committing")
    git(tree, "checkout", "-q", "other")
    story.after("switching the branch")
    git(tree, "checkout", "-q", "main")
    story.free("switching back")


def lost_state(story: Story) -> None:
    """What is lost of the store is made again from the rest, and nothing is embedded for it."""
    store = story.shop.store
    for file in store.glob("reposync.sqlite3*"):
        file.unlink()
    story.free("deleting reposync.sqlite3")

    subprocess.run(
        [sys.executable, "-c", DELETE_COLLECTION, str(store), story.shop.collection],
        check=True,
        timeout=60,
    )
    story.free("deleting the collection")

    truncate_index(store, "header.bin")  # half of it makes Chroma die of SIGSEGV
    story.free("truncating header.bin", "--copy")
    truncate_index(store, "data_level0.bin")  # and nobody has touched another file of the store
    story.free("truncating data_level0.bin")
    story.free("no change at the end")


DELETE_COLLECTION = """
import sys, chromadb
from chromadb.config import Settings
client = chromadb.PersistentClient(sys.argv[1], settings=Settings(anonymized_telemetry=False))
client.delete_collection(sys.argv[2])
client.close()
"""


def truncate_index(store: Path, name: str) -> None:
    """Cut one file of each vector index in half."""
    files = list(store.glob(f"*/{name}"))
    assert files, f"no {name}: the tree is too small for an index on disk"
    for file in files:
        os.truncate(file, file.stat().st_size // 2)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("make", [pytest.param(trees.library, id="library")])
@pytest.mark.slow
def test_a_copied_store_goes_on(story: Story, tmp_path: Path) -> None:
    """A tree and its store that moved to another place need no embedding there."""
    story.after("cold sync")
    moved = story.shop.with_copied_store(tmp_path / "elsewhere")
    moved.tree = tmp_path / "elsewhere" / "tree"
    shutil.move(story.shop.tree, moved.tree)
    result = moved.sync("in the other place")
    moved.check("the sync in the other place")
    assert result["chunks"]["embedded"] == 0
    assert result["files"]["unchanged"] == len(expected_files(moved.tree)[0])
