"""A Chroma server by its address: what people type where programs have a client."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from reposync.errors import ConfigError, StoreUnavailable
from reposync.store import chroma_settings

if TYPE_CHECKING:
    from chromadb.api.client import Client

ANSWER_SECONDS = 10.0
PORTS = {"http": 8000, "https": 443}


def connect(address: str) -> Client:
    """A client of the server at ``http://host:8000``; whoever asks for it closes it.

    A user and a password in the address are for a proxy before the server. ``CHROMA_TENANT`` and
    ``CHROMA_DATABASE`` name what is not in the default database.

    Raises:
        ConfigError: this is no address.
        StoreUnavailable: nobody answers there, or not as a Chroma server would.
    """
    host, port, ssl, headers, shown = _parse(address)
    import chromadb
    import httpx
    from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT

    try:
        # Chroma's own client would wait for an answer for ever.
        httpx.get(f"{shown}/api/v2/heartbeat", headers=headers, timeout=ANSWER_SECONDS)
    except (httpx.HTTPError, OSError) as error:
        raise StoreUnavailable(
            f"No Chroma server answers at {shown} ({type(error).__name__}: {error}). Is it running"
            " and reachable?"
        ) from error
    try:
        return chromadb.HttpClient(  # type: ignore[return-value]
            host,
            port,
            ssl=ssl,
            headers=headers,
            settings=chroma_settings(),
            tenant=os.environ.get("CHROMA_TENANT") or DEFAULT_TENANT,
            database=os.environ.get("CHROMA_DATABASE") or DEFAULT_DATABASE,
        )
    except Exception as error:
        raise StoreUnavailable(
            f"The server at {shown} does not take us in ({type(error).__name__}: {error}). Is it a"
            " Chroma server, and are CHROMA_TENANT, CHROMA_DATABASE and the credentials right?"
        ) from error


def without_password(address: str) -> str:
    """The address, as it may be shown."""
    return _parse(address)[-1]


def _parse(address: str) -> tuple[str, int, bool, dict[str, str], str]:
    """Host, port, TLS or not, headers, and the address without its password."""
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"The store's address cannot be read ({error}).") from error
    if scheme not in PORTS or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(
            "The store's address must be like http://host:8000, with nothing behind the port."
        )
    headers = {}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    port = port or PORTS[scheme]
    shown_host = f"[{host}]" if ":" in host else host
    return host, port, scheme == "https", headers, f"{scheme}://{shown_host}:{port}"
