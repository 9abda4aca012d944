"""An embedding function for tests: exact, instant, and it keeps a log of every text it embeds.

The vector of a text is its SHAKE-256 digest, read as numbers and brought to length one: equal texts
have equal vectors, different texts have vectors that are far apart, on every machine.

The log answers "what was embedded, and how often?" across processes and kills: each call appends
the digests of its texts, one a line, with a single write to a file opened for appending.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from chromadb import Documents, EmbeddingFunction, Embeddings
from chromadb.utils.embedding_functions import register_embedding_function

if TYPE_CHECKING:
    from pathlib import Path

DIMENSION = 64


def hash_vectors(texts: list[str], dimension: int = DIMENSION) -> np.ndarray:
    """The vectors of `texts`, one a row, float32, each of length one."""
    raw = b"".join(hashlib.shake_256(text.encode("utf-8")).digest(4 * dimension) for text in texts)
    numbers = np.frombuffer(raw, dtype="<u4").reshape(len(texts), dimension)
    vectors = numbers.astype(np.float64) / 2**31 - 1.0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def digest(text: str) -> str:
    """What stands in the log for `text`."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def read_log(log: Path, start: int = 0) -> Counter[str]:
    """How often each text's digest stands in `log` from byte `start` on."""
    if not log.exists():
        return Counter()
    with log.open("rb") as stream:
        stream.seek(start)
        return Counter(stream.read().decode("ascii").split())


@register_embedding_function
class HashEmbedding(EmbeddingFunction[Documents]):
    """`hash_vectors` as a Chroma embedding function; the log is no part of its configuration."""

    def __init__(self, dimension: int = DIMENSION, log: str | os.PathLike[str] | None = None):
        self.dimension = dimension
        self.log = log

    def __call__(self, input: Documents) -> Embeddings:  # noqa: A002 - Chroma's name for it
        """Log the texts, then embed them."""
        if self.log is not None:
            lines = "".join(f"{digest(text)}\n" for text in input).encode("ascii")
            descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, lines)
            finally:
                os.close(descriptor)
        return cast("Embeddings", list(hash_vectors(list(input), self.dimension)))

    @staticmethod
    def name() -> str:
        """The name that Chroma keeps in a collection's configuration."""
        return "reposync-test-hash"

    def get_config(self) -> dict[str, Any]:
        """All that the vectors depend on."""
        return {"dimension": self.dimension}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> HashEmbedding:
        """The same function again, without a log."""
        return HashEmbedding(dimension=int(config["dimension"]))
