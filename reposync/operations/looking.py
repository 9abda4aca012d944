"""How operators look at a store: by the manifest alone; neither lock nor Chroma is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from reposync.errors import UnknownRepository
from reposync.manifest import Manifest, ManifestDamaged
from reposync.opened import Opened, known, opened
from reposync.state import read_state
from reposync.store import Store


@contextmanager
def looked_up(
    store: object, name: str, collection: str | None = None
) -> Iterator[tuple[Store, Opened | None]]:
    """A store, which need not be there yet, and what its manifest knows of a repository, if any.

    Raises:
        ConfigError: repositories of that name are in several collections.
    """
    with closing(Store(store)) as place, ExitStack() as stack:
        try:
            found = stack.enter_context(opened(place, name, collection))
        except (UnknownRepository, ManifestDamaged):
            found = None
        yield place, found


@contextmanager
def known_repository(store: object, name: str, collection: str | None = None) -> Iterator[Opened]:
    """What a store's manifest knows of a repository; raises as `opened`."""
    with closing(Store(store)) as place, opened(place, name, collection) as found:
        yield found


@contextmanager
def known_store(store: object) -> Iterator[tuple[Store, Manifest]]:
    """A store and its manifest.

    Raises:
        UnknownRepository: there is none.
        ManifestError: it cannot be read.
    """
    with closing(Store(store)) as place, read_state(place) as manifest:
        yield place, known(place, manifest)
