"""The ``reposync`` command: a thin face of the library."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer

from reposync._version import __version__

TERMINATED = 128 + signal.SIGTERM  # as a shell says it

app = typer.Typer(
    help="Keep a ChromaDB collection exactly in step with a repository, and search it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

Name = Annotated[
    Optional[str],  # noqa: UP045 - typer evaluates it, and Python 3.10 is supported
    typer.Option("--name", help="The repository's name. Default: the folder's name."),
]
StoreFolder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--store",
        help="Folder of the Chroma store. Default: $REPOSYNC_STORE, else in your data folder.",
    ),
]
Ref = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--ref", help="A branch, tag or commit to read instead of the folder's files."),
]


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Keep a ChromaDB collection exactly in step with a repository, and search it."""
    if version:
        typer.echo(f"reposync {__version__}")
        raise typer.Exit


@app.command()
def sync(
    path: Annotated[str, typer.Argument(help="The repository's folder, or a git URL.")],
    name: Name = None,
    store: StoreFolder = None,
    ref: Ref = None,
    allow_deletions: Annotated[
        bool, typer.Option("--allow-deletions", help="Let this sync delete most of the index.")
    ] = False,
) -> None:
    """Bring the store in step with the repository at PATH."""
    from reposync.sync import sync_repository

    with _errors_for_people(), _cancelled_by_sigterm() as cancel:
        result = sync_repository(
            path,
            name,
            ref=ref,
            store=store,
            allow_deletions=allow_deletions,
            cancel=cancel,
            progress=sys.stderr.isatty(),
        )
    typer.echo(str(result))
    if cancel.is_set():
        raise typer.Exit(TERMINATED)
    if not result.ok:
        raise typer.Exit(1)


@contextmanager
def _cancelled_by_sigterm() -> Iterator[threading.Event]:
    """A service manager's stop ends the sync after the batch in flight."""
    cancel = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # Python allows it nowhere else
        yield cancel
        return
    before = signal.signal(signal.SIGTERM, lambda *_: cancel.set())
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGTERM, before)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in your own words.")],
    name: Name = None,
    store: StoreFolder = None,
    results: Annotated[int, typer.Option("--results", "-n", min=1, help="How many hits.")] = 5,
) -> None:
    """Search the store, best hit first."""
    from reposync.search.repository import search_repository

    with _errors_for_people():
        hits = search_repository(query, name, store=store, n_results=results)
    if not hits:
        typer.echo("Nothing is indexed yet." if name is None else f"Nothing is indexed as {name}.")
        raise typer.Exit(1)
    for hit in hits:
        typer.echo(f"{hit}\n")


@app.command()
def why(
    file: Annotated[Path, typer.Argument(help="The file; it need not exist any more.")],
    root: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--root",
            help="The repository's folder, or a git URL. Default: the work tree that FILE lies in,"
            " else the current folder.",
        ),
    ] = None,
    ref: Ref = None,
    store: StoreFolder = None,
) -> None:
    """Say whether a sync would index FILE, and which rule decides."""
    from reposync.explanation import explain
    from reposync.scan.clone import is_url

    if not is_url(root):
        file = Path(os.path.abspath(file))
        root = str(_work_tree(file)) if root is None else root
    with _errors_for_people():
        explanation = explain(str(root), file, ref=ref, store=store)
    typer.echo(str(explanation))
    if not explanation.included:
        raise typer.Exit(1)


def _work_tree(file: Path) -> Path:
    """The folder above with a ``.git`` in it, else the current one."""
    above = (folder for folder in file.parents if os.path.lexists(folder / ".git"))
    return next(above, Path.cwd())


@contextmanager
def _errors_for_people() -> Iterator[None]:
    """A user's mistake, or a fault that says what to do, needs no traceback."""
    from reposync.errors import ConfigError, SyncError

    try:
        yield
    except SyncError as error:
        typer.echo(f"reposync: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
    except KeyboardInterrupt:
        typer.echo("reposync: interrupted; what was written is kept, sync again to go on", err=True)
        raise typer.Exit(130) from None
