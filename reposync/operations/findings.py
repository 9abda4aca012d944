"""What `verify_repository` finds, as values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from reposync.report import Report
from reposync.words import count, counts, duration, one_line

if TYPE_CHECKING:
    from reposync.display import View

Level = Literal["ids", "content", "vectors"]

FindingKind = Literal[
    "missing",
    "stale",
    "double",
    "foreign",
    "text",
    "metadata",
    "vector",
    "cache",
    "model",
    "index",
    "collection",
    "unsettled",
    "manifest",
    "outdated",
    "unfinished",
    "unreadable",
]
"""What is not as it should be (a closed set), see docs/how-to/verify-and-repair.md."""

SHOWN = 20


class Finding(Report):
    """One thing that is not as it should be.

    Attributes:
        kind: see `FindingKind`.
        path: the file that it is about; "" if it is not about one.
        id: the row that it is about; "" if it is not about one.
        detail: in a few words.
    """

    kind: FindingKind
    path: str = ""
    id: str = ""
    detail: str = ""

    def __str__(self) -> str:
        where = " ".join(one_line(part) for part in (self.path, self.id) if part)
        return f"{self.kind:<10} {where + ': ' if where else ''}{one_line(self.detail)}"


class VerifyReport(Report):
    """What a repository's collection was found to be.

    Attributes:
        repository, collection: what was verified.
        level: how thoroughly.
        findings: all that is not as it should be.
        files: how many files were compared; 0 if no `path` was given.
        rows: how many rows were compared.
        vectors: how many vectors were compared.
        computed: how many of them with vectors that were computed anew.
        duration_seconds: how long it took.
    """

    repository: str
    collection: str
    level: Level
    findings: tuple[Finding, ...] = ()
    files: int = 0
    rows: int = 0
    vectors: int = 0
    computed: int = 0
    duration_seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True if nothing is amiss, as far as was looked."""
        return not self.findings

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        return dict(Counter(finding.kind for finding in self.findings))

    def __str__(self) -> str:
        return "\n".join([self._head(), *shown(self.findings, ".findings")])

    def _head(self) -> str:
        files = f"{count(self.files, 'file')}, " if self.files else ""
        compared = f"{files}{count(self.rows, 'row')} and {count(self.vectors, 'vector')} compared"
        verdict = "sound" if self.ok else counts(self.counts)
        return f"{self.repository}: {verdict} ({compared})"

    def _view(self) -> View:
        from reposync import display as d

        rows = {
            "collection": self.collection,
            "level": self.level,
            "found": d.amounts(self.counts) if self.findings else "nothing amiss",
            "computed anew": self.computed,
            "time": duration(self.duration_seconds),
        }
        return d.View(
            self._head(), d.tone_for(self), [d.Rows(rows), d.table_of("findings", self.findings)]
        )


def shown(values: Iterable[object], where: str) -> list[str]:
    """The first of them, a line each, and where the rest is."""
    lines = [f"  {value}" for value in values]
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"  ... and {more} more, see {where}"] if more > 0 else [])]
