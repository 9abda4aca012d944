"""Long lists in pages: complete, stable while syncs go on, and each page as fast as the first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import Desk, HashEmbedding, make_folder

from reposync import (
    ConfigError,
    ManifestError,
    Page,
    SyncConfig,
    UnknownRepository,
    list_chunks,
    list_files,
    list_repositories,
    sync_history,
)
from reposync.manifest import FILE_NAME, NEWEST, Manifest, RepositoryKey, open_manifest
from tests.operations.live import stepwise

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@pytest.fixture
def desk(tmp_path: Path, place: Path | ClientAPI) -> Desk:
    """A repository of ten files of one chunk each, and one of several; synced."""
    desk = Desk(tmp_path / "tree", place, config=SyncConfig(chunk_tokens=32))
    desk.write_many(10)
    desk.write("prose.md", "\n\n".join(f"Paragraph {n}, with a few words in it." for n in range(9)))
    desk.sync()
    return desk


def pages(ask: Callable[..., Page[Any]], *arguments: Any, **options: Any) -> Iterator[Page[Any]]:
    """All pages of a list, one after the other."""
    cursor = None
    while True:
        page = ask(*arguments, cursor=cursor, **options)
        assert page.ok
        assert Page.model_validate_json(page.model_dump_json()).total == page.total
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


def items(ask: Callable[..., Page[Any]], *arguments: Any, **options: Any) -> list[Any]:
    """All entries of a list, page by page."""
    return [one for page in pages(ask, *arguments, **options) for one in page.items]


# -- what they say -----------------------------------------------------------------------------


def test_repositories(desk: Desk) -> None:
    """Every repository of the store, the newest first, with its totals and its state."""
    for name in ("two", "three"):
        desk.sync(name=name)
    found = items(list_repositories, store=desk.store, page_size=2)
    assert [one.name for one in found] == ["three", "two", "repo"]
    assert {(one.state, one.files, one.runs) for one in found} == {("synced", 11, 1)}
    assert {one.chunks for one in found} == {len(desk.rows())}
    assert {one.path for one in found} == {str(desk.root)}
    assert all(one.last_good_at and str(one).startswith(f"{one.name}: synced") for one in found)
    assert list_repositories(store=desk.store, page_size=2).total == 3


def test_files(desk: Desk) -> None:
    """Every file, skipped ones and one that a kill left half done too; the newest first."""
    desk.write("blob.bin", b"\0\1")
    desk.sync()
    for number in range(6):
        desk.write(f"new{number}.txt", f"something new, number {number}\n")
    with stepwise(desk) as sync:
        sync.step()
        sync.kill()
    found = {one.path: one for one in items(list_files, "repo", store=desk.store, page_size=4)}
    assert len(found) == list_files("repo", store=desk.store).total == 16
    old = [f"note{number:02}.txt" for number in range(10)]
    new = [f"new{number}.txt" for number in range(4)]
    assert list(found) == [*reversed(new), "blob.bin", *reversed([*old, "prose.md"])]
    assert (found["blob.bin"].state, found["blob.bin"].skip) == ("skipped", "binary")
    assert (found["new3.txt"].state, found["new3.txt"].chunks) == ("unfinished", 1)
    assert str(found["new3.txt"]) == "new3.txt: unfinished (unfinished in an earlier run), 1 chunk"
    rows = desk.rows().values()
    for path in (*old, *new[:3], "prose.md"):
        assert found[path].state == "indexed"
        assert found[path].chunks == sum(row.metadata["path"] == path for row in rows)
        assert found[path].content_hash == sha256((desk.root / path).read_bytes()).hexdigest()


def test_chunks(desk: Desk) -> None:
    """Every chunk as it stands in the collection, of one file in its order, or of all."""
    expected = {
        row.id: tuple(
            row.metadata[key] for key in ("path", "chunk_index", "start_line", "end_line", "symbol")
        )
        for row in desk.rows().values()
    }

    def told(found: list[Any]) -> dict[str, tuple[Any, ...]]:
        return {
            one.id: (one.path, one.chunk_index, one.start_line, one.end_line, one.symbol)
            for one in found
        }

    of_all = items(list_chunks, "repo", store=desk.store, page_size=3)
    assert len(of_all) == len(expected) == list_chunks("repo", store=desk.store).total
    assert told(of_all) == expected
    of_one = items(list_chunks, "repo", "prose.md", store=desk.store)
    assert [one.chunk_index for one in of_one] == list(range(len(of_one)))
    in_pages = items(list_chunks, "repo", "prose.md", store=desk.store, page_size=2)
    assert told(in_pages) == told(of_one)
    assert len(in_pages) == len(of_one) >= 4
    nothing = list_chunks("repo", "missing.md", store=desk.store)
    assert (nothing.items, nothing.total, nothing.next_cursor) == ((), 0, None)


def test_lines_that_moved(desk: Desk) -> None:
    """Where a chunk lies is right after its file grew above it, and after the state was lost."""
    desk.write("prose.md", "A new paragraph.\n\n" + (desk.root / "prose.md").read_text())
    desk.sync()
    test_chunks(desk)
    for file in desk.manifest.parent.glob(f"{FILE_NAME}*"):
        file.unlink()
    desk.sync()
    test_chunks(desk)


def test_history(desk: Desk) -> None:
    """Every run, the newest first: of one repository, or of all of a store."""
    results = [desk.sync() for _ in range(3)]
    other = desk.sync(name="other")
    found = items(sync_history, "repo", store=desk.store, page_size=2)
    assert len(found) == sync_history("repo", store=desk.store).total == 4
    assert [one.run_id for one in found[:3]] == [one.run_id for one in reversed(results)]
    assert [one.files for one in found[:3]] == [one.files for one in reversed(results)]
    assert {one.status for one in found} == {"complete"}
    of_all = items(sync_history, store=desk.store, page_size=2)
    assert of_all == [items(sync_history, "other", store=desk.store)[0], *found]
    assert of_all[0].run_id == other.run_id
    assert sync_history(store=desk.store).total == 5


def test_another_database_of_the_server(tmp_path: Path, own_home: Path, server: Any) -> None:
    """What lies in another database of a server is not listed."""
    from chroma_server import move_to_fresh_database

    with server.client() as client:
        move_to_fresh_database(client)
        desk = Desk(tmp_path / "tree", client)
        desk.write_many(2)
        desk.sync()
        move_to_fresh_database(client)
        desk.sync(name="here")
        assert [one.name for one in list_repositories(store=client).items] == ["here"]
        assert [one.repository for one in sync_history(store=client).items] == ["here"]
        assert sync_history(store=client).total == 1


# -- what cannot be asked ----------------------------------------------------------------------


def test_what_cannot_be_asked(desk: Desk, tmp_path: Path) -> None:
    """A wrong name, store, page size or cursor is a caller's mistake, and said so."""
    with pytest.raises(UnknownRepository, match=r"It knows: 'repo'"):
        list_files("another", store=desk.store)
    with pytest.raises(UnknownRepository, match="Nothing was ever synced"):
        list_repositories(store=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    for size in (0, -1, 10_001, 2.5, True):
        with pytest.raises(ConfigError, match="page_size"):
            list_files("repo", store=desk.store, page_size=size)
    of_files = list_files("repo", store=desk.store, page_size=1).next_cursor
    assert of_files is not None
    for cursor in (of_files, "", "run:", "run:x:", f"run:{10**30}:", "run:1"):
        with pytest.raises(ConfigError, match="cursor"):
            sync_history("repo", store=desk.store, cursor=cursor)


# -- while syncs go on -------------------------------------------------------------------------


def test_stable_while_syncs_go_on(desk: Desk) -> None:
    """Who turns pages while files come, go and change meets all that stays, once."""
    staying = {f"note{number:02}.txt" for number in range(4, 10)}
    asks = {
        "files": pages(list_files, "repo", store=desk.store, page_size=2),
        "chunks": pages(list_chunks, "repo", store=desk.store, page_size=2),
        "runs": pages(sync_history, "repo", store=desk.store, page_size=1),
        "repositories": pages(list_repositories, store=desk.store, page_size=1),
    }
    desk.sync(name="another")
    runs_before = sync_history("repo", store=desk.store).items
    met: dict[str, list[Any]] = {kind: [] for kind in asks}
    for turn in range(8):
        for kind, turned in asks.items():
            met[kind] += getattr(next(turned, None), "items", ())
        desk.write(f"new{turn}.txt", f"something new in turn {turn}\n")
        desk.write("prose.md", f"A paragraph of turn {turn}.\n\n" + "Some more.\n\n" * turn)
        if turn < 4:
            (desk.root / f"note{turn:02}.txt").unlink()
        desk.sync(name="repo" if turn % 2 else "another", embedding_function=HashEmbedding())
    for kind, turned in asks.items():
        met[kind] += [one for page in turned for one in page.items]
    paths = [one.path for one in met["files"]]
    assert len(set(paths)) == len(paths)
    assert staying <= set(paths)
    ids = [one.id for one in met["chunks"]]
    assert len(set(ids)) == len(ids)
    assert staying <= {one.path for one in met["chunks"]}
    assert met["runs"] == list(runs_before)
    assert [one.name for one in met["repositories"]] == ["another", "repo"]


# -- how fast ----------------------------------------------------------------------------------


REPO = 2


def steps(manifest: Manifest, ask: Callable[[], object]) -> int:
    """How many steps SQLite's machine takes to answer: the same on any machine, at any time."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    manifest._db.set_progress_handler(count, 1)
    try:
        ask()
    finally:
        manifest._db.set_progress_handler(None, 0)
    return taken


def filled(path: Path, *, runs: int, files: int, chunks: int) -> Manifest:
    """A manifest with so many runs and files, and so many chunks a file; and a small repository."""
    manifest = open_manifest(path)
    sizes = {1: (5, 5), REPO: (runs, files)}
    result = json.dumps({"path": "/here", "files": {"added": 1}, "chunks": {"total": 2}})
    for number, name in enumerate(("other", "repo"), 1):
        manifest.add_repository(RepositoryKey("t", "d", name, name), "/here")
        runs, files = sizes[number]
        with manifest.transaction() as db:
            db.executemany(
                "INSERT INTO runs (run_id, repository, started_at, status, result)"
                " VALUES (?, ?, '2026-01-01T00:00:00+00:00', ?, ?)",
                (
                    (f"{name} {run}", number, "failed" if run > 3 else "complete", result)
                    for run in range(runs)
                ),
            )
            db.executemany(
                "INSERT INTO files (id, repository, path, content_hash) VALUES (?, ?, ?, 'x')",
                ((number * 10**6 + file, number, f"{file}.py") for file in range(files)),
            )
            db.executemany(
                "INSERT INTO chunks (file, id, text_hash, digest, stored) VALUES (?, ?, '', '', 1)",
                (
                    (number * 10**6 + file, f"{chunk:032}")
                    for file in range(files)
                    for chunk in range(chunks)
                ),
            )
    return manifest


@pytest.fixture(scope="module")
def large_and_small() -> Iterator[tuple[Manifest, Manifest]]:
    """100 000 runs and 200 000 chunks; and 1 000 and 22 000."""
    folder = make_folder("reposync-large-")
    with (
        filled(folder / "large", runs=100_000, files=2000, chunks=100) as large,
        filled(folder / "small", runs=1000, files=220, chunks=100) as small,
    ):
        yield large, small
    shutil.rmtree(folder)


ASKS: dict[str, Callable[[Manifest, float], object]] = {
    "runs": lambda m, at: m.run_page(REPO, round(at * m.totals_of(REPO).runs), 101),
    "runs of all": lambda m, at: m.run_page_of("t", "d", round(at * m.totals("t", "d")[1]), 101),
    "files": lambda m, at: m.file_page(REPO, 2_000_000 + round(at * m.totals_of(REPO).files), 101),
    "chunks": lambda m, at: m.chunk_page(
        REPO, 2_000_000 + round(at * m.totals_of(REPO).files), f"{50:032}", 101
    ),
    "chunks of a file": lambda m, at: m.chunk_page_of(REPO, 2_000_000, f"{at * 50:032.0f}", 40),
    "repositories": lambda m, _: m.repository_page("t", "d", NEWEST, 101),
    "totals": lambda m, _: (m.totals("t", "d"), m.totals_of(REPO), m.count_rows(REPO)),
    "last run": lambda m, _: (m.last_run(REPO), m.last_good_run(REPO)),
}


@pytest.mark.folder_only
def test_a_damaged_manifest_is_told(desk: Desk) -> None:
    """That the local state cannot be read is not taken for a store that nothing was synced into."""
    desk.manifest.write_bytes(b"noise " * 1000)
    for look in (list_repositories, sync_history, partial(list_files, "repo")):
        with pytest.raises(ManifestError, match="Sync again"):
            look(store=desk.store)


@pytest.mark.parametrize("what", ASKS)
def test_each_page_costs_the_same(large_and_small: tuple[Manifest, Manifest], what: str) -> None:
    """The last page costs what the first one does, and in a large store what it does in a small."""
    large, small = large_and_small
    assert large.totals_of(REPO).runs == 100_000
    assert large.count_rows(REPO) == 200_000
    taken = [
        steps(manifest, lambda: ASKS[what](manifest, at))  # noqa: B023
        for manifest in (large, small)
        for at in (1.0, 0.5)
    ]
    assert 0 < max(taken) <= 1.2 * min(taken), taken


def test_a_run_costs_the_same_however_many_there_were(
    large_and_small: tuple[Manifest, Manifest],
) -> None:
    """A sync's own notes take no longer after 100 000 runs."""
    costs = [
        steps(
            manifest,
            lambda: (
                manifest.was_cut_off(REPO),  # noqa: B023
                manifest.beat(REPO, "new", "2026-01-02", "{}"),  # noqa: B023
                manifest.start_run(REPO, "new", "2026-01-02"),  # noqa: B023
                manifest.end_run(REPO, "new", "2026-01-02", "partial", "{}", ""),  # noqa: B023
            ),
        )
        for manifest in large_and_small
    ]
    assert max(costs) <= 1.2 * min(costs), costs
