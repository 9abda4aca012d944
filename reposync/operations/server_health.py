"""What `check_health` asks of a server, or of a store in memory, one thing a function."""

from __future__ import annotations

import time

from reposync.errors import SyncError
from reposync.operations.folder_health import index_check
from reposync.operations.health_check import HealthCheck
from reposync.operations.manifest_health import here
from reposync.operations.sample import read_some
from reposync.state import read_state
from reposync.store import Store

# Python servers (`uvicorn chromadb.app:app`) let a stranger run code, CVE-2026-45829; those that
# `chroma run` starts do not. Up to 1.5.9, no release has the fix.
BAD_SERVERS = ((1, 0, 0), (1, 5, 9))
RUST_API = "chroma-frontend"


def check_answers(store: Store) -> HealthCheck:
    """Does it answer?"""
    began = time.monotonic()
    store.open()
    store.heartbeat()
    seconds = time.monotonic() - began
    return HealthCheck(
        name="store",
        message=f"{store.address} answers in {seconds * 1000:.0f} ms",
        figures={"seconds": seconds},
    )


def check_server(store: Store) -> HealthCheck:
    """Is it a version that is known to be bad?"""
    version, api = store.server_version()
    figures = {"version": version, "api": api}
    if api == RUST_API:
        return HealthCheck(name="server", message="the one of chroma run", figures=figures)
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if not api and version == "1.0.0":
        message = "the one of chroma run, or a Python server 1.0.0: it does not say which"
        return HealthCheck(name="server", message=message, figures=figures)
    if BAD_SERVERS[0] <= numbers <= BAD_SERVERS[1]:
        return HealthCheck(
            name="server",
            status="fail",
            message=f"a Python server, version {version}: strangers can run code in it"
            " (CVE-2026-45829)",
            figures=figures,
            advice="Run `chroma run` instead, bound to loopback.",
        )
    return HealthCheck(name="server", message=f"version {version}", figures=figures)


def check_collections(store: Store) -> HealthCheck:
    """Can each collection that was synced into be read and queried?"""
    with read_state(store) as manifest:
        names = {key.collection for key, _ in here(store, manifest)} if manifest else set()
    rows: dict[str, int] = {}
    faults: dict[str, str] = {}
    for name in sorted(names):
        try:
            collection = store.find(name)
            if collection is None:
                faults[name] = "it is gone"
                continue
            ids = collection.all_ids()
            read_some(collection, ids)
            rows[name] = len(ids)
        except SyncError as error:
            faults[name] = str(error)
    return index_check(rows, faults)
