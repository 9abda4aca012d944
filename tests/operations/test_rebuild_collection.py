"""A collection is replaced by a new one of the same rows, and readers never see an empty one."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from chromadb.errors import NotFoundError
from support import Desk, HashEmbedding, hash_vectors, opened, read_rows

from reposync import ChromaLock, IndexDamaged, UnknownRepository, sync_repository
from reposync.operations import rebuild_collection as rebuilding
from reposync.operations.drop import drop_repository
from reposync.operations.rebuild_collection import rebuild_collection

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

SETTINGS = {"space": "cosine", "ef_search": 77, "batch_size": 5, "sync_threshold": 10}
"""The index's files are written after 10 rows, not 1 000."""

HOST_ROWS = ["host 1", "host 2", "host 3"]


@pytest.fixture
def desk(place: Path | ClientAPI, tmp_path: Path) -> Desk:
    """Two repositories and a host's rows in one collection of a host's making."""
    desk = Desk(tmp_path / "tree", place)
    with opened(desk.store) as client:
        collection = client.create_collection(
            "repo",
            configuration={"hnsw": SETTINGS},
            embedding_function=HashEmbedding(),
            metadata={"of": "host"},
        )
        write_host_rows(collection)
    desk.write_many(8)
    desk.sync()
    other = Desk(tmp_path / "other", place, "other", desk.embedding)
    other.write_many(5)
    other.sync(collection="repo")
    return desk


def write_host_rows(collection: Collection) -> None:
    """Rows as only hosts write them: without a text, or without metadata."""
    vectors = 3 * hash_vectors(HOST_ROWS, 16)
    collection.upsert(ids=HOST_ROWS[:1], embeddings=vectors[:1], documents=["a text"])
    collection.upsert(ids=HOST_ROWS[1:2], embeddings=vectors[1:2], metadatas=[{"a": 1}])
    collection.upsert(ids=HOST_ROWS[2:], embeddings=vectors[2:], uris=["file://x"])


def look(desk: Desk) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
    """The collection's settings, and all of its rows as they are."""
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        got = collection.get(include=["documents", "metadatas", "uris", "embeddings"])
        columns = (got["documents"], got["metadatas"], got["uris"])
        rows = dict(zip(got["ids"], zip(*columns, strict=True), strict=True))  # type: ignore[arg-type]
        vectors = dict(zip(got["ids"], np.asarray(got["embeddings"]), strict=True))
        for row_id in HOST_ROWS:
            if row_id in vectors:
                assert np.allclose(vectors[row_id], 3 * hash_vectors([row_id], 16), atol=1e-5)
        settings = {"metadata": collection.metadata, **collection._model.configuration_json}
        return settings, rows


def left_behind(desk: Desk) -> list[str]:
    """What a rebuild made and did not clear away."""
    with opened(desk.store) as client:
        names = [one.name for one in client.list_collections()]
    left = [name for name in names if name != "repo"]
    left += [path.name for path in desk.state.glob("swap-*")]
    if isinstance(desk.store, Path):
        folders = [path for path in desk.store.iterdir() if len(path.name) == 36]
        left += ["an index folder"] * (len(folders) - 1)
    return left


def test_every_row_goes_along(desk: Desk) -> None:
    """Ours, a sibling's and a host's rows are as they were, and nothing is embedded."""
    before, embedded = look(desk), desk.embedding.total
    report = rebuild_collection("repo", store=desk.store)
    assert (report.rows, report.repositories) == (16, ("other", "repo"))
    assert look(desk) == before
    assert left_behind(desk) == []
    for name in ("repo", "other"):
        result = sync_repository(
            desk.root.parent / ("tree" if name == "repo" else "other"),
            name,
            store=desk.store,
            collection="repo",
            embedding_function=desk.embedding,
            config=desk.config,
        )
        assert (result.ok, result.chunks.added) == (True, 0)
    assert desk.embedding.total == embedded


@pytest.mark.folder_only
def test_what_churn_left_is_gone(desk: Desk) -> None:
    """After much was written and deleted, the index is small again."""
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        for part in range(0, 2000, 500):
            ids = [f"churn {number}" for number in range(part, part + 500)]
            collection.upsert(ids=ids, embeddings=hash_vectors(ids, 16))
            collection.delete(ids=ids)
    size = sum(path.stat().st_size for path in desk.folder.glob("*-*-*/*"))
    rebuild_collection("repo", store=desk.store)
    assert 4 * sum(path.stat().st_size for path in desk.folder.glob("*-*-*/*")) < size


@pytest.mark.folder_only
def test_what_hosts_write_meanwhile_is_not_lost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that adds, changes and deletes rows while they are copied finds them so afterwards."""
    bring_in_step, passes = rebuilding._bring_in_step, []

    def then_the_host(*arguments: Any) -> None:
        bring_in_step(*arguments)
        passes.append(None)
        if len(passes) == 1:
            with opened(desk.store) as client:
                collection = client.get_collection("repo", embedding_function=None)
                collection.delete(ids=["host 1"])
                collection.update(ids=["host 2"], metadatas=[{"a": None, "b": 2}])  # type: ignore[list-item]
                collection.upsert(ids=["new"], embeddings=hash_vectors(["new"], 16))

    monkeypatch.setattr(rebuilding, "_bring_in_step", then_the_host)
    _, before = look(desk)
    assert rebuild_collection("repo", store=desk.store).passes == 2
    _, after = look(desk)
    assert "host 1" not in after
    assert after.pop("new") == (None, None, None)
    assert after["host 2"] == (None, {"b": 2}, None)
    assert before.keys() - after.keys() == {"host 1"}


@pytest.mark.folder_only
def test_a_host_that_never_rests_loses_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody writes in every pass, the last one is made alone."""
    bring_in_step, passes = rebuilding._bring_in_step, []

    def then_the_host(*arguments: Any) -> None:
        bring_in_step(*arguments)
        passes.append(None)
        if len(passes) < rebuilding.PASSES:
            with opened(desk.store) as client:
                name = f"new {len(passes)}"
                collection = client.get_collection("repo", embedding_function=None)
                collection.upsert(ids=[name], embeddings=hash_vectors([name], 16))

    monkeypatch.setattr(rebuilding, "_bring_in_step", then_the_host)
    assert rebuild_collection("repo", store=desk.store).passes == rebuilding.PASSES
    assert look(desk)[1].keys() >= {"new 1", "new 2"}


@pytest.mark.folder_only
def test_readers_never_see_an_empty_collection(desk: Desk) -> None:
    """Who reads in `reading()` finds all rows at every moment.

    A block that is under way just when the names are exchanged may find no collection of the name;
    the next block does.
    """
    seen: list[int] = []
    done = threading.Event()
    lock = ChromaLock(desk.folder)
    with lock:
        client = chromadb.PersistentClient(desk.folder, Settings(anonymized_telemetry=False))

    def count() -> int:
        with lock.reading():
            return client.get_collection("repo", embedding_function=None).count()

    def count_twice() -> int:
        with suppress(NotFoundError):
            return count()
        return count()

    def read() -> None:
        while not done.is_set():
            seen.append(count_twice())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(3):
            rebuild_collection("repo", store=client)
    finally:
        done.set()
        reader.join()
        client.close()  # type: ignore[attr-defined]
    assert len(seen) > 10
    assert set(seen) == {16}


def test_an_old_object_says_that_it_is_old(desk: Desk) -> None:
    """A `Collection` that was got before raises NotFoundError; got again, it serves."""
    with opened(desk.store) as client:
        old = client.get_collection("repo", embedding_function=None)
        rebuild_collection("repo", store=client)
        with pytest.raises(NotFoundError):
            old.count()
        assert client.get_collection("repo", embedding_function=None).count() == 16


@pytest.mark.folder_only
def test_rows_without_a_vector_are_not_left_out(desk: Desk) -> None:
    """Where a row's vector is lost the rebuild is refused, and nothing is changed."""
    _, before = look(desk)
    for index in desk.folder.glob("*-*-*"):
        shutil.rmtree(index)
    with pytest.raises(IndexDamaged):
        rebuild_collection("repo", store=desk.store)
    assert left_behind(desk) == []
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        assert set(collection.get(include=[])["ids"]) == before.keys()


def test_an_unknown_repository(desk: Desk) -> None:
    """A slip of the pen is an error that names what there is."""
    with pytest.raises(UnknownRepository, match="Did you mean 'repo'"):
        rebuild_collection("reop", store=desk.store)


def test_in_memory(tmp_path: Path, memory: ClientAPI) -> None:
    """An in-memory client's collection is rebuilt, too."""
    desk = Desk(tmp_path / "tree", memory, "rebuilt-in-memory")
    desk.write_many(4)
    desk.sync()
    rebuild_collection(desk.name, store=memory)
    assert len(read_rows(memory, desk.name)) == 4
    assert [one.name for one in memory.list_collections()] == [desk.name]
    assert desk.sync().chunks.added == 0
    drop_repository(desk.name, store=memory)
