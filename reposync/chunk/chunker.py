"""The story of one text: outline it, weigh its lines, choose the cuts, describe the chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from reposync.chunk.code import code_outline
from reposync.chunk.detect import language_of
from reposync.chunk.grammar import grammar_version
from reposync.chunk.languages import LANGUAGES
from reposync.chunk.layout import plain_outline
from reposync.chunk.notebook import read_cells
from reposync.chunk.outline import Outline, split_lines
from reposync.chunk.pack import pack
from reposync.chunk.prose import PROSE, prose_outline
from reposync.chunk.units import Scale, Unit
from reposync.records import Chunk

CHUNKER_VERSION = "4"
"""Takes part in the recipe: raise it whenever the same text may be cut or described differently."""

WINDOW_TOKENS = 254
"""What all-MiniLM-L6-v2 sees of a text: 256 tokens, less the two that it adds."""

CONTEXT_TOKENS = 40
"""A context longer than this loses its outer names: it is there to help, not to fill the window."""

MAX_SYMBOL_CHARS = 500
"""Longer symbols are cut: a heading of 200 000 characters would go into each chunk below it."""


class Chunker:
    """Cuts texts into chunks of at most `max_tokens` tokens; may be shared between threads.

    Args:
        max_tokens: the most tokens that a chunk's document has; also limits it to 20 characters for
            each token, white space at its ends apart, because the model sees a very long word as
            one token.
        window_tokens: the most tokens that a chunk's embedded text has, special tokens left out.
    """

    def __init__(self, max_tokens: int = 200, window_tokens: int = WINDOW_TOKENS) -> None:
        if max_tokens < 16 or window_tokens < max_tokens:
            raise ValueError("max_tokens must be at least 16 and at most window_tokens")
        self.max_tokens = max_tokens
        self.window_tokens = window_tokens
        self._scale = Scale(max_tokens)

    @property
    def recipe(self) -> str:
        """The version and the parameters.

        With equal recipes, and an equal entry in `grammars` for its language, a text is cut and
        described equally on any machine.
        """
        return f"{CHUNKER_VERSION}:{self.max_tokens}:{self.window_tokens}"

    @property
    def grammars(self) -> Mapping[str, str]:
        """For each language whose grammar is installed, the version of it."""
        return _grammars()

    def chunk(self, path: str, text: str) -> list[Chunk]:
        """Cuts `text`; `path` only tells the language. A blank text has no chunks.

        A notebook is cut cell by cell; one that cannot be read is cut as JSON, as cell 0.
        """
        language = language_of(path, text)
        if language != "notebook":
            return self._cut(language, text)
        cells = read_cells(text)
        if cells is None:
            return [replace(chunk, cell=0) for chunk in self._cut("json", text)]
        return [
            replace(chunk, cell=cell.number)
            for cell in cells
            for chunk in self._cut(cell.language, cell.source)
        ]

    def _cut(self, language: str, text: str) -> list[Chunk]:
        if not text.strip():
            return []
        lines = split_lines(text)
        outline = _outline(language, text, lines)
        units = self._scale.units(lines, outline.ranks)
        starts = pack(units, self.max_tokens, outline.least_fill, outline.openings)
        chunks = []
        line = 1
        for start, end in zip(starts, [*starts[1:], len(units)], strict=True):
            chunk = self._chunk(units[start:end], line, language, outline)
            line += chunk.document.count("\n")
            chunks.append(chunk)
        return chunks

    def _chunk(self, units: list[Unit], line: int, language: str, outline: Outline) -> Chunk:
        document = "".join(unit.text for unit in units)
        # The counts of lines add up, so this holds for the document, too.
        assert sum(unit.weight for unit in units) <= self.max_tokens
        place = outline.place([unit.row for unit in units])
        return Chunk(
            document=document,
            start_line=line,
            end_line=line + document.count("\n") - document.endswith("\n"),
            language=language,
            symbol=outline.separator.join(place.symbol)[:MAX_SYMBOL_CHARS],
            kind=place.kind,
            context=self._context(place.context, outline.separator) if place.context else "",
        )

    def _context(self, names: list[str], separator: str) -> str:
        room = min(CONTEXT_TOKENS, self.window_tokens - self.max_tokens)
        for outermost in range(len(names)):
            context = separator.join(names[outermost:])
            # A token stands for at least a byte, so the short need no counting.
            if len(context.encode()) <= room or self._scale.weigh([context])[0] <= room:
                return context
        return ""


@cache
def _grammars() -> Mapping[str, str]:
    versions = {name: grammar_version(entry.module) for name, entry in LANGUAGES.items()}
    return {name: version for name, version in versions.items() if version}


def _outline(language: str, text: str, lines: list[str]) -> Outline:
    if language in PROSE:
        return prose_outline(language, lines)
    outline = code_outline(LANGUAGES[language], text, lines) if language in LANGUAGES else None
    return outline or plain_outline(lines)
