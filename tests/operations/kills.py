"""Runs an operation again and again, killed with SIGKILL at one touch of the disk after the other.

    python -m operations.kills OPERATION FOLDER POINTS

FOLDER holds what `prepare` put there. A touch is a file that is opened, made, renamed, removed or
changed, or a transaction of the manifest that begins or has ended. A run that is left alone says
how many there are; POINTS of them, from the first to the last, are killed at, each in a fork of its
own. After each kill, what was there before must be usable, and the next call must do its work.
Prints how many touches there are, how many runs were killed, and what the kills left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chromadb  # noqa: F401 - once, rather than in each fork; no client is made before one
from support import Desk, HashEmbedding

from reposync import (
    ConfigError,
    backup_store,
    export_repository,
    import_repository,
    restore_store,
    verify_backup,
)
from reposync.freshness import FolderState
from reposync.manifest.database import Database
from reposync.operations.backup import read_backup
from reposync.operations.seal import file_sum

if TYPE_CHECKING:
    import sqlite3

EVENTS = {
    *("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.utime"),
    *("shutil.copyfile", "sqlite3.connect", "subprocess.Popen"),
}


def prepare(folder: Path) -> Desk:
    """A synced repository with its backup and its export."""
    desk = Desk(folder / "tree", folder / "store")
    desk.write_many(12)
    desk.settled()
    backup_store(folder / "saved", store=desk.store)
    export_repository(desk.name, folder / "export", store=desk.store)
    return desk


class Operation:
    """One operation in a folder, and what must hold after it was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.desk = Desk(folder / "tree", folder / "store", embedding=HashEmbedding())

    def run(self) -> None:
        raise NotImplementedError

    def check(self) -> str:
        """After a kill: what was there before is usable, and the next call does its work."""
        raise NotImplementedError

    def clean(self) -> None:
        """Back to the beginning."""
        raise NotImplementedError


class Backup(Operation):
    """`backup_store` to a new folder."""

    @property
    def dest(self) -> Path:
        return self.folder / "backups" / "new"

    def run(self) -> None:
        backup_store(self.dest, store=self.desk.store)

    def check(self) -> str:
        left = "a backup" if self.dest.exists() else "nothing"
        if self.dest.exists():
            assert verify_backup(self.dest).ok, "there is a backup, and it is damaged"
            shutil.rmtree(self.dest)
        assert backup_store(self.dest, store=self.desk.store).collections == {"repo": 12}
        assert verify_backup(self.dest).ok
        assert [path.name for path in self.dest.parent.iterdir()] == ["new"], "leftovers"
        return left

    def clean(self) -> None:
        shutil.rmtree(self.folder / "backups", ignore_errors=True)


class Restore(Operation):
    """`restore_store` to a new folder."""

    @property
    def target(self) -> Path:
        return self.folder / "stores" / "new"

    def run(self) -> None:
        restore_store(self.folder / "saved", store=self.target)

    def check(self) -> str:
        assert verify_backup(self.folder / "saved").ok
        left = "a store" if self.target.exists() else "nothing"
        if self.target.exists():
            names = {path.name for path in self.target.iterdir()}
            assert names >= {"chroma.sqlite3", "reposync.sqlite3", ".reposync"}
            try:
                self.run()
            except ConfigError:
                pass
            else:
                raise AssertionError("a store was overwritten")
        else:
            self.run()
        for path, expected in read_backup(self.folder / "saved").files.items():
            assert file_sum(self.target / path) == expected
        state = FolderState(self.target).read()
        assert state is not None
        assert state.doubtful_at == state.generation > 0
        assert [path.name for path in self.target.parent.iterdir()] == ["new"], "leftovers"
        return left

    def clean(self) -> None:
        shutil.rmtree(self.folder / "stores", ignore_errors=True)


class Import(Operation):
    """`import_repository` into a new store."""

    def run(self) -> None:
        desk = self.desk
        import_repository(
            self.folder / "export",
            store=self.folder / "other",
            embedding_function=desk.embedding,
            config=desk.config,
        )

    def check(self) -> str:
        left = "a store" if (self.folder / "other").exists() else "nothing"
        try:
            self.run()
        except ConfigError:
            left = "all of it"
        desk = Desk(self.desk.root, self.folder / "other", embedding=self.desk.embedding)
        assert desk.sync().files.unchanged == 12
        desk.check()
        assert desk.embedding.total == 0
        return left

    def clean(self) -> None:
        shutil.rmtree(self.folder / "other", ignore_errors=True)


OPERATIONS: dict[str, type[Operation]] = {"backup": Backup, "restore": Restore, "import": Import}


def watch(folder: Path, touched: Callable[[], object]) -> None:
    """Call `touched` at each touch of the disk below a folder, for the rest of the process."""

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and any(str(folder) in str(one) for one in arguments):
            touched()

    transaction = Database.transaction

    @contextmanager
    def watched(self: Database) -> Iterator[sqlite3.Connection]:
        touched()
        with transaction(self) as db:
            yield db
        touched()

    Database.transaction = watched  # type: ignore[method-assign]
    sys.addaudithook(heard)


def in_a_fork(work: Callable[[], object]) -> tuple[int, str]:
    """Do something in a fork: its wait status, and what it said."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = ""
        try:
            said, status = str(work()), 0
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            said, status = traceback.format_exc(), 1
        os.write(writer, said.encode()[-60_000:])
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    return status, said


def count(operation: Operation) -> int:
    """How often an undisturbed run touches the disk."""

    def run() -> int:
        touches: list[None] = []
        watch(operation.folder, lambda: touches.append(None))
        operation.run()
        return len(touches)

    status, said = in_a_fork(run)
    assert status == 0, said
    operation.clean()
    return int(said)


def kill_at(operation: Operation, number: int) -> None:
    """Run it in a fork, which is killed right before its touch of this number, from 0."""

    def run() -> None:
        left = [number]

        def touched() -> None:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

        watch(operation.folder, touched)
        operation.run()

    status, said = in_a_fork(run)
    assert os.WIFSIGNALED(status), f"at touch {number} it was not killed: {said}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def main() -> int:
    operation = OPERATIONS[sys.argv[1]](Path(sys.argv[2]))
    points, touches = int(sys.argv[3]), count(operation)
    chosen = sorted({round(at * (touches - 1) / (points - 1)) for at in range(points)})
    left: dict[str, int] = {}
    for number in chosen:
        kill_at(operation, number)
        status, said = in_a_fork(operation.check)
        assert status == 0, f"killed at touch {number} of {touches}:\n{said}"
        left[said] = left.get(said, 0) + 1
        operation.clean()
    print(json.dumps({"touches": touches, "killed": len(chosen), "left": left}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
