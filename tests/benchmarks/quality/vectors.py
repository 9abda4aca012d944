"""Vectors, each text's computed once and kept on disk."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

Vectors = Any
Embed = Callable[[Sequence[str]], Vectors]
_BATCH = 256


def cached(embed: Embed, path: Path) -> Embed:
    """`embed`, asked only for texts that `path` does not hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB)")

    def look_up(texts: Sequence[str]) -> Vectors:
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        known = {}
        for key in set(keys):
            row = database.execute("SELECT vector FROM vectors WHERE key = ?", [key]).fetchone()
            if row:
                known[key] = np.frombuffer(row[0], dtype=np.float32)
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        left = iter(fresh.items())
        while batch := dict(islice(left, _BATCH)):
            vectors = embed(list(batch.values()))
            with database:
                for key, vector in zip(batch, vectors, strict=True):
                    known[key] = np.asarray(vector, dtype=np.float32)
                    database.execute(
                        "INSERT INTO vectors VALUES (?, ?)", [key, known[key].tobytes()]
                    )
        return np.stack([known[key] for key in keys])

    return look_up


def hashed(texts: Sequence[str]) -> Vectors:
    """Bags of words; for tests of the benchmark itself."""
    vectors = np.zeros((len(texts), 256), dtype=np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        for word in text.lower().split():
            vector[crc32(word.encode()) % 256] += 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
