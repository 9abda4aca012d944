"""Copies and examines a store from a child process: ``python -m reposync.operations.examine``.

As in `reposync.probe`: Chroma's database must not be opened by a process that has a Chroma client
on it, and reading an index can crash whoever does it.

- ``copy`` copies Chroma's database by SQLite's backup API, each time it is told to.
- ``inspect`` tells what is wrong with the files of a copy of a store, which nobody else uses.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reposync.errors import StoreError, StoreUnavailable
from reposync.manifest import FILE_NAME
from reposync.probe import chromas_database, flush_cut_off, last_words, run_child
from reposync.retry import Fault, fault_of

DATABASE = "chroma.sqlite3"
COPY_SECONDS = 60.0
"""That the copy waits for one who writes without the lock."""

MOST_PROBLEMS = 20


# -- the parent's side ---------------------------------------------------------------------------


class Copier:
    """A child process that copies Chroma's database; it is running already, so nobody waits."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def copy(self) -> None:
        """Copy it now, in place of an earlier copy.

        Raises:
            StoreError: that cannot be done.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write("copy\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # it has died, and will say why
        self.expect("copied")

    def expect(self, word: str) -> None:
        """Wait for the word; raise `StoreError` if another one comes, or the end."""
        assert self._child.stdout is not None
        if self._child.stdout.readline().strip() != word:
            _, errors = self._child.communicate()
            done = subprocess.CompletedProcess((), self._child.returncode, "", errors)
            raise _cannot_copy(last_words(done))


def _cannot_copy(why: str) -> StoreError:
    if fault_of(OSError(why)) is Fault.DISK:
        return StoreUnavailable(
            f"Chroma's database cannot be copied ({why}). Make room, or give the permission, and"
            " call again; nothing was left behind."
        )
    return StoreError(
        f"Chroma's database cannot be copied ({why}). If a program writes without the lock, have it"
        " take ChromaLock, or stop it; if the database is damaged, copy the folder by hand."
    )


@contextmanager
def copier(folder: Path, target: Path) -> Iterator[Copier]:
    """A child process that is ready to copy the database of a store's folder to the file `target`.

    Raises:
        StoreError: it does not start.
    """
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", __name__, "copy", str(folder), str(target)]
    with subprocess.Popen(  # noqa: S603 - our own module, no shell
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as child:
        try:
            found = Copier(child)
            found.expect("ready")
            yield found
            child.communicate()  # ends its input
        finally:
            child.kill()


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at a copy of a store found.

    Attributes:
        database: what is wrong with Chroma's database.
        manifest: what is wrong with the manifest.
        indexes: what is wrong with vector indexes: whole folders.
        collections: rows by collection.
    """

    database: list[str] = field(default_factory=list)
    manifest: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    collections: dict[str, int] = field(default_factory=dict)


def inspect_in_child(folder: Path, size: int) -> Findings:
    """Look at a copy of a store that nobody uses; `size`: its bytes.

    Raises:
        StoreError: it cannot be looked at.
    """
    seconds = 60 + size / 2**20
    try:
        child = run_child("inspect", [str(folder)], seconds, module=__name__)
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"Looking at {folder} did not end within {seconds:.0f} s.") from error
    if child.returncode != 0:
        raise StoreError(f"{folder} cannot be looked at: {last_words(child)}")
    return Findings(**json.loads(child.stdout))


# -- the child's side ----------------------------------------------------------------------------


def copy(folder: str, target: str) -> str:
    """See `copier`: answers each line of its input with one line, when it is done."""
    _say("ready")
    for _ in sys.stdin:
        Path(target).unlink(missing_ok=True)
        # For writing, since the journal of one who was killed must be rolled back.
        with chromas_database(folder, "mode=rw") as db, closing(sqlite3.connect(target)) as to:
            # Until the last file is in place the copy counts for nothing, so it needs no journal.
            to.execute("PRAGMA journal_mode = OFF")
            to.execute("PRAGMA synchronous = OFF")
            _back_up(db, to)
        _say("copied")
    return "end"


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _back_up(db: sqlite3.Connection, to: sqlite3.Connection) -> None:
    ends = time.monotonic() + COPY_SECONDS

    def check(status: int, remaining: int, total: int) -> None:
        if status != sqlite3.SQLITE_DONE and time.monotonic() > ends:
            raise TimeoutError(f"it was not free within {COPY_SECONDS:.0f} s")

    db.backup(to, progress=check)


_COLLECTIONS = """
SELECT database.tenant_id, database.name, collection.name, (
    SELECT count(*) FROM embeddings AS row JOIN segments AS segment ON segment.id = row.segment_id
    WHERE segment.collection = collection.id)
FROM collections AS collection JOIN databases AS database ON database.id = collection.database_id
"""

_VECTOR_SEGMENTS = "SELECT id FROM segments WHERE scope = 'VECTOR' ORDER BY id"


def inspect(folder: str) -> dict[str, Any]:
    """See `inspect_in_child`."""
    database, found = _problems(Path(folder, DATABASE), _content)
    manifest, _ = _problems(Path(folder, FILE_NAME), lambda db: None)
    collections, segments = found or ({}, [])
    named = {segment: index_problem(Path(folder, segment)) for segment in segments}
    return {
        "database": database,
        "manifest": manifest,
        "indexes": [f"{segment}: {problem}" for segment, problem in named.items() if problem],
        "collections": collections,
    }


def _problems(path: Path, read: Callable[[sqlite3.Connection], Any]) -> tuple[list[str], Any]:
    """What SQLite says against a database, and what `read` makes of one that is sound."""
    if not path.exists():
        return [], None
    # Immutable: it makes no other files beside it, and takes no locks.
    address = path.resolve().as_uri() + "?immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as db:
            said = [line for (line,) in db.execute(f"PRAGMA integrity_check({MOST_PROBLEMS})")]
            return ([], read(db)) if said == ["ok"] else (said, None)
    except sqlite3.Error as error:
        return [str(error)], None


def _content(db: sqlite3.Connection) -> tuple[dict[str, int], list[str]]:
    collections = {}
    for tenant, database, name, rows in db.execute(_COLLECTIONS):
        collections[label(tenant, database, name)] = rows
    return collections, [segment for (segment,) in db.execute(_VECTOR_SEGMENTS)]


def label(tenant: str, database: str, name: str) -> str:
    """A collection's name, with its database if that is not the usual one."""
    usual = (tenant, database) == ("default_tenant", "default_database")
    return name if usual else f"{tenant}/{database}/{name}"


def index_problem(index: Path) -> str | None:
    """What is wrong with the files of a vector index; None if they fit together."""
    try:
        flush_cut_off(index)
    except (OSError, ValueError, struct.error) as error:
        return str(error)
    return None


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    modes: dict[str, Callable[..., object]] = {"copy": copy, "inspect": inspect}
    sys.stdout.write(json.dumps(modes[mode](*arguments)))
