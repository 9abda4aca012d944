"""Opening the manifest: found, made, only read, or set aside because it is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from reposync.errors import ManifestError
from reposync.manifest.database import ManifestDamaged, connect
from reposync.manifest.state import Manifest


def open_manifest(
    path: Path, on_damage: Callable[[ManifestDamaged], object] | None = None
) -> Manifest:
    """Open or create the manifest at `path`; a damaged or foreign file is set aside and replaced.

    `on_damage` is told of that.

    Raises:
        ManifestError: it cannot be opened, or a newer reposync made it.
    """
    try:
        return Manifest(connect(str(path)))
    except ManifestDamaged as damage:
        set_aside(path)
        if on_damage is not None:
            on_damage(damage)
        return Manifest(connect(str(path)))


def read_manifest(path: Path) -> Manifest | None:
    """The manifest at `path`, for reading only; None if there is none of use."""
    if not path.exists():
        return None
    try:
        manifest = _open_to_read(path)
    except ManifestDamaged:
        return None
    if manifest.is_empty():
        manifest.close()
        return None
    return manifest


def is_damaged(path: Path) -> bool:
    """True if there is a file at `path` that is no manifest, or not any more."""
    if not path.exists():
        return False
    try:
        _open_to_read(path).close()
    except ManifestDamaged:
        return True
    return False


def _open_to_read(path: Path) -> Manifest:
    try:
        # Not "ro" where that can be helped: it leaves the log files behind when it is closed.
        return Manifest(connect(f"{path.as_uri()}?mode=rw", uri=True))
    except ManifestDamaged:
        raise
    except ManifestError:
        pass
    try:
        return Manifest(connect(f"{path.as_uri()}?mode=ro", uri=True))
    except ManifestDamaged:
        raise
    except ManifestError:
        # In a folder that cannot be written SQLite wants a log to be there, or to be told that
        # none is needed: without one, all is in the file, and nobody is writing to it.
        if path.with_name(f"{path.name}-wal").exists():
            raise
        return Manifest(connect(f"{path.as_uri()}?immutable=1", uri=True))


def memory_manifest() -> Manifest:
    """A manifest in this process's memory, for a store that is there, too."""
    return Manifest(connect(":memory:"))


def set_aside(path: Path) -> None:
    """Rename a file that is no manifest, with what belongs to it, so that nothing is lost."""
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    aside = next(
        name
        for name in (stem, *(f"{stem}-{number}" for number in range(1, 1000)))
        if not path.with_name(name).exists()
    )
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(path.with_name(aside + suffix))
