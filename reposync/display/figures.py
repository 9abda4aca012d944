"""Small drawings within a line, each with the same in words."""

from __future__ import annotations

from collections.abc import Mapping

from reposync.display.html import Html, element, join
from reposync.words import duration

WIDTH = 1000
_GAP = 4


def bar(seconds: Mapping[str, float]) -> Html:
    """How a time was spent: a bar in parts, and a legend in the same order."""
    spent = {name: value for name, value in seconds.items() if value > 0}
    total = sum(spent.values())
    if not total:
        return Html()
    names = list(seconds)
    rects, left = [], 0.0
    for name, value in spent.items():
        width = value / total * WIDTH
        rects.append(_rect(left, max(width - _GAP, 1), f"part{names.index(name) % 5}"))
        left += width
    told = ", ".join(f"{name} {duration(value)}" for name, value in spent.items())
    legend = [
        element(
            "span",
            element("i", class_=f"part{names.index(name) % 5}", aria_hidden="true"),
            f"{name} {duration(value)}",
        )
        for name, value in spent.items()
    ]
    spaced = [part for one in legend for part in (" ", one)][1:]
    return join(_svg(f"time by stage: {told}", rects), element("div", *spaced, class_="legend"))


def meter(fraction: float, told: str) -> Html:
    """How much is done, from 0 to 1."""
    done = max(0.0, min(1.0, fraction)) * WIDTH
    return _svg(told, [_rect(0, WIDTH, "rest"), _rect(0, done, "part0")])


def _rect(left: float, width: float, class_: str) -> Html:
    return element("rect", x=f"{left:.1f}", y="0", width=f"{width:.1f}", height="8", class_=class_)


def _svg(told: str, rects: list[Html]) -> Html:
    return element(
        "svg",
        element("title", told),
        *rects,
        role="img",
        aria_label=told,
        viewBox=f"0 0 {WIDTH} 8",
        preserveAspectRatio="none",
        width="100%",
        height="8",
    )
