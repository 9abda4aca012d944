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
    # What operators ask for: how far a run is and why it failed, a wish that it end, where a chunk
    # lies in its file (NULL for those written before), and totals, which triggers keep, since
    # counting 200 000 rows for each page would take longer than the page.
    """
    ALTER TABLE repositories ADD COLUMN file_count INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE repositories ADD COLUMN chunk_count INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE repositories ADD COLUMN run_count INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE repositories ADD COLUMN cancel_at REAL NOT NULL DEFAULT 0;
    ALTER TABLE files ADD COLUMN stored_chunks INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE chunks ADD COLUMN chunk_index INTEGER;
    ALTER TABLE chunks ADD COLUMN start_line INTEGER;
    ALTER TABLE chunks ADD COLUMN end_line INTEGER;
    ALTER TABLE chunks ADD COLUMN symbol TEXT;
    ALTER TABLE runs ADD COLUMN heartbeat REAL;
    ALTER TABLE runs ADD COLUMN progress TEXT;
    ALTER TABLE runs ADD COLUMN error TEXT NOT NULL DEFAULT '';

    UPDATE files SET stored_chunks =
        (SELECT count(*) FROM chunks WHERE file = files.id AND stored != 0);
    UPDATE repositories SET
        file_count = (SELECT count(*) FROM files WHERE repository = repositories.id),
        chunk_count = (SELECT coalesce(sum(stored_chunks), 0) FROM files
            WHERE repository = repositories.id),
        run_count = (SELECT count(*) FROM runs WHERE repository = repositories.id);

    CREATE INDEX files_by_repository ON files (repository);
    CREATE INDEX runs_not_refused ON runs (repository, id) WHERE status != 'refused';
    CREATE INDEX runs_running ON runs (repository) WHERE status = 'running';
    CREATE INDEX runs_complete ON runs (repository, id) WHERE status = 'complete';

    CREATE TRIGGER count_run AFTER INSERT ON runs BEGIN
        UPDATE repositories SET run_count = run_count + 1 WHERE id = NEW.repository;
    END;
    CREATE TRIGGER count_file AFTER INSERT ON files BEGIN
        UPDATE repositories SET file_count = file_count + 1 WHERE id = NEW.repository;
    END;
    CREATE TRIGGER discount_file AFTER DELETE ON files BEGIN
        UPDATE repositories
        SET file_count = file_count - 1, chunk_count = chunk_count - OLD.stored_chunks
        WHERE id = OLD.repository;
    END;
    CREATE TRIGGER count_chunks_of_file AFTER UPDATE OF stored_chunks ON files BEGIN
        UPDATE repositories
        SET chunk_count = chunk_count + NEW.stored_chunks - OLD.stored_chunks
        WHERE id = NEW.repository;
    END;
    CREATE TRIGGER count_chunk AFTER INSERT ON chunks WHEN NEW.stored != 0 BEGIN
        UPDATE files SET stored_chunks = stored_chunks + 1 WHERE id = NEW.file;
    END;
    CREATE TRIGGER discount_chunk AFTER DELETE ON chunks WHEN OLD.stored != 0 BEGIN
        UPDATE files SET stored_chunks = stored_chunks - 1 WHERE id = OLD.file;
    END;
    CREATE TRIGGER recount_chunk AFTER UPDATE OF stored ON chunks
    WHEN (OLD.stored != 0) != (NEW.stored != 0) BEGIN
        UPDATE files SET stored_chunks = stored_chunks + (NEW.stored != 0) - (OLD.stored != 0)
        WHERE id = NEW.file;
    END
    """,
)
SCHEMA_VERSION = len(MIGRATIONS)

_FOR_OPERATORS = """
    CREATE TEMP VIEW repositories AS SELECT *, 0 AS cancel_at,
        (SELECT count(*) FROM main.files f WHERE f.repository = r.id) AS file_count,
        (SELECT count(*) FROM main.chunks c JOIN main.files f ON f.id = c.file
            WHERE f.repository = r.id AND c.stored != 0) AS chunk_count,
        (SELECT count(*) FROM main.runs WHERE repository = r.id) AS run_count
    FROM main.repositories r;
    CREATE TEMP VIEW chunks AS SELECT *, NULL AS chunk_index, NULL AS start_line, NULL AS end_line,
        NULL AS symbol FROM main.chunks;
    CREATE TEMP VIEW runs AS SELECT *, NULL AS heartbeat, NULL AS progress, '' AS error
    FROM main.runs;
"""
_FILES = (
    """
    CREATE TEMP VIEW files AS SELECT *, '' AS rules, NULL AS encoding, NULL AS redactions,
        (SELECT count(*) FROM main.chunks c WHERE c.file = f.id AND c.stored != 0) AS stored_chunks
    FROM main.files f
    """,
    """
    CREATE TEMP VIEW files AS SELECT *,
        (SELECT count(*) FROM main.chunks c WHERE c.file = f.id AND c.stored != 0) AS stored_chunks
    FROM main.files f
    """,
)

READ_OLDER = {1: _FOR_OPERATORS + _FILES[0], 2: _FOR_OPERATORS + _FILES[1]}
"""What lets a database of an older version be read without a migration, which would write to it:
views that hide its tables."""
