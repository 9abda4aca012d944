"""A chunker that the caller brought: held to the same promises as our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from reposync.chunk.notebook import read_cells
from reposync.errors import ConfigError
from reposync.records import Chunk
from reposync.tokens import TokenCounter

ChunkFunction = Callable[[str, str], Iterable[Chunk]]


class BadChunks(ValueError):
    """What a chunker of the caller's own returned breaks a rule; the message says which."""


class OwnChunker:
    """Calls a function as if it were our chunker, and checks what it returns.

    Args:
        function: takes a path and a text, returns the text's chunks.
        version: takes part in the recipe; for functions whose name does not tell versions apart.
        window_tokens: the most tokens that a chunk's embedded text may have; None if the model's
            window is not known.
    """

    def __init__(self, function: ChunkFunction, version: str, window_tokens: int | None) -> None:
        self.recipe = own_recipe(function, version)
        self._function = function
        self._window = window_tokens
        self._counter = TokenCounter()

    @property
    def grammars(self) -> Mapping[str, str]:
        """None: what the function parses with is its own affair."""
        return {}

    def chunk(self, path: str, text: str) -> list[Chunk]:
        """The function's chunks of `text`.

        Raises:
            BadChunks: they are not those of `text`.
        """
        chunks = list(_counted(self._function(path, text), len(text)))
        if any(chunk.cell for chunk in chunks):
            self._check_cells(chunks, text)
        else:
            _check_slices(chunks, text, "the text")
        if self._window is not None:
            self._check_window(chunks, self._window)
        return chunks

    def _check_cells(self, chunks: list[Chunk], text: str) -> None:
        cells = {cell.number: cell.source for cell in read_cells(text) or ()}
        found = {number: list(part) for number, part in groupby(chunks, lambda chunk: chunk.cell)}
        numbers = [number for number in found if number in cells]
        if len(numbers) < len(found) or numbers != sorted(numbers):
            raise BadChunks(f"cells {list(found)} are not cells of this notebook in their order")
        for number, source in cells.items():
            _check_slices(found.get(number, []), source, f"cell {number}")

    def _check_window(self, chunks: list[Chunk], window: int) -> None:
        counts = self._counter.count([chunk.embedded_text for chunk in chunks])
        for number, count in enumerate(counts):
            if count > window:
                raise BadChunks(
                    f"chunk {number} has {count} tokens with its context, and the model sees"
                    f" {window}: the rest would be cut off unseen"
                )


def own_recipe(function: ChunkFunction, version: str) -> str:
    """What tells one chunker from another.

    Its attribute ``recipe``, or else its qualified name; and `version`, if there is one.

    Raises:
        ConfigError: it has no name of its own, and there is no version.
    """
    recipe = getattr(function, "recipe", "")
    if not isinstance(recipe, str) or not recipe:
        named = function if hasattr(function, "__qualname__") else type(function)
        recipe = f"{named.__module__}.{named.__qualname__}"
        if not version and ("<" in recipe or recipe.startswith("functools.")):
            raise ConfigError(
                f"chunker={function!r} has no name that tells it from others. Pass"
                " chunker_version='1', and raise that whenever it cuts otherwise."
            )
    return f"own:{recipe}:{version}".replace(";", ",")


def _counted(chunks: Iterable[Chunk], most: int) -> Iterator[Chunk]:
    """The chunks, as long as they are such, and not more than there can be."""
    for number, chunk in enumerate(chunks):
        if not isinstance(chunk, Chunk):
            raise BadChunks(f"chunk {number} is a {type(chunk).__name__}, not a reposync.Chunk")
        if number >= most:
            raise BadChunks(f"more than {most} chunks, of a text of {most} characters")
        yield chunk


def _check_slices(chunks: list[Chunk], text: str, what: str) -> None:
    """Lossless, in order, none blank, lines right."""
    position, line = 0, 1
    for number, chunk in enumerate(chunks):
        document = chunk.document
        if not document.strip():
            raise BadChunks(f"chunk {number} of {what} is blank")
        if not text.startswith(document, position):
            raise BadChunks(
                f"chunk {number} is not what follows in {what} at character {position}, on line"
                f" {line}: joining the documents must give {what}, with nothing left out, repeated"
                " or changed"
            )
        position += len(document)
        end = line + document.count("\n") - document.endswith("\n")
        if (chunk.start_line, chunk.end_line) != (line, end):
            raise BadChunks(
                f"chunk {number} of {what} spans lines {line}-{end}, not"
                f" {chunk.start_line}-{chunk.end_line}"
            )
        line += document.count("\n")
    if position < len(text) and (text.strip() or chunks):
        raise BadChunks(f"the chunks end at character {position} of {len(text)} of {what}")
