"""The settings that were chosen on the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reposync.errors import ConfigError

if TYPE_CHECKING:
    from reposync.config import SyncConfig


@dataclass(frozen=True)
class Settings:
    """What the options for settings say; None where they were not given."""

    include: list[str] | None = None
    exclude: list[str] | None = None
    max_embeds: int | None = None
    deadline: float | None = None
    lock_timeout: float | None = None
    config_file: Path | None = None
    assignments: list[str] | None = None

    def chosen(self) -> dict[str, Any]:
        """The settings that were named on the command line.

        Raises:
            ConfigError: an assignment is none.
        """
        named = dict(map(_assignment, self.assignments or ()))
        for name in ("include", "exclude", "max_embeds", "deadline", "lock_timeout"):
            if (value := getattr(self, name)) or value == 0:
                named[name] = value
        return named

    def config(self, path: str | None = None, ref: str | None = None) -> SyncConfig:
        """All settings.

        Args:
            path: the repository, whose own settings count, too.
            ref: the commit that they are taken from.

        Raises:
            ConfigError: one of them cannot be right.
        """
        from reposync.config import SyncConfig

        return SyncConfig(**self.chosen())


def _assignment(text: str) -> tuple[str, Any]:
    """The name and the value of ``NAME=VALUE``; a value that is JSON is what it says."""
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not name.isidentifier():
        raise ConfigError(f"--set {text!r} is not of the form NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
