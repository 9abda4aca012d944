"""Where the side file is: beside the manifest, or where else it can be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from reposync.errors import StoreError
from reposync.manifest import RepositoryKey
from reposync.search.index import (
    FILE_NAME,
    IndexUnusable,
    SearchIndex,
    open_file,
    open_memory,
    remove,
    usable,
)
from reposync.state import manifest_path
from reposync.store import Store

if TYPE_CHECKING:
    from chromadb.config import System

T = TypeVar("T")

# Keeps the index of an in-memory client for as long as the client's data, as its manifest is kept.
_memory_indexes: WeakKeyDictionary[System, SearchIndex] = WeakKeyDictionary()


def index_path(store: Store) -> Path:
    """Where the side file lies, unless the store is in memory."""
    return manifest_path(store).with_name(FILE_NAME)


def with_index(store: Store, work: Callable[[SearchIndex], T]) -> T:
    """What `work` gives with an index of the store.

    A side file that is found to be damaged is made anew. Where none can be written (the folder is
    read-only, the disk full), one in the user's cache folder is used, or else one in memory, which
    is filled anew in each call.

    Raises:
        StoreError: not even in memory.
    """
    failed = IndexUnusable("")
    for place in _places(store):
        try:
            with place as index:
                return work(index)
        except IndexUnusable as error:  # noqa: PERF203 - it is the rare case
            failed = error
    raise StoreError(
        f"No index to search by can be kept, not even in memory ({failed}). Make room, and search"
        " again."
    ) from failed


def _places(store: Store) -> Iterator[AbstractContextManager[SearchIndex]]:
    if store.kind == "memory":
        yield _of_memory(store)
        return
    beside = index_path(store)
    yield _opened(beside)
    yield _opened(beside)  # by now a damaged one is gone
    yield _opened(_cache_path(store))
    yield open_memory()


@contextmanager
def _opened(path: Path) -> Iterator[SearchIndex]:
    try:
        with usable():
            path.parent.mkdir(parents=True, exist_ok=True)
        with open_file(path) as index:
            yield index
    except IndexUnusable as error:
        if error.is_damage:
            remove(path)
        raise


@contextmanager
def _of_memory(store: Store) -> Iterator[SearchIndex]:
    system = store.system
    assert system is not None
    if system not in _memory_indexes:
        _memory_indexes[system] = open_memory()
    index = _memory_indexes[system]
    with index.turn:  # threads that share the client share the index
        yield index


def forget(store: Store, key: RepositoryKey) -> None:
    """Take a repository out of the side file, if there is one, so that none of its texts is left.

    One that cannot be mended is removed: the next search makes it anew.
    """
    if store.kind == "memory":
        with _of_memory(store) as index:
            index.remove_repository(key)
        return
    for path in (index_path(store), _cache_path(store)):
        if not path.exists():
            continue
        try:
            with open_file(path) as index:
                index.remove_repository(key)
                index.shrink()
        except IndexUnusable:
            with suppress(OSError):
                remove(path)


def _cache_path(store: Store) -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("reposync") / "search" / f"{store.slug}.sqlite3"
