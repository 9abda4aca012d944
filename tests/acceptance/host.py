"""A program that lives long and keeps its own client on a store: a host, or a long-lived syncer.

    python host.py --store DIR --log FILE

It reads one JSON command a line from standard input, and answers each with one JSON line:

- `{"do": "write", "texts": {id: text}}` upserts rows into its own collection, under `ChromaLock`;
- `{"do": "find", "collection": NAME, "texts": {id: text}}` queries, under `ChromaLock`, for each
  text's vector, and answers with the ids that were not found at no distance;
- `{"do": "find rows", "collection": NAME, "path": PATH}` does so for the rows of one file, and
  answers also with how many there are;
- `{"do": "sync", "tree": DIR, "name": NAME, "by": "client" | "path"}` calls `sync_repository`;
- `{"do": "audit", "collection": NAME, "texts": {id: text}}` reads every vector of the collection,
  without a lock, and answers with what is missing, unreadable, wrong or not found.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chromadb
import numpy as np
from chromadb.config import Settings
from hash_embedding import HashEmbedding, hash_vectors

from reposync import ChromaLock, sync_repository

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

NEAR = 1e-4
OWN_COLLECTION = "notes"


class Host:
    """A long-lived client on one store."""

    def __init__(self, store: Path, log: Path) -> None:
        self.store, self.log = store, log
        settings = Settings(anonymized_telemetry=False)
        self.client = chromadb.PersistentClient(str(store), settings=settings)
        self.lock = ChromaLock(self.client, timeout=60.0)
        self.collections: dict[str, Collection] = {}

    def collection(self, name: str) -> Collection:
        """A collection, opened once and then kept, as a host does."""
        if name not in self.collections:
            self.collections[name] = self.client.get_collection(name, embedding_function=None)
        return self.collections[name]

    def write(self, texts: dict[str, str]) -> dict[str, Any]:
        with self.lock:
            if OWN_COLLECTION not in self.collections:
                self.collections[OWN_COLLECTION] = self.client.get_or_create_collection(
                    OWN_COLLECTION,
                    embedding_function=HashEmbedding(),
                    configuration={"hnsw": {"space": "cosine"}},
                )
            self.collection(OWN_COLLECTION).upsert(
                ids=list(texts),
                documents=list(texts.values()),
                embeddings=list(hash_vectors(list(texts.values()))),
                metadatas=[{"of": "host"}] * len(texts),
            )
        return {"written": len(texts)}

    def find(self, collection: str, texts: dict[str, str]) -> dict[str, Any]:
        with self.lock:
            return {"lost": lost(self.collection(collection), texts)}

    def find_rows(self, collection: str, path: str) -> dict[str, Any]:
        with self.lock:
            found = self.collection(collection)
            got = found.get(where={"path": path}, include=["documents", "metadatas"])
            rows = zip(got["ids"], got["documents"] or [], got["metadatas"] or [], strict=True)
            texts = {
                key: f"{meta['context']}\n{document}" if meta["context"] else document
                for key, document, meta in rows
            }
            return {"rows": len(texts), "lost": lost(found, texts)}

    def sync(self, tree: str, name: str, by: str) -> dict[str, Any]:
        result = sync_repository(
            tree,
            name,
            store=self.client if by == "client" else self.store,
            embedding_function=HashEmbedding(log=self.log),
        )
        result.raise_for_failures()
        answer: dict[str, Any] = result.model_dump(mode="json")
        return answer

    def audit(self, collection: str, texts: dict[str, str]) -> dict[str, Any]:
        found = self.collection(collection)
        keys = found.get(include=[])["ids"]
        faults = [f"{key} is missing" for key in texts.keys() - set(keys)]
        faults += [f"{key} is one too many" for key in set(keys) - texts.keys()]
        for key in sorted(texts.keys() & set(keys)):
            try:
                vectors = found.get(ids=[key], include=["embeddings"])["embeddings"]
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
                faults.append(f"the vector of {key} is lost: {error}")
                continue
            if vectors is None or not np.allclose(vectors, hash_vectors([texts[key]]), atol=1e-5):
                faults.append(f"the vector of {key} is wrong")
        faults += [f"{key} is not found" for key in lost(found, texts)]
        return {"rows": len(keys), "faults": faults}


def lost(collection: Collection, texts: dict[str, str]) -> list[str]:
    """The ids that a query with their own vector does not give at no distance."""
    missing = []
    for key, vector in zip(texts, hash_vectors(list(texts.values())), strict=True):
        for n_results in (3, 200):
            got = collection.query(
                query_embeddings=[vector], n_results=n_results, include=["distances"]
            )
            hits = dict(zip(got["ids"][0], (got["distances"] or [[]])[0], strict=True))
            if hits.get(key, 1.0) <= NEAR:
                break
        else:
            missing.append(key)
    return missing


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    host = Host(options.store, options.log)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        do = getattr(host, command.pop("do").replace(" ", "_"))
        print(json.dumps(do(**command)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
