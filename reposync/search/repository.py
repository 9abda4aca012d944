"""`search_repository`: reads as the story of one search."""

from __future__ import annotations

from contextlib import closing

from reposync.config import SyncConfig
from reposync.errors import ConfigError
from reposync.lock import ChromaLock
from reposync.search.hits import Hit, Mode, SearchResult
from reposync.search.places import find_places
from reposync.search.query import make_query
from reposync.state import read_state
from reposync.store import Store


def search_repository(
    query: str,
    name: str | None = None,
    *,
    store: object = None,
    n_results: int = 10,
    path: str | None = None,
    language: str | None = None,
    mode: Mode = "hybrid",
    embedding_function: object = None,
    collection: str | None = None,
    config: SyncConfig | None = None,
) -> SearchResult:
    """The chunks that answer `query` best, best first.

    >>> from reposync import search_repository
    >>> result = search_repository(
    ...     "a greeting", "project", store="chroma", n_results=1, embedding_function=embed
    ... )
    >>> len(result), result[0].start_line
    (1, 1)

    Args:
        query: in one's own words, or names as they stand in the text.
        name: search this repository only; None: all of the store that were synced with the model of
            `embedding_function`.
        store: as for `reposync.sync_repository`; it is not made if it is not there.
        n_results: how many hits at most.
        path: search these files only.
        language: search chunks of this language only.
        mode: "hybrid", "dense" or "lexical", see `SearchResult`.
        embedding_function: as it was passed to the syncs.
        collection: needed only if repositories of that name are in several.
        config: as for the syncs: `model_id`, and how patient to be.

    Raises:
        ConfigError: an argument cannot be right. `UnknownRepository` is one.
        EmbeddingMismatch: the repository was synced with another model.
        EmbeddingError: the embedding function failed.
        LockTimeout: the store was busy for too long.
        StoreError: Chroma failed.
        ManifestError: the local state cannot be read.
    """
    if path is not None or language is not None:
        raise ConfigError("path= and language= are not supported yet.")
    config = config or SyncConfig()
    asked = make_query(query, embedding_function, config.model_id)
    with closing(Store(store)) as place:
        with read_state(place) as manifest:
            places, warnings = find_places(place, manifest, name, collection, asked.model)
        vector = asked.vector()
        with ChromaLock(place, config.lock_timeout).reading():
            place.open()
            hits = []
            for one in places:
                found = place.find(one.key.collection)
                if found is not None:
                    hits += [
                        (distance, one.key.collection, document, metadata)
                        for document, metadata, distance in found.nearest(
                            one.key.name, vector, n_results
                        )
                    ]
    hits.sort(key=lambda hit: hit[0])
    return SearchResult(
        query=query,
        mode="dense",
        hits=tuple(
            Hit(
                repository=metadata["repository"],
                path=metadata["path"],
                start_line=metadata["start_line"],
                end_line=metadata["end_line"],
                symbol=metadata["symbol"],
                kind=metadata["kind"],
                language=metadata["language"],
                context=metadata["context"],
                collection=name,
                score=1 - distance,
                text=document,
                dense_rank=rank,
            )
            for rank, (distance, name, document, metadata) in enumerate(hits[:n_results], 1)
        ),
        warnings=tuple(warnings),
    )
