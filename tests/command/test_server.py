"""A store on a server, named by its address."""

from __future__ import annotations

from pathlib import Path

import pytest
from chroma_server import Server, move_to_fresh_database

from reposync import ConfigError
from reposync.address import connect, without_password

from .run import several


@pytest.fixture
def database(server: Server) -> str:
    """A new database on the server."""
    with server.client() as client:
        move_to_fresh_database(client)
        return client.database


def test_a_server_by_its_address(
    server: Server, database: str, env: dict[str, str], tree: Path, tmp_path: Path
) -> None:
    """Sync, look, search and verify work with an address; what needs a folder says so."""
    env = {**env, "CHROMA_DATABASE": database, "REPOSYNC_STORE": server.address}
    synced, listed, found, verified, backup = several(
        [
            ("sync", str(tree), "--name", "shop"),
            ("status",),
            ("search", "how to bake bread", "-n", "1"),
            ("verify", "shop"),
            ("backup", str(tmp_path / "bk")),
        ],
        env,
        cwd=tmp_path,
    )
    assert [one.code for one in (synced, listed, found, verified)] == [0, 0, 0, 0]
    assert "5 added" in synced.out
    assert listed.out.startswith("shop: synced")
    assert found.out.startswith("recipe.txt:1-1")
    assert verified.out.startswith("shop: sound (5 rows")
    assert (backup.code, "only a folder can be copied" in backup.out) == (2, True)
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_not_there(server: Server, env: dict[str, str]) -> None:
    """A server that answers and does not take us in says so."""
    env = {**env, "CHROMA_DATABASE": "no-such-database"}
    (ran,) = several([("list", "--store", server.address)], env)
    assert (ran.code, "CHROMA_DATABASE" in ran.out) == (4, True), ran


@pytest.mark.parametrize(
    "address", ["http://", "http://host:x", "http://host/path", "https://host?x=1", "ftp://host"]
)
def test_what_is_no_address(address: str) -> None:
    """What cannot be an address is a caller's mistake, and its password is not told."""
    with pytest.raises(ConfigError, match="address"):
        connect(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://host", "http://host:8000"),
        ("HTTPS://ada:p%40ss@Host", "https://host:443"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
    ],
)
def test_how_an_address_is_shown(address: str, shown: str) -> None:
    """With its port, and without its password."""
    assert without_password(address) == shown
