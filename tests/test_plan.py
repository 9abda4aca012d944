"""The pure diff: values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reposync.plan import deletions, is_indexed, look_again, plan, takes_out, too_many
from reposync.records import Action, Failure, FileStat, Known, Seen

STAT = FileStat(size=3, mtime_ns=1, ctime_ns=1, inode=1)
FAILURE = Failure("a", "scan", "PermissionError", "may not be read")


def read(path: str, content: str = "x") -> Seen:
    """A file that was read; its content stands for its hash."""
    return Seen(path, STAT, content_hash=content, text=content)


def unread(path: str) -> Seen:
    """A file whose stat was as recorded."""
    return Seen(path, STAT)


def indexed(path: str, content: str = "x", redo: str | None = None) -> Known:
    """A file that is in the collection."""
    return Known(path, STAT, content_hash=content, redo=redo, chunks=1)


def decide(seen: list[Seen], known: list[Known], hidden: tuple[str, ...] = ()) -> list[Action]:
    """The plan, with every seen path listed."""
    listed = {one.path for one in seen} | set(hidden)
    return list(plan(listed, seen, {file.path: file for file in known}))


def brief(actions: list[Action]) -> list[tuple[str, str, str | None]]:
    """Actions as (kind, path, old path)."""
    return [(action.kind, action.path, action.old_path) for action in actions]


ONE_FILE = {
    "new": (read("a"), None, "add", "new file"),
    "as recorded": (unread("a"), indexed("a"), "keep", "unchanged"),
    "touched": (read("a", "x"), indexed("a", "x"), "keep", "same content"),
    "edited": (read("a", "y"), indexed("a", "x"), "update", "content changed"),
    "not vouched for": (read("a", "x"), indexed("a", "x", redo="why"), "update", "why"),
    "never whole": (read("a", "x"), Known("a", redo="why"), "update", "why"),
    "unreadable and new": (Seen("a", failure=FAILURE), None, "fail", "may not be read"),
    "unreadable": (Seen("a", failure=FAILURE), indexed("a"), "fail", "may not be read"),
    "binary and new": (Seen("a", STAT, skip="binary"), None, "skip", "binary"),
    "became binary": (Seen("a", STAT, skip="binary"), indexed("a"), "skip", "binary"),
    "still binary": (unread("a"), Known("a", STAT, skip="binary"), "skip", "binary"),
    "now blank": (Seen("a", STAT, skip="blank"), Known("a", STAT, skip="empty"), "skip", "blank"),
    "text at last": (read("a"), Known("a", STAT, skip="empty"), "add", "was skipped as empty"),
    "skipped, yet has rows": (
        read("a"),
        Known("a", STAT, skip="empty", redo="why"),
        "update",
        "why",
    ),
}


@pytest.mark.parametrize(
    ("seen", "known", "kind", "reason"), list(ONE_FILE.values()), ids=list(ONE_FILE)
)
def test_one_file(seen: Seen, known: Known | None, kind: str, reason: str) -> None:
    """What is seen and what is known of a file decide what is done about it, and the reason."""
    assert decide([seen], [known] if known else []) == [
        Action(kind, "a", reason, seen=seen)  # type: ignore[arg-type]
    ]


ONE_MISSING = {
    "indexed": (indexed("a"), "delete"),
    "not vouched for": (indexed("a", redo="why"), "delete"),
    "skipped": (Known("a", STAT, skip="binary"), "forget"),
    "skipped, yet has rows": (Known("a", STAT, skip="binary", redo="why"), "delete"),
}


@pytest.mark.parametrize(("known", "kind"), list(ONE_MISSING.values()), ids=list(ONE_MISSING))
def test_one_missing_file(known: Known, kind: str) -> None:
    """A file that is gone is deleted if rows of it may be in the collection, else forgotten."""
    assert brief(decide([], [known])) == [(kind, "a", None)]
    gone = decide([Seen("a", gone=True)], [known])
    assert brief(gone) == [(kind, "a", None)], "vanishing before it is read is no different"
    assert gone[0].seen is None


def test_a_file_that_came_and_went_needs_nothing() -> None:
    """A file that was listed, never known, and had vanished when it was to be read is no news."""
    assert decide([Seen("a", gone=True)], []) == []


def test_a_hidden_file_is_not_deleted() -> None:
    """A known path that the system would not tell about is neither deleted nor renamed."""
    assert brief(decide([read("b", "x")], [indexed("a", "x")], hidden=("a",))) == [
        ("add", "b", None)
    ]


def test_a_rename_is_a_pair_of_equal_content() -> None:
    """A missing file and a new one of the same content become one rename, with no deletion."""
    new = read("b", "x")
    assert decide([new], [indexed("a", "x")]) == [
        Action("rename", "b", "same content", old_path="a", seen=new)
    ]


@pytest.mark.parametrize(
    "old",
    [
        indexed("a", "y"),
        Known("a", STAT, content_hash="x", skip="binary"),
        Known("a", STAT, content_hash=None),
    ],
    ids=["other content", "skipped", "never whole"],
)
def test_no_rename_from_what_is_not_there(old: Known) -> None:
    """Only a file that was indexed with the same content can be renamed."""
    kinds = [kind for kind, _, _ in brief(decide([read("b", "x")], [old]))]
    assert kinds in (["add", "delete"], ["add", "forget"])


def test_a_file_that_is_not_vouched_for_can_be_renamed() -> None:
    """A rename is told by content alone: whether its old rows are all there does not matter."""
    assert brief(decide([read("b", "x")], [indexed("a", "x", redo="why")])) == [
        ("rename", "b", "a")
    ]


def test_looking_again() -> None:
    """The named files are to be read again; others, and skipped ones, stay as they are."""
    known = {
        file.path: file for file in (indexed("a"), indexed("b"), Known("c", STAT, skip="binary"))
    }
    again = look_again(known, ["a", "c"], "lost")
    assert again == {**known, "a": known["a"]._replace(redo="lost")}
    assert known["a"].redo is None, "what was known stands"


def test_renames_are_one_to_one() -> None:
    """Of three new copies of two missing files, two are renames, in the order of the names."""
    seen = [read("n1"), read("n2"), read("n3")]
    assert brief(decide(seen, [indexed("o2"), indexed("o1")])) == [
        ("rename", "n1", "o1"),
        ("rename", "n2", "o2"),
        ("add", "n3", None),
    ]
    assert brief(decide(seen[:1], [indexed("o2"), indexed("o1")])) == [
        ("rename", "n1", "o1"),
        ("delete", "o2", None),
    ]


def test_renames_do_not_depend_on_the_order_of_the_manifest() -> None:
    """Among identical copies the pairing is the same however the manifest lists them."""
    old = [indexed(path) for path in "dacb"]
    seen = [read(path) for path in "wxyz"]
    pairs = [("rename", new, gone) for new, gone in zip("wxyz", "abcd", strict=True)]
    assert brief(decide(seen, old)) == brief(decide(seen, old[::-1])) == pairs


def test_a_file_that_was_skipped_can_be_where_a_rename_ends() -> None:
    """A path that was known as skipped takes over the rows of a missing file of its content."""
    seen = [read("b", "x")]
    known = [indexed("a", "x"), Known("b", STAT, skip="empty")]
    assert brief(decide(seen, known)) == [("rename", "b", "a")]


def test_a_copy_is_no_rename() -> None:
    """While the old path is still there, the new one is an addition."""
    assert brief(decide([unread("a"), read("b", "x")], [indexed("a", "x")])) == [
        ("keep", "a", None),
        ("add", "b", None),
    ]


def test_deletions_come_last_by_name() -> None:
    """Actions follow the scan, then deletions by name: what is new is in before the old goes."""
    seen = [read("z", "1"), read("b", "2"), read("m", "3")]
    known = [indexed("y", "4"), indexed("c", "5")]
    assert [action.path for action in decide(seen, known)] == ["z", "b", "m", "c", "y"]


def test_the_plan_is_lazy() -> None:
    """A file is read only when its action is asked for, so that memory does not grow."""
    drawn: list[str] = []

    def scan() -> Iterator[Seen]:
        for path in "abc":
            drawn.append(path)
            yield read(path, path)

    actions = plan(set("abc"), scan(), {})
    assert drawn == []
    assert next(actions).path == "a"
    assert drawn == ["a"]
    assert next(actions).path == "b"
    assert drawn == ["a", "b"]


@pytest.mark.parametrize(
    ("deleted", "of", "fraction", "refused"),
    [
        (9, 9, 0.5, False),
        (9, 9, 0.0, False),
        (10, 20, 0.5, False),
        (10, 19, 0.5, True),
        (11, 20, 0.5, True),
        (10, 1000, 0.0, True),
        (10, 1000, 0.01, False),
        (1000, 1000, 1.0, False),
        (0, 0, 0.5, False),
    ],
)
def test_too_many(deleted: int, of: int, fraction: float, refused: bool) -> None:
    """Refused are at least ten deletions that are more than the fraction; the borders pass."""
    assert too_many(deleted, of, fraction) is refused


def test_the_least_number_can_be_set() -> None:
    """`at_least` moves the number below which nothing is refused."""
    assert too_many(3, 4, 0.5, at_least=3)
    assert not too_many(3, 4, 0.5, at_least=4)


def test_what_counts_as_a_deletion() -> None:
    """Deleting and skipping an indexed file count; renaming, forgetting and failing do not."""
    known = {
        file.path: file
        for file in (
            indexed("deleted", "1"),
            indexed("skipped", "2"),
            indexed("old", "3"),
            indexed("unreadable", "4"),
            Known("forgotten", skip="binary"),
            Known("still skipped", STAT, skip="binary"),
        )
    }
    seen = [
        Seen("skipped", STAT, skip="binary"),
        Seen("new and skipped", STAT, skip="binary"),
        Seen("unreadable", failure=FAILURE),
        unread("still skipped"),
        read("new", "3"),
    ]
    actions = list(plan({one.path for one in seen}, seen, known))
    assert deletions(actions, known) == 2
    taken = {action.path for action in actions if takes_out(action, known.get(action.path))}
    assert taken == {"deleted", "skipped"}


def test_what_is_indexed() -> None:
    """A file counts as indexed if rows of it are, or may be, in the collection."""
    assert is_indexed(indexed("a"))
    assert is_indexed(Known("a", skip="binary", redo="why"))
    assert not is_indexed(Known("a", skip="binary"))
    assert not is_indexed(None)


PATHS = st.sampled_from([f"f{number}" for number in range(8)])
CONTENT = st.sampled_from("xyz")
SKIPS = st.sampled_from(["binary", "empty", "too_large"])


@st.composite
def known_files(draw: st.DrawFn, path: str) -> Known:
    """Whatever the manifest can hold of a file."""
    redo = draw(st.none() | st.just("why"))
    if draw(st.booleans()):
        return Known(path, STAT, skip=draw(SKIPS), redo=redo)
    return Known(path, STAT, content_hash=draw(CONTENT), redo=redo, chunks=1)


@st.composite
def seen_files(draw: st.DrawFn, path: str, known: Known | None) -> Seen:
    """Whatever the scan can say of a file; it leaves unread only what it may trust."""
    kinds = ["read", "skip", "fail", "gone"]
    if known is not None and known.redo is None:
        kinds.append("unread")
    kind = draw(st.sampled_from(kinds))
    if kind == "read":
        return read(path, draw(CONTENT))
    if kind == "skip":
        return Seen(path, STAT, skip=draw(SKIPS))
    if kind == "fail":
        return Seen(path, failure=FAILURE)
    return Seen(path, gone=True) if kind == "gone" else unread(path)


@st.composite
def snapshots(draw: st.DrawFn) -> tuple[set[str], list[Seen], dict[str, Known]]:
    """Two snapshots: what is listed and seen, and what is known."""
    known = {path: draw(known_files(path)) for path in draw(st.sets(PATHS))}
    paths = draw(st.lists(PATHS, unique=True))
    hidden = draw(st.sets(PATHS))
    seen = [draw(seen_files(path, known.get(path))) for path in paths]
    return hidden | set(paths), seen, known


@settings(deadline=None)  # other work may share the machine
@given(snapshots())
def test_every_file_gets_exactly_one_action(
    snapshot: tuple[set[str], list[Seen], dict[str, Known]],
) -> None:
    """Each seen file has one action, each missing one ends in one rename, deletion or oblivion."""
    listed, seen, known = snapshot
    actions = list(plan(listed, seen, known))
    assert actions == list(plan(listed, seen, dict(reversed(known.items())))), "not deterministic"

    present = [one for one in seen if not one.gone]
    assert [a.seen for a in actions if a.seen is not None] == present
    assert all(action.path == action.seen.path for action in actions if action.seen)

    endings: Counter[str] = Counter(a.path for a in actions if a.kind in ("delete", "forget"))
    endings.update(a.old_path for a in actions if a.old_path is not None)
    gone = [one.path for one in seen if one.gone and one.path in known]
    assert endings == Counter([*(known.keys() - listed), *gone])

    for action in actions:
        assert (action.kind == "rename") == (action.old_path is not None)
        if action.old_path is not None:
            assert action.seen is not None
            assert known[action.old_path].content_hash == action.seen.content_hash
        if action.kind in ("keep", "update"):
            assert action.path in known
        if action.kind == "forget":
            assert not is_indexed(known[action.path])
