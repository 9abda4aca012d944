"""Disks that are full, read-only or gone: a clear error, nothing lost, and the next sync."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import (
    Desk,
    HashEmbedding,
    check_exact,
    expected_texts,
    make_folder,
    python,
    read_rows,
    snapshot,
    tiny_disk,
)

from reposync import SyncError

from .conftest import some_slow
from .job import CONFIG, Outcome, ballast, heal, log_of, most_embedded, run

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository whose syncs run as jobs: 20 files, three batches."""
    desk = Desk(tmp_path / "tree", tmp_path / "store", config=CONFIG)
    desk.write_many(20)
    return logged(desk)


def logged(desk: Desk) -> Desk:
    """All that is embedded for this desk, here and in jobs, goes to one log."""
    desk.embedding = HashEmbedding(log=log_of(desk))
    return desk


def write_more(desk: Desk) -> None:
    """Ten more files, an edit and a deletion: all kinds of work for the next sync."""
    for number in range(10):
        desk.write(f"more/{number}.txt", f"one more text, number {number}\n")
    desk.write("note00.txt", "an edited note\n")
    (desk.root / "note01.txt").unlink()


def check_clear(outcome: Outcome) -> None:
    """It is an error of ours that says what to do next."""
    assert "SyncError" in outcome.kinds, outcome
    assert "sync again" in outcome.message.lower() or "writable" in outcome.message, outcome


def check_recovery(desk: Desk, *, embedded_at_most: int = 1) -> None:
    """With the fault gone, the next sync ends exact."""
    heal(desk.store)
    assert desk.sync().ok
    desk.check()
    assert most_embedded(desk) <= embedded_at_most


# -- No room ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", some_slow([0, 8], 8))
def test_files_may_not_grow(desk: Desk, after: int) -> None:
    """A write beyond RLIMIT_FSIZE is an error about the disk; old rows stay, then all is good."""
    if not after:
        desk.sync()
        write_more(desk)
    (outcome,) = run(desk, "small_files", after=after)
    check_clear(outcome)
    assert outcome.error in ("StoreUnavailable", "ManifestError"), "whichever file grew first"
    assert "Make room" in outcome.message
    assert outcome.total == (after or 20)
    # Where the cache itself may not grow, the batch in flight cannot be kept.
    check_recovery(desk, embedded_at_most=2 if outcome.error == "ManifestError" else 1)


def test_the_manifest_cannot_be_written(desk: Desk) -> None:
    """Where not even the manifest can grow, the batch in flight is all that may be paid twice."""
    (outcome,) = run(desk, "no_files", after=8)
    check_clear(outcome)
    assert outcome.error in ("ManifestError", "StoreUnavailable")
    assert outcome.total == 8
    check_recovery(desk, embedded_at_most=2)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Desk]:
    """A repository whose store is alone on a tiny disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with tiny_disk(disk):
        desk = Desk(tmp_path / "tree", disk / "store", config=CONFIG)
        desk.write_many(20)
        yield logged(desk)


@pytest.mark.parametrize("fault", some_slow(["nearly_full", "full"], "full"))
def test_a_disk_that_fills_up_in_mid_run(tiny: Desk, fault: str) -> None:
    """The sync stops before the batch for which there is no room, and before embedding it."""
    (outcome,) = run(tiny, fault, after=8)
    check_clear(outcome)
    assert (outcome.error, outcome.total, outcome.embedded) == ("StoreUnavailable", 8, 8)
    assert "Make room" in outcome.message
    check_recovery(tiny)


def test_a_disk_without_a_byte_left(tiny: Desk) -> None:
    """On a full disk a sync ends with an error, not in Chroma's hands, and loses nothing."""
    tiny.sync()
    before = tiny.rows()
    write_more(tiny)
    (outcome,) = run(tiny, "full")
    check_clear(outcome)
    assert outcome.embedded == 0
    heal(tiny.store)
    assert tiny.rows() == before
    check_recovery(tiny)


def test_a_full_disk_under_the_state_of_a_server(
    tmp_path: Path, client: ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has room, the user's state folder has not: an error, and the next sync goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    desk = Desk(tmp_path / "tree", disk / "nowhere", config=CONFIG)
    desk.write_many(20)
    with tiny_disk(disk):
        monkeypatch.setenv("XDG_STATE_HOME", str(disk / "state"))
        disk.joinpath("state").mkdir()
        full = [False]

        def fill(now: object) -> None:
            if getattr(now, "chunks_written", 0) >= 8 and not full[0]:
                full[0] = True
                ballast(disk / "state", 0)

        with pytest.raises(SyncError, match=r"(?i)disk") as caught:
            desk.sync(store=client, progress=fill)
        assert caught.value.result is not None
        assert "sync again" in str(caught.value)
        heal(disk / "state")
        assert desk.sync(store=client).ok
        check_exact(read_rows(client, "repo"), expected_texts(desk.root), repository="repo")
    assert max(desk.embedding.counts.values()) <= 2  # the batch in flight


# -- No right to write -----------------------------------------------------------------------------


@pytest.mark.parametrize("work", some_slow([True, False], True), ids=["changes", "no changes"])
def test_a_store_without_the_right_to_write(desk: Desk, work: bool) -> None:
    """chmod -w: an error that says so and changes nothing, whether or not there is work."""
    desk.sync()
    if work:
        write_more(desk)
    before = snapshot(desk.store)
    outcome, again = run(desk, "read_only", again=True, obedient=True)
    check_clear(outcome)
    assert (outcome.error, outcome.embedded) == ("StoreUnavailable", 0)
    assert "writable" in outcome.message
    assert (again.error, again.status) == (None, "complete")
    assert work or snapshot(desk.store).keys() == before.keys()
    check_recovery(desk)


def test_a_right_that_is_lost_in_mid_run(desk: Desk) -> None:
    """chmod -w between two batches ends the sync; given back, the same process goes on."""
    outcome, again = run(desk, "read_only", after=8, again=True, obedient=True)
    check_clear(outcome)
    assert (outcome.error, outcome.total) == ("StoreUnavailable", 8)
    assert (again.error, again.status, again.embedded) == (None, "complete", 4)
    check_recovery(desk)


def test_a_disk_that_is_remounted_read_only(tiny: Desk) -> None:
    """What a kernel does to a failing disk: an error, the old rows, and no harm."""
    tiny.sync()
    write_more(tiny)
    disk = tiny.store.parent
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        with pytest.raises(SyncError, match=r"(?i)read-only"):
            tiny.sync()
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    check_recovery(tiny)


def test_a_tree_that_may_not_be_read(desk: Desk) -> None:
    """chmod on the repository's folders and files keeps what was indexed of them."""
    desk.sync()
    desk.write("deep/one.txt", "one deep text\n")
    desk.sync()
    before = desk.rows()
    (desk.root / "note03.txt").write_text("a new text that nobody may read\n")
    (desk.root / "note03.txt").chmod(0)
    (desk.root / "deep").chmod(0)
    try:
        (outcome,) = run(desk, "nothing", obedient=True)
    finally:
        (desk.root / "note03.txt").chmod(0o644)
        (desk.root / "deep").chmod(0o755)
    assert (outcome.error, outcome.status) == (None, "partial")
    assert desk.rows() == before
    check_recovery(desk)


@pytest.mark.parametrize("shut", ["store", "what it lies in"])
def test_a_store_that_may_not_be_entered(tmp_path: Path, shut: str) -> None:
    """Whatever is asked of it, the error is one of ours and says what to do."""
    store = make_folder("reposync-shut-") / "store"
    store.mkdir()
    code = """
import sys
from reposync import StoreUnavailable, check_health, list_repositories, sync_many, sync_repository
root, store = sys.argv[1:]
for call in (
    lambda: sync_repository(root, "it", store=store),
    lambda: sync_many([root], store=store).raise_for_failures(),
    lambda: list_repositories(store=store),
):
    try:
        call()
    except StoreUnavailable as error:
        print("another store=" in str(error))
(check,) = [one for one in check_health(store=store).checks if one.status == "fail"]
print(check.name, "another store=" in str(check))
"""
    place = store if shut == "store" else store.parent
    place.chmod(0)
    try:
        said = python(code, tmp_path, store, obedient=True).stdout
    finally:
        place.chmod(0o755)
        shutil.rmtree(store.parent)
    assert said.split() == ["True"] * 3 + ["store", "True"]


# -- Gone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", some_slow(["removed", "replaced", "without_database"], "removed"))
def test_a_store_that_is_removed(desk: Desk, fault: str) -> None:
    """rm -rf in mid-run never ends in "complete": an error, and all is written again afterwards."""
    outcome, again = run(desk, fault, after=8, again=True)
    check_clear(outcome)
    assert outcome.error == "StoreUnavailable"
    assert (again.error, again.status, again.total) == (None, "complete", 20)
    # With the store went the cache of vectors.
    check_recovery(desk, embedded_at_most=1 if fault == "without_database" else 2)


def test_a_collection_that_is_deleted_in_mid_run(desk: Desk) -> None:
    """A host that deletes the collection between two batches gets it back, computing nothing."""
    import chromadb
    from chromadb.config import Settings

    from reposync import ChromaLock

    client = chromadb.PersistentClient(
        str(desk.store), settings=Settings(anonymized_telemetry=False)
    )
    deleted: list[bool] = []

    def delete(now: object) -> None:
        if getattr(now, "chunks_written", 0) >= 8 and not deleted:
            deleted.append(True)
            with ChromaLock(client):
                client.delete_collection("repo")

    result = desk.sync(store=client, progress=delete)
    assert deleted
    assert result.ok
    check_exact(read_rows(client, "repo"), expected_texts(desk.root), repository="repo")
    client.close()  # type: ignore[attr-defined]
    assert max(desk.embedding.counts.values()) == 1


def test_a_missing_parent_folder(tmp_path: Path) -> None:
    """A store whose parent is a file, or may not be made, is told before anything is embedded."""
    desk = Desk(tmp_path / "tree", tmp_path / "file" / "store", config=CONFIG)
    desk.write_many(2)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SyncError):
        desk.sync()
    assert desk.embedding.total == 0


@pytest.mark.parametrize("fault", some_slow(["without_manifest", "noise"], "noise"))
def test_a_manifest_that_is_lost_or_overwritten_in_mid_run(desk: Desk, fault: str) -> None:
    """The manifest is a cache: its loss in mid-run costs nothing that cannot be read back."""
    outcome, again = run(desk, fault, after=8, again=True)
    assert outcome.error is None or "SyncError" in outcome.kinds
    assert (again.error, again.status) == (None, "complete")
    check_recovery(desk)


def test_leftovers_of_a_copied_store(desk: Desk) -> None:
    """A store restored from a copy, all its inodes changed, is exact after a sync."""
    desk.sync()
    folder = make_folder("reposync-copy-")
    try:
        shutil.copytree(desk.store, folder / "store")
        shutil.rmtree(desk.store)
        write_more(desk)
        shutil.copytree(folder / "store", desk.store)
    finally:
        shutil.rmtree(folder)
    check_recovery(desk)
