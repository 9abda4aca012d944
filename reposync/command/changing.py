"""``cancel``, ``rename``, ``drop`` and ``prune``: an operator's hand on the store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from reposync.command.chosen import Settings
from reposync.command.options import Collection, Repository, command
from reposync.command.output import View
from reposync.command.session import Session
from reposync.errors import ConfigError
from reposync.words import count, data_size

if TYPE_CHECKING:
    from reposync.operations.drop import DropReport
    from reposync.operations.progress import CancelRequest
    from reposync.operations.prune import PruneReport
    from reposync.operations.rename import RenameReport

PANEL = "Manage"


@command("cancel", panel=PANEL, examples=["reposync cancel my-repo --store ./chroma"])
def cancel(session: Session, name: Repository, collection: Collection = None) -> int:
    """Ask a running sync to end, whichever process it is in."""
    from reposync.operations.progress import request_cancel

    report = request_cancel(name, store=session.store, collection=collection)
    return session.show(report, view_of_cancel)


def view_of_cancel(report: CancelRequest) -> View:
    """Whether there is a sync that will end."""
    if not report.requested:
        return View(report.repository, "no sync is under way")
    return View(report.repository, "the sync is asked to end; it does so before its next batch")


@command("rename", panel=PANEL, examples=["reposync rename my-repo our-repo --store ./chroma"])
def rename(
    session: Session,
    patience: Settings,
    old: Repository,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.", show_default=False)],
    collection: Collection = None,
) -> int:
    """Give a repository another name; nothing is embedded."""
    from reposync.operations.rename import rename_repository

    report = rename_repository(
        old, new, store=session.store, collection=collection, config=patience.config()
    )
    return session.show(report, view_of_rename)


def view_of_rename(report: RenameReport) -> View:
    """Where its rows are now."""
    return View(
        f"{report.old} -> {report.new}", f"{count(report.rows, 'row')} in {report.collection}"
    )


@command("drop", panel=PANEL, examples=["reposync drop my-repo --store ./chroma"])
def drop(
    session: Session,
    patience: Settings,
    name: Repository,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
    collection: Collection = None,
) -> int:
    """Take a repository out of the store; its own files stay."""
    from reposync.operations.drop import drop_repository

    if not yes:
        _ask(f"Delete all that is indexed of {name!r}?")
    report = drop_repository(
        name, store=session.store, collection=collection, config=patience.config()
    )
    return session.show(report, view_of_drop)


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigError("There is nobody to ask: pass --yes to go ahead.")
    if not typer.confirm(question, err=True):
        raise ConfigError("Nothing was deleted.")


def view_of_drop(report: DropReport) -> View:
    """What is gone."""
    gone = ", which was deleted" if report.collection_deleted else ""
    return View(
        report.repository, f"dropped, {count(report.rows, 'row')} of {report.collection}{gone}"
    )


@command("prune", panel=PANEL, examples=["reposync prune --store ./chroma"])
def prune(session: Session) -> int:
    """Drop cached vectors that nobody needs, and give the room back."""
    from reposync.operations.prune import prune_cache

    return session.show(prune_cache(store=session.store), view_of_prune)


def view_of_prune(report: PruneReport) -> View:
    """How much smaller the cache is."""
    dropped = f"{count(report.dropped, 'vector')} dropped ({data_size(report.dropped_bytes)})"
    kept = f"{report.kept} kept ({data_size(report.kept_bytes)})"
    return View("cache", f"{dropped}, {kept}; the file is {data_size(report.file_bytes)} smaller")
