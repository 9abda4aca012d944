"""Batches: bounded, lazy, and in the order that never leaves a gap."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reposync.batch import MAX_FINISHED, PER_WRITE, Batch, FileWork, batches
from reposync.records import Chunk
from reposync.rows import FileRecord, Row, RowChanges, make_rows


def rows(path: str, count: int, text: str = "line") -> tuple[Row, ...]:
    """So many different rows of a file."""
    chunks = [Chunk(f"{text} {number}\n", number, number) for number in range(1, count + 1)]
    return tuple(make_rows("repo", path, chunks, model="m", recipe="r"))


def work(
    path: str,
    writes: int = 0,
    moves: int = 0,
    stale: int = 0,
    renamed_from: tuple[str, int] = ("", 0),
) -> FileWork:
    """The work on a file with so many operations of each kind."""
    old_path, old_stale = renamed_from
    return FileWork(
        path,
        "updated",
        RowChanges(
            rows(path, writes, "new"),
            rows(path, moves, "moved"),
            tuple(f"{path}-stale-{number}" for number in range(stale)),
        ),
        FileRecord(path, None, "hash", None, writes + moves),
        old_path=old_path or None,
        old_stale=tuple(f"{old_path}-{number}" for number in range(old_stale)),
    )


def operations(batch: Batch) -> list[tuple[str, str]]:
    """What a batch does in the order in which the store is asked: (operation, row's id)."""
    return [
        *(("write", row.id) for _, row in batch.writes),
        *(("move", row.id) for _, row in batch.moves),
        *(("delete", row_id) for _, _, row_id in batch.deletes),
        *(("finish", done.path) for done in batch.finished),
    ]


def expected(one: FileWork) -> list[tuple[str, str]]:
    """What is to be done for one file, in the promised order."""
    return [
        *(("write", row.id) for row in one.changes.writes),
        *(("move", row.id) for row in one.changes.moves),
        *(("delete", row_id) for row_id in (*one.changes.stale, *one.old_stale)),
        ("finish", one.path),
    ]


def test_a_small_file_is_one_batch() -> None:
    """What fits is done in one batch, with its note that the file is done."""
    one = work("a", writes=2, moves=1, stale=1, renamed_from=("old", 2))
    (batch,) = batches([one], 10)
    assert operations(batch) == expected(one)
    assert batch.operations == 6
    assert batch.paths == {"a", "old"}
    assert batch.deletes[0] == ("a", "a", "a-stale-0")
    assert batch.deletes[1] == ("a", "old", "old-0")


def test_files_share_a_batch_and_a_large_one_spans_many() -> None:
    """Batches are filled across files, and a file is finished only in its last one."""
    made = list(batches([work("a", writes=2), work("b", writes=7), work("c", stale=2)], 4))
    assert [batch.operations for batch in made] == [4, 4, 3]
    assert [[done.path for done in batch.finished] for batch in made] == [["a"], [], ["b", "c"]]


def test_a_file_that_fills_its_batch_exactly_is_finished_in_the_next() -> None:
    """The note that a file is done never stands in a batch before its last row."""
    made = list(batches([work("a", writes=4)], 4))
    assert [(batch.operations, len(batch.finished)) for batch in made] == [(4, 0), (0, 1)]


def test_work_without_rows_is_finished_too() -> None:
    """A file that needs no row still gets its note; nothing to do gives no batch."""
    (batch,) = batches([work("a")], 4)
    assert (batch.operations, [done.path for done in batch.finished]) == (0, ["a"])
    assert list(batches([], 4)) == []


def test_finished_files_do_not_pile_up() -> None:
    """Many files without rows are noted in bounded portions."""
    made = list(batches((work(f"f{number}") for number in range(2 * MAX_FINISHED + 1)), 4))
    assert [len(batch.finished) for batch in made] == [MAX_FINISHED, MAX_FINISHED, 1]


def test_batches_are_lazy() -> None:
    """Work is made only as far as the batch that is asked for."""
    drawn: list[str] = []

    def works() -> Iterator[FileWork]:
        for path in "abcd":
            drawn.append(path)
            yield work(path, writes=2)

    made = batches(works(), 4)
    assert drawn == []
    next(made)
    assert drawn == ["a", "b"]
    next(made)
    assert drawn == ["a", "b", "c", "d"]


def test_without_drops_all_work_of_a_failed_file() -> None:
    """Of a file that failed nothing is written, moved, removed or noted; the others go on."""
    failed = work("a", writes=2, moves=1, stale=1, renamed_from=("old", 1))
    fine = work("b", writes=1, moves=1, stale=1)
    (batch,) = batches([failed, fine], 100)
    rest = batch.without({"a"})
    assert operations(rest) == expected(fine)
    assert rest.paths == {"b"}, "the old path of a failed rename keeps its rows"
    assert operations(batch)[:2] == expected(failed)[:2], "the batch itself is as it was"
    assert operations(batch.without(set())) == operations(batch)


NUMBERS = st.integers(0, 6)


@settings(deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=8),
    st.integers(1, 9),
)
def test_order_and_size(shapes: list[tuple[int, int, int, int]], size: int) -> None:
    """No batch is too large; each file's operations come in order, once, and then its note.

    Within a batch the store is asked to write, move and delete in this order.
    """
    works = [
        work(f"f{number}", writes, moves, stale, (f"old{number}", old))
        for number, (writes, moves, stale, old) in enumerate(shapes)
    ]
    made = list(batches(works, size))
    assert all(len(batch.writes) <= size for batch in made)
    assert all(batch.operations <= PER_WRITE * size for batch in made)
    assert all(batch.operations or batch.finished for batch in made)
    full = [len(b.writes) == size or b.operations == PER_WRITE * size for b in made[:-2]]
    assert all(full), "filled as far as can be"
    done = [operation for batch in made for operation in operations(batch)]
    assert sorted(done) == sorted(operation for one in works for operation in expected(one))
    for one in works:
        mine = set(expected(one))
        assert [operation for operation in done if operation in mine] == expected(one)
    assert [path for kind, path in done if kind == "finish"] == [one.path for one in works]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_gap_in_a_rename(size: int) -> None:
    """However small the batches, the new rows of a renamed file are in before an old one goes."""
    one = work("new", writes=3, renamed_from=("old", 3))
    done = [kind for batch in batches([one], size) for kind, _ in operations(batch)]
    assert done == ["write"] * 3 + ["delete"] * 3 + ["finish"]
