"""Choosing the cuts: shallow borders first, content decides between equals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reposync.chunk.units import Unit

LEAST_FILL = 0.5
"""A chunk that is cut before this share of its capacity says too little to be found by. A larger
share finds no better, and leaves fewer borders to choose from, so that an edit moves more cuts."""


def pack(units: Sequence[Unit], capacity: int) -> list[int]:
    """The index of each chunk's first unit.

    Filling each chunk to the brim would move every cut after an edit. Here each cut is the best
    border within a window, and between equally good borders the content of the line decides: two
    runs whose windows overlap mostly choose the same border, and from there on agree.
    """
    total = list(accumulate((unit.weight for unit in units), initial=0))
    start, starts = 0, [0]
    while total[-1] - total[start] > capacity:
        brim = max(start + 1, bisect_right(total, total[start] + capacity) - 1)
        least = bisect_left(total, total[start] + LEAST_FILL * capacity, start + 1)
        borders = units[min(least, brim) : brim + 1]
        best = min(range(len(borders)), key=lambda i: (borders[i].rank, borders[i].key))
        start = min(least, brim) + best
        starts.append(start)
    return starts
