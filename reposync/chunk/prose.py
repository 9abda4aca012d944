"""Markdown and reStructuredText: cut at headings, then between blocks; headings name sections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reposync.chunk.outline import Outline, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

PROSE = frozenset({"markdown", "rst"})

# Ranks of borders; headings have those of their level, from 1.
_BLOCK, _ITEM, _LINE, _AWKWARD, _INSIDE = 20, 22, 24, 30, 40

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??[ \t]*(?:[ \t]#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}$")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)]|#\.)[ \t]")
_FOLDED_ITEM = re.compile(r"[ \t]+\S")

LEAST_FILL = 0.6
"""Prose has more borders to choose from than code: fuller chunks are found better, and edits stay
local."""

_Heading = tuple[int, int, int, str]
"""First row, last row, level from 1, title."""


def prose_outline(language: str, lines: list[str]) -> Outline:
    """Ranks from headings and blocks; the sections are the definitions.

    Headings are not put before what is embedded: renaming a chapter must not cost its text.
    """
    stripped = [line.rstrip() for line in lines]
    fenced = _fenced(stripped) if language == "markdown" else [False] * len(lines)
    find = _markdown_headings if language == "markdown" else _rst_headings
    headings = list(find(stripped, fenced))
    return Outline(
        ranks=_ranks(stripped, fenced, headings),
        spans=[
            Span(title, "section", first, first, end)
            for (first, _, _, title), end in zip(headings, _ends(headings, len(lines)), strict=True)
        ],
        separator=" > ",
        embeds_context=False,
        least_fill=LEAST_FILL,
    )


def _fenced(lines: list[str]) -> list[bool]:
    """For each row, whether a cut before it would tear a fenced code block."""
    inside, fence = [], ""
    for line in lines:
        inside.append(bool(fence))
        match = _FENCE.match(line)
        if not match:
            continue
        if not fence:
            fence = match[1]
        elif match[1].startswith(fence) and not match[2].strip():
            fence = ""
    return inside


def _markdown_headings(lines: list[str], fenced: list[bool]) -> Iterator[_Heading]:
    for row, line in enumerate(lines):
        if fenced[row]:
            continue
        if atx := _ATX.match(line):
            yield row, row, len(atx[1]), (atx[2] or "").strip()
        elif (
            (setext := _SETEXT.match(line))
            and row
            and not fenced[row - 1]
            and (title := lines[row - 1].strip())
            and not _LIST_ITEM.match(lines[row - 1])
            and "|" not in title
        ):
            yield row - 1, row, 1 if setext[1][0] == "=" else 2, title


def _rst_headings(lines: list[str], _fenced: list[bool]) -> Iterator[_Heading]:
    """A title with a line under it, perhaps one above; styles rank in the order of appearance."""
    styles: dict[tuple[str, bool], int] = {}
    for row in range(1, len(lines)):
        title = lines[row - 1].strip()
        under = _ADORNMENT.match(lines[row])
        if not under or not title or len(lines[row]) < len(title) or _ADORNMENT.match(title):
            continue
        over = row > 1 and lines[row - 2] == lines[row]
        if not over and lines[row - 1][0] in " \t":
            continue
        level = styles.setdefault((under[1], over), len(styles) + 1)
        yield row - 1 - over, row, level, title


def _ranks(lines: list[str], fenced: list[bool], headings: list[_Heading]) -> list[int]:
    ranks, blank = [], True
    for line, torn in zip(lines, fenced, strict=True):
        ranks.append(_INSIDE + (not blank) if torn else _rank(line, blank))
        blank = not line
    for first, last, level, _ in headings:
        ranks[first] = min(level, _BLOCK - 1)
        for row in range(first + 1, last + 1):
            ranks[row] = _INSIDE + 2
        after = next((row for row in range(last + 1, len(lines)) if lines[row]), None)
        if after is not None:  # a heading without the first words under it says nothing
            ranks[after] = max(ranks[after], _AWKWARD)
    for first, _, level, _ in headings:
        ranks[first] = min(level, _BLOCK - 1)
    return ranks


def _rank(line: str, blank_above: bool) -> int:
    if _LIST_ITEM.match(line):
        return _ITEM + (line[0] in " \t")
    if blank_above:
        return _ITEM + 1 if _FOLDED_ITEM.match(line) else _BLOCK
    return _LINE


def _ends(headings: list[_Heading], rows: int) -> list[int]:
    """For each heading, the last row before the next one of its level or above."""
    ends = [rows - 1] * len(headings)
    open_: list[int] = []
    for index, (first, _, level, _) in enumerate(headings):
        while open_ and headings[open_[-1]][2] >= level:
            ends[open_.pop()] = first - 1
        open_.append(index)
    return ends
