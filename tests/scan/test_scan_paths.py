"""Names survive the way into the store and back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reposync.scan import list_entries, read_entry
from reposync.scan.paths import escape_path, unescape_path

# Random bytes seldom hold what matters here: backslashes, "x", hex digits, halves of letters.
names = (
    st.lists(
        st.sampled_from([b"\\", b"x", b"\\x", b"ff", b"\xff", b"a", b"/", b"\xc3", b"\xa9", b"\n"])
    ).map(b"".join)
    | st.binary()
)


@given(names)
def test_every_name_comes_back(raw: bytes) -> None:
    """Whatever bytes a name has, they can be had back from the text."""
    text = escape_path(raw)
    assert unescape_path(text) == raw
    text.encode("utf-8")


@given(names, names)
def test_no_two_names_share_a_text(one: bytes, other: bytes) -> None:
    """Two files never become one."""
    assert (escape_path(one) == escape_path(other)) == (one == other)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"src/a.py", "src/a.py"),
        ("é/ü\n.py".encode(), "é/ü\n.py"),
        (b"back\\slash", "back\\slash"),
        (b"b\\x", "b\\\\x"),
        (b"caf\xe9\\n", "caf\\xe9\\\\n"),
    ],
)
def test_ordinary_names_stay_as_they_are(raw: bytes, text: str) -> None:
    """Only a name that is not UTF-8, or looks escaped, is escaped."""
    assert escape_path(raw) == text


def test_odd_names_on_disk_are_listed_and_read(tmp_path: Path) -> None:
    """A file whose name is not UTF-8, or holds a newline or a backslash, is read like any other."""
    raws = [b"caf\xe9.txt", b"two\nlines.txt", b"x\\x41.txt", b"\xff\\x"]
    for raw in raws:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), raw))).write_bytes(raw)
    entries = list_entries(tmp_path)
    assert sorted(unescape_path(entry.path) for entry in entries) == sorted(raws)
    for entry in entries:
        assert read_entry(tmp_path, entry) is not None
