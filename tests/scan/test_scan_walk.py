"""Outside git: every kind of thing that a folder can hold, and nothing outside it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reposync.errors import ScanError
from reposync.scan import list_entries, read_entry, still_there

Tree = Callable[[dict[str, str | bytes]], Path]


def skips(root: Path, **options: int) -> dict[str, str | None]:
    return {entry.path: entry.skip for entry in list_entries(root, **options)}


def test_files_are_listed_by_path(tree: Tree) -> None:
    """The listing is in the order of the paths and carries each file's stat."""
    root = tree({"b": "x", "a/c": "xy", "a.b": "x", "A": "x"})
    entries = list_entries(root)
    assert [entry.path for entry in entries] == ["A", "a.b", "a/c", "b"]
    assert entries[2].stat is not None
    assert entries[2].stat.size == 2
    assert entries[2].stat.inode == (root / "a/c").stat().st_ino


def test_what_is_not_read_has_a_reason(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIFOs, sockets, symlinks, empty and large files are named, and no FIFO is waited for."""
    root = tree({"empty": "", "large": "x" * 11, "right": "x" * 10, "../secret": "x"})
    os.mkfifo(root / "fifo")
    monkeypatch.chdir(root)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        (root / "link").symlink_to("../secret")
        (root / "folder").symlink_to("..")
        (root / "loop").symlink_to("loop")
        (root / "dangling").symlink_to("nowhere")
        found = skips(root, max_file_bytes=10)
        seen = [read_entry(root, entry, max_file_bytes=10) for entry in list_entries(root)]
    assert found == {
        "dangling": "symlink",
        "empty": "empty",
        "fifo": "special",
        "folder": "symlink",
        "large": "too_large",
        "link": "symlink",
        "loop": "symlink",
        "right": None,
        "socket": "special",
    }
    assert [one.path for one in seen if one and one.text is not None] == ["right"]


def test_git_folders_and_files_of_that_name_do_not_belong(tree: Tree) -> None:
    """Nothing in a .git is listed, nor a .git that is a file; a clone below is like any folder."""
    root = tree(
        {".git/config": "x", "clone/.git/HEAD": "x", "clone/a": "x", "tree/.git": "gitdir: y"}
    )
    assert skips(root) == {"clone/a": None}


def test_the_root_may_be_a_symlink(tree: Tree) -> None:
    """Only the symlinks in a repository are not followed; the way to it is the caller's."""
    root = tree({"a/b": "x"})
    link = root.parent / "link"
    link.symlink_to(root)
    assert skips(link) == {"a/b": None}


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path, name: str) -> None:
    """Without a folder there is nothing to scan, and that is no empty repository."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ScanError, match=name):
        list_entries(tmp_path / name)


def test_deep_folders_do_not_end_the_scan(tmp_path: Path) -> None:
    """Nesting is bounded by the operating system only."""
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
        Path("file").write_text("x")
        os.chdir(here)
        assert list(skips(tmp_path)) == ["d/" * 1200 + "file"]
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # too deep for pytest to tidy up


def test_what_may_not_be_read_is_a_failure(
    open_folder: Path, as_nobody: Callable[[str], str]
) -> None:
    """What is closed fails by name, the rest goes on, and nothing counts as gone."""
    for name in ("closed/a", "shut/b", "file", "open"):
        (open_folder / name).parent.mkdir(exist_ok=True)
        (open_folder / name).write_text("x")
    (open_folder / "file").chmod(0)
    (open_folder / "closed").chmod(0)
    (open_folder / "shut").chmod(0o311)  # its files may be had by name, but not listed
    said = as_nobody(
        f"root = Path({str(open_folder)!r})\n"
        "entries = list_entries(root)\n"
        "seen = [read_entry(root, entry) for entry in entries]\n"
        "print([(s.path, s.failure and s.failure.error) for s in seen])\n"
        "for path in ('closed/a', 'shut/b', 'file', 'gone'):\n"
        "    answer = still_there(root, path)\n"
        "    print(path, answer if isinstance(answer, bool) else (answer.path, answer.error))\n"
    )
    assert said.splitlines() == [
        "[('closed', 'PermissionError'), ('file', 'PermissionError'), ('open', None), "
        "('shut', 'PermissionError')]",
        "closed/a ('closed/a', 'PermissionError')",
        "shut/b ('shut/b', 'PermissionError')",
        "file True",
        "gone False",
    ]


def test_a_root_that_may_not_be_listed_is_an_error(
    open_folder: Path, as_nobody: Callable[[str], str]
) -> None:
    """A repository that cannot be seen is not taken for an empty one."""
    (open_folder / "root").mkdir(mode=0o311)
    said = as_nobody(
        f"try: list_entries(Path({str(open_folder / 'root')!r}))\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    assert said == "ScanError\n"


def test_a_file_that_is_not_listed_any_more(tree: Tree) -> None:
    """Gone, there, behind a symlink now, a folder now: each has its answer."""
    root = tree({"a": "x", "d/b": "x", "dir/x": "x"})
    (root / "link").symlink_to("d")
    assert still_there(root, "a") is True
    assert still_there(root, "d/b") is True
    assert still_there(root, "gone") is False
    assert still_there(root, "a/b") is False
    assert still_there(root, "gone/b") is False
    assert still_there(root, "link/b") is False
    assert still_there(root, "dir") is False


def test_what_lies_below_an_unlisted_folder_is_not_gone(tree: Tree) -> None:
    """A folder whose listing failed answers for all that was known below it."""
    from reposync.records import Failure

    root = tree({"a": "x"})
    unread = {"d": Failure("d", "scan", "OSError", "Input/output error")}
    answer = still_there(root, "d/e/f", unread=unread)
    assert answer == Failure("d/e/f", "scan", "OSError", "Input/output error")
    assert still_there(root, "dd", unread=unread) is False
