"""Options that several commands have, and how a command is made of a function.

The function is given a `Session` and its own arguments, and gives the exit code. The options that
all commands have in common are added here, and those for settings where it takes `Settings`: those
that concern it, by the name of that argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from reposync.command.app import app
from reposync.command.chosen import Settings
from reposync.command.complete import complete_repository
from reposync.command.faults import told
from reposync.command.session import Session

_ANY = ("lock_timeout", "config_file", "assignments")
_CHOICES = {
    "settings": ("include", "exclude", "max_embeds", "deadline", *_ANY),
    "scope": ("include", "exclude", *_ANY),
    "rules": ("include", "exclude", "config_file", "assignments"),
    "patience": _ANY,
}
"""The options for settings that a command has, by the name of the argument that takes them."""

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY

COMMON = "Common options"
SETTINGS = "Settings"

Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="The repository's name. Default: the folder's name.",
        autocompletion=complete_repository,
    ),
]
Repository = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The repository's name in the store.",
        autocompletion=complete_repository,
        show_default=False,
    ),
]
MaybeRepository = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="The repository's name in the store.",
        autocompletion=complete_repository,
        show_default=False,
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="PATH", help="The repository's folder, or a git URL.", show_default=False
    ),
]
MaybeSource = Annotated[
    str | None,
    typer.Argument(
        metavar="PATH",
        help="The repository's folder, or a git URL, to compare with its files, too.",
        show_default=False,
    ),
]
Ref = Annotated[
    str | None,
    typer.Option(
        "--ref",
        metavar="REF",
        help="A branch, tag or commit, to take its files instead of those in the folder.",
    ),
]
Collection = Annotated[
    str | None,
    typer.Option(
        "--collection",
        metavar="NAME",
        help="The collection. Needed only if repositories of one name are in several.",
    ),
]
Limit = Annotated[
    int,
    typer.Option("--limit", "-n", min=0, metavar="N", help="At most so many; 0: all of them."),
]
CursorText = Annotated[
    str | None,
    typer.Option(
        "--cursor", metavar="CURSOR", help="Go on behind a page: its `next_cursor` in JSON."
    ),
]

_COMMON = {
    "store": Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="DIR|URL",
            envvar="REPOSYNC_STORE",
            show_envvar=False,
            help="Folder of the Chroma store, or http://host:8000 of a server. Default:"
            " $REPOSYNC_STORE, else a folder in your data folder.",
            rich_help_panel=COMMON,
        ),
    ],
    "as_json": Annotated[
        bool,
        typer.Option(
            "--json", metavar="", help="Print the report as JSON.", rich_help_panel=COMMON
        ),
    ],
    "quiet": Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            metavar="",
            help="Print nothing unless something is amiss.",
            rich_help_panel=COMMON,
        ),
    ],
    "verbose": Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            metavar="",
            help="Log to standard error; twice: all of it.",
            rich_help_panel=COMMON,
        ),
    ],
}
_SETTINGS = {
    "include": Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="PATTERN",
            help="Only files that match; as in .gitignore. May be given again.",
            rich_help_panel=SETTINGS,
            show_default=False,
        ),
    ],
    "exclude": Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="PATTERN",
            help="No files that match. May be given again.",
            rich_help_panel=SETTINGS,
            show_default=False,
        ),
    ],
    "max_embeds": Annotated[
        int | None,
        typer.Option(
            "--max-embeds",
            metavar="N",
            help="Compute vectors for at most so many texts; the next run goes on.",
            rich_help_panel=SETTINGS,
        ),
    ],
    "deadline": Annotated[
        float | None,
        typer.Option(
            "--deadline",
            metavar="SECONDS",
            help="End after so long; the next run goes on.",
            rich_help_panel=SETTINGS,
        ),
    ],
    "lock_timeout": Annotated[
        float | None,
        typer.Option(
            "--lock-timeout",
            metavar="SECONDS",
            help="Wait so long for others who use the store. Default: 30.",
            rich_help_panel=SETTINGS,
        ),
    ],
    "config_file": Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Take settings from a TOML file.",
            rich_help_panel=SETTINGS,
        ),
    ],
    "assignments": Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any setting of SyncConfig, as `reposync config` lists them. May be given again.",
            rich_help_panel=SETTINGS,
            show_default=False,
        ),
    ],
}
_DEFAULTS: dict[str, object] = {"as_json": False, "quiet": False, "verbose": 0}


def command(
    name: str, *, panel: str, examples: Sequence[str]
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Make a command of a function that takes a `Session` first, and gives the exit code.

    Args:
        name: what it is called.
        panel: the heading that it is listed under.
        examples: how it is used, shown below its help.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        named = {one.name for one in own}
        settable = next((keys for name, keys in _CHOICES.items() if name in named), ())
        added = {key: hint for key, hint in _SETTINGS.items() if key in settable} | _COMMON
        parameters = [
            *(one.replace(kind=KEYWORD_ONLY) for one in own if one.name not in _CHOICES),
            *(
                inspect.Parameter(key, KEYWORD_ONLY, default=_DEFAULTS.get(key), annotation=hint)
                for key, hint in added.items()
            ),
        ]

        def run(**arguments: Any) -> None:
            about = {key: arguments.pop(key) for key in _COMMON}
            with told(as_json=about["as_json"]), Session(**about) as session:
                if settable:
                    chosen = {key: arguments.pop(key) for key in settable}
                    (taken,) = named & _CHOICES.keys()
                    arguments[taken] = Settings(**chosen)
                code = function(session, **arguments)
            raise typer.Exit(code)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
        app.command(
            name,
            rich_help_panel=panel,
            help="\n\n".join(" ".join(one.split()) for one in paragraphs),
            epilog="\n".join(["[bold]Examples[/bold]", *examples]),
        )(run)
        return function

    return register
