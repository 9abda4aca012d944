"""Limits: each stops a sync cleanly, says which one it was, and the next sync goes on."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import pytest
from chromadb.api import ClientAPI
from support import (
    SMALL,
    Desk,
    counts,
    last_json,
    opened,
    python,
    start_python,
)

from reposync import (
    ChromaLock,
    ConfigError,
    DeadlineExceeded,
    StoreUnavailable,
    SyncConfig,
    plan_repository,
    repository_status,
)
from reposync.lock.file import is_locked
from reposync.retry import Cancelled, Deadline
from reposync.throttle import Throttle


@pytest.fixture
def desk(place: Path | ClientAPI, tmp_path: Path) -> Desk:
    """Nine files of a chunk each."""
    desk = Desk(tmp_path / "repo", place)
    desk.root.mkdir()
    desk.write_many(9)
    return desk


def limited(**settings: object) -> SyncConfig:
    """The small settings, with limits."""
    return SMALL.model_copy(update=settings)


# -- max_embeds ------------------------------------------------------------------------------------


def test_a_cap_on_embeds_is_kept_and_the_next_sync_goes_on(desk: Desk) -> None:
    """Each run computes as many vectors as it may, until all is there; nothing is paid twice."""
    config = limited(max_embeds=4)
    for done in (4, 8):
        result = desk.sync(config=config)
        assert (result.status, result.limits) == ("partial", ("max_embeds",))
        assert "max_embeds=4" in result.warnings[0]
        assert result.chunks.embedded == 4
        assert result.chunks.total == desk.embedding.total == done
        assert not result.failures
        waiting = {file.path for file in result.skipped if file.reason == "over_limit"}
        assert len(waiting) == 9 - done == result.files.skipped
        assert result.files.scanned == 9
        status = repository_status("repo", store=desk.store)
        assert (status.state, status.ok) == ("interrupted", False)
    result = desk.sync(config=config)
    assert result.ok
    assert not result.limits
    desk.check()
    assert set(desk.embedding.counts.values()) == {1}
    status = repository_status("repo", store=desk.store)
    assert (status.state, status.ok) == ("synced", True)


def test_what_lies_beyond_a_limit_is_told(desk: Desk) -> None:
    """A sync under max_files is not interrupted, as the next does nothing more; nor is it well."""
    desk.sync(config=limited(max_files=4))
    status = repository_status("repo", store=desk.store)
    assert (status.state, status.ok) == ("synced", False)
    assert status.last_run is not None
    assert "max_files=4" in status.last_run.warnings[0]


def test_a_cap_of_nothing_embeds_nothing(desk: Desk) -> None:
    """With nothing to spend, what needs no new vector is done all the same."""
    desk.sync()
    paid = desk.embedding.total
    (desk.root / "note00.txt").unlink()
    (desk.root / "note01.txt").rename(desk.root / "moved.txt")
    desk.write("copy.txt", "note number 2\n")
    desk.write("new.txt", "never seen before\n")
    result = desk.sync(config=limited(max_embeds=0))
    assert result.status == "partial"
    assert {kind: n for kind, n in counts(result).items() if kind != "unchanged"} == {
        "added": 1,
        "renamed": 1,
        "deleted": 1,
        "skipped": 1,
    }
    assert desk.embedding.total == paid
    paths = {row.metadata["path"] for row in desk.rows().values()}
    assert {"moved.txt", "copy.txt"} <= paths
    assert not {"new.txt", "note00.txt", "note01.txt"} & paths
    assert desk.sync().ok
    desk.check()


def test_a_file_that_waits_keeps_what_is_indexed_of_it(desk: Desk) -> None:
    """Until all of its new text can be paid for, a changed file is found by its old one."""
    paragraphs = [f"Paragraph {n} tells of the number {n} and of no other one." for n in range(9)]
    desk.write("a.md", "\n\n".join(paragraphs))
    desk.sync()
    before = {row.document for row in desk.rows().values() if row.metadata["path"] == "a.md"}
    desk.write("a.md", "\n\n".join(one.replace("tells", "speaks") for one in paragraphs))
    result = desk.sync(config=limited(max_embeds=3))
    assert [file.path for file in result.skipped] == ["a.md"]
    rows = [row for row in desk.rows().values() if row.metadata["path"] == "a.md"]
    assert before <= {row.document for row in rows}
    assert desk.sync().ok
    desk.check()


@pytest.mark.parametrize("cache", [True, False])
def test_a_file_larger_than_the_cap_gets_done(desk: Desk, cache: bool) -> None:
    """Run by run a part of it is embedded and written, and each part is paid for once."""
    desk.write("a.md", "\n\n".join(f"Paragraph {n} is of the number {n}." * 3 for n in range(20)))
    plan = plan_repository(**desk.arguments())
    config = limited(max_embeds=5, cache_vectors=cache)
    results = []
    while not results or not results[-1].ok:
        results.append(desk.sync(config=config))
        assert results[-1].chunks.embedded <= 5
        assert len(results) < 20
    assert [result.chunks.embedded for result in results[:-1]] == [5] * (len(results) - 1)
    assert desk.embedding.total == plan.embeds
    desk.check()


def test_a_capped_change_of_models_gets_done(desk: Desk) -> None:
    """All is embedded anew over some runs, and the plan tells how much is left."""
    desk.sync()
    desk.config = limited(max_embeds=4, model_id="another")
    left = []
    for _ in range(3):
        left.append(plan_repository(**desk.arguments()).embeds)
        result = desk.sync()
    assert left == [9, 5, 1]
    assert result.ok
    desk.check()


def test_a_cap_and_a_failure_are_told_apart(desk: Desk) -> None:
    """A file that fails is in the failures, and one that waits is not."""
    desk.write("a.txt", "poisonous\n")
    result = desk.sync(config=limited(max_embeds=4))
    assert [failure.path for failure in result.failures] == ["a.txt"]
    assert counts(result)["failed"] == 1
    assert all(file.path != "a.txt" for file in result.skipped)
    assert result.files.scanned == 10


# -- what it will cost -----------------------------------------------------------------------------


def expected(desk: Desk, **changes: object) -> int:
    """What the plan says, which must be what the sync then does."""
    embeds = plan_repository(**desk.arguments(**changes)).embeds
    before = desk.embedding.total
    result = desk.sync(**changes)
    assert embeds == result.chunks.embedded == desk.embedding.total - before
    assert embeds is not None
    return embeds


def test_the_plan_tells_what_will_be_embedded(desk: Desk) -> None:
    """The number is exact, whatever changed, and counts each text once."""
    desk.write("twice.txt", "note number 1\n")
    assert expected(desk) == 9
    assert expected(desk) == 0
    desk.write("note00.txt", "changed\n")
    desk.write("other.txt", "changed\n")
    (desk.root / "note02.txt").rename(desk.root / "moved.txt")
    assert expected(desk) == 1
    assert expected(desk, full=True) == 0
    assert expected(desk, config=SMALL.model_copy(update={"model_id": "other"})) > 5
    desk.write("blank.ipynb", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    assert expected(desk, config=SMALL.model_copy(update={"model_id": "other"})) == 0


def test_the_plan_without_counting(desk: Desk) -> None:
    """Who wants no number gets none, and the rest as before."""
    plan = plan_repository(**desk.arguments(), count_embeds=False)
    assert plan.embeds is None
    assert plan.files.added == 9
    assert "embed" not in str(plan)
    assert "9 texts to embed" in str(plan_repository(**desk.arguments()))
    assert desk.embedding.total == 0


def test_the_plan_knows_what_a_lost_collection_costs(desk: Desk) -> None:
    """Rows that somebody deleted are written again from the cache, for nothing."""
    desk.sync()
    with opened(desk.store) as client:
        client.delete_collection("repo")
    desk.write("new.txt", "something new\n")
    assert expected(desk) == 1


def test_the_plan_knows_what_rows_without_a_state_are_worth(desk: Desk) -> None:
    """With the local state lost, the vectors in the collection are used, and the plan says so."""
    desk.sync()
    for file in desk.manifest.parent.glob("reposync.sqlite3*"):
        file.unlink()
    desk.write("note00.txt", "changed\n")
    assert expected(desk) == 1


# -- the limits that were there before -------------------------------------------------------------


def test_a_deadline_says_that_it_was_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the error carries is partial and names the limit; the next sync goes on."""
    with monkeypatch.context() as patch:
        left = property(lambda _: -1.0 if desk.embedding.total else 1000.0)
        patch.setattr(Deadline, "left", left)
        with pytest.raises(DeadlineExceeded) as caught:
            desk.sync(config=limited(deadline=1000.0))
    result = caught.value.result
    assert result is not None
    assert (result.status, result.limits) == ("partial", ("deadline",))
    assert "deadline=1000" in result.warnings[-1]
    assert 0 < result.chunks.total < 9
    assert desk.sync().ok
    desk.check()


def test_limits_on_files_are_named(desk: Desk) -> None:
    """A machine reads which setting it was."""
    assert desk.sync(config=limited(max_files=3)).limits == ("max_files",)
    assert desk.sync(config=limited(max_total_bytes=30)).limits == ("max_total_bytes",)
    both = desk.sync(config=limited(max_files=3, max_total_bytes=10_000))
    assert both.limits == ("max_files", "max_total_bytes")
    assert len(both.warnings) == 1
    assert not desk.sync().limits


@pytest.mark.parametrize(
    "settings",
    [
        {"max_embeds": -1},
        {"rate_limit": 0},
        {"rate_limit": 1, "rate_limit_by": "tokens"},
    ],
)
def test_limits_that_cannot_be(settings: dict[str, object]) -> None:
    """What makes no sense is refused before anything is touched."""
    with pytest.raises(ConfigError):
        SyncConfig(**settings)


def test_limits_decide_nothing() -> None:
    """How fast and how far a run goes has no influence on what is indexed in the end."""
    config = SyncConfig(max_embeds=5, rate_limit=7, rate_limit_by="requests")
    assert config.fingerprint == SyncConfig().fingerprint


# -- rate_limit ------------------------------------------------------------------------------------


class Clock:
    """A clock that only runs while somebody waits, and when each unit was let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000.0
        self.passed: list[float] = []
        self.sleeps = 0
        monkeypatch.setattr("reposync.throttle.time.time_ns", lambda: int(self.now * 1e9))
        monkeypatch.setattr(Deadline, "sleep", lambda deadline, seconds: self.sleep(seconds))

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.sleeps += 1
        self.now += seconds

    def run(self, throttle: Throttle, *weights: int) -> None:
        """Make calls as fast as they are let through."""
        for weight in weights:
            throttle(weight)
            self.passed += [self.now] * weight

    @property
    def most(self) -> int:
        """The most units in any 60 seconds."""
        window: deque[float] = deque()
        most = 0
        for at in self.passed:
            window.append(at)
            while window[0] <= at - 60:
                window.popleft()
            most = max(most, len(window))
        return most


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time as the test has it."""
    return Clock(monkeypatch)


def test_texts_are_let_through_at_their_rate(clock: Clock) -> None:
    """In no 60 seconds are there more, and no more time is lost than that takes."""
    throttle = Throttle(100, "texts", "model", Deadline(None))
    clock.run(throttle, *[30, 30, 30, 30, 1, 99] * 5)
    assert clock.most <= 100
    assert clock.passed[-1] - clock.passed[0] < 60 * sum([30, 30, 30, 30, 1, 99] * 5) / 60


def test_requests_are_let_through_at_their_rate(clock: Clock) -> None:
    """A call counts as one, however many texts it has."""
    throttle = Throttle(3, "requests", "model", Deadline(None))
    for _ in range(10):
        throttle(1000)
        clock.passed.append(clock.now)
    assert clock.most == 3
    assert clock.passed[-1] - clock.passed[0] == pytest.approx(180, abs=1)


def test_whoever_uses_the_model_counts(clock: Clock) -> None:
    """Syncs count together, also of another process, one after the other; other models do not."""
    clock.run(Throttle(10, "texts", "model", Deadline(None)), 10)
    clock.run(Throttle(10, "texts", "other model", Deadline(None)), 10)
    assert clock.sleeps == 0
    clock.passed = clock.passed[:10]
    clock.run(Throttle(10, "texts", "model", Deadline(None)), 10)
    assert clock.sleeps > 0
    assert clock.most == 10


def test_processes_count_together() -> None:
    """Two processes that ask at once get no more than one would."""
    code = """
import json
from reposync.retry import Deadline
from reposync.throttle import Throttle
throttle, had = Throttle(50, "texts", "model", Deadline(None)), 0
while not throttle._take(1):
    had += 1
print(json.dumps(had))
"""
    children = [start_python(code) for _ in range(3)]
    outs = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], outs
    assert sum(last_json(out) for out, _ in outs) == 50


def test_a_clock_that_was_set_back(clock: Clock) -> None:
    """What was counted in the future does not stop calls until then."""
    throttle = Throttle(10, "texts", "model", Deadline(None))
    clock.run(throttle, 10)
    clock.now -= 86_400
    start = clock.now
    clock.run(throttle, 10)
    assert clock.now - start <= 61


def test_who_waited_for_the_others_does_not_forget_them(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls let in while one waited for the file are not taken for those of a clock set back."""
    throttle = Throttle(10, "texts", "model", Deadline(None))
    clock.run(throttle, 10)
    late = int(clock.now * 1e9)
    readings = iter([late - 10_000_000])
    monkeypatch.setattr("reposync.throttle.time.time_ns", lambda: next(readings, late))
    assert 59 < throttle._take(1) <= 60
    assert 59 < throttle._take(1) <= 60, "what had been let in was forgotten"


def test_no_wait_beyond_the_deadline(clock: Clock) -> None:
    """If there is no room before the deadline, that is said at once."""
    throttle = Throttle(10, "texts", "model", Deadline(30.0))
    clock.run(throttle, 10)
    with pytest.raises(DeadlineExceeded):
        throttle(1)
    assert clock.sleeps == 0


def test_a_wait_can_be_cancelled() -> None:
    """Whoever wants no more need not wait for the rate."""
    cancel = threading.Event()
    throttle = Throttle(1, "texts", "model", Deadline(None, cancel))
    throttle(1)
    cancel.set()
    with pytest.raises(Cancelled):
        throttle(1)


def test_a_count_that_cannot_be_kept(own_home: Path) -> None:
    """Rather than exceed the rate, the sync ends, and says what to do."""
    throttle = Throttle(1, "texts", "model", Deadline(None))
    throttle.path.parent.parent.mkdir(parents=True)
    throttle.path.parent.write_text("in the way")
    with pytest.raises(StoreUnavailable, match="XDG_STATE_HOME"):
        throttle(1)


def test_a_sync_keeps_the_rate(desk: Desk, clock: Clock) -> None:
    """Calls are as small as the rate wants them, no lock is held meanwhile, and it says so."""
    waits: list[float] = []

    def on_event(event: object) -> None:
        if getattr(event, "name", "") == "rate.waited":
            waits.append(event.fields["wait_seconds"])  # type: ignore[attr-defined]

    held: list[bool] = []
    sleep = clock.sleep

    def look(seconds: float) -> None:
        if isinstance(desk.store, Path):
            held.append(is_locked(desk.store / ".chroma.lock"))
            with ChromaLock(desk.store, timeout=0):
                pass
        sleep(seconds)

    clock.sleep = look  # type: ignore[method-assign]
    desk.embedding.before = lambda: clock.passed.append(clock.now)
    assert desk.sync(config=limited(rate_limit=2, on_event=on_event)).ok
    desk.check()
    assert set(desk.embedding.calls) <= {1, 2}
    per_call = zip(clock.passed, desk.embedding.calls, strict=True)
    clock.passed = [at for at, texts in per_call for _ in range(texts)]
    assert clock.most == 2
    assert waits
    assert not any(held)


def test_tries_again_count_again(desk: Desk, clock: Clock) -> None:
    """A call that failed was made, and counts."""
    errors = [ConnectionError("refused"), ConnectionError("refused")]

    def fail() -> None:
        clock.passed.append(clock.now)
        if errors:
            raise errors.pop()

    desk.embedding.before = fail
    assert desk.sync(config=limited(rate_limit=2, rate_limit_by="requests")).ok
    assert clock.most == 2


def test_a_sync_can_be_cancelled_while_it_waits(desk: Desk) -> None:
    """It ends as cancelled, and the next one goes on."""
    cancel = threading.Event()
    desk.embedding.before = cancel.set
    result = desk.sync(config=limited(rate_limit=1), cancel=cancel)
    assert result.status == "cancelled"
    desk.embedding.before = None
    assert desk.sync().ok
    desk.check()


def test_the_default_model_is_not_limited() -> None:
    """What runs here has no rate, and pays for no limiter."""
    code = """
import json, sys
from reposync import SyncConfig
from reposync.request import make_request
config = SyncConfig(rate_limit=1)
make_request(sys.argv[1], None, sys.argv[1] + "-store", None, None, config)
print(json.dumps("pyrate_limiter" in sys.modules))
"""
    assert last_json(python(code, Path(__file__).parent).stdout) is False
