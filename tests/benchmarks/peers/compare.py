"""The table of the comparison page: a line for each operation, a column for each tool.

python -m tests.benchmarks.peers --compare --into docs/explanation/comparison.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from .operations import OPERATIONS
from .table import Figure, head, line, number
from .tools import FAST, TOOLS

FILES = 30
"""So few that all of it, with the real model, takes a quarter of an hour on two quiet cores."""
PEERS = [name for name, tool in TOOLS.items() if tool is not FAST]
"""Ours as it is installed by default, and all others."""
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def comparison(title: str, versions: Mapping[str, str], figures: Sequence[Figure]) -> str:
    """What was measured, with what, and the table."""
    who = list(versions)
    lines = head("", *who)
    for operation in OPERATIONS.values():
        cells = [
            _cell([f for f in figures if (f.operation, f.who) == (operation.title, name)])
            for name in who
        ]
        lines.append(line(operation.title, *cells))
    listed = "\n".join(f"- {name}: {what}" for name, what in versions.items())
    return f"Measured on {title}.\n\n{listed}\n\n" + "\n".join(lines)


def _cell(runs: Sequence[Figure]) -> str:
    """The median cost, and all that was found to be wrong."""
    usages = [run.usage for run in runs if run.usage is not None]
    if not usages:
        return "; ".join(dict.fromkeys(str(run.verdict) for run in runs)) or "-"
    texts = round(median(run.embedded or 0 for run in runs))
    wrong = [said for said in dict.fromkeys(str(run.verdict) for run in runs) if said != "exact"]
    return "<br>".join(
        [
            f"{number(median(usage.cpu for usage in usages))} s",
            f"{texts:,} text{'s' * (texts != 1)}".replace(",", " "),
            f"**{'; '.join(wrong)}**" if wrong else "exact",
        ]
    )


def around(page: Path) -> tuple[str, str]:
    """What a page has before the table, up to the mark, and after it."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page} has no {BEGIN} with an {END} after it.")
    return before + begin, end + after


def paste(text: str, page: Path) -> None:
    """Put it between the two marks of a page, in the place of what is there."""
    before, after = around(page)
    page.write_text(f"{before}\n\n{text}\n\n{after}", "utf-8")
