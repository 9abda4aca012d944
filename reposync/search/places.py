"""Which repositories of a store are searched."""

from __future__ import annotations

from dataclasses import dataclass

from reposync.errors import EmbeddingMismatch, UnknownRepository
from reposync.manifest import Manifest, RepositoryKey, RepositoryRecord
from reposync.opened import find_repository, known
from reposync.store import Store


@dataclass(frozen=True, slots=True)
class Place:
    """A repository that is searched, as the manifest knows it."""

    key: RepositoryKey
    record: RepositoryRecord


def find_places(
    store: Store,
    manifest: Manifest | None,
    name: str | None,
    collection: str | None,
    model: str | None,
) -> tuple[list[Place], list[str]]:
    """The repositories to search, and what to say of those that are left out.

    Args:
        store: the store.
        manifest: its manifest; None if there is none.
        name: of the repository; None: all that were synced with `model`.
        collection: only those in this collection; None: wherever they are.
        model: fingerprint of the query's embedding model; None: no vectors are compared.

    Raises:
        UnknownRepository: there is none.
        ManifestError: the manifest is damaged.
        EmbeddingMismatch: the one that was asked for, or all, were synced with another model.
    """
    manifest = known(store, manifest)
    if name is not None:
        found = [find_repository(store, manifest, name, collection)]
    else:
        found = [
            (key, record)
            for key, record in manifest.repositories()
            if (key.tenant, key.database) == (store.tenant, store.database)
            and collection in (None, key.collection)
        ]
    # One that has no model yet is in its first sync, before its first row.
    fitting = [record.model in ("", model) or model is None for _, record in found]
    places = [Place(*one) for one, fits in zip(found, fitting, strict=True) if fits]
    others = [one for one, fits in zip(found, fitting, strict=True) if not fits]
    if not found:
        where = f" in collection {collection!r}" if collection is not None else ""
        raise UnknownRepository(
            f"{store.address} knows no repository{where}. Call sync_repository first."
        )
    if not places:
        names = ", ".join(f"{key.name!r} ({record.model})" for key, record in others[:5])
        raise EmbeddingMismatch(
            f"The query would be embedded with {model!r}, but other models were used for {names}."
            " Pass the embedding_function= of their syncs, or mode='lexical'."
        )
    return places, [
        f"{key.name!r} was left out: it was synced with the model {record.model!r}; pass its"
        " embedding_function= to search it"
        for key, record in others
    ]
