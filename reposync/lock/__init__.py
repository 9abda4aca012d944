"""Locks: the store's, for syncs and hosts, and a repository's.

- `reposync.lock.chroma`: `ChromaLock`, what hosts use; `reposync.lock.decorator` for functions
- `reposync.lock.clients`: which clients of this process see all that was written
- `reposync.lock.also`: another lock that is held along with the store's
- `reposync.lock.repository`: one sync of a repository at a time
- `reposync.lock.queue`: first come, first served
- `reposync.lock.file`: one file, locked; the only importer of ``filelock``
- `reposync.lock.stats`: waits and holds
"""

from __future__ import annotations

from reposync.lock.chroma import LOCK_FILE, ChromaLock
from reposync.lock.decorator import with_chroma_lock
from reposync.lock.repository import holder_of, is_held, repository_lock, state_folder
from reposync.lock.stats import LockStats, Spread

__all__ = [
    "LOCK_FILE",
    "ChromaLock",
    "LockStats",
    "Spread",
    "holder_of",
    "is_held",
    "repository_lock",
    "state_folder",
    "with_chroma_lock",
]
