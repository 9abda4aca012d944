"""The floor for rows: the same deletes and writes as our sync made, straight into Chroma.

    python plain_chroma.py STORE DELTA

DELTA is what `verdict` found to differ between the collection before and after our sync: pickled
values, one after the other, so that no more than one batch is in memory.
"""

from __future__ import annotations

import pickle
import sys

import chromadb
from chromadb.config import Settings
from task import COLLECTION

store, delta = sys.argv[1:]
client = chromadb.PersistentClient(store, settings=Settings(anonymized_telemetry=False))
collection = client.get_or_create_collection(
    COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
)
with open(delta, "rb") as file:
    while True:
        try:
            action, arguments = pickle.load(file)
        except EOFError:
            break
        getattr(collection, action)(**arguments)
