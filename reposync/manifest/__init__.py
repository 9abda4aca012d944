"""The local state in SQLite: files, rows, vectors, runs.

All of it is a cache: deleted, it is rebuilt from the collection. What makes a kill harmless is one
rule: before the store is asked to change rows, their intent and their vectors are committed here
with ``synchronous=FULL`` (`Manifest.begin`); when the store has answered, they are marked as done
(`Manifest.finish`). Rows that were begun and not finished are the journal.
"""

from __future__ import annotations

from reposync.manifest.database import FILE_NAME, ManifestDamaged
from reposync.manifest.file import (
    is_damaged,
    memory_manifest,
    open_manifest,
    read_manifest,
    set_aside,
)
from reposync.manifest.listing import NEWEST, ChunkRow, FileRow, RepositoryRow
from reposync.manifest.moves import RENAMED
from reposync.manifest.repository import RepositoryKey, RepositoryRecord
from reposync.manifest.runs import RunRow
from reposync.manifest.state import UNFINISHED, Manifest

__all__ = [
    "FILE_NAME",
    "NEWEST",
    "RENAMED",
    "UNFINISHED",
    "ChunkRow",
    "FileRow",
    "Manifest",
    "ManifestDamaged",
    "RepositoryKey",
    "RepositoryRecord",
    "RepositoryRow",
    "RunRow",
    "is_damaged",
    "memory_manifest",
    "open_manifest",
    "read_manifest",
    "set_aside",
]
