"""The tables, as a list of migrations, and what their numbers mean.

A new version of the schema is a migration appended to `MIGRATIONS`; those that have been released
are never changed.
"""

from __future__ import annotations

APPLICATION_ID = 0x72737963  # "rsyc", so that a foreign database is not taken for ours

# What is known of a row of the collection (chunks.stored).
IN_FLIGHT = 0  # a write or delete of it was begun and not acknowledged: it may be there or not
STORED = 1  # it is there as noted
OUTDATED = 2  # it is there, and must be written again all the same

MIGRATIONS = (
    """
    CREATE TABLE repositories (
        id INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL, database TEXT NOT NULL, collection TEXT NOT NULL, name TEXT NOT NULL,
        path TEXT NOT NULL,
        collection_id TEXT NOT NULL DEFAULT '',
        model TEXT NOT NULL DEFAULT '', recipe TEXT NOT NULL DEFAULT '',
        token TEXT NOT NULL DEFAULT '', checked INTEGER NOT NULL DEFAULT 0,
        UNIQUE (tenant, database, collection, name)
    );
    CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        repository INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
        path TEXT NOT NULL,
        size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
        content_hash TEXT, skip TEXT, redo TEXT,
        chunks INTEGER NOT NULL DEFAULT 0,
        UNIQUE (repository, path)
    );
    CREATE TABLE chunks (
        file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
        id TEXT NOT NULL,
        text_hash BLOB NOT NULL, digest BLOB NOT NULL,
        stored INTEGER NOT NULL,
        PRIMARY KEY (file, id)
    ) WITHOUT ROWID;
    CREATE TABLE vectors (
        id INTEGER PRIMARY KEY,
        model TEXT NOT NULL, text_hash BLOB NOT NULL, vector BLOB NOT NULL,
        UNIQUE (model, text_hash)
    );
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        repository INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
        started_at TEXT NOT NULL, status TEXT NOT NULL, result TEXT
    );
    CREATE INDEX runs_by_repository ON runs (repository, id);
    """,
    # What a file's bytes were judged by, and found to be. Files without it are read again: who
    # judged them knew of no secrets.
    """
    ALTER TABLE files ADD COLUMN rules TEXT NOT NULL DEFAULT '';
    ALTER TABLE files ADD COLUMN encoding TEXT;
    ALTER TABLE files ADD COLUMN redactions TEXT
    """,
)
SCHEMA_VERSION = len(MIGRATIONS)

READ_OLDER = {
    1: """
    CREATE TEMP VIEW files AS
    SELECT *, '' AS rules, NULL AS encoding, NULL AS redactions FROM main.files
    """
}
"""What lets a database of an older version be read without a migration, which would write to it:
views that hide its tables."""
