"""An index moves between stores and servers computing nothing; a torn or edited export does not."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from chroma_server import move_to_fresh_database
from faults.job import ballast
from support import (
    SMALL,
    Desk,
    HashEmbedding,
    OtherEmbedding,
    check_exact,
    expected_texts,
    hash_vectors,
    make_folder,
    opened,
    read_rows,
    snapshot,
    tiny_disk,
)

from reposync import (
    ArchiveDamaged,
    Chunk,
    ConfigError,
    EmbeddingMismatch,
    ExportReport,
    ImportReport,
    NameTaken,
    StoreUnavailable,
    SyncConfig,
    SyncError,
    SyncInProgress,
    UnknownRepository,
    export_repository,
    import_repository,
    request_cancel,
    run_record,
)
from reposync.commit import Committer
from reposync.lock import repository_lock
from reposync.manifest import read_manifest
from reposync.opened import lock_key
from reposync.operations import archive, seal
from reposync.operations.archived import Archive
from reposync.rows import content_hash, make_rows
from reposync.store import Store

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

    Place = Path | ClientAPI


def fill(desk: Desk) -> None:
    """Files of many chunks, equal chunks, one chunk, none; an odd name, an old encoding."""
    desk.write_many(6)
    desk.write("src/long.py", "".join(f"def f{n}():\n    return {n}\n\n" for n in range(40)))
    desk.write("src/same.txt", "the very same line of text, again and again and again\n" * 40)
    desk.write("logo.png", b"\0\1\2")
    desk.write("odd \\x name \N{SNOWMAN}.txt", "an odd name\n")
    desk.write("old.txt", "Gr\xfc\xdfe aus K\xf6ln, sch\xf6ne Gr\xfc\xdfe\n".encode("cp1252"))


@pytest.fixture
def desk(tmp_path: Path, place: Place) -> Desk:
    """A repository of all kinds of files, synced into a folder or on a server."""
    desk = Desk(tmp_path / "tree", place)
    fill(desk)
    desk.sync()
    return desk


@pytest.fixture
def export(desk: Desk) -> Path:
    """Its export."""
    folder = desk.root.parent / "export"
    assert export_repository(desk.name, folder, store=desk.store).ok
    return folder


@pytest.fixture(scope="module")
def original() -> Iterator[Path]:
    """An export of a repository in a folder, to be copied and damaged."""
    folder = make_folder("reposync-export-")
    desk = Desk(folder / "tree", folder / "store")
    fill(desk)
    desk.sync()
    export_repository(desk.name, folder / "export", store=desk.store)
    yield folder / "export"
    shutil.rmtree(folder)


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """A copy of that export."""
    return Path(shutil.copytree(original, tmp_path / "export"))


def bring(source: Path, store: Place, **changes: Any) -> ImportReport:
    """Import with the settings of the tests."""
    given = {"embedding_function": HashEmbedding(), "config": SMALL, **changes}
    return import_repository(source, store=store, **given)


def check_moved(desk: Desk, store: Place) -> None:
    """A store holds what `desk` holds, and a sync of the same files finds nothing to do."""
    new = Desk(desk.root, store, embedding=HashEmbedding())
    before = desk.rows()
    after = new.rows()
    assert after.keys() == before.keys()
    for row_id, row in before.items():
        assert (after[row_id].document, after[row_id].metadata) == (row.document, row.metadata)
        assert np.allclose(after[row_id].vector, row.vector, atol=1e-6)
    result = new.sync()
    assert result.ok
    counted = result.chunks
    assert (counted.added, counted.deleted, counted.embedded) == (0, 0, 0)
    assert result.files.scanned == result.files.unchanged + result.files.skipped == 11
    assert new.embedding.calls == []


# -- Moving --------------------------------------------------------------------------------------


def test_from_anywhere_to_anywhere(desk: Desk, server_client: ClientAPI, memory: ClientAPI) -> None:
    """Between a folder, a server and memory, in any order; each embeds nothing."""
    folder = desk.root.parent
    result = export_repository(desk.name, folder / "export", store=desk.store)
    assert result.ok
    assert (result.files, result.left_out) == (11, 0)
    assert result.chunks == len(desk.rows())
    assert str(result.chunks) in str(result)
    move_to_fresh_database(memory)
    for number, store in enumerate((folder / "other", server_client, memory)):
        moved = bring(folder / "export", store)
        assert moved.ok
        assert (moved.files, moved.chunks, moved.written) == (11, result.chunks, result.chunks)
        assert not moved.resumed
        assert f"{result.chunks} chunks" in str(moved)
        check_moved(desk, store)
        again = folder / f"export {number}"
        export_repository(desk.name, again, store=store)
        for name in (archive.CHUNKS, archive.VECTORS):
            assert (again / name).read_bytes() == (folder / "export" / name).read_bytes()


@pytest.fixture
def server_client(server: Any) -> Iterator[ClientAPI]:
    """A client of a new database on the server."""
    with server.client() as client:
        move_to_fresh_database(client)
        yield client


def test_a_collection_remembers_its_function(desk: Desk, export: Path) -> None:
    """A host's query by text works on what was imported, if the function was passed."""
    bring(export, desk.root.parent / "other")
    with opened(desk.root.parent / "other") as client:
        collection = client.get_collection("repo", embedding_function=HashEmbedding())
        found = collection.query(query_texts=["note number 3\n"], n_results=1)
    assert found["documents"] == [["note number 3\n"]]


def test_without_a_function(desk: Desk, export: Path) -> None:
    """The function need not be passed: then the collection takes any that fits its vectors."""
    bring(export, desk.root.parent / "other", embedding_function=None)
    check_moved(desk, desk.root.parent / "other")


def test_with_a_wrong_function(desk: Desk, export: Path) -> None:
    """Vectors of one model are not passed off as those of another."""
    for changes in ({"embedding_function": OtherEmbedding()}, {"config": SyncConfig(model_id="x")}):
        with pytest.raises(EmbeddingMismatch, match="reposync-test:"):
            bring(export, desk.root.parent / "other", **changes)
    assert not (desk.root.parent / "other").exists()


def test_the_history_goes_on(desk: Desk, export: Path) -> None:
    """An import is noted as a run, with the commit that was exported, if one was."""
    other = desk.root.parent / "other"
    bring(export, other)
    manifest = read_manifest(other / "reposync.sqlite3")
    assert manifest is not None
    with manifest:
        ((key, record),) = manifest.repositories()
        run = manifest.last_run(record.id)
    assert run is not None
    assert (key.name, record.path, run.status) == ("repo", str(desk.root), "complete")
    assert run.run_id.startswith("import-")
    assert json.loads(str(run.result))["chunks"]["added"] == len(desk.rows())


def test_an_import_can_be_cancelled(
    desk: Desk, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process can end an import after a batch; the next call goes on."""
    other = desk.root.parent / "other"
    commit = Committer.commit

    def commit_and_cancel(committer: Committer, *batch: Any) -> None:
        commit(committer, *batch)
        assert request_cancel("repo", store=other)

    with monkeypatch.context() as patched:
        patched.setattr(run_record, "BEAT_SECONDS", 0.0)
        patched.setattr(Committer, "commit", commit_and_cancel)
        result = bring(export, other)
    assert (result.ok, result.status, result.written) == (False, "cancelled", SMALL.batch_rows)
    again = bring(export, other)
    assert (again.ok, again.resumed) == (True, True)
    assert again.written == len(desk.rows()) - SMALL.batch_rows
    check_moved(desk, other)


def test_beside_other_repositories(desk: Desk, export: Path) -> None:
    """Into a collection that holds others' rows, which stay as they are."""
    other = Desk(desk.root.parent / "tree2", desk.root.parent / "other", name="two")
    other.write_many(3)
    other.sync(collection="shared")
    bring(export, other.store, collection="shared")
    with opened(other.store) as client:
        owners = client.get_collection("shared").get(include=["metadatas"])["metadatas"]
    names = [str(metadata["repository"]) for metadata in owners or ()]
    assert names.count("two") == 3
    assert names.count("repo") == len(desk.rows())
    assert other.sync(collection="shared").chunks.embedded == 0
    with pytest.raises(EmbeddingMismatch):
        bring(export, other.store, collection="shared2", embedding_function=OtherEmbedding())


@pytest.mark.folder_only
def test_vectors_that_are_not_cached(desk: Desk) -> None:
    """Without a cache, or after its loss, vectors come from the collection."""
    for file in desk.folder.glob("reposync.sqlite3*"):
        file.unlink()
    with pytest.raises(UnknownRepository):
        export_repository("repo", desk.root.parent / "export", store=desk.store)
    desk.config = SMALL.model_copy(update={"cache_vectors": False})
    desk.sync()
    export_repository("repo", desk.root.parent / "export", store=desk.store)
    bring(desk.root.parent / "export", desk.root.parent / "other")
    check_moved(desk, desk.root.parent / "other")


def test_a_repository_that_was_not_finished(desk: Desk) -> None:
    """What an interrupted sync left is exported as far as it is sound, and finished by a sync."""
    desk.write("src/long.py", "".join(f"def g{n}():\n    return {n}\n\n" for n in range(40)))

    class Stop(Exception):
        pass

    def stop(progress: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        desk.sync(progress=stop)
    result = export_repository("repo", desk.root.parent / "export", store=desk.store)
    assert (result.ok, result.unfinished, result.left_out) == (False, 1, 0)
    assert "1 files unfinished" in str(result)
    before = desk.embedding.total
    bring(desk.root.parent / "export", desk.root.parent / "other")
    new = Desk(desk.root, desk.root.parent / "other", embedding=HashEmbedding())
    assert new.sync().ok
    assert desk.sync().ok
    assert new.rows().keys() == desk.rows().keys()
    assert new.embedding.total == desk.embedding.total - before


def test_rows_that_somebody_changed(desk: Desk) -> None:
    """A row that is not as it was written is left out, and the next sync makes it anew."""
    ids = sorted(desk.rows())
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        collection.update(ids=ids[:1], documents=["of somebody else"])
        collection.update(ids=ids[1:2], metadatas=[{"start_line": 4711}])
    result = export_repository("repo", desk.root.parent / "export", store=desk.store)
    assert (result.ok, result.left_out) == (False, 2)
    bring(desk.root.parent / "export", desk.root.parent / "other")
    new = Desk(desk.root, desk.root.parent / "other", embedding=HashEmbedding())
    assert new.sync().chunks.added == 2
    check_exact(new.rows(), desk_texts(new), repository="repo")


def desk_texts(desk: Desk) -> dict[str, str]:
    """The texts that belong in the index of `fill`'s files."""
    (desk.root / "old.txt").rename(desk.root.parent / "old.txt")
    texts = expected_texts(desk.root)
    (desk.root.parent / "old.txt").rename(desk.root / "old.txt")
    texts["old.txt"] = (desk.root / "old.txt").read_bytes().decode("cp1252")
    return {
        path.replace("\\", "\\\\") if "\\x" in path else path: text for path, text in texts.items()
    }


# -- Refusals ------------------------------------------------------------------------------------


def test_a_name_that_is_taken(desk: Desk, export: Path) -> None:
    """A repository that is there is not written over, whoever wrote it; nothing changes."""
    before = desk.rows()
    with pytest.raises(NameTaken, match="collection="):
        bring(export, desk.store)
    if isinstance(desk.store, Path):  # the rows alone are enough
        for file in desk.store.glob("reposync.sqlite3*"):
            file.unlink()
    else:
        shutil.rmtree(desk.state)
    with pytest.raises(NameTaken, match="already"):
        bring(export, desk.store)
    assert desk.rows() == before
    assert bring(export, desk.store, collection="copy").ok


def test_wrong_arguments(desk: Desk, export: Path, tmp_path: Path) -> None:
    """Slips of the pen are told before anything is touched."""
    with pytest.raises(UnknownRepository, match="'repo'"):
        export_repository("other", tmp_path / "new", store=desk.store)
    with pytest.raises(ConfigError, match="Nothing is overwritten"):
        export_repository("repo", export, store=desk.store)
    if isinstance(desk.store, Path):
        with pytest.raises(ConfigError, match="in the store's folder"):
            export_repository("repo", desk.store / "new", store=desk.store)
    with pytest.raises(ConfigError, match="not a folder"):
        bring(tmp_path / "nowhere", tmp_path / "new")
    with pytest.raises(ConfigError, match="collection="):
        bring(export, tmp_path / "new", collection="?")
    with pytest.raises(ArchiveDamaged, match=r"no export\.json"):
        bring(desk.root, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_while_it_is_synced(desk: Desk, export: Path, tmp_path: Path) -> None:
    """A repository that is being synced is neither exported nor imported at the same time."""
    impatient = SMALL.model_copy(update={"lock_timeout": 0.1})
    store = Store(desk.store)
    manifest = read_manifest(desk.manifest)
    assert manifest is not None
    with manifest:
        ((key, _),) = manifest.repositories()
    with repository_lock(desk.state, lock_key(key), 1.0):
        with pytest.raises(SyncInProgress):
            export_repository("repo", tmp_path / "new", store=desk.store, config=impatient)
        with pytest.raises(SyncInProgress):
            bring(export, desk.store, config=impatient)
    store.close()
    assert not (tmp_path / "new").exists()


# -- Damage --------------------------------------------------------------------------------------


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_off(file: Path) -> None:
    os.truncate(file, file.stat().st_size * 2 // 3)


def make_a_link(file: Path) -> None:
    file.rename(file.with_suffix(".real"))
    file.symlink_to(file.with_suffix(".real"))


@pytest.mark.parametrize("name", [*archive.FILES_OF_IT, archive.SEAL])
@pytest.mark.parametrize("damage", [flip_a_byte, cut_off, Path.unlink])
def test_a_torn_export(copy: Path, name: str, damage: Callable[[Path], None]) -> None:
    """A changed byte, a missing end, a missing file: refused before anything is written."""
    damage(copy / name)
    before = snapshot(copy.parent)
    with pytest.raises(ArchiveDamaged, match=name):
        bring(copy, copy.parent / "new")
    assert snapshot(copy.parent) == before


@pytest.mark.parametrize("name", archive.FILES_OF_IT)
def test_a_link_instead_of_a_file(copy: Path, name: str) -> None:
    """Nothing outside of the folder is read."""
    make_a_link(copy / name)
    with pytest.raises(ArchiveDamaged, match="link"):
        bring(copy, copy.parent / "new")


Lines = list[dict[str, Any]]


def edit(folder: Path, name: str, change: Callable[[Lines], object]) -> None:
    """Edit a file of an export as somebody would who knows how sums are made."""
    lines = [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]
    change(lines)
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    sum_up(folder)


def sum_up(folder: Path, change: Callable[[dict[str, Any]], object] = lambda found: None) -> None:
    """Make the seal anew, changed."""
    content = json.loads((folder / archive.SEAL).read_text())
    content.pop("seal")
    for name in archive.FILES_OF_IT:
        content["files"][name] = seal.file_sum(folder / name).model_dump()
    change(content)
    content["seal"] = seal._own_sum(content)
    (folder / archive.SEAL).write_text(json.dumps(content))


def chunk(change: Callable[[dict[str, Any]], object]) -> Callable[[Lines], object]:
    """An edit of the fourth chunk."""
    return lambda lines: change(lines[3])


def metadata(**changes: Any) -> Callable[[Lines], object]:
    """An edit of the fourth chunk's metadata."""
    return chunk(lambda line: line["metadata"].update(changes))


def rewritten(line: dict[str, Any]) -> None:
    line["document"] = "another text\n"
    line["metadata"]["content_hash"] = content_hash(line["document"])


CHUNK_EDITS: dict[str, Callable[[Lines], object]] = {
    "another text": chunk(lambda line: line.update(document="another text\n")),
    "another text and its hash": chunk(rewritten),
    "another id": chunk(lambda line: line.update(id="0" * 32)),
    "an id that is none": chunk(lambda line: line.update(id="../../x")),
    "a strange key": chunk(lambda line: line.update(evil=1)),
    "no metadata": chunk(lambda line: line.pop("metadata")),
    "nested metadata": metadata(evil={"a": 1}),
    "a path outside": metadata(path="../evil"),
    "an absolute path": metadata(path="/etc/passwd"),
    "another file's path": metadata(path="note00.txt"),
    "another repository": metadata(repository="other"),
    "another model": metadata(model="other"),
    "a number as text": metadata(start_line="1"),
    "no place": metadata(chunk_index=77),
    "a chunk twice": lambda lines: lines.insert(4, lines[3]),
    "a chunk less": lambda lines: lines.pop(3),
    "another order": lambda lines: lines.reverse(),
    "nothing": list.clear,
}
FILE_EDITS: dict[str, Callable[[Lines], object]] = {
    "a path outside": lambda lines: lines.insert(0, {"path": "../evil"}),
    "an absolute path": lambda lines: lines.insert(0, {"path": "/evil"}),
    "a hidden way up": lambda lines: lines.insert(0, {"path": "a/../../evil"}),
    "a NUL": lambda lines: lines.insert(0, {"path": "a\0b"}),
    "no path": lambda lines: lines.insert(0, {"path": ""}),
    "a file twice": lambda lines: lines.append(lines[-1]),
    "a file less": lambda lines: lines.pop(0),
    "no such reason": lambda lines: lines[0].update(skip="because"),
    "a chunk more": lambda lines: lines[-1].update(chunks=2),
    "a strange key": lambda lines: lines[0].update(stat=[1, 2]),
}
ABOUT_EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "more chunks": lambda found: found["about"].update(chunks=10**6),
    "fewer files": lambda found: found["about"].update(files=1),
    "another dimension": lambda found: found["about"].update(dimension=8),
    "another repository": lambda found: found["about"].update(repository="other"),
    "no name": lambda found: found["about"].update(repository="\n"),
    "no collection": lambda found: found["about"].update(collection="../x"),
    "another file": lambda found: found["files"].update(evil=found["files"][archive.CHUNKS]),
    "a file outside": lambda found: found["files"].update({"../evil": {}}),
    "another kind": lambda found: found.update(format="reposync-backup"),
}


@pytest.mark.parametrize("change", CHUNK_EDITS)
def test_edited_chunks(copy: Path, change: str) -> None:
    """Chunks that no sync would have written are refused, however right the sums are."""
    edit(copy, archive.CHUNKS, CHUNK_EDITS[change])
    check_refused(copy)


@pytest.mark.parametrize("change", FILE_EDITS)
def test_edited_files(copy: Path, change: str) -> None:
    """Files that no sync would have noted are refused, and no path leads anywhere."""
    edit(copy, archive.FILES, FILE_EDITS[change])
    check_refused(copy)


@pytest.mark.parametrize("change", ABOUT_EDITS)
def test_edited_claims(copy: Path, change: str) -> None:
    """An export that claims to be something else is refused."""
    sum_up(copy, ABOUT_EDITS[change])
    check_refused(copy)


def check_refused(folder: Path) -> None:
    """It is refused, and nothing is written anywhere."""
    before = snapshot(folder.parent)
    with pytest.raises(ArchiveDamaged, match="edited"):
        bring(folder, folder.parent / "new")
    assert snapshot(folder.parent) == before


VECTOR_EDITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "not finite": lambda found: np.where(np.arange(len(found))[:, None] == 5, np.nan, found),
    "float64": lambda found: found.astype("f8"),
    "a row less": lambda found: found[:-1],
    "flat": lambda found: found.ravel(),
    "by column": np.asfortranarray,
    "objects": lambda found: found.astype(object),
}


@pytest.mark.parametrize("change", VECTOR_EDITS)
def test_edited_vectors(copy: Path, change: str) -> None:
    """Vectors of another kind are refused; nothing is ever unpickled."""
    found = np.load(copy / archive.VECTORS)
    np.save(copy / archive.VECTORS, VECTOR_EDITS[change](found), allow_pickle=True)
    sum_up(copy)
    check_refused(copy)


def test_deep_or_endless_lines(copy: Path) -> None:
    """Lines that are meant to exhaust whoever reads them are refused."""
    for line in (b"[" * 1_000_000, b'{"path": ' * 100_000, b'{"path": 1' + b"0" * 100_000 + b"}"):
        (copy / archive.FILES).write_bytes(line + b"\n")
        sum_up(copy)
        check_refused(copy)


def test_a_newer_format(copy: Path) -> None:
    """What a newer reposync wrote is not guessed at."""
    sum_up(copy, lambda found: found.update(version=2))
    with pytest.raises(ConfigError, match="Upgrade reposync"):
        bring(copy, copy.parent / "new")


def synthetic(folder: Path, files: int) -> Path:
    """An export of so many files of 20 chunks each, written as an export writes."""
    chunks = [Chunk(f"line {number}\n" * 30, 1, 30) for number in range(20)]
    vectors = hash_vectors([chunk.document for chunk in chunks], 64)
    folder.mkdir()
    with archive.ArchiveWriter(folder) as writer:
        for number in range(files):
            path = f"{number:06}.txt"
            rows = make_rows("repo", path, chunks, model="m", recipe="r")
            writer.add(
                archive.ArchivedFile(path=path, content_hash="0" * 64, chunks=len(rows)),
                [
                    archive.ArchivedChunk(id=r.id, document=r.document, metadata=dict(r.metadata))
                    for r in rows
                ],
                vectors,
            )
        about = archive.About(
            repository="repo", collection="repo", path="/nowhere", model="m", recipe="r",
            dimension=64, files=files, chunks=20 * files,
        )  # fmt: skip
        writer.finish(about)
    return folder


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """A ten times larger export is written and checked in as much memory."""

    def peak(files: int) -> int:
        tracemalloc.start()
        try:
            Archive(synthetic(tmp_path / str(files), files)).check()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is made once, whatever comes
    few, many = peak(10), peak(100)
    size = sum(path.stat().st_size for path in (tmp_path / "100").iterdir())
    assert many - few < size / 10, f"{few} and {many} bytes for {size}"


# -- Disks ---------------------------------------------------------------------------------------


@pytest.mark.folder_only
def test_a_full_disk(desk: Desk, export: Path, tmp_path: Path) -> None:
    """A disk that fills up ends an export or an import with an error; with room, all is good."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with tiny_disk(disk):
        (disk / "some").mkdir()
        ballast(disk / "some", 8 << 10)
        with pytest.raises(StoreUnavailable, match="Make room"):
            export_repository("repo", disk / "export", store=desk.store)
        with pytest.raises(SyncError, match="disk"):
            bring(export, disk / "store")
        assert not (disk / "export").exists()
        (disk / "ballast").unlink()
        result: ExportReport = export_repository("repo", disk / "export", store=desk.store)
        assert result.ok
        assert bring(export, disk / "store").ok
        check_moved(desk, disk / "store")


def test_rows_are_readable(desk: Desk, export: Path) -> None:
    """An export can be read with nothing but JSON and numpy."""
    lines = (export / "chunks.jsonl").read_text("utf-8").splitlines()
    vectors = np.load(export / "vectors.npy")
    rows = read_rows(desk.store, "repo")
    for line, vector in zip(map(json.loads, lines), vectors, strict=True):
        row = rows.pop(line["id"])
        assert (line["document"], line["metadata"]) == (row.document, row.metadata)
        assert np.allclose(vector, row.vector, atol=1e-6)
    assert not rows
