"""Rows that Chroma refuses for good, and texts that must never reach it or the model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import Desk, HashEmbedding, check_exact, counts, expected_texts, opened, read_rows

from reposync import StoreError, SyncConfig, SyncResult

from .conftest import some_slow
from .proxy import Fault, Proxy, Request, answer, refuse

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

UNWANTED = "nobody wants this"
MOST_METADATA = 4096
"""Bytes of one value; Chroma Cloud refuses more."""


def unwanted(request: Request) -> bool:
    """A write of an unwanted text."""
    return request.what == "upsert" and UNWANTED in request.text


def check_all_but(desk: Desk, rows: dict[str, Any], *missing: str) -> None:
    """All files are stored exactly, less those that are named."""
    texts = expected_texts(desk.root, without=(desk.store,))
    for path in missing:
        del texts[path]
    check_exact(rows, texts, repository=desk.name)


def check_failed(result: SyncResult, *paths: str) -> None:
    """These files failed to be written, and no others; the result says why."""
    assert result.status == "partial"
    assert sorted(failure.path for failure in result.failures) == sorted(paths)
    assert {failure.stage for failure in result.failures} == {"commit"}
    for failure in result.failures:
        assert failure.message
    assert result.files.failed == len(paths)


# -- Behind a server -------------------------------------------------------------------------------

REFUSALS = {
    "400": refuse("Expected a nicer text"),
    "413": answer(413, "Payload Too Large"),
    "422": answer(422, '{"error": "InvalidArgumentError", "message": "not a nice text"}'),
}


@pytest.mark.parametrize("status", some_slow(REFUSALS, "400"))
def test_one_refused_row_fails_its_file_only(
    desk: Desk, client: ClientAPI, proxy: Proxy, status: str
) -> None:
    """The one bad row is found by halving its batch; every other file is stored."""
    desk.write("note07.txt", f"{UNWANTED}\n")
    proxy.on(unwanted, REFUSALS[status], times=None)
    result = desk.sync(store=client)
    check_failed(result, "note07.txt")
    check_all_but(desk, read_rows(client, "repo"), "note07.txt")
    assert len(proxy.asked("upsert")) < 20
    assert max(desk.embedding.counts.values()) == 1


def test_a_refused_file_is_stored_once_it_is_taken(
    desk: Desk, client: ClientAPI, proxy: Proxy
) -> None:
    """The next sync tries a refused file again, embedding nothing, and then is complete."""
    desk.write("note07.txt", f"{UNWANTED}\n")
    proxy.on(unwanted, REFUSALS["400"], times=None)
    desk.sync(store=client)
    again = desk.sync(store=client)
    check_failed(again, "note07.txt")
    assert again.chunks.embedded == 0
    proxy.heal()
    result = desk.sync(store=client)
    assert (result.ok, counts(result)["added"], result.chunks.embedded) == (True, 1, 0)
    check_all_but(desk, read_rows(client, "repo"))


def test_a_refused_update_keeps_the_old_rows(desk: Desk, client: ClientAPI, proxy: Proxy) -> None:
    """A file whose new text is refused is found as it was, until the new one is taken."""
    paragraphs = [f"Paragraph number {n} of a long text, with words." for n in range(12)]
    desk.write("long.md", "\n\n".join(paragraphs))
    desk.settled(store=client)
    before = {k: r for k, r in read_rows(client, "repo").items() if r.metadata["path"] == "long.md"}
    assert len(before) > 1
    paragraphs[6] = UNWANTED
    desk.write("long.md", "\n\n".join(paragraphs))
    desk.write("more.txt", "one more file\n")
    proxy.on(unwanted, REFUSALS["400"], times=None)
    result = desk.sync(store=client)
    check_failed(result, "long.md")
    rows = read_rows(client, "repo")
    assert before.keys() <= rows.keys()
    assert [row.document for key, row in rows.items() if key in before] == [
        row.document for row in before.values()
    ]
    assert "more.txt" in {row.metadata["path"] for row in rows.values()}
    proxy.heal()
    assert desk.sync(store=client).ok
    check_all_but(desk, read_rows(client, "repo"))


def test_several_refused_rows_in_several_batches(
    desk: Desk, client: ClientAPI, proxy: Proxy
) -> None:
    """Each bad file is named, wherever it lies; the number of requests stays small."""
    bad = ["note01.txt", "note02.txt", "note11.txt", "note19.txt"]
    for path in bad:
        desk.write(path, f"{path}: {UNWANTED}\n")
    proxy.on(unwanted, REFUSALS["400"], times=None)
    check_failed(desk.sync(store=client), *bad)
    check_all_but(desk, read_rows(client, "repo"), *bad)
    assert len(proxy.asked("upsert")) < 40


def test_a_refused_update_of_metadata(desk: Desk, client: ClientAPI, proxy: Proxy) -> None:
    """Moved rows whose metadata is refused fail their file; the rest of the batch is stored."""
    text = "\n\n".join(f"Paragraph number {n} of a long text, with words." for n in range(12))
    desk.write("long.md", text)
    desk.settled(store=client)
    desk.write("long.md", f"Another beginning.\n\n{text}")
    desk.write("more.txt", "one more file\n")
    proxy.on("update", REFUSALS["400"], times=None)
    result = desk.sync(store=client)
    check_failed(result, "long.md")
    assert "more.txt" in {row.metadata["path"] for row in read_rows(client, "repo").values()}
    proxy.heal()
    assert desk.sync(store=client).ok
    check_all_but(desk, read_rows(client, "repo"))


def test_a_batch_that_is_only_too_large_is_stored_in_parts(
    desk: Desk, client: ClientAPI, proxy: Proxy
) -> None:
    """A server that takes two rows at a time gets two rows at a time; no file fails."""
    proxy.on(lambda seen: seen.what == "upsert" and len(seen.ids) > 2, REFUSALS["413"], times=None)
    assert desk.sync(store=client).ok
    check_all_but(desk, read_rows(client, "repo"))


@pytest.mark.parametrize("status", some_slow(["400", "404", "501"], "400"))
def test_a_server_that_refuses_everything_is_no_files_fault(
    desk: Desk, client: ClientAPI, proxy: Proxy, status: str
) -> None:
    """When nothing at all is taken the sync ends soon, with an error, and not file by file."""
    desk.write_many(60, "many")
    proxy.on("upsert", REFUSALS.get(status, answer(int(status), "no")), times=None)
    with pytest.raises(StoreError) as caught:
        desk.sync(store=client)
    assert "sync again" in str(caught.value).lower()
    assert caught.value.result is not None
    assert caught.value.result.chunks.added == 0
    assert len(proxy.asked("upsert")) <= 30
    proxy.heal()
    result = desk.sync(store=client)
    assert result.ok
    check_all_but(desk, read_rows(client, "repo"))
    assert max(desk.embedding.counts.values()) == 1


def test_a_fault_that_comes_while_a_batch_is_halved(
    desk: Desk, client: ClientAPI, proxy: Proxy
) -> None:
    """A busy moment in the search for the bad row does not make good rows fail."""
    desk.write("note07.txt", f"{UNWANTED}\n")
    busy: list[Fault] = [answer(503, "busy"), answer(503, "busy")]

    def often_busy(request: Request, landed: Any) -> Any:
        if UNWANTED not in request.text:
            return (*landed(), {})
        fault = busy.pop() if busy and len(request.ids) < 8 else REFUSALS["400"]
        return fault(request, landed)

    proxy.on("upsert", often_busy, times=None)
    check_failed(desk.sync(store=client), "note07.txt")
    check_all_but(desk, read_rows(client, "repo"), "note07.txt")
    assert not busy


# -- In a folder -----------------------------------------------------------------------------------


@contextmanager
def refusing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Iterator[list[int]]:
    """Chroma's own `upsert` raises `error` for an unwanted text; gives the sizes of all calls."""
    from chromadb.api.models.Collection import Collection

    real, sizes = Collection.upsert, []

    def upsert(self: Collection, ids: Any, *args: Any, **given: Any) -> None:
        sizes.append(len(ids))
        if any(UNWANTED in document for document in given["documents"]):
            raise error
        real(self, ids, *args, **given)

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "upsert", upsert)
        yield sizes


@pytest.mark.parametrize(
    "error", [ValueError("Expected a nicer text"), UnicodeEncodeError("utf-8", "x", 0, 1, "no")]
)
def test_one_row_that_chroma_itself_refuses(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """In a folder, too, one refused row fails its file only, and the next sync stores it."""
    desk.write("note07.txt", f"{UNWANTED}\n")
    with refusing(monkeypatch, error) as sizes:
        result = desk.sync()
    check_failed(result, "note07.txt")
    assert len(sizes) < 20
    check_all_but(desk, desk.rows(), "note07.txt")
    assert desk.sync().ok
    desk.check()
    assert max(desk.embedding.counts.values()) == 1


# -- Texts and names that must not reach Chroma or the model ---------------------------------------


class Wary(HashEmbedding):
    """Refuses what a real model may choke on."""

    def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
        for text in input:
            assert "\0" not in text
            assert len(text.encode()) <= 32_000  # raises for a lone surrogate
        return super().__call__(input)


ABSURD = {
    "one-line.min.js": "x" * 400_000,
    "one-word.txt": "\N{LATIN SMALL LETTER E WITH ACUTE}" * 100_000,
    "emoji.txt": "\N{GRINNING FACE}" * 50_000,
    "joined.txt": "a" + "\N{COMBINING ACUTE ACCENT}" * 20_000,
    "heading.md": "# " + "T" * 50_000 + "\n\n" + "One paragraph of words.\n\n" * 50,
    "name.py": "def " + "f" * 20_000 + "():\n" + "    value = 1\n" * 300,
    "deep.json": "[" * 20_000 + "]" * 20_000,
    "nested.md": "\n".join("#" * (1 + n % 6) + f" Part {n}" for n in range(3000)),
    "lines.txt": "\r\n\x0b\x0c\x1c\x85\u2028x" * 2000,
    "controls.txt": "text \x01\x02\x1b[31m \x7f\ufffe\uffff\ufeff end\n",
}
BINARY = {
    "surrogates.txt": b"a lone surrogate \xed\xa0\x80 in bytes\n",
    "surrogates16.txt": b"\xff\xfea\0\x00\xd8b\0",
    "surrogates32.txt": b"\xff\xfe\0\0" + b"a\0\0\0" + b"\x00\xd8\0\0",
    "nul.txt": b"text with a \0 in it\n",
    "nul16.txt": "text with a \0 in it\n".encode("utf-16"),
    "escaped.ipynb": b'{"cells": [{"cell_type": "code", "source": ["x = \'\\ud800\'"]}]}',
    "escaped.json": b'{"a": "\\ud800\\u0000"}',
}
NAMES = [
    b"line\nfeed.txt",
    b"not-utf8-\xff\xfe.txt",
    b"surrogate-\xed\xa0\x80.txt",
    b"quote\"'`$(x).txt",
    b"\x01\x1b[31mred.txt",
    b"back\\slash.txt",
    b"\\xff.txt",
    b"%2e%2e;--.txt",
    "\N{RIGHT-TO-LEFT OVERRIDE}txt.exe".encode(),
    b" ",
    b"n" * 255,
]


def test_absurd_texts_are_cut_to_size(desk: Desk) -> None:
    """Whatever a text file holds, no piece too long for the model or Chroma reaches either."""
    desk.embedding, desk.config = Wary(), SyncConfig(max_line_chars=10**6, index_minified=True)
    for path, text in ABSURD.items():
        desk.write(path, text)
    result = desk.sync()
    assert result.ok, result.failures
    rows = desk.check()
    for row in rows.values():
        for key, value in row.metadata.items():
            size = len(str(value).encode())
            assert size <= MOST_METADATA, f"{key} of {row.metadata['path']!r}: {size} bytes"


def test_texts_that_are_none(desk: Desk) -> None:
    """Lone surrogates and NUL never reach the model or Chroma, in whatever encoding they come."""
    desk.embedding, desk.config = Wary(), SyncConfig()
    for path, data in BINARY.items():
        desk.write(path, data)
    result = desk.sync()
    assert result.ok, result.failures
    assert result.files.scanned == 20 + len(BINARY)
    skipped = {skip.path for skip in result.skipped}
    assert {"nul.txt", "nul16.txt", "surrogates16.txt", "surrogates32.txt"} <= skipped
    for row in desk.rows().values():
        row.document.encode()
        assert "\0" not in row.document


def test_odd_names_survive_a_server(desk: Desk, client: ClientAPI) -> None:
    """Names with line feeds, quotes, control characters and bytes that are no text are stored."""
    for number, name in enumerate(NAMES):
        file = Path(os.fsdecode(os.path.join(os.fsencode(desk.root), name)))
        file.write_text(f"the file with odd name number {number}\n")
    deep = desk.root.joinpath(*["d" * 200] * 12)
    deep.mkdir(parents=True)
    (deep / "deep.txt").write_text("deep down\n")
    result = desk.sync(store=client)
    assert result.ok, result.failures
    assert result.files.added == 20 + len(NAMES) + 1
    texts = sorted(row.document for row in read_rows(client, "repo").values())
    wanted = [p.read_text() for p in desk.root.rglob("*") if p.is_file()]
    assert texts == sorted(wanted)
    desk.settle()
    assert counts(desk.sync(store=client)) == {"unchanged": result.files.added}


def test_the_folder_takes_odd_texts_as_the_server_does(desk: Desk) -> None:
    """Control characters and other valid text come back from Chroma as they were."""
    desk.write("controls.txt", ABSURD["controls.txt"])
    desk.write("lines.txt", ABSURD["lines.txt"])
    assert desk.sync().ok
    with opened(desk.store) as client:
        found = read_rows(client, "repo").values()
    text = "".join(r.document for r in found if r.metadata["path"] == "controls.txt")
    assert text == ABSURD["controls.txt"]
