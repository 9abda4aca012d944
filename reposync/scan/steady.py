"""Patterns as regular expressions whose time is bounded, whoever wrote them.

``*a*a*a*a*b`` as a plain expression tries every way of sharing a name out among its wildcards: a
repository with such a line in an ignore file would hold up a sync for years. But of all ways only
one must be tried. If each wildcard but the last takes as little as it can, there is most left for
those that follow: what comes between two of them has a fixed length, or a fixed number of parts. So
that choice need never be taken back, which ``(?=(?P<x>...))(?P=x)`` says to Python.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = re.compile(
    r"\(\?:\.\+/\)\?"  # **/ at the beginning
    r"|\(\?:/\.\+\)\?/"  # /**/
    r"|\[\^//\]\*"  # *
    r"|\[\^?/?\]?(?:\\.|[^\]\\])*\]|\\.|.",
    re.DOTALL,
)
_HEAD, _DEEP, _STAR = "(?:.+/)?", "(?:/.+)?/", "[^//]*"
_LAZY = {_HEAD: "(?:.+?/)??", _DEEP: "(?:/.+?)??/"}
_BEGIN, _END = "^", "(?:(?P<ps_d>/)|$)"
HARMLESS = 2  # so many wildcards take the square of a path's length at most


def steady(expression: str) -> str:
    """The same expression as pathspec's `expression`, in time that hardly grows with wildcards.

    Raises:
        ValueError: it is not made as pathspec makes them, and has too many wildcards.
    """
    if expression.count(_STAR) + expression.count(".+") <= HARMLESS:
        return expression
    if not (expression.startswith(_BEGIN) and expression.endswith(_END)):
        raise ValueError(expression)
    runs: list[tuple[str, list[list[str]]]] = [("", [[]])]
    for piece in _PIECE.findall(expression[len(_BEGIN) : -len(_END)]):
        if piece in _LAZY:
            runs.append((piece, [[]]))
        elif piece == "/":
            runs[-1][1].append([])
        else:
            runs[-1][1][-1].append(piece)
    names = map("w{}".format, range(len(expression)))
    made = []
    for number, (deep, parts) in enumerate(runs):
        text = "/".join(_part(part, names) for part in parts)
        if deep and number < len(runs) - 1:
            made.append(_settled(f"{_LAZY[deep]}{text}(?=/)", next(names)))
        else:
            made.append(deep + text)
    return _BEGIN + "".join(made) + _END


def _part(pieces: list[str], names: Iterator[str]) -> str:
    """What lies between two slashes; its last wildcard ends where it must anyway."""
    made, since = "", 0
    stars = [at for at, piece in enumerate(pieces) if piece == _STAR]
    for at, after in pairwise(stars):
        made += "".join(pieces[since:at])
        made += _settled("[^/]*?" + "".join(pieces[at + 1 : after]), next(names))
        since = after
    return made + "".join(pieces[since:])


def _settled(expression: str, name: str) -> str:
    """An expression that matches as it can at first, and is not asked again."""
    return f"(?=(?P<{name}>{expression}))(?P={name})"
