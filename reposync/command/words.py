"""Figures in words, and the library's words in those of the command."""

from __future__ import annotations

import re
from datetime import datetime


def moment(when: datetime | None) -> str:
    """A point in time, in the time zone of whoever reads it."""
    return "" if when is None else f"{when.astimezone():%Y-%m-%d %H:%M:%S}"


def in_options(message: str) -> str:
    """A message of the library, with its arguments as the command has them."""
    message = re.sub(r"\bpath=(?=['\"])", "PATH ", message).replace("path=", "PATH")
    message = re.sub(r"\b(name|collection|store|ref)=(?=\S)(?![.,;])", r"--\1 ", message)
    message = re.sub(r"\b(name|collection|store|ref)=", r"--\1", message)
    return message.replace("allow_deletions=True", "--allow-deletions")
