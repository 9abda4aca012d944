"""docs/how-to/job-queue.md, run as it stands: real Redis, real RQ workers, real SIGKILL."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis_server import running
from support import Desk, HashEmbedding

from reposync import SyncConfig, SyncResult
from reposync.vectors import _HARMLESS

PAGE = Path(__file__).parents[1] / "docs/how-to/job-queue.md"
BATCH = 4
SETTINGS = """
import os, time
from pathlib import Path
from support import HashEmbedding

REDIS, STORE = {redis!r}, {store!r}
CONFIG = {{"batch_rows": 4, "chunk_tokens": 32, "max_attempts": 1}}
HERE = Path(__file__).parent

def before():
    (HERE / "pid").write_text(str(os.getpid()))
    time.sleep(0.05)

def embedding_function():
    return HashEmbedding(log=HERE / "embedded", before=before)
"""


def files_of(page: Path) -> dict[str, str]:
    """The programs of a page by their names, which their first lines say."""
    programs = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    return dict(programs)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A real Redis."""
    with running() as port:
        yield port


class Office:
    """The folder with the page's programs, a repository, and the workers that were started."""

    def __init__(self, folder: Path, desk: Desk, url: str) -> None:
        self.folder = folder
        self.desk = desk
        self.url = url
        self.workers: list[subprocess.Popen[bytes]] = []
        folder.mkdir()
        for name, text in files_of(PAGE).items():
            (folder / name).write_text(text)
        settings = SETTINGS.format(redis=url, store=str(desk.folder))
        (folder / "settings.py").write_text(settings)

    @property
    def web(self) -> Any:
        """The page's web side."""
        return import_module("web")

    def rq(self, *arguments: str) -> list[str]:
        """A command of RQ's own tool."""
        tool = [sys.executable, "-c", "from rq.cli import main; main()"]
        return [*tool, *arguments, "--url", self.url]

    def work(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker as the page says; `--burst` ends it when the queue is empty."""
        here = Path(__file__).parent
        paths = [str(self.folder), str(here), str(here.parent)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        with (self.folder / "log").open("ab") as log:
            worker = subprocess.Popen(
                self.rq("worker", "repositories", *options),
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def finish(self) -> None:
        """Have one worker do all there is to do."""
        assert self.work("--burst").wait(60) == 0, (self.folder / "log").read_text()

    def horse(self) -> int:
        """Wait until some batches are written; the process that runs the job."""
        self.until(lambda: self.web.progress("repo")["chunks_done"] >= 3 * BATCH)
        return int((self.folder / "pid").read_text())

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        patience = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < patience, (self.folder / "log").read_text()
            time.sleep(0.02)

    @property
    def embedded(self) -> Counter[str]:
        """How often each text was embedded, but for that which only asks if the function lives."""
        counts = Counter((self.folder / "embedded").read_text().split())
        del counts[hashlib.sha256(_HARMLESS.encode()).hexdigest()]
        return counts

    def stop(self) -> None:
        """End what was started."""
        for worker in self.workers:
            worker.kill()
            worker.wait()


@pytest.fixture
def office(
    tmp_path: Path, own_home: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Office]:
    """The page's programs beside a repository of 60 files; an empty queue; no worker yet."""
    desk = Desk(tmp_path / "tree", tmp_path / "store", embedding=HashEmbedding())
    desk.write_many(60)
    with Redis(port=port) as redis:
        redis.flushall()
    office = Office(tmp_path / "office", desk, f"redis://127.0.0.1:{port}")
    monkeypatch.syspath_prepend(office.folder)
    try:
        yield office
    finally:
        office.stop()
        office.web.redis.close()
        for name in ("settings", "web"):  # the next test has its own
            del sys.modules[name]


def test_a_job_is_done_and_watched(office: Office) -> None:
    """The web side sees it under way, then its whole result; the page's settings are good."""
    job = office.web.start(str(office.desk.root), "repo")
    assert office.web.outcome(job) == ("queued", None)
    office.work()
    office.until(lambda: office.web.progress("repo")["running"])
    office.until(lambda: office.web.outcome(job)[0] == "finished")
    _, result = office.web.outcome(job)
    assert isinstance(result, SyncResult)
    assert (result.ok, result.files.added) == (True, 60)
    assert office.web.progress("repo")["ended"] == "complete"
    office.desk.check()
    names: dict[str, Any] = {}
    exec(files_of(PAGE)["settings.py"], names)
    assert SyncConfig(**names["CONFIG"]).deadline
    assert names["embedding_function"]() is None


def check_resumed(office: Office, job: str) -> None:
    """The job was done by another process, which took up what the killed one had done."""
    status, result = office.web.outcome(job)
    assert status == "finished"
    assert result.ok
    assert result.resumed
    assert result.chunks.added <= 60 - 2 * BATCH
    office.desk.check()
    twice = [text for text, times in office.embedded.items() if times > 1]
    assert len(twice) <= BATCH, "more than the batch in flight was embedded again"


def test_a_killed_process_is_followed_by_another(office: Office) -> None:
    """SIGKILL to the process that runs the job: the job is tried again and goes on."""
    job = office.web.start(str(office.desk.root), "repo")
    worker = office.work("--burst")
    os.kill(office.horse(), signal.SIGKILL)
    assert worker.wait(60) == 0
    check_resumed(office, job)


def test_a_killed_worker_is_followed_by_another(office: Office) -> None:
    """SIGKILL to all of a worker: RQ's upkeep queues the job again, another worker goes on."""
    job = office.web.start(str(office.desk.root), "repo")
    worker = office.work()
    horse = office.horse()
    worker.kill()
    os.kill(horse, signal.SIGKILL)
    worker.wait()
    started = office.web.queue.started_job_registry
    assert started.get_job_ids(cleanup=False) == [job]
    # What a worker's upkeep does; RQ gives a silent job about 90 seconds.
    started.cleanup(timestamp=time.time() + 3600)
    office.finish()
    check_resumed(office, job)


def test_a_poisoned_job_ends_among_the_failed(office: Office) -> None:
    """Its result is with it and names the file; mended and queued again it ends well."""
    office.desk.write("note07.txt", "a poisonous text\n")
    job = office.web.start(str(office.desk.root), "repo")
    office.finish()
    assert office.web.queue.failed_job_registry.get_job_ids() == [job]
    status, result = office.web.outcome(job)
    assert (status, result.status) == ("failed", "partial")
    assert [failure.path for failure in result.failures] == ["note07.txt"]
    assert max(office.embedded.values()) == 1
    tool = {"check": True, "capture_output": True, "text": True, "cwd": office.folder}
    shown = subprocess.run(office.rq("info", "--only-queues", "--raw"), **tool).stdout
    assert "repositories" in shown
    office.desk.write("note07.txt", "a harmless text\n")
    subprocess.run(office.rq("requeue", "--queue", "repositories", "--all"), **tool)
    office.finish()
    status, result = office.web.outcome(job)
    assert (status, result.ok, result.chunks.added) == ("finished", True, 1)
    assert not office.web.queue.failed_job_registry.get_job_ids()


def test_a_mistake_is_not_tried_again(office: Office) -> None:
    """A folder that is not there fails once, and no try is spent on it."""
    job = office.web.start(str(office.desk.root / "nowhere"), "repo")
    office.finish()
    assert office.web.outcome(job)[0] == "failed"
    assert (office.folder / "log").read_text().count("repositories: tasks.sync(") == 1
