"""A sync that runs in one process is watched, and ended, from another."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import (
    SMALL,
    Desk,
    HashEmbedding,
    last_json,
    snapshot,
    start_python,
)

from reposync import (
    ChromaLock,
    RunProgress,
    SyncInProgress,
    get_progress,
    repository_status,
    request_cancel,
)
from reposync.manifest import Manifest
from tests.operations.live import stepwise

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@pytest.fixture
def desk(tmp_path: Path, place: Path | ClientAPI) -> Desk:
    """A repository of twenty files of one chunk each, five batches; not synced yet."""
    desk = Desk(tmp_path / "tree", place)
    desk.write_many(20)
    return desk


def progress(desk: Desk) -> RunProgress:
    """How far the sync is; it prints, and survives a trip through JSON."""
    found = get_progress("repo", store=desk.store)
    assert str(found).startswith("repo: ")
    assert RunProgress.model_validate_json(found.model_dump_json()) == found
    return found


# -- watched -----------------------------------------------------------------------------------

SLOW = """
import json, sys, time
from pathlib import Path
from support import Desk, HashEmbedding
slow = HashEmbedding(before=lambda: time.sleep(0.2))
result = Desk(Path(sys.argv[1]), Path(sys.argv[2]), embedding=slow).sync()
print(json.dumps([result.finished_at.isoformat(), result.chunks.added]))
"""


@pytest.mark.folder_only
def test_an_estimate_that_holds(desk: Desk) -> None:
    """Watched from another process, nothing goes back, and the second half is foreseen.

    Files of some chunks each, so that how many there will be has to be estimated, too.
    """
    for number in range(20):
        lines = (f"Line {line} of the file number {number}, in a few words.\n" for line in range(9))
        desk.write(f"prose{number}.txt", "".join(lines))
    seen: list[tuple[float, RunProgress]] = []
    with start_python(SLOW, desk.root, desk.folder) as child:
        while child.poll() is None:
            told = progress(desk)
            if told.running and told.heartbeat_age_seconds is not None:
                seen.append((time.time() - told.heartbeat_age_seconds, told))
            time.sleep(0.02)
        out, err = child.communicate()
    assert child.returncode == 0, err
    finished_at, added = last_json(out)
    end = datetime.fromisoformat(finished_at).timestamp()

    for (_, before), (_, after) in pairwise(seen):
        assert before.files_done <= after.files_done <= after.files_total == 40
        assert before.chunks_done <= after.chunks_done <= after.chunks_total
        assert before.fraction <= after.fraction
        if before.remaining_seconds is not None:
            assert after.remaining_seconds is not None
            assert after.remaining_seconds <= before.remaining_seconds
    # Before the first batch there is no pace yet; to load Chroma may take longer than all batches.
    begin = next(at for at, told in seen if told.chunks_done)
    judged = 0
    for at, told in seen:
        left = end - at
        # While the last batch is under way nothing is left to be estimated.
        if at >= (begin + end) / 2 and told.chunks_done < added - SMALL.batch_rows:
            judged += 1
            assert told.remaining_seconds is not None
            # Near the end a fraction of a second is more than a factor of two.
            assert left / 2 - 0.5 <= told.remaining_seconds <= left * 2 + 0.5, str(told)
            assert abs(told.chunks_total - added) <= added / 4
    assert judged > 10
    last = progress(desk)
    assert (last.running, last.ended, last.chunks_done) == (False, "complete", added)


@pytest.mark.folder_only
def test_who_waits_hears_how_far_the_other_is(desk: Desk) -> None:
    """`SyncInProgress` says how far the sync is that is under way, not one that was killed."""
    impatient = SMALL.model_copy(update={"lock_timeout": 0})
    with stepwise(desk) as sync:
        sync.step(3)
        sync.kill()
    with stepwise(desk) as sync:
        with pytest.raises(SyncInProgress) as caught:
            desk.sync(config=impatient)
        assert caught.value.progress is not None
        assert caught.value.progress.chunks_written == 0
        sync.step()
        with pytest.raises(SyncInProgress, match=r"of 20 files done, 4 chunks written") as caught:
            desk.sync(config=impatient)
        assert caught.value.holder is not None
        assert caught.value.holder.pid == sync.child.pid
        assert caught.value.progress is not None
        assert caught.value.progress.remaining_seconds is not None


@pytest.mark.folder_only
def test_it_beats_and_listens_while_it_waits(desk: Desk) -> None:
    """A sync that waits for the store's lock is heard of, and ends if it is asked to."""
    desk.sync()
    with ChromaLock(desk.store), start_python(SLOW, desk.root, desk.where) as child:
        heard = set()
        while len(heard) < 3:
            assert child.poll() is None, child.communicate()
            told = progress(desk)
            if told.running and told.started_at is not None:
                heard.add(told.elapsed_seconds)
            time.sleep(0.02)
        assert told.stage == "commit"
        assert request_cancel("repo", store=desk.store).ok
        assert child.wait(60) == 0
    assert progress(desk).ended == "cancelled"


# -- what it costs -----------------------------------------------------------------------------


@pytest.mark.folder_only
def test_progress_costs_no_wait_for_the_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch takes the two durable transactions that its safety needs, and no other."""
    calls: list[str] = []
    for name in ("transaction", "cheap_transaction"):
        real = getattr(Manifest, name)
        monkeypatch.setattr(
            Manifest, name, lambda self, name=name, real=real: calls.append(name) or real(self)
        )
    desk.settled()
    calls.clear()
    desk.sync()
    assert calls == ["transaction"], "that it ended; where there is nothing to do, no more is noted"
    durable = []
    for files in (8, 20):
        desk.write_many(files, f"{files} more")
        calls.clear()
        assert desk.sync().store.batches == files / SMALL.batch_rows
        durable.append(calls.count("transaction"))
    assert durable[1] - durable[0] == 2 * (20 - 8) / SMALL.batch_rows


# -- ended -------------------------------------------------------------------------------------


def test_cancelled_from_another_process(desk: Desk) -> None:
    """A sync ends before its next batch; what was written stays, and the next one goes on."""
    with stepwise(desk) as sync:
        sync.step()
        asked = request_cancel("repo", store=desk.store)
        assert (asked.ok, asked.requested) == (True, True)
        assert str(sync.child.pid) in str(asked)
        assert progress(desk).cancel_requested
        status, _, calls = sync.finish()
        assert (status, calls) == ("cancelled", 2)
    told = progress(desk)
    assert (told.running, told.ended, told.cancel_requested) == (False, "cancelled", False)
    found = repository_status("repo", store=desk.store)
    assert (found.state, found.chunks) == ("interrupted", 8)
    result = desk.sync()
    assert (result.resumed, result.ok, result.chunks.embedded) == (True, True, 12)
    desk.check()


def test_no_sync_to_cancel(desk: Desk) -> None:
    """Without a sync under way nothing is asked for, nothing is written, and the next one runs."""
    assert not request_cancel("repo", store=desk.store).ok
    assert not desk.touched()
    desk.sync()
    before = snapshot(desk.manifest.parent)
    asked = request_cancel("repo", store=desk.store)
    assert (asked.ok, str(asked)) == (False, "repo: no sync is under way")
    assert snapshot(desk.manifest.parent) == before
    desk.write("new.txt", "new\n")
    assert desk.sync().status == "complete"


@pytest.mark.folder_only
def test_a_wish_concerns_one_sync_only(desk: Desk) -> None:
    """A sync that is killed before it hears of a wish does not leave it to the next one."""
    with stepwise(desk) as sync:
        assert request_cancel("repo", store=desk.store).ok
        sync.kill()
    assert not progress(desk).cancel_requested
    with stepwise(desk) as sync:
        assert not progress(desk).cancel_requested
        assert sync.finish()[0] == "complete"


def test_cancelled_in_memory(tmp_path: Path) -> None:
    """A store in memory: a thread ends the sync of another one."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
    try:
        desk = Desk(tmp_path / "tree", client)
        desk.write_many(20)
        asked = []

        def ask() -> None:
            if len(slow.calls) == 2:
                asked.append(request_cancel("repo", store=client))

        slow = HashEmbedding(before=ask)
        assert desk.sync(embedding_function=slow).status == "cancelled"
        assert [one.ok for one in asked] == [True]
        assert len(slow.calls) == 3
        assert desk.sync().ok
    finally:
        client.close()
