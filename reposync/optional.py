"""What is to be said where a package is missing that only some need."""

from __future__ import annotations

from reposync.errors import ConfigError


def missing(package: str, asked: str) -> ConfigError:
    """The error of a call that needs a package which is not installed."""
    return ConfigError(
        f"{asked} needs {package}, which is not installed. Install it: pip install"
        f" 'reposync[notebook]', or pip install {package}."
    )
