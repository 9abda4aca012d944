"""The program itself; its commands are in the modules beside, which `program` imports."""

from __future__ import annotations

from typing import Annotated

import typer

from reposync._version import __version__

app = typer.Typer(
    name="reposync",
    no_args_is_help=True,
    subcommand_metavar="COMMAND ...",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="[bold]Begin with[/bold]\n"
    "reposync sync path/to/repo --store ./chroma\n"
    'reposync search "where are locks taken?" --store ./chroma\n\n'
    "Every command has --help and --json. Exit codes: 0 done, 1 not all of it,\n"
    "2 usage, 3 locked, 4 store unavailable, 5 damaged, 6 deletion refused,\n"
    "130 interrupted.",
)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[
        bool, typer.Option("--version", metavar="", help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep a ChromaDB collection exactly in step with a repository, and search it."""
    if version:
        typer.echo(f"reposync {__version__}")
        raise typer.Exit
