"""One run as one line of a CSV file, and back."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from reposync.frame import flat
from reposync.operations.runs import RunEntry

MARK = "\ufeff"  # without it Excel takes the file for one in an older encoding

# What a spreadsheet would take for a formula (a name may begin with any of them), and the mark
# itself that says it is none.
_FORMULA = ("=", "+", "-", "@", "\t", "'")


def all_columns() -> list[str]:
    """The names of the columns; the parts of ``files`` are ``files_added`` and so on."""
    return [column for name in RunEntry.model_fields for column in _columns(name)]


def header() -> str:
    """The first line of a new file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(all_columns())
    return MARK + text.getvalue()


def to_row(run: RunEntry) -> dict[str, str]:
    """A run as flat text, by column."""
    return {column: _text(value) for column, value in flat(run).items()}


def from_row(row: dict[str, str]) -> RunEntry:
    """The run that a row tells of; raises ValueError if it tells of none."""
    known: dict[str, Any] = {}
    for name in RunEntry.model_fields:
        for column in _columns(name):
            if not (text := row.get(column)):
                continue
            text = text[1:] if text.startswith("'") else text
            if column != name:
                known.setdefault(name, {})[column.removeprefix(f"{name}_")] = text
            else:
                known[name] = json.loads(text) if name == "warnings" else text
    return RunEntry.model_validate(known)


def _columns(name: str) -> list[str]:
    kind = RunEntry.model_fields[name].annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [f"{name}_{part}" for part in kind.model_fields]
    return [name]


def _text(value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        value = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, datetime):
        value = value.isoformat()
    text = " ".join(str(value).splitlines())  # a line is a run
    return f"'{text}" if text.startswith(_FORMULA) else text
