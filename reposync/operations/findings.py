"""What `verify_repository` finds, as values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from reposync.report import Report

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
        where = " ".join(part for part in (self.path, self.id) if part)
        return f"{self.kind:<10} {where + ': ' if where else ''}{self.detail}"


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
        files = f"{self.files} files, " if self.files else ""
        compared = f"{files}{self.rows} rows and {self.vectors} vectors compared"
        if self.ok:
            return f"{self.repository}: sound ({compared})"
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return "\n".join(
            [f"{self.repository}: {kinds} ({compared})", *shown(self.findings, ".findings")]
        )


def shown(values: Iterable[object], where: str) -> list[str]:
    """The first of them, a line each, and where the rest is."""
    lines = [f"  {value}" for value in values]
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"  ... and {more} more, see {where}"] if more > 0 else [])]
