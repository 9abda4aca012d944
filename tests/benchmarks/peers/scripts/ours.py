"""One call of `sync_repository`."""

from __future__ import annotations

from task import COLLECTION, hide, task

from reposync import sync_repository

hide()
job = task()
noted = 0


def note(progress: object) -> None:
    """Our own runner embeds: what it embedded is told after each batch."""
    global noted
    embedded = progress.texts_embedded  # type: ignore[attr-defined]
    if embedded > noted:
        job.note(embedded - noted)
        noted = embedded


result = sync_repository(
    job.tree,
    COLLECTION,
    store=job.store,
    collection=COLLECTION,
    embedding_function=None if job.model else job.embed(),
    progress=note if job.model else False,
)
result.raise_for_failures()
print(result)
