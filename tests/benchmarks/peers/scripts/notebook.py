"""What a notebook's cell does: cut into windows of lines, upsert all of them."""

from __future__ import annotations

import chromadb
from task import COLLECTION, task

LINES = 16
BATCH = 1000

job = task()
embed = job.embed()
client = chromadb.PersistentClient(str(job.store))
collection = client.get_or_create_collection(COLLECTION, embedding_function=None)
ids, documents, metadatas = [], [], []
for path, text in job.files():
    lines = text.splitlines(keepends=True)
    for number, first in enumerate(range(0, len(lines), LINES)):
        window = "".join(lines[first : first + LINES])
        if window.strip():
            ids.append(f"{path}:{number}")
            documents.append(window)
            metadatas.append({"path": path})
for start in range(0, len(ids), BATCH):
    part = slice(start, start + BATCH)
    collection.upsert(
        ids=ids[part],
        documents=documents[part],
        metadatas=metadatas[part],  # type: ignore[arg-type]
        embeddings=embed(documents[part]),
    )
print(len(ids), "rows")
