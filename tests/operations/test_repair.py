"""Whatever damage is planted: verify finds it, repair mends it, a second verify is clean."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support import Desk, HashEmbedding, check_exact, expected_texts, hash_vectors, opened

from reposync import ChromaLock, ConfigError, UnknownRepository, swap
from reposync.freshness import FolderState
from reposync.naming import beside_name
from reposync.operations.repair import repair_repository
from reposync.operations.verify import verify_repository
from reposync.rows import make_id, text_key
from reposync.state import open_state
from reposync.store import Store

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

FLUSH = {"hnsw": {"space": "cosine", "batch_size": 20, "sync_threshold": 40}}
"""Has Chroma write the files of its index after 40 rows, not 1 000."""


def write_tree(desk: Desk) -> None:
    """Code, prose and notes, some of them in several chunks."""
    desk.write("code.py", "".join(f"def f{n}(a):\n    return a + {n}\n\n\n" for n in range(12)))
    desk.write("guide.md", "\n".join(f"# Part {n}\n\nWhat part {n} says.\n" for n in range(8)))
    desk.write("same.txt", "\n\n".join(["the same words over and over again, here too"] * 6))
    desk.write_many(4, "notes")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A repository in a store of its own."""
    folder = tmp_path_factory.mktemp("small")
    desk = Desk(folder / "tree", folder / "store")
    write_tree(desk)
    desk.settled()
    return desk


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The same beside a sibling, in a collection whose index was flushed."""
    folder = tmp_path_factory.mktemp("large")
    desk = Desk(folder / "tree", folder / "store")
    write_tree(desk)
    with opened(desk.store) as client:
        client.create_collection(
            "repo", configuration=FLUSH, embedding_function=HashEmbedding(), metadata={"of": "host"}
        )
    desk.sync()
    sibling = sibling_of(desk)
    sibling.write_many(60)
    sibling.sync(collection="repo")
    desk.settle()
    desk.sync()
    return desk


def sibling_of(desk: Desk) -> Desk:
    """The other repository of the collection, if it is large."""
    return Desk(desk.root.parent / "sibling", desk.folder, "sibling")


@contextmanager
def host(desk: Desk) -> Iterator[Collection]:
    """The collection as a host has it, under the lock."""
    with opened(desk.store) as client:
        yield client.get_collection("repo", embedding_function=None)


@contextmanager
def notes(desk: Desk) -> Iterator[sqlite3.Connection]:
    """The manifest."""
    with closing(sqlite3.connect(desk.manifest)) as db, db:
        yield db


def rows_of(collection: Collection, path: str) -> list[str]:
    """The ids of a file's rows, in order."""
    got = collection.get(where={"path": path}, include=["metadatas"])
    numbered = zip(
        (data["chunk_index"] for data in got["metadatas"] or []), got["ids"], strict=True
    )
    return [row_id for _, row_id in sorted(numbered)]


# -- damage --------------------------------------------------------------------------------------


def a_row_is_gone(desk: Desk) -> None:
    with host(desk) as collection:
        collection.delete(ids=rows_of(collection, "code.py")[2:3])


def a_files_rows_are_gone(desk: Desk) -> None:
    with host(desk) as collection:
        collection.delete(where={"path": "guide.md"})


def a_text_was_changed(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "code.py")[1]
        collection.update(ids=[row], documents=["other words"], embeddings=hash_vectors(["x"], 16))


def a_text_was_changed_and_its_hash(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "guide.md")[1]
        vector = collection.get(ids=[row], include=["embeddings"])["embeddings"]
        changed = {"content_hash": "00", "extra": True}
        collection.update(ids=[row], documents=["x"], embeddings=vector, metadatas=[changed])


def metadata_was_changed(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "code.py")[1]
        collection.update(ids=[row], metadatas=[{"start_line": 99, "symbol": "other"}])


def a_key_was_added(desk: Desk) -> None:
    with host(desk) as collection:
        collection.update(ids=rows_of(collection, "code.py")[:2], metadatas=[{"mine": 1}] * 2)


def a_key_was_removed(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "code.py")[0]
        collection.update(ids=[row], metadatas=[{"content_hash": None}])  # type: ignore[list-item]


def a_row_claims_another_repository(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "same.txt")[1]
        collection.update(ids=[row], metadatas=[{"repository": "another"}])


def a_row_claims_no_repository(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "same.txt")[0]
        collection.update(ids=[row], metadatas=[{"repository": None}])  # type: ignore[list-item]


def a_row_claims_another_file(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "guide.md")[0]
        collection.update(ids=[row], metadatas=[{"path": "notes/note01.txt"}])


def copy_row(collection: Collection, row: str, new: str, **changes: Any) -> None:
    """Write a row again under another id."""
    got = collection.get(ids=[row], include=["documents", "metadatas", "embeddings"])
    assert got["metadatas"] is not None
    collection.upsert(
        ids=[new],
        documents=got["documents"],
        embeddings=got["embeddings"],
        metadatas=[{**got["metadatas"][0], **changes}],
    )


def a_row_is_there_twice(desk: Desk) -> None:
    with host(desk) as collection:
        copy_row(collection, rows_of(collection, "code.py")[3], "0" * 32)


def an_occurrence_is_there_twice(desk: Desk) -> None:
    """As if the same text stood once more in the file: the id is the right one for that."""
    with host(desk) as collection:
        row = rows_of(collection, "same.txt")[0]
        text = (collection.get(ids=[row])["documents"] or [""])[0]
        more = make_id("repo", "same.txt", text_key(text), len(rows_of(collection, "same.txt")))
        copy_row(collection, row, more)


def a_row_is_of_an_older_text(desk: Desk) -> None:
    with host(desk) as collection:
        old, row = "what it said before", rows_of(collection, "notes/note01.txt")[0]
        path = "notes/note01.txt"
        data = dict((collection.get(ids=[row])["metadatas"] or [{}])[0])
        collection.upsert(
            ids=[make_id("repo", path, text_key(old), 0)],
            documents=[old],
            metadatas=[{**data, "chunk_index": 1}],
            embeddings=hash_vectors([old], 16),
        )


def rows_of_a_file_that_is_gone(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "notes/note02.txt")[0]
        text = (collection.get(ids=[row])["documents"] or [""])[0]
        copy_row(collection, row, make_id("repo", "gone.txt", text_key(text), 0), path="gone.txt")


def a_stranger_claims_the_repository(desk: Desk) -> None:
    with host(desk) as collection:
        collection.upsert(
            ids=["stranger"],
            documents=["not ours"],
            metadatas=[{"repository": "repo"}],
            embeddings=hash_vectors(["not ours"], 16),
        )


def chunk_index_is_there_twice(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "code.py")[4]
        collection.update(ids=[row], metadatas=[{"chunk_index": 2}])


def a_vector_is_zero(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "code.py")[1]
        collection.update(ids=[row], embeddings=np.zeros((1, 16), np.float32))


def a_vector_is_anothers(desk: Desk) -> None:
    with host(desk) as collection:
        row = rows_of(collection, "guide.md")[1]
        collection.update(ids=[row], embeddings=hash_vectors(["something else"], 16))


def two_vectors_were_swapped(desk: Desk) -> None:
    with host(desk) as collection:
        rows = rows_of(collection, "code.py")[:2]
        vectors = np.asarray(collection.get(ids=rows, include=["embeddings"])["embeddings"])
        collection.update(ids=rows, embeddings=vectors[::-1])


def the_collection_is_gone(desk: Desk) -> None:
    with opened(desk.store) as client:
        client.delete_collection("repo")


def a_rebuild_was_killed(desk: Desk) -> None:
    store = Store(desk.store)
    swap._write(swap._mark(store, "repo"), ["repo", ""])
    with opened(desk.store) as client:
        client.create_collection(beside_name("repo"), embedding_function=None)


# -- damage to the files of the index ------------------------------------------------------------


def index_file(desk: Desk, name: str) -> Path:
    (file,) = desk.folder.glob(f"*/{name}")
    return file


def the_index_is_lost(desk: Desk) -> None:
    shutil.rmtree(index_file(desk, "header.bin").parent)


def the_index_is_cut_off(desk: Desk) -> None:
    file = index_file(desk, "header.bin")
    os.truncate(file, file.stat().st_size // 2)


def a_vector_is_not_finite(desk: Desk) -> None:
    """The vector of one of our rows, found in the file by its bytes."""
    file = index_file(desk, "data_level0.bin")
    with host(desk) as collection:
        row = rows_of(collection, "code.py")[0]
        got = collection.get(ids=[row], include=["embeddings"])["embeddings"]
        vector = np.asarray(got, np.float32)[0]
    numbers = np.fromfile(file, "<f4")
    wanted = vector / np.linalg.norm(vector)
    near = np.isclose(numbers[:-1], wanted[0]) & np.isclose(numbers[1:], wanted[1])
    numbers[np.flatnonzero(near)[0]] = np.nan
    numbers.tofile(file)
    nobody_noticed(desk)


def labels_were_swapped(desk: Desk) -> None:
    """Two of our rows have each other's vectors, without any error."""
    with host(desk) as collection:
        one, other = rows_of(collection, "code.py")[:2]
    with labels(desk) as content:
        where = content["id_to_label"]
        where[one], where[other] = where[other], where[one]
        content["label_to_id"] |= {where[one]: one, where[other]: other}


def a_vector_cannot_be_read(desk: Desk) -> None:
    """The index does not know a row, and nobody noticed that somebody was at it."""
    with host(desk) as collection:
        row = rows_of(collection, "code.py")[1]
    with labels(desk) as content:
        del content["label_to_id"][content["id_to_label"].pop(row)]
    nobody_noticed(desk)


def nobody_noticed(desk: Desk) -> None:
    """Have the damage look like something that was looked at already, and found sound."""
    with ChromaLock(desk.folder):
        pass
    state = FolderState(desk.folder).read()
    assert state is not None
    with notes(desk) as db:
        db.execute("UPDATE repositories SET checked = ?", (state.generation,))


@contextmanager
def labels(desk: Desk) -> Iterator[dict[str, Any]]:
    """What the index says of which row is where."""
    file = index_file(desk, "index_metadata.pickle")
    content = pickle.loads(file.read_bytes())
    yield content
    file.write_bytes(pickle.dumps(content, protocol=3))


# -- damage to the notes -------------------------------------------------------------------------


def the_notes_are_gone(desk: Desk) -> None:
    desk.manifest.unlink()


def the_notes_are_noise(desk: Desk) -> None:
    desk.manifest.write_bytes(b"noise" * 1000)


FILE = "(SELECT id FROM files WHERE path = 'code.py')"


def a_rows_note_is_gone(desk: Desk) -> None:
    with notes(desk) as db:
        db.execute(
            f"DELETE FROM chunks WHERE id = (SELECT min(id) FROM chunks WHERE file = {FILE})"
        )


def a_row_is_noted_that_never_was(desk: Desk) -> None:
    with notes(desk) as db:
        columns = "(file, id, text_hash, digest, stored)"
        values = f"({FILE}, ?, x'00', x'00', 1)"
        db.execute(f"INSERT INTO chunks {columns} VALUES {values}", ("f" * 32,))


def a_row_is_noted_otherwise(desk: Desk) -> None:
    with notes(desk) as db:
        db.execute(f"UPDATE chunks SET digest = zeroblob(16) WHERE file = {FILE}")


def a_files_note_is_gone(desk: Desk) -> None:
    with notes(desk) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("DELETE FROM files WHERE path = 'code.py'")


def a_file_is_noted_with_another_hash(desk: Desk) -> None:
    with notes(desk) as db:
        db.execute("UPDATE files SET content_hash = '00' WHERE path = 'code.py'")


def a_note_says_unfinished(desk: Desk) -> None:
    with notes(desk) as db:
        db.execute("UPDATE files SET redo = 'unfinished in an earlier run' WHERE path = 'code.py'")


# -- damage to the cache -------------------------------------------------------------------------


def a_cached_vector_is_not_finite(desk: Desk) -> None:
    with notes(desk) as db:
        db.execute(
            "UPDATE vectors SET vector = ? WHERE id = 3", (np.full(16, np.nan, "<f4").tobytes(),)
        )


def a_cached_vector_is_wrong(desk: Desk) -> None:
    with notes(desk) as db:
        wrong = hash_vectors(["wrong"], 16).tobytes()
        db.execute("UPDATE vectors SET vector = ? WHERE id = 3", (wrong,))


# -- files ---------------------------------------------------------------------------------------


def a_file_was_edited(desk: Desk) -> None:
    desk.write("guide.md", "# Another guide\n\nAll new.\n")


def a_file_was_edited_behind_its_stat(desk: Desk) -> None:
    """As on a file system that keeps no good times."""
    file = desk.write("code.py", "def other():\n    pass\n")
    found = file.lstat()
    with notes(desk) as db:
        db.execute(
            "UPDATE files SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?"
            " WHERE path = 'code.py'",
            (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino),
        )


def a_file_was_added(desk: Desk) -> None:
    desk.write("added.txt", "not there when it was synced\n")


def a_file_was_deleted(desk: Desk) -> None:
    (desk.root / "notes" / "note03.txt").unlink()


@dataclass(frozen=True)
class Damage:
    """One kind of damage.

    Attributes:
        plant: does it.
        kinds: of the findings, at the level "vectors" with the files at hand.
        alone: repair mends it without the files, too.
        embedded: how many texts must be computed, since nobody has their vectors.
        large: it takes an index that was flushed.
        function: pass the embedding function to verify and repair.
    """

    plant: Callable[[Desk], None]
    kinds: set[str]
    alone: bool = False
    embedded: int = 0
    large: bool = False
    function: bool = False

    def __str__(self) -> str:
        return self.plant.__name__


DAMAGES = [
    Damage(a_row_is_gone, {"missing"}),
    Damage(a_files_rows_are_gone, {"missing"}),
    Damage(a_text_was_changed, {"text", "vector"}),
    Damage(a_text_was_changed_and_its_hash, {"text", "metadata"}),
    Damage(metadata_was_changed, {"metadata"}),
    Damage(a_key_was_added, {"metadata"}, alone=True),
    Damage(a_key_was_removed, {"metadata"}, alone=True),
    Damage(a_row_claims_another_repository, {"metadata"}, alone=True),
    Damage(a_row_claims_no_repository, {"metadata"}, alone=True),
    Damage(a_row_claims_another_file, {"metadata"}, alone=True),
    Damage(a_row_is_there_twice, {"double"}, alone=True),
    Damage(an_occurrence_is_there_twice, {"double"}, alone=True),
    Damage(a_row_is_of_an_older_text, {"stale"}, alone=True),
    Damage(rows_of_a_file_that_is_gone, {"stale"}, alone=True),
    Damage(a_stranger_claims_the_repository, {"foreign"}, alone=True),
    Damage(chunk_index_is_there_twice, {"metadata"}),
    Damage(a_vector_is_zero, {"vector"}, alone=True),
    Damage(a_vector_is_anothers, {"vector"}, alone=True),
    Damage(two_vectors_were_swapped, {"vector"}, alone=True),
    Damage(a_rebuild_was_killed, {"unsettled"}, alone=True),
    Damage(the_collection_is_gone, {"collection"}, function=True),
    Damage(the_index_is_lost, {"index"}, alone=True, large=True),
    Damage(the_index_is_cut_off, {"index"}, alone=True, large=True),
    Damage(a_vector_is_not_finite, {"vector"}, alone=True, large=True),
    Damage(a_vector_cannot_be_read, {"unreadable"}, alone=True, large=True),
    Damage(labels_were_swapped, {"vector"}, alone=True, large=True),
    Damage(the_notes_are_gone, {"manifest"}),
    Damage(the_notes_are_noise, {"manifest"}),
    Damage(a_rows_note_is_gone, {"manifest"}),
    Damage(a_row_is_noted_that_never_was, {"manifest"}),
    Damage(a_row_is_noted_otherwise, {"manifest"}),
    Damage(a_files_note_is_gone, {"manifest"}),
    Damage(a_file_is_noted_with_another_hash, {"outdated"}),
    Damage(a_note_says_unfinished, {"unfinished"}),
    Damage(a_cached_vector_is_not_finite, {"cache"}, alone=True),
    Damage(a_cached_vector_is_wrong, {"cache"}, alone=True, function=True, embedded=1),
    Damage(a_file_was_edited, {"outdated"}, embedded=1, function=True),
    Damage(a_file_was_edited_behind_its_stat, {"outdated"}, embedded=1, function=True),
    Damage(a_file_was_added, {"missing"}, embedded=1, function=True),
    Damage(a_file_was_deleted, {"stale"}),
]


@pytest.fixture
def desk(request: pytest.FixtureRequest, damage: Damage, tmp_path: Path) -> Desk:
    """A copy of the repository and its store, with the damage done."""
    whole: Desk = request.getfixturevalue("large" if damage.large else "small")
    shutil.copytree(whole.root.parent, tmp_path / "copy")
    desk = Desk(tmp_path / "copy" / "tree", tmp_path / "copy" / "store")
    with notes(desk) as db:
        db.execute("UPDATE repositories SET path = ? || name", (f"{tmp_path}/copy/",))
        db.execute("UPDATE repositories SET path = ? WHERE name = 'repo'", (str(desk.root),))
    damage.plant(desk)
    return desk


def check(desk: Desk, damage: Damage) -> None:
    """The collection is exactly in step, for those who share it, too."""
    rows = desk.check()
    if damage.large:
        sibling = sibling_of(desk)
        texts = expected_texts(sibling.root)
        check_exact(rows, texts, repository="sibling")


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_found_and_mended_with_the_files(desk: Desk, damage: Damage) -> None:
    """With the files at hand every kind of damage is found, and mended from the cache."""
    options: dict[str, Any] = {"store": desk.store, "config": desk.config}
    if damage.function:
        options["embedding_function"] = desk.embedding
    found = verify_repository("repo", desk.root, level="vectors", **options)
    assert set(found.counts) == damage.kinds, str(found)
    report = repair_repository("repo", desk.root, **options)
    assert {step.finding.kind for step in report.steps} >= damage.kinds
    assert report.embedded == damage.embedded
    assert report.left is not None
    assert report.left.ok, str(report)
    check(desk, damage)


def alone() -> Iterator[Any]:
    """What needs no files; most of the damage to the index, which takes long, is slow."""
    for each in DAMAGES:
        if each.alone:
            later = each.large and each.plant is not the_index_is_cut_off
            yield pytest.param(each, marks=pytest.mark.slow if later else ())


@pytest.mark.parametrize("damage", list(alone()), ids=str)
def test_mended_without_the_files(desk: Desk, damage: Damage) -> None:
    """What manifest, cache and collection can tell is mended from them alone."""
    function = desk.embedding if damage.function else None
    report = repair_repository("repo", store=desk.store, embedding_function=function)
    assert report.left is not None
    assert report.left.ok, str(report)
    assert (report.embedded, report.sync) == (damage.embedded, None)
    check(desk, damage)


# -- nothing is noted ----------------------------------------------------------------------------


@pytest.fixture
def unknown(tmp_path: Path) -> Desk:
    """A repository in a collection of another name, beside others', and nothing is noted of it."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write_many(3)
    desk.sync(collection="shelf")
    Desk(desk.root, desk.store, "other").sync()
    desk.manifest.write_bytes(b"noise" * 1000)
    return desk


def test_lost_notes_of_a_collection_of_another_name(unknown: Desk) -> None:
    """Its rows are found by its name, as they were when they were noted, and noted again there."""
    options: dict[str, Any] = {"store": unknown.store, "config": unknown.config}
    found = verify_repository("repo", unknown.root, **options)
    assert (set(found.counts), found.collection) == ({"manifest"}, "shelf")
    report = repair_repository("repo", unknown.root, **options)
    assert (report.ok, report.embedded, report.collection) == (True, 0, "shelf")


def test_lost_notes_without_the_files(unknown: Desk) -> None:
    """They are told, and that the files are needed; nobody is told that nothing is known."""
    options: dict[str, Any] = {"store": unknown.store, "config": unknown.config}
    assert set(verify_repository("repo", **options).counts) == {"manifest"}
    for dry_run in (True, False):
        report = repair_repository("repo", dry_run=dry_run, **options)
        assert not report.ok
        assert "pass path=" in str(report)
    with pytest.raises(UnknownRepository):
        verify_repository("nobody", **options)


def test_lost_notes_of_a_name_in_two_collections(unknown: Desk) -> None:
    """Which one is meant has to be said, then as ever."""
    unknown.manifest.unlink()
    unknown.sync(collection="second")
    unknown.manifest.unlink()
    with pytest.raises(ConfigError, match="'second', 'shelf'"):
        verify_repository("repo", unknown.root, store=unknown.store)
    found = verify_repository("repo", store=unknown.store, collection="second")
    assert set(found.counts) == {"manifest"}


def test_what_is_being_renamed_is_not_lost(tmp_path: Path) -> None:
    """The old name of a repository whose renaming was killed is unknown: nobody is to sync it."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write_many(3)
    desk.sync(collection="shelf")
    with closing(Store(desk.store)) as store, open_state(store) as manifest:
        ((key, record),) = manifest.repositories()
        manifest.rename_repository(record.id, replace(key, name="new"))
    with pytest.raises(UnknownRepository, match="'new'"):
        verify_repository("repo", store=desk.store)
    with pytest.raises(UnknownRepository, match="'new'"):
        repair_repository("repo", desk.root, store=desk.store, config=desk.config)
