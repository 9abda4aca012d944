"""Another process that writes rows of its own into the collection, while a tool fills it.

    python neighbour.py STORE [--lock]

A row every half second, from when the collection is there until its input is closed; then it prints
how many writes came back without an error, and how many did not. `--lock`: it takes turns under
`ChromaLock`; Chroma by itself, and the tools that others offer, have no such thing.
"""

from __future__ import annotations

import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import chromadb
from chromadb.config import Settings
from chromadb.errors import ChromaError, NotFoundError
from task import COLLECTION, free

EVERY = 0.5

store, *options = sys.argv[1:]
ended = threading.Event()


def wait_for_end() -> None:
    sys.stdin.read()
    ended.set()


def make_lock(of: Any) -> AbstractContextManager[object]:
    if "--lock" not in options:
        return nullcontext()
    from reposync import ChromaLock

    return ChromaLock(of, timeout=120)


threading.Thread(target=wait_for_end, daemon=True).start()
with make_lock(store):
    client = chromadb.PersistentClient(store, settings=Settings(anonymized_telemetry=False))
lock = make_lock(client)
written = refused = 0
while not ended.wait(EVERY):
    text = f"note {written} of a neighbour"
    try:
        with lock:
            client.get_collection(COLLECTION, embedding_function=None).upsert(
                ids=[f"neighbour:{written}"],
                documents=[text],
                metadatas=[{"path": "neighbour"}],
                embeddings=free([text]),
            )
        written += 1
    except NotFoundError:
        continue
    except ChromaError as error:
        refused += 1
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
print(written, refused)
