"""`search_repository`: reads as the story of one search."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reposync.config import SyncConfig
from reposync.errors import ConfigError
from reposync.lock import ChromaLock
from reposync.manifest import Manifest
from reposync.search.answer import Truth, make_hits
from reposync.search.hits import Mode, SearchResult
from reposync.search.index import SearchIndex, sqlite_version
from reposync.search.opening import with_index
from reposync.search.places import Place, find_places
from reposync.search.query import Query, make_query
from reposync.search.rank import Ranking, Scope, fuse
from reposync.search.refresh import refresh, state_of
from reposync.search.rows import Rows
from reposync.search.words import query_words
from reposync.state import manifest_path, read_state
from reposync.store import Store
from reposync.words import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEPTH = 100
"""How far down each ranking is fused."""

TRIES = 3
"""Of a search whose hits a sync replaces while it reads them."""


def search_repository(
    query: str,
    name: str | None = None,
    *,
    store: object = None,
    n_results: int = 10,
    path: str | os.PathLike[str] | None = None,
    language: str | None = None,
    mode: Mode = "hybrid",
    embedding_function: object = None,
    collection: str | None = None,
    config: SyncConfig | None = None,
) -> SearchResult:
    """The chunks that answer `query` best, best first.

    What is searched is what the last syncs wrote, also while another one is under way. The first
    search of a store makes an index of its own beside it, which later ones bring up to date; see
    docs/explanation/search.md.

    >>> from reposync import search_repository
    >>> result = search_repository(
    ...     "who says hello?", "project", store="chroma", path="*.py", embedding_function=embed
    ... )
    >>> [(hit.path, hit.start_line, hit.symbol) for hit in result]
    [('greet.py', 1, 'greet')]

    Args:
        query: in one's own words, or names as they stand in the text.
        name: search this repository only; None: all of the store that were synced with the model of
            `embedding_function`.
        store: as for `reposync.sync_repository`; it is not made if it is not there.
        n_results: how many hits at most.
        path: search this file, or this folder and all below it, relative to the repository. If
            there is none of that name: the files that a pattern as in ``.gitignore`` matches, such
            as ``*.py`` or ``docs/**/*.md``.
        language: search chunks of this language only, such as "python".
        mode: by what they are ranked: "dense", by meaning (the cosine of vectors); "lexical", by
            words (BM25; names are split at case and underscores); "hybrid", by both.
        embedding_function: as it was passed to the syncs. The default model is loaded anew for each
            search, unless you keep one of Chroma's ``DefaultEmbeddingFunction()`` and pass that.
        collection: search this collection only; needed if repositories of `name` are in several.
        config: as for the syncs: `model_id`, and how patient to be.

    Raises:
        ConfigError: an argument cannot be right. `UnknownRepository` is one.
        EmbeddingMismatch: what is searched was synced with another model.
        EmbeddingError: the embedding function failed.
        LockTimeout: the store was busy for too long.
        StoreError: the store cannot be read; its message says what to do.
        ManifestError: the local state cannot be read.
    """
    config = config or SyncConfig()
    asked = make_query(query, mode, n_results, path, language, embedding_function, config)
    place = Store(store, attempts=config.max_attempts, request_timeout=config.request_timeout)
    with closing(place), read_state(place) as manifest:
        places, left_out = find_places(place, manifest, name, collection, asked.model)
        assert manifest is not None
        vector = None if asked.mode == "lexical" else asked.vector()
        rows = Rows(place, ChromaLock(place, config.lock_timeout))
        search = _Search(asked, vector, place, manifest, places, rows)
        found = with_index(place, search.of)
    return found.model_copy(update={"warnings": (*left_out, *found.warnings)})


@dataclass(frozen=True)
class _Search:
    """One search, with all that it needs but the index."""

    asked: Query
    vector: NDArray[np.float32] | None
    store: Store
    manifest: Manifest
    places: Sequence[Place]
    rows: Rows

    def of(self, index: SearchIndex) -> SearchResult:
        """Bring the index in step, rank what is in it, and read the best."""
        for _ in range(TRIES):
            result, gone = self._once(index)
            lost = self._lost(gone)
            if lost:
                warning = (
                    f"passed over, since no longer in the collection: {count(lost, 'chunk')};"
                    " sync again, or call verify_repository to see what is"
                )
                return result.model_copy(update={"warnings": (*result.warnings, warning)})
            if not gone:
                break
        return result

    def _once(self, index: SearchIndex) -> tuple[SearchResult, set[str]]:
        """What is found, and the ids of better chunks that were gone when they were looked up."""
        asked, path = self.asked, None if self.store.kind == "memory" else manifest_path(self.store)
        mode, warnings = _mode(asked.mode, index)
        refresh(index, self.manifest, self.places, self.rows, state_of(self.manifest, path))
        truth = Truth(self.store, index, self.places, self.rows)
        with index.transaction():
            keys = [place.key for place in self.places]
            scope = Scope(index, keys, asked.path, asked.language)
            warnings += _nothing_there(scope, asked)
            depth = max(DEPTH, 2 * asked.count)
            ranks: dict[str, Ranking] = {}
            if self.vector is not None:
                ranks["dense_rank"] = scope.by_meaning(self.vector, depth)
            if mode != "dense":
                least = asked.count if mode == "lexical" else 0
                ranks["lexical_rank"] = scope.by_words(query_words(asked.text), depth, least)
            ranking = fuse(*ranks.values()) if mode == "hybrid" else next(iter(ranks.values()))
            hits, gone = make_hits(index, ranking, truth, asked.count, ranks)
        found = SearchResult(
            query=asked.text, mode=mode, hits=tuple(hits), warnings=tuple(warnings)
        )
        return found, gone

    def _lost(self, gone: set[str]) -> int:
        """How many of these chunks should be there; the others a sync took out just now."""
        noted = [self.manifest.all_rows(place.record.id) for place in self.places if gone]
        return sum(any(rows.get(row_id, ("", False))[1] for rows in noted) for row_id in gone)


def _mode(mode: Mode, index: SearchIndex) -> tuple[Mode, list[str]]:
    """The mode that the index allows, and what to say if that is another."""
    if mode == "dense" or index.has_words:
        return mode, []
    why = f"this Python's SQLite {sqlite_version()} has no FTS5, which a search for words needs"
    if mode == "lexical":
        raise ConfigError(f"{why}. Pass mode='dense', or use another build of Python.")
    return "dense", [f"{why}: it was searched by meaning only"]


def _nothing_there(scope: Scope, asked: Query) -> list[str]:
    """What to say if a filter lets nothing through."""
    warnings = []
    if asked.path is not None and not scope.paths:
        warnings.append(
            f"no indexed file matches path={asked.path!r}; it is relative to the repository"
        )
    elif asked.language is not None and not scope.files:
        known = ", ".join(scope.languages()) or "none"
        warnings.append(f"no chunk is of language={asked.language!r}; there are: {known}")
    return warnings
