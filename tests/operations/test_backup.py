"""A backup is a store at one moment, while others use it; damage of it is noticed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chroma_server import Server
from chromadb.api import ClientAPI
from faults.job import ballast
from support import (
    Desk,
    HashEmbedding,
    hash_vectors,
    make_folder,
    opened,
    python,
    snapshot,
    start_python,
    tiny_disk,
)

from reposync import (
    ArchiveDamaged,
    ChromaLock,
    ConfigError,
    LockTimeout,
    StoreError,
    StoreUnavailable,
    SyncConfig,
    backup_store,
    rebuild_collection,
    restore_store,
    verify_backup,
)
from reposync.collection import Collection
from reposync.lock import LOCK_FILE
from reposync.lock.file import try_lock
from reposync.operations import backup, examine, seal, staging
from reposync.probe import _read_labels

IMPATIENT = SyncConfig(lock_timeout=0.3)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository of ten files, synced."""
    desk = Desk(tmp_path / "tree", tmp_path / "store")
    desk.write_many(10)
    desk.sync()
    return desk


@pytest.fixture(scope="module")
def original() -> Iterator[Path]:
    """A backup of the store of a repository of ten files, to be copied and damaged."""
    folder = make_folder("reposync-backup-")
    desk = Desk(folder / "tree", folder / "store")
    desk.write_many(10)
    desk.sync()
    backup_store(folder / "saved", store=desk.store)
    yield folder / "saved"
    shutil.rmtree(folder)


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    """A copy of that backup, all alone."""
    return Path(shutil.copytree(original, tmp_path / "saved"))


def restored(desk: Desk, saved: Path) -> Desk:
    """The same repository, with a store that was made of a backup."""
    store = saved.with_name("restored")
    assert restore_store(saved, store=store).ok
    return Desk(desk.root, store, embedding=HashEmbedding())


def check_restored(desk: Desk, saved: Path, *, embedded: int = 0) -> Desk:
    """A restored store is exact after a sync, which computes nothing that was backed up."""
    again = restored(desk, saved)
    assert again.sync().ok
    again.check()
    assert again.embedding.total == embedded
    return again


def no_leftovers(folder: Path) -> bool:
    """True if no unfinished folder is left in `folder`."""
    return not [path for path in folder.iterdir() if ".unfinished-" in path.name]


# -- What is in it -------------------------------------------------------------------------------


def test_a_backup_beside_a_live_client_comes_back_whole(desk: Desk) -> None:
    """Rows that a client has not flushed to the files of the index yet are in the backup."""
    saved = desk.root.parent / "saved"
    ids = [f"note {number}" for number in range(1300)]
    vectors = hash_vectors(ids, 16)
    with opened(desk.store) as client:
        notes = client.create_collection("notes", embedding_function=None)
        for at in range(0, len(ids), 100):
            notes.upsert(ids=ids[at : at + 100], embeddings=vectors[at : at + 100])
        result = backup_store(saved, store=client)
    assert result.collections == {"repo": 10, "notes": 1300}
    (labels,) = saved.glob("*/index_metadata.pickle")
    assert len(_read_labels(labels.read_bytes())) == 1000, "the last rows are in Chroma's log only"

    again = check_restored(desk, saved)
    with opened(again.store) as client:
        notes = client.get_collection("notes", embedding_function=None)
        found = notes.get(include=["embeddings"])
        assert found["embeddings"] is not None
        by_id = dict(zip(found["ids"], found["embeddings"], strict=True))
        assert np.allclose([by_id[row] for row in ids], vectors, atol=1e-6)
        nearest = notes.query(query_embeddings=vectors[-5:], n_results=1)["ids"]
        assert nearest == [[row] for row in ids[-5:]]


def test_what_a_report_says(desk: Desk) -> None:
    """Sizes, rows, how long others waited, and what was not copied."""
    (desk.folder / "notes.txt").write_text("of a host\n")
    (desk.folder / "more").mkdir()
    result = backup_store(desk.root.parent / "saved", store=desk.store)
    copied = [p for p in Path(result.path).rglob("*") if p.is_file() and p.name != "backup.json"]
    assert result.ok
    assert (result.files, result.bytes) == (len(copied), sum(p.stat().st_size for p in copied))
    assert result.left_out == ("more", "notes.txt")
    assert result.collections == {"repo": 10}
    assert 0 < result.hold_seconds <= result.duration_seconds
    assert "repo, 10 rows" in str(result)
    assert "left out    more" in str(result)
    check = verify_backup(result.path)
    assert check.ok
    assert (check.files, check.bytes, check.store) == (result.files, result.bytes, str(desk.store))
    assert "sound" in str(check)


def test_permissions_are_kept(desk: Desk) -> None:
    """What only its owner may read stays so, in the backup and in what is restored from it."""
    desk.folder.chmod(0o700)
    (desk.folder / "chroma.sqlite3").chmod(0o640)
    backup_store(desk.root.parent / "saved", store=desk.store)
    again = restored(desk, desk.root.parent / "saved")
    for folder in (desk.root.parent / "saved", again.folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "chroma.sqlite3").stat().st_mode) == 0o640


def test_a_store_that_reposync_never_wrote_to(tmp_path: Path) -> None:
    """A host's store without a manifest can be backed up and restored, too."""
    with opened(tmp_path / "store") as client:
        client.create_collection("notes", embedding_function=None).upsert(
            ids=["one"], embeddings=hash_vectors(["one"], 4)
        )
    assert not backup_store(tmp_path / "saved", store=tmp_path / "store").warnings
    restore_store(tmp_path / "saved", store=tmp_path / "again")
    with opened(tmp_path / "again") as client:
        found = client.get_collection("notes", embedding_function=None).query(
            query_embeddings=hash_vectors(["one"], 4), n_results=1
        )
    assert found["ids"] == [["one"]]


def test_nobody_waits_for_sums(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is held for the copy alone: looking at it, summing it up and the disk come later."""
    free: list[bool] = []

    def free_now(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            lock = try_lock(desk.folder / LOCK_FILE)
            free.append(lock is not None)
            if lock is not None:
                lock.release()
            return call(*arguments)

        return called

    monkeypatch.setattr(backup, "inspect_in_child", free_now(examine.inspect_in_child))
    monkeypatch.setattr(seal, "file_sum", free_now(seal.file_sum))
    monkeypatch.setattr(staging, "make_durable", free_now(staging.make_durable))
    result = backup_store(desk.root.parent / "saved", store=desk.store)
    assert free == [True] * (result.files + 2)


# -- Others at work ------------------------------------------------------------------------------


def test_who_writes_without_the_lock_is_noticed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was copied while a host ignored the lock is copied again, and the copy is consistent."""
    copies: list[int] = []
    copy = examine.Copier.copy
    with opened(desk.store) as client:
        notes = client.create_collection("notes", embedding_function=None)

        def copy_and_write(copier: examine.Copier) -> None:
            copy(copier)
            copies.append(len(copies))
            if len(copies) == 1:
                notes.upsert(ids=["late"], embeddings=hash_vectors(["late"], 16))

        monkeypatch.setattr(examine.Copier, "copy", copy_and_write)
        result = backup_store(desk.root.parent / "saved", store=desk.store)
    assert copies == [0, 1]
    assert result.collections == {"repo": 10, "notes": 1}


def test_who_writes_on_and_on_without_the_lock(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that cannot be consistent is none: the error says who has to do what."""
    copy = examine.Copier.copy

    def copy_and_touch(copier: examine.Copier) -> None:
        copy(copier)
        os.utime(desk.folder / "chroma.sqlite3")

    monkeypatch.setattr(examine.Copier, "copy", copy_and_touch)
    with pytest.raises(StoreUnavailable, match="ChromaLock"):
        backup_store(desk.root.parent / "saved", store=desk.store)
    assert not (desk.root.parent / "saved").exists()
    assert no_leftovers(desk.root.parent)


HOLD = """
import sys, time
from reposync import ChromaLock
with ChromaLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_that_another_process_holds(desk: Desk) -> None:
    """The backup waits its turn, then says who holds the lock; nothing is left behind."""
    saved = desk.root.parent / "saved"
    with start_python(HOLD, desk.folder) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(LockTimeout, match=f"process {child.pid}"):
            backup_store(saved, store=desk.store, config=IMPATIENT)
        assert not saved.exists()
        assert no_leftovers(saved.parent)
        child.communicate()
    assert backup_store(saved, store=desk.store, config=IMPATIENT).ok


KILLED_IN_A_TRANSACTION = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE embedding_metadata SET string_value = 'overwritten by a half transaction'")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_that_was_killed_in_a_transaction(desk: Desk) -> None:
    """Half a transaction is not in the backup, although its pages were in the database's file."""
    database = desk.folder / "chroma.sqlite3"
    with start_python(KILLED_IN_A_TRANSACTION, database) as child:
        child.communicate()
    assert database.with_name("chroma.sqlite3-journal").stat().st_size > 512
    assert b"half transaction" in database.read_bytes()
    saved = desk.root.parent / "saved"
    backup_store(saved, store=desk.store)
    assert b"half transaction" not in (saved / "chroma.sqlite3").read_bytes()
    assert verify_backup(saved).ok


def test_amid_the_replacement_of_a_collection(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the instant in which no collection has the name is settled by the next sync."""
    saved = desk.root.parent / "saved"
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        collection.upsert(ids=["of a host"], embeddings=hash_vectors(["host"], 16))
    rename = Collection.rename
    backups: list[dict[str, int]] = []

    def back_up_and_rename(collection: Collection, name: str) -> None:
        if name == "repo":
            backups.append(backup_store(saved, store=desk.store).collections)
        rename(collection, name)

    with monkeypatch.context() as patched:
        patched.setattr(Collection, "rename", back_up_and_rename)
        rebuild_collection(desk.name, store=desk.store)
    assert [sorted(found.values()) for found in backups] == [[11, 11]]
    assert "repo" not in backups[0]
    again = restored(desk, saved)
    assert again.sync().ok
    assert again.embedding.total == 0
    assert again.rows() == desk.rows()
    assert "of a host" in again.rows()


def test_two_backups_to_one_place(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them is there afterwards, whole; the other is told so, and took nothing from it."""
    saved = desk.root.parent / "saved"
    look = examine.inspect_in_child

    def second(folder: Path, size: int) -> examine.Findings:
        monkeypatch.setattr(backup, "inspect_in_child", look)
        backup_store(saved, store=desk.store)
        return look(folder, size)

    monkeypatch.setattr(backup, "inspect_in_child", second)
    with pytest.raises(ConfigError, match="somebody wrote to it meanwhile"):
        backup_store(saved, store=desk.store)
    assert verify_backup(saved).ok
    assert no_leftovers(saved.parent)


# -- Where it may go -----------------------------------------------------------------------------


def test_places_that_are_refused(desk: Desk) -> None:
    """Not in the store, not over anything, not to a file; and nothing is touched."""
    above = desk.root.parent
    (above / "full").mkdir()
    (above / "full" / "one").write_text("1")
    (above / "file").write_text("1")
    (above / "link").symlink_to(desk.folder)
    before = snapshot(above)
    for dest in (desk.folder, desk.folder / "saved", above / "link" / "saved"):
        with pytest.raises(ConfigError, match="in the store's folder"):
            backup_store(dest, store=desk.store)
    for dest in (above / "full", above / "file"):
        with pytest.raises(ConfigError, match="Nothing is overwritten"):
            backup_store(dest, store=desk.store)
    with pytest.raises(ConfigError, match="no path"):
        backup_store(7, store=desk.store)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no store"):
        backup_store(above / "saved", store=above / "nowhere")
    assert snapshot(above) == before


def test_an_empty_folder_and_missing_parents(desk: Desk) -> None:
    """A folder that is there and empty is used; folders above are made."""
    above = desk.root.parent
    (above / "empty").mkdir()
    for dest in (above / "empty", above / "a" / "b" / "c"):
        assert backup_store(str(dest), store=desk.store).ok
        assert verify_backup(str(dest)).ok


def test_only_folders_can_be_backed_up(tmp_path: Path, server: Server, memory: ClientAPI) -> None:
    """For a server, or a store in memory, the error names what to do instead."""
    with server.client() as client, pytest.raises(ConfigError, match="export_repository"):
        backup_store(tmp_path / "saved", store=client)
    with pytest.raises(ConfigError, match="export_repository"):
        backup_store(tmp_path / "saved", store=memory)
    assert not (tmp_path / "saved").exists()


# -- Disks ---------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with tiny_disk(disk):
        yield disk


@pytest.mark.parametrize("checked", [True, False], ids=["seen before", "met on the way"])
def test_a_full_disk(
    desk: Desk, disk: Path, checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for the backup is an error that says so; the store is as it was, then all is good."""
    (disk / "store").mkdir()
    ballast(disk / "store", 100 << 10)
    if not checked:
        monkeypatch.setattr(backup, "require_space", lambda target, needed: None)
    with pytest.raises(StoreUnavailable, match="Make room") as caught:
        backup_store(disk / "saved", store=desk.store)
    assert checked == ("are needed" in str(caught.value))
    assert sorted(path.name for path in disk.iterdir()) == ["ballast", "store"]
    (disk / "ballast").unlink()
    backup_store(disk / "saved", store=desk.store)
    assert verify_backup(disk / "saved").ok
    assert desk.sync().ok
    assert desk.embedding.total == 10


def test_a_disk_that_may_not_be_written(desk: Desk, disk: Path) -> None:
    """A read-only disk is an error that names it."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(StoreUnavailable, match="Read-only"):
        backup_store(disk / "saved", store=desk.store)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert not any(disk.iterdir())


def test_a_folder_without_the_right_to_write(desk: Desk, tmp_path: Path) -> None:
    """A place that this user may not write to is an error that names it; the store is free."""
    (tmp_path / "backups").mkdir(mode=0o555)
    code = """
import sys
from reposync import StoreUnavailable, backup_store
try:
    backup_store(sys.argv[2], store=sys.argv[1])
except StoreUnavailable as error:
    print(error)
"""
    said = python(code, desk.folder, tmp_path / "backups" / "new", obedient=True).stdout
    assert "Permission denied" in said
    assert "backups/new" in said
    (tmp_path / "backups").chmod(0o755)
    assert backup_store(tmp_path / "backups" / "new", store=desk.store, config=IMPATIENT).ok


def test_a_mount_point(desk: Desk, disk: Path) -> None:
    """A folder that nothing can be renamed to is refused before any work."""
    with pytest.raises(ConfigError, match="mount point"):
        backup_store(disk, store=desk.store)


# -- Damage of the store -------------------------------------------------------------------------


def test_a_damaged_database_is_not_backed_up(desk: Desk) -> None:
    """A backup that could not be restored is none, and the error says what to do."""
    with (desk.folder / "chroma.sqlite3").open("r+b") as file:
        file.seek(8192)
        file.write(b"noise" * 8000)
    with pytest.raises(StoreError, match="damaged"):
        backup_store(desk.root.parent / "saved", store=desk.store)
    assert not (desk.root.parent / "saved").exists()
    assert no_leftovers(desk.root.parent)


@pytest.mark.parametrize("where", [0, 8192], ids=["its head", "its middle"])
def test_a_damaged_manifest_is_left_out(desk: Desk, where: int) -> None:
    """The manifest is a cache: the backup is good without it, says so, and costs no embedding."""
    with desk.manifest.open("r+b") as file:
        file.seek(where)
        file.write(b"noise" * 4000)
    saved = desk.root.parent / "saved"
    result = backup_store(saved, store=desk.store)
    assert ["reposync.sqlite3 is not in the backup" in line for line in result.warnings] == [True]
    assert not (saved / "reposync.sqlite3").exists()
    if where:
        check_restored(desk, saved)


def test_a_damaged_index_is_told(desk: Desk) -> None:
    """An index that cannot be read is copied as it is, with a warning; a sync mends the copy."""
    (header,) = desk.folder.glob("*/header.bin")
    header.write_bytes(header.read_bytes()[:50])
    saved = desk.root.parent / "saved"
    result = backup_store(saved, store=desk.store)
    assert ["header.bin has 50 bytes" in line for line in result.warnings] == [True]
    check = verify_backup(saved)
    assert check.ok
    assert check.warnings == result.warnings
    check_restored(desk, saved)


# -- Damage of the backup ------------------------------------------------------------------------


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_off(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def make_a_link(file: Path) -> None:
    file.rename(file.with_suffix(".real"))
    file.symlink_to(file.with_suffix(".real"))


@pytest.mark.parametrize("name", ["chroma.sqlite3", "reposync.sqlite3", "*/data_level0.bin"])
@pytest.mark.parametrize("damage", [flip_a_byte, cut_off, Path.unlink, make_a_link])
def test_damage_is_found(saved: Path, name: str, damage: Callable[[Path], None]) -> None:
    """A changed byte, a missing one, a missing file, a link: found, named, and not restored."""
    (file,) = saved.glob(name)
    damage(file)
    check = verify_backup(saved)
    assert not check.ok
    assert file.name in check.problems[0]
    assert "DAMAGED" in str(check)
    assert file.name in str(check)
    with pytest.raises(ArchiveDamaged, match=file.name):
        restore_store(saved, store=saved.with_name("restored"))
    assert not (saved.with_name("restored")).exists()
    assert no_leftovers(saved.parent)


def reseal(folder: Path, change: Callable[[dict[str, Any]], object], name: str) -> None:
    """Edit a seal as somebody would who knows how its sum is made."""
    content = json.loads((folder / name).read_text())
    content.pop("seal")
    change(content)
    content["seal"] = seal._own_sum(content)
    (folder / name).write_text(json.dumps(content))


SEALS: dict[str, Callable[[Path], object]] = {
    "missing": lambda file: file.unlink(),
    "torn": lambda file: os.truncate(file, file.stat().st_size // 2),
    "edited": lambda file: file.write_text(file.read_text().replace("repo", "oper", 1)),
    "empty": lambda file: file.write_text(""),
    "no object": lambda file: file.write_text("[1]"),
    "deep": lambda file: file.write_text("[" * 100_000),
}
EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "outside": lambda found: found["files"].update({"../evil": found["files"]["chroma.sqlite3"]}),
    "absolute": lambda found: found["files"].update({"/evil": found["files"]["chroma.sqlite3"]}),
    "strange": lambda found: found["files"].update({"evil": found["files"]["chroma.sqlite3"]}),
    "our state": lambda found: found["files"].update({".reposync/state.json": {}}),
    "no database": lambda found: found["files"].pop("chroma.sqlite3"),
    "other kind": lambda found: found.update(format="reposync-export"),
    "no files": lambda found: found.pop("files"),
    "wrong type": lambda found: found["files"]["chroma.sqlite3"].update(bytes="many"),
}


@pytest.mark.parametrize("damage", [*SEALS, *EDITS])
def test_a_seal_that_does_not_hold(saved: Path, damage: str) -> None:
    """What was never finished, or was edited, is no backup, whatever paths it names."""
    if damage in SEALS:
        SEALS[damage](saved / "backup.json")
    else:
        reseal(saved, EDITS[damage], "backup.json")
    before = snapshot(saved.parent)
    with pytest.raises(ArchiveDamaged):
        verify_backup(saved)
    with pytest.raises(ArchiveDamaged):
        restore_store(saved, store=saved.with_name("restored"))
    assert snapshot(saved.parent) == before


def test_a_newer_format(saved: Path) -> None:
    """What a newer reposync wrote is not guessed at."""
    reseal(saved, lambda found: found.update(version=2), "backup.json")
    with pytest.raises(ConfigError, match="Upgrade reposync"):
        verify_backup(saved)


def test_a_database_that_was_damaged_before(saved: Path) -> None:
    """Sums that are right do not make a broken database a good one."""
    database = saved / "chroma.sqlite3"
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET rootpage = 99999 WHERE name = 'embeddings'")
        db.commit()
    found = seal.file_sum(database).model_dump()
    reseal(saved, lambda content: content["files"].update({"chroma.sqlite3": found}), "backup.json")
    check = verify_backup(saved)
    assert not check.ok
    assert check.problems[0].startswith("chroma.sqlite3: ")
    with pytest.raises(ArchiveDamaged, match="damaged store"):
        restore_store(saved, store=saved.with_name("restored"))


def test_no_backup_at_all(tmp_path: Path) -> None:
    """A folder that is not there is a slip of the pen."""
    with pytest.raises(ConfigError, match="not a folder"):
        verify_backup(tmp_path / "nowhere")


def test_a_look_changes_nothing(saved: Path) -> None:
    """Verifying leaves no file behind, and works where nothing can be written."""
    before = snapshot(saved)
    times = {path: path.stat().st_mtime_ns for path in saved.rglob("*")}
    assert verify_backup(saved).ok
    assert snapshot(saved) == before
    assert {path: path.stat().st_mtime_ns for path in saved.rglob("*")} == times


def test_a_backup_holds_no_lock(desk: Desk) -> None:
    """Nothing of the lock, the queue or the freshness record goes with it."""
    saved = Path(backup_store(desk.root.parent / "saved", store=desk.store).path)
    names = {path.relative_to(saved).parts[0] for path in saved.rglob("*")}
    assert names >= {"backup.json", "chroma.sqlite3", "reposync.sqlite3"}
    assert not names & {LOCK_FILE, ".reposync", ".reposync-unfinished"}
    with ChromaLock(desk.folder):
        assert verify_backup(saved).ok, "it needs no lock either"
