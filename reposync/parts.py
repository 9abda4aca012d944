"""Cuts what is many into parts: so much at a time is held in memory, or under a lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def parts(
    items: Iterable[T], size: int, weigh: Callable[[T], int] | None = None
) -> Iterator[list[T]]:
    """Cut `items` into lists, lazily and in order.

    Args:
        items: what to cut; nothing gives no list.
        size: a list is full once it has so many items, or their weights come to as much.
        weigh: how much an item counts, which may be nothing; 1 if not given.
    """
    part: list[T] = []
    weight = 0
    for item in items:
        part.append(item)
        weight += 1 if weigh is None else weigh(item)
        if weight >= size:
            yield part
            part, weight = [], 0
    if part:
        yield part
