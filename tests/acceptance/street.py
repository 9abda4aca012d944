"""A sync and its neighbours, all processes of their own, and what their record says.

The promise that is measured: nobody waits longer than four holds for each one who waits.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import start
from neighbour import Visit, read_record

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

HOLDS_PER_WAITER = 4
BILLION = 1_000_000_000


@dataclass(frozen=True)
class Spread:
    """Seconds: how many times, and the usual, the late and the longest one."""

    count: int
    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, nanoseconds: list[int]) -> Spread:
        """The spread of some durations; zeros if there is none."""
        seconds = sorted(value / BILLION for value in nanoseconds) or [0.0]
        at = [seconds[math.ceil(share * len(seconds)) - 1] for share in (0.5, 0.95)]
        return cls(len(nanoseconds), *at, seconds[-1])


@dataclass(frozen=True)
class Stay:
    """What one kind of neighbour met with while the sync ran.

    Attributes:
        who: the role.
        locked: False if it took no lock.
        waits: from asking for the lock to having it.
        visits: from asking for the lock to letting it go.
        most_passed: holds of others that began while one of them waited, at most.
    """

    who: str
    locked: bool
    waits: Spread
    visits: Spread
    most_passed: int


@dataclass(frozen=True)
class Account:
    """One sync among neighbours.

    Attributes:
        seconds: how long the sync took.
        waiters: how many others took the lock.
        holds: the sync's holds of the lock.
        stays: what each kind of neighbour met with.
        sync: the result of the sync.
    """

    seconds: float
    waiters: int
    holds: Spread
    stays: list[Stay]
    sync: dict[str, Any]

    @property
    def most_passed(self) -> int:
        """The promise in holds."""
        return HOLDS_PER_WAITER * self.waiters

    @property
    def longest_wait(self) -> float:
        """The promise in seconds: the longest hold, that many times."""
        return self.most_passed * self.holds.max


def run_street(
    folder: Path,
    tree: Path,
    neighbours: list[list[str]],
    *,
    sync: tuple[str, ...] = (),
    deadline: float = 110.0,
) -> Account:
    """Sync `tree` into a new store while neighbours, given by their arguments, come and go."""
    store, record = folder / "store", folder / "record"
    store.mkdir(parents=True)
    where = ("--store", store, "--record", record)
    with ExitStack() as stack:
        started = [
            stack.enter_context(start("neighbour.py", *arguments, *where, stdin=-1, stderr=None))
            for arguments in [["sync", "--tree", str(tree), *sync], *neighbours]
        ]
        stack.callback(lambda: [child.kill() for child in started])
        for child in started:
            assert line_from(child) == "ready"
        for child in reversed(started):
            say(child, "begin")
        out, _ = started[0].communicate(timeout=deadline)
        assert started[0].returncode == 0
        for child in started[1:]:
            child.communicate(timeout=deadline)
            assert child.returncode == 0
    return account(read_record(record), json.loads(out.splitlines()[-1]))


def say(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{word}\n")
    child.stdin.flush()


def line_from(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def account(visits: list[Visit], result: dict[str, Any]) -> Account:
    """What a record says of the time in which the sync ran."""
    syncs = [visit for visit in visits if visit.who == "sync MainThread"]
    held = [visit for visit in visits if visit.locked and visit.who != "query"]
    began, ended = syncs[0].wanted, syncs[-1].left
    others = [v for v in visits if not v.who.startswith("sync ") and began <= v.wanted <= ended]
    stays = defaultdict(list)
    for visit in others:
        stays[visit.who.split()[0]].append(visit)
    return Account(
        (ended - began) / BILLION,
        len({visit.who for visit in others if visit.locked}),
        Spread.of([visit.left - visit.entered for visit in syncs]),
        [stay(who, found, held) for who, found in sorted(stays.items())],
        result,
    )


def stay(who: str, visits: list[Visit], held: list[Visit]) -> Stay:
    return Stay(
        who,
        visits[0].locked,
        Spread.of([visit.entered - visit.wanted for visit in visits]),
        Spread.of([visit.left - visit.wanted for visit in visits]),
        max(passed(visit, held) for visit in visits),
    )


def passed(visit: Visit, held: list[Visit]) -> int:
    """How many holds of others began while this one waited."""
    begun = [one for one in held if visit.wanted < one.entered < visit.entered]
    return len([one for one in begun if one.who != visit.who])
