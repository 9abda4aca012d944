"""Settings are checked at once; reports are frozen, count up, print well and travel as JSON."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from reposync import ConfigError, SyncConfig, SyncError, SyncPlan, SyncProgress, SyncResult
from reposync.records import Action, Chunk, Known, Seen
from reposync.result import (
    ChunkCounts,
    FileCounts,
    FileFailure,
    ModelInfo,
    PlannedAction,
    RedactedSecret,
    SkippedFile,
    SourceInfo,
    StageSeconds,
    StoreUse,
    count_files,
)

# -- settings ----------------------------------------------------------------------------------

INVALID: list[tuple[str, Any]] = [
    ("include", "*.py"),
    ("include", [1]),
    ("exclude", "*.py"),
    ("exclude", None),
    ("max_file_bytes", 0),
    ("max_file_bytes", -1),
    ("max_file_bytes", "many"),
    ("max_files", 0),
    ("max_total_bytes", -1),
    ("fetch_timeout", 0),
    ("follow_symlinks", "sometimes"),
    ("max_line_chars", 0),
    ("index_generated", "some"),
    ("secrets", "hide"),
    ("chunk_tokens", 31),
    ("chunk_tokens", 201),
    ("chunk_tokens", 100.5),
    ("batch_rows", 0),
    ("batch_rows", 5001),
    ("lock_timeout", -0.1),
    ("lock_timeout", float("nan")),
    ("max_attempts", 0),
    ("max_delete_fraction", -0.01),
    ("max_delete_fraction", 1.01),
    ("max_delete_fraction", float("nan")),
    ("model_id", 3),
    ("cache_vectors", "perhaps"),
    ("max_cache_bytes", -1),
    ("no_such_setting", 1),
]


@pytest.mark.parametrize(("name", "value"), INVALID, ids=lambda value: repr(value)[:20])
def test_an_impossible_setting_is_named(name: str, value: Any) -> None:
    """A setting that cannot be right is a `ConfigError`, a ValueError too, that names it."""
    with pytest.raises(ConfigError, match=rf"\b{name}\b") as caught:
        SyncConfig(**{name: value})
    assert isinstance(caught.value, ValueError)
    assert not isinstance(caught.value, ValidationError)
    assert "help(reposync.SyncConfig)" in str(caught.value)


def test_every_impossible_setting_is_named_at_once() -> None:
    """All mistakes stand in one message."""
    with pytest.raises(ConfigError, match=r"batch_rows: .*; max_attempts: "):
        SyncConfig(batch_rows=0, max_attempts=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"chunk_tokens": 32},
        {"chunk_tokens": 200},
        {"batch_rows": 1},
        {"batch_rows": 5000},
        {"lock_timeout": 0},
        {"max_attempts": 1},
        {"max_delete_fraction": 0},
        {"max_delete_fraction": 1},
        {"max_cache_bytes": 0},
        {"max_file_bytes": 1},
        {"max_files": 1, "max_total_bytes": 1},
        {"max_files": None, "max_total_bytes": None},
        {"submodules": True, "follow_symlinks": True},
        {"fetch_timeout": 0.1},
        {"include": ["*.py"], "exclude": ("*.pyc",)},
        {"model_id": "mine"},
    ],
    ids=str,
)
def test_the_borders_are_allowed(settings: dict[str, Any]) -> None:
    """The largest and smallest values that make sense are taken as they are."""
    config = SyncConfig(**settings)
    for name, value in settings.items():
        assert getattr(config, name) == (tuple(value) if isinstance(value, list) else value)


def test_the_defaults() -> None:
    """The defaults are promises, and each setting says in a sentence what it is for."""
    assert SyncConfig().model_dump() == {
        "include": (),
        "exclude": (),
        "max_file_bytes": 1024**2,
        "max_files": None,
        "max_total_bytes": None,
        "repository_settings": True,
        "submodules": False,
        "follow_symlinks": False,
        "fetch_timeout": 600.0,
        "max_line_chars": 20_000,
        "index_generated": False,
        "index_minified": False,
        "index_vendored": False,
        "index_lock_files": False,
        "secrets": "redact",
        "chunk_tokens": 200,
        "chunker_version": "",
        "batch_rows": 128,
        "max_lock_hold": 0.25,
        "lock_timeout": 30.0,
        "max_attempts": 8,
        "request_timeout": 30.0,
        "deadline": None,
        "max_embeds": None,
        "rate_limit": None,
        "rate_limit_by": "texts",
        "max_delete_fraction": 0.5,
        "model_id": None,
        "cache_vectors": True,
        "max_cache_bytes": 2 * 1024**3,
        "max_in_flight": 8,
    }


def test_a_config_is_a_value() -> None:
    """It cannot be changed, equals another one of the same settings, and travels as JSON."""
    config = SyncConfig(include=("*.py",), lock_timeout=1.5, model_id="m")
    with pytest.raises(ValidationError, match="frozen"):
        config.batch_rows = 1  # type: ignore[misc]
    again = SyncConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert hash(again) == hash(config)
    assert SyncConfig() != config


# -- results -----------------------------------------------------------------------------------

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
FAILURE = FileFailure(
    path="src/bad.py", stage="embed", error="RuntimeError", message="no answer", attempts=2
)


def make_result(**other: Any) -> SyncResult:
    """A result in which every field says something."""
    fields: dict[str, Any] = {
        "repository": "repo",
        "path": "/src/repo",
        "collection": "repo-col",
        "run_id": "abc",
        "status": "partial",
        "started_at": WHEN,
        "finished_at": WHEN.replace(minute=5),
        "duration_seconds": 60.004,
        "resumed": True,
        "files": FileCounts(
            scanned=21, added=1, updated=2, renamed=3, deleted=4, unchanged=5, skipped=6, failed=4
        ),
        "chunks": ChunkCounts(total=100, added=50, deleted=10, reused=20, embedded=30),
        "failures": (FAILURE,),
        "skipped": (SkippedFile(path="a.bin", reason="binary"),),
        "encodings": {"old.c": "cp1252"},
        "redactions": (RedactedSecret(path="a.py", line=3, kind="github_token"),),
        "stages": StageSeconds(scan=0.1, plan=0.2, chunk=0.3, embed=0.4, commit=0.5),
        "store": StoreUse(
            batches=2,
            retries=1,
            lock_acquisitions=3,
            longest_wait_seconds=0.5,
            longest_hold_seconds=0.25,
        ),
        "model": ModelInfo(name="m", dimension=384, fingerprint="f"),
        "source": SourceInfo(commit="c0ffee", branch="main", dirty=False, ref="v1"),
        **other,
    }
    return SyncResult(**fields)


PLAN = SyncPlan(
    repository="repo",
    path="/src/repo",
    collection="repo-col",
    files=FileCounts(scanned=2, added=1, renamed=1, deleted=1),
    actions=(
        PlannedAction(path="new.py", action="add", reason="new file"),
        PlannedAction(path="b.py", action="rename", reason="same content", old_path="a.py"),
        PlannedAction(path="c.bin", action="skip", reason="binary"),
        PlannedAction(path="old.py", action="delete", reason="no longer in the repository"),
    ),
    refused="it would delete 1 of 1 indexed files",
)


@pytest.mark.parametrize(
    "report",
    [
        make_result(),
        make_result(source=None, model=ModelInfo(name="m", dimension=None, fingerprint="f")),
        make_result(source=SourceInfo(commit=None, branch=None, dirty=None)),
        PLAN,
    ],
    ids=["all", "no git", "no commit", "plan"],
)
def test_a_report_survives_a_job_queue(report: BaseModel) -> None:
    """What is written as JSON is read back equal, fields and types."""
    text = report.model_dump_json()
    again = type(report).model_validate_json(text)
    assert again == report
    assert again.model_dump_json() == text


@pytest.mark.parametrize("report", [make_result(), make_result().files, PLAN], ids=type)
def test_a_report_cannot_be_changed(report: BaseModel) -> None:
    """What was reported stands."""
    for name in type(report).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(report, name, None)


@pytest.mark.parametrize(
    "change",
    [{"status": "fine"}, {"skipped": ({"path": "a", "reason": "dull"},)}, {"model": None}],
    ids=str,
)
def test_a_report_is_of_closed_sets(change: dict[str, Any]) -> None:
    """Status and reasons are from closed sets, so that a program can rely on them."""
    with pytest.raises(ValidationError):
        make_result(**change)


def test_counts_add_up() -> None:
    """`scanned` is the sum of all but `deleted`."""
    kinds = ["added", "added", "updated", "renamed", "unchanged", "skipped", "failed", "failed"]
    counts = count_files(kinds, deleted=7)
    assert counts == FileCounts(
        scanned=8, added=2, updated=1, renamed=1, deleted=7, unchanged=1, skipped=1, failed=2
    )
    assert count_files([], 0) == FileCounts()


@pytest.mark.parametrize(
    ("status", "ok"), [("complete", True), ("partial", False), ("cancelled", False)]
)
def test_ok_means_complete(status: str, ok: bool) -> None:
    """Only a complete sync is ok and raises nothing."""
    result = make_result(status=status, failures=())
    assert result.ok is ok
    if ok:
        result.raise_for_failures()
        return
    with pytest.raises(SyncError, match=f"repo: the sync ended {status}. Call") as caught:
        result.raise_for_failures()
    assert caught.value.result is result


def failures(count: int) -> tuple[FileFailure, ...]:
    """So many failures."""
    return tuple(FAILURE.model_copy(update={"path": f"f{number}"}) for number in range(count))


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "with 1 failed files: f0: no answer. Call"),
        (3, "f0: no answer; f1: no answer; f2: no answer. Call"),
        (5, "with 5 failed files: f0: no answer; f1: no answer; f2: no answer; and 2 more. Call"),
    ],
)
def test_raising_names_the_first_files(count: int, said: str) -> None:
    """The error names up to three files, says how many more, and carries the result."""
    result = make_result(failures=failures(count))
    with pytest.raises(SyncError) as caught:
        result.raise_for_failures()
    assert said in str(caught.value)
    assert caught.value.result is result


# -- printing ----------------------------------------------------------------------------------


def test_how_a_result_prints() -> None:
    """A short report for people, with every failed file."""
    assert str(make_result()) == (
        "repo: partial in 1 min 00 s (took up an interrupted run)\n"
        "  collection  repo-col, 100 chunks\n"
        "  files       1 added, 2 updated, 3 renamed, 4 deleted, 5 unchanged, 6 skipped, 4 failed\n"
        "  chunks      50 added, 10 deleted, 30 embedded, 20 from the cache\n"
        "  text        1 file in cp1252; 1 secret found in 1 file and not indexed\n"
        "  failed      src/bad.py: embed: no answer"
    )


def test_how_a_small_result_prints() -> None:
    """One chunk is one chunk, and what did not happen is not said."""
    result = make_result(
        status="complete",
        resumed=False,
        duration_seconds=0.5,
        files=FileCounts(scanned=1, added=1),
        chunks=ChunkCounts(total=1, added=1, embedded=1),
        failures=(),
        encodings={},
        redactions=(),
    )
    assert str(result) == (
        "repo: complete in 0.50 s\n"
        "  collection  repo-col, 1 chunk\n"
        "  files       1 added\n"
        "  chunks      1 added, 1 embedded"
    )


def test_a_result_with_many_failures_stays_short() -> None:
    """Ten failures are shown, and how many more there are."""
    lines = str(make_result(failures=failures(12))).splitlines()
    assert len(lines) == 5 + 10 + 1
    assert lines[-1] == "  ...         and 2 more, see .failures"
    assert "more" not in str(make_result(failures=failures(10)))


def test_how_a_plan_prints() -> None:
    """What would be done, one line a file, and whether it would be refused."""
    assert str(PLAN) == (
        "repo: 3 files to do, nothing written\n"
        "  add     new.py (new file)\n"
        "  rename  a.py -> b.py (same content)\n"
        "  delete  old.py (no longer in the repository)\n"
        "  would be refused: it would delete 1 of 1 indexed files"
    )


def test_a_long_plan_stays_short() -> None:
    """Fifty actions are shown, and how many more there are."""
    actions = tuple(
        PlannedAction(path=f"{number}.py", action="add", reason="new file") for number in range(52)
    )
    lines = str(PLAN.model_copy(update={"actions": actions, "refused": None})).splitlines()
    assert len(lines) == 1 + 50 + 1
    assert lines[-1] == "  ... and 2 more, see .actions"


@pytest.mark.parametrize(
    ("kind", "empty"),
    [("skip", True), ("fail", True), ("add", False), ("update", False), ("delete", False)],
)
def test_an_empty_plan_changes_nothing(kind: str, empty: bool) -> None:
    """A plan is empty if nothing of it would be written."""
    action = PlannedAction(path="a", action=kind, reason="why")  # type: ignore[arg-type]
    assert PLAN.model_copy(update={"actions": (action,)}).empty is empty
    assert PLAN.model_copy(update={"actions": ()}).empty


# -- plain values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        SyncProgress("scan", 1, 2, 3, 4),
        Seen("a"),
        Known("a"),
        Action("add", "a", "new file"),
        Chunk("text", 1, 1),
    ],
    ids=type,
)
def test_plain_values_cannot_be_changed(value: object) -> None:
    """What flows through a sync can be handed to another thread."""
    for name in type(value).__slots__:  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            setattr(value, name, None)


def test_texts_do_not_fill_a_log() -> None:
    """A file's text is no part of how it prints."""
    seen = Seen("a", content_hash="h", text="secret" * 1000)
    assert "secret" not in repr(Action("add", "a", "new file", seen=seen)) + repr(seen)
