"""One call of `sync_repository`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from task import COLLECTION, hide, task

from reposync import sync_repository
from reposync.embed import Embedder

hide()
job = task()
embed = Embedder.embed


def noted(embedder: Embedder, texts: Sequence[str]) -> Any:
    """Our own runner embeds: what it is given is noted as it is for others, before the work."""
    job.note(len(texts))
    return embed(embedder, texts)


if job.model:
    Embedder.embed = noted  # type: ignore[method-assign]
result = sync_repository(
    job.tree,
    COLLECTION,
    store=job.store,
    collection=COLLECTION,
    embedding_function=None if job.model else job.embed(),
    progress=False,
)
result.raise_for_failures()
print(result)
