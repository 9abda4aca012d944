"""``backup``, ``restore``, ``export`` and ``import``: copies, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reposync.command.chosen import Settings
from reposync.command.options import Collection, Repository, command
from reposync.command.output import Fields, View
from reposync.command.session import Session
from reposync.command.words import moment
from reposync.words import count, data_size, duration

if TYPE_CHECKING:
    from reposync.operations.backup import BackupCheck, BackupReport
    from reposync.operations.export import ExportReport
    from reposync.operations.importing import ImportReport
    from reposync.operations.restore import RestoreReport

PANEL = "Copy"

Dest = Annotated[
    Path,
    typer.Argument(
        metavar="DEST", help="A folder that is not there yet, or is empty.", show_default=False
    ),
]
Copy = Annotated[
    Path, typer.Argument(metavar="SRC", help="The folder of the copy.", show_default=False)
]


@command(
    "backup",
    panel=PANEL,
    examples=[
        "reposync backup backups/monday --store ./chroma",
        "reposync backup --check backups/monday",
    ],
)
def backup(
    session: Session,
    patience: Settings,
    dest: Dest,
    check: Annotated[
        bool, typer.Option("--check", metavar="", help="Copy nothing: is the backup in DEST whole?")
    ] = False,
) -> int:
    """Copy the store as it is at one moment, while others use it."""
    from reposync.operations.backup import backup_store, verify_backup

    if check:
        return session.show(verify_backup(dest), view_of_check)
    report = backup_store(dest, store=session.store, config=patience.config())
    return session.show(report, view_of_backup)


def view_of_backup(report: BackupReport) -> View:
    """What was copied."""
    verdict = f"copied {data_size(report.bytes)} in {count(report.files, 'file')}"
    pairs = [
        ("store", report.store),
        (
            "took",
            f"{duration(report.duration_seconds)}, of which the store was locked"
            f" {duration(report.hold_seconds)}",
        ),
        *_collections(report.collections),
        *(("left out", name) for name in report.left_out),
        *(("warning", warning) for warning in report.warnings),
    ]
    return View(report.path, verdict, [Fields(pairs)])


def view_of_check(report: BackupCheck) -> View:
    """Whether a backup is whole."""
    verdict = "sound" if report.ok else "DAMAGED"
    about = f"{data_size(report.bytes)} in {count(report.files, 'file')}"
    pairs = [
        ("copy of", report.store),
        ("made", moment(report.created_at)),
        *_collections(report.collections),
        *(("problem", problem) for problem in report.problems),
        *(("warning", warning) for warning in report.warnings),
    ]
    return View(report.path, f"{verdict}, {about}", [Fields(pairs)])


def _collections(rows: dict[str, int]) -> list[tuple[str, str]]:
    return [("collection", f"{name}, {count(number, 'row')}") for name, number in rows.items()]


@command("restore", panel=PANEL, examples=["reposync restore backups/monday --store ./chroma"])
def restore(session: Session, src: Copy) -> int:
    """Make a store of a backup; nothing is overwritten."""
    from reposync.operations.restore import restore_store

    return session.show(restore_store(src, store=session.folder), view_of_restore)


def view_of_restore(report: RestoreReport) -> View:
    """What was put in place."""
    verdict = f"restored {data_size(report.bytes)} in {count(report.files, 'file')}"
    pairs = [
        ("backup", report.backup),
        ("took", duration(report.duration_seconds)),
        *_collections(report.collections),
    ]
    return View(report.path, verdict, [Fields(pairs)])


@command(
    "export", panel=PANEL, examples=["reposync export my-repo my-repo.export --store ./chroma"]
)
def export(
    session: Session,
    patience: Settings,
    name: Repository,
    dest: Dest,
    collection: Collection = None,
) -> int:
    """Write one repository, vectors and all, for another store."""
    from reposync.operations.export import export_repository

    report = export_repository(
        name, dest, store=session.store, collection=collection, config=patience.config()
    )
    return session.show(report, view_of_export)


def view_of_export(report: ExportReport) -> View:
    """What was written."""
    verdict = f"exported {report.repository}, {data_size(report.bytes)}"
    pairs = [
        ("holds", f"{count(report.files, 'file')}, {count(report.chunks, 'chunk')}"),
        ("model", report.model),
        ("took", duration(report.duration_seconds)),
    ]
    if not report.ok:
        files, rows = count(report.unfinished, "file"), count(report.left_out, "row")
        left = f"{files} unfinished, {rows} left out"
        pairs.append(("warning", f"{left}; the next sync after an import reads them again"))
    return View(report.path, verdict, [Fields(pairs)])


@command("import", panel=PANEL, examples=["reposync import my-repo.export --store ./chroma"])
def import_(session: Session, patience: Settings, src: Copy, collection: Collection = None) -> int:
    """Take in a repository that `export` wrote."""
    from reposync.operations.importing import import_repository

    report = import_repository(
        src, store=session.store, collection=collection, config=patience.config()
    )
    return session.show(report, view_of_import)


def view_of_import(report: ImportReport) -> View:
    """What was taken in."""
    resumed = ", took up an interrupted import" if report.resumed else ""
    verdict = f"{report.status} in {duration(report.duration_seconds)}{resumed}"
    pairs = [
        ("collection", f"{report.collection}, {count(report.written, 'chunk')} written"),
        ("holds", f"{count(report.files, 'file')}, {count(report.chunks, 'chunk')}"),
        *(("warning", warning) for warning in report.warnings),
        *(("failed", f"{one.path}: {one.message}") for one in report.failures[:20]),
    ]
    return View(report.repository, verdict, [Fields(pairs)])
