"""Rows of the collection: ids, digests, and the diff of a file's rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reposync.records import Chunk
from reposync.rows import (
    KnownRow,
    Row,
    RowChanges,
    content_hash,
    diff_rows,
    embedded_text,
    make_id,
    make_rows,
    row_digest,
    text_key,
)

CHUNKS = [
    Chunk("class Größe:\n", 1, 1, "python", "Größe", "class"),
    Chunk(
        "    def area(self):\n        return 1\n", 2, 3, "python", "Größe.area", "method", "Größe"
    ),
    Chunk("    pass\n", 4, 4, "python", "Größe", "class", "Größe"),
    Chunk("    pass\n", 5, 5, "python", "Größe", "class", "Größe"),
]


def rows_of(
    chunks: list[Chunk],
    *,
    repository: str = "repo",
    path: str = "src/size.py",
    model: str = "m1",
    recipe: str = "1.1",
) -> list[Row]:
    """Rows of a file in a usual repository."""
    return make_rows(repository, path, chunks, model=model, recipe=recipe)


def known_from(rows: list[Row], *, stored: bool = True) -> dict[str, KnownRow]:
    """What the manifest knows once these rows are in."""
    return {row.id: KnownRow(row.digest, stored) for row in rows}


def ids_of(chunks: list[Chunk], **other: str) -> list[str]:
    """The ids of a file's rows."""
    return [row.id for row in rows_of(chunks, **other)]


GOLDEN_ROWS = [
    (
        "73774a702af4726017330534a3356882",
        "e3b8fbd711a8be6f971f877998573040",
        "163b46a8a57b4482953ac80769dc0617",
    ),
    (
        "4c5b3daa8d382aa05d7ecc94ef4d019b",
        "13db687481bd4a6e774486150e857496",
        "c754ad7dee61dde3153c3399290697e4",
    ),
    (
        "54381e42bfe2d4d0dff13aeb91a725a8",
        "486e6d9d31c3ccfb6f506a65aa326946",
        "71e38810f6b986eb71849341c60751b7",
    ),
    (
        "cf29912b59d1383db24d60ee2a6b4a85",
        "486e6d9d31c3ccfb6f506a65aa326946",
        "71e38810f6b986eb5321858bbf244d96",
    ),
]
GOLDEN_METADATA = {
    "repository": "repo",
    "path": "src/size.py",
    "chunk_index": 1,
    "start_line": 2,
    "end_line": 3,
    "language": "python",
    "symbol": "Größe.area",
    "kind": "method",
    "context": "Größe",
    "content_hash": "e05336fdfd93eeb0d35550edfdd178dcd3e3e61a517f442bd9b032da781abf19",
    "model": "m1",
    "recipe": "1.1",
}


def test_the_layout_is_frozen() -> None:
    """Ids, cache keys and digests are those that stores on people's disks already hold.

    If this fails, raise `ROW_FORMAT`, so that those stores are written anew.
    """
    rows = rows_of(CHUNKS)
    assert [(row.id, row.text_hash.hex(), row.digest.hex()) for row in rows] == GOLDEN_ROWS
    assert dict(rows[1].metadata) == GOLDEN_METADATA
    assert rows[1].document == "    def area(self):\n        return 1\n"
    assert rows[1].text == "Größe\n    def area(self):\n        return 1\n"
    assert rows[0].text == rows[0].document, "no context, no line for it"


@pytest.mark.parametrize(
    "change",
    [
        {"start_line": 90},
        {"end_line": 90},
        {"language": "ruby"},
        {"symbol": "other"},
        {"kind": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_id_does_not_depend_on(change: dict[str, str | int]) -> None:
    """Lines, language, symbol and kind may change and the row stays the same row."""
    changed = [replace(chunk, **change) for chunk in CHUNKS]  # type: ignore[arg-type]
    assert ids_of(changed) == ids_of(CHUNKS)
    assert all(
        new.digest[:8] == old.digest[:8] and new.digest != old.digest
        for new, old in zip(rows_of(changed), rows_of(CHUNKS), strict=True)
    ), "its metadata is different, its document is not"


@pytest.mark.parametrize("change", [{"model": "m2"}, {"recipe": "2"}])
def test_an_id_does_not_depend_on_how_it_was_made(change: dict[str, str]) -> None:
    """Model and recipe stand in the metadata, and are no part of the id."""
    assert ids_of(CHUNKS, **change) == ids_of(CHUNKS)


@pytest.mark.parametrize("change", [{"repository": "other"}, {"path": "src/other.py"}])
def test_an_id_depends_on_where(change: dict[str, str]) -> None:
    """The same text in another repository or file is another row with the same cache key."""
    assert not set(ids_of(CHUNKS, **change)) & set(ids_of(CHUNKS))
    keys = [row.text_hash for row in rows_of(CHUNKS)]
    assert [row.text_hash for row in rows_of(CHUNKS, **change)] == keys


@pytest.mark.parametrize("change", [{"document": "other\n"}, {"context": "other"}])
def test_an_id_depends_on_the_embedded_text(change: dict[str, str]) -> None:
    """Another document or context is another row with another cache key."""
    chunk = CHUNKS[1]
    (old,), (new,) = rows_of([chunk]), rows_of([replace(chunk, **change)])  # type: ignore[arg-type]
    assert new.id != old.id
    assert new.text_hash != old.text_hash


def test_an_id_does_not_depend_on_the_neighbours() -> None:
    """A chunk keeps its id when others come before it, whatever its index becomes."""
    first = Chunk("import math\n", 1, 1, "python")
    assert ids_of([first, *CHUNKS])[1:] == ids_of(CHUNKS)


def test_equal_chunks_are_told_apart_by_their_number() -> None:
    """Duplicates in one file share the vector and not the id; the first keeps its own."""
    twice = rows_of([CHUNKS[2], CHUNKS[0], CHUNKS[3]])
    assert twice[0].id != twice[2].id
    assert twice[0].text_hash == twice[2].text_hash
    assert twice[0].id == ids_of([CHUNKS[2]])[0]
    assert twice[2].id == make_id("repo", "src/size.py", twice[2].text_hash, 1)


def test_the_parts_of_an_id_do_not_run_together() -> None:
    """Moving a letter from the repository's name to the path makes another id."""
    key = text_key("x")
    assert make_id("a", "bc", key, 0) != make_id("ab", "c", key, 0)
    assert make_id("a", "b", key, 1) != make_id("a", "b", key, 11)
    assert len(make_id("a", "b", key, 0)) == 32


def test_the_embedded_text_can_be_made_from_a_row() -> None:
    """What is read back from the collection says which text was embedded."""
    for row in rows_of(CHUNKS):
        assert embedded_text(row.document, row.metadata) == row.text
        assert row_digest(row.document, row.metadata) == row.digest
        assert row.metadata["content_hash"] == content_hash(row.document)
    assert embedded_text("x", {"context": None}) == "x"


def test_a_strange_key_changes_the_digest() -> None:
    """Metadata that somebody else put on a row is noticed."""
    row = rows_of(CHUNKS)[0]
    assert row_digest(row.document, {**row.metadata, "mine": 1}) != row.digest


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    """Chroma gives metadata back in any order."""
    row = rows_of(CHUNKS)[0]
    assert row_digest(row.document, dict(reversed(row.metadata.items()))) == row.digest


def test_unchanged_rows_need_nothing() -> None:
    """A file whose rows are as known is not written at all."""
    rows = rows_of(CHUNKS)
    changes = diff_rows(rows, known_from(rows))
    assert changes == RowChanges()
    assert not changes


def test_moved_rows_get_new_metadata_only() -> None:
    """A chunk that stands at other lines is not written again."""
    old = rows_of(CHUNKS)
    new = rows_of(
        [replace(c, start_line=c.start_line + 7, end_line=c.end_line + 7) for c in CHUNKS]
    )
    changes = diff_rows(new, known_from(old))
    assert changes == RowChanges(moves=tuple(new))
    assert changes


def test_a_changed_chunk_is_written_and_its_old_row_is_stale() -> None:
    """An edit writes the new text's row and takes out the old one; the others stay."""
    old = rows_of(CHUNKS)
    edited = replace(CHUNKS[1], document="    def area(self):\n        return 2\n")
    new = rows_of([CHUNKS[0], edited, *CHUNKS[2:]])
    changes = diff_rows(new, known_from(old))
    assert changes == RowChanges(writes=(new[1],), stale=(old[1].id,))


def test_the_same_embedded_text_cut_otherwise_is_written() -> None:
    """If context and document exchange a line the id stays, and the document must be replaced."""
    (old,) = rows_of([Chunk("b\nc\n", 1, 2, context="a")])
    (new,) = rows_of([Chunk("c\n", 2, 2, context="a\nb")])
    assert new.id == old.id
    assert diff_rows([new], known_from([old])) == RowChanges(writes=(new,))


def test_rows_in_flight_are_written_again() -> None:
    """A row whose write was never acknowledged is written, however well its digest fits."""
    rows = rows_of(CHUNKS)
    assert diff_rows(rows, known_from(rows, stored=False)) == RowChanges(writes=tuple(rows))


def test_stale_rows_go_even_if_in_flight() -> None:
    """A row that is not wanted is deleted whether or not it is known to be stored."""
    old = rows_of(CHUNKS)
    known = known_from(old[:2]) | known_from(old[2:], stored=False)
    assert diff_rows([], known) == RowChanges(stale=tuple(known))


def test_a_duplicate_that_goes_takes_one_row() -> None:
    """Of two equal chunks one is removed: one row is stale, and nothing is written."""
    old = rows_of(CHUNKS)
    new = rows_of(CHUNKS[:3])
    assert diff_rows(new, known_from(old)) == RowChanges(stale=(old[3].id,))


TEXTS = st.sampled_from(["a\n", "b\n", "c\n", "a\nb\n"])
SOME_CHUNKS = st.lists(
    st.builds(
        Chunk,
        document=TEXTS,
        start_line=st.integers(1, 3),
        end_line=st.integers(3, 4),
        context=st.sampled_from(["", "a", "b"]),
    ),
    max_size=6,
)


@settings(deadline=None)  # other work may share the machine
@given(SOME_CHUNKS, SOME_CHUNKS, st.data())
def test_applying_the_changes_gives_what_is_wanted(
    before: list[Chunk], after: list[Chunk], data: st.DataObject
) -> None:
    """Whatever was stored or in flight, the changes bring the collection to exactly the wanted set.

    The collection is (document, metadata) by id. A row in flight may be there or not, with its new
    content; moving touches metadata only and must not meet a missing row.
    """
    old, wanted = rows_of(before), rows_of(after)
    known: dict[str, KnownRow] = {}
    collection: dict[str, tuple[str, object]] = {}
    for row in old:
        stored = data.draw(st.booleans())
        known[row.id] = KnownRow(row.digest, stored)
        if stored or data.draw(st.booleans()):
            collection[row.id] = (row.document, row.metadata)

    changes = diff_rows(wanted, known)
    for row in changes.writes:
        collection[row.id] = (row.document, row.metadata)
    for row in changes.moves:
        document, _ = collection[row.id]
        collection[row.id] = (document, row.metadata)
    for row_id in changes.stale:
        collection.pop(row_id, None)

    assert collection == {row.id: (row.document, row.metadata) for row in wanted}
    assert {row.id for row in (*changes.writes, *changes.moves)}.isdisjoint(changes.stale)
    untouched = wanted_ids(wanted) - wanted_ids(changes.writes) - wanted_ids(changes.moves)
    assert all(known[row_id].stored for row_id in untouched)


def wanted_ids(rows: list[Row] | tuple[Row, ...]) -> set[str]:
    """Ids of rows."""
    return {row.id for row in rows}
