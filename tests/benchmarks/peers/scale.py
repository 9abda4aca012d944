"""What becomes of it all when a repository is large: the same made-up code in three sizes.

Takes long (a row costs Chroma a millisecond, and more in a large collection), so each size is a
piece by itself: what was measured is kept in the cache, and not measured again.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from .changes import change
from .corpora import make_repository
from .stages import STAGES, staged, stages_table
from .table import head, line, number

FUNCTIONS = 5
"""In each file; each makes a chunk."""

_NAMES = [
    f"{first}_{second}"
    for first in ("old", "new", "raw", "next")
    for second in ("edge", "key", "node", "page", "row", "token")
]


def scale(files: int, cache: Path) -> str:
    """The report for a quarter, a half and all of so many files."""
    reports = {size: _measured(size, cache) for size in (files // 4, files // 2, files)}
    parts = []
    for operation in ("cold", "nothing changed", "1 % of the files changed"):
        each = {f"{size} files": reports[size][operation] for size in reports}
        parts += [f"### {operation}", stages_table(each)]
        if operation != "1 % of the files changed":
            unit = "rows" if operation == "cold" else "files"
            parts += [_for_each(unit, {name: each[name] for name in each})]
    return "\n\n".join(parts)


def _for_each(unit: str, reports: dict[str, dict[str, Any]]) -> str:
    """Microseconds for each row or file, which stay the same if it is linear."""
    lines = head(f"us for each of the {unit}", *STAGES)
    for name, report in reports.items():
        count = report["chunks"]["total"] if unit == "rows" else report["files"]["scanned"]
        each = (report["stages"][stage] / count * 1e6 for stage in STAGES)
        lines.append(line(name, *map(number, each)))
    return "\n".join(lines)


def _measured(files: int, cache: Path) -> dict[str, Any]:
    folder = cache / "scale" / str(files)
    kept = folder / "figures.json"
    if kept.exists():
        figures: dict[str, Any] = json.loads(kept.read_text())
        return figures
    shutil.rmtree(folder, ignore_errors=True)
    tree, store = folder / "tree", folder / "store"
    make_tree(tree, files)
    make_repository(tree)
    figures = {"cold": staged(tree, store), "nothing changed": staged(tree, store)}
    change(tree)
    figures["1 % of the files changed"] = staged(tree, store)
    for done in (tree, store):
        shutil.rmtree(done)
    kept.write_text(json.dumps(figures))
    return figures


def make_tree(tree: Path, files: int) -> None:
    """Made-up code, the same each time; no two functions are equal."""
    for number_of_file in range(files):
        file = tree / f"part{number_of_file // 1000:03}" / f"group{number_of_file // 40 % 25:02}"
        file.mkdir(parents=True, exist_ok=True)
        functions = (_function(number_of_file, each) for each in range(FUNCTIONS))
        (file / f"module{number_of_file:06}.py").write_text("\n\n".join(functions))


def _function(file: int, number_of_function: int) -> str:
    chosen = random.Random(file * FUNCTIONS + number_of_function)
    a, b, c, d = chosen.sample(_NAMES, 4)
    lines = [f"def {a}_{b}_{file}_{number_of_function}({c}, {d}):"]
    for _ in range(5):
        a, b, c = chosen.sample(_NAMES, 3)
        lines.append(f"    {a} = {b}.{c}({chosen.randrange(1000)}) + {d}")
    return "\n".join([*lines, f"    return {a}\n"])
