"""What all reports have in common: frozen pydantic models that round-trip through JSON."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Report(BaseModel):
    """A report, or a part of one; it never changes."""

    model_config = ConfigDict(frozen=True)


class Page(Report, Generic[T]):
    """A part of a long list.

    Attributes:
        items: the entries of this page.
        total: how many entries the whole list has now.
        next_cursor: pass it as ``cursor=`` to get the next page; None on the last one.
    """

    items: tuple[T, ...] = ()
    total: int = 0
    next_cursor: str | None = None

    @property
    def ok(self) -> bool:
        """Always True: a list that cannot be read raises."""
        return True

    def __str__(self) -> str:
        more = len(self.items) < self.total
        lines = [*map(str, self.items), *([f"({len(self.items)} of {self.total})"] if more else ())]
        return "\n".join(lines)
