"""What the shell offers at a TAB: names that the store knows. It never fails, and makes nothing."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from reposync.command.session import is_address

if TYPE_CHECKING:
    from reposync.manifest import RepositoryKey, RepositoryRecord

MOST = 10_000
"""Files that are looked through for a path."""


def complete_repository(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names of the store's repositories that begin so."""
    return sorted({key.name for key, _ in _known(ctx) if key.name.startswith(incomplete)})


def complete_path(ctx: typer.Context, incomplete: str) -> list[str]:
    """The files and folders of the store's repositories that begin so, up to the next slash."""
    from reposync.errors import SyncError
    from reposync.operations.pages import list_files

    wanted, found = ctx.params.get("name"), set()
    for key, _ in _known(ctx):
        if wanted not in (None, key.name):
            continue
        try:
            page = list_files(
                key.name, store=_store(ctx), collection=key.collection, page_size=MOST
            )
        except SyncError:  # it is gone meanwhile
            continue
        paths = (entry.path for entry in page.items if entry.path.startswith(incomplete))
        for path in paths:
            rest, slash, _ = path[len(incomplete) :].partition("/")
            found.add(f"{incomplete}{rest}{slash}")
    return sorted(found)


def _store(ctx: typer.Context) -> str | None:
    return ctx.params.get("store") or os.environ.get("REPOSYNC_STORE") or None


def _known(ctx: typer.Context) -> list[tuple[RepositoryKey, RepositoryRecord]]:
    """What the store knows; asking a server would take longer than typing."""
    from reposync.state import read_state
    from reposync.store import Store

    if is_address(_store(ctx)):
        return []
    try:
        with closing(Store(_store(ctx))) as place, read_state(place) as manifest:
            return manifest.repositories() if manifest is not None else []
    except Exception:  # noqa: BLE001 - a shell that waits for words has no use for an error
        return []
