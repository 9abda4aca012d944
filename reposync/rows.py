"""Chunks as rows of the collection: ids, metadata, cache keys, and the diff of a file's rows.

The layout is frozen in docs/reference/on-disk-layout.md; a change of it is a new `ROW_FORMAT`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from reposync.records import Chunk, FileStat, Redaction, SkipReason

ROW_FORMAT = "1"
"""Part of the recipe: raise it when ids, metadata or the embedded text are made otherwise."""

METADATA_KEYS = frozenset(
    {
        *("repository", "path", "chunk_index", "start_line", "end_line", "language"),
        *("symbol", "kind", "context", "content_hash", "model", "recipe", "cell"),
    }
)
"""What the metadata of a row can hold."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the collection, complete but for its vector.

    Attributes:
        id: 32 hex digits, a function of (repository, path, embedded text, occurrence).
        text_hash: the cache key of the vector, together with the model.
        digest: see `KnownRow`.
    """

    id: str
    path: str
    text: str = field(repr=False)
    document: str = field(repr=False)
    metadata: Mapping[str, str | int] = field(repr=False)
    text_hash: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class KnownRow:
    """One row as the manifest knows it.

    Attributes:
        digest: 16 bytes, half of the document and half of the metadata: tells an unchanged row
            from a moved one without keeping either.
        stored: False if a write or delete of it was begun and never acknowledged.
    """

    digest: bytes
    stored: bool


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the manifest is to note about a file once all of its rows are in, see `Known`."""

    path: str
    stat: FileStat | None
    content_hash: str | None
    skip: SkipReason | None
    chunks: int
    rules: str = ""
    encoding: str | None = None
    redactions: tuple[Redaction, ...] = ()


@dataclass(frozen=True, slots=True)
class RowChanges:
    """What must be done to bring one file's rows in step."""

    writes: tuple[Row, ...] = ()
    moves: tuple[Row, ...] = ()
    stale: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.writes or self.moves or self.stale)


def make_rows(
    repository: str,
    path: str,
    chunks: Sequence[Chunk],
    *,
    model: str,
    recipe: str,
    grammars: Mapping[str, str] = MappingProxyType({}),
) -> list[Row]:
    """The rows of one file, in order; the same chunks give the same rows on every machine.

    A row's recipe is `recipe`, and the entry of `grammars` for the chunk's language, if any.
    """
    occurrences: Counter[bytes] = Counter()
    rows = []
    for index, chunk in enumerate(chunks):
        text, language = chunk.embedded_text, chunk.language
        grammar = grammars.get(language)
        key = text_key(text)
        metadata: dict[str, str | int] = {
            "repository": repository,
            "path": path,
            "chunk_index": index,
            "start_line": chunk.start_line,
            "end_line": chunk.end_line,
            "language": language,
            "symbol": chunk.symbol,
            "kind": chunk.kind,
            "context": chunk.context,
            "content_hash": content_hash(chunk.document),
            "model": model,
            "recipe": ";".join([recipe, *([f"{language}={grammar}"] if grammar else [])]),
        }
        if chunk.cell is not None:
            metadata["cell"] = chunk.cell
        row_id = make_id(repository, path, key, occurrences[key])
        occurrences[key] += 1
        digest = row_digest(chunk.document, metadata)
        rows.append(Row(row_id, path, text, chunk.document, metadata, key, digest))
    return rows


def make_id(repository: str, path: str, key: bytes, occurrence: int) -> str:
    """The id of the `occurrence`-th (from 0) chunk of a file with this embedded text."""
    parts = (repository.encode(), path.encode(), key, str(occurrence).encode())
    # Lengths are part of what is hashed, so that ("a", "bc") and ("ab", "c") differ.
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hashlib.blake2b(framed, digest_size=16).hexdigest()


def find_occurrence(row_id: str, repository: str, path: str, key: bytes, limit: int) -> int | None:
    """Which occurrence below `limit` an id stands for; None if it is no function of these parts."""
    return next((n for n in range(limit) if make_id(repository, path, key, n) == row_id), None)


def text_key(text: str) -> bytes:
    """16 bytes that stand for an embedded text in the vector cache."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def content_hash(document: str) -> str:
    """SHA-256 of a chunk's document in UTF-8, in hex."""
    return hashlib.sha256(document.encode()).hexdigest()


def row_digest(document: str, metadata: Mapping[str, object]) -> bytes:
    """See `KnownRow.digest`; keys that are not ours count too, since they do not belong there."""
    canonical = json.dumps(metadata, sort_keys=True, ensure_ascii=True)
    return b"".join(
        hashlib.blake2b(part.encode(), digest_size=8).digest() for part in (document, canonical)
    )


def embedded_text(document: str, metadata: Mapping[str, object]) -> str:
    """What was embedded for a row that was read back from the collection."""
    return Chunk(document, 0, 0, context=str(metadata.get("context") or "")).embedded_text


def diff_rows(
    rows: Iterable[Row], known: Mapping[str, KnownRow], *, rewrite: bool = False
) -> RowChanges:
    """What separates a file's rows as they should be from those that the manifest knows.

    A row that may or may not be stored is written, or deleted, again: both are idempotent. With
    `rewrite` all rows are written, whatever is known of them.
    """
    writes, moves, wanted = [], [], set()
    for row in rows:
        wanted.add(row.id)
        old = known.get(row.id)
        if rewrite or old is None or not old.stored or old.digest[:8] != row.digest[:8]:
            writes.append(row)
        elif old.digest != row.digest:
            moves.append(row)
    stale = tuple(row_id for row_id in known if row_id not in wanted)
    return RowChanges(tuple(writes), tuple(moves), stale)
