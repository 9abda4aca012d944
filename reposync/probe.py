"""Looks at a doubtful collection from a child process: ``python -m reposync.probe``.

A half-written index can hang or crash whoever makes Chroma load it, and nearly every call does. And
Chroma's database must not be opened by a process that has a Chroma client on it. So both happen
here, under the store lock that the parent holds:

- ``check`` reads every vector through Chroma; exit status 0 means that the index is sound.
- ``owners`` reads from Chroma's database alone whose rows the collection holds, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from reposync.errors import IndexDamaged
from reposync.store import Collection, Store

CHECK_SECONDS = 300
OWNERS_SECONDS = 60


def check_in_child(store: Store, collection: Collection) -> None:
    """Raise `IndexDamaged` unless a child process can read the whole index of `collection`."""
    arguments = [str(store.folder), store.tenant, store.database, collection.name]
    try:
        child = _run("check", arguments, CHECK_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise IndexDamaged(
            f"Reading the vector index of {collection.name!r} did not end within {CHECK_SECONDS} s."
        ) from error
    if child.returncode != 0:
        last = child.stderr.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        raise IndexDamaged(f"The vector index of {collection.name!r} cannot be read: {last[0]}")


def owners_in_child(store: Store, collection: Collection) -> set[str | None] | None:
    """Whose rows `collection` holds: values of "repository", None for a row without; or None if
    that cannot be said."""
    try:
        child = _run("owners", [str(store.folder), collection.id], OWNERS_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return set(json.loads(child.stdout)) if child.returncode == 0 else None


def _run(mode: str, arguments: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reposync.probe", mode, *arguments]
    return subprocess.run(  # noqa: S603 - our own module, no shell
        command, capture_output=True, text=True, timeout=seconds, check=False
    )


def check(folder: str, tenant: str, database: str, name: str) -> None:
    """Read every vector of a collection; what goes wrong is raised, or kills this process."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(
        folder, Settings(anonymized_telemetry=False), tenant=tenant, database=database
    )
    collection = Store(client).find(name)
    if collection is not None:
        collection.check_index()


_ROWS = """
SELECT DISTINCT owner.string_value FROM embeddings AS row
JOIN segments AS segment ON segment.id = row.segment_id
LEFT JOIN embedding_metadata AS owner ON owner.id = row.id AND owner.key = 'repository'
WHERE segment.collection = ?
"""

# Rows that are in Chroma's log and not yet among the others.
_LOGGED = """
SELECT DISTINCT json_extract(metadata, '$.repository') FROM embeddings_queue
WHERE topic LIKE '%/' || ?1 AND metadata NOT NULL AND seq_id > coalesce((
    SELECT max(seen.seq_id) FROM max_seq_id AS seen
    JOIN segments AS segment ON segment.id = seen.segment_id
    WHERE segment.collection = ?1 AND segment.scope = 'METADATA'), 0)
"""


def owners(folder: str, collection_id: str) -> list[str | None]:
    """The distinct values of "repository" in a collection, as Chroma 1.x stores them."""
    import sqlite3  # in this process there is no Chroma client

    address = Path(folder, "chroma.sqlite3").resolve().as_uri() + "?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=OWNERS_SECONDS)) as db:
        found = [*db.execute(_ROWS, (collection_id,)), *db.execute(_LOGGED, (collection_id,))]
    return [value for (value,) in found]


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    if mode == "check":
        check(*arguments)
    else:
        sys.stdout.write(json.dumps(owners(*arguments)))
