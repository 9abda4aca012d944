"""A repository that was synced before, found by its name alone; nothing of it is created."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reposync.errors import ConfigError, UnknownRepository
from reposync.manifest import (
    Manifest,
    ManifestDamaged,
    RepositoryKey,
    RepositoryRecord,
    is_damaged,
)
from reposync.naming import nearest
from reposync.state import manifest_path, open_state, read_state
from reposync.store import Store


@dataclass(frozen=True)
class Opened:
    """A repository that a store's manifest knows.

    Attributes:
        store: not opened yet, see `Store.open`.
        manifest: open for as long as the block lasts.
        key: names it within the store.
        record: what was noted of it.
    """

    store: Store
    manifest: Manifest
    key: RepositoryKey
    record: RepositoryRecord


@contextmanager
def opened_store(store: object, **options: float) -> Iterator[Store]:
    """A store that is there already, closed at the end.

    Args:
        store: as for `reposync.sync_repository`.
        options: as for `Store`.

    Raises:
        ConfigError: `store` names no store, and is not made by looking at it.
    """
    found = Store(store, **options)  # type: ignore[arg-type]  # ints and floats, as Store names them
    if not found.exists:
        raise ConfigError(
            f"There is no store in {found.folder}. Pass the folder that repositories were synced"
            " into, or sync one first."
        )
    try:
        yield found
    finally:
        found.close()


@contextmanager
def opened(
    store: Store, name: str, collection: str | None = None, *, write: bool = False
) -> Iterator[Opened]:
    """The repository `name` of a store.

    Args:
        store: where it is.
        name: the repository's name.
        collection: its collection; needed only if repositories of one name are in several.
        write: open the manifest to be written to.

    Raises:
        UnknownRepository: no repository of that name was ever synced into the store.
        ConfigError: there are several, in different collections.
        ManifestError: the local state cannot be read.
    """
    with open_state(store) if write else read_state(store) as found:
        manifest = known(store, found)
        key, record = find_repository(store, manifest, name, collection)
        yield Opened(store, manifest, key, record)


def known(store: Store, manifest: Manifest | None) -> Manifest:
    """The manifest of a store that must have one; raises as `opened`."""
    if manifest is not None:
        return manifest
    if store.kind != "memory" and is_damaged(path := manifest_path(store)):
        raise ManifestDamaged(f"{path} cannot be read. Sync again: it is rebuilt from Chroma.")
    raise UnknownRepository(
        f"Nothing was ever synced into {store.address}. Sync a repository, or pass another store."
    )


def find_repository(
    store: Store, manifest: Manifest, name: str, collection: str | None = None
) -> tuple[RepositoryKey, RepositoryRecord]:
    """What the manifest notes of the repository `name`; raises as `opened`."""
    here = [
        (key, record)
        for key, record in manifest.repositories()
        if (key.tenant, key.database) == (store.tenant, store.database)
    ]
    found = [
        (key, record)
        for key, record in here
        if key.name == name and collection in (None, key.collection)
    ]
    if not found:
        names = ", ".join(repr(one) for one in sorted({key.name for key, _ in here})[:20])
        where = f" in collection {collection!r}" if collection is not None else ""
        hint = nearest(name, {key.name for key, _ in here}) or f"It knows: {names or 'none'}."
        raise UnknownRepository(f"{store.address} knows no repository {name!r}{where}. {hint}")
    if len(found) > 1:
        names = ", ".join(repr(key.collection) for key, _ in found)
        raise ConfigError(
            f"Repositories named {name!r} are in several collections: {names}. Pass collection=."
        )
    return found[0]


def lock_key(key: RepositoryKey) -> str:
    """What tells a repository from the others of its store, as a file name."""
    parts = (key.tenant, key.database, key.collection, key.name)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
