"""A repository, a store, a server and a proxy, for faults to befall."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chroma_server import Server, connect, disconnect
from support import Desk

from reposync import SyncConfig

from .proxy import Proxy, proxied

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

PATIENT = SyncConfig(chunk_tokens=32, batch_rows=8, max_attempts=3)
"""Small batches, and no more tries than a test has time for."""


def some_slow(cases: Iterable[Any], *short: Any) -> list[Any]:
    """All of a test's cases, of which only `short` run by default."""
    return [pytest.param(case, marks=() if case in short else pytest.mark.slow) for case in cases]


@pytest.fixture(autouse=True)
def _own_home(own_home: Path) -> None:
    """Each test has a home of its own."""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository of 20 files of one chunk each, so three batches, not synced yet."""
    desk = Desk(tmp_path / "tree", tmp_path / "store", config=PATIENT)
    desk.write_many(20)
    return desk


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy before the server."""
    with proxied(server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[ClientAPI]:
    """A client that goes through the proxy."""
    client = connect(f"http://127.0.0.1:{proxy.port}/default_database")
    yield client
    proxy.heal()
    for found in client.list_collections():
        client.delete_collection(found.name)
    disconnect(client)
