"""Reads every vector of one collection in a process of its own: ``python -m reposync.probe``.

Exit status 0 means that the index is sound. It is run under the store lock by the process that
wants to know, because a half-written index can hang or kill whoever loads it.
"""

from __future__ import annotations

import sys


def main(folder: str, tenant: str, database: str, name: str) -> int:
    """Check the index of collection `name`; 0 if it is sound or not there."""
    import chromadb
    from chromadb.config import Settings

    from reposync.store import Store

    client = chromadb.PersistentClient(
        folder, Settings(anonymized_telemetry=False), tenant=tenant, database=database
    )
    collection = Store(client).find(name)
    if collection is not None:
        collection.check_index()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
