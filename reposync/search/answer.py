"""From the numbers of chunks to hits: what is gone from the collection by now is passed over."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from reposync.manifest import RepositoryKey
from reposync.parts import parts
from reposync.search.hits import Hit
from reposync.search.index import IndexedChunk, SearchIndex
from reposync.search.places import Place
from reposync.search.rank import Ranking
from reposync.search.rows import Rows
from reposync.store import Store

LEAST_PAGE = 20


class Truth:
    """Tells whether chunks are still in their collections, and what they say there.

    Where a client is open, each hit is read from its collection. Else that would cost a third of a
    second: Chroma loads the vector index for any read. So then all ids are compared once, and not
    again until somebody else than the repository's syncs writes to the store.
    """

    def __init__(
        self, store: Store, index: SearchIndex, places: Sequence[Place], rows: Rows
    ) -> None:
        self._rows = rows
        self._places = {place.key: place for place in places}
        self._asks = rows.at_hand
        self._gone: set[str] = set()
        if not self._asks and os.access(str(store.folder), os.W_OK):
            for place in places:
                self._compare(index, place)

    def _compare(self, index: SearchIndex, place: Place) -> None:
        name, token = "\0".join(place.key.parts), self._rows.token()
        if token and token in (place.record.token, index.check(name)):
            return  # as the last sync left it, or the last search found it
        there, token = self._rows.all_ids(place)
        gone = index.ids(place.key) - there
        self._gone |= gone
        if not gone:
            index.note_check(name, token)

    def of(self, found: Sequence[tuple[RepositoryKey, IndexedChunk]]) -> dict[str, IndexedChunk]:
        """Those chunks that are there, by id, as they are now."""
        if not self._asks:
            return {chunk.id: chunk for _, chunk in found if chunk.id not in self._gone}
        there = {}
        for key in dict.fromkeys(key for key, _ in found):
            ids = [chunk.id for other, chunk in found if other == key]
            for row_id, content in self._rows.contents(self._places[key], ids).items():
                there[row_id] = IndexedChunk(row_id, *content, None)
        return there


def make_hits(
    index: SearchIndex, ranking: Ranking, truth: Truth, count: int, ranks: Mapping[str, Ranking]
) -> tuple[list[Hit], set[str]]:
    """The first `count` hits of a ranking, and the ids of those before the last that were gone.

    Args:
        index: the index.
        ranking: the numbers of chunks, with their scores.
        truth: knows which are there.
        count: how many.
        ranks: the rankings by meaning and by words, under the names of the hit's attributes.
    """
    standing = {
        name: {number: rank for rank, (number, _) in enumerate(one, 1)}
        for name, one in ranks.items()
    }
    hits: list[Hit] = []
    gone: set[str] = set()
    for part in parts(ranking, max(LEAST_PAGE, count)):
        found = [index.chunk(number) for number, _ in part]
        there = truth.of(found)
        for (number, score), (key, chunk) in zip(part, found, strict=True):
            if chunk.id not in there:
                gone.add(chunk.id)
                continue
            places = {name: ranks_of.get(number) for name, ranks_of in standing.items()}
            hits.append(_hit(key, there[chunk.id], score, places))
            if len(hits) == count:
                return hits, gone
    return hits, gone


def _hit(
    key: RepositoryKey, chunk: IndexedChunk, score: float, ranks: Mapping[str, int | None]
) -> Hit:
    about: Mapping[str, Any] = chunk.metadata
    return Hit(
        repository=key.name,
        collection=key.collection,
        path=str(about.get("path", "")),
        start_line=int(about.get("start_line", 0)),
        end_line=int(about.get("end_line", 0)),
        symbol=str(about.get("symbol", "")),
        kind=str(about.get("kind", "")),
        language=str(about.get("language", "")),
        context=str(about.get("context", "")),
        id=chunk.id,
        cell=about.get("cell"),
        text=chunk.document,
        score=score,
        **ranks,
    )
