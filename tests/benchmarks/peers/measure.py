"""What one run of a program costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LAUNCHER = Path(__file__).with_name("launcher.py")


class Usage(NamedTuple):
    """Attributes:
    cpu: seconds, user and system, of the process and of all its descendants.
    wall: seconds until the process ended.
    peak_mb: the most memory that one of the processes had at a time.
    """

    cpu: float
    wall: float
    peak_mb: float


class Failed(Exception):
    """The program did not end well."""


def measure(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Usage:
    """Run a command in fresh processes to its end.

    Raises:
        Failed: it ended with another exit status than 0; the message has the end of its output.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report, output = Path(scratch, "usage.json"), Path(scratch, "output")
        with output.open("wb") as out:
            subprocess.run(
                [sys.executable, "-I", "-S", LAUNCHER, report, *command],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        used = json.loads(report.read_text())
        if used["code"] != 0:
            said = output.read_text(errors="replace")[-3000:]
            raise Failed(f"{' '.join(map(str, command))} ended with {used['code']}:\n{said}")
    return Usage(used["cpu"], used["wall"], used["peak_kb"] / 1024)
