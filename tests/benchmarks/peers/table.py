"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from .measure import Usage
from .verdict import Verdict


class Figure(NamedTuple):
    """One run of one program.

    Attributes:
        operation: what had happened to the files before.
        embedded: texts that were embedded; None for what embeds nothing.
        verdict: on the collection afterwards; None for what has none, a text for what failed.
    """

    operation: str
    who: str
    usage: Usage | None = None
    embedded: int | None = None
    verdict: Verdict | str | None = None


def table(figures: Sequence[Figure]) -> str:
    """A line for each operation and program, the median of its runs."""
    lines = head(
        "operation", "who", "CPU s", "wall s", "peak MB", "texts embedded", "rows", "afterwards"
    )
    for operation in dict.fromkeys(figure.operation for figure in figures):
        of_it = [figure for figure in figures if figure.operation == operation]
        for who in dict.fromkeys(figure.who for figure in of_it):
            runs = [figure for figure in of_it if figure.who == who]
            lines.append(line(operation, who, *_cells(runs)))
    return "\n".join(lines)


def _cells(runs: Sequence[Figure]) -> list[str]:
    used = [run.usage for run in runs if run.usage is not None]
    embedded = [run.embedded for run in runs if run.embedded is not None]
    verdicts = [run.verdict for run in runs if run.verdict is not None]
    rows = [verdict.rows for verdict in verdicts if isinstance(verdict, Verdict)]
    said = dict.fromkeys(str(verdict) for verdict in verdicts if str(verdict) != "exact")
    return [
        *(
            [number(median(column)) for column in zip(*used, strict=True)]
            if used
            else ["-", "-", "-"]
        ),
        _count(embedded),
        _count(rows),
        "; ".join(said) or ("exact" if verdicts else ""),
    ]


def _count(values: Sequence[int]) -> str:
    return f"{round(median(values)):,}".replace(",", " ") if values else ""


def number(value: float) -> str:
    """Three digits, or more if there are more before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def head(*cells: str) -> list[str]:
    """The head of a table."""
    return [line(*cells), "|" + "---|" * len(cells)]


def line(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"
