"""What a kind of text says about itself: where to cut, and which definitions span which lines.

Rows count lines from 0, as tree-sitter does; a line ends at a line feed and nowhere else.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
HOLDERS = frozenset(
    {
        *("class", "interface", "struct", "enum", "impl", "trait", "union", "record"),
        *("object", "protocol", "extension", "actor"),
    }
)
"""A function directly inside one of these is a method."""

MAX_DEPTH = 32
"""Definitions nested deeper than this are not told apart; keeps the work per line bounded."""


def split_lines(text: str) -> list[str]:
    """The lines of `text` with their line feeds; joining them gives `text`."""
    return _LINE.findall(text)


class Span(NamedTuple):
    """A named piece of the text that covers whole lines, such as a function or a section.

    Attributes:
        start: the first row that belongs to it, with comments and decorators that lead up to it.
        head: the row on which it begins by itself.
        end: its last row.
    """

    name: str
    kind: str
    start: int
    head: int
    end: int


class Definition(NamedTuple):
    """A span in its place among the others; `parent` is an index, -1 if there is none around it."""

    span: Span
    parent: int


class Place(NamedTuple):
    """Where a chunk lies: names from the outermost to the innermost."""

    symbol: list[str]
    kind: str
    context: list[str]


@dataclass
class Outline:
    """One text's lines as the packer and the reader of a chunk need them.

    Attributes:
        ranks: for each row, how bad it is to cut before it; only the order matters.
        spans: what is named, in the order of the text, the outer before the inner.
        kind: what a chunk outside of any definition is.
        separator: stands between the names of a symbol.
        embeds_context: whether the enclosing names help to find a chunk.
        least_fill: the share of its capacity from which on a chunk may be cut anywhere. With less,
            it says too little to be found by; with more, there are fewer borders to choose from, so
            that an edit moves more cuts.
    """

    ranks: list[int]
    spans: InitVar[Sequence[Span]] = ()
    kind: str = "text"
    separator: str = "."
    embeds_context: bool = True
    least_fill: float = 0.5

    def __post_init__(self, spans: Sequence[Span]) -> None:
        self.definitions = _nest(spans)
        self._owner = [-1] * len(self.ranks)
        for index, (span, _) in enumerate(self.definitions):
            rows = len(self._owner[span.start : span.end + 1])
            self._owner[span.start : span.end + 1] = [index] * rows

    @property
    def openings(self) -> set[int]:
        """The rows at which a definition of several rows begins."""
        return {span.start for span, _ in self.definitions if span.start < span.end}

    def place(self, rows: Sequence[int]) -> Place:
        """Where a chunk lies that has text on `rows`, in ascending order.

        Its context is every definition that begins before it and holds all of it. Its symbol is the
        definition just inside of that which holds most of its lines; lines outside of any speak
        for the enclosing one. If that one, too, began before the chunk, its parts are asked again.
        """
        first, last = rows[0], rows[-1]
        around = self._owner[first]
        while around >= 0 and not self._encloses(around, first, last):
            around = self.definitions[around].parent
        best, outer = self._most(around, rows), around
        while best != outer and self.definitions[best].span.head < first:
            span = self.definitions[best].span
            inside = [row for row in rows if span.start <= row <= span.end]
            best, outer = self._most(best, inside), best
        kind = self._kind(best) if best >= 0 else self.kind
        return Place(self._names(best), kind, self._names(around) if self.embeds_context else [])

    def _most(self, around: int, rows: Sequence[int]) -> int:
        """Which definition directly inside `around`, or `around` itself, has most of `rows`."""
        votes = Counter(self._child_of(around, self._owner[row]) for row in rows)
        return max(votes, key=votes.__getitem__)  # the first of equals: dicts keep their order

    def _encloses(self, index: int, first: int, last: int) -> bool:
        span = self.definitions[index].span
        return span.head < first and span.end >= last

    def _kind(self, index: int) -> str:
        span, parent = self.definitions[index]
        inside = self.definitions[parent].span.kind if parent >= 0 else ""
        return "method" if span.kind == "function" and inside in HOLDERS else span.kind

    def _child_of(self, around: int, index: int) -> int:
        """The definition directly inside `around` that holds `index`, or `around` itself."""
        inside = around
        while index not in (around, -1):
            inside, index = index, self.definitions[index].parent
        return inside

    def _names(self, index: int) -> list[str]:
        names: list[str] = []
        while index >= 0:
            names.append(self.definitions[index].span.name)
            index = self.definitions[index].parent
        return names[::-1]


def _nest(spans: Sequence[Span]) -> list[Definition]:
    definitions: list[Definition] = []
    around: list[int] = []
    for span in spans:
        while around and definitions[around[-1]].span.end <= span.head:
            around.pop()
        parent = around[-1] if around else -1
        if len(around) < MAX_DEPTH:
            around.append(len(definitions))
            end = min(span.end, definitions[parent].span.end) if parent >= 0 else span.end
            definitions.append(Definition(span._replace(end=end), parent))
    return definitions
