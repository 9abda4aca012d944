"""Runs the command as a user would: in a process of its own, in a pipe or on a terminal.

As a program, it runs several commands one after the other and tells of each: loading Chroma and
the model once is most of what a command costs.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "reposync")
SERIES = (sys.executable, __file__)
COLUMNS = 80
BEGIN, END = "\x02", "\x03"

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ran:
    """What a command did; on a terminal, both of its streams are in `out`."""

    code: int
    out: str
    err: str = ""

    @property
    def text(self) -> str:
        """The output without colours, its lines without blanks at their ends."""
        lines = _CODES.sub("", self.out).splitlines()
        return "\n".join(line.rstrip() for line in lines)

    @property
    def widest(self) -> int:
        """How many characters its widest line has."""
        return max(map(len, self.text.splitlines()), default=0)


def environment(home: Path, **more: str) -> dict[str, str]:
    """That of a user with an empty home folder, and a terminal that knows colours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REPOSYNC", "XDG_", "CHROMA"))
        and name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "COLORTERM")
    }
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    home_is = {"HOME": str(home), "USERPROFILE": str(home)}
    return {**kept, **home_is, "TERM": "xterm-256color", "PYTHONPATH": paths, **more}


def in_a_pipe(
    arguments: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    program: Sequence[str] = COMMAND,
    cwd: Path | None = None,
    **options: Any,
) -> Ran:
    """Run a command whose streams are pipes."""
    done = subprocess.run(
        [*program, *map(str, arguments)],
        env=dict(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
        **options,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def on_a_terminal(
    arguments: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    program: Sequence[str] = COMMAND,
    cwd: Path | None = None,
) -> Ran:
    """Run a command on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    with subprocess.Popen(
        [*program, *map(str, arguments)],
        env=dict(env),
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as child:
        os.close(theirs)
        seen = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # so Linux says that nobody has the other side open
                break
            if not block:
                break
            seen += block
        os.close(ours)
    return Ran(child.returncode, seen.decode().replace("\r\n", "\n"))


def several(
    commands: Sequence[Sequence[str]],
    env: Mapping[str, str],
    *,
    terminal: bool = False,
    cwd: Path | None = None,
) -> list[Ran]:
    """Run commands one after the other in one process; both of their streams are in `out`."""
    with NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([list(map(str, command)) for command in commands], file)
        file.flush()
        if terminal:
            told = on_a_terminal([file.name], env, program=SERIES, cwd=cwd).out
        else:
            told = subprocess.run(
                [*SERIES, file.name],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=100,
            ).stdout
    found = re.findall(f"{BEGIN}(.*?){END}(-?[0-9]+)\n", told, re.DOTALL)
    assert len(found) == len(commands), told
    return [Ran(int(code), out) for out, code in found]


def main() -> None:
    """Run the commands that the first argument names as JSON, each a list of arguments."""
    from reposync.command.program import run

    for arguments in json.loads(Path(sys.argv[1]).read_text()):
        print(BEGIN, end="", flush=True)
        code = run(arguments)
        print(f"{END}{code}", flush=True)


if __name__ == "__main__":
    main()
