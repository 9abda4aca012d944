"""What all reports have in common: frozen pydantic models that round-trip through JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from reposync.words import count

if TYPE_CHECKING:
    import pandas as pd

    from reposync.display import View

T = TypeVar("T")


class Report(BaseModel):
    """A report, or a part of one; it never changes."""

    model_config = ConfigDict(frozen=True)

    def _repr_html_(self) -> str:
        """What a notebook shows; what renders is imported by the first report that is shown."""
        return self._view().html()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython shows in a terminal: what it prints, and not every field."""
        printer.text(str(self))

    def _view(self) -> View:
        """What its HTML is made of."""
        from reposync.display import describe

        return describe(self)

    def _row(self) -> dict[str, object]:
        """Its cells in a table of its kind, by column."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class Tabular(Report):
    """A report of things of one kind, which makes a table for pandas."""

    def to_dataframe(self) -> pd.DataFrame:
        """The same as a pandas DataFrame, a row for each thing; pandas must be installed."""
        from reposync.frame import to_dataframe

        return to_dataframe(*self._records())

    def _records(self) -> tuple[type[BaseModel] | None, Sequence[BaseModel]]:
        """What the rows are, and of what kind."""
        raise NotImplementedError


class Page(Tabular, Generic[T]):
    """A part of a long list.

    Attributes:
        items: the entries of this page.
        total: how many entries the whole list has now.
        next_cursor: pass it as ``cursor=`` to get the next page; None on the last one.

    `to_dataframe` gives a row for each entry of this page.
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

    def _view(self) -> View:
        from reposync.display import Table, View
        from reposync.display.describe import row_of

        kind, models = self._records()
        thing = kind.__name__.removesuffix("Entry").lower() if kind else "entry"
        part = "" if len(self.items) == self.total else f"{len(self.items)} of "
        head = f"{part}{count(self.total, thing)}"
        note = "pass next_cursor as cursor= for the next page" if self.next_cursor else ""
        table = Table(map(row_of, models), len(models), ".items")
        return View(head, parts=[table], note=note)

    def _records(self) -> tuple[type[BaseModel] | None, Sequence[BaseModel]]:
        models = [item for item in self.items if isinstance(item, BaseModel)]
        (kind,) = type(self).__pydantic_generic_metadata__["args"] or [None]
        if kind is None and models:
            kind = type(models[0])
        return kind, models
