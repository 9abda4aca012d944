"""Syncs in a process of their own, with a fault of the machine befalling the first: see `run`.

A full disk can make Chroma hang in native code, permissions do not hold for root, and a limit
cannot be taken back: so all of that happens here, and whoever waits for it has a deadline.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import Desk, HashEmbedding, obey

from reposync import SyncConfig, SyncError, SyncProgress

CONFIG = SyncConfig(chunk_tokens=32, batch_rows=8, max_attempts=2, lock_timeout=5.0)
SECONDS = 60.0
"""That a job may take; it takes 2 on slow cores."""


# -- The faults: each gets the store's folder ------------------------------------------------------


def nothing(store: Path) -> None:
    """No fault."""


def small_files(store: Path) -> None:
    """No file may grow beyond the size of the largest one there is, for the rest of the process."""
    largest = max(file.stat().st_size for file in store.rglob("*") if file.is_file())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))


def no_files(store: Path) -> None:
    """No file may be written beyond its first 64 KiB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))


def ballast(store: Path, left: int) -> None:
    """Fill the store's disk but for `left` bytes."""
    free = shutil.disk_usage(store).free
    with (store.parent / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - left))


def nearly_full(store: Path) -> None:
    """Leave 8 MiB."""
    ballast(store, 8 << 20)


def full(store: Path) -> None:
    """Leave nothing."""
    ballast(store, 0)


def read_only(store: Path) -> None:
    """Take all rights to write from whoever is not root."""
    for path in [store, *store.rglob("*")]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def removed(store: Path) -> None:
    """Somebody's ``rm -rf``."""
    shutil.rmtree(store)


def replaced(store: Path) -> None:
    """Somebody's ``rm -rf``, and an empty folder in its place."""
    shutil.rmtree(store)
    store.mkdir()


def without_database(store: Path) -> None:
    """Chroma's database is gone, and nothing else."""
    for file in store.glob("chroma.sqlite3*"):
        file.unlink()


def without_manifest(store: Path) -> None:
    """The manifest is gone, and nothing else."""
    for file in store.glob("reposync.sqlite3*"):
        file.unlink()


def noise(store: Path) -> None:
    """The manifest is overwritten in place."""
    for file in store.glob("reposync.sqlite3*"):
        size = file.stat().st_size
        with file.open("r+b") as stream:
            stream.write(bytes((7 * at * at + 13) % 251 for at in range(size)))


def clock_ahead(store: Path) -> None:
    """For the rest of the process, the clock is a year ahead."""
    real, real_ns, year = time.time, time.time_ns, 365 * 24 * 3600
    time.time = lambda: real() + year
    time.time_ns = lambda: real_ns() + year * 10**9


def torn_and_damaged(store: Path) -> None:
    """The freshness record is torn, and half of the index's header is gone."""
    (store / ".reposync" / "state.json").write_text('{"generation": ')
    (header,) = store.glob("*/header.bin")
    os.truncate(header, header.stat().st_size // 2)


FAULTS: dict[str, Callable[[Path], None]] = {
    fault.__name__: fault
    for fault in (
        nothing, small_files, no_files, nearly_full, full, read_only, removed, replaced,
        without_database, without_manifest, noise, clock_ahead, torn_and_damaged,
    )
}  # fmt: skip


def heal(store: Path) -> None:
    """Undo what can be undone from outside."""
    (store.parent / "ballast").unlink(missing_ok=True)
    if store.exists():
        for path in [store, *store.rglob("*")]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


# -- The job ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of one sync; `error` is None if it returned."""

    error: str | None
    kinds: tuple[str, ...]
    message: str
    status: str
    total: int
    embedded: int


def run(
    desk: Desk,
    fault: str,
    *,
    after: int = 0,
    again: bool = False,
    obedient: bool = False,
    config: SyncConfig = CONFIG,
) -> list[Outcome]:
    """Sync in a process of its own; see the module's docstring.

    Args:
        desk: the repository and its store.
        fault: the name of one of `FAULTS`.
        after: rows that are written before the fault; 0: it is there before the sync begins.
        again: undo the fault, and sync once more in the same process.
        obedient: permissions hold for the process, even if it is root's.
        config: of the syncs.
    """
    options = {
        "root": str(desk.root), "store": str(desk.store), "log": str(log_of(desk)),
        "fault": fault, "after": after, "again": again,
        "config": config.model_dump_json(),
    }  # fmt: skip
    tests = Path(__file__).parents[1]
    paths = [str(tests.parent), str(tests), *filter(None, [os.environ.get("PYTHONPATH")])]
    home = desk.root.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("XDG_")},
        "HOME": str(home), "PYTHONPATH": os.pathsep.join(paths), "PYTHONFAULTHANDLER": "1",
    }  # fmt: skip
    child = subprocess.run(
        [sys.executable, "-m", "faults.job", json.dumps(options)],
        env=environment, cwd=tests, capture_output=True, text=True, timeout=SECONDS, check=False,
        preexec_fn=obey if obedient else None,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-4000:]
    lines = json.loads(child.stdout.splitlines()[-1])
    return [Outcome(**{**line, "kinds": tuple(line["kinds"])}) for line in lines]


def log_of(desk: Desk) -> Path:
    """Where the texts are noted that are embedded for a desk."""
    return desk.root.parent / "log"


def most_embedded(desk: Desk) -> int:
    """How often the text that was embedded most often was embedded, in all jobs of this desk."""
    log = log_of(desk)
    return max(Counter(log.read_text().split()).values()) if log.exists() else 0


def attempt(desk: Desk, **given: Any) -> dict[str, Any]:
    """One sync, as an `Outcome`."""
    error: BaseException | None = None
    try:
        result = desk.sync(**given)
    except Exception as caught:  # noqa: BLE001 - whatever it is, it is told
        error = caught
        result = caught.result if isinstance(caught, SyncError) else None  # type: ignore[assignment]
        if not isinstance(caught, SyncError):
            import traceback

            traceback.print_exc()
    return {
        "error": type(error).__name__ if error else None,
        "kinds": [kind.__name__ for kind in type(error).__mro__] if error else [],
        "message": str(error or ""),
        "status": result.status if result else "",
        "total": result.chunks.total if result else 0,
        "embedded": result.chunks.embedded if result else 0,
    }


def main() -> int:
    """The child's side of `run`."""
    options = json.loads(sys.argv[1])
    store = Path(options["store"])
    embedding = HashEmbedding(log=Path(options["log"]))
    desk = Desk(Path(options["root"]), store, embedding=embedding)
    desk.config = SyncConfig(**json.loads(options["config"]))
    pending = [FAULTS[options["fault"]]]

    def befall(now: SyncProgress) -> None:
        if pending and now.chunks_written >= options["after"]:
            pending.pop()(store)

    if not options["after"]:
        pending.pop()(store)
    outcomes = [attempt(desk, progress=befall)]
    if options["again"]:
        heal(store)
        outcomes.append(attempt(desk))
    print(json.dumps(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
