"""How a report is shown that has no view of its own: its fields, each by its kind."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from reposync.display.figures import bar
from reposync.display.parts import Folded, Inner, Notes, Part, Rows, Table, Tone, View, tone_of
from reposync.display.values import amounts

_IN_HEAD = frozenset({"repository", "status", "state"})
_NOTES: dict[str, tuple[str, Tone]] = {
    "warnings": ("warning", "warn"),
    "problems": ("problem", "bad"),
    "signs": ("sign", "bad"),
}


def describe(report: BaseModel) -> View:
    """A view of any report."""
    return View(head_of(report), tone_for(report), fields(report))


def view_of(report: BaseModel) -> View:
    """What it says itself of how it is shown, else the view of any report."""
    own = getattr(report, "_view", None)
    view: View = describe(report) if own is None else own()
    return view


def head_of(report: object) -> str:
    """The first line that it prints."""
    return str(report).partition("\n")[0]


def tone_for(report: object) -> Tone:
    """How its outcome is meant."""
    for name in ("status", "state"):
        word = getattr(report, name, None)
        if isinstance(word, str) and (tone := tone_of(word)) != "plain":
            return tone
    ok = getattr(report, "ok", None)
    return "plain" if ok is None else ("good" if ok else "bad")


def fields(report: BaseModel) -> list[Part]:
    """The parts of a view: single values first, then what must not be missed, then lists."""
    rows: dict[str, object] = {}
    notes: list[Part] = []
    lists: list[Part] = []
    for name in type(report).model_fields:
        value = getattr(report, name)
        if name in _NOTES:
            label, tone = _NOTES[name]
            notes.append(Notes(value, tone, label))
        elif isinstance(value, BaseModel):
            _nested(name, value, rows, lists)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            lists.append(table_of(name, value))
        elif isinstance(value, tuple) and len(value) > 5:
            lists.append(Table(({"": one} for one in value), len(value), f".{name}", name))
        elif isinstance(value, Mapping) and len(value) > 5:
            pairs = ({"": key, " ": one} for key, one in value.items())
            lists.append(Table(pairs, len(value), f".{name}", name))
        elif name not in _IN_HEAD and value is not False:
            rows[name] = value
    return [Rows(rows), *notes, *lists]


def table_of(
    name: str, reports: tuple[BaseModel, ...], title: str | None = None, *, unfolded: bool = True
) -> Table:
    """A table of the reports in a field."""
    rows = (row_of(report) for report in reports)
    title = name.replace("_", " ") if title is None else title
    return Table(rows, len(reports), f".{name}", title, unfolded)


def row_of(report: BaseModel) -> dict[str, object]:
    """A report's cells: what it says itself, else its fields."""
    own = getattr(report, "_row", None)
    if own is not None:
        return dict(own())
    return {name: getattr(report, name) for name in type(report).model_fields}


def _nested(name: str, value: BaseModel, rows: dict[str, object], lists: list[Part]) -> None:
    inner = value.__dict__
    if all(isinstance(one, int) for one in inner.values()):
        rows[name] = amounts(inner)
    elif all(isinstance(one, float) for one in inner.values()):
        rows[name] = bar(inner)
    else:
        lists.append(Folded(name.replace("_", " "), [Inner(view_of(value))]))
