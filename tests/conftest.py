"""What all test modules may ask for: an empty home, and a store in a folder or on a server."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chroma_server import Server, move_to_fresh_database
from support import make_folder

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


OPEN_FILES = 8192


def pytest_configure() -> None:
    """Make good what children would inherit: few open files, and a Ctrl-C that is ignored."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A Chroma server keeps four files open for each of the hundreds of collections it gets.
    if resource.RLIM_INFINITY != soft < OPEN_FILES:
        most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    # What a shell without job control starts with "&" ignores it, as does all that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for a place runs in a folder and on a server, unless marked otherwise."""
    if "place" in metafunc.fixturenames:
        folder_only = metafunc.definition.get_closest_marker("folder_only")
        kinds = ["folder"] if folder_only else ["folder", "server"]
        metafunc.parametrize("place", kinds, indirect=True)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder for one test, removed at its end; not pytest's own, which lies on a disk."""
    folder = make_folder("reposync-test-")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is read from, or left in, the home of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("STATE", "DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in [name for name in os.environ if name.startswith("REPOSYNC_")]:
        monkeypatch.delenv(name)
    return home


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One Chroma server for all tests that leave it running; each takes a database of its own."""
    folder = make_folder("reposync-server-")
    try:
        with Server(folder / "served") as server:
            yield server
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _servers_client(server: Server) -> Iterator[ClientAPI]:
    with server.client() as client:
        yield client


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, own_home: Path) -> Path | ClientAPI:
    """An empty store: a folder that is not there yet, or a client of a new database on a server."""
    if request.param == "folder":
        return tmp_path / "store"
    client: ClientAPI = request.getfixturevalue("_servers_client")
    move_to_fresh_database(client)
    return client


@pytest.fixture
def memory() -> Iterator[ClientAPI]:
    """An in-memory client, closed at the end: all that are open share what they hold."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
    yield client
    client.close()  # type: ignore[attr-defined]
