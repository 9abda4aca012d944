"""Where a store's manifest is: beside the store, for a server in the user's state folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from reposync.lock import state_folder
from reposync.manifest import (
    FILE_NAME,
    Manifest,
    ManifestDamaged,
    memory_manifest,
    open_manifest,
    read_manifest,
)
from reposync.store import Store

if TYPE_CHECKING:
    from chromadb.config import System

# Keeps an in-memory client's manifest for as long as the client's data: until its system is gone.
_memory_manifests: WeakKeyDictionary[System, Manifest] = WeakKeyDictionary()


def manifest_path(store: Store) -> Path:
    """Where the manifest lies, unless the store is in memory."""
    folder = store.folder if store.folder is not None else state_folder(store)
    return folder / FILE_NAME


@contextmanager
def open_state(
    store: Store, on_damage: Callable[[ManifestDamaged], object] | None = None
) -> Iterator[Manifest]:
    """The store's manifest, created if need be, and closed at the end.

    A damaged one is set aside and made anew, and `on_damage` is told.
    """
    if store.kind == "memory":
        yield _memory(store)
    else:
        path = manifest_path(store)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_manifest(path, on_damage) as manifest:
            yield manifest


@contextmanager
def read_state(store: Store) -> Iterator[Manifest | None]:
    """The store's manifest for reading only, or None if there is none."""
    if store.kind == "memory":
        yield _memory(store)
    elif (manifest := read_manifest(manifest_path(store))) is None:
        yield None
    else:
        with manifest:
            yield manifest


def _memory(store: Store) -> Manifest:
    system = store.system
    assert system is not None
    if system not in _memory_manifests:
        _memory_manifests[system] = memory_manifest()
    return _memory_manifests[system]
