"""Searching slices by vector and by word, and how well that went."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .corpora import Query, Repository
    from .splitters import Slice
    from .vectors import Vectors

NAMES_WEIGHT = 4.0
"""How much more a word counts in a path or symbol than in the text."""

RRF_K = 60
DEPTH = 100
"""How far down each list is fused."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")


def words(text: str) -> str:
    """The words of identifiers, split at case, digits and underscores."""
    return " ".join(_WORD.findall(text)).lower()


class WordIndex:
    """BM25 by SQLite's FTS5 over text, path and symbol."""

    def __init__(self, slices: Sequence[Slice]) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.execute(
            "CREATE VIRTUAL TABLE slices USING fts5(text, path, symbol, tokenize='porter ascii')"
        )
        self._database.executemany(
            "INSERT INTO slices(rowid, text, path, symbol) VALUES (?, ?, ?, ?)",
            (
                (row, words(each.document), words(each.path), words(each.symbol))
                for row, each in enumerate(slices)
            ),
        )

    def search(self, query: str) -> list[int]:
        """The best slices by the words of `query`, any of which may match."""
        terms = " OR ".join(f'"{word}"' for word in dict.fromkeys(words(query).split()))
        if not terms:
            return []
        found = self._database.execute(
            "SELECT rowid FROM slices WHERE slices MATCH ? "
            "ORDER BY bm25(slices, 1.0, ?, ?), rowid LIMIT ?",
            [terms, NAMES_WEIGHT, NAMES_WEIGHT, DEPTH],
        )
        return [row for (row,) in found]


def by_vector(query: Vectors, vectors: Vectors) -> list[int]:
    """All slices, the nearest first."""
    order: list[int] = np.argsort(-(vectors @ query), kind="stable").tolist()
    return order


def fuse(*rankings: Sequence[int]) -> list[int]:
    """Reciprocal rank fusion."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for place, row in enumerate(ranking[:DEPTH], 1):
            scores[row] = scores.get(row, 0) + 1 / (RRF_K + place)
    return sorted(scores, key=lambda row: (-scores[row], row))


class Answer(NamedTuple):
    """The first right answer: its place, from 1, and the tokens read up to its end; 0 if none."""

    place: int = 0
    tokens: int = 0


def first_answer(
    ranking: Iterable[int],
    slices: Sequence[Slice],
    sizes: Sequence[int],
    query: Query,
    repository: Repository,
) -> Answer:
    """Goes down `ranking` to the first right answer; if files are asked for, once for each."""
    paths: set[str] = set()
    place = tokens = 0
    for row in ranking:
        found = slices[row]
        if repository.finds == "files" and found.path in paths:
            continue
        paths.add(found.path)
        place += 1
        tokens += sizes[row]
        text = repository.files[found.path]
        if any(t.is_met_by(found.path, text, found.start, found.end) for t in query.targets):
            return Answer(place, tokens)
    return Answer()


READ = 1000
"""Tokens. Five of the largest chunks of ours, two of some others."""


class Score(NamedTuple):
    """Shares of queries with a right answer among the first 1, 5, 10; mean reciprocal rank; and
    the share with one within the first `READ` tokens, because larger chunks are more to read."""

    recall_1: float
    recall_5: float
    recall_10: float
    mrr: float
    within: float


def score(answers: Sequence[Answer]) -> Score:
    """The score of a set's queries."""
    count = len(answers)
    recall = [sum(0 < each.place <= most for each in answers) / count for most in (1, 5, 10)]
    return Score(
        *recall,
        mrr=sum(1 / each.place for each in answers if each.place) / count,
        within=sum(0 < each.tokens <= READ for each in answers) / count,
    )


def lead(ours: Sequence[Answer], others: Sequence[Answer]) -> tuple[float, float]:
    """By how much the first has the better mean reciprocal rank, and the standard error of that.

    Both were asked the same, so the error is that of the differences, query by query.
    """
    ranks = [
        np.array([1 / each.place if each.place else 0.0 for each in answers])
        for answers in (ours, others)
    ]
    difference = ranks[0] - ranks[1]
    return float(difference.mean()), float(difference.std() / len(difference) ** 0.5)
