"""Ways of cutting a text, each to slices by character position; together they are the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple
from unittest.mock import patch

from reposync.chunk import Chunker, language_of, pack
from reposync.chunk import chunker as cutting
from reposync.chunk.chunker import _outline
from reposync.chunk.outline import Outline, split_lines


class Slice(NamedTuple):
    """One chunk. `symbol` and `context` are found for all splitters by the same outline.

    Attributes:
        symbol: the definition that most of its lines belong to.
        context: the definitions around it that begin before it.
        shipped: what the splitter itself puts before the text.
    """

    path: str
    start: int
    end: int
    document: str
    symbol: str
    context: str
    shipped: str = ""


Splitter = Callable[[str, str], list[Slice]]


def ours(
    max_tokens: int = 200,
    least_fill: float | None = None,
    early: float = pack.LEAST_FILL_BEFORE_A_DEFINITION,
) -> Splitter:
    """The library's chunker."""
    chunker = Chunker(max_tokens)

    def outline(language: str, text: str, lines: list[str]) -> Outline:
        found = _outline(language, text, lines)
        found.least_fill = least_fill or found.least_fill
        return found

    def split(path: str, text: str) -> list[Slice]:
        with (
            patch.object(pack, "LEAST_FILL_BEFORE_A_DEFINITION", early),
            patch.object(cutting, "_outline", outline),
        ):
            chunks = chunker.chunk(path, text)
        if not chunks:
            return []
        names = _Names(path, text)
        slices, start = [], 0
        for chunk in chunks:
            end = start + len(chunk.document)
            # Headings are not in the context of prose; here, they are to be tried, too.
            context = chunk.context or names.of(start, end)[1]
            slices.append(
                Slice(path, start, end, chunk.document, chunk.symbol, context, chunk.context)
            )
            start = end
        return slices

    return split


def windows(lines_each: int = 40) -> Splitter:
    """So many lines each."""

    def cut(text: str) -> Iterator[str]:
        lines = split_lines(text)
        for first in range(0, len(lines), lines_each):
            yield "".join(lines[first : first + lines_each])

    return _by(cut)


def recursive(size: int = 1000) -> Splitter:
    """At blank lines, in what is longer at lines, then words; small neighbours are joined.

    The algorithm and the separators of LangChain's ``RecursiveCharacterTextSplitter``, without
    overlap.
    """
    return _by(lambda text: _recursive(text, size, ["\n\n", "\n", " ", ""]))


def _recursive(text: str, size: int, separators: list[str]) -> Iterator[str]:
    at = next(i for i, mark in enumerate(separators) if mark in text)
    mark, finer = separators[at], separators[at + 1 :]
    first, *rest = text.split(mark) if mark else list(text)
    parts = [first, *(mark + part for part in rest)]
    joined = ""
    for part in parts:
        if joined and len(joined) + len(part) > size:
            yield joined
            joined = ""
        if len(part) > size and finer:
            yield from _recursive(part, size, finer)
        else:
            joined += part
    if joined:
        yield joined


def _by(cut: Callable[[str], Iterator[str]]) -> Splitter:
    def split(path: str, text: str) -> list[Slice]:
        if not text.strip():
            return []
        names = _Names(path, text)
        slices, start = [], 0
        for document in cut(text):
            end = start + len(document)
            if document.strip():
                slices.append(Slice(path, start, end, document, *names.of(start, end)))
            start = end
        return slices

    return split


class _Names:
    """Symbol and context of any slice of one text."""

    def __init__(self, path: str, text: str) -> None:
        lines, self._outline = _outlined(language_of(path, text), text)
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self._solid = [bool(line.strip()) for line in lines]

    def of(self, start: int, end: int) -> tuple[str, str]:
        rows = [
            row
            for row, solid in enumerate(self._solid)
            if solid and self._starts[row] < end and self._starts[row + 1] > start
        ]
        place = self._outline.place(rows)
        separator = self._outline.separator
        return separator.join(place.symbol), separator.join(place.context)


@cache
def _outlined(language: str, text: str) -> tuple[list[str], Outline]:
    lines = split_lines(text)
    outline = _outline(language, text, lines)
    outline.embeds_context = True
    return lines, outline


SPLITTERS: dict[str, Splitter] = {
    "40 lines": windows(),
    "1000 chars": recursive(),
    "ours": ours(),
}

EQUAL: dict[str, Splitter] = {
    "16 lines": windows(16),
    "550 chars": recursive(550),
    "ours": ours(),
}
"""The same, with chunks about as large as ours: the fewer there are, the higher stands each."""

VARIANTS: dict[str, Splitter] = {
    **{f"{tokens} tokens": ours(max_tokens=tokens) for tokens in (120, 150, 200, 240)},
    **{f"{fill:.0%} full": ours(least_fill=fill) for fill in (0.4, 0.5, 0.6, 0.7)},
    **{f"early {early:.0%}": ours(early=early) for early in (0.1, 0.25, 0.5)},
}
"""Ours with other parameters, each the default but for what its name says."""
