"""A program that shares a store with others and notes when it wanted, got and left the lock file.

    python neighbour.py ROLE --store DIR --record FILE [--every SECONDS] [--hold SECONDS] ...

Roles:

- `upsert` writes one row under `ChromaLock` every so many seconds, with a long-lived client;
- `flock` is a host that knows nothing of reposync: it tries `flock` on the lock file every so many
  seconds until it gets it, holds it, and lets go;
- `sync` syncs a tree once; `--query` lets another thread of the process query meanwhile: "reading"
  under `ChromaLock.reading()`, "plain" without any lock.

It prints "ready", begins when it reads a line, and ends when its input is closed (`sync`: when the
sync ends; its result is then the last line of its output). Each line of the record is a `Visit`.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_FILE = ".chroma.lock"


@dataclass(frozen=True)
class Visit:
    """One use of the store: nanoseconds of the clock that all processes of a machine share.

    Attributes:
        who: the role, and the process or thread.
        wanted: when the lock was asked for.
        entered: when it was got.
        left: when it was let go.
        locked: False for a use that took no lock.
    """

    who: str
    wanted: int
    entered: int
    left: int
    locked: bool = True


class Record:
    """A file that gets a line for each visit, in one write, so that all may share it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def add(self, visit: Visit) -> None:
        os.write(self._descriptor, f"{json.dumps(asdict(visit))}\n".encode())


def read_record(path: Path) -> list[Visit]:
    """All visits, in the order in which they began."""
    visits = [Visit(**json.loads(line)) for line in path.read_text().splitlines()]
    return sorted(visits, key=lambda visit: visit.entered)


@contextmanager
def watched_flock(record: Record, role: str) -> Iterator[None]:
    """Record each hold of the lock file in this process by what it asks of the kernel.

    So a hold is seen as the others see it, whatever the lock's own code counts as one.
    """
    flock = fcntl.flock
    wanted: dict[int, int] = {}
    entered: dict[int, int] = {}

    def watch(file: Any, operation: int) -> None:
        number = file if isinstance(file, int) else file.fileno()
        thread = threading.get_ident()
        if not os.readlink(f"/proc/self/fd/{number}").endswith(LOCK_FILE):
            flock(file, operation)
        elif operation & fcntl.LOCK_UN:
            now = time.monotonic_ns()
            flock(file, operation)
            asked, got = wanted.pop(thread), entered.pop(thread)
            record.add(Visit(f"{role} {threading.current_thread().name}", asked, got, now))
        else:
            wanted.setdefault(thread, time.monotonic_ns())
            flock(file, operation)
            entered[thread] = time.monotonic_ns()

    fcntl.flock = watch  # type: ignore[assignment]
    try:
        yield
    finally:
        fcntl.flock = flock


@contextmanager
def timed(record: Record, who: str, lock: AbstractContextManager[object] | None) -> Iterator[None]:
    """Record one use of the store under `lock`, or under none."""
    wanted = time.monotonic_ns()
    with lock or nullcontext():
        entered = time.monotonic_ns()
        yield
        left = time.monotonic_ns()
    record.add(Visit(who, wanted, entered, left, locked=lock is not None))


def upsert(options: argparse.Namespace, record: Record) -> None:
    import chromadb
    from chromadb.config import Settings
    from hash_embedding import hash_vectors

    from reposync import ChromaLock

    who = f"upsert {os.getpid()}"
    settings = Settings(anonymized_telemetry=False)
    with ChromaLock(options.store):  # two that make a store at once: "database is locked"
        client = chromadb.PersistentClient(str(options.store), settings=settings)
    lock = ChromaLock(client, timeout=60.0)
    with lock:
        notes = client.get_or_create_collection(f"notes-{os.getpid()}", embedding_function=None)

    def turn(number: int) -> None:
        with timed(record, who, lock):
            text = f"Note {number} of {who}"
            notes.upsert(ids=[str(number)], documents=[text], embeddings=list(hash_vectors([text])))

    every(options.every, turn)


def flock(options: argparse.Namespace, record: Record) -> None:
    who = f"flock {os.getpid()}"
    with open(options.store / LOCK_FILE, "a+") as file:

        def turn(_: int) -> None:
            wanted = time.monotonic_ns()
            while not try_flock(file):
                time.sleep(options.every)
            entered = time.monotonic_ns()
            time.sleep(options.hold)
            left = time.monotonic_ns()
            fcntl.flock(file, fcntl.LOCK_UN)
            record.add(Visit(who, wanted, entered, left))

        every(options.every, turn)


def try_flock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def every(seconds: float, turn: Callable[[int], None]) -> None:
    """Do something again and again, with pauses, once told to begin and until input ends."""
    ended = threading.Event()
    print("ready", flush=True)
    sys.stdin.readline()
    watcher = threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True)
    watcher.start()
    number = 0
    while not ended.wait(seconds):
        turn(number)
        number += 1


def sync(options: argparse.Namespace, record: Record) -> None:
    from hash_embedding import HashEmbedding

    from reposync import SyncConfig, sync_repository

    settings = {} if options.batch_rows is None else {"batch_rows": options.batch_rows}
    print("ready", flush=True)
    sys.stdin.readline()
    with watched_flock(record, "sync"), querying(options, record):
        result = sync_repository(
            options.tree,
            store=options.store,
            embedding_function=HashEmbedding(options.dimension),
            config=SyncConfig(**settings),
        )
    print(result.model_dump_json(), flush=True)


@contextmanager
def querying(options: argparse.Namespace, record: Record) -> Iterator[None]:
    """Let a thread query the collection while the sync runs."""
    if options.query is None:
        yield
        return
    import chromadb
    from chromadb.config import Settings
    from chromadb.errors import NotFoundError
    from hash_embedding import hash_vectors

    from reposync import ChromaLock

    settings = Settings(anonymized_telemetry=False)
    with ChromaLock(options.store):  # two that make a store at once: "database is locked"
        client = chromadb.PersistentClient(str(options.store), settings=settings)
    lock = ChromaLock(client, timeout=60.0) if options.query == "reading" else None
    vector = list(hash_vectors(["a question"], options.dimension))
    ended = threading.Event()
    faults: list[BaseException] = []

    def ask() -> None:
        with suppress(NotFoundError):  # until the sync has made it
            collection = client.get_collection(options.tree.name, embedding_function=None)
            collection.query(query_embeddings=vector, n_results=5)

    def ask_on() -> None:
        try:
            while not ended.wait(options.every):
                with timed(record, "query", lock.reading() if lock else None):
                    ask()
        except BaseException as error:
            faults.append(error)
            raise

    thread = threading.Thread(target=ask_on, name="query")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        client.close()  # type: ignore[attr-defined]
    if faults:
        raise faults[0]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("upsert", "flock", "sync"))
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--every", type=float, default=0.05, help="seconds between two visits")
    parser.add_argument("--hold", type=float, default=0.005, help="seconds that `flock` holds it")
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--batch-rows", type=int, help="of the sync")
    parser.add_argument("--query", choices=("reading", "plain"))
    options = parser.parse_args()
    {"upsert": upsert, "flock": flock, "sync": sync}[options.role](options, Record(options.record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
