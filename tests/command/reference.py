"""Writes the part of docs/reference/command.md that the code knows best.

python tests/command/reference.py
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from reposync.command import exits
from reposync.command.app import app
from reposync.command.options import COMMON, SETTINGS
from reposync.command.program import GROUPS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command.md"
BEGIN, END = "<!-- from the code, by tests/command/reference.py -->\n", "<!-- end -->\n"


def page(text: str) -> str:
    """The page, with what the code says now between the marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert rest, f"{PAGE} has no place for it"
    return f"{before}{BEGIN}\n{_codes()}\n{_commands()}{END}{after}"


def _codes() -> str:
    errors: dict[int, list[str]] = {code: [] for code in exits.MEANINGS}
    for name, code in exits.OF_ERRORS.items():
        errors[code].append(f"`{name}`")
    lines = ["## Exit codes", "", "| code | meaning | errors | what to do |", "|---|---|---|---|"]
    lines += [
        f"| {code} | {meaning} | {', '.join(sorted(errors[code]))} | {exits.WHAT_TO_DO[code]} |"
        for code, meaning in exits.MEANINGS.items()
    ]
    return "\n".join([*lines, ""]).replace("(`| head`)", "(`head`)")


def _commands() -> str:
    for group in GROUPS:
        import_module(f"reposync.command.{group}")
    program: Any = typer.main.get_command(app)
    lines = ["## Commands", "", "Options of all commands, and those for settings, come last.", ""]
    shared: dict[str, dict[tuple[str, str], None]] = {COMMON: {}, SETTINGS: {}}
    for name, command in program.commands.items():
        rows, settings = [], []
        for one in command.params:
            panel = getattr(one, "rich_help_panel", None)
            if panel in shared:
                shared[panel][_row(one)] = None
                settings += [f"`{one.opts[0]}`"] if panel == SETTINGS else []
            else:
                rows.append(_row(one))
        usage = " ".join(_usage(one) for one in command.params if one.param_type_name == "argument")
        _, *examples = str(command.epilog).split("\n")
        lines += [
            *(f"### reposync {name} {usage}".rstrip(), "", command.help, ""),
            *(_table(rows) if rows else ()),
            *((f"Settings: {', '.join(settings)}.", "") if settings else ()),
            *("```sh", *examples, "```", ""),
        ]
    lines += ["### Options for settings", "", *_table(list(shared[SETTINGS]))]
    lines += ["### Options of all commands", "", *_table(list(shared[COMMON]))]
    return "\n".join(lines)


def _table(rows: list[tuple[str, str]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {left} | {right} |" for left, right in rows), ""]


def _usage(argument: Any) -> str:
    return str(argument.metavar) if argument.required else f"[{argument.metavar}]"


def _row(one: Any) -> tuple[str, str]:
    """An argument or an option, and what it is for."""
    if one.param_type_name == "argument":
        return f"`{one.metavar}`", str(one.help)
    flag = bool(getattr(one, "is_flag", False) or one.count)
    value = "" if flag else f" {one.metavar}"
    names = ", ".join(f"`{name}{value}`" for name in one.opts)
    default = one.default
    shown = "" if flag or default in (None, (), "") else f" Default: {default}."
    return _cell(names), _cell(f"{one.help}{shown}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
