"""How often a lock was taken, how long that took, and how long it was held."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

KEPT = 1000  # the latest times, for the 95th percentile


@dataclass(frozen=True, slots=True)
class Spread:
    """Times in seconds; `p95` is of the latest 1 000, and all are 0 before the first."""

    mean: float = 0.0
    max: float = 0.0
    p95: float = 0.0


@dataclass(frozen=True, slots=True)
class LockStats:
    """What one `ChromaLock` has seen so far.

    Attributes:
        acquisitions: how often the lock was taken; taking it again while it is held does not count.
        contended: how often it was not free at once.
        timeouts: how often it was not to be had in time.
        refreshes: how often somebody else had written, so that a client was brought up to date.
        wait: seconds from asking to having, for each acquisition.
        hold: seconds from having to letting go.
    """

    acquisitions: int = 0
    contended: int = 0
    timeouts: int = 0
    refreshes: int = 0
    wait: Spread = Spread()
    hold: Spread = Spread()


class Meter:
    """Counts for one lock, from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._contended = self._timeouts = self._refreshes = 0
        self._waits, self._holds = _Times(), _Times()

    def acquired(self, seconds: float, *, contended: bool) -> None:
        """The lock was taken after a wait of `seconds`."""
        with self._guard:
            self._waits.add(seconds)
            self._contended += contended

    def timed_out(self) -> None:
        """The lock was not to be had in time."""
        with self._guard:
            self._timeouts += 1
            self._contended += 1

    def refreshed(self) -> None:
        """A client was brought up to date."""
        with self._guard:
            self._refreshes += 1

    def released(self, seconds: float) -> None:
        """The lock was let go after `seconds`."""
        with self._guard:
            self._holds.add(seconds)

    def stats(self) -> LockStats:
        """All of it, as it stands now."""
        with self._guard:
            return LockStats(
                self._waits.count,
                self._contended,
                self._timeouts,
                self._refreshes,
                self._waits.spread(),
                self._holds.spread(),
            )


class _Times:
    def __init__(self) -> None:
        self.count = 0
        self._sum = self._max = 0.0
        self._latest: deque[float] = deque(maxlen=KEPT)

    def add(self, seconds: float) -> None:
        self.count += 1
        self._sum += seconds
        self._max = max(self._max, seconds)
        self._latest.append(seconds)

    def spread(self) -> Spread:
        if not self.count:
            return Spread()
        ranked = sorted(self._latest)
        p95 = ranked[math.ceil(0.95 * len(ranked)) - 1]
        return Spread(self._sum / self.count, self._max, p95)
