"""A shared collection whose index is damaged comes back whole, and nothing is computed for it."""

from __future__ import annotations

import os
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from support import HashEmbedding

from reposync import SyncConfig, SyncEvent, SyncResult, sync_repository

FILES, PARAGRAPHS = 12, 60


def make_tree(root: Path, word: str) -> Path:
    """A folder of Markdown files with more than 500 chunks."""
    root.mkdir()
    for number in range(FILES):
        paragraphs = (f"{word} {number} {part}. " * 30 for part in range(PARAGRAPHS))
        (root / f"{number}.md").write_text("\n\n".join(paragraphs))
    return root


class Shared:
    """Two repositories in one collection of one store."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.trees = {word: make_tree(folder / word, word) for word in ("first", "second")}
        self.function = HashEmbedding()
        self.events: list[SyncEvent] = []

    def sync(self, name: str) -> SyncResult:
        """Sync one of them."""
        return sync_repository(
            self.trees[name],
            name,
            store=self.store,
            collection="shared",
            embedding_function=self.function,
            config=SyncConfig(on_event=self.events.append),
        )

    def client(self) -> chromadb.api.client.Client:
        """A client of our own."""
        client = chromadb.PersistentClient(self.store, Settings(anonymized_telemetry=False))
        assert isinstance(client, chromadb.api.client.Client)
        return client

    def rows(self, name: str) -> dict[str, tuple[str, object, bytes]]:
        """All that is in the collection of one of them."""
        client = self.client()
        found = client.get_collection("shared", embedding_function=None).get(
            where={"repository": name}, include=["documents", "metadatas", "embeddings"]
        )
        client.close()
        vectors = np.asarray(found["embeddings"], dtype=np.float32)
        assert found["documents"] is not None
        assert found["metadatas"] is not None
        columns = (found["ids"], found["documents"], found["metadatas"], vectors)
        return {
            row_id: (document, dict(metadata), vector.tobytes())
            for row_id, document, metadata, vector in zip(*columns, strict=True)
        }

    def damage(self) -> None:
        """Cut the index's header in half, which makes Chroma crash."""
        (header,) = self.store.glob("*/header.bin")
        os.truncate(header, header.stat().st_size // 2)


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    """Both repositories, synced."""
    both = Shared(tmp_path)
    assert both.sync("first").ok
    assert both.sync("second").ok
    return both


def test_the_neighbours_rows_come_back_with_ours(shared: Shared) -> None:
    """The sync that finds the damage restores the other repository, too."""
    before = {name: shared.rows(name) for name in shared.trees}
    assert sum(map(len, before.values())) > 1000
    embedded = shared.function.total
    shared.sync("first")
    shared.damage()
    shared.events.clear()
    result = shared.sync("first")
    assert result.ok
    told = [event.name for event in shared.events]
    assert [name for name in told if name.startswith("index.")] == ["index.damaged", "index.mended"]
    assert "sync.restarted" in told
    assert {name: shared.rows(name) for name in shared.trees} == before
    later = shared.sync("second")
    assert (later.files.unchanged, later.chunks.added) == (FILES, 0)
    assert later.chunks.total == len(before["second"])
    assert shared.function.total == embedded
    assert not list(shared.store.glob(".reposync/saved-*"))


def test_rows_of_strangers_keep_a_collection_from_being_made_anew(shared: Shared) -> None:
    """A collection that holds rows which reposync did not write is mended instead."""
    before = {name: shared.rows(name) for name in shared.trees}
    client = shared.client()
    notes = client.get_collection("shared", embedding_function=None)
    notes.upsert(
        ids=["mine"], documents=["a host's own"], embeddings=[[1.0] * shared.function.dimension]
    )
    identity = notes.id
    client.close()
    embedded = shared.function.total
    shared.sync("first")
    shared.damage()
    assert shared.sync("first").ok
    assert {name: shared.rows(name) for name in shared.trees} == before
    assert shared.function.total == embedded
    client = shared.client()
    notes = client.get_collection("shared", embedding_function=None)
    assert notes.get(ids=["mine"])["documents"] == ["a host's own"]
    assert notes.id == identity
    client.close()
