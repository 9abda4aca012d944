"""Searches while others write: in this process, in others, and where something broke."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest
from support import Desk, hash_vectors, opened, start_python

from reposync import IndexDamaged, ManifestError, SearchResult, rebuild_collection
from reposync.search.index import FILE_NAME
from reposync.search.rows import Rows

from .desks import furnish, search

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

EDITS = """
import sys, time
from pathlib import Path
from reposync import sync_repository
from support import SMALL, HashEmbedding, store_at
root, where = Path(sys.argv[1]), sys.argv[2]
embedding = HashEmbedding()
for turn in range(6):
    for number in range(6):
        (root / f"note{number:02}.txt").write_text(f"note number {number} in turn {turn}\\n")
    sync_repository(root, "repo", store=store_at(where), embedding_function=embedding, config=SMALL)
"""


def check_one_moment(result: SearchResult) -> None:
    """Each hit is a text that was there in some turn, and nothing is amiss."""
    assert not result.warnings
    for hit in result:
        if hit.path.startswith("note"):
            assert hit.text.startswith(f"note number {int(hit.path[4:6])}")


def test_while_another_process_syncs(place: Path | ClientAPI, tmp_path: Path) -> None:
    """Searches of all modes answer with what is there, whatever another process is writing."""
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(6)
    desk.write("still.txt", "what never changes\n")
    desk.sync()
    searched = 0
    with start_python(EDITS, desk.root, desk.where) as child:
        while child.poll() is None:
            for mode in ("lexical", "dense", "hybrid"):
                check_one_moment(search(desk, "note number", mode=mode, n_results=20))
            assert search(desk, "what never changes", mode="lexical")[0].path == "still.txt"
            searched += 1
        assert child.wait() == 0, child.stderr and child.stderr.read()
    assert searched > 1
    result = search(desk, "turn 5", mode="lexical", n_results=6)
    assert {hit.text for hit in result} >= {f"note number {n} in turn 5\n" for n in range(6)}
    assert {hit.id for hit in search(desk, "x", n_results=100)} == desk.rows().keys()


@contextmanager
def replaced_again_and_again(desk: Desk) -> Iterator[Event]:
    """Another thread rebuilds the collection until the block ends; each time, the event is set."""
    stop, done = Event(), Event()

    def work() -> None:
        while not stop.is_set():
            rebuild_collection(desk.name, store=desk.store)
            done.set()

    with ThreadPoolExecutor() as pool:
        working = pool.submit(work)
        try:
            yield done
        finally:
            stop.set()
        working.result()


def test_while_the_collection_is_replaced(place: Path | ClientAPI, tmp_path: Path) -> None:
    """While a collection is made anew and takes the other's name, all of it is found."""
    desk = furnish(Desk(tmp_path / "tree", place))
    count = len(desk.rows())
    with replaced_again_and_again(desk) as done:
        for _ in range(2):
            done.clear()
            while not done.is_set():
                result = search(desk, "wheel", n_results=100)
                assert (len(result), result.warnings) == (count, ())


def test_threads_share_a_store(place: Path | ClientAPI, tmp_path: Path) -> None:
    """Threads that search at once get what one alone does, also when they make the index."""
    desk = furnish(Desk(tmp_path / "tree", place))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: search(desk, "wheel", n_results=100), range(8)))
    assert all(result == search(desk, "wheel", n_results=100) for result in results)


def test_threads_share_memory(memory: ClientAPI, tmp_path: Path) -> None:
    """So do those that share a client in memory."""
    desk = furnish(Desk(tmp_path / "tree", memory))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: search(desk, "wheel", n_results=100), range(8)))
    assert all(result == results[0] for result in results)
    assert results[0]


@pytest.fixture
def flushed(tmp_path: Path, own_home: Path) -> Desk:
    """A repository in a collection whose vector index was written to its files."""
    desk = furnish(Desk(tmp_path / "tree", tmp_path / "store"))
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        for start in range(0, 1100, 100):
            ids = [f"host{number}" for number in range(start, start + 100)]
            collection.upsert(ids=ids, embeddings=hash_vectors(ids, 16))
    desk.sync()
    return desk


def ruin(desk: Desk) -> None:
    """Cut the index's header in half, which makes Chroma crash."""
    (header,) = desk.folder.glob("*/header.bin")
    os.truncate(header, header.stat().st_size // 2)


def test_a_damaged_vector_index(flushed: Desk) -> None:
    """An index that would crash Chroma is told by an error that says what to do, and does."""
    before = search(flushed, "wheel", n_results=100)
    ruin(flushed)
    with pytest.raises(IndexDamaged, match="Sync again"):
        search(flushed, "wheel")
    flushed.sync()
    assert search(flushed, "wheel", n_results=100) == before


def test_a_damaged_manifest(flushed: Desk) -> None:
    """A manifest that cannot be read is told as such, and a sync mends it."""
    before = search(flushed, "wheel", n_results=100)
    flushed.manifest.write_bytes(b"x" * 5000)
    with pytest.raises(ManifestError, match="Sync again"):
        search(flushed, "wheel")
    flushed.sync()
    assert search(flushed, "wheel", n_results=100) == before


def test_a_manifest_that_was_made_anew(flushed: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the manifest was lost and rebuilt, what is searched is as good as before."""
    search(flushed, "wheel")
    flushed.manifest.unlink()
    flushed.sync()
    read: list[str] = []
    contents = Rows.contents
    monkeypatch.setattr(
        Rows, "contents", lambda self, at, ids: read.extend(ids) or contents(self, at, ids)
    )
    assert search(flushed, "wheel")
    assert (flushed.folder / FILE_NAME).exists()
    assert not read  # ids and digests are those that were searched already
