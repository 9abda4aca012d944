"""Reports as a pandas DataFrame: a row for each, columns of the right kinds, always there."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from reposync.optional import missing

if TYPE_CHECKING:
    import pandas as pd

_KINDS = {int: "int64", float: "float64", bool: "bool", str: "string", datetime: "time"}
_WITH_NONE = {"int64": "Int64", "bool": "boolean"}


def to_dataframe(kind: type[BaseModel] | None, reports: Sequence[BaseModel]) -> pd.DataFrame:
    """A table of reports of one kind.

    Args:
        kind: what they are; its fields are the columns, for example ``files_added`` for one within
            another report.
        reports: the rows.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise missing("pandas", "to_dataframe()") from error
    columns = dict(columns_of(kind)) if kind is not None else {}
    rows = [flat(report) for report in reports]
    frame = pd.DataFrame(index=pd.RangeIndex(len(rows)))
    for name, column in columns.items():
        values = [row[name] for row in rows]
        if column == "time":
            times = pd.to_datetime(pd.Series(values, dtype="object"), utc=True)
            frame[name] = times.astype("datetime64[us, UTC]")
        else:
            frame[name] = pd.Series(values, dtype=column)
    return frame


def columns_of(kind: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """The names of the columns, and what is in them; "object" if it is of no simple kind."""
    for name, field in kind.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from ((f"{name}_{part}", inner) for part, inner in columns_of(annotation))
        else:
            yield name, _kind_of(annotation)


def flat(report: BaseModel) -> dict[str, object]:
    """A report's values by column."""
    values: dict[str, object] = {}
    for name in type(report).model_fields:
        value = getattr(report, name)
        if isinstance(value, BaseModel):
            values |= {f"{name}_{part}": inner for part, inner in flat(value).items()}
        else:
            values[name] = value
    return values


def _kind_of(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return "string"
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = {_kind_of(one) for one in get_args(annotation) if one is not type(None)}
        kind = kinds.pop() if len(kinds) == 1 else "object"
        return _WITH_NONE.get(kind, kind)
    return _KINDS.get(annotation, "object") if isinstance(annotation, type) else "object"
