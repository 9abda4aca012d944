"""``verify``, ``repair`` and ``health``: is it right, and what to do if it is not."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reposync.command.chosen import Settings
from reposync.command.options import Collection, MaybeSource, Ref, Repository, command
from reposync.command.output import Column, Fields, Table, View
from reposync.command.session import Session
from reposync.command.words import in_options
from reposync.errors import StoreUnavailable
from reposync.words import count, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reposync.operations.findings import Finding, VerifyReport
    from reposync.operations.health import HealthReport
    from reposync.operations.repair import RepairReport

PANEL = "Check and mend"
SHOWN = 100
"""Findings that are shown one by one; the rest is in the JSON."""


@command(
    "verify",
    panel=PANEL,
    examples=[
        "reposync verify my-repo --store ./chroma",
        "reposync verify my-repo path/to/repo --level vectors",
    ],
)
def verify(
    session: Session,
    scope: Settings,
    name: Repository,
    path: MaybeSource = None,
    level: Annotated[
        Literal["ids", "content", "vectors"],
        typer.Option(
            "--level",
            metavar="ids|content|vectors",
            help="How thoroughly: rows, their texts, or their vectors, too.",
        ),
    ] = "content",
    ref: Ref = None,
    collection: Collection = None,
) -> int:
    """Say whether the collection holds what it should.

    Nothing is written. With PATH, the files are compared, too: as a sync would see them now.
    """
    from reposync.operations.verify import verify_repository

    report = verify_repository(
        name,
        path,
        ref=ref,
        store=session.store,
        collection=collection,
        level=level,
        config=scope.config(),
    )
    return session.show(report, view_of_verify)


def view_of_verify(report: VerifyReport) -> View:
    """What is amiss."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in report.counts.items())
    files = f"{count(report.files, 'file')}, " if report.files else ""
    compared = f"{files}{count(report.rows, 'row')} and {count(report.vectors, 'vector')} compared"
    parts: list[Table | Fields] = []
    if report.findings:
        parts = [*_findings(report.findings), Fields([("to do", _advice(report.repository))])]
    return View(report.repository, f"{kinds or 'sound'} ({compared})", parts)


def _advice(name: str) -> str:
    return f"reposync repair {name!r} PATH, with the folder of the repository"


def _findings(findings: Sequence[Finding]) -> list[Table | Fields]:
    columns = [Column("kind", "word"), Column("where", "path"), Column("what")]
    rows = [(one.kind, one.path or one.id, one.detail) for one in findings[:SHOWN]]
    return [Table(columns, rows), *_more(len(findings) - SHOWN)]


def _more(number: int) -> list[Fields]:
    return [Fields([("...", f"and {number} more, see --json")])] if number > 0 else []


@command(
    "repair",
    panel=PANEL,
    examples=[
        "reposync repair my-repo path/to/repo --store ./chroma",
        "reposync repair my-repo --dry-run",
    ],
)
def repair(
    session: Session,
    settings: Settings,
    name: Repository,
    path: MaybeSource = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Do nothing; say what would be done.")
    ] = False,
    ref: Ref = None,
    collection: Collection = None,
) -> int:
    """Mend what `verify` finds, and nothing else.

    Without PATH, texts that are gone cannot be restored, since nobody else has them; vectors, the
    index and rows that do not belong can.
    """
    from reposync.operations.repair import repair_repository

    report = repair_repository(
        name,
        path,
        ref=ref,
        store=session.store,
        collection=collection,
        config=settings.config(),
        dry_run=dry_run,
    )
    return session.show(report, view_of_repair)


def view_of_repair(report: RepairReport) -> View:
    """What was found, and what became of it."""
    found = count(len(report.steps), "finding")
    if report.dry_run:
        verdict = f"{found}, nothing was done"
    elif report.ok:
        verdict = f"sound; {found} mended, {count(report.embedded, 'text')} embedded"
    else:
        verdict = f"{found}, not all of them mended"
    parts: list[Table | Fields] = []
    if report.steps:
        columns = [Column("kind", "word"), Column("where", "path"), Column("remedy")]
        rows = [
            (step.finding.kind, step.finding.path or step.finding.id, in_options(step.detail))
            for step in report.steps[:SHOWN]
        ]
        parts += [Table(columns, rows), *_more(len(report.steps) - SHOWN)]
    if report.warnings:
        parts.append(Fields([("warning", warning) for warning in report.warnings]))
    if report.left is not None and report.left.findings:
        kinds = ", ".join(f"{number} {kind}" for kind, number in report.left.counts.items())
        parts.append(Fields([("left", f"{kinds}, as `reposync verify` shows")]))
    return View(report.repository, verdict, parts)


@command(
    "health",
    panel=PANEL,
    examples=["reposync health --store ./chroma", "reposync health --level live --json"],
)
def health(
    session: Session,
    level: Annotated[
        Literal["live", "ready"],
        typer.Option(
            "--level",
            metavar="live|ready",
            help="live: cheap enough for every few seconds; ready: thorough.",
        ),
    ] = "ready",
) -> int:
    """Say how the store is, and what to do about it."""
    from reposync.operations.health import check_health

    began = time.monotonic()
    try:
        store = session.store
    except StoreUnavailable as error:
        report = _unreachable(session.address or "", level, error, time.monotonic() - began)
    else:
        report = check_health(store=store, level=level)
    return session.show(report, view_of_health)


def _unreachable(
    address: str, level: Literal["live", "ready"], error: StoreUnavailable, took: float
) -> HealthReport:
    """That a server is away is a finding, too."""
    from reposync.address import without_password
    from reposync.operations.health import HealthReport
    from reposync.operations.health_check import HealthCheck

    return HealthReport(
        store=without_password(address),
        level=level,
        checked_at=datetime.now(timezone.utc),
        duration_seconds=took,
        checks=(HealthCheck(name="store", status="fail", message=str(error)),),
    )


def view_of_health(report: HealthReport) -> View:
    """A line for each check, and what to do."""
    columns = [Column("status", "word"), Column("check", "word"), Column("finding")]
    rows = [
        (one.status, one.name, one.message + (f"\n-> {one.advice}" if one.advice else ""))
        for one in report.checks
    ]
    verdict = f"{report.status} ({report.level}, {duration(report.duration_seconds)})"
    return View(report.store, verdict, [Table(columns, rows)])
