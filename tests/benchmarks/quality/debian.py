"""Sources of Debian's packages, with the upstream commits that its maintainers applied to them.

A stable release of Debian carries security fixes as the upstream project's own commits, each with
its subject, over the unchanged source of the release: a real history that a package registry has.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from email.parser import HeaderParser
from pathlib import Path
from typing import NamedTuple

_SUITE = "deb-src {key}http://deb.debian.org/debian bookworm main\n"
_KEY = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_CHANGED = re.compile(r"^\+\+\+ [^/\s]+/(\S+)", re.MULTILINE)
_TAGS = re.compile(r"^(?:\[[^\]]*\]\s*)+")


class Commit(NamedTuple):
    subject: str
    paths: frozenset[str]


def fetch(package: str, cache: Path) -> Path | None:
    """The folder with the package's source archives; None if apt-get cannot fetch them."""
    folder = cache / "debian" / package
    if list(folder.glob("*.dsc")):
        return folder
    for part in ("lists/partial", "cache/archives/partial"):
        (cache / "apt" / part).mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    sources = cache / "apt" / "sources.list"
    sources.write_text(_SUITE.format(key=f"[signed-by={_KEY}] " if _KEY.exists() else ""))
    apt = ["apt-get", "-q", "-o", f"Dir::Etc::SourceList={sources}"]
    apt += ["-o", "Dir::Etc::SourceParts=/dev/null", "-o", f"Dir::State::Lists={cache}/apt/lists"]
    apt += ["-o", f"Dir::Cache={cache}/apt/cache"]
    try:
        if not list((cache / "apt" / "lists").glob("*Sources*")):
            subprocess.run([*apt, "update"], check=True, capture_output=True)
        command = [*apt, "source", "--download-only", package]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
    except (OSError, subprocess.CalledProcessError):
        return None
    return folder


def read_files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """The released source's files that end so and are UTF-8, without the patches."""
    files = {}
    for path, data in _members(next(folder.glob("*.orig.tar.*[!c]")), strip=True):
        if path.endswith(suffixes):
            try:
                files[path] = data.decode("utf-8")
            except UnicodeDecodeError:
                continue
    return files


def read_commits(folder: Path) -> list[Commit]:
    """The patches in the order in which they are applied, those with a subject."""
    patches = {
        path: data.decode("utf-8", "replace")
        for path, data in _members(next(folder.glob("*.debian.tar.*")))
        if path.startswith("debian/patches/")
    }
    names = [line.split("#")[0].split() for line in patches["debian/patches/series"].splitlines()]
    commits = []
    for name in names:
        patch = patches.get(f"debian/patches/{name[0]}", "") if name else ""
        headers = HeaderParser().parsestr(re.sub(r"\AFrom \w+ .*\n", "", patch))
        subject = _TAGS.sub("", " ".join(str(headers["Subject"] or "").split()))
        if subject:
            commits.append(Commit(subject, frozenset(_CHANGED.findall(patch))))
    return commits


def version_of(folder: Path) -> str:
    """Package and version, as Debian writes them."""
    return next(folder.glob("*.dsc")).stem.replace("_", " ")


def _members(archive: Path, *, strip: bool = False) -> list[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        return [
            (member.name.split("/", 1)[1] if strip else member.name, opened.read())
            for member in tar
            if member.isfile() and (opened := tar.extractfile(member))
        ]
