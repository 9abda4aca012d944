"""A program that lives long and keeps its own client on a store: a host, or a long-lived syncer.

    python host.py --store DIR --log FILE [--without-client]

It reads one JSON command a line from standard input, and answers each with one JSON line, which is
`{"error": ...}` for what Chroma or reposync raised:

- `{"do": "write", "collection": NAME, "texts": {id: text}}` upserts rows into a collection that
  hosts share, under `ChromaLock`, and makes it if need be;
- `{"do": "collections"}` answers with the id of each collection, by name;
- `{"do": "texts", "collection": NAME, "keys": [id]}` answers with the documents that are there;
- `{"do": "forget", "collection": NAME}` deletes a collection, under `ChromaLock`;
- `{"do": "find", "collection": NAME, "texts": {id: text}}` queries, under its `reading()`, for each
  text's vector, and answers with the ids that were not found at no distance;
- `{"do": "find rows", "collection": NAME, "path": PATH}` does so for the rows of one file, and
  answers also with how many there are;
- `{"do": "sync", "tree": DIR, "name": NAME, "by": "client" | "path"}`, and "collection": NAME if it
  is not to be the usual one, calls `sync_repository`;
- `{"do": "census"}` answers with the threads that run, and the store's files that are open;
- `{"do": "audit", "collection": NAME, "texts": {id: text}}` reads every vector of the collection,
  without a lock, and answers with what is missing, unreadable, wrong or not found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import traceback
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chromadb
import numpy as np
from chromadb.config import Settings
from chromadb.errors import NotFoundError
from hash_embedding import HashEmbedding, hash_vectors

from reposync import ChromaLock, sync_repository

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

NEAR = 1e-4
PAGE = 500
"""Rows that an audit reads at once."""


class Host:
    """A long-lived client on one store."""

    def __init__(self, store: Path, log: Path) -> None:
        self.store, self.log = store, log
        self.collections: dict[str, Collection] = {}

    @cached_property
    def client(self) -> ClientAPI:
        settings = Settings(anonymized_telemetry=False)
        with ChromaLock(self.store):  # two that make a store at once: "database is locked"
            return chromadb.PersistentClient(str(self.store), settings=settings)

    @cached_property
    def lock(self) -> ChromaLock:
        return ChromaLock(self.client, timeout=60.0)

    def collection(self, name: str) -> Collection:
        """A collection, opened once and then kept; again if a sync had to make it anew."""
        if name in self.collections:
            try:
                self.collections[name].count()
            except NotFoundError:
                del self.collections[name]
        if name not in self.collections:
            self.collections[name] = self.client.get_collection(name, embedding_function=None)
        return self.collections[name]

    def do_write(self, collection: str, texts: dict[str, str]) -> dict[str, Any]:
        with self.lock:
            if collection not in self.collections:
                self.collections[collection] = self.client.get_or_create_collection(
                    collection,
                    embedding_function=HashEmbedding(),
                    configuration={"hnsw": {"space": "cosine"}},
                )
            self.collection(collection).upsert(
                ids=list(texts),
                documents=list(texts.values()),
                embeddings=list(hash_vectors(list(texts.values()))),
                metadatas=[{"of": "host"}] * len(texts),
            )
        return {"written": len(texts)}

    def do_collections(self) -> dict[str, Any]:
        with self.lock.reading():
            return {found.name: str(found.id) for found in self.client.list_collections()}

    def do_texts(self, collection: str, keys: list[str]) -> dict[str, Any]:
        with self.lock.reading():
            got = self.collection(collection).get(ids=keys, include=["documents"])
        return {"texts": dict(zip(got["ids"], got["documents"] or [], strict=True))}

    def do_forget(self, collection: str) -> dict[str, Any]:
        with self.lock:
            self.collections.pop(collection, None)
            self.client.delete_collection(collection)
        return {"forgotten": collection}

    def do_find(self, collection: str, texts: dict[str, str]) -> dict[str, Any]:
        with self.lock.reading():
            return {"lost": lost(self.collection(collection), texts)}

    def do_find_rows(self, collection: str, path: str) -> dict[str, Any]:
        with self.lock.reading():
            found = self.collection(collection)
            got = found.get(where={"path": path}, include=["documents", "metadatas"])
            rows = zip(got["ids"], got["documents"] or [], got["metadatas"] or [], strict=True)
            texts = {
                key: f"{meta['context']}\n{document}" if meta["context"] else document
                for key, document, meta in rows
            }
            return {"rows": len(texts), "lost": lost(found, texts)}

    def do_census(self) -> dict[str, Any]:
        threads = sorted(thread.name for thread in threading.enumerate())
        return {"threads": threads, "files": open_files(self.store)}

    def do_sync(
        self, tree: str, name: str, by: str, collection: str | None = None
    ) -> dict[str, Any]:
        result = sync_repository(
            tree,
            name,
            collection=collection,
            store=self.client if by == "client" else self.store,
            embedding_function=HashEmbedding(log=self.log),
        )
        result.raise_for_failures()
        answer: dict[str, Any] = result.model_dump(mode="json")
        return answer

    def do_audit(self, collection: str, texts: dict[str, str]) -> dict[str, Any]:
        found = self.collection(collection)
        keys = found.get(include=[])["ids"]
        faults = [f"{key} is missing" for key in texts.keys() - set(keys)]
        faults += [f"{key} is one too many" for key in set(keys) - texts.keys()]
        there = sorted(texts.keys() & set(keys))
        for at in range(0, len(there), PAGE):
            faults += faulty(found, {key: texts[key] for key in there[at : at + PAGE]})
        return {"rows": len(keys), "faults": faults}


def faulty(collection: Collection, texts: dict[str, str]) -> list[str]:
    """What is wrong with rows that are there: their vectors, or how the index finds them."""
    try:
        got = collection.get(ids=list(texts), include=["embeddings", "documents"])
        missing = lost(collection, texts)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        keys = list(texts)
        if len(keys) == 1:
            return [f"the vector of {keys[0]} is lost: {error}"]
        halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
        return [
            fault for half in halves for fault in faulty(collection, {k: texts[k] for k in half})
        ]
    right = hash_vectors([texts[key] for key in got["ids"]])
    assert got["embeddings"] is not None
    vectors = np.isclose(right, np.asarray(got["embeddings"]), atol=1e-5).all(axis=1)
    faults = [f"{key} is not found" for key in missing]
    for key, document, is_right in zip(got["ids"], got["documents"] or [], vectors, strict=True):
        if document != texts[key]:
            faults.append(f"the text of {key} is {document!r}")
        if not is_right:
            faults.append(f"the vector of {key} is wrong")
    return faults


def lost(collection: Collection, texts: dict[str, str]) -> list[str]:
    """The ids that a query with their own vector does not give at no distance."""
    missing = list(texts)
    for n_results in (3, 200):
        if not missing:
            break
        vectors = hash_vectors([texts[key] for key in missing])
        got = collection.query(
            query_embeddings=list(vectors), n_results=n_results, include=["distances"]
        )
        hits = zip(missing, got["ids"], got["distances"] or [], strict=True)
        missing = [
            key
            for key, ids, distances in hits
            if dict(zip(ids, distances, strict=True)).get(key, 1.0) > NEAR
        ]
    return missing


def open_files(folder: Path) -> list[str]:
    """The files below a folder that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(path for path in found if path.startswith(f"{folder}/"))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--without-client", action="store_true", help="until one is needed")
    options = parser.parse_args()
    host = Host(options.store, options.log)
    if not options.without_client:
        assert host.client
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        do = getattr(host, f"do_{command.pop('do').replace(' ', '_')}")
        try:
            answer = do(**command)
        except Exception as error:  # noqa: BLE001 - it is the answer
            traceback.print_exc()
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
