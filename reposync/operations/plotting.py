"""`plot_history`: the past runs as a figure."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from reposync.errors import ConfigError
from reposync.operations.history import sync_history
from reposync.operations.runs import RunEntry
from reposync.optional import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

PAGE = 1000


def plot_history(
    name: str | None = None,
    *,
    store: object = None,
    collection: str | None = None,
    last: int = 2000,
    figure: Any = None,
) -> Figure:
    """Draw the runs of a repository, or of all of a store: durations, chunks, texts, failures.

    A notebook shows what is returned; elsewhere, save it. pyplot is not used, so that nothing need
    be closed, and no display is needed.

    >>> from reposync import plot_history
    >>> figure = plot_history("project", store="chroma")
    >>> figure.savefig("history.png")

    Args:
        name: the repository's name; None: all.
        store, collection: as for `reposync.sync_history`.
        last: how many runs at most, the newest ones.
        figure: a Matplotlib figure or subfigure to draw into, which is then returned; default: a
            new one.

    Raises:
        ConfigError: Matplotlib is not installed, or an argument cannot be right.
        UnknownRepository: no repository of that name was ever synced into the store.
        ManifestError: the local state cannot be read.
    """
    if type(last) is not int or last < 1:
        raise ConfigError(f"last={last!r} cannot be: pass a number from 1 on.")
    try:
        from reposync.operations.history_figure import draw
    except ImportError as error:
        raise missing("matplotlib", "plot_history()") from error
    runs = list(islice(_runs(name, store, collection, min(last, PAGE)), last))
    return draw(runs[::-1], figure)


def _runs(name: str | None, store: object, collection: str | None, size: int) -> Iterator[RunEntry]:
    cursor = None
    while True:
        page = sync_history(name, store=store, collection=collection, page_size=size, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
