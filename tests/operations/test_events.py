"""What a sync tells: to the log, to `SyncConfig.on_event`, and what it never tells."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from support import SMALL, Desk, HashEmbedding, python

from reposync import (
    ChromaLock,
    Chunk,
    DeletionRefused,
    EmbeddingError,
    SyncConfig,
    SyncError,
    SyncEvent,
    SyncInProgress,
    plan_repository,
    sync_history,
)
from reposync.events import EVENTS, LONG_WAIT_SECONDS, Events
from reposync.lock import repository_lock
from reposync.opened import lock_key
from reposync.request import make_request
from reposync.telemetry import STATUSES

DOCS = Path(__file__).parents[2] / "docs"
TOKEN = "ghp_" + "a1B2" * 9
STANDARD = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime"}


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[SyncEvent] = []

    def __call__(self, event: SyncEvent) -> None:
        self.events.append(event)

    @property
    def names(self) -> list[str]:
        """What happened, in order."""
        return [event.name for event in self.events]

    def fields(self, name: str) -> list[dict[str, Any]]:
        """The fields of the events of one name."""
        return [dict(event.fields) for event in self.events if event.name == name]

    @property
    def ended(self) -> dict[str, Any]:
        """How the only sync ended."""
        (ended,) = self.fields("sync.ended")
        return ended


@pytest.fixture
def heard() -> Heard:
    """A listener."""
    return Heard()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that reposync logs."""
    caplog.set_level(logging.DEBUG, logger="reposync")
    return caplog


@pytest.fixture
def desk(tmp_path: Path, heard: Heard) -> Desk:
    """A small repository whose syncs are heard."""
    desk = Desk(tmp_path / "repo", tmp_path / "store")
    desk.root.mkdir()
    desk.write_many(9)
    desk.config = SMALL.model_copy(update={"on_event": heard})
    return desk


def told(log: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The lines that are events."""
    return [record for record in log.records if record.name == "reposync.events"]


# -- a good run ------------------------------------------------------------------------------------


def test_a_good_run_is_a_story(desk: Desk, heard: Heard) -> None:
    """It begins, lists, writes batch by batch and ends, and the figures add up to the result."""
    result = desk.sync()
    story = [name for name in heard.names if name != "lock.released"]
    assert story[:2] == ["sync.started", "sync.scanned"]
    assert set(story[2:-1]) == {"batch.committed"}
    assert story[-1] == "sync.ended"
    batches = heard.fields("batch.committed")
    assert sum(batch["written"] for batch in batches) == result.chunks.added == 9
    assert sum(batch["embedded"] for batch in batches) == result.chunks.embedded == 9
    assert batches[-1]["batch"] == result.store.batches == heard.ended["batches"]
    assert len(heard.fields("lock.released")) == result.store.lock_acquisitions
    assert heard.ended["status"] == "complete"
    assert heard.ended["files_added"] == result.files.added
    assert {event.repository for event in heard.events} == {"repo"}
    assert {event.run_id for event in heard.events} == {result.run_id}
    run = sync_history("repo", store=desk.store).items[0]
    assert run.run_id == result.run_id
    times = [event.time for event in heard.events]
    assert times == sorted(times)


def test_a_good_run_is_two_lines_at_info(desk: Desk, log: pytest.LogCaptureFixture) -> None:
    """Nothing is at WARNING or above, also when files change, move and go, or nothing changes."""
    desk.settled()
    desk.write("note00.txt", "another text\n")
    (desk.root / "note01.txt").rename(desk.root / "moved.txt")
    (desk.root / "note02.txt").unlink()
    desk.sync()
    ours = [record for record in log.records if record.name.startswith("reposync")]
    assert max(record.levelno for record in ours) == logging.INFO
    lines = [record.event_name for record in told(log) if record.levelno == logging.INFO]  # type: ignore[attr-defined]
    assert lines == 3 * ["sync.started", "sync.ended"]


def test_the_log_and_the_listener_are_told_the_same(
    desk: Desk, heard: Heard, log: pytest.LogCaptureFixture
) -> None:
    """Each event is one line, with all of its fields in `extra`, under names that never clash."""
    desk.write("bad.txt", "poisonous\n")
    desk.sync()
    lines = told(log)
    assert len(lines) == len(heard.events)
    for record, event in zip(lines, heard.events, strict=True):
        extra = {key: value for key, value in vars(record).items() if key not in STANDARD}
        assert extra == {
            "event_name": event.name,
            "run_id": event.run_id,
            "repository": event.repository,
            **event.fields,
        }
        assert {**extra, "time": event.time} == event.as_dict()
        assert json.loads(json.dumps(event.as_dict())) == event.as_dict()
        assert "\n" not in record.getMessage()


def test_no_field_clashes_with_what_logging_has() -> None:
    """`logging` refuses extras of its own names, and formatters would mix up others."""
    fields = set().union(*(kind.fields for kind in EVENTS.values()))
    assert not fields & (STANDARD | {"event_name", "run_id", "repository", "time", "event"})


def test_the_page_lists_every_event() -> None:
    """docs/reference/events.md has the names, the levels and the fields that the code has."""
    page = (DOCS / "reference/events.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]*) \| [^|]* \| ([^|]*) \|$", page, re.MULTILINE)
    rows = [row for row in rows if not row[0].startswith("reposync.")]
    assert sorted(name for name, _, _ in rows) == sorted(EVENTS)
    for name, level, fields in rows:
        assert level.startswith(logging.getLevelName(EVENTS[name].level)), name
        assert set(re.findall(r"`(\w+)`", fields)) == EVENTS[name].fields, name


def test_the_page_on_monitoring_has_a_formatter_that_works(desk: Desk) -> None:
    """The JSON formatter of the how-to page gives one line of JSON an event."""
    page = (DOCS / "how-to/monitor.md").read_text("utf-8")
    (program,) = re.findall(r"```python\n(import json.*?)handler = ", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(names["Json"]())
    logger = logging.getLogger("reposync")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        result = desk.sync()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    first, last = map(json.loads, stream.getvalue().splitlines())
    assert (first["event_name"], last["event_name"]) == ("sync.started", "sync.ended")
    assert last["run_id"] == result.run_id
    assert last["files_added"] == 9


def test_a_program_without_logging_prints_nothing(desk: Desk) -> None:
    """What a sync says at WARNING or ERROR does not end up on the stderr of such a program."""
    desk.write("bad.txt", "poisonous\n")
    code = """
import sys
from support import SMALL, HashEmbedding
from reposync import sync_repository
result = sync_repository(sys.argv[1], store=sys.argv[2], embedding_function=HashEmbedding())
print(result.status)
"""
    done = python(code, desk.root, desk.folder)
    assert (done.stdout, done.stderr) == ("partial\n", "")


# -- the listener ----------------------------------------------------------------------------------


def test_an_event_cannot_be_changed(desk: Desk, heard: Heard) -> None:
    """What was told stands, for every listener."""
    desk.sync()
    event = heard.events[0]
    with pytest.raises(FrozenInstanceError):
        event.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        event.fields["path"] = "other"  # type: ignore[index]


def test_a_listener_that_fails_costs_nothing(
    desk: Desk, log: pytest.LogCaptureFixture, heard: Heard
) -> None:
    """The sync goes on to its end, and one line says what the listener raised."""

    def failing(event: SyncEvent) -> None:
        heard(event)
        raise RuntimeError("the queue is full")

    desk.config = SMALL.model_copy(update={"on_event": failing})
    result = desk.sync()
    assert result.ok
    desk.check()
    assert heard.names[-1] == "sync.ended"
    (line,) = [record for record in log.records if record.levelno >= logging.WARNING]
    assert line.event_name == "listener.failed"  # type: ignore[attr-defined]
    assert line.exc_info
    assert line.exc_info[0] is RuntimeError


def test_a_listener_can_end_a_sync_by_ctrl_c(desk: Desk) -> None:
    """What is no error gets through: a Ctrl-C in a listener is one of the sync's."""

    def pressed(event: SyncEvent) -> None:
        if event.name == "batch.committed":
            raise KeyboardInterrupt

    desk.config = SMALL.model_copy(update={"on_event": pressed})
    with pytest.raises(KeyboardInterrupt):
        desk.sync()
    assert desk.sync(config=SMALL).resumed


def test_a_listener_is_no_setting_that_decides(heard: Heard) -> None:
    """It is not in the JSON of a config, and does not make one that indexes otherwise."""
    config = SyncConfig(on_event=heard)
    assert config.on_event is heard
    assert "on_event" not in config.model_dump()
    assert config.fingerprint == SyncConfig().fingerprint
    SyncConfig.model_json_schema()


def test_a_plan_tells_nothing(desk: Desk, heard: Heard, log: pytest.LogCaptureFixture) -> None:
    """What syncs nothing has no events."""
    plan_repository(**desk.arguments())
    assert not heard.events
    assert not told(log)


# -- a run that is not so good ---------------------------------------------------------------------


def levels(log: pytest.LogCaptureFixture) -> dict[str, int]:
    """The level of the last line of each event."""
    return {record.event_name: record.levelno for record in told(log)}  # type: ignore[attr-defined]


def test_a_file_that_fails(desk: Desk, heard: Heard, log: pytest.LogCaptureFixture) -> None:
    """It is named, with the stage and the type of the error, and the run ends as partial."""
    desk.write("bad.txt", "poisonous\n")
    result = desk.sync()
    assert result.status == "partial"
    (failure,) = result.failures
    (failed,) = heard.fields("file.failed")
    assert failed == {"path": "bad.txt", "stage": "embed", "error": failure.error, "attempts": 1}
    assert heard.ended["status"] == "partial"
    assert levels(log)["file.failed"] == levels(log)["sync.ended"] == logging.WARNING


def test_a_run_that_an_error_ends(desk: Desk, heard: Heard, log: pytest.LogCaptureFixture) -> None:
    """It ends all the same, with the error's type, at ERROR."""
    desk.sync()
    for number in range(9):
        desk.write(f"note{number:02}.txt", f"poisonous {number}\n")
    heard.events.clear()
    function = HashEmbedding(poison="")  # everything is poisonous now
    with pytest.raises(EmbeddingError):
        desk.sync(embedding_function=function)
    assert heard.ended["status"] == "failed"
    assert heard.ended["error"] == "EmbeddingError"
    assert levels(log)["sync.ended"] == logging.ERROR


def test_a_run_that_is_refused(desk: Desk, heard: Heard) -> None:
    """A sync that was not allowed to write says so as its history does."""
    desk.write_many(30)
    desk.settled()
    for file in desk.root.iterdir():
        file.unlink()
    heard.events.clear()
    with pytest.raises(DeletionRefused):
        desk.sync()
    assert (heard.ended["status"], heard.ended["error"]) == ("refused", "DeletionRefused")
    assert sync_history("repo", store=desk.store).items[0].status == "refused"


def test_a_run_that_never_began(desk: Desk, heard: Heard) -> None:
    """Who waits for another sync in vain has told of a beginning, and tells of an end."""
    desk.sync()
    heard.events.clear()
    request = make_request(desk.root, "repo", desk.store, None, desk.embedding, desk.config)
    impatient = desk.config.model_copy(update={"lock_timeout": 0.0})
    with (
        repository_lock(desk.state, lock_key(request.key), 0),
        pytest.raises(SyncInProgress),
    ):
        desk.sync(config=impatient)
    assert heard.names == ["sync.started", "sync.ended"]
    assert (heard.ended["status"], heard.ended["error"]) == ("refused", "SyncInProgress")
    assert heard.ended["files_scanned"] == 0


def test_calls_that_are_tried_again(desk: Desk, heard: Heard) -> None:
    """Each try again is told, with what failed; it is no fault of the run."""
    errors: list[Exception] = [ConnectionError("refused"), TimeoutError("too slow")]

    def fail_twice() -> None:
        if errors:
            raise errors.pop(0)

    result = desk.sync(embedding_function=HashEmbedding(before=fail_twice))
    assert result.ok
    retried = heard.fields("call.retried")
    assert [(one["stage"], one["error"]) for one in retried] == [
        ("embed", "ConnectionError"),
        ("embed", "TimeoutError"),
    ]
    assert all(one["pause_seconds"] > 0 for one in retried)
    assert heard.ended["embedding_retries"] == 2


def test_local_state_that_is_damaged(desk: Desk, heard: Heard) -> None:
    """The rebuilding of the local state is told, and the run is one run."""
    desk.sync()
    desk.manifest.write_bytes(b"no database" * 1000)
    heard.events.clear()
    result = desk.sync()
    assert result.ok
    assert {event.run_id for event in heard.events} == {result.run_id}
    assert heard.fields("state.damaged") == [{"error": "DatabaseError"}]
    assert heard.ended["status"] == "complete"


def test_a_collection_that_is_gone(desk: Desk, heard: Heard) -> None:
    """A run that has to look at all files again says why."""
    desk.settled()
    desk.write("new.txt", "something new\n")
    heard.events.clear()
    store = desk.folder

    class Vandal(HashEmbedding):
        """Deletes the collection while a sync is about to write to it."""

        done = False

        def __call__(self, input: list[str]) -> Any:  # noqa: A002 - Chroma's name for it
            if not self.done:
                self.done = True
                import chromadb
                from chromadb.config import Settings

                with ChromaLock(store):
                    client = chromadb.PersistentClient(
                        str(store), Settings(anonymized_telemetry=False)
                    )
                    client.delete_collection("repo")
                    client.close()  # type: ignore[attr-defined]
            return super().__call__(input)

    assert desk.sync(embedding_function=Vandal()).ok
    assert [one["reason"] for one in heard.fields("sync.restarted")] == ["collection gone"]


def test_limits_are_told(desk: Desk, heard: Heard, log: pytest.LogCaptureFixture) -> None:
    """A setting that kept the run from doing all is named."""
    config = desk.config.model_copy(update={"max_embeds": 4})
    result = desk.sync(config=config)
    assert result.limits == ("max_embeds",)
    assert heard.fields("limit.reached") == [{"limit": "max_embeds", "value": 4}]
    assert heard.ended["limits"] == "max_embeds"
    assert levels(log)["limit.reached"] == logging.WARNING


def event(name: str, **fields: Any) -> SyncEvent:
    """An event by hand."""
    given = dict.fromkeys(EVENTS[name].fields, None) | fields
    return SyncEvent(name, 0.0, "run", "repo", MappingProxyType(given))


def test_a_long_wait_is_seen_at_info() -> None:
    """Holds of the lock are for debugging, unless the lock was long in coming."""
    seconds = {"hold_seconds": 9.0}
    short = event("lock.released", wait_seconds=LONG_WAIT_SECONDS / 2, **seconds)
    long = event("lock.released", wait_seconds=LONG_WAIT_SECONDS, **seconds)
    assert (short.level, long.level) == (logging.DEBUG, logging.INFO)


def test_every_ending_has_its_level() -> None:
    """Only endings that leave the index as it should be, or as was wished, are no warnings."""
    found = {status: event("sync.ended", status=status).level for status in STATUSES}
    assert found == {
        "complete": logging.INFO,
        "cancelled": logging.INFO,
        "partial": logging.WARNING,
        "failed": logging.ERROR,
        "interrupted": logging.ERROR,
        "refused": logging.ERROR,
    }


def test_one_line_whatever_the_names_are() -> None:
    """Names with blanks, quotes or line breaks in them are quoted."""
    line = str(event("file.failed", path='a "b"\nc=d', stage="scan", error="E", attempts=1))
    assert 'path="a \\"b\\"\\nc=d"' in line
    assert "\n" not in line


def test_fields_are_those_that_are_listed() -> None:
    """An event with a field too many, or too few, is a mistake of ours, found by any test."""
    with pytest.raises(AssertionError):
        Events().emit("index.mended", seconds=1.0, more=True)


# -- what is never told ----------------------------------------------------------------------------


def test_no_secrets_and_no_contents(
    desk: Desk, heard: Heard, log: pytest.LogCaptureFixture
) -> None:
    """Neither a file's text nor a token gets out, although errors quote both."""

    def loud(texts: list[str]) -> Any:
        if any("poisonous" in text for text in texts):
            raise ValueError(f"cannot embed {texts!r} with key {TOKEN}")
        return HashEmbedding()(texts)

    def chunker(path: str, text: str) -> Any:
        if "indivisible" in text:
            raise ValueError(f"cannot cut {text!r}")
        return [Chunk(text, 1, text.count("\n"))]

    desk.write("bad.txt", "a poisonous tale of CONFIDENTIAL matters\n")
    desk.write("hard.txt", "indivisible CONFIDENTIAL\n")
    desk.write("secret.py", f"token = '{TOKEN}'\n")
    config = desk.config.model_copy(
        update={"model_id": "loud", "chunker": chunker, "chunker_version": "1"}
    )
    result = desk.sync(embedding_function=loud, config=config)
    assert len(result.failures) == 2
    assert any("CONFIDENTIAL" in failure.message for failure in result.failures)
    down = HashEmbedding(before=lambda: (_ for _ in ()).throw(PermissionError(TOKEN)))
    desk.write("new.txt", "CONFIDENTIAL news\n")
    with pytest.raises(SyncError):
        desk.sync(embedding_function=lambda texts: down(texts), config=config)
    said = "\n".join(
        f"{record.getMessage()} {vars(record)!r} {logging.Formatter().format(record)}"
        for record in log.records
        if record.name.startswith("reposync")
    )
    said += repr([one.as_dict() for one in heard.events])
    assert "bad.txt" in said
    assert "CONFIDENTIAL" not in said
    assert TOKEN not in said
