"""What is searched, and for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reposync.tokens import TokenCounter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from random import Random

TOKENS = TokenCounter()

GOOD_PART = 250
"""Characters, white space left out. A chunk answers a query if it holds half of what was asked for,
or this much of it: no chunk of 200 tokens holds half of a long function, nor need it. With 250 any
splitter can answer every query; with 500 only the larger chunks could answer some of them."""


TUNED_ON = (
    *("requests", "pathspec", "sortedcontainers", "nbformat"),
    *("reposync", "rsync", "descriptions", "manual of python-django"),
)
"""How the names of the repositories begin by which the parameters were chosen; the others were
looked at afterwards, but for what docs/explanation/chunking.md says."""


@dataclass(frozen=True)
class Target:
    """What a query asks for: a whole file, or the part of it from `start` to `end` (characters)."""

    path: str
    start: int = 0
    end: int | None = None

    def is_met_by(self, path: str, text: str, start: int, end: int) -> bool:
        """Whether the slice of the file `path` from `start` to `end` is a right answer."""
        if path != self.path:
            return False
        if self.end is None:
            return True
        shared = solid(text[max(start, self.start) : min(end, self.end)])
        return shared >= min(solid(text[self.start : self.end]) / 2, GOOD_PART)


@dataclass(frozen=True)
class Query:
    """Words, and the targets of which any is a right answer."""

    text: str
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Repository:
    """One index: its files, and what it is asked.

    Attributes:
        finds: what the answers are: "chunks", or "files", each then ranked by its best chunk.
    """

    name: str
    files: Mapping[str, str]
    queries: tuple[Query, ...]
    finds: str = "chunks"

    @property
    def held_out(self) -> bool:
        """Whether nothing was chosen by it."""
        return not self.name.startswith(TUNED_ON)


def solid(text: str) -> int:
    """Characters that are not white space."""
    return len("".join(text.split()))


def sample(files: Mapping[str, str], wanted: Iterable[str], cap: int, random: Random) -> list[str]:
    """The paths in `wanted`, then others at random, until they have `cap` tokens together."""
    first = sorted(set(wanted) & files.keys())
    others = sorted(files.keys() - set(first))
    random.shuffle(others)
    chosen, used = [], 0
    for path in [*first, *others]:
        weight = TOKENS.count([files[path]])[0]
        if path in first or used + weight <= cap:
            chosen.append(path)
            used += weight
    return sorted(chosen)


def by_text(pairs: Iterable[tuple[str, Target]]) -> tuple[Query, ...]:
    """Queries; what has the same words is one, and any of its targets will do."""
    targets: dict[str, list[Target]] = {}
    for text, target in pairs:
        targets.setdefault(text, []).append(target)
    return tuple(Query(text, tuple(found)) for text, found in targets.items())
