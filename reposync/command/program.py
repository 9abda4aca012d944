"""The program from its arguments to its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from reposync.command import exits
from reposync.command.app import app
from reposync.command.faults import INTERRUPTED, tell

GROUPS = ("syncing", "searching", "looking", "checking", "copying", "changing", "settings")
"""The modules that add commands to the app, in the order in which ``--help`` lists them."""


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: as on the command line, without the program's name.

    Returns:
        the exit code, see `reposync.command.exits`.
    """
    _make_streams_fit()
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in options
    for group in GROUPS:
        import_module(f"reposync.command.{group}")
    program = typer.main.get_command(app)
    try:
        code = program.main(list(arguments), prog_name="reposync", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = exits.INTERRUPTED
    except SystemExit as error:  # typer's own words, such as a help, are told nobody
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        code = exits.PIPE_CLOSED
    except Exception as error:
        # typer carries click's classes within itself since 0.26, and has no public name for this.
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is None or code is None:
            raise
        if not as_json:
            show(file=sys.stderr)
        else:
            tell(error.format_message(), "UsageError", code, as_json=True)  # type: ignore[attr-defined]
    if code == exits.INTERRUPTED:
        tell(INTERRUPTED, "KeyboardInterrupt", code, as_json=as_json)
    return int(code or 0)


def _make_streams_fit() -> None:
    """Have all three streams open, and those that are written take any text."""
    for name in ("stdin", "stdout", "stderr"):
        # A shell's ``>&-`` closes one; the next file, perhaps a store's, would take its place.
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # no text of a repository's is worth a crash
            stream.reconfigure(errors="backslashreplace")
