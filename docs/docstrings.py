"""What our docstrings say shortly, said at length for the page that is made of them.

An example (``>>>``) is code, and arguments that are explained together are explained each.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
TOGETHER = re.compile(r"^    (\w+(?:,\s+\w+)+): (.*(?:\n {8}.*)*)", re.MULTILINE)


class Docstrings(Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """One of a module, a class, a function or an attribute."""
        if obj.docstring is not None:
            text = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
            obj.docstring.value = TOGETHER.sub(_each, text)


def _each(found: re.Match[str]) -> str:
    names = re.split(r",\s+", found[1])
    return "\n".join(f"    {name}: {found[2]}" for name in names)
