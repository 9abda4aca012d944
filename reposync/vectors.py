"""Vectors for rows: from the cache where they are, computed where they are not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reposync import retry
from reposync.embed import WorkersLost
from reposync.errors import EmbeddingError
from reposync.manifest import Manifest
from reposync.request import Request
from reposync.retry import Fault, OnRetry
from reposync.rows import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

logger = logging.getLogger(__name__)

_HARMLESS = "reposync"


@dataclass(slots=True)
class Embedded:
    """Vectors by text hash.

    Attributes:
        cached: came from the cache, with their numbers there.
        computed: are new.
        refused: why the embedding function does not take a text.
        beyond: texts that were not computed, since that would have been more than `most`.
    """

    cached: Mapping[bytes, tuple[int, Vector]]
    computed: dict[bytes, Vector] = field(default_factory=dict)
    refused: dict[bytes, EmbeddingError] = field(default_factory=dict)
    beyond: frozenset[bytes] = frozenset()

    def __getitem__(self, key: bytes) -> Vector:
        return self.computed[key] if key in self.computed else self.cached[key][1]


def vectors_for(
    rows: Iterable[Row],
    request: Request,
    manifest: Manifest,
    *,
    keep: Callable[[Embedded], None],
    on_retry: OnRetry,
    most: int | None = None,
) -> Embedded:
    """The vector of each row, computing each text that is not cached once.

    Args:
        rows: what is to be written.
        request: with the embedder, and how often a fault that may pass is tried again.
        manifest: the cache.
        keep: takes vectors that would be lost otherwise: rows beside a refused text are not
            written, and when the function dies nothing is, but they are paid for.
        on_retry: is told of each try again.
        most: how many texts to compute a vector for; None: as many as there are.

    Raises:
        EmbeddingError: the embedding function refuses even a harmless text, so that no file is at
            fault.
    """
    texts = {row.text_hash: row.text for row in rows}
    use_cache = request.config.cache_vectors
    embedded = Embedded(manifest.vectors(request.model, texts) if use_cache else {})
    missing = [(key, text) for key, text in texts.items() if key not in embedded.cached]
    if most is not None and len(missing) > most:
        embedded.beyond = frozenset(key for key, _ in missing[most:])
        missing = missing[:most]
    if not missing:
        return embedded

    def embed(texts: list[str]) -> NDArray[np.float32]:
        return retry.call(
            lambda: request.embedder.embed(texts),
            attempts=request.config.max_attempts,
            deadline=request.deadline,
            on_retry=on_retry,
            fault=_fault,
        )

    done = False
    try:
        _embed(missing, embed, embedded)
        done = True
    finally:
        if use_cache and (embedded.refused or not done):
            keep(embedded)
    return embedded


def _fault(error: BaseException) -> Fault:
    return retry.fault_of(error.__cause__ or error)


def _embed(
    missing: Sequence[tuple[bytes, str]],
    embed: Callable[[list[str]], NDArray[np.float32]],
    into: Embedded,
) -> None:
    """Embed texts; when the function fails, halve them until the texts at fault stand alone."""
    pending = [missing]
    alive = False
    while pending:
        part = pending.pop()
        try:
            vectors = embed([text for _, text in part])
        except WorkersLost:
            raise
        except EmbeddingError as error:
            if not alive or _fault(error) is Fault.TRANSIENT:
                embed([_HARMLESS])  # raises if the function itself is down
                alive = True
            if len(part) == 1:
                into.refused[part[0][0]] = error
                continue
            cause = type(error.__cause__ or error).__name__
            logger.debug("the embedding function refused %d texts: %s", len(part), cause)
            middle = len(part) // 2
            pending += [part[middle:], part[:middle]]
        else:
            alive = True
            into.computed.update(zip((key for key, _ in part), vectors, strict=True))
