"""How a repository is, as an operator hears it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import POISON, SMALL, Desk, HashEmbedding, snapshot, start_python

from reposync import (
    ChromaLock,
    ConfigError,
    DeletionRefused,
    EmbeddingError,
    RepositoryStatus,
    SyncConfig,
    get_progress,
    repository_status,
)
from tests.operations.live import stepwise

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@pytest.fixture
def desk(tmp_path: Path, place: Path | ClientAPI) -> Desk:
    """A repository of twenty files of one chunk each, five batches; not synced yet."""
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(20)
    return desk


def status(desk: Desk) -> RepositoryStatus:
    """The status of the desk's repository; it prints, and survives a trip through JSON."""
    found = repository_status("repo", store=desk.store)
    assert str(found).startswith(f"repo: {found.state}")
    assert RepositoryStatus.model_validate_json(found.model_dump_json()) == found
    return found


# -- never, synced -----------------------------------------------------------------------------


def test_never_synced(desk: Desk) -> None:
    """Of a name that was never synced the status says so, and asking leaves nothing behind."""
    found = status(desk)
    assert (found.state, found.ok, found.last_run) == ("never", False, None)
    assert not get_progress("repo", store=desk.store).running
    assert not desk.touched()


def test_synced(desk: Desk) -> None:
    """After a sync the status tells of it: when, how many, with which model and settings."""
    desk.write("blob.bin", b"\0")
    result = desk.sync()
    found = status(desk)
    assert (found.state, found.ok, found.bad_runs, found.signs) == ("synced", True, 0, ())
    assert (found.files, found.chunks) == (21, 20)
    assert (found.collection, found.path) == ("repo", result.path)
    good = found.last_good
    assert good is not None
    assert good == found.last_run
    assert good.run_id == result.run_id
    assert (good.started_at, good.finished_at) == (result.started_at, result.finished_at)
    assert (good.files, good.chunks) == (result.files, result.chunks)
    assert (good.model, good.config) == (result.model.fingerprint, SMALL.fingerprint)
    assert found.progress is not None
    assert (found.progress.files_done, found.progress.files_total) == (21, 21)
    assert (found.progress.chunks_done, found.progress.chunks_total) == (20, 20)
    assert (found.progress.remaining_seconds, found.progress.fraction) == (0, 1)


def test_the_fingerprint_of_settings() -> None:
    """It tells settings apart that index something else, and no others."""
    one = SyncConfig()
    assert one.fingerprint == SyncConfig(batch_rows=7, lock_timeout=1, deadline=9).fingerprint
    others = [SyncConfig(exclude=["*.md"]), SyncConfig(chunk_tokens=100), SyncConfig(max_files=9)]
    assert len({config.fingerprint for config in (one, *others)}) == 4


def test_a_file_that_failed(desk: Desk) -> None:
    """A partial sync is no good one: what is indexed is in step but for the files that failed."""
    desk.sync()
    desk.write("note03.txt", f"{POISON}\n")
    partial = desk.sync()
    found = status(desk)
    assert (found.state, found.ok, found.bad_runs) == ("synced", False, 1)
    assert found.last_run is not None
    assert found.last_good is not None
    assert (found.last_run.run_id, found.last_run.files.failed) == (partial.run_id, 1)
    assert found.last_good.files.failed == 0


def test_a_name_in_two_collections(desk: Desk) -> None:
    """Which one is meant has to be said."""
    for collection in ("first", "second"):
        desk.sync(collection=collection)
    with pytest.raises(ConfigError, match="Pass collection="):
        status(desk)
    found = repository_status("repo", store=desk.store, collection="second")
    assert (found.state, found.collection) == ("synced", "second")


# -- under way, cut off ------------------------------------------------------------------------


def test_while_another_process_syncs(desk: Desk) -> None:
    """From the first moment to the last a sync is seen from outside, with how far it is."""
    with stepwise(desk) as sync:
        begun = status(desk)
        assert (begun.state, begun.ok) == ("syncing", True)
        sync.step(2)
        found = status(desk)
        assert found.state == "syncing"
        assert found.progress is not None
        assert found.progress.running
        assert str(sync.child.pid) in found.progress.holder
        # That a file is done is noted with the batch after its last chunk.
        assert (found.progress.files_done, found.progress.files_total) == (7, 20)
        assert (found.progress.chunks_done, found.progress.chunks_total) == (8, 20)
        assert found.progress.stage == "embed"
        assert found.progress.remaining_seconds is not None
        assert found.last_run is not None
        assert (found.last_run.status, found.last_good) == ("running", None)
        assert sync.finish()[0] == "complete"
    assert status(desk).state == "synced"


def test_the_lock_is_not_touched(desk: Desk) -> None:
    """Whoever holds the store's lock, for however long, keeps nobody from asking."""
    desk.sync()
    lock = ChromaLock(desk.store)
    with lock:
        assert status(desk).state == "synced"
        assert get_progress("repo", store=desk.store).ended == "complete"


def test_killed(desk: Desk) -> None:
    """After a kill -9 the status says how far it came; the next sync goes on from there."""
    with stepwise(desk) as sync:
        sync.step(3)
        sync.kill()
    found = status(desk)
    assert (found.state, found.ok, found.last_good) == ("interrupted", False, None)
    assert found.progress is not None
    assert (found.progress.running, found.progress.ended) == (False, "interrupted")
    assert (found.progress.files_done, found.progress.files_total) == (11, 20)
    assert found.last_run is not None
    assert (found.last_run.status, found.last_run.chunks.added) == ("interrupted", 12)
    assert found.last_run.heard_at is not None
    assert desk.sync().resumed
    assert status(desk).state == "synced"


def test_an_error_ends_a_sync(desk: Desk) -> None:
    """A sync that fails leaves the last good one in sight, and says what went wrong."""
    good = desk.sync()
    for number in range(20):
        desk.write(f"more{number:02}.txt", f"something new, number {number}\n")

    def fail() -> None:
        if len(broken.calls) > 2:
            raise RuntimeError("the model went away")

    broken = HashEmbedding(before=fail)
    for times in (1, 2):
        with pytest.raises(EmbeddingError):
            desk.sync(embedding_function=broken)
        found = status(desk)
        assert (found.state, found.ok, found.bad_runs) == ("interrupted", False, times)
    assert found.last_good is not None
    assert found.last_run is not None
    assert found.last_good.run_id == good.run_id
    assert found.last_run.status == "failed"
    assert "the model went away" in found.last_run.error


def test_a_refused_sync_changes_nothing(desk: Desk) -> None:
    """What was refused before it wrote anything is told of, and what is indexed is as it was."""
    desk.sync()
    for file in desk.root.iterdir():
        file.unlink()
    with pytest.raises(DeletionRefused):
        desk.sync()
    found = status(desk)
    assert (found.state, found.ok, found.bad_runs) == ("synced", True, 1)
    assert found.last_run is not None
    assert found.last_run.status == "refused"
    assert found.last_run.error.startswith("DeletionRefused: This sync would delete 20 of 20")


def test_in_memory(tmp_path: Path) -> None:
    """A store in memory is asked the same way, also while another thread syncs."""
    import threading

    import chromadb
    from chromadb.config import Settings

    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
    try:
        desk = Desk(tmp_path / "tree", client)
        desk.write_many(12)
        assert status(desk).state == "never"
        begun, go_on = threading.Event(), threading.Event()
        slow = HashEmbedding(before=lambda: (begun.set(), go_on.wait(30)))
        thread = threading.Thread(target=lambda: desk.sync(embedding_function=slow), daemon=True)
        thread.start()
        assert begun.wait(30)
        assert status(desk).state == "syncing"
        go_on.set()
        thread.join(30)
        assert (status(desk).state, status(desk).chunks) == ("synced", 12)
    finally:
        client.close()


# -- damaged -----------------------------------------------------------------------------------

HOLDER = """
import sys
from reposync import ChromaLock
ChromaLock(sys.argv[1]).__enter__()
print("held", flush=True)
sys.stdin.readline()
"""


def die_with_the_lock(desk: Desk) -> None:
    """A host is killed while it holds the store's lock."""
    with start_python(HOLDER, desk.folder) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        child.kill()


def index_of(desk: Desk) -> Path:
    """Files as those of an index that was flushed; no collection's."""
    folder = desk.folder / "00000000-0000-0000-0000-000000000000"
    folder.mkdir(exist_ok=True)
    (folder / "index_metadata.pickle").write_bytes(b"1")
    return folder / "data_level0.bin"


def change_the_index(desk: Desk) -> None:
    """Index files change while nobody holds the lock."""
    index_of(desk).write_bytes(b"changed by nobody knows whom")


def leave_a_mend(desk: Desk) -> None:
    """A sync died while it mended a damaged index."""
    die_with_the_lock(desk)
    with closing(sqlite3.connect(desk.manifest)) as db:
        (collection_id,) = db.execute("SELECT collection_id FROM repositories").fetchone()
    aside = desk.state / f"damaged-{collection_id}-1"
    (aside / "index").mkdir(parents=True)
    (aside / "ids.json").write_text("[]")


def lose_the_store(desk: Desk) -> None:
    """Chroma's files are gone."""
    for file in desk.folder.glob("chroma.sqlite3*"):
        file.unlink()


def spoil_the_manifest(desk: Desk) -> None:
    """The local state is no database any more."""
    desk.manifest.write_bytes(b"noise " * 1000)


@pytest.mark.folder_only
@pytest.mark.parametrize(
    ("damage", "sign"),
    [
        (die_with_the_lock, "died while it wrote"),
        (change_the_index, "changed while nobody held"),
        (leave_a_mend, "was being mended"),
        (lose_the_store, "no chroma.sqlite3"),
        (spoil_the_manifest, "cannot be read"),
    ],
)
def test_signs_of_damage(desk: Desk, damage: Callable[[Desk], None], sign: str) -> None:
    """Signs of damage are told without opening Chroma, and are gone after the next sync."""
    desk.sync()
    damage(desk)
    before = snapshot(desk.folder)
    found = status(desk)
    assert (found.state, found.ok) == ("damaged", False)
    assert any(sign in told for told in found.signs), found.signs
    assert snapshot(desk.folder) == before, "asking changes nothing"
    assert desk.sync().ok
    found = status(desk)
    assert (found.state, found.signs) == ("synced", ())


@pytest.mark.folder_only
def test_doubts_that_somebody_noted(desk: Desk) -> None:
    """That a holder died is a sign also after others took the lock; until the next sync."""
    desk.sync()
    die_with_the_lock(desk)
    with ChromaLock(desk.store):
        pass
    found = status(desk)
    assert (found.state, len(found.signs)) == ("damaged", 1)
    desk.sync()
    assert status(desk).state == "synced"


@pytest.mark.folder_only
def test_whoever_holds_the_lock_now_is_no_damage(desk: Desk) -> None:
    """While a host is at work its files change; that says nothing."""
    desk.sync()
    with start_python(HOLDER, desk.folder) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        change_the_index(desk)
        assert status(desk).state == "synced"
        child.communicate("\n", timeout=60)
