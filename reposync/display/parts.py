"""What a report's HTML is put together from: each part escapes and shortens what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol

from reposync.display import values
from reposync.display.html import Html, element, join
from reposync.display.style import style

MAX_ROWS = 100
MAX_UNFOLDED = 10
MAX_SHORT = 24

Tone = Literal["good", "warn", "bad", "busy", "plain"]

_SIGNS: dict[Tone, str] = {"good": "✓", "warn": "!", "bad": "✗", "busy": "▸", "plain": "·"}

_TONES: dict[str, Tone] = {
    "complete": "good",
    "indexed": "good",
    "migrated": "good",
    "pass": "good",
    "synced": "good",
    "cancelled": "warn",
    "interrupted": "warn",
    "partial": "warn",
    "unfinished": "warn",
    "warn": "warn",
    "damaged": "bad",
    "fail": "bad",
    "failed": "bad",
    "refused": "bad",
    "running": "busy",
    "syncing": "busy",
}

_STATES = frozenset({"status", "state", "outcome"})
_CODE = frozenset({"path", "file", "was", "id", "commit", "collection", "run_id", "symbol"})


class Part(Protocol):
    """A part of a view."""

    def html(self) -> Html:
        """What is shown of it; "" if it has nothing to show."""


@dataclass(frozen=True, slots=True)
class View:
    """How a report is shown.

    Attributes:
        head: its first line.
        tone: how that is meant.
        parts: what stands below.
        note: what follows the head, and is less important.
    """

    head: str
    tone: Tone = "plain"
    parts: Sequence[Part] = ()
    note: str = ""

    def html(self) -> Html:
        """The view by itself, with the style that belongs to it."""
        return element("div", style(), self.inner(), class_="reposync")

    def inner(self) -> Html:
        """The view within another."""
        name, colon, rest = self.head.partition(": ")
        named = join(element("strong", name), colon, rest) if colon else element("strong", name)
        mark, note = sign(self.tone), element("span", self.note, class_="note")
        space = " " if mark else ""
        head = element("p", mark, space, named, *((" ", note) if self.note else ()), class_="head")
        return join(head, *(part.html() for part in self.parts))


@dataclass(frozen=True, slots=True)
class Rows:
    """Labels and what belongs to them; rows of nothing are left out."""

    rows: Mapping[str, object]

    def html(self) -> Html:
        """A list of definitions."""
        kept = {label: value for label, value in self.rows.items() if not _is_empty(value)}
        pairs = (
            element("div", element("dt", label_of(label)), element("dd", _cell(label, value)))
            for label, value in kept.items()
        )
        return element("dl", *pairs) if kept else Html()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of its own, or a figure."""

    content: Html

    def html(self) -> Html:
        """A paragraph."""
        return element("p", self.content)


@dataclass(frozen=True, slots=True)
class Notes:
    """Sentences that a reader should not miss."""

    texts: Sequence[str]
    tone: Tone = "warn"
    label: str = "warning"

    def html(self) -> Html:
        """One paragraph each."""
        mark = sign(self.tone)
        shown = [
            element("p", mark, " ", element("b", self.label), " ", text, class_="note")
            for text in self.texts[:MAX_ROWS]
        ]
        return join(*shown, _more(len(self.texts), ""))


@dataclass(frozen=True, slots=True)
class Table:
    """Things of one kind, a row each; foldable if it has a title.

    Attributes:
        rows: of each thing, its cells by column; columns without any content are left out.
        total: how many things there are.
        where: the attribute of the report that has all of them.
        title: what they are.
        unfolded: they are to be seen at once, unless they are many.
    """

    rows: Iterable[Mapping[str, object]]
    total: int
    where: str = ""
    title: str = ""
    unfolded: bool = False

    def html(self) -> Html:
        """The first of them, and how many more there are."""
        rows = list(islice(self.rows, MAX_ROWS))
        if not rows:
            return Html()
        columns = [
            name
            for name in dict.fromkeys(name for row in rows for name in row)
            if not all(_is_empty(row.get(name)) for row in rows)
        ]
        classes = {name: _class_of(name, [row.get(name) for row in rows]) for name in columns}
        head = element(
            "tr", *(element("th", label_of(n), scope="col", class_=classes[n]) for n in columns)
        )
        body = (
            element(
                "tr", *(element("td", _cell(n, row.get(n)), class_=classes[n]) for n in columns)
            )
            for row in rows
        )
        table = element("table", element("thead", head), element("tbody", *body))
        shown = join(element("div", table, class_="wide"), _more(self.total, self.where))
        if not self.title:
            return shown
        title = join(self.title, " (", values.integer(self.total), ")")
        return _folded(title, shown, self.unfolded and self.total <= MAX_UNFOLDED)


@dataclass(frozen=True, slots=True)
class Folded:
    """What only some want to see, below a title."""

    title: str
    parts: Sequence[Part]
    unfolded: bool = False

    def html(self) -> Html:
        """Folded, unless there is nothing in it."""
        inner = join(*(part.html() for part in self.parts))
        return _folded(self.title, inner, self.unfolded) if inner else Html()


@dataclass(frozen=True, slots=True)
class Inner:
    """Another report within this one."""

    view: View

    def html(self) -> Html:
        """Set off from what is around it."""
        return element("div", self.view.inner(), class_="inner")


def tone_of(word: str) -> Tone:
    """How a status is meant."""
    return _TONES.get(word, "plain")


def label_of(name: str) -> str:
    """A field's name as a label; units stand with the values."""
    return values.without_unit(name).replace("_", " ")


def sign(tone: Tone) -> Html:
    """A sign that says by its form, and to a screen reader by its name, how a thing is meant."""
    name = {"good": "fine", "warn": "look", "bad": "bad", "busy": "under way", "plain": ""}[tone]
    if not name:
        return Html()
    return element("span", _SIGNS[tone], class_=f"sign {tone}", role="img", aria_label=name)


def _cell(name: str, value: object) -> Html:
    if isinstance(value, str) and name in _STATES:
        tone = tone_of(value)
        return join(sign(tone), " " if sign(tone) else "", value)
    if isinstance(value, str) and name in _CODE and not isinstance(value, Html):
        return values.code(value)
    return values.shown(name, value)


def _class_of(name: str, column: Sequence[object]) -> str | None:
    if name in _STATES or all(value is None or _is_short(value) for value in column):
        return "short"
    numbers = all(
        value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
        for value in column
    )
    return "number" if numbers else None


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_SHORT


def _is_empty(value: object) -> bool:
    return value is None or value == "" or value == () or value == {}


def _folded(title: object, inner: Html, unfolded: bool) -> Html:
    return element("details", element("summary", title), inner, open=unfolded)


def _more(total: int, where: str) -> Html:
    if total <= MAX_ROWS:
        return Html()
    rest = join("and ", values.integer(total - MAX_ROWS), " more")
    return element("p", rest, *((", see ", element("code", where)) if where else ()), class_="more")
