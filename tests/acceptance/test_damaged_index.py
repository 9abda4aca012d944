"""Whatever happens to a file of the vector index, the next sync makes it good, embedding nothing.

The damage is done while nobody uses the store, once as the only change to it, and once with
Chroma's database changed as well, as after a foreign writer that died.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trees
from harness import Workshop

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("data_level0.bin", "header.bin", "length.bin", "link_lists.bin", "index_metadata.pickle")
WAYS = ("half", "empty", "gone", "noise")
SHORT = {("header.bin", "empty", "alone"), ("index_metadata.pickle", "half", "with another change")}


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A synced store whose index has been flushed to disk."""
    folder = tmp_path_factory.mktemp("damage")
    shop = Workshop(folder / "tree", folder / "store", folder / "log")
    trees.packages(shop.tree)
    shop.sync("cold sync")
    return shop


def cases() -> list[Any]:
    """All combinations; only a few of them run by default."""
    combinations = [
        (file, way, company)
        for file in FILES
        for way in WAYS
        for company in ("alone", "with another change")
    ]
    return [
        pytest.param(*case, marks=() if case in SHORT else pytest.mark.slow)
        for case in combinations
    ]


@pytest.mark.parametrize(("name", "way", "company"), cases())
def test_damaged_index_is_made_good(
    synced: Workshop, tmp_path: Path, name: str, way: str, company: str
) -> None:
    """After a sync the rows, their vectors and the index are exact again, from the cache alone."""
    shop = synced.with_copied_store(tmp_path)
    shop.sync("settling in, after the copy changed every inode")
    files = list(shop.store.glob(f"*/{name}"))
    assert files, f"no {name}: the tree is too small for an index on disk"
    for file in files:
        damage(file, way)
    if company != "alone":
        os.utime(shop.store / "chroma.sqlite3")
    result = shop.sync("the damage")
    shop.check("the damage")
    assert result["chunks"]["embedded"] == 0


def damage(file: Path, way: str) -> None:
    """Spoil one file."""
    size = file.stat().st_size
    if way == "gone":
        file.unlink()
    elif way == "noise":
        file.write_bytes(bytes((7 * at * at + 13) % 251 for at in range(size)))
    else:
        os.truncate(file, size // 2 if way == "half" else 0)
