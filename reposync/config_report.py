"""`SyncConfig.explain`: each setting with its value, where that came from, its unit, its reason.

Units stand in the annotations of the settings, reasons in their docstrings, and nowhere else.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from reposync.report import Report
from reposync.settings import Unit, is_textual, variable
from reposync.words import encodable

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from reposync.config import SyncConfig

Value = bool | int | float | str | tuple[str, ...] | None
_UNITS = {bool: "on or off", str: "text", tuple: "patterns"}


class SettingReport(Report):
    """One setting.

    Attributes:
        name: as in ``SyncConfig(name=...)``, and in a file.
        value: what it is set to; of a function, its name.
        origin: where that came from: "default", "argument", "environment variable NAME", "file
            PATH" or "repository: FILE".
        default: what it is if nobody says anything.
        unit: what a number counts, or what else it takes.
        reason: what it does, and why its default is what it is.
        variable: its environment variable; None if no text can say it.
    """

    name: str
    value: Value
    origin: str
    default: Value
    unit: str
    reason: str
    variable: str | None

    def __str__(self) -> str:
        unit = f" {self.unit}" if _is_number(self.value) else ""
        return f"{self.name} = {self.value}{unit}  [{self.origin}]"


class ConfigReport(Report):
    """What `SyncConfig.explain` tells.

    Attributes:
        settings: in the order of `SyncConfig`. Where the repository itself narrows what is indexed,
            `include` or `exclude` stands there a second time: both hold.
        warnings: what the repository says and may not, or cannot be right.
    """

    settings: tuple[SettingReport, ...]
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if there are no warnings."""
        return not self.warnings

    def __str__(self) -> str:
        lines = []
        for one in self.settings:
            lines += [str(one), textwrap.indent(textwrap.fill(one.reason, 76), "    ")]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def report_config(config: SyncConfig) -> ConfigReport:
    """See `SyncConfig.explain`."""
    return ConfigReport(
        settings=tuple(_settings(config)), warnings=config.own.warnings if config.own else ()
    )


def _settings(config: SyncConfig) -> Iterator[SettingReport]:
    said = reasons(type(config))
    for name, field in type(config).model_fields.items():
        one = SettingReport(
            name=name,
            value=_value(getattr(config, name)),
            origin=encodable(config.origin(name)),
            default=_value(field.get_default()),
            unit=unit(field),
            reason=said.get(name, ""),
            variable=variable(name) if is_textual(field) else None,
        )
        yield one
        own = getattr(config.own, name, ()) if name in ("include", "exclude") else ()
        if own and config.own:
            yield one.model_copy(update={"value": own, "origin": f"repository: {config.own.file}"})


def _value(value: object) -> Value:
    if callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    if isinstance(value, Executor):
        return f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, tuple):
        return tuple(map(encodable, value))
    return encodable(value) if isinstance(value, str) else value  # type: ignore[return-value]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def unit(field: FieldInfo) -> str:
    """What a setting's value is counted in, or what else it takes."""
    counted = [text for text in field.metadata if isinstance(text, Unit)]
    if counted:
        return str(counted[0])
    kinds = [field.annotation, *get_args(field.annotation)]
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    found: Any = next((kind for kind in kinds if (get_origin(kind) or kind) in _UNITS), None)
    return _UNITS.get(get_origin(found) or found, "a function")


def reasons(config: type[SyncConfig]) -> Mapping[str, str]:
    """The docstring of each setting as one line of text; none where the source is not there.

    Read when it is asked for: pydantic's ``use_attribute_docstrings`` would read it at each import.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(config)))
    except OSError:
        return {}
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    found = {}
    for field, text in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = re.sub(r"\s+", " ", str(text.value.value)).strip()
    return found
