"""Which files are indexed: those that reposync would index, so that all tools get the same."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

RULES = (".gitignore", ".gitattributes", ".gitmodules", ".ignore")
"""Not copied: they say what is ignored, which only some tools heed."""

ACCEPTED = """
import json, sys
from reposync import SyncConfig, plan_repository
plan = plan_repository(
    sys.argv[1], "accepted", store=sys.argv[2], embedding_function=lambda texts: [],
    config=SyncConfig(secrets="skip"),
)
print(json.dumps([action.path for action in plan.actions if action.action == "add"]))
"""


def make_corpus(
    name: str, folder: Path, cache: Path, env: Mapping[str, str], limit: int | None = None
) -> str:
    """Write the files of a corpus into a new folder; gives its name, with a version if it has one.

    `name` is "stdlib", "site-packages", "redis", or the path of a folder.
    """
    shown, files = _find(name, cache)
    for path, data in files:
        if _is_text(path, data):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    make_repository(folder)
    accepted = _accepted(folder, env)
    shutil.rmtree(folder / ".git")
    if limit is not None and limit < len(accepted):
        accepted = random.Random(1).sample(sorted(accepted), limit)
    _keep_only(folder, set(accepted))
    return shown


def make_repository(folder: Path) -> None:
    """Commit all files of a folder."""
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "all of it"]):
        subprocess.run([*git, *command], check=True, env=env)


def _find(name: str, cache: Path) -> tuple[str, Iterable[tuple[str, bytes]]]:
    paths = sysconfig.get_paths()
    if name == "stdlib":
        shown = f"the standard library of Python {sysconfig.get_python_version()}"
        return shown, _walk(Path(paths["stdlib"]), without=("site-packages",))
    if name == "site-packages":
        return "site-packages", _walk(Path(paths["purelib"]))
    if name == "redis":
        from ..quality.debian import fetch, read_files, version_of

        source = fetch("redis", cache)
        if source is None:
            raise SystemExit(
                "Debian's source package of redis cannot be fetched: apt-get is not here, or"
                " reaches no mirror. Choose another corpus."
            )
        texts = read_files(source, ("",))
        files = ((path, text.encode()) for path, text in sorted(texts.items()))
        return version_of(source), files
    if not Path(name).is_dir():
        raise SystemExit(f"{name} is no folder.")
    return name, _walk(Path(name))


def _walk(root: Path, without: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    for folder, names, files in os.walk(root):
        names[:] = sorted({*names} - {".git", "__pycache__", *without})
        for file in sorted(files):
            path = Path(folder, file)
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(root)), path.read_bytes()


def _is_text(path: str, data: bytes) -> bool:
    if not data.strip() or b"\0" in data or Path(path).name in RULES:
        return False
    try:
        data.decode("utf-8")
        path.encode("utf-8")
    except UnicodeError:
        return False
    return True


def _accepted(folder: Path, env: Mapping[str, str]) -> list[str]:
    command = [sys.executable, "-c", ACCEPTED, str(folder), str(folder.with_name("no-store"))]
    out = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **env}
    ).stdout
    paths: list[str] = json.loads(out)
    return paths


def _keep_only(folder: Path, wanted: set[str]) -> None:
    for path in [file for file in folder.rglob("*") if file.is_file()]:
        if str(path.relative_to(folder)) not in wanted:
            path.unlink()
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
