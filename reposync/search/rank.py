"""The two rankings: by meaning, the cosine of vectors, and by words, BM25; and the two as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reposync.manifest import RepositoryKey
from reposync.search.index import SearchIndex, usable
from reposync.search.paths import choose

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMES_WEIGHT = 4.0
"""How much more a word counts in a path or a symbol than in the text."""

RRF_K = 60
"""Of Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods", SIGIR 2009."""

MOST_SHARES = 2
"""What the words of a query may have to be looked at, in numbers of all chunks."""

Ranking = list[tuple[int, float]]
"""Numbers of chunks with their scores, the best first."""


class Scope:
    """The files of an index that one search is about.

    Made within a transaction of the index, and of use as long as that lasts.
    """

    def __init__(
        self,
        index: SearchIndex,
        keys: Sequence[RepositoryKey],
        path: str | None,
        language: str | None,
    ) -> None:
        self._db = index.db
        self._language = language
        numbers = index.repositories()
        self._repositories = [numbers[key] for key in keys if key in numbers]
        is_whole = len(self._repositories) == len(numbers)
        self._is_all = is_whole and path is None and language is None
        with usable():
            self.paths = self._choose(path)

    def _choose(self, path: str | None) -> int:
        """Note the files that are wanted, in the order in which equal hits come; how many."""
        db = self._db
        db.execute("DROP TABLE IF EXISTS temp.wanted")
        db.execute("CREATE TEMP TABLE wanted (place INTEGER PRIMARY KEY, file INTEGER UNIQUE)")
        query = "SELECT number, path FROM files WHERE repository = ? ORDER BY path"
        found = [row for number in self._repositories for row in db.execute(query, (number,))]
        if path is not None:
            belongs = choose(path, [one for _, one in found])
            found = [(file, one) for file, one in found if belongs(one)]
        db.executemany("INSERT INTO temp.wanted (file) VALUES (?)", [(file,) for file, _ in found])
        if self._language is not None:
            db.execute(
                "DELETE FROM temp.wanted WHERE file NOT IN"
                " (SELECT file FROM chunks WHERE language = ?)",
                (self._language,),
            )
        self.files = int(db.execute("SELECT count(*) FROM temp.wanted").fetchone()[0])
        return len(found)

    def languages(self) -> list[str]:
        """The languages of all chunks of the repositories that are searched."""
        query = (
            "SELECT DISTINCT language FROM chunks JOIN files ON files.number = chunks.file"
            " WHERE repository = ? AND language != ''"
        )
        with usable():
            found = [self._db.execute(query, (one,)).fetchall() for one in self._repositories]
        return sorted({language for rows in found for (language,) in rows})

    # -- by meaning ------------------------------------------------------------------------------

    def by_meaning(self, query: NDArray[np.float32], depth: int) -> Ranking:
        """The chunks whose vectors are nearest in direction, of all; nothing is approximated."""
        import numpy as np

        files, counts, scores = self._cosines(query)
        if not files:
            return []
        ends = np.cumsum(counts)
        # Rounded: equal texts are equally good, wherever in a block of numbers they stand.
        flat = np.concatenate(scores).round(6)
        order = np.argsort(-flat, kind="stable")
        found: Ranking = []
        for start in range(0, len(order), max(depth, 100)):
            places = order[start : start + max(depth, 100)]
            at = np.searchsorted(ends, places, side="right")
            wanted = [
                (files[file], int(place - (ends[file] - counts[file])))
                for place, file in zip(places.tolist(), at.tolist(), strict=True)
            ]
            numbers = self._numbers(wanted)
            found += [
                (numbers[one], float(flat[place]))
                for one, place in zip(wanted, places.tolist(), strict=True)
                if one in numbers
            ]
            if len(found) >= depth:
                break
        return found[:depth]

    def _cosines(
        self, query: NDArray[np.float32]
    ) -> tuple[list[int], list[int], list[NDArray[np.float32]]]:
        """Of each file its number, how many chunks it has, and (in parts) the cosines of all."""
        import numpy as np

        length = float(np.linalg.norm(query))
        unit = (query / length if length else query).astype(np.float32)
        files: list[int] = []
        counts: list[int] = []
        scores: list[NDArray[np.float32]] = []
        rows = (
            "SELECT number, vectors FROM temp.wanted CROSS JOIN files ON number = file"
            " ORDER BY place"
        )
        with usable():
            for file, vectors in self._db.execute(rows):
                # File by file: to join them first takes longer than all the rest.
                if vectors and len(vectors) % unit.nbytes == 0:
                    table = np.frombuffer(vectors, dtype=np.float32).reshape(-1, unit.size)
                    files.append(file)
                    counts.append(len(table))
                    scores.append(table @ unit)
        return files, counts, scores

    def _numbers(self, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """The numbers of chunks by (file, position), of those in the language that is wanted."""
        found = {}
        query = "SELECT number, language FROM chunks WHERE file = ? AND position = ?"
        with usable():
            for one in wanted:
                row = self._db.execute(query, one).fetchone()
                if row is not None and self._language in (None, row[1]):
                    found[one] = int(row[0])
        return found

    # -- by words --------------------------------------------------------------------------------

    def by_words(self, words: Sequence[str], depth: int, least: int = 0) -> Ranking:
        """The chunks with the best BM25, of those with any of `words`.

        Args:
            words: see `query_words`.
            depth: how many at most.
            least: if there are not so many with a telling word, others are looked up, too.
        """
        with usable():
            telling, others = self._by_how_telling(words)
            found = self._best(telling, depth)
            if others and len(found) < least:
                found = self._best(telling + others, depth)
            places = {row: self._place(row) for row, _ in found}
        return sorted(found, key=lambda one: (-one[1], places[one[0]]))

    def _best(self, words: Sequence[str], depth: int) -> Ranking:
        if not words:
            return []
        matched = " OR ".join(f'"{word}"' for word in words)  # none has a quote in it
        values: tuple[object, ...] = (NAMES_WEIGHT, NAMES_WEIGHT, matched, depth)
        query = _BEST
        if not self._is_all:
            query, values = _BEST_WANTED, (*values[:3], self._language, depth)
        return [(int(row), float(score)) for row, score in self._db.execute(query, values)]

    def _place(self, number: int) -> tuple[int, int]:
        """Where a chunk stands among equals: as its file does, and within that as in the file."""
        query = (
            "SELECT place, position FROM chunks c JOIN temp.wanted ON wanted.file = c.file"
            " WHERE number = ?"
        )
        place, position = self._db.execute(query, (number,)).fetchone()
        return place, position

    def _by_how_telling(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """The rarest words, until they occur in `MOST_SHARES` times all chunks, and the others.

        So a page of text can be a query, too. What is left out says least; and to a word that is in
        half of all chunks SQLite gives no weight at all.
        """
        count = "SELECT count(*) FROM words WHERE words MATCH ?"
        total = int(self._db.execute("SELECT count(*) FROM chunks").fetchone()[0])
        counts = {
            word: int(self._db.execute(count, (f'"{word}"',)).fetchone()[0]) for word in words
        }
        ranked = sorted(filter(counts.get, words), key=counts.__getitem__)
        left = MOST_SHARES * total
        for taken, word in enumerate(ranked):
            left -= counts[word]
            if taken and (left < 0 or 2 * counts[word] > total):
                return ranked[:taken], ranked[taken:]
        return ranked, []


_BEST = (
    "SELECT rowid, -bm25(words, ?, ?, 1.0) AS score FROM words WHERE words MATCH ?"
    " ORDER BY score DESC, rowid LIMIT ?"
)
_BEST_WANTED = (
    "SELECT words.rowid, -bm25(words, ?, ?, 1.0) AS score FROM words"
    " CROSS JOIN chunks c ON c.number = words.rowid"
    " CROSS JOIN temp.wanted ON wanted.file = c.file"
    " WHERE words MATCH ? AND c.language = coalesce(?, c.language)"
    " ORDER BY score DESC, words.rowid LIMIT ?"
)


def fuse(*rankings: Ranking) -> Ranking:
    """Reciprocal rank fusion; 1 is the score of what is first in all of them.

    Of two that are equal, that one is first which is the better in the first ranking.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for place, (number, _) in enumerate(ranking, 1):
            scores[number] = scores.get(number, 0.0) + 1 / (RRF_K + place)
    best = len(rankings) / (RRF_K + 1)
    # They come in the order of the rankings, and Python's sort leaves equal ones in theirs.
    order = sorted(scores, key=lambda number: -scores[number])
    return [(number, scores[number] / best) for number in order]
