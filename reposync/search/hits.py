"""What a search finds: `SearchResult`, a sequence of `Hit`s, best first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, overload

from pydantic import BaseModel

from reposync.report import Report, Tabular
from reposync.words import one_line, printable

if TYPE_CHECKING:
    from reposync.display import View

Mode = Literal["hybrid", "dense", "lexical"]

SHOWN_LINES = 8
SHOWN_HITS = 50


class Hit(Report):
    """One chunk that was found.

    Attributes:
        repository, path: where it is.
        start_line, end_line: the lines that it begins and ends in, from 1.
        symbol: the function, class, section or the like that it is; "" if it is none.
        kind, language: as in the row's metadata.
        score: higher is better; what it means depends on the mode, see `SearchResult`.
        text: the chunk.
        context: what was put before the text when it was embedded, such as its class or headings.
        id, collection: of its row.
        cell: of a notebook, the cell in which lines are counted, from 1; else None.
        dense_rank, lexical_rank: its place by meaning and by words, from 1; None if it was not
            among the best there, or was not asked for there.
    """

    repository: str
    path: str
    start_line: int
    end_line: int
    symbol: str = ""
    kind: str = ""
    language: str = ""
    score: float
    text: str
    context: str = ""
    id: str = ""
    collection: str = ""
    cell: int | None = None
    dense_rank: int | None = None
    lexical_rank: int | None = None

    def __str__(self) -> str:
        symbol = f"  {one_line(self.symbol)}" if self.symbol else ""
        where = f"{one_line(self.path)}:{self.start_line}-{self.end_line}"
        head = f"{where}{symbol}  ({self.score:.2f})"
        text = printable(self.text, keep="\n\t")
        lines = textwrap.dedent(text).strip("\n").splitlines()
        shown = [f"    {line}" for line in lines[:SHOWN_LINES]]
        if len(lines) > SHOWN_LINES:
            shown.append("    ...")
        return "\n".join([head, *shown])

    def _view(self) -> View:
        from reposync import display as d

        where = f"{self.path}:{self.start_line}-{self.end_line}"
        snippet = d.Snippet(self.text, self.language, self.path)
        return d.View(where, note=f"{self.symbol}  {self.score:.2f}".strip(), parts=[snippet])


class SearchResult(Tabular):
    """What a search found, best first; a sequence of its hits.

    Attributes:
        query: what was searched for.
        mode: how it was searched, which says what a hit's score is:
            "hybrid": how high it stands in both rankings; 1 is first in both, and above 0 are all;
            "dense": cosine similarity to the query, from -1 to 1;
            "lexical": BM25, above 0; comparable within one result only.
        hits: the chunks.
        warnings: what was left out, and why.
    """

    query: str
    mode: Mode
    hits: tuple[Hit, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if nothing was left out."""
        return not self.warnings

    def __len__(self) -> int:
        return len(self.hits)

    def __bool__(self) -> bool:
        return bool(self.hits)

    def __iter__(self) -> Iterator[Hit]:  # type: ignore[override]  # pydantic's gives the fields
        return iter(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __str__(self) -> str:
        lines = [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, *map(str, self.hits)] or [f"nothing found for {self.query!r}"])

    def _view(self) -> View:
        from reposync import display as d

        found = f"{len(self.hits)} found" if self.hits else "nothing found"
        shown = [d.Inner(d.view_of(hit)) for hit in self.hits[:SHOWN_HITS]]
        left_out = len(self.hits) - len(shown)
        more = [f"{left_out} more, see .hits"] if left_out > 0 else []
        return d.View(
            f"{self.query}: {found}",
            note=self.mode,
            parts=[d.Notes(self.warnings), *shown, d.Notes(more, "plain", "and")],
        )

    def _records(self) -> tuple[type[BaseModel], Sequence[BaseModel]]:
        return Hit, self.hits
