"""Looks at a doubtful collection from a child process: ``python -m reposync.probe``.

A half-written index can hang or crash whoever makes Chroma load it, and nearly every call does. And
Chroma's database must not be opened by a process that has a Chroma client on it. So both happen
here, under the store lock that the parent holds:

- ``files`` compares the sizes of the index files with what they say of themselves.
- ``check`` reads every vector through Chroma; exit status 0 means that the index is sound.
- ``owners`` reads from Chroma's database alone whose rows the collection holds.
- ``rows`` copies from there the rows of other repositories, to be written again with their vectors.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from reposync.collection import Collection
from reposync.errors import IndexDamaged
from reposync.store import Store

CHECK_SECONDS = 300
FILES_SECONDS = 60


def files_in_child(store: Store, collection: Collection) -> bool:
    """True if the last flush of `collection`'s index was cut off before its last file.

    Raises:
        IndexDamaged: the files do not fit together.
    """
    child = _run("files", [str(store.folder), collection.id], FILES_SECONDS)
    if child.returncode != 0:
        raise IndexDamaged(
            f"The index files of {collection.name!r} are damaged: {_last_words(child)}"
        )
    return bool(json.loads(child.stdout))


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
        raise IndexDamaged(
            f"The vector index of {collection.name!r} cannot be read: {_last_words(child)}"
        )


def owners_in_child(store: Store, collection: Collection) -> set[str | None] | None:
    """Whose rows `collection` holds: values of "repository", None for a row without; or None if
    that cannot be said."""
    child = _run("owners", [str(store.folder), collection.id], FILES_SECONDS)
    return set(json.loads(child.stdout)) if child.returncode == 0 else None


def rows_in_child(store: Store, collection: Collection, name: str, copy: Path) -> None:
    """Write all rows of `collection` that are not of repository `name` to `copy`: a line of JSON
    each, (id, document, metadata).

    Raises:
        IndexDamaged: that cannot be done.
    """
    child = _run("rows", [str(store.folder), collection.id, name, str(copy)], CHECK_SECONDS)
    if child.returncode != 0:
        raise IndexDamaged(f"The rows of {collection.name!r} cannot be saved: {_last_words(child)}")


def _last_words(child: subprocess.CompletedProcess[str]) -> str:
    lines = child.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {child.returncode}"


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


_CONTENT = """
SELECT row.id, row.embedding_id, item.key,
    coalesce(item.string_value, item.int_value, item.float_value, item.bool_value)
FROM embeddings AS row
JOIN segments AS segment ON segment.id = row.segment_id
JOIN embedding_metadata AS item ON item.id = row.id
WHERE segment.collection = ? ORDER BY row.id
"""

_SEGMENT = "SELECT id FROM segments WHERE collection = ? AND scope = 'VECTOR'"

# hnswlib's header: version, offset, room, elements, bytes an element, and more.
_HEADER = struct.Struct("<i5Q")
_HEADER_BYTES = 100


def owners(folder: str, collection_id: str) -> list[str | None]:
    """The distinct values of "repository" in a collection, as Chroma 1.x stores them."""
    with _database(folder) as db:
        found = [*db.execute(_ROWS, (collection_id,)), *db.execute(_LOGGED, (collection_id,))]
    return [value for (value,) in found]


def rows(folder: str, collection_id: str, name: str, copy: str) -> None:
    """See `rows_in_child`; the document is a value among the others in Chroma's database."""
    with _database(folder) as db, Path(copy).open("w", encoding="utf-8") as file:
        content = db.execute(_CONTENT, (collection_id,))
        for (_, row_id), items in groupby(content, key=itemgetter(0, 1)):
            metadata = {key: value for _, _, key, value in items}
            document = metadata.pop("chroma:document", "")
            if metadata.get("repository") != name:
                file.write(json.dumps((row_id, document, metadata)) + "\n")


def files(folder: str, collection_id: str) -> bool:
    """See `files_in_child`; an index that was never flushed has no files yet.

    Chroma 1.x rewrites header.bin, data_level0.bin, length.bin, link_lists.bin and at last
    index_metadata.pickle, each in place. Where a kill cuts that off, later files are older or
    shorter; hnswlib does not look, and walks into uninitialised memory.
    """
    with _database(folder) as db:
        segments = [name for (name,) in db.execute(_SEGMENT, (collection_id,))]
    return any(_flush_cut_off(Path(folder, name)) for name in segments)


def _flush_cut_off(index: Path) -> bool:
    if not index.is_dir() or not any(index.iterdir()):
        return False
    header = (index / "header.bin").read_bytes()
    if len(header) != _HEADER_BYTES:
        raise ValueError(f"header.bin has {len(header)} bytes")
    _, _, _, elements, element_bytes, _ = _HEADER.unpack_from(header)
    links = _link_bytes((index / "link_lists.bin").read_bytes(), elements)
    needed = {
        "data_level0.bin": elements * element_bytes,
        "length.bin": elements * 4,
        "link_lists.bin": links,
    }
    for name, size in needed.items():
        found = (index / name).stat().st_size
        if found < size:  # more may be there: an empty index has room for its first elements
            raise ValueError(f"{name} has {found} bytes instead of {size}")
    written = {path.name: path.stat().st_mtime_ns for path in index.iterdir()}
    last = written.get("index_metadata.pickle", 0)  # not there before the first flush
    return elements > 0 and last < max(written.values())


def _link_bytes(lists: bytes, elements: int) -> int:
    """How long the link lists are, each with its own length before it."""
    position = 0
    for _ in range(elements):
        if position + 4 > len(lists):
            raise ValueError("link_lists.bin ends too early")
        position += 4 + int.from_bytes(lists[position : position + 4], "little")
    return position


@contextmanager
def _database(folder: str) -> Iterator[sqlite3.Connection]:
    """Chroma's database, to read; in this process there is no Chroma client on it."""
    address = Path(folder, "chroma.sqlite3").resolve().as_uri() + "?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=FILES_SECONDS)) as db:
        yield db


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    if mode == "check":
        check(*arguments)
    elif mode == "rows":
        rows(*arguments)
    else:
        answer = files(*arguments) if mode == "files" else owners(*arguments)
        sys.stdout.write(json.dumps(answer))
