"""A real ``chroma run`` on loopback, as a process that can be stopped, killed and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@dataclass
class Server:
    """One server process on a folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        """Stop the process: connections are taken by the kernel, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def running(folder: Path, port: int = 0) -> Iterator[Server]:
    """A server on `folder`, on a free port unless one is given, from when it answers."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "chroma"), "run", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--path", str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "server.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise AssertionError("the server does not answer")
        yield Server(folder, port, process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def connected(port: int) -> Iterator[ClientAPI]:
    """A client of the server on a port, with all that it opened closed at the end."""
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False)
    client = chromadb.HttpClient(host="127.0.0.1", port=port, settings=settings)
    try:
        yield client
    finally:
        owners: list[Any] = [client, client._admin_client]  # type: ignore[attr-defined]
        for owner in owners:
            owner._server._session.close()  # Chroma leaves its connections open
        client.close()  # type: ignore[attr-defined]
