"""The manifest, the freshness record, the clock and the kind of collection: what may be wrong."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support import (
    Desk,
    HashEmbedding,
    OtherEmbedding,
    opened,
    python,
    read_rows,
    start_python,
)

from reposync import EmbeddingMismatch, ManifestError, SyncConfig, SyncError, SyncProgress
from reposync.manifest import database

from . import job
from .conftest import some_slow

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

MANIFEST = "reposync.sqlite3"
YEAR = 365 * 24 * 3600.0


def after(rows: int, do: Callable[[], object]) -> Callable[[SyncProgress], None]:
    """A `progress` that does something once, when so many rows are written."""
    pending = [do]

    def report(now: SyncProgress) -> None:
        if pending and now.chunks_written >= rows:
            pending.pop()()

    return report


def check(desk: Desk, *, twice: int = 0) -> None:
    """In step, and at most `twice` texts were embedded a second time."""
    desk.check()
    assert desk.embedding.total - len(desk.embedding.counts) <= twice


# -- A manifest that somebody else holds, or that is not one any more ------------------------------


@contextmanager
def held(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another process is in the midst of a write to the manifest, and does not come to an end."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    code = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""
    with start_python(code, desk.store / MANIFEST) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        try:
            yield
        finally:
            child.communicate("")


def test_a_manifest_that_is_locked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program holds the file: an error that asks about it; later all goes on."""
    desk.settled()
    before = desk.rows()
    desk.write("note00.txt", "an edited note\n")
    with held(desk, monkeypatch), pytest.raises(ManifestError, match="another program") as caught:
        desk.sync()
    assert "sync again" in str(caught.value)
    assert desk.rows() == before
    assert desk.sync().ok
    check(desk)


def test_a_manifest_that_is_locked_in_mid_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is taken between two batches: what was written counts, and the next sync goes on."""
    grip = held(desk, monkeypatch)
    desk.settled()
    for number in range(20):
        desk.write(f"note{number:02}.txt", f"edited note number {number}\n")
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    try:
        with pytest.raises(ManifestError, match="sync again") as caught:
            desk.sync(progress=after(8, grip.__enter__))
    finally:
        grip.__exit__(None, None, None)
    assert caught.value.result is not None
    assert caught.value.result.chunks.added == 8
    result = desk.sync()
    assert result.ok
    check(desk, twice=8)  # the batch whose vectors could not be kept


def spoil_everything(file: Path) -> None:
    """Noise from the first byte to the last."""
    file.write_bytes(bytes((7 * at * at + 13) % 251 for at in range(file.stat().st_size)))


def spoil_pages(file: Path) -> None:
    """The first page is sound, the others are noise: it opens, and fails later."""
    data = file.read_bytes()
    noise = bytes((7 * at * at + 13) % 251 for at in range(len(data) - 4096))
    file.write_bytes(data[:4096] + noise)


def cut(file: Path) -> None:
    """The second half is gone."""
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    """Nothing is left."""
    os.truncate(file, 0)


def a_folder(file: Path) -> None:
    """A folder stands in its place."""
    file.unlink()
    file.mkdir()


DAMAGE = [spoil_everything, spoil_pages, cut, empty]


@pytest.mark.parametrize("damage", some_slow(DAMAGE, spoil_pages, cut))
def test_a_damaged_manifest_is_rebuilt_from_the_collection(
    desk: Desk, damage: Callable[[Path], None]
) -> None:
    """Whatever is left of it: the damaged file is set aside, all vectors are read back."""
    desk.settled()
    desk.write("note00.txt", "an edited note\n")
    damage(desk.store / MANIFEST)
    result = desk.sync()
    assert result.ok
    assert result.chunks.embedded == 1
    check(desk)
    assert desk.sync().ok


@pytest.mark.parametrize("damage", some_slow(DAMAGE, spoil_everything, empty))
def test_a_manifest_that_is_damaged_in_mid_run(desk: Desk, damage: Callable[[Path], None]) -> None:
    """The file is overwritten between two batches: the call or the next one makes it good."""
    desk.settled()
    for number in range(20):
        desk.write(f"note{number:02}.txt", f"edited note number {number}\n")
    with suppress(SyncError):
        assert desk.sync(progress=after(8, lambda: damage(desk.store / MANIFEST))).ok
    assert desk.sync().ok
    check(desk, twice=8)  # the batch in flight


def test_a_folder_in_the_manifests_place(desk: Desk) -> None:
    """What cannot be opened as a file is an error that names it."""
    desk.settled()
    a_folder(desk.store / MANIFEST)
    with pytest.raises(ManifestError, match=re.escape(MANIFEST)):
        desk.sync()
    (desk.store / MANIFEST).rmdir()
    assert desk.sync().ok
    check(desk)


def test_a_manifest_of_another_repositorys_store(desk: Desk, tmp_path: Path) -> None:
    """A manifest that was copied from another store does not fool the next sync."""
    desk.settled()
    other = Desk(tmp_path / "other", tmp_path / "other-store", desk.name, desk.embedding)
    other.write("else.txt", "something else altogether\n")
    other.settled()
    with closing(sqlite3.connect(other.store / MANIFEST)) as copy:
        copy.execute("UPDATE repositories SET path = ?", (str(desk.root),))
        copy.commit()
    for suffix in ("", "-wal", "-shm"):
        (desk.store / f"{MANIFEST}{suffix}").unlink(missing_ok=True)
    (other.store / MANIFEST).rename(desk.store / MANIFEST)
    assert desk.sync(allow_deletions=True).ok
    check(desk)


# -- A clock that is wrong -------------------------------------------------------------------------


@contextmanager
def clock(monkeypatch: pytest.MonkeyPatch, shift: float) -> Iterator[None]:
    """The clock of this process is off by `shift` seconds."""
    real, real_ns = time.time, time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + shift)
        patch.setattr(time, "time_ns", lambda: real_ns() + int(shift * 1e9))
        yield


@pytest.mark.parametrize("shift", [-YEAR, YEAR], ids=["back", "forth"])
def test_a_clock_that_is_set(desk: Desk, monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    """Between two syncs the clock jumps by a year: edits are noticed, and nothing is done twice."""
    desk.settled()
    with clock(monkeypatch, shift):
        desk.write("note00.txt", "an edited note\n")
        assert desk.sync().files.updated == 1
        check(desk)
        desk.write("note01.txt", "another edited note\n")
        assert desk.sync().files.updated == 1
    desk.write("note02.txt", "and one more\n")
    assert desk.sync().files.updated == 1
    assert desk.sync().files.unchanged == 20
    check(desk)


def test_files_from_the_future(desk: Desk) -> None:
    """Files whose times lie ahead are indexed, their edits noticed, and not embedded again."""
    ahead = time.time() + YEAR
    for file in desk.root.iterdir():
        os.utime(file, (ahead, ahead))
    desk.settled()
    desk.write("note00.txt", "an edited not\n")
    os.utime(desk.root / "note00.txt", (ahead, ahead))
    assert desk.sync().files.updated == 1
    check(desk)


def test_times_in_the_record_lie_in_the_future(desk: Desk) -> None:
    """A holder that is noted since next year is dead all the same, and its store is looked into."""
    desk.settled()
    state = desk.store / ".reposync" / "state.json"
    record = json.loads(state.read_text())
    record["holder"] = {"pid": 1, "host": "x", "program": "y", "since": time.time() + YEAR}
    record["generation"] = time.time_ns() + int(YEAR * 1e9)
    state.write_text(json.dumps(record))
    desk.write("note00.txt", "an edited note\n")
    assert desk.sync().ok
    check(desk)


@pytest.mark.parametrize("before", some_slow(["nothing", "clock_ahead"], "clock_ahead"))
def test_a_torn_record_after_the_clock_was_set_back(desk: Desk, before: str) -> None:
    """A store made by a clock that ran ahead, its record torn, its index damaged: it is noticed."""
    config = SyncConfig(chunk_tokens=32, batch_rows=1000)
    for number in range(1100):
        desk.write(f"many/{number}.txt", f"one of many texts: {number}\n")
    job.run(desk, before, config=config)
    desk.settle()
    job.run(desk, before, config=config)
    desk.write("note00.txt", "an edited note\n")
    (outcome,) = job.run(desk, "torn_and_damaged", config=config)
    assert (outcome.error, outcome.status, outcome.embedded) == (None, "complete", 1)
    desk.check()


RECORDS = {
    "empty": "",
    "torn": "{",
    "list": "[]",
    "null": "null",
    "no number": '{"generation": "x"}',
    "zeros": "\0" * 100,
}


@pytest.mark.parametrize("name", some_slow(RECORDS, "torn", "zeros"))
def test_a_record_that_cannot_be_read(desk: Desk, name: str) -> None:
    """A torn or senseless freshness record is no knowledge, and no error."""
    desk.settled()
    (desk.store / ".reposync" / "state.json").write_text(RECORDS[name])
    desk.write("note00.txt", "an edited note\n")
    assert desk.sync().ok
    check(desk)


# -- A collection that is made for something else --------------------------------------------------


def made_by_a_host(desk: Desk, **how: Any) -> None:
    """A host made the collection, with a row of its own in it."""
    with opened(desk.store) as client:
        collection = client.create_collection("repo", **how)
        collection.add(
            ids=["mine"], documents=["a host's own text"], embeddings=np.full((1, 16), 0.5)
        )


def check_mismatch(desk: Desk, *named: str, **given: Any) -> None:
    """It is told before anything is embedded or written, with both sides and the ways out."""
    before = read_rows(desk.store, "repo")
    with pytest.raises(EmbeddingMismatch) as caught:
        desk.sync(**given)
    for word in (*named, "collection="):
        assert word in str(caught.value), (word, str(caught.value))
    assert re.search("delete|anew", str(caught.value)), str(caught.value)
    assert read_rows(desk.store, "repo") == before


@pytest.mark.parametrize("space", ["l2", "ip"])
def test_a_collection_of_another_distance_space(desk: Desk, space: str) -> None:
    """Distances of another kind would rank otherwise: named before any write, with the ways out."""
    made_by_a_host(
        desk, embedding_function=desk.embedding, configuration={"hnsw": {"space": space}}
    )
    check_mismatch(desk, space, "cosine")
    assert desk.embedding.total == 0
    assert desk.sync(collection="another").ok


def test_a_collection_of_cosine_distance_is_shared(desk: Desk) -> None:
    """A host's own collection that fits is used, and its rows are left alone."""
    made_by_a_host(
        desk, embedding_function=desk.embedding, configuration={"hnsw": {"space": "cosine"}}
    )
    assert desk.sync().ok
    assert desk.rows()["mine"].document == "a host's own text"
    check(desk)


def test_a_collection_of_another_function(desk: Desk) -> None:
    """Another embedding function is named on both sides."""
    made_by_a_host(
        desk, embedding_function=OtherEmbedding(), configuration={"hnsw": {"space": "cosine"}}
    )
    check_mismatch(desk, "reposync-test-other", "'reposync-test'")
    assert desk.embedding.total == 0


SYNC = """
import sys, warnings
from support import HashEmbedding
from reposync import sync_repository
import chromadb
warnings.simplefilter("error", UserWarning)
sync_repository(sys.argv[1], "repo", store=sys.argv[2], embedding_function=HashEmbedding())
"""


def test_a_function_that_chroma_cannot_rebuild(desk: Desk) -> None:
    """A function that Chroma does not know by its name works without a warning, run after run."""
    for number in range(2):
        desk.write("note00.txt", f"note of run {number}\n")
        python(SYNC, desk.root, desk.store)
    desk.check()


def test_a_collection_of_another_dimension(desk: Desk) -> None:
    """Another dimension is named on both sides, before any write."""
    made_by_a_host(
        desk, embedding_function=desk.embedding, configuration={"hnsw": {"space": "cosine"}}
    )
    check_mismatch(desk, "16", "24", embedding_function=HashEmbedding(24))


def test_a_server_tells_the_distance_space_too(desk: Desk, client: ClientAPI) -> None:
    """Behind a server the same is told."""
    client.create_collection(
        "repo", embedding_function=None, configuration={"hnsw": {"space": "l2"}}
    )
    with pytest.raises(EmbeddingMismatch, match="l2"):
        desk.sync(store=client)
    assert desk.embedding.total == 0
