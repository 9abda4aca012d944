"""Commits, bare repositories and git URLs in place of a folder, synced to real Chroma stores."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Desk, StoredRow, counts, python

from reposync import (
    ConfigError,
    DeadlineExceeded,
    NameTaken,
    ScanError,
    SyncConfig,
    plan_repository,
)
from reposync.origin import find_origin
from reposync.records import Seen
from reposync.scan import CommitSource, Entry

QUICK = SyncConfig(chunk_tokens=32)


@pytest.fixture(autouse=True)
def _own_home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a home of its own, and a name to commit by."""
    for kind in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{kind}_NAME", "a")
        monkeypatch.setenv(f"GIT_{kind}_EMAIL", "a@example.org")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository with a tag, v1, and a commit after it; its folder has edits on top."""
    desk = Desk(tmp_path / "tree", tmp_path / "store", config=QUICK)
    desk.write("same.py", "def same():\n    return 1\n" * 9)
    desk.write("changed.md", "# One\n\nfirst words\n")
    desk.write("dropped.txt", "left later\n")
    desk.write("sub/inner.txt", "in a folder\n")
    desk.write(".gitattributes", "*.md text eol=crlf\n")
    git(desk.root, "init", "-q", "-b", "main")
    git(desk.root, "add", "-A")
    git(desk.root, "commit", "-qm", "one")
    git(desk.root, "tag", "v1")
    desk.write("changed.md", "# Two\r\n\r\nsecond words\r\n")
    (desk.root / "dropped.txt").unlink()
    git(desk.root, "add", "-A")
    git(desk.root, "commit", "-qm", "two")
    desk.write("untracked.txt", "not committed\n")
    return desk


def checkout(desk: Desk, place: Path, ref: str) -> Desk:
    """The same repository as one finds it after a checkout of `ref`, with a store of its own."""
    git(desk.root, "worktree", "add", "-q", "--detach", "--force", str(place), ref)
    return Desk(place, place.with_name(place.name + "-store"), desk.name, config=desk.config)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of commits that are read from now on."""
    read: list[str] = []
    original = CommitSource.read

    def counted(self: CommitSource, entry: Entry) -> Seen | None:
        read.append(entry.path)
        return original(self, entry)

    monkeypatch.setattr(CommitSource, "read", counted)
    return read


# -- refs ------------------------------------------------------------------------------------------


def test_a_ref_is_synced_as_its_checkout_is(desk: Desk, tmp_path: Path) -> None:
    """Syncing a ref equals syncing a checkout of it: ids, documents, metadata and vectors."""
    result = desk.sync(ref="v1")
    commit = git(desk.root, "rev-parse", "v1").strip()
    assert result.ok
    assert result.source is not None
    assert (result.source.commit, result.source.ref) == (commit, "v1")
    assert (result.source.branch, result.source.dirty) == (None, False)
    other = checkout(desk, tmp_path / "other", "v1")
    assert other.sync().files == result.files
    assert desk.rows() == other.rows()
    assert any("\r\n" in row.document for row in desk.rows().values())
    assert git(desk.root, "status", "--porcelain") == "?? untracked.txt\n"


def test_a_ref_that_stayed_is_not_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read, embedded or written; of another commit, only what differs."""
    desk.sync(ref="v1")
    read = reads(monkeypatch)
    again = desk.sync(ref="v1")
    assert (read, counts(again)) == ([], {"unchanged": 5})
    assert again.store.batches == 0
    desk.sync(ref="main")
    assert read == ["changed.md"]
    assert counts(desk.sync(ref="main")) == {"unchanged": 4}


def test_between_ref_and_folder_nothing_is_embedded(desk: Desk) -> None:
    """The folder and a commit of the same content are the same index."""
    (desk.root / "untracked.txt").unlink()
    desk.sync()
    rows, total = desk.rows(), desk.embedding.total
    for ref in ("main", None, "HEAD"):
        result = desk.sync(ref=ref)
        assert counts(result) == {"unchanged": 4}
        assert (result.chunks.added, result.chunks.deleted, result.chunks.embedded) == (0, 0, 0)
    assert (desk.rows(), desk.embedding.total) == (rows, total)


def test_a_folder_of_a_ref(desk: Desk, tmp_path: Path) -> None:
    """A folder in the repository is indexed as it is in the commit, relative to itself."""
    desk.root = desk.root / "sub"
    desk.sync(ref="v1")
    assert {row.metadata["path"] for row in desk.rows().values()} == {"inner.txt"}


def test_a_dry_run_of_a_ref(desk: Desk) -> None:
    """`plan_repository` decides by the commit, too, and writes nothing."""
    desk.sync(ref="v1")
    plan = plan_repository(**desk.arguments(ref="main"))
    assert {action.path: action.action for action in plan.actions} == {
        "changed.md": "update",
        "dropped.txt": "delete",
    }
    assert plan_repository(**desk.arguments(ref="v1")).empty


def test_a_wrong_ref_touches_nothing(desk: Desk) -> None:
    """It is named, with near ones, before anything is made."""
    with pytest.raises(ConfigError, match=r"'v2' names no commit .* Did you mean 'v1'"):
        desk.sync(ref="v2")
    assert not desk.store.exists()
    with pytest.raises(ConfigError, match="ref=''"):
        desk.sync(ref="")


def test_a_bare_repository(desk: Desk, tmp_path: Path) -> None:
    """It is indexed by a ref, or at its HEAD, never as a folder of git's own files."""
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(desk.root), str(bare))
    wanted = checkout(desk, tmp_path / "other", "main")
    wanted.sync()
    desk.root = bare
    assert desk.sync().ok
    assert desk.rows() == wanted.rows()
    assert counts(desk.sync(ref="v1"))["added"] == 1
    with pytest.raises(NameTaken):
        desk.sync(path=wanted.root)


def test_no_process_is_left(desk: Desk) -> None:
    """The git that reads blobs ends with the call, also if the call fails."""
    code = """
import json, sys, subprocess
from support import HashEmbedding
from reposync import sync_repository
started = []
original = subprocess.Popen.__init__
def noted(self, *a, **k):
    original(self, *a, **k)
    started.append(self)
subprocess.Popen.__init__ = noted
def stop(progress):
    raise KeyError("stop")
try:
    sync_repository(sys.argv[1], store=sys.argv[2], ref="v1", progress=stop,
                    embedding_function=HashEmbedding())
except KeyError:
    pass
print(json.dumps([len(started), [p.args for p in started if p.returncode is None]]))
"""
    count, left = eval(python(code, desk.root, desk.store).stdout.splitlines()[-1])
    assert count
    assert not left


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", [None, "main"])
def test_beyond_a_limit(desk: Desk, ref: str | None) -> None:
    """The first files by path are indexed, the result is partial and names the limit."""
    config = SyncConfig(max_files=2)
    result = desk.sync(ref=ref, config=config)
    assert result.status == "partial"
    assert "max_files=2" in result.warnings[0]
    paths = {row.metadata["path"] for row in desk.rows().values()}
    assert paths == {".gitattributes", "changed.md"}
    beyond = {file.path for file in result.skipped if file.reason == "over_limit"}
    assert {"same.py", "sub/inner.txt"} <= beyond
    again = desk.sync(ref=ref, config=config)
    assert again.status == "partial", "a sync with nothing to do says it, too"
    assert not again.chunks.embedded
    assert again.warnings == result.warnings
    more = desk.sync(ref=ref)
    assert more.ok
    assert not more.warnings
    assert more.files.added == len(beyond)
    assert desk.sync(ref=ref, config=SyncConfig(max_total_bytes=30)).files.deleted


# -- URLs ------------------------------------------------------------------------------------------


def clones() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"], "reposync", "clones")


def paths(rows: dict[str, StoredRow]) -> set[str]:
    return {row.metadata["path"] for row in rows.values()}


def test_a_url_is_cloned_and_kept_up_to_date(desk: Desk, tmp_path: Path) -> None:
    """The first call clones, shallow and bare; the next fetches what is new; all equals a ref."""
    url = desk.root.as_uri()
    wanted = Desk(desk.root, tmp_path / "wanted", "tree", config=QUICK)
    desk.name = "tree"
    result = desk.sync(path=url, name=None)
    wanted.sync(ref="main")
    assert (result.repository, result.path) == ("tree", url)
    assert result.source is not None
    assert result.source.commit == git(desk.root, "rev-parse", "main").strip()
    assert desk.rows() == wanted.rows()
    (clone,) = (path for path in clones().iterdir() if path.is_dir())
    assert git(clone, "rev-list", "--all", "--count") == "1\n"
    assert not (clone / "hooks").exists()
    assert counts(desk.sync(path=url)) == {"unchanged": 4}
    desk.write("new.txt", "is new\n")
    git(desk.root, "add", "new.txt")
    git(desk.root, "commit", "-qm", "three")
    assert counts(desk.sync(path=url)) == {"unchanged": 4, "added": 1}
    assert counts(desk.sync(path=url, ref="v1"))["deleted"] == 1
    assert desk.sync(path=url, ref=result.source.commit).source == result.source.model_copy(
        update={"ref": result.source.commit}
    )


def test_a_wrong_ref_of_a_url(desk: Desk) -> None:
    """The remote is asked for its refs, and near ones are named."""
    with pytest.raises(ConfigError, match=r"'mian' names no commit .* Did you mean 'main'"):
        desk.sync(path=desk.root.as_uri(), ref="mian")


def test_a_url_that_leads_nowhere(desk: Desk, tmp_path: Path) -> None:
    """The error says what git said; the clone that is there is kept for when it answers again."""
    with pytest.raises(ScanError, match="cannot be read"):
        desk.sync(path=(tmp_path / "nowhere").as_uri())
    url = desk.root.as_uri()
    desk.sync(path=url)
    kept = {path for path in clones().rglob("*") if "pack" in path.name}
    away = desk.root.rename(tmp_path / "away")
    with pytest.raises(ScanError, match="cannot be read"):
        desk.sync(path=url)
    assert kept <= set(clones().rglob("*"))
    away.rename(desk.root)
    assert counts(desk.sync(path=url)) == {"unchanged": 4}


def test_a_remote_without_a_commit(desk: Desk, tmp_path: Path) -> None:
    """There is nothing to index yet, and that is said."""
    git(tmp_path, "init", "-q", "--bare", "empty.git")
    with pytest.raises(ScanError, match="no commit yet"):
        desk.sync(path=(tmp_path / "empty.git").as_uri())


@pytest.mark.parametrize("damage", ["HEAD", "objects", "*.pack", "shallow.lock"])
def test_a_damaged_clone_is_made_anew(desk: Desk, damage: str) -> None:
    """Whatever a killed call or a cleaner left in the cache folder, the next call gets it right."""
    url = desk.root.as_uri()
    desk.sync(path=url)
    (clone,) = (path for path in clones().iterdir() if path.is_dir())
    if damage.endswith(".lock"):
        for name in (damage, "refs/reposync/current.lock", "config.lock"):
            (clone / name).touch()
    for found in list(clone.rglob(damage)):
        if found.is_dir():
            shutil.rmtree(found)
        elif not damage.endswith(".lock"):
            found.chmod(0o644)
            found.write_bytes(b"garbage")
    desk.write("new.txt", "is new\n")
    git(desk.root, "add", "new.txt")
    git(desk.root, "commit", "-qm", "three")
    result = desk.sync(path=url)
    assert result.ok
    assert counts(result) == {"unchanged": 4, "added": 1}


@pytest.fixture
def daemon(desk: Desk) -> Iterator[str]:
    """A real git server on loopback; gives the URL of the repository."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["git", "daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1",
               f"--port={port}", f"--base-path={desk.root.parent}"]  # fmt: skip
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"git://127.0.0.1:{port}/{desk.root.name}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_a_clone_that_is_killed_is_taken_up(desk: Desk, daemon: str) -> None:
    """SIGKILL in the middle of a clone or a fetch, at any moment: the next call has it all."""
    luck = os.urandom
    for number in range(12):
        desk.write(f"big{number}.bin", b"\0" + luck(400_000))
    git(desk.root, "add", "-A")
    git(desk.root, "commit", "-qm", "big")
    code = (
        "import sys; from pathlib import Path; from reposync.scan.clone import Patience, fetch\n"
        "print('ready', flush=True); fetch(sys.argv[1], None, Path(sys.argv[2]), Patience(60))\n"
    )
    folder = find_origin(daemon).root
    killed = 0
    for pause in (0.05, 0.15, 0.3):
        child = subprocess.Popen(
            [sys.executable, "-c", code, daemon, str(folder)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(pause)
        killed += child.poll() is None
        child.kill()
        child.wait()
        child.stdout.close()
    assert killed
    result = desk.sync(path=daemon)
    assert result.ok
    assert paths(desk.rows()) == {".gitattributes", "changed.md", "same.py", "sub/inner.txt",
                                  "untracked.txt"}  # fmt: skip
    assert sum(file.reason == "binary" for file in result.skipped) == 12


def test_a_remote_that_says_nothing(desk: Desk) -> None:
    """The call ends with an error in time, or when it is cancelled, and leaves no process."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(ScanError, match=r"no answer in 1 s.*fetch_timeout"):
            desk.sync(path=url, config=SyncConfig(fetch_timeout=1))
        with pytest.raises(DeadlineExceeded):
            desk.sync(path=url, config=SyncConfig(deadline=0.5))
        cancel = threading.Event()
        threading.Timer(0.3, cancel.set).start()
        with pytest.raises(ScanError, match="cancelled"):
            desk.sync(path=url, cancel=cancel)
    children = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    ).stdout
    assert "git" not in children.replace("pytest", "")


@pytest.mark.parametrize(
    "url", ["ext::sh -c touch% x", "fd::17", "file://a b", "https://", "http://x\n", "-u@h:x"]
)
def test_what_is_no_url_is_a_folder_that_is_not_there(desk: Desk, url: str) -> None:
    """Git's own way to run any program as a remote is not to be had."""
    with pytest.raises(ConfigError):
        desk.sync(path=url)


def test_a_password_is_kept_nowhere(desk: Desk) -> None:
    """Neither the result, the errors, nor anything on disk holds what a URL held."""
    url = desk.root.as_uri().replace("file://", "file://user:hunter2@")
    origin = find_origin(url)
    assert "hunter2" not in repr(origin) + origin.location + str(origin.root)
    with pytest.raises(ScanError) as caught:
        desk.sync(path="http://user:hunter2@127.0.0.1:1/x.git")
    assert "hunter2" not in str(caught.value)
    assert not any(
        b"hunter2" in path.read_bytes() for path in clones().rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://example.org/a/b.git", "git@example.org:a/b", True),
        ("https://me:pw@Example.org/a/b", "ssh://git@example.org/a/b.git/", True),
        ("https://example.org/a/b", "https://example.org/a/c", False),
        ("https://example.org/a/b", "https://example.com/a/b", False),
    ],
)
def test_two_urls_of_one_repository(one: str, other: str, same: bool) -> None:
    """How a repository is reached does not matter to whom a name belongs."""
    assert find_origin(one).is_at(find_origin(other).location) is same


def test_a_name_belongs_to_a_url(desk: Desk, tmp_path: Path) -> None:
    """Another URL or folder does not get the name by chance; what is indexed stays."""
    desk.sync(path=desk.root.as_uri())
    with pytest.raises(NameTaken, match="belongs to file://"):
        desk.sync()
    other = tmp_path / "other.git"
    git(tmp_path, "clone", "-q", "--bare", str(desk.root), str(other))
    with pytest.raises(NameTaken):
        desk.sync(path=other.as_uri())
    folder = Desk(desk.root, tmp_path / "second", config=QUICK)
    folder.sync()
    with pytest.raises(NameTaken, match="that folder exists"):
        folder.sync(path=other.as_uri())


def test_the_name_of_a_url() -> None:
    """It is what people call the repository."""
    names: dict[str, Any] = {
        "https://example.org/a/b.git": "b",
        "git@example.org:b.git": "b",
        "ssh://git@example.org/~a/b/": "b",
    }
    assert {url: find_origin(url).name for url in names} == names
