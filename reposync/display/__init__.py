"""Reports as HTML, for notebooks.

It knows values, tables and figures, and no report: each report says in its ``_view`` what it is
made of. So it stands below all of them, and is imported when the first one is shown.
"""

from reposync.display.describe import describe, head_of, table_of, tone_for, view_of
from reposync.display.figures import bar, meter
from reposync.display.html import Html, join
from reposync.display.parts import Folded, Inner, Line, Notes, Part, Rows, Table, View, tone_of
from reposync.display.snippet import Snippet
from reposync.display.values import amounts, code, of

__all__ = [
    "Folded",
    "Html",
    "Inner",
    "Line",
    "Notes",
    "Part",
    "Rows",
    "Snippet",
    "Table",
    "View",
    "amounts",
    "bar",
    "code",
    "describe",
    "head_of",
    "join",
    "meter",
    "of",
    "table_of",
    "tone_for",
    "tone_of",
    "view_of",
]
