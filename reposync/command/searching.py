"""``search``: what the store holds about something."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reposync.command.chosen import Settings
from reposync.command.complete import complete_path, complete_repository
from reposync.command.options import Collection, command
from reposync.command.output import Fields, Listing, View
from reposync.command.session import Session

if TYPE_CHECKING:
    from reposync.search.hits import Hit, SearchResult

PANEL = "Search and look"
SHOWN_LINES = 8


@command(
    "search",
    panel=PANEL,
    examples=[
        'reposync search "where are locks taken?" --store ./chroma',
        'reposync search "retry with backoff" --name my-repo --path src/ -n 3',
        "reposync search RotatingFileHandler --mode lexical",
    ],
)
def search(
    session: Session,
    patience: Settings,
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help="What to look for: your own words, or names from the code.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Search this repository only. Default: all of the store.",
            autocompletion=complete_repository,
        ),
    ] = None,
    results: Annotated[
        int, typer.Option("--results", "-n", min=1, metavar="N", help="How many hits.")
    ] = 5,
    path: Annotated[
        str | None,
        typer.Option(
            "--path",
            metavar="PATH",
            help="Search this file or folder only, or files like '*.py'.",
            autocompletion=complete_path,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", metavar="NAME", help="Search this language only: python, ..."),
    ] = None,
    mode: Annotated[
        Literal["hybrid", "dense", "lexical"],
        typer.Option(
            "--mode",
            metavar="hybrid|dense|lexical",
            help="By meaning and words, by meaning, or by words.",
        ),
    ] = "hybrid",
    collection: Collection = None,
) -> int:
    """Search the store, best hit first."""
    from reposync.search.repository import search_repository

    found = search_repository(
        query,
        name,
        store=session.store,
        n_results=results,
        path=path,
        language=language,
        mode=mode,
        collection=collection,
        config=patience.config(),
    )
    return session.show(found, view_of_search)


def view_of_search(found: SearchResult) -> View:
    """The hits, each with the first of its lines."""
    several = len({hit.repository for hit in found.hits}) > 1
    parts: list[Fields | Listing] = [_listing(hit, named=several) for hit in found.hits]
    if found.warnings:
        parts.append(Fields([("warning", warning) for warning in found.warnings]))
    if found.hits:
        return View(parts=parts)
    return View(f"nothing found for {found.query!r}", parts=parts)


def _listing(hit: Hit, *, named: bool) -> Listing:
    lines = textwrap.dedent(hit.text).strip("\n").splitlines()
    shown = [*lines[:SHOWN_LINES], *(["..."] if len(lines) > SHOWN_LINES else [])]
    cell = f" cell {hit.cell}" if hit.cell else ""
    symbol = f"{hit.symbol}  " if hit.symbol else ""
    repository = f"{hit.repository}: " if named else ""
    return Listing(
        where=f"{repository}{hit.path}{cell}:{hit.start_line}-{hit.end_line}",
        about=f"{symbol}({hit.score:.2f})",
        text="\n".join(shown),
        language=hit.language,
    )
