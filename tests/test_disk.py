"""A disk that has no room left."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import HashEmbedding

from reposync import StoreUnavailable, SyncConfig, SyncProgress, sync_repository
from reposync import store as store_module

EVERYTHING = 1 << 62


def test_a_full_disk_ends_a_sync_clearly_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the disk nearly full a sync stops before Chroma can hang, and the next one goes on."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(20):
        (root / f"{number}.md").write_text(f"Paragraph of file {number}.\n")
    function, config = HashEmbedding(), SyncConfig(batch_rows=4)

    def fill_up(now: SyncProgress) -> None:
        if now.chunks_written >= 8:
            monkeypatch.setattr(store_module, "MIN_FREE_BYTES", EVERYTHING)

    with pytest.raises(StoreUnavailable, match="Make room") as caught:
        sync_repository(
            root,
            "repo",
            store=tmp_path / "store",
            embedding_function=function,
            config=config,
            progress=fill_up,
        )
    assert caught.value.result is not None
    assert caught.value.result.chunks.total == 8

    monkeypatch.undo()
    result = sync_repository(
        root, "repo", store=tmp_path / "store", embedding_function=function, config=config
    )
    assert (result.ok, result.resumed, result.chunks.total) == (True, True, 20)
    assert result.chunks.added == 12
    assert function.total == 20


def test_no_room_for_the_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk not even a collection is made, and nothing is embedded."""
    monkeypatch.setattr(store_module, "MIN_FREE_BYTES", EVERYTHING)
    function = HashEmbedding()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "one.md").write_text("One paragraph.\n")
    with pytest.raises(StoreUnavailable, match="Make room"):
        sync_repository(
            tmp_path / "tree", "repo", store=tmp_path / "store", embedding_function=function
        )
    assert function.total == 0
