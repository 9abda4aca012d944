"""How long the rest of a sync takes, judged by what it did so far."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reposync.estimate import Estimate

SIZE = 1000
CHUNKS = 4
TOKENS = 100


class Sync:
    """A pretended sync: files of `SIZE` bytes and `CHUNKS` chunks, and a clock for each stage."""

    def __init__(self, files: int, *, deletes: int = 0) -> None:
        self.files = [f"{number}" for number in range(files)]
        self.clock = dict.fromkeys(("scan", "plan", "chunk", "embed", "commit"), 0.0)
        self.estimate = Estimate()
        self.plan(deletes)
        self.seen: list[float] = []

    def plan(self, deletes: int = 0) -> None:
        """What is to be done is known."""
        sizes = dict.fromkeys(self.files, SIZE)
        self.estimate.expect(sizes, deletes, self.clock, chunk_tokens=TOKENS)

    @property
    def seconds(self) -> float:
        """What was spent so far."""
        return sum(self.clock.values())

    def batch(self, files: int = 1, *, read: float = 0.0, embed: float, store: float) -> None:
        """Some files are read and cut, embedded and stored; each stage takes its seconds."""
        done, self.files = self.files[:files], self.files[files:]
        for path in done:
            self.estimate.cut(path, CHUNKS, 0, 0)
        self.clock["scan"] += read
        self.clock["embed"] += embed
        self.clock["commit"] += store
        self.estimate.settle(files * CHUNKS, 0, self.clock)
        assert self.estimate.remaining is not None
        self.seen.append(self.estimate.remaining)


def test_nothing_is_said_before_the_first_batch() -> None:
    """Without any evidence there is no estimate; how many chunks follow is guessed by size."""
    sync = Sync(7)
    assert sync.estimate.remaining is None
    assert sync.estimate.writes_left == 20
    assert sync.estimate.writes_per_second == 0


def test_a_steady_sync_is_foreseen() -> None:
    """With each batch alike, the estimate is right; opening model and store counts but once."""
    sync = Sync(10)
    sync.batch(read=0.1, embed=5.0, store=3.0)
    assert sync.seen[-1] > 9 * 1.6
    for left in range(8, -1, -1):
        sync.batch(read=0.1, embed=1.0, store=0.5)
        assert abs(sync.seen[-1] - left * 1.6) < 0.001
        assert sync.estimate.writes_left == left * CHUNKS
        assert abs(sync.estimate.writes_per_second - CHUNKS / 1.6) < 0.001


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20
    )
)
def test_it_never_grows(batches: list[tuple[float, float, float]]) -> None:
    """However the pace changes, what was announced is never taken back; at the end it is zero."""
    sync = Sync(len(batches))
    for read, embed, store in batches:
        sync.batch(read=read, embed=embed, store=store)
    assert all(after <= before for before, after in pairwise(sync.seen))
    assert sync.seen[-1] == 0


@given(st.lists(st.floats(0.7, 1.4), min_size=8, max_size=60))
def test_it_is_within_a_factor_of_two(paces: list[float]) -> None:
    """Where batches differ by a factor of two, the second half's estimates are not farther off."""
    sync = Sync(len(paces))
    ends = []
    for pace in paces:
        sync.batch(embed=pace, store=pace / 4)
        ends.append(sync.seconds)
    for end, told in zip(ends, sync.seen, strict=True):
        left = sync.seconds - end
        if end >= sync.seconds / 2 and left > 0:
            assert left / 2 <= told <= left * 2


def test_deletions_take_time_too() -> None:
    """Rows that only go are counted by what a row costs to store."""
    sync = Sync(2, deletes=100)
    sync.batch(files=2, embed=8.0, store=0.8)
    assert abs(sync.seen[-1] - 100 * 0.1) < 0.001
    sync.estimate.cut("vanished", 0, 100, 100)
    sync.clock["commit"] += 10
    sync.estimate.settle(0, 100, sync.clock)
    assert sync.estimate.remaining == 0


def test_files_that_need_no_rows_take_time_too() -> None:
    """Many files that were only touched are read, and that is foreseen."""
    sync = Sync(100)
    for path in sync.files[:50]:
        sync.estimate.cut(path, 0, 0, 0)
    sync.clock["scan"] += 5
    sync.estimate.settle(0, 0, sync.clock)
    assert abs((sync.estimate.remaining or 0) - 5) < 0.001
    assert sync.estimate.writes_left == 0


def test_beginning_anew() -> None:
    """When the store changed under a sync, it plans again; the clock does not go back."""
    sync = Sync(10)
    sync.batch(embed=1, store=1)
    sync.batch(embed=1, store=1)
    before = sync.seen[-1]
    sync.files = [str(number) for number in range(10)]
    sync.plan()
    sync.batch(embed=1, store=1)
    assert sync.seen[-1] <= before
    assert sync.estimate.writes_left == 9 * CHUNKS


def test_small_files_tell_nothing_of_large_ones() -> None:
    """A file has a chunk at least: how many a large one has is not judged by that."""
    estimate = Estimate()
    sizes = {f"small{n}": 10 for n in range(50)} | {f"large{n}": 3500 for n in range(10)}
    clock = dict.fromkeys(("scan", "plan", "chunk", "embed", "commit"), 0.0)
    estimate.expect(sizes, 0, clock, chunk_tokens=TOKENS)
    assert estimate.writes_left == 50 + 100
    for number in range(50):
        estimate.cut(f"small{number}", 1, 0, 0)
    estimate.settle(50, 0, clock)
    assert estimate.writes_left == 100
    estimate.cut("large0", 12, 0, 0)
    assert 110 <= 12 + estimate.writes_left <= 122
