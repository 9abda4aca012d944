"""The runs of a store, newest first: who looks back finds every one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reposync.live import look
from reposync.manifest import Manifest, RepositoryKey, RepositoryRow, RunRow
from reposync.opened import find_repository
from reposync.operations.cursor import PAGE_SIZE, Cursor
from reposync.operations.looking import known_store
from reposync.operations.runs import RunEntry, entry_of
from reposync.report import Page
from reposync.store import Store


def sync_history(
    name: str | None = None,
    *,
    store: object = None,
    collection: str | None = None,
    page_size: int = PAGE_SIZE,
    cursor: str | None = None,
) -> Page[RunEntry]:
    """The runs of a repository, or of all repositories of a store, the newest first.

    Every run is kept for as long as the local state is.

    >>> from reposync import sync_history
    >>> page = sync_history("project", store="chroma")
    >>> page.items[0].status, page.items[0].chunks.added, page.total
    ('complete', 2, 1)

    Args:
        name: the repository's name; None: all.
        store, collection, page_size, cursor: as for `list_files`.

    Raises:
        UnknownRepository: no repository of that name was ever synced into the store.
        ConfigError: an argument cannot be right.
        ManifestError: the local state cannot be read.
    """
    at = Cursor("run", cursor, page_size)
    with known_store(store) as (place, manifest):
        with manifest.snapshot():
            if name is None:
                here = place.tenant, place.database
                rows = manifest.run_page_of(*here, at.number, at.limit)
                _, total = manifest.totals(*here)
            else:
                _, record = find_repository(place, manifest, name, collection)
                rows = manifest.run_page(record.id, at.number, at.limit)
                total = manifest.totals_of(record.id).runs
        rows, following = at.cut(rows)
        items = tuple(entries(place, manifest, rows))
    return Page[RunEntry](items=items, total=total, next_cursor=following)


def entries(store: Store, manifest: Manifest, rows: Iterable[RunRow]) -> Iterator[RunEntry]:
    """Noted runs, told; one that is noted as running is looked at anew."""
    repositories: dict[int, RepositoryRow] = {}
    for row in rows:
        if row.repository not in repositories:
            repositories[row.repository] = manifest.totals_of(row.repository)
        of = repositories[row.repository]
        now, under_way = row, False
        if row.status == "running":
            key = RepositoryKey(store.tenant, store.database, of.collection, of.name)
            sight = look(store, manifest, key, of.id)
            if sight.run is not None and sight.run.run_id == row.run_id:
                now, under_way = sight.run, sight.running
        about = {"repository": of.name, "collection": of.collection, "path": of.path}
        yield entry_of(now, **about, under_way=under_way)
