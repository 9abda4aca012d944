"""`plan_repository`: what a sync would do, with nothing written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import replace

from reposync.config import SyncConfig
from reposync.forecast import Forecast, InStore
from reposync.freshness import FolderState
from reposync.manifest import Manifest, RepositoryRecord
from reposync.plan import is_indexed, look_again, plan, takes_out, too_many
from reposync.reconcile import LOST_COLLECTION, LOST_MANIFEST, LOST_ROWS
from reposync.records import Action, Known
from reposync.request import Request, check_owner, make_request
from reposync.result import PlannedAction, SyncPlan, count_files
from reposync.state import read_state
from reposync.survey import Survey
from reposync.sync import FULL, MODEL_CHANGED, RECIPE_CHANGED

_OUTCOMES = {
    "add": "added",
    "update": "updated",
    "rename": "renamed",
    "keep": "unchanged",
    "skip": "skipped",
    "fail": "failed",
}


def plan_repository(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    ref: str | None = None,
    store: object = None,
    collection: str | None = None,
    embedding_function: object = None,
    config: SyncConfig | None = None,
    lock: AbstractContextManager[object] | None = None,
    full: bool = False,
    allow_deletions: bool = False,
    count_embeds: bool = True,
) -> SyncPlan:
    """Decide as `reposync.sync_repository` would, and write nothing (a dry run).

    >>> from reposync import plan_repository
    >>> plan = plan_repository("project", store="chroma", embedding_function=embed)
    >>> plan.empty, plan.files.unchanged
    (True, 2)

    Changed files are read and cut, so that the texts to embed can be counted; nothing is embedded.
    A file that must be looked at again because state was lost counts as updated, although it may
    turn out to need no write.

    Args:
        path, name, ref, store, collection, embedding_function, config, lock, full,
            allow_deletions: as for `reposync.sync_repository`.
        count_embeds: count the texts to embed. It takes a third of a millisecond a chunk, ten times
            what the plan takes without.

    Raises:
        ConfigError: an argument cannot be right.
        SyncError: the tree, the store or the local state cannot be read.
    """
    request = make_request(path, name, store, collection, embedding_function, config, lock, ref=ref)
    with (
        closing(request.store),
        closing(request.open_source()) as source,
        read_state(request.store) as manifest,
    ):
        request = request.settled(source)
        record = manifest.repository(request.key) if manifest else None
        known, in_store = _known(request, manifest, record)
        if full:
            known = look_again(known, known, FULL)
        survey = Survey(source, known)
        known = survey.known
        rewrite = full or (record is not None and record.model not in ("", request.model))
        forecast = Forecast(request, manifest, record, in_store, rewrite=rewrite)
        embeds = 0 if count_embeds else None
        actions = []
        for action in plan(survey.listed, survey.seen(), known):
            if embeds is not None:
                embeds += forecast.embeds(action)
            actions.append(replace(action, seen=None))  # its text is not needed any more
    return _report(request, actions, known, embeds, allow_deletions=allow_deletions)


def _known(
    request: Request, manifest: Manifest | None, record: RepositoryRecord | None
) -> tuple[dict[str, Known], InStore | None]:
    """What a sync would know when it plans: the manifest, corrected by the collection."""
    known: dict[str, Known] = {}
    noted: dict[str, tuple[str, bool]] = {}
    token = ""
    if manifest is not None and record is not None:
        known, token = noted_files(request, manifest, record), record.token
        noted = manifest.all_rows(record.id)
    folder = request.store.folder
    if token and folder is not None and FolderState(folder).token() == token:
        return known, None
    return _compared(request, known, noted) if request.store.exists else (known, {})


def noted_files(
    request: Request, manifest: Manifest, record: RepositoryRecord, *, any_model: bool = False
) -> dict[str, Known]:
    """What the manifest knows; files that the request has embedded or cut otherwise are outdated.

    Raises:
        NameTaken: the name belongs to another repository.
    """
    check_owner(request, record)
    known = manifest.files(record.id)
    if not any_model and record.model not in ("", request.model):
        return look_again(known, known, MODEL_CHANGED)
    if record.recipe not in ("", request.recipe):
        return look_again(known, request.outdated(record.recipe, known), RECIPE_CHANGED)
    return known


def _compared(
    request: Request, known: dict[str, Known], noted: Mapping[str, tuple[str, bool]]
) -> tuple[dict[str, Known], InStore]:
    with request.lock.hold(write=False):
        request.store.open()
        collection = request.store.find(request.key.collection)
        if collection is None:
            return look_again(known, known, LOST_COLLECTION), {}
        found = set(collection.ids(request.key.name))
        strangers = sorted(found - noted.keys())
        imported = collection.origins(strangers)
    lost = {path for row_id, (path, stored) in noted.items() if stored and row_id not in found}
    known = look_again(known, lost, LOST_ROWS)
    for path, _ in imported.values():
        known[path] = known.get(path, Known(path))._replace(redo=LOST_MANIFEST)
    models = {row_id: model for row_id, (_, model) in imported.items()}
    return known, {row_id: models.get(row_id) for row_id in found}


def _report(
    request: Request,
    actions: list[Action],
    known: Mapping[str, Known],
    embeds: int | None,
    *,
    allow_deletions: bool,
) -> SyncPlan:
    deleted = sum(takes_out(action, known.get(action.path)) for action in actions)
    indexed = sum(map(is_indexed, known.values()))
    refused = None
    fraction = request.config.max_delete_fraction
    if not allow_deletions and too_many(deleted, indexed, fraction):
        refused = f"it would delete {deleted} of {indexed} indexed files"
    outcomes = [_OUTCOMES[action.kind] for action in actions if action.kind in _OUTCOMES]
    return SyncPlan(
        repository=request.key.name,
        path=request.location,
        collection=request.key.collection,
        files=count_files(outcomes, deleted),
        actions=tuple(
            planned(action) for action in actions if action.kind not in ("keep", "forget")
        ),
        embeds=embeds,
        refused=refused,
    )


def planned(action: Action) -> PlannedAction:
    """An action, told."""
    return PlannedAction(
        path=action.path, action=action.kind, reason=action.reason, old_path=action.old_path
    )
