"""A host that knows nothing of reposync: it takes ``flock`` on ``.chroma.lock``, and that is all.

    python flock_host.py --store DIR --log FILE

Its client lives long and never notices what others write. It answers commands as `host.py` does:

- `{"do": "write", "collection": NAME, "texts": {id: text}}` upserts rows, batch by batch;
- `{"do": "read", "collection": NAME, "where": {...}}` answers with rows: {id: (text, "right" |
  "wrong" | "lost")}, the last said of the row's vector as one of the text.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chromadb
import numpy as np
from chromadb.config import Settings
from hash_embedding import hash_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_ROWS = 100


class FlockHost:
    """A client on one store, protected by a file lock alone."""

    def __init__(self, store: Path) -> None:
        self.store = store
        settings = Settings(anonymized_telemetry=False)
        self.client = chromadb.PersistentClient(str(store), settings=settings)

    @contextmanager
    def lock(self) -> Iterator[None]:
        with (self.store / ".chroma.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def write(self, collection: str, texts: dict[str, str]) -> dict[str, Any]:
        found = self.client.get_collection(collection, embedding_function=None)
        items = iter(texts.items())
        while batch := dict(islice(items, BATCH_ROWS)):
            with self.lock():
                found.upsert(
                    ids=list(batch),
                    documents=list(batch.values()),
                    embeddings=list(hash_vectors(list(batch.values()))),
                    metadatas=[{"of": "host"}] * len(batch),
                )
        return {"written": len(texts)}

    def read(self, collection: str, where: dict[str, Any]) -> dict[str, Any]:
        with self.lock():
            found = self.client.get_collection(collection, embedding_function=None)
            got = found.get(where=where, include=["documents"])
            rows = zip(got["ids"], got["documents"] or [], strict=True)
            return {row_id: (text, self.state(found, row_id, text)) for row_id, text in rows}

    def state(self, collection: chromadb.Collection, row_id: str, text: str) -> str:
        try:
            vectors = collection.get(ids=[row_id], include=["embeddings"])["embeddings"]
        except Exception:  # noqa: BLE001 - however it is lost
            return "lost"
        return "right" if np.allclose(vectors, hash_vectors([text]), atol=1e-5) else "wrong"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    host = FlockHost(options.store)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        do = getattr(host, command.pop("do"))
        print(json.dumps(do(**command)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
