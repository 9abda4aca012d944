"""LangChain's indexing API: a record manager, a vector store, ``index(..., cleanup="full")``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from langchain_chroma import Chroma
from langchain_classic.indexes import SQLRecordManager, index
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_text_splitters import Language, RecursiveCharacterTextSplitter
from task import COLLECTION, task

SIZE = 550
"""Characters: chunks about as large as ours, and such that the model sees all of most."""

LANGUAGES = {
    **dict.fromkeys((".c", ".h"), Language.C),
    **dict.fromkeys((".cc", ".cpp", ".hpp"), Language.CPP),
    **dict.fromkeys((".py", ".pyi"), Language.PYTHON),
    **dict.fromkeys((".js", ".mjs"), Language.JS),
    ".cs": Language.CSHARP,
    ".go": Language.GO,
    ".html": Language.HTML,
    ".java": Language.JAVA,
    ".lua": Language.LUA,
    ".md": Language.MARKDOWN,
    ".php": Language.PHP,
    ".rb": Language.RUBY,
    ".rs": Language.RUST,
    ".rst": Language.RST,
    ".ts": Language.TS,
}
job = task()
embed = job.embed()
splitters: dict[Language | None, RecursiveCharacterTextSplitter] = {}


class Function(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [vector.tolist() for vector in embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def splitter(path: str) -> RecursiveCharacterTextSplitter:
    language = LANGUAGES.get(Path(path).suffix)
    if language not in splitters:
        made = RecursiveCharacterTextSplitter
        splitters[language] = (
            made.from_language(language, chunk_size=SIZE, chunk_overlap=0)
            if language
            else made(chunk_size=SIZE, chunk_overlap=0)
        )
    return splitters[language]


def documents() -> Iterator[Document]:
    for path, text in job.files():
        yield from splitter(path).create_documents([text], [{"path": path}])


job.store.mkdir(exist_ok=True)
records = SQLRecordManager(
    f"chroma/{COLLECTION}", db_url=f"sqlite:///{job.store / 'records.sqlite'}"
)
records.create_schema()
store = Chroma(COLLECTION, embedding_function=Function(), persist_directory=str(job.store))
print(
    index(documents(), records, store, cleanup="full", source_id_key="path", key_encoder="blake2b")
)
