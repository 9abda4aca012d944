"""Has Chroma open a store and read a little of it, in a child process of its own.

``python -m reposync.operations.sample FOLDER``: a damaged index can hang or crash whoever loads it.
It says what it is about to do, since that may be the last of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from reposync.collection import Collection
from reposync.errors import SyncError
from reposync.operations.examine import index_problem, label
from reposync.probe import chromas_database, last_words, read_given_up, run_child
from reposync.store import Store, chroma_settings

SECONDS = 60
SECONDS_EACH = 0.5
"""More for each collection; to open and read a small one takes some 0.02 s."""
SAMPLE_ROWS = 200

_COLLECTIONS = """
SELECT database.tenant_id, database.name, collection.name, segment.id, (
    SELECT count(*) FROM embeddings_queue WHERE topic LIKE '%/' || collection.id AND seq_id > (
        SELECT coalesce(max(seen.seq_id), 0) FROM max_seq_id AS seen
        WHERE seen.segment_id = segment.id))
FROM collections AS collection
JOIN databases AS database ON database.id = collection.database_id
JOIN segments AS segment ON segment.collection = collection.id AND segment.scope = 'VECTOR'
ORDER BY 1, 2, 3
"""


@dataclass(slots=True)
class Sample:
    """What came of it, by collection.

    Attributes:
        rows: how many there are, where they could be read.
        log_rows: how many are in Chroma's log and in no file of the index yet.
        faults: why a collection, or "" for the whole store, could not be read.
    """

    rows: dict[str, int] = field(default_factory=dict)
    log_rows: dict[str, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def sample_in_child(folder: Path) -> Sample:
    """Have a store opened and read a little; whatever comes of that is told."""
    limit = SECONDS + SECONDS_EACH * sum(len(name) == 36 for name in os.listdir(folder))
    try:
        child = run_child("sample", [str(folder)], limit, module=__name__)
        said, end = child.stdout, last_words(child) if child.returncode else ""
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        end = f"it did not end within {limit:g} s"
    found, at = Sample(), ""
    for line in said.splitlines():
        with suppress(ValueError):  # a line that was cut off
            at, kind, value = json.loads(line)
            if kind != "begin":
                getattr(found, kind)[at] = value
    if end:
        found.faults.setdefault(at, end)
    return found


def sample(folder: str) -> None:
    """See `sample_in_child`. Chroma's database is looked at before there is a client on it."""
    with chromas_database(folder) as db:
        found = db.execute(_COLLECTIONS).fetchall()
    sound = []
    for tenant, database, name, segment, waiting in found:
        named = label(tenant, database, name)
        _say(named, "log_rows", waiting)
        problem = index_problem(Path(folder, segment))
        if problem is None:
            sound.append((named, tenant, database, name))
        else:
            _say(named, "faults", problem)
    _say("", "begin", 0)
    import chromadb

    settings = chroma_settings()
    chromadb.PersistentClient(folder, settings)
    for named, tenant, database, name in sound:
        _say(named, "begin", 0)
        client = chromadb.PersistentClient(folder, settings, tenant=tenant, database=database)
        collection = Store(client).find(name)
        if collection is not None:
            _read_a_little(Path(folder), named, collection)
    _say("", "begin", 0)


def _read_a_little(folder: Path, named: str, collection: Collection) -> None:
    try:
        given_up = read_given_up(folder, collection.id)
        ids = [row_id for row_id in collection.all_ids() if row_id not in given_up]
        read_some(collection, ids)
        _say(named, "rows", len(ids))
    except SyncError as error:
        _say(named, "faults", str(error))


def read_some(collection: Collection, ids: list[str]) -> None:
    """Read some of the vectors, and query one; raises `IndexDamaged` if that fails."""
    collection.check_vectors(ids[:: len(ids) // SAMPLE_ROWS + 1])


def _say(*values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sample(sys.argv[2])
