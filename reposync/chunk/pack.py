"""Choosing the cuts: shallow borders first, content decides between equals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from reposync.chunk.units import Unit

LEAST_FILL_BEFORE_A_DEFINITION = 0.25
"""A share of the capacity. Where a definition begins that would otherwise be torn, a chunk may be
cut this early: first lines at the end of another's chunk are found by the words of neither."""


def pack(units: Sequence[Unit], capacity: int, least_fill: float, openings: Set[int]) -> list[int]:
    """The index of each chunk's first unit.

    Filling each chunk to the brim would move every cut after an edit. Here each cut is the best
    border within a window, and between equally good borders the content of the line decides: two
    runs whose windows overlap mostly choose the same border, and from there on agree.

    Args:
        units: the text.
        capacity: the most that the units of a chunk may weigh together.
        least_fill: the share of the capacity from which on to look for a cut.
        openings: the rows at which a definition begins; better to cut before than all others.
    """
    total = list(accumulate((unit.weight for unit in units), initial=0))
    opens = [
        unit.row in openings and unit.row != before
        for before, unit in zip([-1, *(unit.row for unit in units)], units, strict=False)
    ]
    start, starts = 0, [0]

    def filled(share: float, most: int) -> int:
        return min(most, bisect_left(total, total[start] + share * capacity, start + 1))

    while total[-1] - total[start] > capacity:
        brim = max(start + 1, bisect_right(total, total[start] + capacity) - 1)
        least = filled(least_fill, brim)
        early = filled(LEAST_FILL_BEFORE_A_DEFINITION, least)
        window = range(least, brim + 1)
        borders = (
            [i for i in window if opens[i]]
            or [i for i in range(early, least) if opens[i]]
            or window
        )
        start = min(borders, key=lambda i: (units[i].rank, units[i].key))
        starts.append(start)
    return starts
