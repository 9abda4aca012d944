"""How many row operations fit into one hold of the store lock, learned from the holds before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Literal

from reposync.batch import Batch

Kind = Literal["writes", "moves", "deletes"]
KINDS: tuple[Kind, ...] = ("writes", "moves", "deletes")  # the order that never leaves a gap

# Twice what they cost in a small store (Chroma 1.5.9, two cores: 1 ms, 0.3 ms, 0.7 ms): the first
# holds are to be too short rather than too long.
FIRST_GUESS: dict[Kind, float] = {"writes": 0.002, "moves": 0.0006, "deletes": 0.0014}
REMEMBERED = 5

# A call costs 20-30 ms whatever it writes: fewer rows would make each the dearer, and so on down to
# one a hold.
FEWEST = 8
AIM = 0.8  # of the longest hold: costs vary


class Pace:
    """Cuts batches into parts that hold the lock for less than `max_hold` seconds.

    Except that no part is cut to fewer than `FEWEST` operations.
    """

    def __init__(self, max_hold: float) -> None:
        self._room = AIM * max_hold
        self._costs: dict[Kind, deque[float]] = {kind: deque(maxlen=REMEMBERED) for kind in KINDS}

    def learn(self, kind: Kind, count: int, seconds: float) -> None:
        """Note what `count` operations took."""
        self._costs[kind].append(seconds / count)

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The row operations of `batch` in order, by what is known when each part is asked for."""
        rest = {kind: getattr(batch, kind) for kind in KINDS}
        while any(rest.values()):
            part, room = Batch(), self._room
            for kind in KINDS:
                fits = int(room / self._cost(kind))
                if not part.operations:
                    fits = max(FEWEST, fits)
                setattr(part, kind, rest[kind][:fits])
                rest[kind] = rest[kind][fits:]
                room -= len(getattr(part, kind)) * self._cost(kind)
                if rest[kind]:
                    break
            yield part

    def _cost(self, kind: Kind) -> float:
        """Seconds for one; the median, since a flush of the index falls into one hold of many."""
        from statistics import median

        costs = self._costs[kind]
        return max(1e-6, median(costs)) if costs else FIRST_GUESS[kind]
