"""The settings that were chosen on the command line, before those of files and variables."""

from __future__ import annotations

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

    def config(self) -> SyncConfig:
        """All settings: those named here, then the environment's, then those of the file.

        What a repository says of itself is heeded when it is opened.

        Raises:
            ConfigError: one of them cannot be right.
        """
        from reposync.config import SyncConfig

        return SyncConfig.from_env(file=self.config_file, **self._chosen())

    def _chosen(self) -> dict[str, Any]:
        """The settings that were named on the command line; an option comes before --set."""
        named = dict(map(_assignment, self.assignments or ()))
        options = ("include", "exclude", "max_embeds", "deadline", "lock_timeout")
        given = {name: getattr(self, name) for name in options}
        return named | {name: value for name, value in given.items() if value not in (None, [])}


def _assignment(text: str) -> tuple[str, Any]:
    """The name and the value of ``NAME=VALUE``; the value is read as that of a variable is."""
    from reposync.config import SyncConfig
    from reposync.settings import from_environment, near, variable

    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not value:
        raise ConfigError(f"--set {text!r} is not of the form NAME=VALUE.")
    fields = SyncConfig.model_fields
    if name not in fields:
        hint = near(name, fields) or "."
        raise ConfigError(f"--set {name}: there is no such setting{hint} See: reposync config")
    key = variable(name)
    try:
        return name, from_environment({key: value}, fields)[name].value
    except ConfigError as error:
        raise ConfigError(str(error).replace(key, f"--set {name}")) from error
