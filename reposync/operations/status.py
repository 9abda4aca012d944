"""How a repository is: never synced, being synced, cut off, in step, or damaged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from reposync.live import Sight, look
from reposync.manifest import NEWEST, RepositoryRecord, is_damaged
from reposync.operations.damage import Signs
from reposync.operations.looking import looked_up
from reposync.operations.progress import RunProgress, progress_of
from reposync.operations.runs import RunEntry, entry_of
from reposync.report import Report
from reposync.state import manifest_path
from reposync.store import Store
from reposync.words import count

if TYPE_CHECKING:
    from reposync.display import View

State = Literal["never", "syncing", "interrupted", "synced", "damaged"]


class RepositoryStatus(Report):
    """How a repository is.

    Attributes:
        state: "never": no sync ever wrote anything; "syncing": one is under way, in whatever
            process; "interrupted": the last one was cut off, cancelled, or ended by an error or a
            limit, and the next one goes on from there; "synced"; "damaged": there are `signs` that
            what is indexed cannot be read.
        store: where the store is.
        path: the folder or URL that was synced last.
        files, chunks: what is noted now; skipped files are among `files`.
        last_good: the last run that made the collection exact: its commit, counts, model, settings.
        last_run: the newest run, however it ended.
        bad_runs: how many runs ended otherwise since `last_good`.
        progress: how far the sync is, or how far the last one came.
        signs: why it may be damaged.
    """

    repository: str
    state: State
    store: str
    collection: str | None = None
    path: str = ""
    files: int = 0
    chunks: int = 0
    last_good: RunEntry | None = None
    last_run: RunEntry | None = None
    bad_runs: int = 0
    progress: RunProgress | None = None
    signs: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if a sync is under way, or the last one left no file out."""
        partial = self.last_run is not None and self.last_run.status == "partial"
        return self.state == "syncing" or (self.state == "synced" and not partial)

    def __str__(self) -> str:
        lines = [f"{self.repository}: {self.state}"]
        if self.collection is None:
            return f"{lines[0]} ({self.store})"
        lines.append(
            f"  collection  {self.collection}:"
            f" {count(self.files, 'file')}, {count(self.chunks, 'chunk')}"
        )
        if self.state in ("syncing", "interrupted") and self.progress is not None:
            lines.append(f"  progress    {self.progress}")
        if self.last_good is not None:
            lines.append(f"  last good   {self.last_good}")
        if self.last_run is not None and self.last_run != self.last_good:
            lines.append(f"  last run    {self.last_run}")
        if self.bad_runs:
            lines.append(f"  not good    {self.bad_runs} since then")
        lines += (f"  sign        {sign}" for sign in self.signs)
        return "\n".join(lines)

    def _view(self) -> View:
        from reposync import display as d

        rows: dict[str, object] = {
            "collection": self.collection,
            "files": self.files,
            "chunks": self.chunks,
            "path": self.path,
            "store": self.store,
            "bad runs since": self.bad_runs or None,
        }
        runs = {run.run_id: run for run in (self.last_good, self.last_run) if run is not None}
        cells = [run.cells() for run in runs.values()]
        under_way = self.progress is not None and self.state in ("syncing", "interrupted")
        parts: list[d.Part] = [
            d.Rows(rows if self.collection else {"store": self.store}),
            d.Notes(self.signs, "bad", "sign of damage"),
            *([d.Inner(d.view_of(self.progress))] if self.progress and under_way else ()),
            d.Folded("last good and last run", [d.Table(cells, len(runs))], unfolded=True),
        ]
        return d.View(d.head_of(self), d.tone_of(self.state), parts)


def repository_status(
    name: str, *, store: object = None, collection: str | None = None
) -> RepositoryStatus:
    """How a repository is, judged by the local state alone.

    Neither the store's lock nor Chroma is touched, so it is cheap, and answers while a sync runs.
    Whether the collection really holds what is noted is what `verify_repository` finds out.

    >>> from reposync import repository_status
    >>> status = repository_status("project", store="chroma")
    >>> status.state, status.ok, status.last_good.files.added, status.last_good.branch
    ('synced', True, 2, 'main')
    >>> repository_status("another", store="chroma").state
    'never'

    Args:
        name: the repository's name.
        store: as for `reposync.sync_repository`; it need not be there yet.
        collection: needed only if repositories of that name are in several.

    Raises:
        ConfigError: they are, and `collection` does not say which is meant.
        ManifestError: the local state cannot be read.
    """
    with looked_up(store, name, collection) as (place, found):
        if found is None:
            return _unknown(place, name)
        manifest, key, record = found.manifest, found.key, found.record
        sight = look(place, manifest, key, record.id)
        state, signs = judge(Signs(place), sight, record)
        good = manifest.last_good_run(record.id)
        last = manifest.run_page(record.id, NEWEST, 1)
        totals = manifest.totals_of(record.id)
        about = {"repository": key.name, "collection": key.collection, "path": record.path}
        return RepositoryStatus(
            repository=key.name,
            state=state,
            store=place.address,
            collection=key.collection,
            path=record.path,
            files=totals.files,
            chunks=totals.chunks,
            last_good=entry_of(good, **about, under_way=False) if good else None,
            last_run=entry_of(last[0], **about, under_way=sight.running) if last else None,
            bad_runs=manifest.bad_runs_since(record.id, good) + sight.was_killed,
            progress=progress_of(sight, manifest, key, record.id),
            signs=tuple(signs),
        )


def judge(signs: Signs, sight: Sight, record: RepositoryRecord) -> tuple[State, list[str]]:
    """The state of a repository, and the signs of damage.

    After a run that was cut off, that a process died is no news: the next sync looks at the index
    and goes on. But an index that was being mended is damaged.
    """
    if sight.running:
        return "syncing", []
    if sight.run is None:
        return "never", []
    certain = signs.of_store() + signs.of_collection(record.collection_id)
    doubts = signs.doubts(record)
    if certain:
        return "damaged", certain + doubts
    if sight.was_cut_off or _stopped_early(sight):
        return "interrupted", doubts
    return ("damaged" if doubts else "synced"), doubts


def _stopped_early(sight: Sight) -> bool:
    """True if a limit ended the last run before all files were done, and the next one goes on.

    What lies beyond the other limits stays out until they are raised.
    """
    result = sight.run.result if sight.run else None
    return result is not None and "max_embeds" in json.loads(result).get("limits", ())


def _unknown(store: Store, name: str) -> RepositoryStatus:
    """Nothing is noted of that name; or nothing can be read at all."""
    if store.kind != "memory" and is_damaged(manifest_path(store)):
        sign = f"{manifest_path(store)} cannot be read; a sync rebuilds it from the collection"
        return RepositoryStatus(
            repository=name, state="damaged", store=store.address, signs=(sign,)
        )
    return RepositoryStatus(repository=name, state="never", store=store.address)
