"""The claim that a folder is whole: a JSON file, written last, with the sums of all its files.

It carries a sum of itself, too. Sums tell damage and edits; they do not tell who wrote a folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError

from reposync._version import __version__
from reposync.errors import ArchiveDamaged, ConfigError
from reposync.report import Report

_BLOCK = 1 << 20
_MOST_BYTES = 64 << 20
_INSIDE = re.compile(r"[a-zA-Z0-9._-]+(/[a-zA-Z0-9._-]+)*")


class FileSum(Report):
    """One file: how long it is, and the SHA-256 of its bytes, in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bytes: int
    sha256: str


class Seal(Report):
    """What the file says.

    Attributes:
        format: what kind of folder it is.
        version: of the format.
        created_at: when it was written, UTC.
        reposync: the version that wrote it.
        about: what is in the folder, in the terms of its kind.
        files: all of its files, by their path in it, ``/`` between the parts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    version: int
    created_at: datetime
    reposync: str
    about: dict[str, Any]
    files: dict[str, FileSum]

    @property
    def bytes(self) -> int:
        """How long all files are together."""
        return sum(file.bytes for file in self.files.values())


def write_seal(
    folder: Path, name: str, kind: str, version: int, about: Mapping[str, Any], files: Iterable[str]
) -> Seal:
    """Sum up `files`, which are in `folder`, and claim that they are all."""
    seal = Seal(
        format=kind,
        version=version,
        created_at=datetime.now(timezone.utc),
        reposync=__version__,
        about=dict(about),
        files={path: file_sum(folder / path) for path in sorted(files)},
    )
    content = seal.model_dump(mode="json")
    content["seal"] = _own_sum(content)
    with (folder / name).open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    return seal


def read_seal(folder: Path, name: str, kind: str, version: int) -> Seal:
    """What a folder claims to be; no other file of it is looked at.

    Raises:
        ConfigError: there is no such folder, or a newer reposync wrote it.
        ArchiveDamaged: it makes no claim, or none that holds.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder. Pass one that a {kind} was written to.")
    try:
        with (folder / name).open("rb") as file:
            seal = _parse(file.read(_MOST_BYTES), kind)
    except FileNotFoundError:
        raise ArchiveDamaged(
            f"{folder} has no {name}: it is no {kind}, or one that was never finished. Pass"
            " another folder."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArchiveDamaged(
            f"{folder / name} cannot be read, or was edited ({error}). Pass another {kind}."
        ) from error
    if seal.version > version:
        raise ConfigError(
            f"{folder} was written by reposync {seal.reposync}, as version {seal.version} of the"
            f" format; this one knows version {version}. Upgrade reposync."
        )
    return seal


def _parse(content: bytes, kind: str) -> Seal:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - a value that cannot be right
    if found.pop("seal", None) != _own_sum(found):
        raise ValueError("its own sum is not right")
    try:
        seal = Seal(**found)
    except (ValidationError, TypeError) as error:
        raise ValueError("it has other fields than it should") from error
    if seal.format != kind:
        raise ValueError(f"it is of a {seal.format[:40]!r}, not of a {kind}")
    for path in seal.files:
        if not _INSIDE.fullmatch(path) or ".." in path.split("/"):
            raise ValueError(f"it names a file outside: {path[:200]!r}")
    return seal


def _own_sum(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def problem_of(folder: Path, path: str, expected: FileSum) -> str | None:
    """What is wrong with a file of a folder that was sealed; None if nothing is."""
    try:
        found = file_sum(inside(folder, path))
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})"
    if found.bytes != expected.bytes:
        return f"{path} has {found.bytes} bytes instead of {expected.bytes}"
    return None if found == expected else f"{path} has another content than was written"


def inside(folder: Path, path: str) -> Path:
    """The file `path` in a folder, for reading; a link, there or on the way, is refused.

    Raises:
        OSError: it is no regular file, or none at all.
    """
    file = folder / path
    if file.is_symlink() or file.resolve() != folder.resolve() / path:
        raise OSError("it is a link")
    if not file.is_file():
        raise OSError("it is missing")
    return file


def file_sum(path: Path) -> FileSum:
    """Sum up one file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return FileSum(bytes=size, sha256=digest.hexdigest())
