"""``config``: the settings, and where each of them comes from."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from reposync.command.chosen import Settings
from reposync.command.options import Ref, command
from reposync.command.output import Column, Fields, Listing, Table, View
from reposync.command.session import Session

if TYPE_CHECKING:
    from reposync.config_report import ConfigReport, SettingReport

PANEL = "Manage"


@command(
    "config",
    panel=PANEL,
    examples=[
        "reposync config",
        "reposync config path/to/repo --short",
        "reposync config --config sync.toml --set max_files=5000 --json",
    ],
)
def config(
    session: Session,
    settings: Settings,
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH",
            help="A repository, to heed what it says of itself, as its sync does.",
            show_default=False,
        ),
    ] = None,
    ref: Ref = None,
    short: Annotated[
        bool, typer.Option("--short", metavar="", help="One line a setting, without the reasons.")
    ] = False,
) -> int:
    """Show each setting, where it comes from, and why it is so.

    What is named on the command line comes first, then REPOSYNC_* variables, then the file of
    --config; a repository may say itself what of it is left out (reposync.toml), and no more.
    """
    from reposync.origin import find_origin, open_source

    found = settings.config()
    if path is not None:
        with closing(open_source(find_origin(path, ref), found)) as source:
            found = source.config
    view = view_in_short if short else view_of_config
    return session.show(found.explain(), lambda report: view(report, *session.whereabouts))


def view_of_config(report: ConfigReport, store: str, origin: str) -> View:
    """A line for each setting, and its reason below."""
    parts: list[Listing | Fields] = [
        Listing(f"store = {store}", f"[{origin}]", "Where all repositories are."),
    ]
    parts += [
        Listing(f"{one.name} = {_value(one)}", f"[{_origin(one)}]", one.reason.replace("``", "`"))
        for one in report.settings
    ]
    return View(parts=[*parts, *_warnings(report)])


def view_in_short(report: ConfigReport, store: str, origin: str) -> View:
    """A line for each setting."""
    columns = [Column("setting", "word"), Column("value"), Column("from")]
    rows = [(one.name, _value(one), _origin(one)) for one in report.settings]
    rows.insert(0, ("store", store, origin))
    return View(parts=[Table(columns, rows), *_warnings(report)])


def _warnings(report: ConfigReport) -> list[Fields]:
    found = [("warning", warning) for warning in report.warnings]
    return [Fields(found)] if found else []


def _value(one: SettingReport) -> str:
    """As it could be given, with its unit."""
    if isinstance(one.value, bool) or one.value is None:
        return str(one.value).lower()
    if isinstance(one.value, tuple):
        return ", ".join(one.value) or "none"
    if isinstance(one.value, str):
        return one.value or "none"
    return f"{one.value} {one.unit}"


def _origin(one: SettingReport) -> str:
    return "command line" if one.origin == "argument" else one.origin
