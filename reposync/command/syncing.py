"""``sync``, ``plan`` and ``why``: what is indexed, and what would be."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reposync.command import exits
from reposync.command.chosen import Settings
from reposync.command.options import Collection, Name, Ref, Source, command
from reposync.command.output import Column, Fields, Table, View
from reposync.command.session import Session
from reposync.words import count, counts, duration

if TYPE_CHECKING:
    from reposync.explanation import Explanation
    from reposync.result import SyncPlan, SyncResult

PANEL = "Index"
SHOWN = 20
"""Failures that are shown one by one; the rest is in the JSON."""

AllowDeletions = Annotated[
    bool,
    typer.Option("--allow-deletions", metavar="", help="Let it delete most of what is indexed."),
]
Full = Annotated[
    bool,
    typer.Option("--full", metavar="", help="Read and write everything again; vectors are kept."),
]


@command(
    "sync",
    panel=PANEL,
    examples=[
        "reposync sync path/to/repo --store ./chroma",
        "reposync sync . --name my-repo --exclude 'tests/' --store ./chroma",
        "reposync sync https://example.org/repo.git --store http://localhost:8000",
    ],
)
def sync(
    session: Session,
    settings: Settings,
    path: Source,
    name: Name = None,
    ref: Ref = None,
    collection: Collection = None,
    allow_deletions: AllowDeletions = False,
    full: Full = False,
) -> int:
    """Bring the store in step with the repository at PATH.

    Only what changed is read, and only text that is new is embedded. Interrupted or killed, run it
    again: it goes on from there.
    """
    from reposync.sync import sync_repository

    with _cancelled_by_sigterm() as cancel:
        result = sync_repository(
            path,
            name,
            ref=ref,
            store=session.store,
            collection=collection,
            config=settings.config(),
            full=full,
            allow_deletions=allow_deletions,
            cancel=cancel,
            progress=session.progress,
        )
    code = session.show(result, view_of_sync)
    return exits.TERMINATED if cancel.is_set() else code


@contextmanager
def _cancelled_by_sigterm() -> Iterator[threading.Event]:
    """A service manager's stop ends the sync after the batch in flight."""
    cancel = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # Python allows it nowhere else
        yield cancel
        return
    before = signal.signal(signal.SIGTERM, lambda *_: cancel.set())
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGTERM, before)


def view_of_sync(result: SyncResult) -> View:
    """What a sync did."""
    pairs = [
        ("collection", f"{result.collection}, {count(result.chunks.total, 'chunk')}"),
        (
            "files",
            counts(result.file_counts()),
        ),
        ("chunks", counts(result.chunk_counts())),
    ]
    if result.encodings:
        kinds = ", ".join(sorted(set(result.encodings.values())))
        pairs.append(("encodings", f"{count(len(result.encodings), 'file')} in {kinds}"))
    if result.redactions:
        within = count(len({one.path for one in result.redactions}), "file")
        secrets = count(len(result.redactions), "secret")
        pairs.append(("secrets", f"{secrets} found in {within}, and not indexed"))
    if result.limits:
        pairs.append(("limits", f"reached: {', '.join(result.limits)}"))
    pairs += [("warning", warning) for warning in result.warnings]
    pairs += [
        ("failed", f"{one.path}: {one.stage}: {one.message}") for one in result.failures[:SHOWN]
    ]
    if (more := len(result.failures) - SHOWN) > 0:
        pairs.append(("", f"... and {more} more, see --json"))
    resumed = ", took up an interrupted run" if result.resumed else ""
    verdict = f"{result.status} in {duration(result.duration_seconds)}{resumed}"
    return View(result.repository, verdict, [Fields(pairs)])


@command(
    "plan",
    panel=PANEL,
    examples=[
        "reposync plan path/to/repo --store ./chroma",
        "reposync plan . --name my-repo --json | jq .embeds",
    ],
)
def plan(
    session: Session,
    scope: Settings,
    path: Source,
    name: Name = None,
    ref: Ref = None,
    collection: Collection = None,
    allow_deletions: AllowDeletions = False,
    full: Full = False,
) -> int:
    """Say what a sync would do, file by file; nothing is written."""
    from reposync.dry_run import plan_repository

    found = plan_repository(
        path,
        name,
        ref=ref,
        store=session.store,
        collection=collection,
        config=scope.config(),
        full=full,
        allow_deletions=allow_deletions,
    )
    return session.show(found, view_of_plan)


def view_of_plan(found: SyncPlan) -> View:
    """What a sync would do; skipped files are only counted."""
    shown = [one for one in found.actions if one.action not in ("skip", "forget")]
    embeds = "" if found.embeds is None else f", {count(found.embeds, 'text')} to embed"
    quiet = f"{found.files.unchanged} unchanged, {found.files.skipped} skipped"
    verdict = f"{count(len(shown), 'file')} to do{embeds}; {quiet}; nothing written"
    parts: list[Fields | Table] = []
    if shown:
        rows = [
            (one.action, f"{one.old_path} -> {one.path}" if one.old_path else one.path, one.reason)
            for one in shown
        ]
        columns = [Column("action", "word"), Column("file", "path"), Column("why")]
        parts.append(Table(columns, rows))
    if found.refused:
        advice = f"{found.refused}; if that is right, pass --allow-deletions"
        parts.append(Fields([("refused", advice)]))
    return View(found.repository, verdict, parts)


@command(
    "why",
    panel=PANEL,
    examples=["reposync why src/app.py", "reposync why build/out.log --root path/to/repo"],
)
def why(
    session: Session,
    rules: Settings,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The file; it need not exist any more.", show_default=False
        ),
    ],
    root: Annotated[
        str | None,
        typer.Option(
            "--root",
            metavar="PATH",
            help="The repository's folder, or a git URL. Default: the work tree that FILE lies in,"
            " else the current folder.",
        ),
    ] = None,
    ref: Ref = None,
) -> int:
    """Say whether a sync would index FILE, and which rule decides."""
    from reposync.explanation import explain
    from reposync.scan.clone import is_url

    if not is_url(root):
        file = Path(os.path.abspath(file))
        root = str(_work_tree(file)) if root is None else root
    assert root is not None
    folder = None if session.address else session.folder
    explanation = explain(root, file, ref=ref, store=folder, config=rules.config())
    return session.show(explanation, view_of_explanation)


def _work_tree(file: Path) -> Path:
    """The folder above with a ``.git`` in it, else the current one."""
    above = (folder for folder in file.parents if os.path.lexists(folder / ".git"))
    return next(above, Path.cwd())


def view_of_explanation(explanation: Explanation) -> View:
    """Whether a file is in, and why."""
    verdict = "in" if explanation.included else "out"
    return View(explanation.path, f"{verdict} ({explanation.rule}): {explanation.detail}")
