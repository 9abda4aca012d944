"""What the files of a vector index tell of themselves, and whose rows Chroma's database holds."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from reposync.errors import IndexDamaged
from reposync.probe import check_in_child, files, files_in_child, owners_in_child
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


def test_an_index_that_was_never_flushed_is_sound(tmp_path: Path) -> None:
    """Below Chroma's first flush there is nothing in the files, and nothing wrong with them."""
    client = _client(tmp_path / "small")
    collection = client.create_collection("notes")
    collection.upsert(ids=["1"], embeddings=[[1.0, 2.0]], documents=["one"])
    identity = str(collection.id)
    client.close()
    assert files(str(tmp_path / "small"), identity) is False
