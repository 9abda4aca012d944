"""How long `search_repository` takes, by default on 20 000 chunks of real code.

    python tests/benchmarks/search_speed.py [--chunks 20000] [--store FOLDER]

Vectors are sums of a random vector for each word, so that embedding costs nothing and near texts
have near vectors. Compare CPU times: wall times mean something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from zlib import crc32

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))

import trees

from reposync import ChromaLock, search_repository, sync_repository

BYTES_A_CHUNK = 600
QUERIES = (
    "asyncio event loop close",
    "how is the store lock taken",
    "parse the arguments of a function and return None if there are none",
    "getElementById",
    "if self is not in the list of a class then return the value of the import",
)
FILTERS: dict[str, dict[str, str]] = {
    "hybrid": {},
    "dense": {"mode": "dense"},
    "lexical": {"mode": "lexical"},
    "hybrid, path='asyncio'": {"path": "asyncio"},
    "hybrid, path='*.md'": {"path": "*.md"},
    "hybrid, language='markdown'": {"language": "markdown"},
}


class Sketch:
    """A text's words, summed up."""

    def __init__(self) -> None:
        self._words: dict[str, Any] = {}

    def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
        return [self._vector(text) for text in input]

    def _vector(self, text: str) -> Any:
        total = np.full(384, 0.01, np.float32)
        for word in set(re.findall(r"\w+", text.lower())):
            if word not in self._words:
                random = np.random.default_rng(crc32(word.encode()))
                self._words[word] = random.standard_normal(384).astype(np.float32)
            total += self._words[word]
        return total

    embed_query = __call__

    def name(self) -> str:
        """As Chroma writes it down."""
        return "sketch"

    def get_config(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {}

    def is_legacy(self) -> bool:
        """Chroma is not to make it anew."""
        return True


def make_tree(tree: Path, chunks: int) -> None:
    """Real code and prose, of about so many chunks."""
    sources = [
        trees.Source(trees.LIBRARY, (".py",), trees.NOT_LIBRARY),
        trees.Source(trees.PACKAGES, (".py", ".md", ".rst"), ("__pycache__",)),
    ]
    size = chunks * BYTES_A_CHUNK
    trees.sample(sources, tree, files=chunks, size=size, largest=60 * trees.KILOBYTE)


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time of a call, in ms."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def row(what: str, times: list[tuple[float, float]]) -> None:
    """Print the medians, and the most."""
    walls, cpus = zip(*times, strict=True)
    figures = (median(walls), max(walls), median(cpus), max(cpus))
    print(f"| {what} | {' | '.join(f'{figure:.0f}' for figure in figures)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--store", type=Path, help="a store that an earlier run left here")
    parser.add_argument("--fresh", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    embed = Sketch()
    embed(list(QUERIES))
    if options.fresh:
        search_repository(QUERIES[0], store=options.store, embedding_function=embed)
        return
    with tempfile.TemporaryDirectory() as scratch:
        store = options.store or Path(scratch) / "store"
        tree = store.with_name(f"{store.name}-tree")
        if not tree.exists():
            make_tree(tree, options.chunks)
        result = sync_repository(tree, "big", store=store, embedding_function=embed)
        print(
            f"{result.chunks.total} chunks in {result.files.scanned - result.files.skipped} files"
        )
        measure(store, tree, embed)


def measure(store: Path, tree: Path, embed: Sketch) -> None:
    """The table."""

    def search(where: object, query: str, **options: str) -> Callable[[], object]:
        return lambda: search_repository(
            query, "big", store=where, embedding_function=embed, **options
        )

    print("\n| | wall ms: median | most | CPU ms: median | most |\n|---|---|---|---|---|")
    (store / "reposync-search.sqlite3").unlink(missing_ok=True)
    row("the first search, which makes the index", [measured(search(store, QUERIES[0]))])
    for what, options in FILTERS.items():
        times = [measured(search(store, query, **options)) for query in QUERIES * 4]
        row(f"folder, {what}", times)

    import chromadb
    from chromadb.config import Settings

    with ChromaLock(store):
        client = chromadb.PersistentClient(str(store), Settings(anonymized_telemetry=False))
        client.get_collection("big", embedding_function=None).get(limit=1)
    search(client, QUERIES[0])()
    for what, options in list(FILTERS.items())[:3]:
        times = [measured(search(client, query, **options)) for query in QUERIES * 4]
        row(f"a host's client, {what}", times)
    client.close()  # type: ignore[attr-defined]
    row("folder, after a client was open on it", [measured(search(store, QUERIES[0]))])

    changed = next(tree.rglob("*.py"))
    text = changed.read_text("utf-8")
    changed.write_text(f"{text}\n# {time.time()}\n", "utf-8")
    sync_repository(tree, "big", store=store, embedding_function=embed)
    changed.write_text(text, "utf-8")
    row("folder, after a file changed", [measured(search(store, QUERIES[0]))])

    command = [sys.executable, __file__, "--fresh", "--store", str(store)]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    print(f"\nA fresh process: {time.perf_counter() - began:.2f} s from its start to its end.")


if __name__ == "__main__":
    main()
