"""What the shell offers at a TAB: names that the store knows. It never fails, and makes nothing."""

from __future__ import annotations

import os
from contextlib import closing

import typer

from reposync.command.session import is_address

MOST = 10_000


def complete_repository(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names of the store's repositories that begin so."""
    from reposync.state import read_state
    from reposync.store import Store

    given = ctx.params.get("store") or os.environ.get("REPOSYNC_STORE")
    if is_address(given):
        return []  # asking a server takes longer than typing the name
    try:
        with closing(Store(given or None)) as place, read_state(place) as manifest:
            found = manifest.repositories() if manifest is not None else []
    except Exception:  # noqa: BLE001 - a shell that waits for words has no use for an error
        return []
    names = {key.name for key, _ in found}
    return sorted(name for name in names if name.startswith(incomplete))[:MOST]
