"""`SyncConfig.executor`: embedding elsewhere gives what embedding here does, come what may."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chroma_server import Server
from support import Desk, HashEmbedding, counts, read_rows, start_python

from reposync import (
    ConfigError,
    DeadlineExceeded,
    EmbeddingError,
    ManySyncs,
    SyncConfig,
    SyncProgress,
)
from reposync.embed import Embedder, make_embedder

SMALL = SyncConfig(chunk_tokens=32, batch_rows=4, max_attempts=3)
TEXTS = 40


@pytest.fixture
def desk(tmp_path: Path, own_home: Path) -> Desk:
    """A repository of 40 files of one chunk each, so ten batches, not synced yet."""
    desk = Desk(tmp_path / "tree", tmp_path / "store", config=SMALL)
    desk.write_many(TEXTS)
    desk.embedding = HashEmbedding(log=tmp_path / "embedded")
    return desk


@contextmanager
def processes(method: str) -> Iterator[ProcessPoolExecutor]:
    """Two worker processes."""
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
        yield executor


@contextmanager
def dask() -> Iterator[Executor]:
    """Dask on two worker processes of this machine."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


EXECUTORS: dict[str, Callable[[], Any]] = {
    "threads": lambda: ThreadPoolExecutor(2),
    "spawn": lambda: processes("spawn"),
    "fork": lambda: processes("fork"),
}


def on(desk: Desk, executor: Executor, **changes: Any) -> SyncConfig:
    """The desk's settings with an executor."""
    return desk.config.model_copy(update={"executor": executor, **changes})


def embedded(desk: Desk) -> Counter[str]:
    """How often each text was embedded, in whatever process."""
    log = desk.embedding.log
    assert log is not None
    return Counter(log.read_text().split()) if log.exists() else Counter()


class Once(HashEmbedding):
    """Kills the process that it runs in, once, at the text that says so."""

    def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
        assert self.log is not None
        flag = self.log.with_name("killed")
        if any("number 21" in text for text in input) and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(input)


class Watched(ThreadPoolExecutor):
    """Two threads, and an account of what they were given."""

    def __init__(self) -> None:
        super().__init__(2)
        self.futures: list[Future[Any]] = []
        self.most = 0
        self.lifetime = 1000
        self.spoil: Callable[[Any], Any] = lambda vectors: vectors

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:  # type: ignore[override]
        if len(self.futures) == self.lifetime:
            self.shutdown(wait=False)
        future = super().submit(lambda: self.spoil(function(*arguments)))
        self.futures.append(future)
        self.most = max(self.most, sum(not one.done() for one in self.futures))
        return future


@pytest.fixture
def watched() -> Iterator[Watched]:
    """An executor that counts."""
    with Watched() as executor:
        yield executor


# -- The same as without ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXECUTORS)
def test_the_rows_are_those_of_a_sync_without(desk: Desk, kind: str) -> None:
    """Same rows, vectors equal to the bit, same counts; each text once; the executor lives on."""
    expected = desk.sync(store=desk.folder.with_name("other")).chunks
    rows = read_rows(desk.folder.with_name("other"), "repo")
    assert desk.embedding.log is not None
    desk.embedding.log.unlink()
    with EXECUTORS[kind]() as executor:
        result = desk.sync(config=on(desk, executor))
        assert result.ok
        assert result.chunks == expected
        assert desk.check() == rows
        assert sorted(embedded(desk).values()) == [1] * TEXTS
        assert desk.sync(config=on(desk, executor)).chunks.embedded == 0
        assert executor.submit(len, "abc").result() == 3


def test_the_default_model_gives_the_same_bits(own_home: Path) -> None:
    """Loaded by a worker, it gives the vectors that it gives here, to the last bit."""
    texts = [f"def function_{n}():\n    return {n}\n" for n in range(9)]
    with processes("spawn") as executor:
        there = [make_embedder(None, executor=executor).embed(texts) for _ in range(2)]
    here = make_embedder(None).embed(texts)
    assert all(np.array_equal(here, vectors) for vectors in there)


def test_it_is_no_part_of_what_is_indexed() -> None:
    """Neither JSON nor the fingerprint knows of it; what is no executor is refused."""
    with ThreadPoolExecutor(1) as executor:
        config = SyncConfig(executor=executor, max_in_flight=3)
    assert "executor" not in config.model_dump()
    assert config.fingerprint == SyncConfig().fingerprint
    assert "executor = concurrent.futures.thread.ThreadPoolExecutor" in str(config.explain())
    with pytest.raises(ConfigError, match="executor"):
        SyncConfig(executor=4)


# -- The window ------------------------------------------------------------------------------------


def test_so_many_batches_are_under_way_and_no_more(desk: Desk, watched: Watched) -> None:
    """Batches are sent ahead, never more than `max_in_flight` beside the one to be written next."""
    gate = threading.Semaphore(0)
    desk.embedding.before = gate.acquire
    helper = threading.Timer(0.3, gate.release, (100,))
    helper.start()
    assert desk.sync(config=on(desk, watched, max_in_flight=3)).ok
    helper.join()
    assert 3 <= watched.most <= 4
    assert len(watched.futures) == TEXTS / 4


def test_max_embeds_holds(desk: Desk, watched: Watched) -> None:
    """Looking ahead computes no text more than is allowed."""
    result = desk.sync(config=on(desk, watched, max_embeds=18))
    assert (result.status, result.chunks.embedded) == ("partial", 18)
    assert embedded(desk).total() == 18
    assert desk.sync(config=on(desk, watched)).chunks.embedded == TEXTS - 18


def test_the_rate_is_counted_where_texts_are_sent(watched: Watched) -> None:
    """Each task is counted once, with its texts, before it is sent."""
    counted: list[int] = []
    embedder = make_embedder(
        HashEmbedding(), batch_size=4, throttle=counted.append, executor=watched
    )
    assert embedder.workers is not None
    embedder.workers.send([f"text {n}" for n in range(6)])
    embedder.embed([f"text {n}" for n in range(10)])
    assert sorted(counted) == sorted([4, 2, 2, 2])
    assert len(watched.futures) == 4


# -- Faults ----------------------------------------------------------------------------------------


def test_a_text_that_is_refused_fails_its_file_only(desk: Desk) -> None:
    """The error of a worker process is told under its own name; all other files are indexed."""
    desk.write("note06.txt", "a poisonous text\n")
    with processes("fork") as executor:
        result = desk.sync(config=on(desk, executor))
    assert [(f.path, f.stage, f.error) for f in result.failures] == [
        ("note06.txt", "embed", "Poisoned")
    ]
    assert result.files.added == TEXTS - 1
    assert max(embedded(desk).values()) == 1


class Stumbling(HashEmbedding):
    """The first call fails with what passes."""

    def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
        assert self.log is not None
        flag = self.log.with_name("stumbled")
        try:
            flag.touch(exist_ok=False)  # two workers begin at once
        except FileExistsError:
            return super().__call__(input)
        raise TimeoutError("timed out")


def test_a_fault_that_passes_is_ridden_out(desk: Desk) -> None:
    """A timeout in a worker costs one try more, and no text twice."""
    desk.embedding = Stumbling(log=desk.embedding.log)
    with processes("fork") as executor:
        result = desk.sync(config=on(desk, executor))
    assert (result.ok, result.store.embedding_retries) == (True, 1)
    assert max(embedded(desk).values()) == 1


@pytest.mark.parametrize("answer", ["too few", "nothing", "nan"])
def test_a_wrong_answer_is_none(watched: Watched, answer: str) -> None:
    """What a worker answers is checked here, too, whatever version of reposync it runs."""

    watched.spoil = {
        "too few": lambda vectors: vectors[1:],
        "nothing": lambda vectors: None,
        "nan": lambda vectors: vectors * np.nan,
    }[answer]
    with pytest.raises(EmbeddingError, match=r"answered"):
        make_embedder(HashEmbedding(), executor=watched).embed(["one", "two"])


def test_a_function_that_cannot_be_sent(desk: Desk) -> None:
    """A `ConfigError` with the way out, before anything is touched; threads need no pickle."""
    desk.embedding.before = threading.Lock().acquire
    with processes("fork") as executor, pytest.raises(ConfigError, match="ThreadPoolExecutor"):
        desk.sync(config=on(desk, executor))
    assert not desk.folder.exists()
    desk.embedding.before = threading.Semaphore(100).acquire
    with ThreadPoolExecutor(2) as threads:
        assert desk.sync(config=on(desk, threads)).ok


def test_a_function_with_its_model_in_it(desk: Desk) -> None:
    """What would send megabytes with each batch is refused."""
    desk.embedding.weights = bytes(2 << 20)  # type: ignore[attr-defined]
    with processes("fork") as executor, pytest.raises(ConfigError, match="2 MiB"):
        desk.sync(config=on(desk, executor))


def test_a_pool_that_is_broken_says_so_and_the_next_sync_goes_on(desk: Desk) -> None:
    """A killed worker breaks a process pool for good: a clear error at once, no file is blamed."""
    desk.embedding = Once(log=desk.embedding.log)
    config = desk.config.model_copy(update={"max_attempts": 8, "max_in_flight": 2})
    desk.config = config
    with processes("fork") as executor, pytest.raises(EmbeddingError, match="executor") as caught:
        desk.sync(config=on(desk, executor))
    assert caught.value.result is not None
    assert not caught.value.result.failures
    assert caught.value.result.store.embedding_retries <= 1
    written = caught.value.result.chunks.added
    with processes("fork") as executor:
        result = desk.sync(config=on(desk, executor))
    assert result.ok
    assert result.chunks.added == TEXTS - written
    desk.check()
    twice = [text for text, times in embedded(desk).items() if times > 1]
    assert len(twice) <= 2 * SMALL.batch_rows, "more than what the two workers had in hand"


def test_an_executor_that_was_shut_down(desk: Desk) -> None:
    """It takes nothing: an error with the way out, and nothing is written."""
    with ThreadPoolExecutor(1) as executor:
        pass
    with pytest.raises(EmbeddingError, match="shutdown"):
        desk.sync(config=on(desk, executor))
    assert embedded(desk).total() == 0


def test_an_executor_that_ends_in_the_search_for_a_bad_text(desk: Desk, watched: Watched) -> None:
    """It is the executor's fault then: no file is blamed that was merely beside the bad one."""
    desk.write("note00.txt", "a poisonous text\n")

    watched.lifetime = 3  # two batches, and the harmless text after the first one failed
    with pytest.raises(EmbeddingError, match="takes no more texts") as caught:
        desk.sync(config=on(desk, watched, max_in_flight=1))
    assert caught.value.result is not None
    assert not caught.value.result.failures


# -- The end ---------------------------------------------------------------------------------------


def test_the_deadline_ends_it_while_workers_are_busy(desk: Desk, watched: Watched) -> None:
    """It ends without waiting for batches not begun; nothing is under way; paid work is kept."""
    gate = threading.Semaphore(3)
    desk.embedding.before = lambda: gate.acquire(timeout=5)
    release = threading.Timer(2.0, gate.release, (100,))
    release.start()
    with pytest.raises(DeadlineExceeded):
        desk.sync(config=on(desk, watched, deadline=1.0))
    release.join()
    assert all(future.done() for future in watched.futures)
    done = embedded(desk).total()
    assert done < TEXTS
    assert desk.sync(config=on(desk, watched)).chunks.embedded == TEXTS - done


def test_ctrl_c_leaves_nothing_under_way(desk: Desk, watched: Watched) -> None:
    """An interrupt between two batches ends what is under way, and keeps what is done of it."""

    def interrupt(now: SyncProgress) -> None:
        if now.chunks_written >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.sync(config=on(desk, watched), progress=interrupt)
    assert all(future.done() for future in watched.futures)
    done = embedded(desk).total()
    assert desk.sync(config=on(desk, watched)).chunks.embedded == TEXTS - done
    assert max(embedded(desk).values()) == 1
    desk.check()


KILLED = """
import multiprocessing, os, signal, sys
from concurrent.futures import ProcessPoolExecutor
from support import HashEmbedding, SMALL
from reposync import sync_repository

def die(now):
    if now.chunks_written >= 8:
        print("pids", *executor._processes, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

executor = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
sync_repository(sys.argv[1], "repo", store=sys.argv[2], embedding_function=HashEmbedding(),
    config=SMALL.model_copy(update={"executor": executor}), progress=die)
"""


@pytest.mark.skipif(os.name == "nt", reason="no fork")
def test_workers_that_outlive_a_killed_sync_hold_no_lock(desk: Desk) -> None:
    """Forked while the locks were held, they do not keep them: the next sync begins at once."""
    child = start_python(KILLED, desk.root, desk.folder)
    assert child.stdout is not None
    pids = [int(pid) for pid in child.stdout.readline().split()[1:]]
    child.wait()
    try:
        assert len(pids) == 2
        result = desk.sync(config=desk.config.model_copy(update={"lock_timeout": 0.5}))
        assert result.ok
        assert result.resumed
        desk.check()
    finally:
        for pid in pids:
            with nullcontext() if _alive(pid) else pytest.raises(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.stdout.close()
        assert child.stderr is not None
        child.stderr.close()
        assert child.stdin is not None
        child.stdin.close()


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# -- Dask ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """One Dask cluster for all tests here, whose workers have a home of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        with dask() as executor:
            yield executor


def program(name: str) -> dict[str, Any]:
    """A program of docs/how-to/cluster.md, by the name in its first line."""
    text = (Path(__file__).parents[1] / "docs/how-to/cluster.md").read_text("utf-8")
    found = re.search(rf"```python\n# {re.escape(name)}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names


def address(cluster: Executor) -> str:
    """Where a Dask cluster's scheduler listens."""
    return str(cluster._client.scheduler.address)  # type: ignore[attr-defined]


def test_the_page_on_clusters_is_true(desk: Desk, cluster: Executor) -> None:
    """Its program for Dask brings a repository in step."""
    sync = program("dask_sync.py")["sync"]
    assert sync(address(cluster), desk.root, "repo", desk.folder, desk.embedding).ok
    desk.check()


def test_many_repositories_on_dask_and_one_server(
    tmp_path: Path, cluster: Executor, server: Server
) -> None:
    """Its program for many of them: each is synced by a worker; what fails is told by its own."""
    specs: list[dict[str, str]] = []
    for name in ("alpha", "beta"):
        desk = Desk(tmp_path / name, tmp_path / "nowhere")
        desk.write_many(2)
        specs.append({"path": str(desk.root), "name": name})
    specs.append({"path": str(tmp_path / "gone")})
    reports = program("many_on_dask.py")["sync_all"](
        address(cluster), specs, "127.0.0.1", server.port
    )
    assert [ManySyncs.model_validate(report).ok for report in reports] == [True, True, False]
    with server.client() as client:
        for name in ("alpha", "beta"):
            assert client.get_collection(name, embedding_function=None).count() == 2
            client.delete_collection(name)


def test_a_dask_worker_that_is_killed_is_made_good(desk: Desk, cluster: Executor) -> None:
    """SIGKILL in mid-sync: its batch is done by another worker, and nobody notices."""
    desk.embedding = Once(log=desk.embedding.log)
    result = desk.sync(config=on(desk, cluster))
    assert (result.ok, counts(result)) == (True, {"added": TEXTS})
    assert desk.embedding.log is not None
    assert desk.embedding.log.with_name("killed").exists()
    desk.check()
    assert desk.sync(config=on(desk, cluster)).chunks.embedded == 0


def test_dask_and_the_default_model(cluster: Executor) -> None:
    """The model is loaded once a worker, and gives the same bits as here."""
    texts = [f"def function_{n}():\n    return {n}\n" for n in range(9)]
    embedder: Embedder = make_embedder(None, executor=cluster)
    assert np.array_equal(embedder.embed(texts), make_embedder(None).embed(texts))


def test_a_function_that_a_notebook_defines(cluster: Executor) -> None:
    """With Dask comes cloudpickle: a function that no module holds can be sent."""
    embedder = make_embedder(lambda texts: [[float(len(t)), 1.0] for t in texts], executor=cluster)
    assert embedder.embed(["a", "abc"]).tolist() == [[1.0, 1.0], [3.0, 1.0]]


def test_a_text_that_kills_every_worker(desk: Desk, cluster: Executor) -> None:
    """After as many tries as are allowed it is a clear error; the cluster recovers."""

    def murder(texts: list[str]) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    began = time.monotonic()
    config = SyncConfig(executor=cluster, max_attempts=1)
    with pytest.raises(EmbeddingError, match="KilledWorker") as caught:
        desk.sync(config=config, embedding_function=murder)
    assert time.monotonic() - began < 100
    assert caught.value.result is not None
    assert not caught.value.result.failures
