"""What the files of a vector index tell of themselves, and whose rows Chroma's database holds."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from reposync.errors import IndexDamaged
from reposync.probe import (
    IDS,
    VECTORS,
    check_in_child,
    files,
    files_in_child,
    owners_in_child,
    vectors_in_child,
)
from reposync.store import Store

ROWS = 1100  # more than Chroma's sync_threshold, so that the index is flushed to its files


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one collection whose index was flushed."""
    folder = tmp_path_factory.mktemp("probe") / "store"
    client = _client(folder)
    collection = client.create_collection("notes")
    vectors = np.random.default_rng(0).standard_normal((ROWS, 8)).astype("f4")
    for start in range(0, ROWS, 100):
        numbers = range(start, start + 100)
        collection.upsert(
            ids=[str(number) for number in numbers],
            embeddings=vectors[start : start + 100],
            metadatas=[{"repository": "even" if number % 2 else "odd"} for number in numbers],
        )
    client.close()
    return folder


def _client(folder: Path) -> chromadb.api.client.Client:
    client = chromadb.PersistentClient(folder, Settings(anonymized_telemetry=False))
    assert isinstance(client, chromadb.api.client.Client)
    return client


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    """A copy of the store to be damaged."""
    import shutil

    return Path(shutil.copytree(store, tmp_path / "copy"))


def _index(folder: Path) -> Path:
    (index,) = {path.parent for path in folder.glob("*/header.bin")}
    return index


def _collection_id(folder: Path) -> str:
    client = _client(folder)
    try:
        return str(client.get_collection("notes").id)
    finally:
        client.close()


def test_a_sound_index_is_found_sound(store: Path) -> None:
    """A flushed index passes every look from a child process."""
    client = _client(store)
    opened = Store(client)
    collection = opened.find("notes")
    assert collection is not None
    assert files_in_child(opened, collection) is False
    check_in_child(opened, collection)
    assert owners_in_child(opened, collection) == {"even", "odd"}
    client.close()


@pytest.mark.parametrize("name", ["header.bin", "data_level0.bin", "length.bin", "link_lists.bin"])
def test_a_file_that_is_too_short_is_damage(copy: Path, name: str) -> None:
    """Each file of the index is at least as long as the elements in it need."""
    identity = _collection_id(copy)
    os.truncate(_index(copy) / name, (_index(copy) / name).stat().st_size // 2)
    with pytest.raises(ValueError, match=name):
        files(str(copy), identity)


def test_a_header_ahead_of_its_files_is_damage(copy: Path) -> None:
    """A flush that died after the header: it speaks of elements that are in no file yet."""
    identity = _collection_id(copy)
    header = _index(copy) / "header.bin"
    content = bytearray(header.read_bytes())
    (elements,) = struct.unpack_from("<Q", content, 20)
    struct.pack_into("<Q", content, 20, 2 * elements)
    header.write_bytes(content)
    with pytest.raises(ValueError, match="link_lists"):
        files(str(copy), identity)
    client = _client(copy)
    opened = Store(client)
    collection = opened.find("notes")
    assert collection is not None
    with pytest.raises(IndexDamaged, match="link_lists"):
        files_in_child(opened, collection)
    client.close()


def test_a_flush_that_was_cut_off_is_noticed(copy: Path) -> None:
    """The last file of a flush is older than the others if the flush did not get that far."""
    identity = _collection_id(copy)
    last = _index(copy) / "index_metadata.pickle"
    os.utime(last, ns=(0, 0))
    assert files(str(copy), identity) is True


@pytest.mark.parametrize("space", ["l2", "cosine"])
def test_files_tell_the_vectors_that_chroma_reads(tmp_path: Path, space: str) -> None:
    """The vectors of the index files are those that Chroma gives, whatever their length."""
    client = _client(tmp_path / "store")
    collection = client.create_collection("notes", configuration={"hnsw": {"space": space}})
    written = np.random.default_rng(1).standard_normal((ROWS, 8)).astype("f4") * 3
    for start in range(0, ROWS, 100):
        ids = [str(number) for number in range(start, start + 100)]
        collection.upsert(ids=ids, embeddings=written[start : start + 100])
    collection.delete(ids=["5"])
    client.close()
    client = _client(tmp_path / "store")  # what was flushed is now read from the files
    opened = Store(client)
    found = opened.find("notes")
    assert found is not None
    index = vectors_in_child(opened, found, tmp_path)
    ids = json.loads((tmp_path / IDS).read_text())
    vectors = np.load(tmp_path / VECTORS)
    assert len(ids) == len(vectors) == 1000
    assert index == _index(tmp_path / "store")
    got = found.readable_vectors(ids)
    assert ids.count("5") == 1, "deleted since the flush: only Chroma's log knows"
    assert got.keys() == set(ids) - {"5"}
    for row_id, vector in zip(ids, vectors, strict=True):
        if row_id in got:
            assert np.array_equal(vector, got[row_id])
    client.close()


def test_files_of_a_flush_that_was_cut_off_tell_what_is_in_them(copy: Path, tmp_path: Path) -> None:
    """Of the file with the ids, the part that was written is enough to read those rows."""
    client = _client(copy)
    opened = Store(client)
    found = opened.find("notes")
    assert found is not None
    right = found.readable_vectors([str(number) for number in range(1000)])
    last = _index(copy) / "index_metadata.pickle"
    os.truncate(last, last.stat().st_size // 3)
    vectors_in_child(opened, found, tmp_path)
    ids = json.loads((tmp_path / IDS).read_text())
    assert 300 < len(ids) < 1000
    for row_id, vector in zip(ids, np.load(tmp_path / VECTORS), strict=True):
        assert np.array_equal(vector, right[row_id])
    client.close()


def test_noise_tells_no_vectors(copy: Path, tmp_path: Path) -> None:
    """Index files without sense are read without harm, and nothing is made of them."""
    noise = bytes((7 * at * at + 13) % 251 for at in range(5000))
    for name in ("header.bin", "index_metadata.pickle", "data_level0.bin"):
        (_index(copy) / name).write_bytes(noise)
    client = _client(copy)
    opened = Store(client)
    collection = opened.find("notes")
    assert collection is not None
    vectors_in_child(opened, collection, tmp_path)
    assert json.loads((tmp_path / IDS).read_text()) == []
    client.close()


def test_an_index_that_was_never_flushed_is_sound(tmp_path: Path) -> None:
    """Below Chroma's first flush there is nothing in the files, and nothing wrong with them."""
    client = _client(tmp_path / "small")
    collection = client.create_collection("notes")
    collection.upsert(ids=["1"], embeddings=[[1.0, 2.0]], documents=["one"])
    identity = str(collection.id)
    client.close()
    assert files(str(tmp_path / "small"), identity) is False
