"""What is many comes in parts, none lost, none too large."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from reposync.parts import parts


@given(st.lists(st.integers(0, 9)), st.integers(1, 30))
def test_parts_are_full_and_nothing_is_lost(weights: list[int], size: int) -> None:
    """All in order; each part but the last is full with its last item, and not before."""
    cut = list(parts(iter(weights), size, weigh=lambda weight: weight))
    assert [weight for part in cut for weight in part] == weights
    assert all(sum(part) >= size for part in cut[:-1])
    assert all(part and sum(part[:-1]) < size for part in cut)


@given(st.lists(st.none()), st.integers(1, 30))
def test_items_count_as_one(items: list[None], size: int) -> None:
    """Without weights a part has `size` items."""
    cut = [len(part) for part in parts(items, size)]
    assert cut == [size] * (len(items) // size) + [len(items) % size] * bool(len(items) % size)


def test_parts_are_cut_while_they_are_asked_for() -> None:
    """No more is taken than the part needs."""
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    assert next(parts(numbers(), 3)) == taken == [0, 1, 2]
