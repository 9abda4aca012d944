"""A repository, a store, a server and a proxy, for faults to befall."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import Desk, make_folder

from reposync import SyncConfig

from .proxy import Proxy, proxied
from .server import Server, connected, running

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

PATIENT = SyncConfig(chunk_tokens=32, batch_rows=8, max_attempts=3)
"""Small batches, and no more tries than a test has time for."""


def some_slow(cases: Iterable[Any], *short: Any) -> list[Any]:
    """All of a test's cases, of which only `short` run by default."""
    return [pytest.param(case, marks=() if case in short else pytest.mark.slow) for case in cases]


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from, or left in, the home of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("STATE", "DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("REPOSYNC_STORE", raising=False)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder for one test, removed at its end."""
    folder = make_folder("reposync-faults-")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository of 20 files of one chunk each, so three batches, not synced yet."""
    desk = Desk(tmp_path / "tree", tmp_path / "store", config=PATIENT)
    desk.write_many(20)
    return desk


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A real Chroma server; each test uses a collection of its own."""
    folder = make_folder("reposync-served-")
    with running(folder) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy before the server."""
    with proxied(server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[ClientAPI]:
    """A client that goes through the proxy."""
    with connected(proxy.port) as client:
        yield client
        proxy.heal()
        for found in client.list_collections():
            client.delete_collection(found.name)
