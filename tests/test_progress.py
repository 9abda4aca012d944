"""What a sync tells of itself while it runs, and what it leaves behind."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from support import HashEmbedding

from reposync import ConfigError, SyncProgress, plan_repository, sync_repository
from reposync.faces import Lines, Scene, Terminal
from reposync.progress import Drawn, reporter


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with two small files."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "one.md").write_text("# One\n\nA first paragraph.\n")
    (root / "two.py").write_text("def two():\n    return 2\n")
    return root


def test_a_log_gets_a_line_and_no_thread(
    tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal a short sync writes one line, at its end, and leaves no thread."""
    before = set(threading.enumerate())
    sync_repository(
        tree, "repo", store=tmp_path / "store", embedding_function=HashEmbedding(), progress=True
    )
    out, err = capfd.readouterr()
    assert re.fullmatch(
        r"reposync: repo: complete, 2/2 files, in \d+ s, 2 chunks, 2 embedded\n", err
    )
    assert out == ""
    assert set(threading.enumerate()) == before


SYNC = """
import sys
from support import HashEmbedding
from reposync import SyncConfig, sync_repository

class Function(HashEmbedding):
    def __call__(self, input):
        if len(self.calls) >= int(sys.argv[3]):
            raise {error}
        return super().__call__(input)

sync_repository(
    sys.argv[1], "repo", store=sys.argv[2], embedding_function=Function(), progress=True,
    config=SyncConfig(batch_rows=1, max_attempts=1),
)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pseudo-terminals")
@pytest.mark.parametrize(
    ("error", "calls", "state"),
    [
        ("KeyboardInterrupt", 99, "complete"),
        ("KeyboardInterrupt", 1, "interrupted"),
        ("ValueError('no such model')", 1, "failed"),
    ],
)
def test_a_bar_on_a_terminal(
    tree: Path, tmp_path: Path, error: str, calls: int, state: str
) -> None:
    """One line is drawn over and over, fits the terminal, and ends as the sync ended."""
    import pty

    ours, theirs = pty.openpty()
    code = SYNC.replace("{error}", error)
    arguments = [sys.executable, "-c", code, str(tree), str(tmp_path / "store"), str(calls)]
    environ = {**os.environ, "COLUMNS": "60", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(arguments, stderr=theirs, env=environ) as child:
        os.close(theirs)
        data = b""
        with suppress(OSError):  # Linux says so at the end
            while chunk := os.read(ours, 4096):
                data += chunk
    os.close(ours)
    assert (child.returncode == 0) is (state == "complete")
    lines = data.decode().split("\n")
    drawn = [line for line in lines[0].split("\r") if line]
    assert drawn[0].startswith("starting")
    assert drawn[-1].startswith(state)
    assert "/2 files" in drawn[-1]
    assert max(map(len, drawn)) < 60
    assert ("100%" in drawn[-1]) is (state == "complete")
    assert (lines[1:] == [""]) is (state == "complete"), "a traceback begins on its own line"


def test_a_plain_terminal_gets_a_plain_bar() -> None:
    """Where block characters cannot be written, others draw the bar; a closed one ends nothing."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    scene = Scene("repo", "embed", SyncProgress("embed", 1, 2, 3, 4, 6), 0.5, 1.0)
    Terminal(stream).draw(scene)
    stream.flush()
    assert b"########--------" in raw.getvalue()
    stream.close()
    Terminal(stream).draw(scene)


def test_a_long_sync_tells_a_log_of_itself_now_and_then() -> None:
    """A line every ten seconds, not one for each batch."""
    stream = io.StringIO()
    lines = Lines(stream)
    scene = Scene("repo", "embed", SyncProgress("embed", 1, 2, 3, 4, 6, 2.0, 75.0), 0.5, 1.0)
    for _ in range(100):
        lines.draw(scene)
    lines.last -= 10.5
    for _ in range(100):
        lines.draw(scene)
    assert stream.getvalue() == (
        "reposync: repo: embed, 1/2 files, 1 min 15 s left, 3 chunks, 2/s, 4 embedded\n"
    )


def test_the_bar_never_falls() -> None:
    """That more is to be done than was thought moves no bar back."""
    seen: list[Scene] = []

    class Drawing:
        def draw(self, scene: Scene) -> None:
            seen.append(scene)

    drawn = Drawn(Drawing(), "repo")
    for stage, total in (("chunk", 100), ("embed", 50), ("commit", 400)):
        drawn.beat(SyncProgress(stage, 0, 9, 40, 40, total))  # type: ignore[arg-type]
    assert [scene.fraction for scene in seen] == [0.0, 0.4, 0.8, 0.8]


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
