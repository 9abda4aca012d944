"""Parsing within bounds, so that no text can hold up a sync.

The bounds are of size, of nesting and of work, never of time: the same text must be cut alike on a
slow machine and on a fast one. What is beyond them is cut by layout. Such texts are data, minified,
made by a program or by an enemy; for all of them a syntax tree tells little.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tree_sitter import Language, Node

MAX_CHARS = 1 << 20
MAX_LINE = 5_000
MAX_STEPS = 10_000
"""In hundreds of the parser's own steps. A megabyte of code takes 6 000 of them, at most 15 000."""

MAX_READS = 100
"""How often the text may be read, in all. Some scanners look to the end of the text for what closes
a literal, again and again. Real files are read 1 to 3 times."""

MAX_OPEN = 200
"""Angle brackets that are open at once: each may be an operator or begin a list of types, and what
parsers do to find out grows with the square of their number (Java: 79 s for 40 000 of them)."""

MAX_NESTED = 1_000
"""Other brackets that are open at once; their cost, too, grows so in some languages (Kotlin)."""

_PROBE = 16_384
_MAX_CONTROLS = 0.01
_MIN_WORDS = 0.5
"""Shares of the characters at the beginning of a long text. Recovering from an error takes a parser
up to 50 times as long as parsing, and random text is nothing but errors."""

_BLOCK = 1 << 10
_BRACKETS = re.compile(r"[<>;{}()\[\]]")
_CONTROLS = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd]")
_WORDS = re.compile(r"[\w\s]+")


def parse(grammar: Language, text: str, lines: Sequence[str]) -> tuple[Node, bytes] | None:
    """The root of the text's syntax tree, and its bytes; None if parsing would take too long.

    Never ask one of its nodes for its ``text``: that reads byte by byte, and without end where
    nothing is left to read. Take it from the bytes.
    """
    if len(text) > MAX_CHARS or "\0" in text or max(map(len, lines)) > MAX_LINE:
        return None
    if _is_nested_deeply(text) or (len(text) > _PROBE and _is_random(text[:_PROBE])):
        return None
    data = text.encode("utf-8", "replace")
    root = _parse(grammar, data)
    return (root, data) if root else None


def _parse(grammar: Language, data: bytes) -> Node | None:
    from tree_sitter import Parser

    steps = reads = 0
    most_reads = MAX_READS * (len(data) // _BLOCK + 1)

    def is_too_much(_offset: int, _has_error: bool) -> bool:
        nonlocal steps
        steps += 1
        return steps > MAX_STEPS or reads > most_reads

    def read(offset: int, _point: object) -> bytes:
        nonlocal reads
        reads += 1
        # Nothing more to read ends a parser's search at once; it may not ask whether to go on.
        return data[offset : offset + _BLOCK] if reads <= most_reads else b""

    try:
        root = Parser(grammar).parse(read, progress_callback=is_too_much).root_node
    except ValueError:  # it was told to stop
        return None
    return root if reads <= most_reads else None


def _is_nested_deeply(text: str) -> bool:
    if text.count("<") <= MAX_OPEN and sum(map(text.count, "([{")) <= MAX_NESTED:
        return False
    angles = nested = 0
    for bracket in _BRACKETS.findall(text):
        if bracket in "([{":
            nested += 1
        elif bracket in ")]}":
            nested = max(0, nested - 1)
        if bracket == "<":
            angles += 1
        elif bracket == ">":
            angles = max(0, angles - 1)
        elif bracket in ";{}":
            angles = 0
        if angles > MAX_OPEN or nested > MAX_NESTED:
            return True
    return False


def _is_random(text: str) -> bool:
    """True for bytes that are no text, or for text that no language has so many signs in."""
    if len(_CONTROLS.findall(text)) > _MAX_CONTROLS * len(text):
        return True
    return sum(map(len, _WORDS.findall(text))) < _MIN_WORDS * len(text)
