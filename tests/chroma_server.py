"""A real `chroma run` on loopback for tests: started, stopped, killed, brought back, frozen.

Nothing is fetched: `chroma run` opens no connection of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

HOST = "127.0.0.1"
COMMAND = "chroma run --path {path} --host 127.0.0.1 --port {port}"
START_SECONDS = 60.0
STOP_SECONDS = 20.0


class Server:
    """A Chroma server as a child process, with its data in `folder`; not running until `start`.

    Attributes:
        folder: where its data are.
        port: the same for all of its life, however often it is killed and started again.
        log: what it wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_name(f"{folder.name}.log")
        self.port = free_port()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self.kill()

    @property
    def address(self) -> str:
        """Where it is, as a URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._child is not None, "the server does not run"
        return self._child.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self._child is not None
            assert self._child.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    @property
    def died(self) -> bool:
        """True if it ended by itself."""
        return self._child is not None and self._child.poll() is not None

    def ensure(self) -> None:
        """Start it unless it runs."""
        if self.died:
            self._child = None
        if self._child is None:
            self.start()

    def launch(self) -> None:
        """Start it, and do not wait."""
        assert self._child is None, "the server runs already"
        chroma, *arguments = COMMAND.format(path=self.folder, port=self.port).split()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [Path(sys.executable).parent / chroma, *arguments],
                env={**os.environ, "RUST_LOG": "warn", "ANONYMIZED_TELEMETRY": "False"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def answers(self) -> bool:
        """True if it gives a sign of life within a second."""
        connection = HTTPConnection(HOST, self.port, timeout=1.0)
        try:
            connection.request("GET", "/api/v2/heartbeat")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """Have it end in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would, also when it is frozen."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again, on the same folder and port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Let it accept connections and answer nothing, as a hung server does."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: int) -> None:
        child, self._child = self._child, None
        assert child is not None, "the server does not run"
        child.send_signal(number)
        try:
            child.wait(STOP_SECONDS)
        finally:
            child.kill()
            child.wait()

    @contextmanager
    def client(self, database: str = "default_database") -> Iterator[ClientAPI]:
        """A client of its own, as a host would have it, for the length of a block."""
        client = connect(f"{self.address}/{database}")
        try:
            yield client
        finally:
            disconnect(client)


def connect(where: str) -> ClientAPI:
    """A client of a server, as told by ``http://host:port/database``."""
    import chromadb
    from chromadb.config import Settings

    parts = urlsplit(where)
    assert parts.hostname is not None
    assert parts.port is not None
    return chromadb.HttpClient(
        host=parts.hostname,
        port=parts.port,
        database=parts.path.strip("/"),
        settings=Settings(anonymized_telemetry=False),
    )


def address_of(client: Any) -> str:
    """What `connect` needs to reach the same database."""
    settings = client._system.settings
    host, port = settings.chroma_server_host, settings.chroma_server_http_port
    return f"http://{host}:{port}/{client.database}"


def disconnect(client: Any) -> None:
    """Close a client and its connections, which Chroma leaves to the garbage collector."""
    for owner in (client, client._admin_client):
        owner._server._session.close()
    client.close()


def move_to_fresh_database(client: Any) -> None:
    """Have a client work in a new database; a client costs 60 ms to make, a database 2."""
    database = f"test-{uuid4().hex}"
    client._admin_client.create_database(database)
    client.set_database(database)


def make_database_anew(client: Any) -> None:
    """Delete the database that a client works in, with all that is in it, and make an empty one."""
    client._admin_client.delete_database(client.database)
    client._admin_client.create_database(client.database)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port
