"""One run of a command: what the options that all of them have in common ask for."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from reposync.command import exits
from reposync.command.output import View, show, write
from reposync.errors import ConfigError
from reposync.settings import STORE_VARIABLE

if TYPE_CHECKING:
    from reposync.report import Report

    Shown = TypeVar("Shown", bound=Report)


class Session:
    """What the common options ask for, and the way out for what is to be said.

    Attributes:
        progress: show how far the work is: on a terminal, unless it is to be quiet.
    """

    def __init__(
        self,
        store: str | None = None,
        *,
        as_json: bool = False,
        quiet: bool = False,
        verbose: int = 0,
    ) -> None:
        self._given = store
        self._as_json = as_json
        self._quiet = quiet
        self._verbose = verbose
        self._store: object = None
        self._at_end = ExitStack()
        self.progress = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Session:
        if self._verbose:
            self._at_end.callback(_log(logging.INFO if self._verbose == 1 else logging.DEBUG))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._at_end.close()

    @property
    def store(self) -> object:
        """The store, as the library takes it: None for the default, a folder, or a client."""
        if self.address is None:
            return self.folder
        if self._store is None:
            from reposync.address import connect

            client = connect(self.address)
            self._at_end.callback(client.close)
            self._store = client
        return self._store

    @property
    def address(self) -> str | None:
        """The address of a server, if that is where the store is."""
        return self._given if is_address(self._given) else None

    @property
    def folder(self) -> Path | None:
        """The folder that was named; None for the default.

        Raises:
            ConfigError: it is named by an empty string, which would be the current folder; or
                the store is on a server.
        """
        if self._given is None:
            return None
        if not self._given:
            raise ConfigError("--store is empty. Name a folder, or leave the option out.")
        if is_address(self._given):
            raise ConfigError(f"--store {self._given} is a server, and this needs a folder.")
        return Path(self._given)

    @property
    def whereabouts(self) -> tuple[str, str]:
        """Where the store is, and what says so."""
        from reposync.store import default_folder

        where = self.address or str(self.folder or default_folder())
        if self._given is None:
            return where, "default"
        is_variable = self._given == os.environ.get(STORE_VARIABLE)
        return where, f"environment variable {STORE_VARIABLE}" if is_variable else "command line"

    def show(self, report: Shown, view: Callable[[Shown], View]) -> int:
        """Show a report on standard output; how the command ends by it."""
        code = exits.outcome(report)
        if self._as_json:
            indent = 2 if sys.stdout.isatty() else None
            write(sys.stdout, report.model_dump_json(indent=indent) + "\n")
        elif code != exits.DONE or not self._quiet:
            seen = view(report)
            write(sys.stdout, show(seen, _TONES.get(code, "bold red")))
            if seen.note and not self._quiet:
                write(sys.stderr, f"{seen.note}\n")
        return code


_TONES = {exits.DONE: "bold green", exits.PARTIAL: "bold yellow"}


def is_address(store: object) -> bool:
    """True if this is where a server is, and no folder."""
    return isinstance(store, str) and re.match(r"https?://", store, re.IGNORECASE) is not None


def _log(level: int) -> Callable[[], None]:
    """Have the library's log go to standard error; what takes that back."""
    logger = logging.getLogger("reposync")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    return lambda: logger.removeHandler(handler)
