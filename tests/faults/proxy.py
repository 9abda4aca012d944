"""A proxy in front of a real Chroma server that fails on cue, and remembers what was asked of it.

    proxy.on("upsert", answer(503), times=2)    # the next two upserts are answered with 503
    proxy.on("upsert", cut_after())             # the next one lands, but nobody is told

It listens on loopback only.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Landed = Callable[[], tuple[int, bytes]]
"""Forwards the request to the server; its status and body."""

HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass
class Request:
    """One request, as it was seen.

    Attributes:
        what: the last part of the path: "upsert", "get", ..., or a name that is looked up.
        ids: the ids in its body.
        text: its body.
        answer: the status that the client got; 0 if the connection was cut.
        landed: True if the server got it.
    """

    method: str
    path: str
    text: str
    ids: tuple[str, ...] = ()
    answer: int = 0
    landed: bool = False

    @property
    def what(self) -> str:
        return self.path.partition("?")[0].rpartition("/")[2]


Fault = Callable[[Request, Landed], "tuple[int, bytes, dict[str, str]] | None"]
"""What becomes of a request: (status, body, headers), or None to cut the connection."""


def answer(status: int, text: str = "no", **headers: str) -> Fault:
    """Answer it here; the server never sees it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, landed: (status, text.encode(), named)


def refuse(text: str = "this cannot be taken") -> Fault:
    """Answer as Chroma does when it refuses an argument."""
    return answer(400, json.dumps({"error": "InvalidArgumentError", "message": text}))


def cut_before() -> Fault:
    """Cut the connection; the server never sees the request."""
    return lambda request, landed: None


def cut_after() -> Fault:
    """Let the request land, then cut the connection: the client cannot know."""

    def fault(request: Request, landed: Landed) -> None:
        landed()

    return fault


def hold(until: threading.Event) -> Fault:
    """Let the request land, and answer only when the event is set."""

    def fault(request: Request, landed: Landed) -> tuple[int, bytes, dict[str, str]]:
        status, body = landed()
        until.wait(60)
        return status, body, {}

    return fault


@dataclass
class Rule:
    """A fault for requests that `matches`, as often as `times` says (None: always)."""

    matches: Callable[[Request], bool]
    fault: Fault
    times: int | None


@dataclass
class Proxy:
    """The proxy on its `port`."""

    port: int = 0
    seen: list[Request] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    watch: Callable[[Request], object] | None = None
    """Is called with each request before it is forwarded."""
    guard: Any = field(default_factory=threading.RLock, repr=False)

    def on(
        self, what: str | Callable[[Request], bool], fault: Fault, times: int | None = 1
    ) -> None:
        """From now on the next `times` requests of this kind fail so."""
        matches = (lambda request: request.what == what) if isinstance(what, str) else what
        with self.guard:
            self.rules.append(Rule(matches, fault, times))

    def heal(self) -> None:
        """No more faults."""
        with self.guard:
            self.rules.clear()

    def take(self, request: Request) -> Fault | None:
        """The fault that befalls a request; notes the request."""
        with self.guard:
            self.seen.append(request)
            for rule in self.rules:
                if rule.times != 0 and rule.matches(request):
                    if rule.times is not None:
                        rule.times -= 1
                    return rule.fault
        return None

    def asked(self, *what: str) -> list[Request]:
        """The requests of some kinds, in order; without kinds all."""
        with self.guard:
            return [request for request in self.seen if not what or request.what in what]

    def forget(self) -> None:
        """Begin the record anew."""
        with self.guard:
            self.seen.clear()


class _Server(ThreadingHTTPServer):
    """Carries the proxy and the server's port to the handlers."""

    daemon_threads = True
    block_on_close = False
    proxy: Proxy
    server_behind: int

    def shutdown_request(self, request: Any) -> None:
        # Without the base class's shutdown(): it would send a FIN before the reset.
        self.close_request(request)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = Request(self.command, self.path, body.decode(), _ids(body))
        proxy = self.server.proxy
        fault = proxy.take(request)
        if proxy.watch is not None:
            proxy.watch(request)

        def landed() -> tuple[int, bytes]:
            request.landed = True
            return self.forward(body)

        given = fault(request, landed) if fault else (*landed(), {})
        if given is None:
            self.reset()
            return
        request.answer, content, headers = given
        self.send_response(request.answer)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the base class's names

    def forward(self, body: bytes) -> tuple[int, bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.server_behind, timeout=60)
        try:
            kept = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
            upstream.request(self.command, self.path, body or None, kept)
            response = upstream.getresponse()
            return response.status, response.read()
        finally:
            upstream.close()

    def reset(self) -> None:
        """Close the connection so that the client gets a reset, as from a server that died."""
        self.close_connection = True
        option = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):  # the client has gone away, or the server has
            self.reset()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def proxied(server_port: int) -> Iterator[Proxy]:
    """A proxy in front of the server on a port of loopback."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.proxy = Proxy(server.server_address[1])
        server.server_behind = server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.proxy
        finally:
            server.shutdown()
            thread.join()


def _ids(body: bytes) -> tuple[str, ...]:
    try:
        found = json.loads(body).get("ids") if body else None
    except (ValueError, AttributeError):
        return ()
    return tuple(found or ())
