"""A restored store is trusted in nothing, takes nobody's place, and is there as a whole or not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import chromadb
import pytest
from chromadb.api import ClientAPI
from chromadb.config import Settings
from faults.job import ballast
from support import (
    Desk,
    HashEmbedding,
    hash_vectors,
    opened,
    read_rows,
    snapshot,
    tiny_disk,
)

from reposync import (
    ArchiveDamaged,
    ChromaLock,
    ConfigError,
    StoreUnavailable,
    backup_store,
    check_health,
    repository_status,
    restore_store,
    verify_backup,
)
from reposync.freshness import FolderState
from reposync.holder import Holder
from reposync.operations import restore


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository of ten files, synced, and backed up to ``saved``."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write_many(10)
    desk.sync()
    backup_store(tmp_path / "saved", store=desk.store)
    return desk


def test_in_the_place_of_a_newer_store(desk: Desk) -> None:
    """What was synced after the backup is found to be missing, and is made anew."""
    above = desk.root.parent
    desk.write("note00.txt", "an edited note\n")
    desk.write("late.txt", "a late file\n")
    (desk.root / "note01.txt").unlink()
    desk.settled()
    desk.folder.rename(above / "old")
    result = restore_store(above / "saved", store=desk.folder)
    assert (result.path, result.backup) == (str(desk.store), str(above / "saved"))
    assert result.collections == {"repo": 10}
    assert str(desk.store) in str(result)
    again = desk.sync()
    desk.check()
    assert (again.files.added, again.files.updated, again.files.deleted) == (1, 1, 1)
    assert again.chunks.embedded == 2


def test_no_record_is_trusted(desk: Desk) -> None:
    """A sync of files that did not change looks into a restored store, and all of its index."""
    above = desk.root.parent
    restore_store(above / "saved", store=above / "new")
    state = FolderState(above / "new").read()
    before = FolderState(desk.folder).read()
    assert state is not None
    assert before is not None
    assert state.generation > before.generation
    assert state.doubtful_at == state.died_at == state.generation
    assert (state.stat, state.holder) == ("", None)
    (data,) = (above / "new").glob("*/data_level0.bin")
    data.write_bytes(b"\0" * data.stat().st_size)  # as a disk would that lost it
    new = Desk(desk.root, above / "new", embedding=HashEmbedding())
    assert new.sync().ok
    new.check()
    assert new.embedding.total == 0


def test_it_does_not_look_damaged(desk: Desk) -> None:
    """A restored store was checked: nobody is alarmed, until a process really dies in it."""
    folder = desk.root.parent / "new"
    restore_store(desk.root.parent / "saved", store=folder)
    assert repository_status("repo", store=folder).state == "synced"
    (freshness,) = [one for one in check_health(store=folder).checks if one.name == "freshness"]
    assert (freshness.status, "restored" in freshness.message) == ("pass", True)
    record = folder / ".reposync" / "state.json"
    state = json.loads(record.read_text())
    record.write_text(json.dumps({**state, "holder": asdict(Holder.me())}))
    with ChromaLock(folder):
        pass
    assert repository_status("repo", store=folder).state == "damaged"
    assert Desk(desk.root, folder).sync().ok
    assert repository_status("repo", store=folder).state == "synced"


def test_a_client_that_knew_the_old_store(desk: Desk) -> None:
    """A process that had a client on the old store sees the restored one through its lock."""
    above = desk.root.parent
    settings = Settings(anonymized_telemetry=False)
    with ChromaLock(desk.folder):
        client = chromadb.PersistentClient(str(desk.folder), settings=settings)
        notes = client.create_collection("notes", embedding_function=None)
        notes.upsert(ids=["old"], embeddings=hash_vectors(["old"], 4))
    desk.folder.rename(above / "old")
    with pytest.raises(ConfigError, match="client of this process"):
        restore_store(above / "saved", store=desk.folder)
    assert not desk.folder.exists()
    client.close()  # type: ignore[attr-defined]
    restore_store(above / "saved", store=desk.folder)
    with opened(desk.store) as found:
        assert [one.name for one in found.list_collections()] == ["repo"]


def test_nothing_is_overwritten(desk: Desk, memory: ClientAPI) -> None:
    """A store, any other file, or a folder with something in it stays as it is."""
    above = desk.root.parent
    (above / "other").mkdir()
    (above / "other" / ".gitkeep").write_text("")
    (above / "file").write_text("1")
    before = snapshot(above)
    for target in (desk.folder, above / "other", above / "file", above / "saved"):
        with pytest.raises(ConfigError, match="Nothing is overwritten"):
            restore_store(above / "saved", store=target)
    with pytest.raises(ConfigError, match="folder"):
        restore_store(above / "saved", store=memory)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not a folder"):
        restore_store(above / "nowhere", store=above / "new")
    with pytest.raises(ConfigError, match="address"):
        restore_store(above / "saved", store="http://localhost:8000")
    with pytest.raises(ArchiveDamaged, match=r"no backup\.json"):
        restore_store(desk.folder, store=above / "new")
    assert snapshot(above) == before


def test_not_into_the_backup(desk: Desk) -> None:
    """A store in the backup's own folder would make that one differ from its sums."""
    saved = desk.root.parent / "saved"
    with pytest.raises(ConfigError, match="lies in the backup"):
        restore_store(saved, store=saved / "store")
    assert verify_backup(saved).ok


def test_into_the_usual_place(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without store= it goes where a sync without store= looks."""
    above = desk.root.parent
    monkeypatch.setenv("REPOSYNC_STORE", str(above / "usual"))
    assert restore_store(above / "saved").path == str(above / "usual")
    assert read_rows(above / "usual", "repo") == desk.rows()


def test_somebody_makes_a_store_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that appears while the backup is being copied is not overwritten either."""
    above = desk.root.parent
    look = restore.inspect_in_child

    def look_late(folder: Path, size: int) -> object:
        (above / "new").mkdir()
        (above / "new" / "chroma.sqlite3").write_bytes(b"of a host")
        return look(folder, size)

    monkeypatch.setattr(restore, "inspect_in_child", look_late)
    with pytest.raises(ConfigError, match="meanwhile"):
        restore_store(above / "saved", store=above / "new")
    assert snapshot(above / "new") == {"chroma.sqlite3": b"of a host"}
    assert not [path for path in above.iterdir() if "unfinished" in path.name]


@pytest.mark.parametrize("checked", [True, False], ids=["seen before", "met on the way"])
def test_a_full_disk(desk: Desk, checked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for the store is an error that says so; nothing is left; with room it works."""
    above = desk.root.parent
    disk = above / "disk"
    disk.mkdir()
    with tiny_disk(disk):
        (disk / "some").mkdir()
        ballast(disk / "some", 100 << 10)
        if not checked:
            monkeypatch.setattr(restore, "require_space", lambda target, needed: None)
        with pytest.raises(StoreUnavailable, match="Make room"):
            restore_store(above / "saved", store=disk / "store")
        assert sorted(path.name for path in disk.iterdir()) == ["ballast", "some"]
        (disk / "ballast").unlink()
        restore_store(above / "saved", store=disk / "store")
        assert snapshot(disk / "store").keys() >= {"chroma.sqlite3", "reposync.sqlite3"}


def test_a_backup_that_may_only_be_read(desk: Desk) -> None:
    """A backup of read-only files and folders makes a store that can be written."""
    saved = desk.root.parent / "saved"
    for path in [*saved.rglob("*"), saved]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        restore_store(saved, store=desk.root.parent / "new")
    finally:
        for path in [saved, *saved.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    for path in [desk.root.parent / "new", *(desk.root.parent / "new").rglob("*")]:
        assert path.stat().st_mode & 0o200, path
