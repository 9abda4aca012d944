"""`search_repository` finds what the collections hold, all of it that fits, and nothing else."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Desk, HashEmbedding, OtherEmbedding, opened, snapshot

from reposync import (
    ChromaLock,
    ConfigError,
    EmbeddingMismatch,
    SyncConfig,
    UnknownRepository,
    drop_repository,
    migrate_model,
    rebuild_collection,
    rename_repository,
    repository_status,
    search_repository,
)
from reposync.search.index import FILE_NAME
from reposync.search.rank import fuse
from reposync.search.refresh import SETTLED_SECONDS
from reposync.store import live_systems

from .desks import FILES, check_true, found, furnish, nearest, paths, search

if TYPE_CHECKING:
    from chromadb.api import ClientAPI


@pytest.fixture
def desk(place: Path | ClientAPI, tmp_path: Path) -> Desk:
    """A repository, synced."""
    return furnish(Desk(tmp_path / "tree", place))


@pytest.fixture
def folder(tmp_path: Path, own_home: Path) -> Desk:
    """A repository, synced into a folder."""
    return furnish(Desk(tmp_path / "tree", tmp_path / "store"))


# -- what is found -------------------------------------------------------------------------------

FILTERS: dict[str, tuple[dict[str, str], set[str]]] = {
    "none": ({}, set(FILES)),
    "a file": ({"path": "src/store.py"}, {"src/store.py"}),
    "a folder, from the root": ({"path": "src"}, {"src/store.py", "src/deep/wheel.py"}),
    "a folder, with its slash": ({"path": "./src/"}, {"src/store.py", "src/deep/wheel.py"}),
    "a folder below": ({"path": "src/deep"}, {"src/deep/wheel.py"}),
    "a pattern": ({"path": "*.md"}, {"README.md", "docs/guide.md"}),
    "a pattern from the root": ({"path": "/*.md"}, {"README.md"}),
    "a pattern for folders": ({"path": "s?c/"}, {p for p in FILES if "src/" in p}),
    "a pattern of folders": ({"path": "**/deep/**"}, {"src/deep/wheel.py"}),
    "a name like a pattern": ({"path": "app/[id]"}, {"app/[id]/page.ts"}),
    "a language": ({"language": "Markdown"}, {"README.md", "docs/guide.md"}),
    "both": ({"path": "src", "language": "python"}, {"src/store.py", "src/deep/wheel.py"}),
    "both, and nothing fits": ({"path": "docs/guide.md", "language": "python"}, set()),
}


@pytest.mark.parametrize("filter_", FILTERS)
def test_dense_is_exact_behind_any_filter(folder: Desk, filter_: str) -> None:
    """All rows that a filter lets through come, in the order of their cosines; none else does."""
    arguments, files = FILTERS[filter_]
    rows = {key: row for key, row in folder.rows().items() if row.metadata["path"] in files}
    result = search(folder, "anything", mode="dense", n_results=1000, **arguments)
    expected = nearest(rows, "anything")
    assert [hit.score for hit in result] == pytest.approx([c for _, c in expected], abs=1e-5)
    assert {hit.id for hit in result} == set(rows)
    assert [hit.dense_rank for hit in result] == list(range(1, len(rows) + 1))
    assert all(hit.lexical_rank is None for hit in result)
    check_true(result, rows)
    few = search(folder, "anything", mode="dense", n_results=2, **arguments)
    assert few.hits == result.hits[:2]
    assert bool(result.warnings) is not bool(rows)


def test_a_search_on_all_kinds_of_stores(desk: Desk) -> None:
    """On a folder and on a server, by meaning, by words and by both; the exact text is first."""
    rows = desk.rows()
    (text,) = (row.embedded_text for row in rows.values() if "return place" in row.document)
    for mode in ("dense", "lexical", "hybrid"):
        result = search(desk, text, mode=mode)
        assert (result.mode, result.query, result.ok) == (mode, text, True)
        assert "return place" in result[0].text
        check_true(result, rows)
    assert search(desk, text, mode="dense")[0].score == pytest.approx(1)
    assert search(desk, text, mode="hybrid")[0].score == 1


def test_a_store_in_memory(memory: ClientAPI, tmp_path: Path) -> None:
    """A store in memory is searched in memory, and gives what it holds now."""
    desk = furnish(Desk(tmp_path / "tree", memory))
    assert search(desk, "carburettor")[0].path == "docs/guide.md"
    desk.write("docs/guide.md", "# Guide\n\nNow about gearboxes.\n")
    desk.sync()
    assert not search(desk, "carburettor", mode="lexical")
    assert search(desk, "gearboxes", mode="lexical")[0].path == "docs/guide.md"
    drop_repository("repo", store=memory)
    with pytest.raises(UnknownRepository):
        search(desk, "gearboxes")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("vehicle", "src/store.py"),
        ("PARKVEHICLE", "src/store.py"),
        ("parkVehicle", "src/store.py"),
        ("park_vehicle", "src/store.py"),
        ("hold seconds", "src/store.py"),
        ("max_hold_seconds", "src/store.py"),
        ("carburettors", "docs/guide.md"),
        ("deep", "src/deep/wheel.py"),
        ("prices", "README.md"),
    ],
)
def test_words_find_names_whole_and_in_parts(folder: Desk, query: str, path: str) -> None:
    """Names are found by their words in any spelling; so are words of paths, symbols and stems."""
    assert search(folder, query, mode="lexical")[0].path == path


def test_a_common_word_finds_as_many_as_are_asked_for(folder: Desk) -> None:
    """A word that most chunks have says little, and yet all that have it can be had."""
    folder.write_many(30)
    folder.sync()
    result = search(folder, "note 07", mode="lexical", n_results=30)
    assert len(result) == 30
    assert result[0].path == "note07.txt"
    assert {hit.path for hit in result} == {f"note{number:02}.txt" for number in range(30)}


def test_paths_and_symbols_weigh_more_than_text(folder: Desk) -> None:
    """What is called so comes before what merely mentions it."""
    assert paths(search(folder, "wheel", mode="lexical")) >= {
        "src/deep/wheel.py",
        "app/[id]/page.ts",
    }
    assert search(folder, "wheel", mode="lexical")[0].path == "src/deep/wheel.py"


def test_hybrid_fuses_both_rankings(folder: Desk) -> None:
    """A hit's score is made of its two ranks, and hits come in the order of their scores."""
    result = search(folder, "turn the wheel of a car", n_results=50)
    for hit in result:
        ranks = [rank for rank in (hit.dense_rank, hit.lexical_rank) if rank is not None]
        assert hit.score == pytest.approx(sum(1 / (60 + rank) for rank in ranks) / (2 / 61))
    assert [hit.score for hit in result] == sorted((hit.score for hit in result), reverse=True)
    assert {hit.id for hit in result} == folder.rows().keys()  # by vector, everything is found
    assert search(folder, "turn the wheel of a car", n_results=50) == result


def test_ties_are_broken_by_the_better_ranking() -> None:
    """Two chunks with equal scores come in the order of the first ranking they are in."""
    fused = fuse([(7, 0.9), (3, 0.8)], [(5, 4.0), (3, 2.0)])
    assert [number for number, _ in fused] == [3, 7, 5]
    assert fused[1][1] == fused[2][1]


# -- whom is asked -------------------------------------------------------------------------------


def test_all_repositories_or_one(folder: Desk, tmp_path: Path) -> None:
    """Without a name, all repositories are searched; with one, or a collection, only that."""
    other = Desk(tmp_path / "other", folder.store, "other", folder.embedding)
    other.write("wheel.txt", "a wheel elsewhere\n")
    other.sync()
    result = search(folder, "wheel", name=None, mode="lexical")
    assert {hit.repository for hit in result} == {"repo", "other"}
    assert {hit.collection for hit in result} == {"repo", "other"}
    for narrowed in ({"name": "other"}, {"name": None, "collection": "other"}):
        for mode in ("lexical", "dense", "hybrid"):
            result = search(folder, "wheel", mode=mode, **narrowed)
            assert paths(result) == {"wheel.txt"}
    assert search(folder, "elsewhere", mode="lexical", path="wheel.txt", name=None)


def test_repositories_of_one_collection(desk: Desk, tmp_path: Path) -> None:
    """A name keeps to its rows in a collection that it shares with others, and with a host."""
    other = Desk(tmp_path / "other", desk.store, "other", desk.embedding)
    other.write("wheel.txt", "a wheel elsewhere\n")
    other.sync(collection="repo")
    with opened(desk.store) as client:
        client.get_collection("repo", embedding_function=None).upsert(
            ids=["host"], documents=["a wheel of the host"], embeddings=[[1.0] * 16]
        )
    result = search(desk, "wheel", n_results=100)
    assert {hit.repository for hit in result} == {"repo"}
    assert {hit.repository for hit in search(desk, "wheel", name=None)} == {"repo", "other"}


def test_a_name_in_two_collections(folder: Desk) -> None:
    """If a name is in two collections, one has to be told; without a name both are searched."""
    folder.sync(collection="second")
    with pytest.raises(ConfigError, match="collection="):
        search(folder, "wheel")
    assert {hit.collection for hit in search(folder, "wheel", collection="second")} == {"second"}
    hits = search(folder, "wheel", name=None, n_results=100)
    assert {hit.collection for hit in hits} == {"repo", "second"}


def test_another_model(folder: Desk, tmp_path: Path) -> None:
    """What is of another model is an error if it was asked for, else left out and named.

    Words are searched for whatever the model.
    """
    other = Desk(tmp_path / "other", folder.store, "other", OtherEmbedding())
    other.write("wheel.txt", "a wheel elsewhere\n")
    other.sync()
    with pytest.raises(EmbeddingMismatch, match="embedding_function="):
        search(folder, "wheel", name="other")
    result = search(folder, "wheel", name=None, n_results=100)
    assert {hit.repository for hit in result} == {"repo"}
    (warning,) = result.warnings
    assert "'other'" in warning
    assert not result.ok
    everywhere = search(folder, "wheel", name=None, mode="lexical")
    assert {hit.repository for hit in everywhere} == {"repo", "other"}
    assert not everywhere.warnings


def test_a_model_by_its_id(tmp_path: Path, own_home: Path) -> None:
    """A repository that was synced under a model_id is searched under it."""
    config = SyncConfig(chunk_tokens=32, model_id="mine")
    desk = furnish(Desk(tmp_path / "tree", tmp_path / "store", config=config))
    with pytest.raises(EmbeddingMismatch):
        search(desk, "wheel")
    assert search(desk, "wheel", config=config)


class Asymmetric(HashEmbedding):
    """Puts questions before their answers: another vector for a query than for a document."""

    def embed_query(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
        return self([text.removeprefix("where is: ") for text in input])


def test_queries_are_embedded_as_queries(tmp_path: Path, own_home: Path) -> None:
    """A model that has its own way to embed questions is asked that way."""
    desk = furnish(Desk(tmp_path / "tree", tmp_path / "store", embedding=Asymmetric()))
    text = next(iter(desk.rows().values())).embedded_text
    assert search(desk, f"where is: {text}", mode="dense")[0].score == pytest.approx(1)


def test_a_plain_callable(tmp_path: Path, own_home: Path) -> None:
    """A function is enough to sync with, and so to search with."""
    desk = furnish(Desk(tmp_path / "tree", tmp_path / "store"))
    call = HashEmbedding().embed_query

    def embed(texts: list[str]) -> Any:
        return call(texts)

    desk.sync(embedding_function=embed, name="plain", config=SyncConfig(model_id="x"))
    config = SyncConfig(model_id="x")
    assert search(desk, "wheel", name="plain", embedding_function=embed, config=config)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "nothing asked": ({"query": ""}, "query="),
    "blanks": ({"query": " \n"}, "query="),
    "no text": ({"query": None}, "query="),
    "no hits": ({"n_results": 0}, "n_results="),
    "half a hit": ({"n_results": 1.5}, "n_results="),
    "an unknown mode": ({"mode": "fuzzy"}, "'hybrid', 'dense' or 'lexical'"),
    "an unknown name": ({"name": "nobody"}, "'repo'"),
    "an unknown collection": ({"name": None, "collection": "nowhere"}, "nowhere"),
    "a path above": ({"path": "../x"}, "leads out"),
    "no path": ({"path": ""}, "path="),
    "a pattern that is none": ({"path": "[a"}, "pattern"),
    "no language": ({"language": " "}, "language="),
    "a class": ({"embedding_function": HashEmbedding}, "instance"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_our_words(folder: Desk, mistake: str) -> None:
    """What cannot be right is a `ConfigError` that says what to pass instead."""
    arguments, said = MISTAKES[mistake]
    query = arguments.get("query", "wheel")
    with pytest.raises(ConfigError) as error:
        search(folder, query, **{k: v for k, v in arguments.items() if k != "query"})
    assert said in str(error.value)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_more_hits_than_sqlite_can_count(folder: Desk, mode: str) -> None:
    """However many are asked for, all that there are come."""
    everything = search(folder, "wheel", mode=mode, n_results=1000)
    assert search(folder, "wheel", mode=mode, n_results=10**30) == everything


def test_a_store_that_is_not_there(tmp_path: Path, own_home: Path) -> None:
    """A search makes no store."""
    with pytest.raises(UnknownRepository, match="Nothing was ever synced"):
        search_repository("wheel", store=tmp_path / "none", embedding_function=HashEmbedding())
    assert not (tmp_path / "none").exists()


def test_filters_that_let_nothing_through_say_so(folder: Desk) -> None:
    """A path or a language that nothing has is a warning, not silence."""
    assert "path='nowhere'" in str(search(folder, "wheel", path="nowhere"))
    assert "markdown, python" in search(folder, "wheel", language="klingon").warnings[0]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    query=st.text(min_size=1)
    | st.lists(
        st.sampled_from(
            ['"', "*", "AND", "OR", "NOT", "NEAR(", ")", "^", "text:", "-", "wheel", "\0", "'", ";"]
        ),
        min_size=1,
    ).map(" ".join)
)
def test_any_text_is_a_query(folder: Desk, query: str) -> None:
    """Whatever is typed is searched for, and never taken for an instruction or refused."""
    if not query.strip():
        return
    result = search(folder, query, n_results=3)
    assert len(result) == 3
    assert type(result).model_validate_json(result.model_dump_json()) == result
    if "wheel" in query.split():
        assert search(folder, query, mode="lexical")


def test_a_page_of_text_is_a_query(folder: Desk) -> None:
    """A query may be as long as it likes."""
    query = "\n".join(FILES.values()) * 300
    assert paths(search(folder, query, mode="lexical", n_results=100)) >= {"src/store.py"}


# -- while things change -------------------------------------------------------------------------


def test_lexical_follows_every_change(desk: Desk) -> None:
    """After a sync, the words of what was changed, renamed, added or deleted are found as it is."""
    search(desk, "wheel")
    desk.write("docs/guide.md", "# Guide\n\nNow about gearboxes.\n")
    (desk.root / "src/deep/wheel.py").rename(desk.root / "src/deep/tyre.py")
    (desk.root / "README.md").unlink()
    desk.write("new.txt", "a wheelbarrow\n")
    desk.sync()
    words = {
        "carburettor": set(),
        "gearboxes": {"docs/guide.md"},
        "turn_wheel": {"src/deep/tyre.py"},
        "tyre": {"src/deep/tyre.py"},
        "garage": set(),
        "wheelbarrow": {"new.txt"},
    }
    for word, files in words.items():
        hits = search(desk, f"{word}", mode="lexical")
        assert {hit.path for hit in hits if word in hit.text or word in hit.path} == files, word
    assert {hit.id for hit in search(desk, "x", mode="dense", n_results=100)} == desk.rows().keys()


def test_after_operations(folder: Desk) -> None:
    """A repository that was rebuilt, renamed, or moved to another model is found as it is now."""
    before = search(folder, "wheel", n_results=100)
    rebuild_collection("repo", store=folder.store)
    assert search(folder, "wheel", n_results=100) == before
    rename_repository("repo", "garage", store=folder.store)
    with pytest.raises(UnknownRepository):
        search(folder, "wheel")
    renamed = search(folder, "wheel", name="garage", n_results=100)
    assert found(renamed) == found(before)
    assert {hit.repository for hit in renamed} == {"garage"}
    migrate_model("garage", folder.root, store=folder.store, embedding_function=OtherEmbedding())
    moved = search(folder, "wheel", name="garage", embedding_function=OtherEmbedding())
    assert {hit.path for hit in moved} <= set(FILES)
    assert search(folder, "wheel", name="garage", mode="lexical")


def test_a_dropped_repository_leaves_no_text(folder: Desk, tmp_path: Path) -> None:
    """What was dropped is not found, and its words are not on the disk any more."""
    other = Desk(tmp_path / "other", folder.store, "other", folder.embedding)
    other.write("secret.txt", "the zyzzyva word\n")
    other.sync()
    side = folder.folder / FILE_NAME
    assert search(folder, "zyzzyva", name=None, mode="lexical")
    assert b"zyzzyva" in side.read_bytes()
    drop_repository("other", store=folder.store)
    assert b"zyzzyva" not in side.read_bytes()
    assert not search(folder, "zyzzyva", name=None, mode="lexical")
    assert search(folder, "carburettor", mode="lexical")


def test_what_a_host_deleted_is_not_found(desk: Desk) -> None:
    """A row that somebody took out of the collection is passed over, and that is said."""
    assert search(desk, "carburettor", mode="lexical")
    with opened(desk.store) as client:
        collection = client.get_collection("repo", embedding_function=None)
        collection.delete(where={"path": "docs/guide.md"})
        if isinstance(desk.store, Path):  # with a client open, and without one
            assert not search(desk, "carburettor", mode="lexical")
    result = search(desk, "carburettor wheel", n_results=1)
    assert len(result) == 1
    result = search(desk, "carburettor", mode="lexical")
    assert not result.hits
    assert "sync again" in result.warnings[0]
    desk.sync()
    assert search(desk, "carburettor", mode="lexical").ok


def test_a_collection_that_is_gone(desk: Desk) -> None:
    """If somebody deleted the collection, nothing of it is shown."""
    search(desk, "wheel")
    with opened(desk.store) as client:
        client.delete_collection("repo")
    result = search(desk, "wheel")
    assert not result
    assert "sync again" in result.warnings[0]


def test_a_chroma_folder_that_is_gone(folder: Desk) -> None:
    """If Chroma's database was removed, the error says what to do."""
    (folder.folder / "chroma.sqlite3").unlink()
    with pytest.raises(Exception, match="Sync again"):
        search(folder, "wheel")


def test_a_search_amid_the_first_sync(place: Path | ClientAPI, tmp_path: Path) -> None:
    """While the first sync runs, what it has written so far is found."""
    seen: list[int] = []

    def look() -> None:
        if repository_status("repo", store=place).state != "never":
            embedding = HashEmbedding()
            hits = search_repository(
                "note", "repo", store=place, n_results=100, embedding_function=embedding
            )
            assert all(hit.text.startswith("note number") for hit in hits)
            seen.append(len(hits))

    desk = Desk(tmp_path / "tree", place, embedding=HashEmbedding(before=look))
    desk.write_many(20)
    desk.sync()
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    assert len(search(desk, "note", n_results=100)) == 20


@pytest.fixture
def client(folder: Desk) -> Iterator[ClientAPI]:
    """A host's client on the folder's store, which stays open."""
    with opened(folder.store, locked=False) as client:
        yield client


def test_a_hosts_client(folder: Desk, client: ClientAPI) -> None:
    """A host's client is used, and stays as it was; what it writes itself is no one else's."""
    desk = Desk(folder.root, client, embedding=folder.embedding)
    before = search(desk, "wheel", n_results=100)
    assert before == search(folder, "wheel", n_results=100)
    with ChromaLock(client):
        client.get_or_create_collection("notes").upsert(ids=["1"], embeddings=[[1.0]])
        assert search(desk, "wheel", n_results=100) == before  # under the host's own lock
    assert client.get_collection("notes").count() == 1


def open_files(folder: Path) -> list[str]:
    """The files in a folder that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(str(folder))]


def test_nothing_stays_open(folder: Desk) -> None:
    """After a search of a folder, no client, file or lock of ours is left open."""
    for mode in ("hybrid", "dense", "lexical"):
        search(folder, "wheel", mode=mode)
        assert not live_systems(folder.folder)
    ends = time.monotonic() + 30
    while left := open_files(folder.folder):  # Chroma's own threads let go a moment later
        assert time.monotonic() < ends, left
    assert not (folder.folder / f"{FILE_NAME}-wal").exists()


def test_a_search_does_not_disturb_syncs(folder: Desk) -> None:
    """Once a search has read what a sync wrote, syncs and searches leave each other alone."""
    folder.settled()
    search(folder, "wheel")  # opens a Chroma client, so that the next sync looks into the store
    folder.sync()
    for _ in range(2):
        time.sleep(2 * SETTLED_SECONDS)
        search(folder, "wheel")
        before = snapshot(folder.folder)
        search(folder, "wheel")
        assert snapshot(folder.folder) == before  # what is in step is only read
        result = folder.sync()
        assert (result.files.unchanged, result.store.lock_acquisitions) == (len(FILES), 0)


def test_scores_are_what_they_are_said_to_be(folder: Desk) -> None:
    """Dense: a cosine. Lexical: above 0. Hybrid: above 0, at most 1."""
    for query in itertools.chain(FILES, ["wheel", "x"]):
        assert all(-1.0001 <= hit.score <= 1.0001 for hit in search(folder, query, mode="dense"))
        assert all(hit.score > 0 for hit in search(folder, query, mode="lexical"))
        assert all(0 < hit.score <= 1 for hit in search(folder, query))
        assert all(math.isfinite(hit.score) for hit in search(folder, query))
