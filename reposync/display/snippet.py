"""A piece of a file, its syntax set off by pygments."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from reposync.display.html import Html, element, join
from reposync.words import clipped, printable

MAX_LINES = 20
MAX_CHARS = 8000


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a file; of a long one, its beginning.

    Attributes:
        text: the piece.
        language: as chunks name it; "" if it is not known.
        path: of the file, whose name may tell the language.
    """

    text: str
    language: str = ""
    path: str = ""

    def html(self) -> Html:
        """The text as it stands in the file, less the indentation that all lines have."""
        text = printable(clipped(self.text, MAX_CHARS), keep="\n\t").strip("\n")
        lines = textwrap.dedent(text).splitlines()
        code = _highlighted("\n".join(lines[:MAX_LINES]), self.language, self.path)
        left_out = len(lines) - MAX_LINES
        more = f"and {left_out} more lines" if left_out > 0 else ""
        return join(element("pre", code), element("p", more, class_="more") if more else "")


def _highlighted(text: str, language: str, path: str) -> Html:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, get_lexer_by_name, get_lexer_for_filename
    from pygments.util import ClassNotFound

    options = {"stripnl": False, "ensurenl": False}
    try:
        lexer = get_lexer_by_name(language, **options)
    except ClassNotFound:
        try:
            lexer = get_lexer_for_filename(path.rpartition("/")[2], **options)
        except ClassNotFound:
            lexer = TextLexer(**options)
    formatter = HtmlFormatter(nowrap=True, classprefix="c-")
    return Html(highlight(text, lexer, formatter).rstrip("\n"))
