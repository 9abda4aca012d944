"""How a report is shown: tables and colours on a terminal, plain aligned lines in a pipe.

What a report says is told as a `View`, a value; here, and nowhere else, it becomes text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from reposync.words import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.measure import Measurement
    from rich.table import Table as RichTable

Kind = Literal["text", "number", "path", "word"]

MANY_ROWS = 3000
"""Rows that a table is drawn for; nobody looks at the layout of more, and it takes a second."""

STYLES = {
    "synced": "green",
    "complete": "green",
    "pass": "green",
    "indexed": "green",
    "syncing": "cyan",
    "running": "cyan",
    "add": "cyan",
    "update": "cyan",
    "rename": "cyan",
    "partial": "yellow",
    "interrupted": "yellow",
    "cancelled": "yellow",
    "warn": "yellow",
    "never": "yellow",
    "unfinished": "yellow",
    "refused": "yellow",
    "skipped": "yellow",
    "damaged": "red",
    "failed": "red",
    "fail": "red",
    "delete": "red",
}
"""Of words that say how something is."""

FIELD_STYLES = {
    "failed": "red",
    "problem": "red",
    "refused": "red",
    "sign": "red",
    "limits": "yellow",
    "warning": "yellow",
}


@dataclass(frozen=True)
class Column:
    """A column of a table; a "word" says how something is."""

    title: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Rows below a line of titles."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Fields:
    """Names and values, one pair a line; a name may come again."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Listing:
    """A piece of a file.

    Attributes:
        where: the file and its lines.
        about: what else is to be said of it, in a few words.
        text: the lines.
        language: that it is written in, as pygments names it; "" if that is not known.
    """

    where: str
    about: str
    text: str
    language: str = ""


@dataclass(frozen=True)
class View:
    """What is shown of a report.

    Attributes:
        subject, verdict: the first line; none if both are "".
        parts: below it.
        note: what the reader should know of the view itself; it goes to standard error.
    """

    subject: str = ""
    verdict: str = ""
    parts: Sequence[Fields | Table | Listing] = ()
    note: str = ""


def show(view: View, tone: str = "") -> str:
    """The text of a view for standard output, as that is now.

    Args:
        view: what is to be shown.
        tone: style of the verdict on a terminal.
    """
    if not is_fancy():
        return "\n".join(line.rstrip() for line in _plain(view)) + "\n"
    console = _console()
    with console.capture() as captured:
        for part in _fancy(view, tone, console.width):
            console.print(part)
    return captured.get()


def is_fancy() -> bool:
    """True if standard output is a terminal, or FORCE_COLOR says to treat it as one."""
    import os

    if forced := os.environ.get("FORCE_COLOR"):
        return forced != "0"
    return sys.stdout.isatty()


def clean(text: str) -> str:
    """A repository's text without what a terminal would obey, in lines of its own."""
    return printable(text, keep="\n\t")


def _cell(text: str, column: Column) -> str:
    """What stands in a table; a path with a line break in it must not look like two."""
    return printable(text) if column.kind == "path" else clean(text)


def folded(path: str, width: int) -> list[str]:
    """A path in lines of at most `width` cells, broken behind slashes where that is possible."""
    lines, line = [], ""
    for piece in path.replace("/", "/\0").split("\0"):
        if line and _width(line + piece) > width:
            lines.append(line)
            line = ""
        while _width(piece) > width:  # a name that is longer than a line
            cut = len(piece)
            while _width(piece[:cut]) > width and cut > 1:
                cut -= 1
            lines.append(piece[:cut])
            piece = piece[cut:]
        line += piece
    return [*lines, line]


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


# -- in a pipe -----------------------------------------------------------------------------------


def _plain(view: View) -> Iterator[str]:
    if view.subject or view.verdict:
        yield printable(": ".join(filter(None, (view.subject, view.verdict))))
    for part in view.parts:
        if isinstance(part, Fields):
            yield from _plain_fields(part)
        elif isinstance(part, Table):
            yield from _plain_table(part)
        else:
            yield f"{printable(part.where)}  {printable(part.about)}"
            yield from (f"    {clean(line)}" for line in part.text.splitlines())
            yield ""


def _plain_fields(fields: Fields) -> Iterator[str]:
    width = max((len(name) for name, _ in fields.pairs), default=0)
    for name, value in fields.pairs:
        first, *more = clean(value).split("\n")
        yield f"  {name:<{width}}  {first}"
        yield from (f"  {'':<{width}}  {line}" for line in more)


def _plain_table(table: Table) -> Iterator[str]:
    titles = [column.title.upper() for column in table.columns]
    rows = [titles]
    for row in table.rows:
        shown = map(_cell, row, table.columns)
        rows.append([cell.replace("\n", " ") for cell in shown])
    widths = [max(map(_width, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for cell, width, column in zip(row, widths, table.columns, strict=True):
            gap = " " * (width - _width(cell))
            cells.append(gap + cell if column.kind == "number" else cell + gap)
        yield "  ".join(cells)


# -- on a terminal -------------------------------------------------------------------------------


def _console() -> Console:
    from rich.console import Console

    return Console(
        file=sys.stdout, highlight=False, emoji=False, markup=False, legacy_windows=False
    )


def _fancy(view: View, tone: str, width: int) -> Iterator[RenderableType]:
    from rich.text import Text

    if view.subject or view.verdict:
        glue = ": " if view.subject and view.verdict else ""
        yield Text.assemble(
            (printable(view.subject), "bold"),
            glue,
            (printable(view.verdict), tone),
            overflow="fold",
        )
    for part in view.parts:
        if isinstance(part, Fields):
            yield _fancy_fields(part)
        elif isinstance(part, Listing):
            yield from _fancy_listing(part, width)
        elif len(part.rows) > MANY_ROWS:
            yield Text("\n".join(_plain_table(part)), overflow="fold")
        else:
            yield _fancy_table(part)


def _fancy_fields(fields: Fields) -> RichTable:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields.pairs:
        style = FIELD_STYLES.get(name, "")
        grid.add_row(f"  {name}", Text(clean(value), style=style, overflow="fold"))
    return grid


def _without_empty(table: Table) -> Table:
    """Leave out columns in which there is nothing; who reads a pipe counts on all of them."""
    full = [at for at in range(len(table.columns)) if any(row[at] for row in table.rows)]
    full = full or list(range(len(table.columns)))
    rows = [[row[at] for at in full] for row in table.rows]
    return Table([table.columns[at] for at in full], rows)


def _fancy_table(table: Table) -> RichTable:
    from rich.table import Table as Drawn
    from rich.text import Text

    table = _without_empty(table)
    drawn = Drawn(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in table.columns:
        narrow = column.kind in ("number", "word")
        drawn.add_column(
            column.title.upper(),
            justify="right" if column.kind == "number" else "left",
            no_wrap=narrow,
            overflow="fold",
        )
    for row in table.rows:
        cells: list[RenderableType] = []
        for text, column in zip(row, table.columns, strict=True):
            cell = _cell(text, column)
            if column.kind == "path":
                cells.append(_Path(cell))
            else:
                style = STYLES.get(cell, "") if column.kind == "word" else ""
                cells.append(Text(cell, style=style, overflow="fold"))
        drawn.add_row(*cells)
    return drawn


def _fancy_listing(listing: Listing, width: int) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.syntax import Syntax
    from rich.text import Text

    where = "\n".join(folded(printable(listing.where), width))
    yield Text.assemble((where, "bold cyan"), "  ", printable(listing.about))
    lines = Syntax(
        clean(listing.text),
        listing.language or "text",
        theme="ansi_dark",
        background_color="default",
        word_wrap=True,
    )
    yield Padding(lines, (0, 0, 1, 4))


class _Path:
    """A path that folds behind its slashes."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        yield Text("\n".join(folded(self._path, options.max_width)), no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        longest = max(map(_width, self._path.split("/"))) + 1
        whole = _width(self._path)
        return Measurement(min(longest, whole, 24), whole)


def write(stream: Any, text: str) -> None:
    """Write and flush, so that a reader who went away is noticed here."""
    stream.write(text)
    stream.flush()
