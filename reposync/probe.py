"""Looks at a doubtful collection from a child process: ``python -m reposync.probe``.

A half-written index can hang or crash whoever makes Chroma load it, and nearly every call does. And
Chroma's database must not be opened by a process that has a Chroma client on it. So both happen
here, under the store lock that the parent holds:

- ``files`` compares the sizes of the index files with what they say of themselves.
- ``check`` reads every vector through Chroma; exit status 0 means that the index is sound.
- ``vectors`` copies those that the index files hold, without Chroma, which may crash on them.
- ``owners`` reads from Chroma's database alone whose rows the collection holds.
- ``rows`` copies from there the rows of other repositories, to be written again with their vectors.
- ``segments`` lists the folders that belong to a collection.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from reposync.collection import Collection
from reposync.errors import IndexDamaged
from reposync.freshness import STATE_FOLDER
from reposync.store import Store, chroma_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHECK_SECONDS = 300
FILES_SECONDS = 60


def files_in_child(store: Store, collection: Collection) -> bool:
    """True if the last flush of `collection`'s index was cut off before its last file.

    Raises:
        IndexDamaged: the files do not fit together.
    """
    child = run_child("files", [str(store.folder), collection.id], FILES_SECONDS)
    if child.returncode != 0:
        raise IndexDamaged(
            f"The index files of {collection.name!r} are damaged: {last_words(child)}"
        )
    return bool(json.loads(child.stdout))


def check_in_child(store: Store, collection: Collection) -> None:
    """Raise `IndexDamaged` unless a child process can read the whole index of `collection`."""
    where = [str(store.folder), store.tenant, store.database, collection.name]
    try:
        child = run_child("check", where, CHECK_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise IndexDamaged(
            f"Reading the vector index of {collection.name!r} did not end within {CHECK_SECONDS} s."
        ) from error
    if child.returncode != 0:
        raise IndexDamaged(
            f"The vector index of {collection.name!r} cannot be read: {last_words(child)}"
        )


def vectors_in_child(store: Store, collection: Collection, copy: Path) -> Path:
    """Copy the vectors that the index files of `collection` hold to the folder `copy`: their ids to
    `IDS`, the vectors to `VECTORS`, row by row. What is only in Chroma's log yet is not among them.

    Returns:
        the folder of the index; it may not exist.

    Raises:
        IndexDamaged: where the index is cannot be said.
    """
    arguments = [str(store.folder), collection.id, collection.space, str(copy)]
    child = run_child("vectors", arguments, CHECK_SECONDS)
    if child.returncode != 0:
        raise IndexDamaged(
            f"The vectors of {collection.name!r} cannot be saved: {last_words(child)}"
        )
    assert store.folder is not None
    return store.folder / str(json.loads(child.stdout))


def given_up(folder: Path, collection_id: str) -> Path:
    """The file with the ids of rows whose vectors were found to be lost, and were named."""
    return folder / STATE_FOLDER / f"lost-{collection_id}.json"


def read_given_up(folder: Path, collection_id: str) -> set[str]:
    """What is in the file `given_up`; nothing if there is none."""
    try:
        return set(json.loads(given_up(folder, collection_id).read_text("utf-8")))
    except (OSError, ValueError):
        return set()


def owners_in_child(store: Store, collection: Collection) -> set[str | None] | None:
    """Whose rows `collection` holds: values of "repository", None for a row without; or None if
    that cannot be said."""
    child = run_child("owners", [str(store.folder), collection.id], FILES_SECONDS)
    return set(json.loads(child.stdout)) if child.returncode == 0 else None


def rows_in_child(store: Store, collection: Collection, name: str, copy: Path) -> None:
    """Write all rows of `collection` that are not of repository `name` to `copy`: a line of JSON
    each, (id, document, metadata).

    Raises:
        IndexDamaged: that cannot be done.
    """
    child = run_child("rows", [str(store.folder), collection.id, name, str(copy)], CHECK_SECONDS)
    if child.returncode != 0:
        raise IndexDamaged(f"The rows of {collection.name!r} cannot be saved: {last_words(child)}")


def segments_in_child(store: Store) -> set[str] | None:
    """The names of the index folders that belong to a collection; None if that cannot be said."""
    child = run_child("segments", [str(store.folder)], FILES_SECONDS)
    return set(json.loads(child.stdout)) if child.returncode == 0 else None


def last_words(child: subprocess.CompletedProcess[str]) -> str:
    """Why a child process failed, in a line."""
    lines = child.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {child.returncode}"


def run_child(
    mode: str, arguments: list[str], seconds: float, *, module: str = __name__
) -> subprocess.CompletedProcess[str]:
    """Run one of our modules as a program of its own to its end."""
    command = [sys.executable, "-m", module, mode, *arguments]
    return subprocess.run(  # noqa: S603 - our own module, no shell
        command, capture_output=True, text=True, timeout=seconds, check=False
    )


def check(folder: str, tenant: str, database: str, name: str) -> None:
    """Read every vector of a collection; what goes wrong is raised, or kills this process.

    Those that were given up before are no new damage.
    """
    import chromadb

    client = chromadb.PersistentClient(folder, chroma_settings(), tenant=tenant, database=database)
    collection = Store(client).find(name)
    if collection is not None:
        collection.check_index(besides=read_given_up(Path(folder), collection.id))


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
_DIMENSION = "SELECT dimension FROM collections WHERE id = ?"

# hnswlib's header: version, offset, room, elements, bytes an element, where in it the label and the
# vector are, and more.
_HEADER = struct.Struct("<i6Q")
_HEADER_BYTES = 100


def owners(folder: str, collection_id: str) -> list[str | None]:
    """The distinct values of "repository" in a collection, as Chroma 1.x stores them."""
    with chromas_database(folder) as db:
        found = [*db.execute(_ROWS, (collection_id,)), *db.execute(_LOGGED, (collection_id,))]
    return [value for (value,) in found]


def rows(folder: str, collection_id: str, name: str, copy: str) -> None:
    """See `rows_in_child`; the document is a value among the others in Chroma's database."""
    with chromas_database(folder) as db, Path(copy).open("w", encoding="utf-8") as file:
        content = db.execute(_CONTENT, (collection_id,))
        for (_, row_id), items in groupby(content, key=itemgetter(0, 1)):
            metadata = {key: value for _, _, key, value in items}
            document = metadata.pop("chroma:document", "")
            if metadata.get("repository") != name:
                file.write(json.dumps((row_id, document, metadata)) + "\n")


def segments(folder: str) -> list[str]:
    """See `segments_in_child`."""
    with chromas_database(folder) as db:
        return [str(name) for (name,) in db.execute("SELECT id FROM segments")]


IDS, VECTORS = "ids.json", "vectors.npy"


def vectors(folder: str, collection_id: str, space: str, copy: str) -> str:
    """See `vectors_in_child`; of files that make no sense, nothing is copied."""
    import numpy as np

    with chromas_database(folder) as db:
        ((segment,),) = db.execute(_SEGMENT, (collection_id,))
        ((dimension,),) = db.execute(_DIMENSION, (collection_id,))
    try:
        ids, found = _read_vectors(Path(folder, segment), dimension or 0, cosine=space == "cosine")
    except Exception:  # noqa: BLE001 - whatever noise in the files leads to
        ids, found = [], np.zeros((0, dimension or 0), np.float32)
    with Path(copy, VECTORS).open("wb") as file:
        np.save(file, found)
        os.fsync(file.fileno())
    with Path(copy, IDS).open("w", encoding="utf-8") as lines:
        json.dump(ids, lines)
        lines.flush()
        os.fsync(lines.fileno())
    return str(segment)


def _read_vectors(
    index: Path, dimension: int, *, cosine: bool
) -> tuple[list[str], NDArray[np.float32]]:
    """What Chroma 1.x would read from sound index files, element by element.

    An element holds its links, its vector and its label; the last file says which id has which
    label. For cosine distance the vector has length one there, and its length is in length.bin.
    """
    import numpy as np

    labels = _read_labels((index / "index_metadata.pickle").read_bytes())
    header = _HEADER.unpack_from((index / "header.bin").read_bytes())
    _, _, _, elements, element_bytes, label_at, vector_at = header
    if (label_at - vector_at, element_bytes - label_at) != (4 * dimension, 8):
        raise ValueError(f"header.bin does not speak of vectors of dimension {dimension}")
    raw = np.fromfile(index / "data_level0.bin", dtype=np.uint8)
    count = min(elements, len(raw) // element_bytes)
    table = raw[: count * element_bytes].reshape(count, element_bytes)
    found = table[:, vector_at:label_at].copy().view("<f4")
    if cosine:
        lengths = np.fromfile(index / "length.bin", dtype="<f4", count=count)
        found[: len(lengths)] *= lengths[:, None]
    numbers = table[:, label_at:].copy().view("<u8")[:, 0].tolist()
    # Where two writers left two elements of one label, hnswlib, too, takes the last one.
    where = {label: at for at, label in enumerate(numbers) if np.isfinite(found[at]).all()}
    known = [row_id for row_id, label in labels.items() if label in where]
    return known, found[[where[labels[row_id]] for row_id in known]]


_STRINGS = ("BINUNICODE", "SHORT_BINUNICODE")
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1")


def _read_labels(content: bytes) -> dict[str, int]:
    """The labels by id in index_metadata.pickle; if it was cut off, those that are in it.

    It is not unpickled: that can run anything, and tells nothing of a file that was cut off.
    """
    import pickletools

    found: dict[str, int] = {}
    last: str | None = None
    with suppress(ValueError):
        for code, value, _ in pickletools.genops(content):
            if value == "label_to_id" and found:
                break
            if value == "id_to_label" or (last is not None and code.name in _STRINGS):
                last = str(value)
            elif last is not None and code.name in _NUMBERS:
                found[last] = int(value or 0)
    return found


def files(folder: str, collection_id: str) -> bool:
    """See `files_in_child`; an index that was never flushed has no files yet.

    Chroma 1.x rewrites header.bin, data_level0.bin, length.bin, link_lists.bin and at last
    index_metadata.pickle, each in place. Where a kill cuts that off, later files are older or
    shorter; hnswlib does not look, and walks into uninitialised memory.
    """
    with chromas_database(folder) as db:
        segments = [name for (name,) in db.execute(_SEGMENT, (collection_id,))]
    return any(flush_cut_off(Path(folder, name)) for name in segments)


def flush_cut_off(index: Path) -> bool:
    """True if the last flush to the index's folder did not come to its last file.

    Raises:
        ValueError, OSError: the files do not fit together.
    """
    if not index.is_dir() or not any(index.iterdir()):
        return False
    header = (index / "header.bin").read_bytes()
    if len(header) != _HEADER_BYTES:
        raise ValueError(f"header.bin has {len(header)} bytes")
    _, _, _, elements, element_bytes, *_ = _HEADER.unpack_from(header)
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
def chromas_database(folder: str, options: str = "mode=ro") -> Iterator[sqlite3.Connection]:
    """Chroma's database, to read; in this process there is no Chroma client on it."""
    address = Path(folder, "chroma.sqlite3").resolve().as_uri() + f"?{options}"
    with closing(sqlite3.connect(address, uri=True, timeout=FILES_SECONDS)) as db:
        yield db


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    modes: dict[str, Callable[..., object]] = {
        "check": check,
        "files": files,
        "owners": owners,
        "rows": rows,
        "segments": segments,
        "vectors": vectors,
    }
    sys.stdout.write(json.dumps(modes[mode](*arguments)))
