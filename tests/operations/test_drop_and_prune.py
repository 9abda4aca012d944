"""A repository is taken out of a store, and the room of its vectors is given back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import Desk, check_exact, expected_texts, hash_vectors, opened

from reposync import UnknownRepository
from reposync.manifest import Manifest
from reposync.operations.drop import drop_repository
from reposync.operations.prune import prune_cache

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@pytest.fixture
def desk(place: Path | ClientAPI, tmp_path: Path) -> Desk:
    """A repository, synced."""
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(10)
    desk.sync()
    return desk


def collections(desk: Desk) -> list[str]:
    """The names of all collections."""
    with opened(desk.store) as client:
        return [one.name for one in client.list_collections()]


def test_a_collection_of_its_own_goes_with_it(desk: Desk) -> None:
    """Rows, collection and notes are gone, its files are not; a sync computes nothing."""
    embedded = desk.embedding.total
    report = drop_repository("repo", store=desk.store)
    assert (report.rows, report.collection_deleted) == (10, True)
    assert collections(desk) == []
    if isinstance(desk.store, Path):
        assert not [path for path in desk.store.iterdir() if len(path.name) == 36]
    with pytest.raises(UnknownRepository):
        drop_repository("repo", store=desk.store)
    assert desk.sync().chunks.added == 10
    assert desk.embedding.total == embedded
    desk.check()


def test_others_rows_stay(desk: Desk, tmp_path: Path) -> None:
    """A sibling's rows, and a host's, stay in the collection."""
    other = Desk(tmp_path / "other", desk.store, "other", desk.embedding)
    other.write_many(3)
    other.sync(collection="repo")
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        collection.upsert(ids=["host"], embeddings=hash_vectors(["host"], 16))
    report = drop_repository("repo", store=desk.store)
    assert (report.rows, report.collection_deleted) == (10, False)
    rows = other.rows("repo")
    assert len(rows) == 4
    check_exact(rows, expected_texts(other.root), repository="other")


@pytest.mark.folder_only
def test_killed_before_its_end_it_is_called_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its notes go last, so that it can be named for as long as anything of it is there."""
    forget = Manifest.remove_repository
    monkeypatch.setattr(Manifest, "remove_repository", interrupt)
    with pytest.raises(KeyboardInterrupt):
        drop_repository("repo", store=desk.store)
    monkeypatch.setattr(Manifest, "remove_repository", forget)
    assert drop_repository("repo", store=desk.store).rows == 0
    with pytest.raises(UnknownRepository):
        drop_repository("repo", store=desk.store)


def interrupt(*_: object) -> None:
    """As if somebody pressed Ctrl-C."""
    raise KeyboardInterrupt


def test_vectors_that_no_row_uses_are_dropped(desk: Desk) -> None:
    """Those of texts that are gone are dropped and counted; those in use stay."""
    for number in range(4):
        (desk.root / f"note{number:02}.txt").unlink()
    desk.sync()
    report = prune_cache(store=desk.store)
    assert (report.dropped, report.dropped_bytes) == (4, 4 * 64)
    assert (report.kept, report.kept_bytes) == (6, 6 * 64)
    assert prune_cache(store=desk.store).dropped == 0
    desk.write("note03.txt", "note number 3\n")
    desk.write("copy.txt", "note number 7\n")
    assert desk.sync().chunks.embedded == 1


@pytest.mark.folder_only
def test_the_file_gets_smaller(desk: Desk) -> None:
    """The room is given back to the disk."""
    desk.write("large.txt", "\n\n".join(f"paragraph {n}, of many words. " * 4 for n in range(300)))
    desk.sync(config=desk.config.model_copy(update={"batch_rows": 128}))
    drop_repository("repo", store=desk.store)
    before = desk.manifest.stat().st_size
    report = prune_cache(store=desk.store)
    assert report.kept == 0
    assert report.file_bytes > 0
    assert desk.manifest.stat().st_size < before / 2


def test_in_memory(tmp_path: Path, memory: ClientAPI) -> None:
    """An in-memory client's repository is dropped, and its cache pruned, too."""
    desk = Desk(tmp_path / "tree", memory, "dropped-in-memory")
    desk.write("only-here.txt", "a text that no other test has in memory\n")
    desk.sync()
    assert drop_repository(desk.name, store=memory).collection_deleted
    report = prune_cache(store=memory)
    assert report.dropped >= 1
    assert report.file_bytes == 0
