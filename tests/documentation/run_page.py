"""Run the blocks of a page in a prepared folder, one after the other, as its reader would.

    python run_page.py PAGE        # in the prepared folder

A program of its own, so that what a page sets up (logging, metrics, threads) goes with it.
"""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from blocks import ROOT, Block, blocks

ELSEWHERE = ("backups", "etc", "opt", "srv", "tmp", "var/lib")
"""Folders at the root of the reader's disk; here they are below ``root/`` in the folder."""

EXAMPLES = "docs/reference/command.md"
"""One example after the other of a command that does much: their options are looked at, no more."""

PORTS = re.compile(r"(?<![\w.])(8000|8001|9464|6379)(?!\w)")
CRON = re.compile(r"^(?:(?:[\d*/,-]+ ){5}|@\w+ )(.+)$")
CRON_PATH = "/usr/bin:/bin"
START_SECONDS = 60


class Reader:
    """Does what a page says."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.here = Path.cwd()
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.ports: dict[str, str] = {}
        self.units: list[Path] = []
        self.children: list[subprocess.Popen[bytes]] = []

    def read(self) -> None:
        """All blocks, then what only makes sense together."""
        try:
            for block in blocks(self.page):
                print(f"--- {block.page}:{block.line} {block.language}", flush=True)
                self.follow(block)
            if self.units:
                verify_units(self.units)
        finally:
            for child in self.children:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def follow(self, block: Block) -> None:
        """One block."""
        code = self.at_home(block.code)
        if block.title:
            self.put(self.at_home(block.title), code)
        if not block.runs:
            check_only(block)
        elif block.language == "python" and self.runs_later(block):
            compile(code, self.page, "exec")
        elif block.language == "python":
            # Blank lines before it, so that a traceback names the line of the page.
            program = compile("\n" * (block.line - 1) + code, self.page, "exec")
            exec(program, self.names)
        elif block.language == "sh" and self.page == EXAMPLES:
            check_options(code)
        elif block.language == "sh":
            if not block.title:
                self.run(code, block)
        else:
            self.parse(block, code)

    def runs_later(self, block: Block) -> bool:
        """True if the page has its reader run that file afterwards."""
        later = (b for b in blocks(self.page) if b.line > block.line and b.language == "sh")
        return bool(block.title) and any(f"python {block.title}" in b.code for b in later)

    def at_home(self, text: str) -> str:
        """`text` with the reader's folders and ports replaced by those that are free here."""
        folders = "|".join(ELSEWHERE)
        text = re.sub(rf"(?<![\w./~-])/({folders})(?=/)", rf"{self.here}/root/\1", text)
        return PORTS.sub(lambda found: self.ports.setdefault(found[0], free_port()), text)

    def put(self, name: str, text: str) -> None:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        if path.suffix in (".service", ".timer", ".socket"):
            self.units.append(path)

    def run(self, code: str, block: Block) -> None:
        command = ["bash", "-euo", "pipefail", "-c", code]
        if block.kind == "background":
            child = subprocess.Popen(command, start_new_session=True)
            self.children.append(child)
            wait_for(int(self.at_home(block.said)), child)
            return
        ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
        wanted = int(block.said) if block.kind == "exit code" else 0
        if ended.returncode != wanted:
            sys.exit(f"{block.page}:{block.line}: exit code {ended.returncode}, not {wanted}")

    def parse(self, block: Block, code: str) -> None:
        if block.language == "toml":
            toml(code)
        elif block.language == "yaml":
            list(yaml.safe_load_all(code))
        elif block.language == "json":
            json.loads(code)
        elif block.language == "ini":
            configparser.ConfigParser(strict=False, interpolation=None).read_string(code)
        elif block.language == "crontab":
            for line in code.splitlines():
                self.cron(line, block)
        else:
            sys.exit(f"{block.page}:{block.line}: what is {block.language!r}? See blocks.py")

    def cron(self, line: str, block: Block) -> None:
        """Run what cron would run, which knows no environment but the system's own."""
        if not line.strip() or line.startswith("#"):
            return
        if re.match(r"[A-Z_]+=", line):
            os.environ.update([line.split("=", 1)])
            return
        found = CRON.match(line)
        if found is None:
            sys.exit(f"{block.page}:{block.line}: no line of a crontab: {line}")
        self.run(f"export PATH={CRON_PATH}; " + found[1].replace(r"\%", "%"), block)


def check_only(block: Block) -> None:
    """What does not run is at least no nonsense."""
    if block.language == "python":
        compile(block.code, block.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    elif block.language == "sh":
        subprocess.run(["bash", "-n"], input=block.code.encode(), check=True)


def check_options(code: str) -> None:
    """Are the options of each example there? With ``--help`` all are read and nothing is done."""
    from reposync.command import main

    for arguments in re.findall(r"^(?:watch )?reposync (.*?)(?: \|.*)?$", code, re.MULTILINE):
        sys.argv = ["reposync", *shlex.split(arguments), "--help"]
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise


def verify_units(units: list[Path]) -> None:
    """What systemd says of them; where it is not installed, they were parsed, which must do."""
    try:
        said = subprocess.run(
            ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return
    about = [line for line in said.stderr.splitlines() if any(u.name in line for u in units)]
    if said.returncode or about:
        sys.exit(f"systemd-analyze verify: {said.stderr}")


def toml(text: str) -> dict[str, Any]:
    """By whichever parser this Python has."""
    try:
        import tomllib
    except ModuleNotFoundError:
        import tomli as tomllib  # type: ignore[import-not-found, no-redef]
    return tomllib.loads(text)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def wait_for(port: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing answers on port {port}")


def no_downloads() -> None:
    """Chroma's own function computes with our runner: it would download the weights first."""
    from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2

    from reposync.embed import make_embedder

    runner = make_embedder(None)

    def compute(_: object, input: list[str]) -> list[Any]:  # noqa: A002 - Chroma's name for it
        return list(runner.embed(input))

    ONNXMiniLM_L6_V2.__call__ = compute  # type: ignore[method-assign]


if __name__ == "__main__":
    if "query_texts" in (ROOT / sys.argv[1]).read_text("utf-8"):
        no_downloads()
    Reader(sys.argv[1]).read()
