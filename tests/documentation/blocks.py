"""The code blocks of a page, and what is said about each in a comment before it.

A block's language says what becomes of it: ``python`` and ``sh`` run; ``toml``, ``yaml``,
``json``, ``ini`` and ``crontab`` are read by what reads them in earnest; ``text`` and
``diff`` are for people.
``title="NAME"`` after the language puts its text into that file, as the page has the reader do.

Comments on the line before a block:

    <!-- not run: REASON -->        it cannot run here; it is still compiled
    <!-- background: PORT -->       a program that runs until it is stopped, and then answers there
    <!-- exit code: N -->           how it ends, if not with 0
    <!-- command: NAME -->          .ci/run takes it literally
    <!-- run by: tests/FILE -->     that test takes it from the page, and runs it with what it needs
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOR_PEOPLE = {"text", "diff", "promql"}
FENCE = re.compile(r"^( *)```(.*)$")
NOTE = re.compile(r"^ *<!-- (not run|background|exit code|command|run by): (.+) -->$")


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        line: where its code begins, from 1.
        kind, said: the comment before it.
    """

    page: str
    line: int
    language: str
    title: str
    code: str
    kind: str = ""
    said: str = ""

    @property
    def runs(self) -> bool:
        """True if the tests run it, or have its own program read it."""
        return self.language not in FOR_PEOPLE and self.kind not in ("not run", "command", "run by")


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, given relative to the repository."""
    lines = iter(enumerate((ROOT / page).read_text("utf-8").splitlines(), 1))
    note = None
    for number, line in lines:
        fence = FENCE.match(line)
        if fence is None:
            note = NOTE.match(line)
            continue
        indent, info = len(fence[1]), fence[2].split(" ", 1)
        code = []
        for _, inner in lines:
            if inner.strip() == "```":
                break
            code.append(inner[indent:])
        title = re.search(r'title="([^"]+)"', fence[2])
        kind, said = note.groups() if note else ("", "")
        yield Block(
            *(page, number + 1, info[0], title[1] if title else "", "\n".join(code) + "\n"),
            *(kind, said),
        )
        note = None


def pages() -> list[str]:
    """All pages that have blocks, but for those that are not for users."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found]
