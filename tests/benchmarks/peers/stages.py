"""Our own sync by stage, in CPU seconds."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .measure import measure
from .table import head, line, number
from .tools import ENV, SCRIPTS

STAGES = ("scan", "plan", "chunk", "embed", "commit")


def staged(tree: Path, store: Path, profile: Path | None = None) -> dict[str, Any]:
    """Sync in a fresh process; gives what it said of itself, and the measured cost of all of it."""
    report = store.with_name(f"{store.name}.json")
    command = [sys.executable, SCRIPTS / "staged.py", tree, store, report]
    usage = measure([*command, profile] if profile else command, ENV)
    said: dict[str, Any] = json.loads(report.read_text())
    return {**said, **usage._asdict()}


def stages_table(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each report."""
    lines = head("", "files", "rows", *STAGES, "the rest", "CPU s", "peak MB")
    for name, report in reports.items():
        spent = [report["stages"][stage] for stage in STAGES]
        rest = report["cpu"] - sum(spent)
        lines.append(
            line(
                name,
                str(report["files"]["scanned"]),
                str(report["chunks"]["total"]),
                *(number(seconds) for seconds in (*spent, rest, report["cpu"])),
                number(report["peak_mb"]),
            )
        )
    return "\n".join(lines)
