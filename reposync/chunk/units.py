"""What the packer handles: lines with their weights; a line that is too long, in pieces.

A unit's weight is in tokens of the model, and at least one for each `CHARS_PER_TOKEN` characters,
because the model takes any word of more than 100 characters for a single unknown token.
"""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from reposync.tokens import TokenCounter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CHARS_PER_TOKEN = 20
INSIDE_A_LINE = 1 << 24
"""Worse than any border between lines."""

_BATCH = 8192
_CACHED_CHARS = 200_000
# The model's tokenizer always splits here, so counts of these words add up to that of the line.
_WORD = re.compile(r"[!-/:-@\[-`{-~]|[^ \t\r\n!-/:-@\[-`{-~]+")
_SENTENCE_END = re.compile(r"[;{}。！？]+\s*|[.!?][\"')\]]*\s+")
_WORD_END = re.compile(r"[ \t\r\n!-/:-@\[-`{-~\u3000-\u3002，、]{1,32}\n?")


class Unit(NamedTuple):
    """A line, or a piece of one, with the blank lines that follow it.

    Attributes:
        rank: how bad it is to cut before it.
        key: a hash of its content, equal on all machines.
    """

    text: str
    row: int
    weight: int
    rank: int
    key: int


class _Piece(NamedTuple):
    text: str
    weight: int
    rank: int


class Scale:
    """Weighs texts and cuts lines that weigh more than `capacity` into pieces.

    Counting is the greater part of the cost of chunking. Source text repeats its words, so each
    word is counted once and remembered (bounded, shared by all texts).
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counter = TokenCounter()
        self._known: dict[str, int] = {}
        self._known_chars = 0
        # How to cut what is heavier than that. A word of up to 100 characters must not be cut, if
        # it can be helped: the counts of its parts do not add up to that of the word.
        self._levels = (
            (capacity // 4, _SENTENCE_END),
            (capacity // 4, _WORD_END),
            (capacity // 2, _every(2 * capacity)),
            (capacity // 2, _every(capacity // 4)),
        )

    def units(self, lines: Sequence[str], ranks: Sequence[int]) -> list[Unit]:
        """The units of a text that is not blank; joining them gives the text."""
        units: list[Unit] = []
        parts: list[str] = []  # of the unit to come: leading blanks, its line, blanks after it
        last: tuple[int, _Piece] | None = None
        for row, piece in self._pieces(lines, ranks):
            if not piece.text.isspace():
                if last:
                    units.append(_unit(*last, parts))
                    parts = []
                last = row, piece
            parts.append(piece.text)
        return [*units, _unit(*last, parts)] if last else []

    def weigh(self, texts: Iterable[str]) -> list[int]:
        """The weight of each text; 0 if it is blank, more than the capacity if it is very long."""
        weights = []
        left = iter(texts)
        while batch := list(islice(left, _BATCH)):
            weights += self._weigh(batch)
        return weights

    def _weigh(self, texts: list[str]) -> list[int]:
        bodies = [text.strip() for text in texts]
        limit = self._capacity * CHARS_PER_TOKEN
        words = [_WORD.findall(body) if len(body) <= limit else [] for body in bodies]
        count = self._counts(set(chain.from_iterable(words))).__getitem__
        return [
            max(sum(map(count, found)), -(-len(body) // CHARS_PER_TOKEN))
            for found, body in zip(words, bodies, strict=True)
        ]

    def _counts(self, words: set[str]) -> dict[str, int]:
        if self._known_chars > _CACHED_CHARS:
            self._known, self._known_chars = {}, 0
        known = self._known  # another thread may replace it meanwhile
        fresh = [word for word in words if word not in known]
        if fresh:
            known.update(zip(fresh, self._counter.count(fresh), strict=True))
            self._known_chars += sum(map(len, fresh))
        return known

    def _pieces(self, lines: Sequence[str], ranks: Sequence[int]) -> Iterator[tuple[int, _Piece]]:
        weights = self.weigh(lines)
        for row, piece in enumerate(map(_Piece, lines, weights, ranks)):
            if piece.weight <= self._capacity:
                yield row, piece
            else:
                for part in self._cut(piece):
                    yield row, part

    def _cut(self, line: _Piece) -> list[_Piece]:
        """Cuts at ends of sentences, where these are too long at words, else anywhere."""
        pieces = [line]
        for level, (heavy, pattern) in enumerate(self._levels):
            texts, ranks = [], []
            light = []
            for piece in pieces:
                parts = [piece.text] if piece.weight <= heavy else _after_each(pattern, piece.text)
                light += [piece.weight if piece.weight <= heavy else -1] * len(parts)
                texts += parts
                ranks += [piece.rank, *[INSIDE_A_LINE + level] * (len(parts) - 1)]
            fresh = iter(self.weigh(t for t, w in zip(texts, light, strict=True) if w < 0))
            weights = [next(fresh) if w < 0 else w for w in light]
            pieces = list(map(_Piece, texts, weights, ranks))
        return pieces


def _unit(row: int, piece: _Piece, parts: list[str]) -> Unit:
    key = crc32(piece.text.strip().encode("utf-8", "replace"))
    return Unit("".join(parts), row, piece.weight, piece.rank, key)


def _every(chars: int) -> re.Pattern[str]:
    """Matches `chars` characters and what must stay with the last: marks, joiners, a line feed."""
    return re.compile(rf"(?s:.{{{chars}}})[\u0300-\u036f\u200d\ufe0e\ufe0f]{{0,8}}\n?")


def _after_each(pattern: re.Pattern[str], text: str) -> list[str]:
    ends = [match.end() for match in pattern.finditer(text)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
