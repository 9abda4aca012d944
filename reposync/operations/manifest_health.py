"""What `check_health` reads from the manifest, one thing a function."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from reposync.errors import ManifestError
from reposync.live import Sight, look
from reposync.manifest import (
    FILE_NAME,
    Manifest,
    ManifestDamaged,
    RepositoryKey,
    RepositoryRecord,
)
from reposync.operations.health_check import HealthCheck
from reposync.result import SyncResult
from reposync.state import manifest_path, read_state
from reposync.store import Store
from reposync.words import count, data_size


def check_manifest(store: Store, *, thorough: bool) -> HealthCheck:
    """Can the manifest be read, and is it sound?"""
    there = store.kind == "memory" or manifest_path(store).exists()
    try:
        with read_state(store) as manifest:
            if manifest is None:
                return (
                    damaged("manifest")
                    if there
                    else HealthCheck(name="manifest", message="none yet")
                )
            faults = manifest.faults() if thorough else []
            repositories = len(manifest.repositories())
    except ManifestDamaged as error:
        return damaged("manifest", str(error))
    except ManifestError as error:
        return HealthCheck(name="manifest", status="fail", message=str(error))
    if faults:
        return damaged("manifest", faults[0])
    how = "sound" if thorough else "readable"
    size = 0 if store.kind == "memory" else manifest_path(store).stat().st_size
    return HealthCheck(
        name="manifest",
        message=f"{how}, {data_size(size)}",
        figures={"bytes": size, "repositories": repositories},
    )


def damaged(name: str, why: str = "it is damaged, or another program's") -> HealthCheck:
    """What to say of a manifest that is of no use any more."""
    return HealthCheck(
        name=name,
        status="warn",
        message=why,
        advice=f"Sync: {FILE_NAME} is rebuilt from the collection, computing nothing.",
    )


def check_repositories(store: Store) -> Iterator[HealthCheck]:
    """When did each repository's last sync end well, and how many failed since?"""
    with read_state(store) as manifest:
        if manifest is None:
            return
        for key, record in here(store, manifest):
            yield _check_repository(manifest, key, record, look(store, manifest, key, record.id))


def here(store: Store, manifest: Manifest) -> list[tuple[RepositoryKey, RepositoryRecord]]:
    """The repositories of the database that the store's client works in."""
    place = (store.tenant, store.database)
    found = manifest.repositories()
    return [(key, record) for key, record in found if (key.tenant, key.database) == place]


def _check_repository(
    manifest: Manifest, key: RepositoryKey, record: RepositoryRecord, sight: Sight
) -> HealthCheck:
    good, last = manifest.last_good_run(record.id), sight.run
    bad = manifest.bad_runs_since(record.id, good) + sight.was_killed
    age = _age(good.result) if good and good.result else None
    figures = {
        "repository": key.name,
        "collection": key.collection,
        "last_success_seconds": age,
        "failures": bad,
        "last_status": "interrupted" if sight.was_killed else last.status if last else None,
    }
    when = "never synced to its end" if age is None else f"last good sync {_words(age)} ago"
    if not bad and age is None and sight.running:
        when = "its first sync is under way"
    elif bad or age is None:
        return HealthCheck(
            name="repository",
            status="warn",
            message=f"{key.name}: {when}, {count(bad, 'run')} since ended otherwise",
            figures=figures,
            advice="Look at the result of its last sync, and sync again.",
        )
    return HealthCheck(name="repository", message=f"{key.name}: {when}", figures=figures)


def _age(result: str) -> float:
    finished = SyncResult.model_validate_json(result).finished_at
    return max(0.0, (datetime.now(timezone.utc) - finished).total_seconds())


def _words(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
