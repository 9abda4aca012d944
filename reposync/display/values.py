"""How single values are shown: numbers with their units, times, paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from reposync.display.html import Html, element, join
from reposync.words import data_size, duration

_UNITS = ("_seconds", "_bytes")
_NARROW_SPACE = "\u202f"


def shown(name: str, value: object) -> Html:
    """A value of any kind; its field's name says the unit."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html()
    if isinstance(value, bool):
        return join("yes" if value else "no")
    if isinstance(value, (int, float)):
        return number(name, value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping):
        return join(*_between([join(key, " ", shown(key, one)) for key, one in value.items()]))
    if isinstance(value, (tuple, list)):
        return join(*_between([shown(name, one) for one in value]))
    return join(value)


def number(name: str, value: float) -> Html:
    """A number with the unit that its field's name ends in."""
    if name.endswith("seconds"):
        return join(duration(value))
    if name.endswith("bytes"):
        return join(data_size(value))
    if isinstance(value, float) and not value.is_integer():
        return join(f"{value:.2f}")
    return integer(int(value))


def integer(value: int) -> Html:
    """A whole number, in groups of three digits."""
    return Html(f"{value:,}".replace(",", _NARROW_SPACE))


def moment(value: datetime) -> Html:
    """A time, to the second; in UTC if it says its zone."""
    zone = ""
    if value.tzinfo is not None:
        value, zone = value.astimezone(timezone.utc), " UTC"
    text = f"{value:%Y-%m-%d %H:%M:%S}{zone}"
    return element("time", text, datetime=value.isoformat(timespec="seconds"))


def code(text: str) -> Html:
    """A name that a program knows."""
    return element("code", text)


def amounts(numbers: Mapping[str, int]) -> Html:
    """What there is any of, with its name; "none" if there is nothing."""
    found = [
        element("span", element("b", integer(count)), " ", name.replace("_", " "))
        for name, count in numbers.items()
        if count
    ]
    return join(*_between(found)) if found else join("none")


def of(number: int, whole: int) -> Html:
    """So many of all."""
    return join(element("b", integer(number)), " of ", integer(whole))


def without_unit(name: str) -> str:
    """A field's name without its unit."""
    for unit in _UNITS:
        name = name.removesuffix(unit)
    return name


def _between(items: Sequence[Html]) -> Sequence[object]:
    """The items, with what stands between them."""
    return [part for item in items for part in (", ", item)][1:]
