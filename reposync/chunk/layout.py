"""What indentation tells: which lines belong together, and where a definition ends.

Layout is what a reader sees first, and unlike syntax it is local: a missing brace may turn the rest
of a file into something else for a parser, and leaves the layout of all other lines as it was.
"""

from __future__ import annotations

import re
from itertools import repeat
from typing import TYPE_CHECKING

from reposync.chunk.outline import Outline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

_TAB = 4
_AWKWARD = 8
"""How many columns deeper a border counts that tears what a reader sees as one: a header from its
body, a closing bracket from what it closes, a comment from what it describes."""

_MOST_COLUMNS = 400
_MOST_DEPTH = 4096

_CONTINUES = re.compile(r"[)\]}{]|end\b|#(?:el|end)|(?:else|elif|except|finally|catch)\b")
_OPENS = re.compile(r"[:{(\[,\\=]\s*(?:(?:#|//).*)?$")
_SAME_BODY = re.compile(
    r"[)\]}{#]|(?:end|else|elif|except|finally|catch|case|default|public|private|protected)\b"
)


def plain_outline(lines: list[str]) -> Outline:
    """For text that nothing else is known about."""
    return Outline(ranks_by_layout(lines))


def indent(line: str) -> int:
    """The column on which the text of `line` begins."""
    margin = line[: len(line) - len(line.lstrip())]
    return len(margin) + (_TAB - 1) * margin.count("\t")


def ranks_by_layout(
    lines: Sequence[str],
    depths: Sequence[int] | None = None,
    torn: Set[int] = frozenset(),
    anchors: Mapping[int, int] | None = None,
) -> list[int]:
    """Ranks by indentation; among equals by depth in the syntax; then after a blank line.

    Args:
        lines: the text.
        depths: for each row, how deep in the syntax the border before it lies.
        torn: rows whose border separates what belongs together.
        anchors: for rows inside something whose indentation means nothing, such as a text literal,
            the row where it begins.
    """
    anchors = anchors or {}
    ranks, blank, above = [], True, 0
    for row, (line, depth) in enumerate(zip(lines, depths or repeat(0), strict=False)):
        body = line.lstrip()
        if not body:
            ranks.append(0)  # blank lines go with the line above: never a border
            blank = True
            continue
        columns = indent(line)
        awkward = columns > above or row in torn or _CONTINUES.match(body) is not None
        above = columns
        if row in anchors:
            columns, awkward = max(columns, indent(lines[anchors[row]])), True
        columns = min(columns, _MOST_COLUMNS) + _AWKWARD * awkward
        ranks.append(2 * (columns * _MOST_DEPTH + min(depth, _MOST_DEPTH - 1)) + (not blank))
        blank = False
    return ranks


def ends_by_layout(
    lines: Sequence[str], heads: Mapping[int, int], inside: Set[int] = frozenset()
) -> dict[int, int]:
    """Where definitions end, judged by indentation: for each head its last row.

    Args:
        lines: the text.
        heads: for each row where a definition begins, the row on which its header may end.
        inside: rows whose indentation means nothing.
    """
    ends: dict[int, int] = {}
    open_: list[tuple[int, int, int]] = []  # column, head, last row of the header
    solid = [row for row, line in enumerate(lines) if not line.isspace()]
    last = 0
    columns = [indent(line) for line in lines] + [0]
    for row, after in zip(solid, [*solid[1:], len(lines)], strict=True):
        column, body = columns[row], lines[row].lstrip()
        # A line that opens nothing although a deeper one follows is itself at the wrong column.
        deeper = columns[after] > column and after not in inside and row not in heads
        stray = deeper and not _OPENS.search(body)
        if not stray and row not in inside and not _SAME_BODY.match(body):
            while open_ and open_[-1][0] >= column and row > open_[-1][2]:
                ends[open_.pop()[1]] = last
        if row in heads:
            open_.append((column, row, heads[row]))
        if body[0] != "#":
            last = row
    return ends | {head: max(last, head) for _, head, _ in open_}
