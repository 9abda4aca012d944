"""LlamaIndex's ingestion pipeline with document management: a docstore, a vector store, upserts."""

from __future__ import annotations

import os
from typing import Any

import chromadb
from llama_index.core import Document
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.vector_stores.chroma import ChromaVectorStore
from task import COLLECTION, task

TOKENS = 200
"""As many as our chunks have at most."""

BATCH = 5000
"""Rows. The vector store hands over up to 41 665 at a time, and Chroma refuses more than 5 461."""

job = task()
embed = job.embed()


class Function(BaseEmbedding):
    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [vector.tolist() for vector in embed(texts)]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class Store(ChromaVectorStore):
    def add(self, nodes: list[BaseNode], **options: Any) -> list[str]:
        parts = (nodes[start : start + BATCH] for start in range(0, len(nodes), BATCH))
        return [each for part in parts for each in super(Store, self).add(part, **options)]


job.store.mkdir(exist_ok=True)
state = str(job.store / "pipeline")
client = chromadb.PersistentClient(str(job.store))
collection: Any = client.get_or_create_collection(COLLECTION)
pipeline = IngestionPipeline(
    transformations=[
        SentenceSplitter(chunk_size=TOKENS, chunk_overlap=0),
        Function(model_name="bench", embed_batch_size=100),
    ],
    vector_store=Store(chroma_collection=collection),
    docstore=SimpleDocumentStore(),
    docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
)
if os.path.exists(state):
    pipeline.load(state)
documents = [Document(text=text, id_=path, metadata={"path": path}) for path, text in job.files()]
nodes = pipeline.run(documents=documents)
pipeline.persist(state)
print(len(nodes), "nodes")
