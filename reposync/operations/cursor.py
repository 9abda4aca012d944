"""Where a page of a list begins.

A cursor names the last entry of the page before, so every page is as fast as the first one, and
what a sync adds or takes away meanwhile makes no other entry appear twice or get lost.
"""

from __future__ import annotations

import re
from typing import Protocol, TypeVar

from reposync.errors import ConfigError
from reposync.manifest import NEWEST, ChunkRow

PAGE_SIZE = 100
MAX_PAGE_SIZE = 10_000


class _Numbered(Protocol):
    @property
    def id(self) -> int | str: ...


Row = TypeVar("Row", bound=_Numbered)


class Cursor:
    """A place in a list, as a caller passed it.

    Attributes:
        number: the page begins below this number; of chunks, in the file of this number.
        name: of chunks, behind this id.
        limit: how many rows to ask for: one more than is shown, to know whether there are more.

    Raises:
        ConfigError: it is none of that list, or the page size cannot be.
    """

    def __init__(self, kind: str, text: str | None, page_size: int) -> None:
        if type(page_size) is not int or not 1 <= page_size <= MAX_PAGE_SIZE:
            raise ConfigError(
                f"page_size={page_size!r} cannot be: pass a number from 1 to {MAX_PAGE_SIZE}."
            )
        self._kind = kind
        self._size = page_size
        self.limit = page_size + 1
        self.number, self.name = NEWEST, ""
        if text is not None:
            found = re.fullmatch(rf"{kind}:(\d{{1,19}}):([^:]*)", str(text))
            if found is None or int(found[1]) > NEWEST:
                raise ConfigError(
                    f"cursor={text!r} is none of this list. Pass the next_cursor of its last page."
                )
            self.number, self.name = int(found[1]), found[2]

    def cut(self, rows: list[Row]) -> tuple[list[Row], str | None]:
        """The rows of the page, and the cursor of the next one, if there is one."""
        if len(rows) < self.limit:
            return rows, None
        last = rows[self._size - 1]
        place = f"{last.file}:{last.id}" if isinstance(last, ChunkRow) else f"{last.id}:"
        return rows[: self._size], f"{self._kind}:{place}"
