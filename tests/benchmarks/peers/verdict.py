"""Whether a collection holds what is in a folder; judged by the text alone, whoever wrote the rows.

    python -m peers.verdict TREE STORE [--state FILE --delta FILE]

Prints a `Verdict` as JSON. It opens the store, so give it a copy. With `--delta`, what differs from
the rows that were there the last time (`--state`) is written as Chroma calls, see
``scripts/plain_chroma.py``. With `--rows`, the rows are read from a file: each line the JSON of a
path, a text, and whether there is a vector.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from .changes import files_of

COLLECTION = "bench"
NEIGHBOUR = "neighbour"
PAGE = 1000
BATCH = 128


class Verdict(NamedTuple):
    """Attributes:
    rows: of the collection.
    incomplete: files of which some text is in no row.
    stale: rows of files that are gone, and rows with a text that is not in their file (any more).
    unreadable: rows without a vector, so that no search finds them.
    others: whole rows of a neighbour; they are counted nowhere else.
    lost: rows that a neighbour was told were written, and that are not there as a whole.
    """

    rows: int
    incomplete: int
    stale: int
    unreadable: int = 0
    others: int = 0
    lost: int = 0

    @property
    def exact(self) -> bool:
        """True if the collection holds what is in the folder, and nothing of others is lost."""
        return not (self.incomplete or self.stale or self.unreadable or self.lost)

    def __str__(self) -> str:
        if self.exact:
            return "exact"
        found = {
            "incomplete files": self.incomplete,
            "stale rows": self.stale,
            "rows without a vector": self.unreadable,
            f"of {self.others + self.lost} rows of the neighbour lost": self.lost,
        }
        return ", ".join(f"{count} {what}" for what, count in found.items() if count)


def judge(texts: Mapping[str, str], rows: Iterable[tuple[str, str]]) -> Verdict:
    """The verdict on rows, given as (path, document), that should cover the files' texts.

    White space and byte order marks do not count: splitters strip them. Overlaps do no harm, and
    one row stands for all places where its text occurs in the file.
    """
    documents = defaultdict(list)
    for path, document in rows:
        documents[path].append(_solid(document))
    stale = sum(len(found) for path, found in documents.items() if path not in texts)
    incomplete = 0
    for path, text in texts.items():
        covered, strangers = _cover(_solid(text), documents[path])
        incomplete += not covered
        stale += strangers
    return Verdict(sum(map(len, documents.values())), incomplete, stale)


def _cover(text: str, parts: list[str]) -> tuple[bool, int]:
    """Whether the parts cover the text, and how many of them are not in it."""
    covered, strangers = bytearray(len(text)), 0
    for part in parts:
        at = text.find(part) if part else -1
        strangers += at < 0
        while at >= 0:
            covered[at : at + len(part)] = b"\1" * len(part)
            at = text.find(part, at + 1)
    return all(covered), strangers


def _solid(text: str) -> str:
    return "".join(text.replace("\ufeff", "").split())


def judge_rows(texts: Mapping[str, str], rows: Iterable[tuple[str, str, bool]]) -> Verdict:
    """The verdict on (path, document, has a vector), a neighbour's rows among them."""
    own, unreadable, others = [], 0, 0
    for path, document, found in rows:
        if path == NEIGHBOUR:
            others += found
        else:
            own.append((path, document))
            unreadable += not found
    return judge(texts, own)._replace(unreadable=unreadable, others=others)


def read_texts(tree: Path) -> dict[str, str]:
    """The text of each file."""
    return {path: (tree / path).read_bytes().decode("utf-8") for path in files_of(tree)}


def pages(collection: Any) -> Iterator[dict[str, Any]]:
    """All rows with their vectors, page by page; a row without a readable vector has None."""
    ids = iter(collection.get(include=[])["ids"])
    while page := list(islice(ids, PAGE)):
        yield from _read(collection, page)


def _read(collection: Any, ids: list[str]) -> Iterator[dict[str, Any]]:
    """One page; halved until what cannot be read is alone."""
    from chromadb.errors import InternalError

    include = ["documents", "metadatas", "embeddings"]
    try:
        yield collection.get(ids=ids, include=include)
    except InternalError:
        if len(ids) == 1:
            yield {**collection.get(ids=ids, include=include[:2]), "embeddings": [None]}
            return
        half = len(ids) // 2
        yield from _read(collection, ids[:half])
        yield from _read(collection, ids[half:])


def read_rows(store: Path, delta: Delta | None) -> Iterator[tuple[str, str, bool]]:
    """Each row of a Chroma store's collection: path, text, and whether there is a vector."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(store), settings=Settings(anonymized_telemetry=False))
    for page in pages(client.get_collection(COLLECTION, embedding_function=None)):
        for metadata, document, vector in zip(
            page["metadatas"], page["documents"], page["embeddings"], strict=True
        ):
            yield metadata["path"], document, vector is not None
        if delta:
            delta.add(page)
    if delta:
        delta.close()


class Delta:
    """Writes the calls that lead from the rows of the last time to those of this time."""

    def __init__(self, state: Path, delta: Path) -> None:
        self._state, self._out = state, delta.open("wb")
        self._before: dict[str, bytes] = pickle.loads(state.read_bytes()) if state.exists() else {}
        self._now: dict[str, bytes] = {}

    def add(self, page: Mapping[str, Any]) -> None:
        """Take in a page of rows."""
        new, other = [], []
        for number, row_id in enumerate(page["ids"]):
            row = json.dumps([page["documents"][number], page["metadatas"][number]], sort_keys=True)
            self._now[row_id] = hashlib.sha256(row.encode()).digest()
            if row_id not in self._before:
                new.append(number)
            elif self._before[row_id] != self._now[row_id]:
                other.append(number)
        self._write("upsert", page, new, ("documents", "metadatas", "embeddings"))
        self._write("update", page, other, ("metadatas",))

    def close(self) -> None:
        """Write the deletes, and remember the rows."""
        gone = sorted(self._before.keys() - self._now.keys())
        for start in range(0, len(gone), PAGE):
            pickle.dump(("delete", {"ids": gone[start : start + PAGE]}), self._out)
        self._out.close()
        self._state.write_bytes(pickle.dumps(self._now))

    def _write(
        self, action: str, page: Mapping[str, Any], rows: list[int], columns: tuple[str, ...]
    ) -> None:
        for start in range(0, len(rows), BATCH):
            chosen = rows[start : start + BATCH]
            arguments = {key: [page[key][number] for number in chosen] for key in ("ids", *columns)}
            pickle.dump((action, arguments), self._out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--delta", type=Path)
    parser.add_argument("--rows", type=Path)
    options = parser.parse_args()
    texts = read_texts(options.tree)
    if options.rows:
        rows = map(json.loads, options.rows.read_text("utf-8").splitlines())
        verdict = judge_rows(texts, rows)
    else:
        delta = Delta(options.state, options.delta) if options.delta else None
        verdict = judge_rows(texts, read_rows(options.store, delta))
    print(json.dumps(verdict._asdict()))


if __name__ == "__main__":
    main()
