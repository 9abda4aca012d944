"""A damaged index with a host's rows in it: all that can be read is written back."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from chromadb.errors import InternalError
from support import Desk, expected_texts, hash_vectors, opened, start_python

from reposync import mend, sync_repository

FILES = 40
NOTES = 1100
FLUSHED = {f"h{number}" for number in range(999)}
"""The notes that are in the index files alone: Chroma flushed with the batch that ended with h999,
which was the first beyond a thousand rows, and its log still holds the last row of a flush."""


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A repository and a host's notes in one collection, whose index was flushed."""
    folder = tmp_path_factory.mktemp("mend")
    desk = Desk(folder / "tree", folder / "store")
    desk.write_many(FILES)
    desk.sync()
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        for start in range(0, NOTES, 50):
            texts = [note(number) for number in range(start, start + 50)]
            collection.upsert(
                ids=[text.split()[1] for text in texts],
                documents=texts,
                metadatas=[{"of": "host"}] * len(texts),
                embeddings=hash_vectors(texts, 16),
            )
    desk.sync()
    return desk


def note(number: int) -> str:
    """What the host wrote."""
    return f"note h{number} of a host"


@pytest.fixture
def desk(synced: Desk, tmp_path: Path) -> Desk:
    """The same with a copy of the store, to be damaged."""
    shutil.copytree(synced.store, tmp_path / "store")
    return Desk(synced.root, tmp_path / "store")


def index_file(desk: Desk, name: str) -> Path:
    """A file of the vector index."""
    (file,) = desk.store.glob(f"*/{name}")
    return file


def look(desk: Desk) -> tuple[str, dict[str, tuple[str, Any, list[float] | None]]]:
    """The collection's id, and every row: its document, metadata and vector; None for none."""
    found = {}
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        got = collection.get(include=["documents", "metadatas"])
        for row_id, document, metadata in zip(
            got["ids"], got["documents"] or [], got["metadatas"] or [], strict=True
        ):
            try:
                vectors = collection.get(ids=[row_id], include=["embeddings"])["embeddings"]
            except InternalError:  # "Error finding id"
                vectors = None
            vector = None if vectors is None else [float(number) for number in vectors[0]]
            found[row_id] = (document, dict(metadata), vector)
        return str(collection.id), found


def check(
    desk: Desk, *, lost: set[str] = frozenset(), changed: dict[str, str] | None = None
) -> None:
    """Ours is in step, and each note is there with its vector but for those of `lost`."""
    _, rows = look(desk)
    ours = {row for row, (_, metadata, _) in rows.items() if metadata.get("repository") == "repo"}
    texts = sorted(rows[row][0] for row in ours)
    assert texts == sorted(expected_texts(desk.root).values())
    notes = {f"h{number}": note(number) for number in range(NOTES)}
    assert {row: rows[row][0] for row in rows.keys() - ours} == notes
    for row, (document, metadata, vector) in rows.items():
        assert metadata == {"of": "host"} or row in ours
        if row in lost:
            assert vector is None
        else:
            assert vector is not None, row
            assert np.allclose(vector, hash_vectors([document], 16), atol=1e-5), row


def make_noise(file: Path) -> None:
    """Leave a file as long as it was, without any sense."""
    file.write_bytes(bytes((7 * at * at + 13) % 251 for at in range(file.stat().st_size)))


def cut(file: Path) -> None:
    """Cut a file in half."""
    os.truncate(file, file.stat().st_size // 2)


def test_what_the_files_tell_is_written_back(desk: Desk) -> None:
    """Where the index cannot be loaded but its vectors can be read, nothing is lost at all."""
    identity, _ = look(desk)
    cut(index_file(desk, "link_lists.bin"))
    result = desk.sync()
    assert (result.status, result.warnings) == ("complete", ())
    assert look(desk)[0] == identity
    check(desk)
    assert desk.embedding.total == 0
    assert not list(desk.store.glob(".reposync/damaged-*")), "there is nothing left to be read"


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("index_metadata.pickle", make_noise),
        pytest.param("data_level0.bin", make_noise, marks=pytest.mark.slow),
        pytest.param("header.bin", make_noise, marks=pytest.mark.slow),
        pytest.param("header.bin", Path.unlink, marks=pytest.mark.slow),
    ],
)
def test_rows_whose_vectors_are_gone_are_named(
    desk: Desk, name: str, spoil: Callable[[Path], object]
) -> None:
    """Others' rows stay, those in Chroma's log with their vectors; the rest is named, once."""
    identity, _ = look(desk)
    spoil(index_file(desk, name))
    damaged = index_file(desk, "data_level0.bin").read_bytes()
    result = desk.sync()
    check(desk, lost=FLUSHED)
    assert (result.status, desk.embedding.total) == ("complete", 0)
    (warning,) = result.warnings
    assert f"{len(FLUSHED)} rows of collection 'repo' that reposync did not write" in warning
    assert warning in str(result)
    assert look(desk)[0] == identity
    (kept,) = desk.store.glob(".reposync/damaged-*")
    assert str(kept) in warning
    assert (kept / "index" / "data_level0.bin").read_bytes() == damaged

    os.utime(index_file(desk, "header.bin"))  # so that the whole index is looked at again
    again = desk.sync()
    assert (again.status, again.warnings) == ("complete", ())
    assert list(desk.store.glob(".reposync/damaged-*")) == [kept]


def test_swapped_vectors_are_found(desk: Desk) -> None:
    """Rows of ours that have each other's vectors, without any error, get their own ones back."""
    file = index_file(desk, "index_metadata.pickle")
    content = pickle.loads(file.read_bytes())
    labels = content["id_to_label"]
    one, other = [row_id for row_id in labels if not row_id.startswith("h")][:2]
    labels[one], labels[other] = labels[other], labels[one]
    content["label_to_id"] |= {labels[one]: one, labels[other]: other}
    file.write_bytes(pickle.dumps(content, protocol=3))
    result = desk.sync()
    check(desk)
    assert (result.status, result.warnings, desk.embedding.total) == ("complete", (), 0)


def test_a_row_of_ours_without_a_cached_vector_is_embedded_again(desk: Desk) -> None:
    """What neither cache nor index hold is computed anew, and nothing else."""
    with closing(sqlite3.connect(desk.store / "reposync.sqlite3")) as db, db:
        db.execute("DELETE FROM vectors WHERE id <= 3")
    index_file(desk, "index_metadata.pickle").unlink()
    make_noise(index_file(desk, "data_level0.bin"))
    result = desk.sync()
    check(desk, lost=FLUSHED)
    assert (result.status, result.chunks.embedded, desk.embedding.total) == ("complete", 3, 3)


def test_what_a_host_does_meanwhile_stands(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two batches a host changes one of its rows and deletes another: so it stays."""
    read_saved = mend._Saved  # right after the index was put aside, and the lock released

    def then_the_host(asides: Sequence[Path]) -> object:
        with opened(desk.store) as client:
            collection = client.get_collection("repo", embedding_function=None)
            collection.delete(ids=["h7"])
            collection.upsert(ids=["h8"], documents=["new"], embeddings=hash_vectors(["new"], 16))
        return read_saved(asides)

    monkeypatch.setattr(mend, "_Saved", then_the_host)
    cut(index_file(desk, "link_lists.bin"))
    assert desk.sync().warnings == ()
    _, rows = look(desk)
    assert "h7" not in rows
    document, _, vector = rows["h8"]
    assert document == "new"
    assert np.allclose(vector, hash_vectors(["new"], 16), atol=1e-5)


def test_a_hosts_own_client_reads_the_mended_index(desk: Desk) -> None:
    """A client that is open while the index is mended under it goes on with all of it."""
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        vectors = hash_vectors([note(1)], 16)
        collection.query(query_embeddings=vectors)  # which loads the index
        cut(index_file(desk, "link_lists.bin"))
        assert desk.sync(store=client).warnings == ()
        assert collection.count() == FILES + NOTES
        assert collection.query(query_embeddings=vectors, n_results=1)["ids"] == [["h1"]]
        read = collection.get(include=["embeddings"])["embeddings"]
        assert np.shape(read) == (FILES + NOTES, 16)
    check(desk)


def test_two_syncs_mend_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that finds another one mending waits for it, and finds the index sound."""
    second = Desk(desk.root, desk.store, "second")
    second.embedding = desk.embedding
    put_aside, results = mend._put_aside, []
    wanted = {**second.arguments(), "collection": "repo"}
    other = Thread(target=lambda: results.append(sync_repository(**wanted)))

    def once(*arguments: Any) -> None:
        monkeypatch.setattr(mend, "_put_aside", put_aside_again)
        put_aside(*arguments)
        other.start()

    def put_aside_again(*arguments: Any) -> None:
        raise AssertionError("the index was put aside twice")

    monkeypatch.setattr(mend, "_put_aside", once)
    cut(index_file(desk, "link_lists.bin"))
    results.append(desk.sync())
    other.join()
    assert [(result.status, result.warnings) for result in results] == [("complete", ())] * 2
    assert not list(desk.store.glob(".reposync/damaged-*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from support import Desk
from reposync import mend, sync_repository

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def die_at_last(function, calls):
    def counted(*arguments):
        nonlocal calls
        calls -= 1
        if calls < 0:
            die()
        return function(*arguments)
    return counted

root, store, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
if where == "before the index is put aside":
    Path.rename = die
elif where == "when it is put aside":
    mend.refresh = die
elif where == "in the middle":
    mend._write_back = die_at_last(mend._write_back, 9)
else:
    mend._clear = die
Desk(root, store).sync()
"""


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("before the index is put aside", marks=pytest.mark.slow),
        pytest.param("when it is put aside", marks=pytest.mark.slow),
        "in the middle",
        pytest.param("at the end", marks=pytest.mark.slow),
    ],
)
def test_a_kill_while_mending(desk: Desk, where: str) -> None:
    """Killed anywhere, the next sync finishes the job, and loses nothing either."""
    identity, _ = look(desk)
    cut(index_file(desk, "link_lists.bin"))
    with start_python(KILLED, desk.root, desk.store, where) as child:
        _, errors = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, errors
    result = desk.sync()
    assert (result.status, result.warnings, desk.embedding.total) == ("complete", (), 0)
    assert look(desk)[0] == identity
    check(desk)
    assert not list(desk.store.glob(".reposync/damaged-*"))
