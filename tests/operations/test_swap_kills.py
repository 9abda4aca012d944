"""Killed at any instant, a rebuild, a migration or a renaming is gone on with, or undone.

Each is killed with SIGKILL at a certain call. Then either the same is asked for once more, or the
repository is synced; both must end in a sound state, with nothing left behind, and compute nothing
that was computed before.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import Desk, OtherEmbedding, opened, start_python

from reposync import list_repositories, sync_history
from reposync.operations.migrate import migrate_model
from reposync.operations.rebuild_collection import rebuild_collection
from reposync.operations.rename import rename_repository
from reposync.operations.repair import repair_repository
from reposync.operations.verify import verify_repository

KILLED = """
import os, signal, sys
from importlib import import_module
from pathlib import Path
from support import Desk, OtherEmbedding, SMALL
from reposync.operations.migrate import migrate_model
from reposync.operations.rebuild_collection import rebuild_collection
from reposync.operations.rename import rename_repository

root, store, what, module, name, method, calls, after = sys.argv[1:]
owner = getattr(import_module(module), name) if name else import_module(module)
function, left = getattr(owner, method), int(calls)

def counted(*arguments, **options):
    global left
    left -= 1
    if left == 0 and not int(after):
        os.kill(os.getpid(), signal.SIGKILL)
    result = function(*arguments, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, method, counted)
if what == "rebuild":
    rebuild_collection("repo", store=store)
elif what == "rename":
    rename_repository("repo", "renamed", store=store)
else:
    migrate_model(
        "repo", root, store=store, embedding_function=OtherEmbedding(24), config=SMALL
    )
"""


@dataclass(frozen=True)
class Kill:
    """An instant: before (or right `after`) this call of a function, counted from 1."""

    what: str
    name: str
    where: str
    calls: int = 1
    after: bool = False

    def __str__(self) -> str:
        return f"{self.what}-{self.name}"


STORE, SWAP = "reposync.store/Store", "reposync.swap/"
COLLECTION, MANIFEST = "reposync.collection/Collection", "reposync.manifest/Manifest"
KILLS = [
    Kill("rebuild", "between the names", f"{COLLECTION}/rename", 2),
    Kill("migrate", "in the sync", f"{MANIFEST}/finish", 3),
    Kill("migrate", "between the names", f"{COLLECTION}/rename", 2),
    Kill("rename", "in the rows", f"{COLLECTION}/upsert", 2, after=True),
]
MORE = [
    Kill("rebuild", "right after its mark", f"{SWAP}/_write", after=True),
    Kill("rebuild", "in the copy", f"{COLLECTION}/write_whole", 2),
    Kill("rebuild", "before the names", f"{COLLECTION}/rename"),
    Kill("rebuild", "after the names", f"{COLLECTION}/rename", 2, after=True),
    Kill("rebuild", "before the old one is deleted", f"{STORE}/drop"),
    Kill("rebuild", "after the old one is deleted", f"{STORE}/drop", after=True),
    Kill("migrate", "before it embeds", f"{STORE}/create", after=True),
    Kill("migrate", "before the names", f"{COLLECTION}/rename"),
    Kill("migrate", "before its notes", f"{MANIFEST}/adopt"),
    Kill("migrate", "after its notes", f"{MANIFEST}/adopt", after=True),
    Kill("migrate", "after the old one is deleted", f"{STORE}/drop", after=True),
    Kill("rename", "before its notes", f"{MANIFEST}/rename_repository"),
    Kill("rename", "before the collection's name", f"{COLLECTION}/rename"),
    Kill("rename", "after the collection's name", f"{COLLECTION}/rename", after=True),
    Kill("rename", "before the old rows go", f"{COLLECTION}/delete"),
    Kill("rename", "at the last note", f"{MANIFEST}/finish", 2),
]


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A repository of some batches."""
    folder = tmp_path_factory.mktemp("killed")
    desk = Desk(folder / "tree", folder / "store")
    desk.write_many(60, "notes")
    desk.write("code.py", "".join(f"def f{n}(a):\n    return a + {n}\n\n\n" for n in range(90)))
    desk.settled()
    return desk


@pytest.fixture
def killed(synced: Desk, kill: Kill, tmp_path: Path) -> Desk:
    """The same, where an operation was killed."""
    shutil.copytree(synced.folder, tmp_path / "store")
    desk = Desk(synced.root, tmp_path / "store", embedding=synced.embedding)
    module, name, method = kill.where.split("/")
    arguments = (module, name, method, str(kill.calls), str(int(kill.after)))
    with start_python(KILLED, desk.root, desk.store, kill.what, *arguments) as child:
        _, errors = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, errors
    return desk


def copy_of(desk: Desk, folder: Path) -> Desk:
    """The same repository, with a copy of its store."""
    shutil.copytree(desk.folder, folder)
    return Desk(desk.root, folder, desk.name, desk.embedding)


def check(desk: Desk) -> None:
    """The repository is in step, sound, and nothing else is in its store."""
    desk.check()
    report = verify_repository(
        desk.name, desk.root, store=desk.store, level="vectors", config=desk.config
    )
    assert report.ok, str(report)
    with opened(desk.store) as client:
        assert [one.name for one in client.list_collections()] == [desk.name]
        assert client.get_collection(desk.name, embedding_function=None).count() == report.rows
    page = list_repositories(store=desk.store)
    assert [(one.name, one.files, one.chunks) for one in page.items] == [
        (desk.name, report.files, report.rows)
    ]
    runs = sync_history(desk.name, store=desk.store)
    assert (page.total, runs.total) == (1, len(runs.items)) == (1, page.items[0].runs)
    assert not list(desk.state.glob("swap-*"))
    assert len([path for path in desk.folder.iterdir() if len(path.name) == 36]) == 1


def again(kill: Kill, desk: Desk) -> None:
    """Ask for the same once more; nothing that was acknowledged is computed again."""
    before = desk.embedding.total
    if kill.what == "rebuild":
        rebuild_collection("repo", store=desk.store)
    elif kill.what == "rename":
        rename_repository("repo", "renamed", store=desk.store)
        desk.name = "renamed"
    else:
        computed = cached(desk)
        new = OtherEmbedding(24)
        report = migrate_model(
            "repo", desk.root, store=desk.store, embedding_function=new, config=desk.config
        )
        assert report.ok
        assert new.total + computed == before
        desk.embedding = new
        return
    assert desk.embedding.total == before


def cached(desk: Desk) -> int:
    """How many vectors of the new model the cache has."""
    with closing(sqlite3.connect(desk.manifest)) as db:
        return int(
            db.execute("SELECT count(*) FROM vectors WHERE length(vector) = 96").fetchone()[0]
        )


def synced_instead(kill: Kill, desk: Desk) -> None:
    """Sync the repository as it is called, and with the model that it is of, by what was done."""
    before = desk.embedding.total
    with closing(sqlite3.connect(desk.manifest)) as db:
        ((desk.name,),) = db.execute("SELECT DISTINCT name FROM repositories").fetchall()
    if kill.what == "migrate" and kill.name not in (
        "in the sync",
        "before it embeds",
        "before the names",
    ):
        desk.embedding = OtherEmbedding(24)
        before = 0
    assert desk.sync().ok
    assert desk.embedding.total == before


def repaired(_: Kill, desk: Desk) -> None:
    """Have it verified, and mended."""
    before = desk.embedding.total
    found = verify_repository("repo", desk.root, store=desk.store, config=desk.config)
    assert "unsettled" in found.counts
    report = repair_repository("repo", desk.root, store=desk.store, config=desk.config)
    assert report.ok, str(report)
    assert desk.embedding.total == before


@pytest.mark.parametrize(
    "kill",
    [*KILLS, *(pytest.param(kill, marks=pytest.mark.slow) for kill in MORE)],
    ids=str,
)
def test_the_next_call_ends_well(killed: Desk, kill: Kill, tmp_path: Path) -> None:
    """Whatever is called next, all is in order then, and nothing was computed twice."""
    follow: Callable[[Kill, Desk], None]
    unsettled = kill.what == "rebuild" and kill in MORE
    for follow in (again, synced_instead, *([repaired] if unsettled else [])):
        desk = copy_of(killed, tmp_path / follow.__name__)
        follow(kill, desk)
        check(desk)
