"""What is hashed is what was there at one moment, and its stat tells when that is over."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reposync.records import FileStat
from reposync.scan import Entry, list_entries, read_entry
from reposync.scan import read as read_module
from reposync.scan.read import is_racy

Tree = Callable[[dict[str, str | bytes]], Path]

SECOND = 1_000_000_000


def test_text_hash_and_stat_belong_together(tree: Tree) -> None:
    """A file that was read has its text, the hash of its bytes and the stat of that moment."""
    root = tree({"a.txt": b"caf\xc3\xa9\r\n"})
    (entry,) = list_entries(root)
    seen = read_entry(root, entry)
    assert seen is not None
    assert seen.text == "café\r\n"
    assert seen.content_hash == hashlib.sha256(b"caf\xc3\xa9\r\n").hexdigest()
    assert seen.stat == entry.stat
    assert not seen.skip
    assert not seen.failure


def test_what_is_no_text_is_still_hashed(tree: Tree) -> None:
    """A binary or blank file has a reason, and a hash by which its next state is told from it."""
    root = tree({"binary": b"\0", "blank": " \n"})
    seen = [read_entry(root, entry) for entry in list_entries(root)]
    assert [one.skip for one in seen if one] == ["binary", "blank"]
    assert all(one and one.content_hash and one.stat for one in seen)


def test_a_skip_opens_nothing(tmp_path: Path) -> None:
    """An entry that has its reason already is passed on, though nothing be there."""
    entry = Entry("x", FileStat(1, 2, 3, 4), skip="special")
    seen = read_entry(tmp_path, entry)
    assert seen is not None
    assert (seen.path, seen.stat, seen.skip) == ("x", entry.stat, "special")


Change = Callable[[Path], object]


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "skip"),
    [
        (Path.unlink, None),
        (_to_folder, None),
        (_to_link, "symlink"),
        (_to_fifo, "special"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"x" * 101), "too_large"),
    ],
)
def test_what_changed_its_nature_since_the_listing(tree: Tree, change: Change, skip: str) -> None:
    """A file that vanished is gone; a link is not followed, a FIFO not waited for."""
    root = tree({"a": "x"})
    (entry,) = list_entries(root)
    change(root / "a")
    seen = read_entry(root, entry, max_file_bytes=100)
    assert (seen.skip if seen else None) == skip
    assert seen is None or seen.text is None


def test_a_file_that_is_rewritten_is_read_whole_or_not_at_all(tree: Tree) -> None:
    """Nothing half-read is taken: all of a text is of one writing, or the file is a failure."""
    root = tree({"a": "aaaa\n" * 40_000})
    path = root / "a"
    (entry,) = list_entries(root)
    stop = threading.Event()

    def rewrite() -> None:
        letters = "ab"
        while not stop.is_set():
            letters = letters[::-1]
            with path.open("r+b", buffering=0) as file:
                for _ in range(20):
                    file.write((letters[0] * 4 + "\n").encode() * 2_000)
            time.sleep(0.002)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        seen = [read_entry(root, entry) for _ in range(60)]
    finally:
        stop.set()
        writer.join()
    for one in seen:
        assert one is not None
        if one.failure:
            assert (one.failure.error, one.failure.attempts) == ("FileChanged", 3)
        else:
            assert one.racy or len(set(one.text or "")) == 2
    settled = read_entry(root, entry)
    assert settled is not None
    assert len(set(settled.text or "")) == 2


WRITER = """
import os, sys
path, letters = sys.argv[1], "ab"
print("ready", flush=True)
while not os.path.exists(path + ".stop"):
    letters = letters[::-1]
    size = 60_000 if letters[0] == "a" else 40_000
    with open(path, "wb", buffering=0) as file:  # emptied first, and then grows
        for _ in range(20):
            file.write((letters[0] * 4 + "\\n").encode() * (size // 20))
    if letters[0] == "a":
        os.rename(path, path + ".away")
        os.rename(path + ".away", path)
"""


def test_another_process_writes_it_all_the_time(tree: Tree) -> None:
    """Of a file that is emptied, grows, vanishes and comes back, nothing half-read is trusted."""
    root = tree({"a": "aaaa\n" * 60_000})
    path = root / "a"
    (entry,) = list_entries(root)
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            seen = [read_entry(root, entry) for _ in range(150)]
        finally:
            (root / "a.stop").touch()
            writer.communicate(timeout=30)
    for one in seen:
        if one is None or one.skip == "empty":  # as it was for a moment
            continue
        if one.failure:
            assert (one.failure.error, one.failure.attempts) == ("FileChanged", 3)
        else:
            text = one.text or ""
            assert one.content_hash == hashlib.sha256(text.encode()).hexdigest()
            assert one.racy or text in ("aaaa\n" * 60_000, "bbbb\n" * 40_000)
    settled = read_entry(root, entry)
    assert settled is not None
    assert settled.text in ("aaaa\n" * 60_000, "bbbb\n" * 40_000)


def test_a_file_that_never_rests_is_a_failure(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three attempts the file is reported, not waited for."""
    root = tree({"log": "x"})
    (entry,) = list_entries(root)
    really = os.read

    def grow(handle: int, size: int) -> bytes:
        with (root / "log").open("ab") as log:
            log.write(b"x")
        return really(handle, size)

    monkeypatch.setattr(read_module.os, "read", grow)
    seen = read_entry(root, entry)
    assert seen is not None
    assert seen.failure is not None
    assert (seen.failure.error, seen.failure.attempts, seen.text) == ("FileChanged", 3, None)


def test_one_change_while_reading_is_read_again(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is written to once while it is read is had whole at the second attempt."""
    root = tree({"a": "old"})
    (entry,) = list_entries(root)
    really = os.read
    changes = iter([b"newer"])

    def change(handle: int, size: int) -> bytes:
        for content in changes:
            (root / "a").write_bytes(content)
        return really(handle, size)

    monkeypatch.setattr(read_module.os, "read", change)
    seen = read_entry(root, entry)
    assert seen is not None
    assert seen.text == "newer"
    assert seen.stat is not None
    assert seen.stat.size == 5


def test_an_edit_in_the_same_tick_is_never_trusted(tree: Tree) -> None:
    """Wherever a later edit leaves an equal stat, the read before it said that it was racy."""
    root = tree({"a": "0"})
    path, hidden = root / "a", 0
    (entry,) = list_entries(root)
    for turn in range(300):
        path.write_text(str(turn % 10))
        seen = read_entry(root, entry)
        path.write_text(str((turn + 1) % 10))
        (after,) = list_entries(root)
        assert seen is not None
        if seen.stat == after.stat:
            hidden += 1
            assert seen.racy
    assert hidden or os.stat(path).st_ctime_ns % 1_000_000  # else the test shows nothing


def test_a_file_at_rest_is_trusted(tree: Tree) -> None:
    """A tick later the stat of a file is as good as its content."""
    root = tree({"a": "x"})
    (entry,) = list_entries(root)
    time.sleep(0.03)
    seen = read_entry(root, entry)
    assert seen is not None
    assert not seen.racy


@pytest.mark.parametrize(
    ("mtime", "ctime", "racy"),
    [
        (1, 1, False),
        (1, 100 * SECOND - 1, True),
        (1, 100 * SECOND - 21_000_000, False),
        (98 * SECOND, 98 * SECOND, True),
        (97 * SECOND, 97 * SECOND, False),
        (1, 200 * SECOND + 1, True),
        (200 * SECOND + 1, 1, True),
    ],
)
def test_when_a_stat_is_racy(mtime: int, ctime: int, racy: bool) -> None:
    """Near stamps are racy, whole seconds for longer, and stamps in the future always."""
    assert is_racy(FileStat(1, mtime, ctime, 1), before=100 * SECOND) is racy
