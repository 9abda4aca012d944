"""How much of a sync is left, and for how long, judged by what it did so far.

Files are known by their sizes before they are read; what rows follow is known once they are cut. So
what is left is counted in chunks to cut (guessed by size), rows to embed and row operations to
store, each at the pace of the stage that does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reposync.result import Stage

Kind = Literal["cut", "embed", "store"]

BYTES_A_TOKEN = 3.5
"""Of code and prose, roughly: how much that is off shows with the first files."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What was done up to a moment, and the seconds that it took."""

    units: Mapping[Kind, float]
    seconds: Mapping[Kind, float]


@dataclass(slots=True)
class _Left:
    """What is still to be done."""

    chunks: float = 0.0
    writes: int = 0
    others: int = 0
    vanished: int = 0


@dataclass(slots=True)
class Estimate:
    """What is left of one run. Used by one thread.

    Attributes:
        remaining: seconds; None before the first batch is done. It never grows: whoever watches a
            clock that runs backwards believes it no more.
    """

    remaining: float | None = None
    _chunk_bytes: float = 0.0
    _sizes: dict[str, int] = field(default_factory=dict)
    _left: _Left = field(default_factory=_Left)
    _units: dict[Kind, float] = field(default_factory=lambda: {"cut": 0, "embed": 0, "store": 0})
    _rows_cut: int = 0
    _start: _Done | None = None
    _first: _Done | None = None
    _now: _Done | None = None

    def expect(
        self,
        sizes: dict[str, int],
        deletes: int,
        seconds: Mapping[Stage, float],
        *,
        chunk_tokens: int,
    ) -> None:
        """The work is about to begin, maybe anew.

        Args:
            sizes: of the files that are to be read, in bytes, by path; it is used up.
            deletes: how many rows of vanished files are to be deleted.
            seconds: spent in each stage so far.
            chunk_tokens: how large a chunk is.
        """
        self._chunk_bytes = BYTES_A_TOKEN * chunk_tokens
        self._sizes = sizes
        self._left = _Left(chunks=sum(map(self._chunks, sizes.values())), vanished=deletes)
        self._start, self._first = self._done(seconds), None

    def cut(self, path: str, writes: int, others: int, vanished: int) -> None:
        """A file was looked at, and cut if need be.

        Args:
            path: the file.
            writes, others: the row operations that follow.
            vanished: how many of `others` are among the deletes that were expected.
        """
        left, chunks = self._left, self._chunks(self._sizes.pop(path, 0))
        left.chunks = max(0.0, left.chunks - chunks) if self._sizes else 0.0
        left.vanished = max(0, left.vanished - vanished)
        left.writes += writes
        left.others += others
        self._units["cut"] += chunks
        self._rows_cut += writes

    def settle(self, writes: int, others: int, seconds: Mapping[Stage, float]) -> None:
        """A batch of row operations was done."""
        left = self._left
        left.writes = max(0, left.writes - writes)
        left.others = max(0, left.others - others)
        self._units["embed"] += writes
        self._units["store"] += writes + others
        self._now = self._done(seconds)
        remaining = self._seconds_left()
        self.remaining = remaining if self.remaining is None else min(remaining, self.remaining)
        self._first = self._first or self._now

    @property
    def writes_left(self) -> int:
        """How many rows are still to be written, as far as can be said."""
        cut = self._units["cut"]
        return self._left.writes + round(self._left.chunks * (self._rows_cut / cut if cut else 1))

    @property
    def writes_per_second(self) -> float:
        """How fast rows are written; 0 before the first batch is done."""
        for since in (self._first, self._start):
            if since and self._now:
                writes = self._now.units["embed"] - since.units["embed"]
                seconds = sum(self._now.seconds.values()) - sum(since.seconds.values())
                if writes and seconds:
                    return writes / seconds
        return 0.0

    def _chunks(self, size: int) -> float:
        """How many chunks a file of so many bytes makes, more or less."""
        return max(1.0, size / self._chunk_bytes) if size else 0.0

    def _seconds_left(self) -> float:
        left, writes = self._left, self.writes_left
        return (
            left.chunks * self._pace("cut")
            + writes * self._pace("embed")
            + (writes + left.others + left.vanished) * self._pace("store")
        )

    def _pace(self, kind: Kind) -> float:
        """Seconds for one; the first batch, which opens model and store, is left out if it can."""
        for since in (self._first, self._start):
            if since and self._now and (units := self._now.units[kind] - since.units[kind]):
                return (self._now.seconds[kind] - since.seconds[kind]) / units
        return 0.0

    def _done(self, seconds: Mapping[Stage, float]) -> _Done:
        spent: dict[Kind, float] = {
            "cut": seconds["scan"] + seconds["plan"] + seconds["chunk"],
            "embed": seconds["embed"],
            "store": seconds["commit"],
        }
        return _Done(dict(self._units), spent)
