"""Small random edits, as a person makes them."""

from __future__ import annotations

import re
from random import Random

_WORDS = ["alpha", "beta", "value", "result", "index", "config", "self", "name"]
_FUNCTIONS = {
    "py": [
        "def fresh(first, second):\n",
        "    total = first + second\n",
        "    return total\n",
        "\n",
    ],
    "c": ["int fresh(int first) {\n", "    return first + 1;\n", "}\n", "\n"],
    "md": ["A new paragraph with a few words in it.\n", "\n"],
}


def edited(text: str, suffix: str, random: Random) -> str:
    """`text` with a line or a word inserted, deleted or replaced, or with a new small function."""
    lines = text.splitlines(keepends=True)
    row = random.randrange(len(lines))
    edit = random.choice([_delete, _copy, _replace_word, _insert_line, _insert_function])
    edit(lines, row, suffix, random)
    return "".join(lines)


def _delete(lines: list[str], row: int, _suffix: str, _random: Random) -> None:
    del lines[row]


def _copy(lines: list[str], row: int, _suffix: str, random: Random) -> None:
    lines.insert(row, lines[random.randrange(len(lines))])


def _replace_word(lines: list[str], row: int, _suffix: str, random: Random) -> None:
    words = list(re.finditer(r"\w+", lines[row]))
    if words:
        start, end = random.choice(words).span()
        lines[row] = lines[row][:start] + random.choice(_WORDS) + lines[row][end:]


def _insert_line(lines: list[str], row: int, _suffix: str, random: Random) -> None:
    near = next((line for line in lines[row:] if line.strip()), "")
    line = f"{random.choice(_WORDS)} = {random.choice(_WORDS)}({random.randrange(1000)})\n"
    lines.insert(row, _margin(near) + line)


def _insert_function(lines: list[str], _row: int, suffix: str, random: Random) -> None:
    places = [
        row
        for row in range(1, len(lines))
        if lines[row].strip() and not lines[row - 1].strip() and lines[row].lstrip()[0].isalpha()
    ]
    row = random.choice(places or [0])
    margin = _margin(lines[row])
    lines[row:row] = [margin + line if line.strip() else line for line in _FUNCTIONS[suffix]]


def _margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
