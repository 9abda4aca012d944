"""Is what is indexed still what is in the repository? Asked of the files and the local state."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import replace

from reposync.config import SyncConfig
from reposync.dry_run import noted_files, planned
from reposync.errors import UnknownRepository
from reposync.manifest import Manifest, RepositoryRecord
from reposync.opened import find_repository
from reposync.plan import plan, takes_out
from reposync.records import Action, Known
from reposync.report import Report
from reposync.request import Request, check_owner, make_request
from reposync.result import PlannedAction
from reposync.state import read_state
from reposync.survey import Survey
from reposync.words import count


class CurrentReport(Report):
    """Whether what is indexed equals what is in the repository; true or false itself.

    Attributes:
        current: they are equal.
        path: the folder or URL that was looked at.
        changes: what a sync would do, file by file; empty if nothing was ever synced.
    """

    repository: str
    path: str
    current: bool
    never_synced: bool = False
    changes: tuple[PlannedAction, ...] = ()

    @property
    def ok(self) -> bool:
        """True if they are equal."""
        return self.current

    def __bool__(self) -> bool:
        return self.current

    def __str__(self) -> str:
        if self.never_synced:
            return f"{self.repository}: never synced"
        if self.current:
            return f"{self.repository}: current"
        lines = [f"{self.repository}: not current, {count(len(self.changes), 'change')}"]
        lines += [f"  {one}" for one in self.changes[:20]]
        if len(self.changes) > 20:
            lines.append(f"  ... and {len(self.changes) - 20} more, see .changes")
        return "\n".join(lines)


def is_current(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    ref: str | None = None,
    store: object = None,
    collection: str | None = None,
    embedding_function: object = None,
    config: SyncConfig | None = None,
) -> CurrentReport:
    """Tell whether what is indexed still equals the files of a repository, or of a commit.

    It lists the files and reads those whose stat is not as it was. Nothing is cut, embedded or
    written, and the store is not opened: that the collection holds what is noted is what
    `verify_repository` finds out.

    >>> from reposync import is_current
    >>> bool(is_current("project", store="chroma"))
    True
    >>> with open("project/greet.py", "a") as file:
    ...     print("# more", file=file)
    >>> print(is_current("project", store="chroma"))
    project: not current, 1 change
      update  greet.py (content changed)

    Args:
        path, name, ref, store, config: as they are passed to `reposync.sync_repository`.
        collection: the same; not needed if only one collection has a repository of that name.
        embedding_function: the same; if it is passed, another model than before counts as a change.

    Raises:
        ConfigError: an argument cannot be right, or `collection` is needed. `NameTaken` is one.
        ScanError: the repository cannot be listed.
        ManifestError: the local state cannot be read.
    """
    request = make_request(path, name, store, collection, embedding_function, config, ref=ref)
    report = CurrentReport(repository=request.key.name, path=request.location, current=False)
    with ExitStack() as stack:
        stack.enter_context(closing(request.store))
        manifest = stack.enter_context(read_state(request.store))
        if manifest is None:
            return report.model_copy(update={"never_synced": True})
        record = manifest.repository(request.key)
        if record is None and collection is None:
            request, record = _elsewhere(request, manifest)
        if record is None or manifest.last_run(record.id) is None:
            return report.model_copy(update={"never_synced": True})
        check_owner(request, record)
        source = stack.enter_context(closing(request.open_source()))
        request = request.settled(source)
        known = noted_files(request, manifest, record, any_model=embedding_function is None)
        survey = Survey(source, known)
        if survey.nothing_to_do:
            return report.model_copy(update={"current": True})
        actions = plan(survey.listed, survey.seen(), survey.known)
        changes = tuple(
            planned(action)
            for action in actions
            if _is_change(action, survey.known.get(action.path))
        )
    return report.model_copy(update={"current": not changes, "changes": changes})


def _elsewhere(request: Request, manifest: Manifest) -> tuple[Request, RepositoryRecord | None]:
    """The repository under a collection that was not named, as other functions find it."""
    try:
        key, record = find_repository(request.store, manifest, request.key.name)
    except UnknownRepository:
        return request, None
    return replace(request, key=key), record


def _is_change(action: Action, known: Known | None) -> bool:
    """True if what is indexed of a file is not what it should be, or that cannot be told."""
    if action.kind == "skip":
        return takes_out(action, known)
    return action.kind not in ("keep", "forget")
