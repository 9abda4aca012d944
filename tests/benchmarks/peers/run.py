"""The command: make the environments and the files, run the rounds, print the table."""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .bench import Bench
from .changes import files_of
from .compare import FILES, PEERS, around, comparison, paste
from .corpora import make_corpus
from .environments import python_of, versions
from .model import fast_packages, make_model
from .operations import OPERATIONS
from .profiling import profile
from .scale import scale
from .table import Figure, table
from .tools import ENV, FAST, ROOT, SCRIPTS, TOOLS, Tool
from .verdict import Verdict


def machine() -> str:
    """Where and when."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(": ")[1].strip() for line in file if "model name" in line), "?")
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores ({model}), Python"
        f" {platform.python_version()}, {datetime.now(timezone.utc):%Y-%m-%d}, load"
        f" {os.getloadavg()[0]:.1f}"
    )


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """The same for a program, every single run."""
    return [
        {
            "operation": figure.operation,
            "who": figure.who,
            **(figure.usage._asdict() if figure.usage else {}),
            "embedded": figure.embedded,
            "afterwards": str(figure.verdict) if figure.verdict is not None else None,
            "rows": figure.verdict.rows if isinstance(figure.verdict, Verdict) else None,
        }
        for figure in figures
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = _options(arguments)
    # Where sources are compiled at each start, as $PYTHONDONTWRITEBYTECODE has it, ours would pay
    # for what installed packages are spared.
    for folder in (ROOT / "reposync", SCRIPTS):
        compileall.compile_dir(folder, quiet=1)
    if options.scale:
        print(f"{machine()}\n\n{scale(options.scale, options.cache)}")
        return
    with tempfile.TemporaryDirectory(prefix="reposync-peers-") as scratch:
        corpus = Path(scratch, "corpus")
        shown = make_corpus(options.corpus, corpus, options.cache, ENV, options.limit)
        title = f"{shown}, {len(files_of(corpus))} files; {machine()}"
        if options.profile:
            print(f"{title}\n\n{profile(corpus, Path(scratch))}")
            return
        pythons, found = _tools(options)
        listed = "\n".join(f"- {name}: {what}" for name, what in found.items())
        print(f"{title}\n\n{listed}", file=sys.stderr)
        env, model = dict(ENV), None
        if options.model:
            model = make_model(options.cache, ENV)
            if FAST in pythons and (extra := fast_packages(options.cache)):
                env["PYTHONPATH"] += os.pathsep + str(extra)
        bench = Bench(corpus, Path(scratch), pythons, env, model, floors=not options.compare)
        for number in range(options.rounds):
            bench.round(number, [OPERATIONS[name] for name in options.operations.split(",")])
    if options.compare:
        text = comparison(title, found, bench.figures)
    else:
        text = f"{title}\n\n{listed}\n\n{table(bench.figures)}"
    print(text)
    if options.into:
        paste(text, options.into)
    if options.json:
        results = {"what": title, "versions": found, "figures": as_json(bench.figures)}
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def _tools(options: argparse.Namespace) -> tuple[dict[Tool, Path], dict[str, str]]:
    """The interpreter for each tool, and for all that are asked for what is installed there."""
    pythons, found = {}, {}
    for name in options.tools.split(","):
        tool = TOOLS[name]
        if tool is FAST and not options.model:
            continue  # nothing is embedded that it could do faster
        python = python_of(
            name, tool.packages, options.cache, bare=tool.bare, extensions=tool.extensions
        )
        if python is None:
            found[tool.name] = "NOT MEASURED: the sqlite3 of no Python here loads extensions"
        else:
            pythons[tool] = python
            found[tool.name] = versions(python, tool.shown)
    return pythons, found


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.into and not options.compare:
        parser.error("--into is for --compare")
    if options.into:
        around(options.into)  # better now than when all is measured
    if options.compare:
        options.model, options.limit = True, options.limit or FILES
    options.tools = options.tools or ",".join(PEERS if options.compare else TOOLS)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--corpus", default="stdlib", help="stdlib, site-packages, redis, or a folder"
    )
    parser.add_argument("--limit", type=int, help="at most so many files")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", action="store_true", help="the real model, not free vectors")
    parser.add_argument(
        "--tools", help=f"some of {', '.join(TOOLS)}; default: all, with --compare without fast"
    )
    parser.add_argument(
        "--operations", default=",".join(OPERATIONS), help=f"some of {', '.join(OPERATIONS)}"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="the table of the comparison page: --model, and a sample of"
        f" {FILES} files unless --limit says otherwise",
    )
    parser.add_argument(
        "--into", type=Path, metavar="PAGE", help="put that table into this page, too"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "reposync-peers",
        help="folder for environments, downloaded sources and the model",
    )
    parser.add_argument(
        "--profile", action="store_true", help="instead: where our own time goes, by stage"
    )
    parser.add_argument(
        "--scale", type=int, metavar="FILES", help="instead: made-up trees of up to so many files"
    )
    return parser
