"""A virtual environment for each peer, made once and kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

VERSIONS = """
import sys
from importlib.metadata import version
names = [name.partition("[")[0] for name in sys.argv[1:]]
print(", ".join(f"{name} {version(name)}" for name in names))
"""
EXTENSIONS = "import sqlite3; sqlite3.Connection.enable_load_extension"


def python_of(
    name: str,
    packages: Sequence[str],
    cache: Path,
    *,
    bare: Sequence[str] = (),
    extensions: bool = False,
) -> Path | None:
    """The interpreter of the environment that has these packages, and our version of chromadb.

    Without packages it is the one that runs this. Packages that name a chromadb get that one.
    `bare`: packages that are installed without what they require. `extensions`: one whose sqlite3
    loads extensions; None if there is none on this machine.
    """
    if not packages:
        return Path(sys.executable)
    base = _with_extensions() if extensions else sys.executable
    if base is None:
        return None
    wanted = [*packages]
    if not any(package.startswith("chromadb") for package in packages):
        wanted.append(f"chromadb=={version('chromadb')}")
    folder = cache / "environments" / name
    python, made = folder / "bin" / "python", folder / "made-for.json"
    if made.exists() and json.loads(made.read_text()) == [*wanted, *bare]:
        return python
    print(f"making the environment of {name} in {folder}", file=sys.stderr, flush=True)
    subprocess.run([base, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    for options, names in (([], wanted), (["--no-deps"], bare)):
        install = [*pip, "install", "-q", *options, *names]
        if names and (done := subprocess.run(install, capture_output=True, text=True)).returncode:
            said = done.stderr[-2000:]
            raise SystemExit(
                f"{name}: pip cannot install {', '.join(names)}; leave it out with --tools:\n{said}"
            )
    made.write_text(json.dumps([*wanted, *bare]))
    return python


def versions(python: Path, packages: Sequence[str]) -> str:
    """What is installed there."""
    command = [str(python), "-c", VERSIONS, *packages]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _with_extensions() -> str | None:
    for python in (sys.executable, "/usr/bin/python3", shutil.which("python3")):
        if (
            python
            and subprocess.run([python, "-c", EXTENSIONS], capture_output=True).returncode == 0
        ):
            return python
    return None
