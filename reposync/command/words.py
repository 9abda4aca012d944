"""Figures in words, and the library's words in those of the command."""

from __future__ import annotations

import re
from datetime import datetime

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def count(number: int, noun: str) -> str:
    """How many there are."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def seconds(number: float) -> str:
    """A time that something took."""
    return f"{number:.2f} s"


def bytes_(number: int) -> str:
    """A size."""
    size, unit = float(number), 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{number} bytes" if unit == 0 else f"{size:.1f} {UNITS[unit]}"


def moment(when: datetime | None) -> str:
    """A point in time, in the time zone of whoever reads it."""
    return "" if when is None else f"{when.astimezone():%Y-%m-%d %H:%M:%S}"


def in_options(message: str) -> str:
    """A message of the library, with its arguments as the command has them."""
    message = re.sub(r"\bpath=(?=['\"])", "PATH ", message).replace("path=", "PATH")
    message = re.sub(r"\b(name|collection|store|ref)=(?=\S)(?![.,;])", r"--\1 ", message)
    message = re.sub(r"\b(name|collection|store|ref)=", r"--\1", message)
    return message.replace("allow_deletions=True", "--allow-deletions")
