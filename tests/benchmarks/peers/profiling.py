"""Where our own time goes: CPU seconds by stage, by package and by function."""

from __future__ import annotations

import pstats
import re
import shutil
from collections import defaultdict
from pathlib import Path

from .changes import change
from .corpora import make_repository
from .stages import staged, stages_table
from .table import head, line, number

LEAST = 0.01
"""Functions with a smaller share of the whole are not shown."""

_PLACE = re.compile(
    r"site-packages/(?P<package>[^/.]+)|(?P<ours>reposync/\w+)|/python[\d.]+/(?P<std>\w+)"
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
    """Where the CPU time was spent, by package and by function, without what they called."""
    total = stats.total_tt  # type: ignore[attr-defined]
    packages: dict[str, float] = defaultdict(float)
    functions: dict[str, tuple[float, int]] = {}
    for (file, first, name), (_, calls, own, *_) in stats.stats.items():  # type: ignore[attr-defined]
        place = place_of(file, name)
        packages[place] += own
        functions[f"`{name}` {Path(file).name}:{first}" if first else f"`{name}`"] = own, calls
    lines = [f"With the profiler on, {number(total)} CPU s. By package:", ""]
    lines += head("package", "own CPU s", "share")
    for place, own in sorted(packages.items(), key=lambda item: -item[1]):
        if own >= LEAST * total:
            lines.append(line(place, number(own), f"{own / total:.1%}"))
    lines += ["", "By function:", "", *head("function", "calls", "own CPU s", "share")]
    for name, (own, calls) in sorted(functions.items(), key=lambda item: -item[1][0]):
        if own >= LEAST * total:
            lines.append(line(name, str(calls), number(own), f"{own / total:.1%}"))
    return "\n".join(lines)


def place_of(file: str, name: str) -> str:
    """The package that a function is of; of built-in ones, what they themselves say."""
    if found := _PLACE.search(file):
        return found["ours"] or found["package"] or f"Python's {found['std']}"
    return "built-in: " + name.strip("<>").removeprefix("built-in method ").split()[0].split(".")[0]
