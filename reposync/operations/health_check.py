"""One finding of `check_health`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from reposync.report import Report

Status = Literal["pass", "warn", "fail"]
Level = Literal["live", "ready"]

_INDENT = 20 * " "


class HealthCheck(Report):
    """One thing that was looked at.

    Attributes:
        name: what; one of a small set, so that alerts can name it.
        status: how it is.
        message: the finding, in words.
        figures: the finding, in numbers.
        advice: what to do about it; "" if nothing.
    """

    name: str
    status: Status = "pass"
    message: str
    figures: Mapping[str, float | int | str | bool | None] = Field(default_factory=dict)
    advice: str = ""

    @property
    def ok(self) -> bool:
        """True if it did not fail."""
        return self.status != "fail"

    def __str__(self) -> str:
        text = f"{self.status:4}  {self.name:11} {self.message}"
        return f"{text}\n{_INDENT}-> {self.advice}" if self.advice else text

    def _row(self) -> dict[str, object]:
        cells = {"status": self.status, "name": self.name, "finding": self.message}
        return {**cells, "advice": self.advice}
