"""The story: make the files, let everybody index them, change them, again; then print the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from . import changes
from .corpora import make_corpus, make_repository
from .environments import python_of, versions
from .measure import Failed, Usage, measure
from .table import Figure, table
from .tools import OURS, PLAIN, SCRIPTS, TOOLS, Tool, floors
from .verdict import Verdict

ROOT = Path(__file__).parents[3]
ENV = {
    # Ours is run from its sources, whatever is installed.
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    "ANONYMIZED_TELEMETRY": "False",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
SETTLE = 0.1
"""Seconds between a change and a sync. A file that was written less than 20 ms before it is read is
read again the next time: true to life, but no part of what is measured here."""

OPERATIONS: dict[str, Callable[[Path], str] | None] = {
    "cold": None,
    "killed half-way, resumed": None,
    "nothing changed": None,
    "1 % of the files changed": changes.change,
    "a folder renamed": changes.rename,
    "1 % of the files deleted": changes.delete,
}
REPEAT_BELOW = 2.0
REPEATS = 5
"""What changes nothing and takes fewer CPU seconds than that is run so many times."""


@dataclass
class Bench:
    """Everything that a round needs.

    Attributes:
        pythons: the interpreter for each tool.
        model: the folder of the real model; None: vectors come for free.
    """

    scratch: Path
    pythons: dict[str, str | Path]
    model: Path | None
    figures: list[Figure] = field(default_factory=list)
    _cold: dict[str, int] = field(default_factory=dict)

    def round(self, corpus: Path, number: int) -> None:
        """All operations, once, in turn; a new round begins with another tool."""
        scratch = self.scratch / str(number)
        tree = scratch / "tree"
        shutil.copytree(corpus, tree)
        make_repository(tree)
        tools = [tool for tool in TOOLS.values() if tool.name in self.pythons]
        tools = tools[number % len(tools) :] + tools[: number % len(tools)]
        for operation, happen in OPERATIONS.items():
            happened = f" ({happen(tree)})" if happen else ""
            print(f"round {number + 1}: {operation}{happened}", file=sys.stderr, flush=True)
            time.sleep(SETTLE)
            # One that failed once is left out: what it does next would mean nothing.
            tools = [tool for tool in tools if self._operate(operation, tool, tree, scratch)]
            if operation == "nothing changed":
                for name, command in floors(tree).items():
                    self._add(Figure(operation, name, self._repeated(command)))
        shutil.rmtree(scratch)

    def _operate(self, operation: str, tool: Tool, tree: Path, scratch: Path) -> bool:
        """Let a tool do its work, and look at what it did; False if it failed."""
        killed = operation.startswith("killed")
        desk = scratch / (f"{tool.script}-killed" if killed else tool.script)
        desk.mkdir(exist_ok=True)
        store, log = desk / "store", desk / "log"
        model = [self.model] if self.model else []
        command = tool.command(self.pythons[tool.name], tree, store, log, *model)
        try:
            if killed and not self._kill(command, log, self._cold[tool.name] // 2):
                self._add(Figure(operation, tool.name, None, None, "had ended before"))
                return True
            before = 0 if killed else embedded(log)
            if operation == "nothing changed":
                usage = self._repeated(command)
            else:
                usage = measure(command, ENV)
        except Failed as failure:
            print(failure, file=sys.stderr)
            self._add(Figure(operation, tool.name, None, None, "failed"))
            return False
        counted = embedded(log) - before
        if operation == "cold":
            self._cold[tool.name] = counted
        plain = tool is OURS and not killed
        verdict = look(tree, store, scratch, keep_delta=plain)
        self._add(Figure(operation, tool.name, usage, counted, verdict))
        if plain:
            command = [sys.executable, SCRIPTS / "plain_chroma.py", scratch / "plain"]
            self._add(Figure(operation, PLAIN, measure([*command, scratch / "delta"], ENV)))
        return True

    def _repeated(self, command: Sequence[str | Path]) -> Usage:
        usages = [measure(command, ENV)]
        while usages[0].cpu < REPEAT_BELOW and len(usages) < REPEATS:
            usages.append(measure(command, ENV))
        return Usage(*(median(column) for column in zip(*usages, strict=True)))

    def _kill(self, command: Sequence[str | Path], log: Path, texts: int) -> bool:
        """Kill a run when it has embedded so many texts; False if it ended before."""
        with subprocess.Popen(
            command,
            env={**os.environ, **ENV},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as child:
            while child.poll() is None and embedded(log) < texts:
                time.sleep(0.01)
            if child.poll() is not None:
                return False
            os.killpg(child.pid, signal.SIGKILL)
        return True

    def _add(self, figure: Figure) -> None:
        print(f"  {' | '.join(map(str, figure[1:]))}", file=sys.stderr, flush=True)
        self.figures.append(figure)


def embedded(log: Path) -> int:
    """How many texts the log tells of."""
    return sum(map(int, log.read_text().split())) if log.exists() else 0


def look(tree: Path, store: Path, scratch: Path, *, keep_delta: bool) -> Verdict:
    """The verdict on a copy of the store: opening it would leave traces that the next sync sees."""
    copy = scratch / "copy"
    shutil.copytree(store, copy)
    command = [sys.executable, "-m", f"{__package__}.verdict", tree, copy]
    if keep_delta:
        command += ["--state", scratch / "state", "--delta", scratch / "delta"]
    env = {**os.environ, **ENV}
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env).stdout
    shutil.rmtree(copy)
    return Verdict(**json.loads(out.splitlines()[-1]))


def machine() -> str:
    """Where and when."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(": ")[1].strip() for line in file if "model name" in line), "?")
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores ({model}), Python"
        f" {platform.python_version()}, {datetime.now(timezone.utc):%Y-%m-%d}, load"
        f" {os.getloadavg()[0]:.1f}"
    )


def as_json(figures: Sequence[Figure], **facts: Any) -> dict[str, Any]:
    """The same for a program, every single run."""
    return {
        **facts,
        "figures": [
            {
                "operation": figure.operation,
                "who": figure.who,
                **(figure.usage._asdict() if figure.usage else {}),
                "embedded": figure.embedded,
                "afterwards": str(figure.verdict) if figure.verdict is not None else None,
                "rows": figure.verdict.rows if isinstance(figure.verdict, Verdict) else None,
            }
            for figure in figures
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--corpus", default="stdlib", help="stdlib, site-packages, redis, or a folder"
    )
    parser.add_argument("--limit", type=int, help="at most so many files")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", action="store_true", help="the real model, not free vectors")
    parser.add_argument(
        "--tools", default=",".join(TOOLS), help=f"some of {', '.join(TOOLS)}; default: all"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "reposync-peers",
        help="folder for environments, downloaded sources and the model",
    )
    options = parser.parse_args(arguments)
    chosen = [TOOLS[name] for name in options.tools.split(",")]
    pythons: dict[str, str | Path] = {}
    facts = {"machine": machine(), "versions": {}}
    for tool in chosen:
        python = python_of(tool.script, tool.packages, options.cache) if tool.packages else None
        pythons[tool.name] = python or sys.executable
        names = [*tool.packages, "chromadb"] if tool.packages else ["reposync", "chromadb"]
        facts["versions"][tool.name] = versions(pythons[tool.name], names)
    with tempfile.TemporaryDirectory(prefix="reposync-peers-") as scratch:
        corpus = Path(scratch, "corpus")
        facts["corpus"] = make_corpus(options.corpus, corpus, options.cache, ENV, options.limit)
        facts["files"] = len(changes.files_of(corpus))
        print(json.dumps(facts, indent=1), file=sys.stderr)
        bench = Bench(Path(scratch), pythons, None)
        for number in range(options.rounds):
            bench.round(corpus, number)
    print(f"{facts['corpus']}, {facts['files']} files; {facts['machine']}\n")
    print(table(bench.figures))
    if options.json:
        options.json.write_text(json.dumps(as_json(bench.figures, **facts), indent=1) + "\n")
