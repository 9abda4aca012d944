"""What a user is told instead of a traceback."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from reposync.command import exits
from reposync.command.words import in_options
from reposync.errors import SyncError

INTERRUPTED = "interrupted; what was done is kept: run it again, and it goes on from there"


@contextmanager
def told(*, as_json: bool) -> Iterator[None]:
    """Turn errors of a command into a line on standard error and its exit code.

    What is not ours to expect keeps its traceback: it is a fault of reposync, to be reported.
    """
    try:
        yield
    except SyncError as error:
        code = exits.code_of(error)
        tell(
            in_options(str(error)),
            type(error).__name__,
            code,
            as_json=as_json,
            result=_result(error),
        )
        raise typer.Exit(code) from error
    except KeyboardInterrupt:
        raise typer.Exit(exits.INTERRUPTED) from None  # it is told where all of them end
    except BrokenPipeError:
        raise typer.Exit(_leave_the_pipe()) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        words = f"{where}{error.strerror or error}"
        tell(words, type(error).__name__, exits.UNAVAILABLE, as_json=as_json)
        raise typer.Exit(exits.UNAVAILABLE) from error


def tell(
    message: str, kind: str, code: int, *, as_json: bool, result: object | None = None
) -> None:
    """Say what went wrong on standard error; as JSON, it is one line."""
    from reposync.command.output import clean

    text = _wrapped(f"reposync: {clean(message)}")
    if as_json:
        about = {"error": kind, "message": message, "exit_code": code}
        text = json.dumps(about | ({"result": result} if result is not None else {}))
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _wrapped(text: str) -> str:
    """Between words on a terminal; a line in a log."""
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _result(error: SyncError) -> object | None:
    return None if error.result is None else error.result.model_dump(mode="json")


def _leave_the_pipe() -> int:
    """Whoever read our output went away, as ``| head`` does; what is not written yet is not missed.

    Python would fail once more when it flushes the stream at its end.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exits.PIPE_CLOSED
