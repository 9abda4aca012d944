"""Where our own time goes: CPU seconds by stage, by package and by function."""

from __future__ import annotations

import pstats
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from .changes import change
from .corpora import make_repository
from .stages import staged, stages_table
from .table import head, line, number

LEAST = 0.01
MOST = 20
"""Of each kind at most so many are shown, and none with a smaller share of the whole."""

_PLACE = re.compile(
    r"site-packages/(?P<package>[^/.]+)|(?P<ours>reposync/\w+)|/python[\d.]+/(?P<standard>\w+)\b(?!-)"
)


def profile(corpus: Path, scratch: Path) -> str:
    """The report: cold, unchanged, changed; each without a profiler, and then with it."""
    tree = scratch / "tree"
    shutil.copytree(corpus, tree)
    make_repository(tree)
    parts = []
    for operation in ("cold", "nothing changed", "1 % of the files changed"):
        if operation.startswith("1 %"):
            change(tree)
        out = scratch / "profile"
        report = staged(tree, scratch / "store")
        staged(tree, scratch / "profiled-store", out)
        stats = pstats.Stats(str(out))
        parts += [f"### {operation}", stages_table({"": report}), shares(stats)]
    return "\n\n".join(parts)


def shares(stats: pstats.Stats) -> str:
    """Where the CPU time was spent: by package, by imported module, and by function."""
    entries: dict[Any, Any] = stats.stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in entries.values())
    packages: dict[str, float] = defaultdict(float)
    imports, functions = {}, {}
    for (file, first, name), (_, _, own, whole, callers) in entries.items():
        if file == "~":  # built-in: counts where it was called
            for (caller, *_), (_, _, part, _) in callers.items():
                packages[place_of(caller)] += part
        else:
            packages[place_of(file)] += own
        if name == "<module>":
            imports[_short(file)] = whole
        functions[f"`{name}`" + (f" {_short(file)}:{first}" if first else "")] = own
    tables = [
        ("package, with the built-in functions that it calls", packages),
        ("imported module, with all that it imports", imports),
        ("function, without what it calls", functions),
    ]
    lines = [f"{number(total)} CPU s with the profiler on."]
    for title, costs in tables:
        lines += ["", *head(title, "CPU s", "share")]
        for name, seconds in sorted(costs.items(), key=lambda item: -item[1])[:MOST]:
            if seconds >= LEAST * total:
                lines.append(line(name, number(seconds), f"{seconds / total:.1%}"))
    return "\n".join(lines)


def place_of(file: str) -> str:
    """The package that a file is of; of reposync, the part."""
    if found := _PLACE.search(file):
        return found["ours"] or found["package"] or f"Python's {found['standard']}"
    return "Python itself"


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])
