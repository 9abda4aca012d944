"""One round: everybody does the same operation, then the next; what it cost, and what came out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from .corpora import make_repository
from .measure import Failed, Usage, measure
from .operations import UNCHANGED, Operation
from .table import Figure
from .tools import CHROMAS, FAST, OURS, PLAIN, RUNNER, SCRIPTS, Tool, floors
from .verdict import Verdict

PATIENCE = 600.0
"""Seconds in which the verdict must be there; 30 000 rows take less than a minute."""

SETTLE = 0.1
"""Seconds between a change and a sync. A file that was written less than 20 ms before it is read is
read again the next time: true to life, but no part of what is measured here."""

REPEAT_BELOW = 2.0
REPEATS = 5
"""What changes nothing and takes fewer CPU seconds than that is run so many times."""


@dataclass
class Bench:
    """Everything that a round needs.

    Attributes:
        pythons: the interpreter for each tool, in order.
        env: for every program that is run.
        model: the folder of the real model; None: vectors come for free.
        floors: measure, too, what no sync can be cheaper than.
        figures: what was measured so far.
    """

    corpus: Path
    scratch: Path
    pythons: Mapping[Tool, str | Path]
    env: Mapping[str, str]
    model: Path | None = None
    floors: bool = True
    figures: list[Figure] = field(default_factory=list)

    def round(self, number: int, operations: Sequence[Operation]) -> None:
        """All operations, once, in turn; each round begins with another tool."""
        folder = self.scratch / str(number)
        shutil.copytree(self.corpus, folder / "tree")
        make_repository(folder / "tree")
        tools = list(self.pythons)
        tools = tools[number % len(tools) :] + tools[: number % len(tools)]
        desks = [Desk(self, tool, folder) for tool in tools]
        for operation in operations:
            happened = f" ({operation.change(folder / 'tree')})" if operation.change else ""
            print(f"round {number + 1}: {operation.title}{happened}", file=sys.stderr, flush=True)
            time.sleep(SETTLE)
            # A tool that failed is left out from then on: what it does next would mean nothing.
            desks = [desk for desk in desks if desk.work(operation)]
            if operation is UNCHANGED and self.floors:
                for name, command in floors(folder / "tree").items():
                    usage, _ = repeated(command, self.env)
                    self.add(Figure(operation.title, name, usage))
        shutil.rmtree(folder)

    def add(self, figure: Figure) -> None:
        """Keep a figure, and show it."""
        print(f"  {' | '.join(map(str, figure[1:]))}", file=sys.stderr, flush=True)
        self.figures.append(figure)


@dataclass
class Desk:
    """Where one tool works in one round.

    Attributes:
        cold: how many texts it embedded when it began with nothing.
    """

    bench: Bench
    tool: Tool
    folder: Path
    cold: int = 0

    def work(self, operation: Operation) -> bool:
        """Let the tool do its work, and look at what it did; False if it failed."""
        try:
            figure = self._measured(operation)
        except Failed as failure:
            print(failure, file=sys.stderr)
            self.bench.add(Figure(operation.title, self.tool.name, verdict="failed"))
            return operation.fresh
        self.bench.add(figure)
        if self.bench.floors and not operation.fresh:
            for floor in self._floors():
                self.bench.add(floor._replace(operation=operation.title))
        return operation.fresh or isinstance(figure.verdict, Verdict)

    def _floors(self) -> Iterator[Figure]:
        """What our sync cannot be cheaper than."""
        log, delta, model = self.folder / "floor-log", self.folder / "delta", self.bench.model
        if self.tool is OURS:
            plain: list[str | Path] = [SCRIPTS / "plain_chroma.py", self.folder / "plain", delta]
            yield Figure("", PLAIN, measure([sys.executable, *plain], self.env))
        if model and self.tool in (OURS, FAST):
            floors = {RUNNER + self.tool.name.removeprefix("reposync"): [delta, log]}
            if self.tool is OURS:
                floors[CHROMAS] = [delta, log, model]
            for name, arguments in floors.items():
                before = embedded(log)
                script = [sys.executable, SCRIPTS / "pure_embedding.py", *arguments]
                usage = measure(script, self.env)
                yield Figure("", name, usage, embedded(log) - before)

    @property
    def env(self) -> dict[str, str]:
        """For what this tool runs."""
        return {**self.bench.env, "PEERS_HIDE": self.tool.hides}

    def _measured(self, operation: Operation) -> Figure:
        place = self.folder / self.tool.name
        if operation.fresh:
            place = self.folder / f"{self.tool.name} {operation.title}".replace(",", "")
        place.mkdir(exist_ok=True)
        store, log = place / "store", place / "log"
        model = [self.bench.model] if self.bench.model else []
        python = self.bench.pythons[self.tool]
        command = self.tool.command(python, self.folder / "tree", store, log, *model)
        before, runs, written = embedded(log), 1, 0
        if operation.killed and not kill(command, self.env, log, self.cold // 2):
            return Figure(operation.title, self.tool.name, verdict="ended before it was killed")
        if operation is UNCHANGED:
            usage, runs = repeated(command, self.env)
        elif operation.neighbour and self.tool.elsewhere:
            why = f"not measured: its rows are {self.tool.elsewhere}"
            return Figure(operation.title, self.tool.name, verdict=why)
        elif operation.neighbour:
            with neighbour(store, self.env, locked=self.tool in (OURS, FAST)) as counted:
                usage = measure(command, self.env)
            written = counted[0]
        else:
            usage = measure(command, self.env)
        texts = (embedded(log) - before) // runs
        self.cold = self.cold or texts
        verdict = self._look(store, keep_delta=self.tool is OURS and not operation.fresh)
        if isinstance(verdict, Verdict):
            verdict = verdict._replace(lost=written - verdict.others)
        if operation.fresh:
            shutil.rmtree(place)
        return Figure(operation.title, self.tool.name, usage, texts, verdict)

    def _look(self, store: Path, *, keep_delta: bool) -> Verdict | str:
        """The verdict on a copy: opening a store leaves traces that the next sync would see."""
        copy = self.folder / "copy"
        shutil.copytree(store, copy)
        command = [sys.executable, "-m", "peers.verdict", str(self.folder / "tree"), str(copy)]
        if self.tool.elsewhere:
            rows = self.folder / "rows"
            dump = self.tool.command(self.bench.pythons[self.tool], "--rows", copy)
            with rows.open("wb") as file:
                subprocess.run(dump, check=True, stdout=file)
            command.append(f"--rows={rows}")
        if keep_delta:
            command += [f"--state={self.folder / 'state'}", f"--delta={self.folder / 'delta'}"]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        verdict = judged(command, env)
        shutil.rmtree(copy)
        return verdict


def judged(
    command: Sequence[str | Path], env: Mapping[str, str], patience: float = PATIENCE
) -> Verdict | str:
    """What a program says that prints a `Verdict`; or that it came to no end: Chroma may crash."""
    try:
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, env=env, timeout=patience
        )
    except subprocess.TimeoutExpired:
        return "who reads the collection waits without end"
    if done.returncode < 0:
        return f"who reads the collection dies of {signal.Signals(-done.returncode).name}"
    done.check_returncode()
    return Verdict(**json.loads(done.stdout.splitlines()[-1]))


def repeated(command: Sequence[str | Path], env: Mapping[str, str]) -> tuple[Usage, int]:
    """Medians over some runs, if it is quick; and how many they were."""
    usages = [measure(command, env)]
    while usages[0].cpu < REPEAT_BELOW and len(usages) < REPEATS:
        usages.append(measure(command, env))
    return Usage(*(median(column) for column in zip(*usages, strict=True))), len(usages)


def kill(command: Sequence[str | Path], env: Mapping[str, str], log: Path, texts: int) -> bool:
    """Kill a run when it has embedded so many texts; False if it ended before."""
    with subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        while child.poll() is None and embedded(log) < texts:
            time.sleep(0.01)
        if child.poll():
            raise Failed(f"it ended with {child.returncode} before it was to be killed")
        if child.poll() is not None:
            return False
        os.killpg(child.pid, signal.SIGKILL)
    return True


@contextmanager
def neighbour(store: Path, env: Mapping[str, str], *, locked: bool) -> Iterator[list[int]]:
    """Another process that writes during the block; afterwards it tells how many rows it wrote."""
    command = [sys.executable, str(SCRIPTS / "neighbour.py"), str(store)]
    if locked:
        command.append("--lock")
    counted: list[int] = []
    with subprocess.Popen(
        command, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            yield counted
        finally:
            out = child.communicate()[0]
    if child.returncode != 0:
        raise Failed(f"the neighbour ended with {child.returncode}")
    counted += map(int, out.split())


def embedded(log: Path) -> int:
    """How many texts the log tells of."""
    return sum(map(int, log.read_text().split())) if log.exists() else 0
