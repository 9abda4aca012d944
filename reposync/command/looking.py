"""``status``, ``list``, ``files``, ``history`` and ``progress``: what the local state knows.

Neither Chroma nor a lock is touched, so they answer at once, and while a sync runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from reposync.command.options import (
    Collection,
    CursorText,
    Limit,
    MaybeRepository,
    Repository,
    command,
)
from reposync.command.output import Column, Fields, Table, View
from reposync.command.session import Session
from reposync.command.words import moment
from reposync.naming import nearest
from reposync.words import count, data_size, duration

if TYPE_CHECKING:
    from reposync.operations.pages import FileEntry, RepositoryEntry
    from reposync.operations.progress import RunProgress
    from reposync.operations.runs import RunEntry
    from reposync.operations.status import RepositoryStatus
    from reposync.report import Page, Report

    Entry = TypeVar("Entry", bound=Report)

PANEL = "Search and look"
PAGE = 10_000


@command(
    "status",
    panel=PANEL,
    examples=["reposync status my-repo --store ./chroma", "reposync status --json | jq .state"],
)
def status(session: Session, name: MaybeRepository = None, collection: Collection = None) -> int:
    """Say how a repository is, and when it was last in step.

    Without NAME: the repository of the store, or a list if there are several.
    """
    from reposync.operations.status import repository_status

    if name is None:
        page = _repositories(session, 0, None)
        if page.total != 1:
            return session.show(page, view_of_repositories)
        name, collection = page.items[0].name, page.items[0].collection
    found = repository_status(name, store=session.store, collection=collection)
    if found.state == "never":
        return session.show(found, lambda report: _view_of_unknown(session, report))
    return session.show(found, view_of_status)


def _view_of_unknown(session: Session, found: RepositoryStatus) -> View:
    from reposync.errors import SyncError

    verdict = f"never synced into {found.store}"
    try:
        names = [entry.name for entry in _repositories(session, 0, None).items]
    except SyncError:  # nothing was, so there is no list
        names = []
    known = nearest(found.repository, names) or (f"It knows: {', '.join(names)}." if names else "")
    return View(found.repository, verdict, note=f"reposync: {known}" if known else "")


def view_of_status(found: RepositoryStatus) -> View:
    """How a repository is."""
    pairs = []
    if found.collection is not None:
        pairs = [
            ("source", found.path),
            ("collection", f"{found.collection}, {count(found.chunks, 'chunk')}"),
            ("files", f"{found.files} noted"),
        ]
    if found.state in ("syncing", "interrupted") and found.progress is not None:
        pairs.append(("progress", _how_far(found.progress)))
    if found.last_good is not None:
        pairs.append(("last good", _told(found.last_good)))
    if found.last_run is not None and found.last_run != found.last_good:
        pairs.append(("last run", f"{_told(found.last_run)}: {found.last_run.status}"))
        if found.last_run.error:
            pairs.append(("failed", found.last_run.error))
    if found.bad_runs:
        pairs.append(("not good", f"{count(found.bad_runs, 'run')} since then"))
    pairs += [("sign", sign) for sign in found.signs]
    return View(found.repository, found.state, [Fields(pairs)])


def _told(run: RunEntry) -> str:
    parts = [moment(run.started_at)]
    if run.duration_seconds is not None:
        parts.append(f"in {duration(run.duration_seconds)}")
    if run.commit:
        parts.append(f"commit {run.commit[:12]}{' (dirty)' if run.dirty else ''}")
    if run.branch:
        parts.append(f"branch {run.branch}")
    return ", ".join(parts)


@command(
    "list",
    panel=PANEL,
    examples=["reposync list --store ./chroma", "reposync list --json | jq -r '.items[].name'"],
)
def list_(session: Session, limit: Limit = 0, cursor: CursorText = None) -> int:
    """List the repositories of the store, the newest first."""
    return session.show(_repositories(session, limit, cursor), view_of_repositories)


def _repositories(session: Session, limit: int, cursor: str | None) -> Page[RepositoryEntry]:
    from reposync.operations.pages import list_repositories

    return _page(
        lambda size, at: list_repositories(store=session.store, page_size=size, cursor=at),
        limit,
        cursor,
    )


def view_of_repositories(page: Page[RepositoryEntry]) -> View:
    """A line for each repository."""
    if not page.items:
        return View("no repository is in the store")
    columns = [
        Column("name", "path"),
        Column("state", "word"),
        Column("files", "number"),
        Column("chunks", "number"),
        Column("last good sync"),
        Column("source", "path"),
    ]
    rows = [
        (
            entry.name,
            entry.state,
            str(entry.files),
            str(entry.chunks),
            moment(entry.last_good_at) or "never",
            entry.path,
        )
        for entry in page.items
    ]
    return View(parts=[Table(columns, rows)], note=_rest(page, "repositories"))


@command(
    "files",
    panel=PANEL,
    examples=[
        "reposync files my-repo --store ./chroma",
        "reposync files my-repo | grep skipped",
        "reposync files my-repo --json --limit 1000",
    ],
)
def files(
    session: Session,
    name: Repository,
    collection: Collection = None,
    limit: Limit = 0,
    cursor: CursorText = None,
) -> int:
    """List the files of a repository, and why some are not indexed.

    All of them come by path; a part of them (--limit) comes newest first.
    """
    from reposync.operations.pages import list_files

    page = _page(
        lambda size, at: list_files(
            name, store=session.store, collection=collection, page_size=size, cursor=at
        ),
        limit,
        cursor,
    )
    if len(page.items) == page.total:
        items = tuple(sorted(page.items, key=lambda entry: entry.path))
        page = page.model_copy(update={"items": items})
    return session.show(page, view_of_files)


def view_of_files(page: Page[FileEntry]) -> View:
    """A line for each file."""
    columns = [
        Column("file", "path"),
        Column("state", "word"),
        Column("chunks", "number"),
        Column("size", "number"),
        Column("why"),
    ]
    rows = [
        (
            entry.path,
            entry.state,
            str(entry.chunks),
            "" if entry.size is None else data_size(entry.size),
            (entry.redo if entry.state == "unfinished" else entry.skip) or "",
        )
        for entry in page.items
    ]
    return View(parts=[Table(columns, rows)], note=_rest(page, "files"))


@command(
    "history",
    panel=PANEL,
    examples=["reposync history --store ./chroma", "reposync history my-repo --limit 0"],
)
def history(
    session: Session,
    name: MaybeRepository = None,
    collection: Collection = None,
    limit: Limit = 20,
    cursor: CursorText = None,
) -> int:
    """List the syncs of a repository, or of all, the newest first."""
    from reposync.operations.history import sync_history

    page = _page(
        lambda size, at: sync_history(
            name, store=session.store, collection=collection, page_size=size, cursor=at
        ),
        limit,
        cursor,
    )
    return session.show(page, lambda runs: view_of_runs(runs, named=name is None))


def view_of_runs(page: Page[RunEntry], *, named: bool = True) -> View:
    """A line for each run; with the repository's name if they are of several."""
    columns = [
        Column("started", "word"),
        *([Column("name", "path")] if named else []),
        Column("status", "word"),
        Column("took", "number"),
        Column("files", "word"),
        Column("chunks", "number"),
        Column("commit", "word"),
        Column("error"),
    ]
    rows = [
        (
            moment(run.started_at),
            *([run.repository] if named else []),
            run.status,
            "" if run.duration_seconds is None else duration(run.duration_seconds),
            _changes(run),
            str(run.chunks.total) if run.finished_at else "",
            f"{(run.commit or '')[:8]}{'+' if run.commit and run.dirty else ''}",
            run.error.partition(":")[0],  # all of it is in the status, and in the JSON
        )
        for run in page.items
    ]
    return View(parts=[Table(columns, rows)], note=_rest(page, "runs"))


def _changes(run: RunEntry) -> str:
    """What a run changed: files added, changed, deleted, failed."""
    files = run.files
    if run.finished_at is None:
        return f"{run.files_done} of {run.files_total}"
    failed = f" !{files.failed}" if files.failed else ""
    return f"+{files.added} ~{files.updated + files.renamed} -{files.deleted}{failed}"


@command("progress", panel=PANEL, examples=["watch reposync progress my-repo --store ./chroma"])
def progress(session: Session, name: Repository, collection: Collection = None) -> int:
    """Say how far a running sync is, whichever process it is in."""
    from reposync.operations.progress import get_progress

    found = get_progress(name, store=session.store, collection=collection)
    return session.show(found, view_of_progress)


def view_of_progress(found: RunProgress) -> View:
    """How far a sync is."""
    if found.run_id is None:
        return View(found.repository, "a sync begins" if found.running else "no sync is known")
    state = found.stage if found.running else found.ended
    pairs = [("progress", _how_far(found))]
    if found.running and found.holder:
        pairs.append(("by", found.holder))
    if found.cancel_requested:
        pairs.append(("warning", "it was asked to end"))
    return View(found.repository, state or "", [Fields(pairs)])


def _how_far(found: RunProgress) -> str:
    parts = [
        f"{found.files_done} of {found.files_total} files",
        f"{found.chunks_done} of {'about ' if found.running else ''}{found.chunks_total} chunks",
    ]
    if found.chunks_per_second:
        parts.append(f"{found.chunks_per_second:.1f} chunks/s")
    if found.running and found.remaining_seconds is not None:
        parts.append(f"about {found.remaining_seconds:.0f} s left")
    if found.heartbeat_age_seconds is not None and found.running:
        parts.append(f"heard {found.heartbeat_age_seconds:.1f} s ago")
    return ", ".join(parts)


# -- pages ---------------------------------------------------------------------------------------


def _page(
    ask: Callable[[int, str | None], Page[Entry]], limit: int, cursor: str | None
) -> Page[Entry]:
    """As many entries as are wanted, as one page; 0: all."""
    items: list[Entry] = []
    while True:
        size = min(PAGE, limit - len(items)) if limit else PAGE
        page = ask(size, cursor)
        items += page.items
        cursor = page.next_cursor
        if cursor is None or (limit and len(items) >= limit):
            return page.model_copy(update={"items": tuple(items)})


def _rest(page: Page[Entry], what: str) -> str:
    if page.next_cursor is None:
        return ""
    return f"reposync: {len(page.items)} of {page.total} {what}; --limit 0 shows all"
