"""What a sync tells of itself while it runs, and what it leaves behind."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support import HashEmbedding

from reposync import ConfigError, SyncProgress, plan_repository, sync_repository
from reposync.progress import reporter


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with two small files."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "one.md").write_text("# One\n\nA first paragraph.\n")
    (root / "two.py").write_text("def two():\n    return 2\n")
    return root


def test_the_bar_shows_the_work_and_leaves_no_thread(
    tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A progress bar is drawn on standard error, and no thread of it outlives the call."""
    before = set(threading.enumerate())
    sync_repository(
        tree, "repo", store=tmp_path / "store", embedding_function=HashEmbedding(), progress=True
    )
    out, err = capfd.readouterr()
    assert "2/2" in err
    assert out == ""
    assert set(threading.enumerate()) == before


def test_silence_is_silent(tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without progress, a sync writes nothing to the terminal."""
    sync_repository(tree, "repo", store=tmp_path / "store", embedding_function=HashEmbedding())
    assert capfd.readouterr() == ("", "")


def test_progress_that_cannot_be() -> None:
    """Anything but a bool or a callable is a caller's mistake."""
    with pytest.raises(ConfigError, match="progress"), reporter("yes"):  # type: ignore[arg-type]
        pass


def test_a_callable_is_handed_the_values() -> None:
    """A callable gets each value as it is."""
    seen: list[SyncProgress] = []
    value = SyncProgress("scan", 1, 2, 3, 4)
    with reporter(seen.append) as report:
        report(value)
    assert seen == [value]


def test_the_dimension_is_known_from_the_first_vector_on(tree: Path, tmp_path: Path) -> None:
    """The result tells the dimension of a function that does not say it, also if nothing is new."""
    store, function = tmp_path / "store", HashEmbedding()
    first = sync_repository(tree, "repo", store=store, embedding_function=function)
    second = sync_repository(tree, "repo", store=store, embedding_function=HashEmbedding())
    assert first.model.dimension == len(function(["text"])[0])
    assert second.model == first.model


def test_a_full_sync_is_planned_as_one(tree: Path, tmp_path: Path) -> None:
    """With ``full`` the plan lists every indexed file, with the reason."""
    store, function = tmp_path / "store", HashEmbedding()
    sync_repository(tree, "repo", store=store, embedding_function=function)
    plan = plan_repository(tree, "repo", store=store, embedding_function=function, full=True)
    assert [(action.path, action.action) for action in plan.actions] == [
        ("one.md", "update"),
        ("two.py", "update"),
    ]
    assert {action.reason for action in plan.actions} == {"everything is to be written again"}
