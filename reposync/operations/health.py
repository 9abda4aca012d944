"""`check_health`: is a store well, and what a sync needs of it; it reports, and never raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime, timezone
from typing import TYPE_CHECKING, get_args

from reposync.errors import ConfigError, StoreUnavailable, SyncError
from reposync.manifest import ManifestDamaged
from reposync.operations import folder_health, manifest_health, server_health
from reposync.operations.health_check import HealthCheck, Level, Status
from reposync.report import Report
from reposync.store import Store

if TYPE_CHECKING:
    from reposync.display import View

REQUEST_SECONDS = 10.0
"""That a server has for one answer."""


class HealthReport(Report):
    """What `check_health` found.

    Attributes:
        store: which one.
        level: how thorough the look was.
        checked_at: when, UTC.
        duration_seconds: how long it took.
        checks: what was looked at, one after the other.
    """

    store: str
    level: Level
    checked_at: datetime
    duration_seconds: float
    checks: tuple[HealthCheck, ...]

    @property
    def status(self) -> Status:
        """The worst of all checks."""
        found = {check.status for check in self.checks}
        worst: tuple[Status, ...] = ("fail", "warn")
        return next((status for status in worst if status in found), "pass")

    @property
    def ok(self) -> bool:
        """True if nothing failed; warnings do not count."""
        return self.status != "fail"

    def __str__(self) -> str:
        head = f"{self.store}: {self.status} ({self.level}, {self.duration_seconds:.2f} s)"
        return "\n".join([head, *(f"  {check}" for check in self.checks)])

    def _view(self) -> View:
        from reposync import display as d

        figures = {check.name: check.figures for check in self.checks if check.figures}
        parts: list[d.Part] = [
            d.table_of("checks", self.checks, ""),
            d.Folded("figures", [d.Rows({"checked_at": self.checked_at, **figures})]),
        ]
        return d.View(d.head_of(self), d.tone_for(self), parts)


def check_health(*, store: object = None, level: Level = "ready") -> HealthReport:
    """Tell how a store is, and what to do about what is wrong; never raises for one that is ill.

    ``level="live"`` is cheap enough to be asked every few seconds: of a folder, nothing is opened
    but the manifest, and no lock is waited for. ``level="ready"`` also has Chroma open the store in
    a child process under the store lock, read and query a little of each collection, and checks the
    manifest's pages. The next sync then compares ids, since the store was opened.

    Args:
        store: as for `reposync.sync_repository`.
        level: how thorough to look.

    Raises:
        ConfigError: an argument is none of these.

    >>> from reposync import check_health
    >>> health = check_health(store="chroma", level="live")
    >>> health.ok, [check.name for check in health.checks if check.status != "pass"]
    (True, [])
    """
    began = time.monotonic()
    if level not in get_args(Level):
        raise ConfigError(f"level={level!r} is neither 'live' nor 'ready'. Pass one of them.")
    try:
        found = Store(store, attempts=1, request_timeout=REQUEST_SECONDS)
    except StoreUnavailable as error:
        checks, where = [HealthCheck(name="store", status="fail", message=str(error))], str(store)
    else:
        where = found.address
        with closing(found):
            checks = list(_look(found, level))
    return HealthReport(
        store=where,
        level=level,
        checked_at=datetime.now(timezone.utc),
        duration_seconds=time.monotonic() - began,
        checks=tuple(checks),
    )


def _look(store: Store, level: Level) -> Iterable[HealthCheck]:
    thorough = level == "ready"
    looks: dict[str, Callable[[Store], HealthCheck | Iterable[HealthCheck]]] = {}
    if store.kind == "folder":
        looks["store"] = folder_health.check_folder
        looks["writable"] = folder_health.check_writable
    else:
        looks["store"] = server_health.check_answers
    if store.kind == "server":
        looks["server"] = server_health.check_server
    if store.kind != "memory":
        looks["space"] = folder_health.check_space
        looks["logs"] = folder_health.check_logs
    if store.kind == "folder":
        looks["lock"] = folder_health.check_lock
        looks["freshness"] = folder_health.check_freshness
    looks["manifest"] = lambda store: manifest_health.check_manifest(store, thorough=thorough)
    looks["repository"] = manifest_health.check_repositories
    if thorough:
        is_folder = store.kind == "folder"
        looks["index"] = folder_health.check_opens if is_folder else server_health.check_collections
    down = False
    for name, look in looks.items():
        if down and (store.kind == "folder" or name in ("server", "index")):
            continue  # there is nothing to look at
        checks = list(_safely(name, look, store))
        yield from checks
        down = down or (name == "store" and not checks[0].ok)


def _safely(
    name: str, look: Callable[[Store], HealthCheck | Iterable[HealthCheck]], store: Store
) -> Iterable[HealthCheck]:
    """Whatever a look raises is a finding, too."""
    try:
        found = look(store)
        yield from [found] if isinstance(found, HealthCheck) else found
    except ManifestDamaged as error:
        yield manifest_health.damaged(name, str(error))
    except SyncError as error:
        yield HealthCheck(name=name, status="fail", message=str(error))
    except Exception as error:  # noqa: BLE001 - a store that is ill in a new way
        yield HealthCheck(
            name=name,
            status="fail",
            message=f"{type(error).__name__}: {error}",
            advice="See whether the disk, or the server, is well.",
        )
