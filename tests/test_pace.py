"""How batches are cut into holds of the store lock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reposync.batch import Batch
from reposync.pace import AIM, FEWEST, FIRST_GUESS, KINDS, Pace
from reposync.rows import Row


def row(number: int) -> Row:
    """Any row."""
    return Row(str(number), "a", "text", "text", {}, b"", b"")


def batch(writes: int = 0, moves: int = 0, deletes: int = 0) -> Batch:
    """A batch of so many operations."""
    return Batch(
        [("a", row(n)) for n in range(writes)],
        [("a", row(n)) for n in range(moves)],
        [("a", "a", str(n)) for n in range(deletes)],
    )


def sizes(pace: Pace, of: Batch) -> list[int]:
    """How many operations each part has."""
    return [part.operations for part in pace.parts(of)]


@given(
    st.tuples(*[st.integers(0, 60)] * 3),
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 200), st.floats(0, 10)), max_size=12),
    st.floats(0.001, 10),
)
def test_the_parts_are_the_batch(
    counts: tuple[int, int, int],
    learned: list[tuple[str, int, float]],
    max_hold: float,
) -> None:
    """Whatever was learned, the parts hold each operation once, in order, and none is empty."""
    whole, pace = batch(*counts), Pace(max_hold)
    for kind, count, seconds in learned:
        pace.learn(kind, count, seconds)  # type: ignore[arg-type]
    parts = list(pace.parts(whole))
    for kind in KINDS:
        assert [entry for part in parts for entry in getattr(part, kind)] == getattr(whole, kind)
    assert all(part.operations for part in parts)
    reached = [
        [number for number, part in enumerate(parts) if getattr(part, kind)] for kind in KINDS
    ]
    flat = [number for numbers in reached for number in numbers]
    assert flat == sorted(flat), "writes come before moves, and moves before deletes"


def test_the_first_hold_is_rather_too_short() -> None:
    """Before anything is known, rows count for twice what they cost in a small store."""
    fits = int(AIM * 0.25 / FIRST_GUESS["writes"])
    assert sizes(Pace(0.25), batch(250)) == [fits, fits, 250 - 2 * fits]


def test_dear_rows_make_short_parts_and_cheap_ones_long_ones() -> None:
    """What the holds before took decides how many rows the next one gets."""
    pace = Pace(0.25)
    pace.learn("writes", 100, 1.0)
    assert sizes(pace, batch(50)) == [20, 20, 10]
    for _ in range(5):
        pace.learn("writes", 100, 0.1)
    assert sizes(pace, batch(128)) == [128]


def test_one_slow_hold_in_five_changes_nothing() -> None:
    """A flush of the index falls into one hold of many, and says nothing about rows."""
    pace = Pace(0.25)
    for seconds in (0.1, 0.1, 3.0, 0.1):
        pace.learn("writes", 100, seconds)
    assert sizes(pace, batch(150)) == [150]


def test_a_call_has_its_price() -> None:
    """Where a call alone takes too long, parts do not shrink down to a row each."""
    pace, written = Pace(0.05), []
    for part in pace.parts(batch(500)):
        written.append(len(part.writes))
        pace.learn("writes", len(part.writes), 0.03 + 0.001 * len(part.writes))
    assert min(written[:-1]) >= FEWEST


def test_what_is_learned_in_between_counts() -> None:
    """A batch is cut as it is written, not before."""
    pace = Pace(0.25)
    parts = pace.parts(batch(300))
    first = next(parts).operations
    pace.learn("writes", 100, 2.0)
    assert next(parts).operations == 10 < first
