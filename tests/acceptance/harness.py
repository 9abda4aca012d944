"""How the acceptance tests start children: a sync, the checker, git. All of them have a deadline.

A damaged store can make Chroma hang, so nothing here waits without a limit; a child that is late is
killed, and that fails the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hash_embedding import DIMENSION, read_log

if TYPE_CHECKING:
    from collections import Counter

HERE = Path(__file__).parent
DEADLINE = 100.0
"""Seconds that a sync or a check may take; they take 2-10 on two slow cores, and up to 70 where
those have much else to do."""


def environment() -> dict[str, str]:
    """The environment of a child: no settings of the machine's git, the same Python path."""
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    paths = [str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    loud = {"PYTHONFAULTHANDLER": "1", "PYTHONPATH": os.pathsep.join(paths)}
    return {**os.environ, **quiet, **loud}


def start(script: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start a script of this folder as a process of its own; its output goes to pipes."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, env=environment(), text=True, **pipes)


def run(script: str, *arguments: str | Path, timeout: float = DEADLINE) -> tuple[int, str, str]:
    """Run a script of this folder to its end: (exit status, output, errors)."""
    with start(script, *arguments) as child:
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            raise AssertionError(f"{script} hung for {timeout} s: {out[-2000:]}\n{err}") from None
        return child.returncode, out, err


def git(tree: Path, *arguments: str) -> str:
    """Run git in a tree, with an identity, without the machine's settings."""
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments],
        cwd=tree,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def index_files(store: Path) -> dict[str, tuple[int, int]]:
    """What tells one state of the vector indexes' files from the next."""
    state = {}
    for file in store.glob("*-*-*/*.bin"):
        with contextlib.suppress(FileNotFoundError):
            found = file.stat()
            state[str(file)] = found.st_size, found.st_mtime_ns
    return state


@dataclass
class Workshop:
    """One repository, one store, and a log of all texts embedded for it."""

    tree: Path
    store: Path
    log: Path
    name: str = "repo"
    collection: str = ""
    dimension: int = DIMENSION
    seconds: dict[str, float] = field(default_factory=dict)
    said: str = ""
    """What the last sync wrote to its log, from warnings on."""

    def driver_arguments(self) -> list[str | Path]:
        where = ["--store", self.store, "--log", self.log]
        return [self.tree, self.name, *where, "--dimension", str(self.dimension)]

    def sync(self, step: str, *extra: str, timeout: float = DEADLINE) -> dict[str, Any]:
        """Sync in a fresh process; its result, with the texts embedded according to the log."""
        before = self.log.stat().st_size if self.log.exists() else 0
        began = time.monotonic()
        status, out, err = run("driver.py", *self.driver_arguments(), *extra, timeout=timeout)
        self.seconds[step] = time.monotonic() - began
        assert status == 0, f"{step}: sync ended with {status}\n{out[-2000:]}\n{err[-6000:]}"
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
        self.collection, self.said = result["collection"], err.strip()
        logged = read_log(self.log, before)
        assert result["chunks"]["embedded"] == logged.total(), f"{step}: {result['chunks']}"
        assert set(logged.values()) <= {1}, f"{step}: one text embedded several times in one run"
        return result

    def check(self, step: str, *extra: str | Path, timeout: float = DEADLINE) -> dict[str, Any]:
        """Have the checker find nothing wrong."""
        report = self.report(*extra, timeout=timeout)
        problems = report["problems"]
        assert not problems, f"after {step}: {len(problems)} problems\n" + "\n".join(problems[:20])
        assert not report["unknown"], f"the trees are meant to be UTF-8: {report['unknown']}"
        return report

    def report(self, *extra: str | Path, timeout: float = DEADLINE) -> dict[str, Any]:
        """What the checker says."""
        where = ["--store", self.store, "--collection", self.collection]
        what = ["--repository", self.name, "--root", self.tree, "--dimension", str(self.dimension)]
        status, out, err = run("checker.py", *where, *what, *extra, timeout=timeout)
        assert status in (0, 1), f"the checker ended with {status}\n{err}"
        assert out, err
        report: dict[str, Any] = json.loads(out)
        assert (status == 1) == bool(report["problems"])
        return report

    def embedded(self) -> Counter[str]:
        """How often each text was embedded since the log was begun."""
        return read_log(self.log)

    def with_copied_store(self, folder: Path) -> Workshop:
        """The same repository, with a copy of its store (times are kept, inodes are not)."""
        folder.mkdir(exist_ok=True)
        shutil.copytree(self.store, folder / "store")
        shutil.copy2(self.log, folder / "log")
        return replace(self, store=folder / "store", log=folder / "log", seconds={})
