"""Every kind of report on one page, to be looked at: ``python -m tests.gallery OUT.html``.

With ``--notebook OUT.ipynb`` it writes a notebook of the same, for JupyterLab or nbconvert. The
samples are what the tests of displays look at, too.
"""

from __future__ import annotations

import argparse
import html
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from reposync import (
    ChunkEntry,
    CurrentReport,
    Explanation,
    FileEntry,
    Finding,
    HealthCheck,
    HealthReport,
    Hit,
    Page,
    PruneReport,
    RepairReport,
    RepairStep,
    RepositoryEntry,
    RepositoryStatus,
    RunEntry,
    RunProgress,
    SearchResult,
    SyncPlan,
    SyncResult,
    VerifyReport,
)
from reposync.operations.backup import BackupReport
from reposync.report import Report
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
)

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202egnp.exe\x1b[31mred\x00\ud800"
    "</style></details></div>"
)
"""What a repository's paths, messages and texts may hold."""

BEGAN = datetime(2026, 11, 20, 14, 3, 7, tzinfo=timezone.utc)
MODEL = ModelInfo(name="all-MiniLM-L6-v2", dimension=384, fingerprint="onnx:minilm:1")
CODE = '''\
    @contextmanager
    def hold(self, timeout: float | None = None) -> Iterator[Client]:
        """Wait for the lock, and hold it; others may write again when it is let go."""
        began = time.monotonic()
        with self._queue.turn(timeout or 30.5):  # first come, first served
            if self._freshness.is_stale(f"{self.path}/chroma.sqlite3"):
                self._refresh()
            yield self._client
'''
LONG = "y" * 999
PROSE = "## Sharing a store\n\nTake the *lock* for each batch, never for a whole sync.\n"


def sync_result(**changes: Any) -> SyncResult:
    """A sync that went as most of them go."""
    values: dict[str, Any] = {
        "repository": "my-repo",
        "path": "/home/ada/src/my-repo",
        "collection": "my-repo",
        "run_id": "0191c3f2a7d84c",
        "status": "complete",
        "started_at": BEGAN,
        "finished_at": BEGAN + timedelta(seconds=73),
        "duration_seconds": 73.21,
        "files": FileCounts(scanned=1260, added=1204, updated=12, unchanged=31, skipped=13),
        "chunks": ChunkCounts(total=8412, added=8400, embedded=8391, reused=9),
        "skipped": (
            *(SkippedFile(path=f"assets/icon-{n:02}.png", reason="binary") for n in range(11)),
            SkippedFile(path="package-lock.json", reason="lock_file"),
            SkippedFile(path="dist/app.min.js", reason="minified"),
        ),
        "stages": StageSeconds(scan=2.4, plan=0.2, chunk=9.1, embed=48.7, commit=12.5),
        "store": StoreUse(batches=66, lock_acquisitions=67, longest_hold_seconds=0.21),
        "model": MODEL,
        "source": SourceInfo(commit="4f07bd2" + "0" * 33, branch="main", dirty=True),
        "config": "c1",
    }
    return SyncResult(**(values | changes))


def failures(count: int, message: str = "the embedding service did not answer") -> Any:
    """Failed files."""
    return tuple(
        FileFailure(
            path=f"src/module_{n // 50}/part_{n}.py",
            stage="embed",
            error="EmbeddingError",
            message=message,
            attempts=3,
        )
        for n in range(count)
    )


def run(number: int = 0, **changes: Any) -> RunEntry:
    """A run that is looked back at."""
    values: dict[str, Any] = {
        "run_id": f"run-{number}",
        "repository": "my-repo",
        "collection": "my-repo",
        "path": "/home/ada/src/my-repo",
        "status": "complete",
        "started_at": BEGAN + timedelta(hours=number),
        "finished_at": BEGAN + timedelta(hours=number, seconds=4),
        "duration_seconds": 4.2,
        "files": FileCounts(scanned=1260, added=1, updated=number % 7, unchanged=1250),
        "chunks": ChunkCounts(total=8412 + number, added=20, embedded=17, reused=3),
        "commit": "4f07bd2" + "0" * 33,
        "branch": "main",
    }
    return RunEntry(**(values | changes))


def hit(number: int = 0, **changes: Any) -> Hit:
    """A chunk that was found."""
    values: dict[str, Any] = {
        "repository": "my-repo",
        "path": "reposync/lock/chroma.py",
        "start_line": 120 + number,
        "end_line": 127 + number,
        "symbol": "ChromaLock.hold",
        "kind": "method",
        "language": "python",
        "score": 0.93 - number / 10,
        "text": CODE,
        "id": f"id{number}",
    }
    return Hit(**(values | changes))


def samples() -> Mapping[str, Report]:
    """One of each kind, and those that are hard to show."""
    broken = run(3, status="failed", duration_seconds=2.0, error="StoreUnavailable: disk full")
    finding = Finding(kind="vector", path="src/a.py", id="8c1f", detail="differs by 0.31")
    verify = VerifyReport(
        repository="my-repo",
        collection="my-repo",
        level="vectors",
        files=1260,
        rows=8412,
        vectors=8412,
        computed=64,
        duration_seconds=12.0,
    )
    amiss = verify.model_copy(
        update={
            "findings": (
                finding,
                Finding(kind="missing", path="src/new.py", detail="it is not indexed"),
                Finding(kind="index", detail="Error finding id"),
            )
        }
    )
    progress = RunProgress(
        repository="my-repo",
        collection="my-repo",
        running=True,
        holder="process 4711 on ada",
        run_id="r",
        started_at=BEGAN,
        stage="embed",
        files_done=512,
        files_total=1260,
        chunks_done=3400,
        chunks_total=8400,
        texts_embedded=3391,
        chunks_per_second=92.5,
        remaining_seconds=54.0,
        elapsed_seconds=37.0,
        heartbeat_age_seconds=0.3,
    )
    actions = (
        *(
            PlannedAction(path=f"src/part_{n}.py", action="update", reason="content changed")
            for n in range(7)
        ),
        PlannedAction(path="b.py", action="rename", reason="same content", old_path="a.py"),
        PlannedAction(path="old.py", action="delete", reason="no longer in the repository"),
        PlannedAction(path="logo.png", action="skip", reason="binary"),
    )
    plan = SyncPlan(
        repository="my-repo",
        path="/home/ada/src/my-repo",
        collection="my-repo",
        files=FileCounts(scanned=9, updated=7, renamed=1, deleted=1, skipped=1),
        actions=actions,
        embeds=31,
    )
    files = (
        FileEntry(path="src/a.py", state="indexed", chunks=12, size=18_221, encoding="utf-8"),
        FileEntry(path="логотип.png", state="skipped", chunks=0, size=981, skip="binary"),
        FileEntry(path="src/b.py", state="unfinished", chunks=2, redo="content changed"),
    )
    status = RepositoryStatus(
        repository="my-repo",
        state="synced",
        store="/home/ada/chroma",
        collection="my-repo",
        path="/home/ada/src/my-repo",
        files=1260,
        chunks=8412,
        last_good=run(),
        last_run=run(),
    )
    health = HealthReport(
        store="/home/ada/chroma",
        level="ready",
        checked_at=BEGAN,
        duration_seconds=0.42,
        checks=(
            HealthCheck(
                name="store", message="/home/ada/chroma, 41.2 MB", figures={"bytes": 41_200_000}
            ),
            HealthCheck(
                name="space",
                status="warn",
                message="1.2 GB free, and the store has 41.2 MB",
                figures={"free_bytes": 1_200_000_000, "needed_bytes": 82_000_000},
                advice="Make room: below 200.0 MB nothing is written.",
            ),
            HealthCheck(
                name="index",
                status="fail",
                message="my-repo: Error finding id",
                advice="Call repair_repository('my-repo').",
            ),
        ),
    )
    steps = (
        RepairStep(finding=finding, remedy="vector", detail="its vector is written again"),
        RepairStep(
            finding=amiss.findings[1],
            remedy="none",
            detail="nothing: pass path=, to bring it in step from the files",
        ),
    )
    return {
        "sync: complete": sync_result(),
        "sync: nothing to do": sync_result(
            duration_seconds=0.04,
            files=FileCounts(scanned=1260, unchanged=1260),
            chunks=ChunkCounts(total=8412),
            skipped=(),
            stages=StageSeconds(scan=0.04),
        ),
        "sync: partial": sync_result(
            status="partial",
            resumed=True,
            failures=failures(4),
            limits=("max_embeds",),
            warnings=("max_embeds=8000 was reached: 391 texts are left for the next sync.",),
            encodings={"docs/alt.txt": "cp1252"},
            redactions=(RedactedSecret(path="src/deploy.py", line=12, kind="github-token"),),
        ),
        "sync: 10 000 failures": sync_result(
            status="partial",
            files=FileCounts(scanned=10_400, added=400, failed=10_000),
            failures=failures(10_000),
        ),
        "sync: hostile": sync_result(
            repository="<b onclick=alert(1)>\"'&</b>",  # a name is printable at least
            path=HOSTILE,
            collection="c",
            status="partial",
            failures=(
                FileFailure(path=HOSTILE, stage="scan", error="E", message=HOSTILE),
                FileFailure(path="long/" * 400, stage="scan", error="E", message="x" * 5000),
            ),
            skipped=(SkippedFile(path=HOSTILE, reason="binary"),),
            warnings=(HOSTILE,),
        ),
        "sync: empty": sync_result(
            files=FileCounts(), chunks=ChunkCounts(), skipped=(), stages=StageSeconds(), source=None
        ),
        "plan": plan,
        "plan: refused": plan.model_copy(
            update={"refused": "it would delete 9 of 10 indexed files"}
        ),
        "current": CurrentReport(repository="my-repo", path="/x", current=False, changes=actions),
        "verify: sound": verify,
        "verify: findings": amiss,
        "verify: 3 000 findings": verify.model_copy(update={"findings": (finding,) * 3000}),
        "repair": RepairReport(
            repository="my-repo",
            collection="my-repo",
            dry_run=False,
            steps=steps,
            left=amiss,
            sync=sync_result(),
            embedded=3,
            warnings=("Rows of others lost their vectors.",),
        ),
        "status: synced": status,
        "status: interrupted": status.model_copy(
            update={"state": "interrupted", "last_run": broken, "bad_runs": 2, "progress": progress}
        ),
        "status: damaged": status.model_copy(
            update={"state": "damaged", "signs": ("its collection is not in the store any more",)}
        ),
        "status: never": RepositoryStatus(
            repository="my-repo", state="never", store="/home/ada/chroma"
        ),
        "health": health,
        "progress": progress,
        "progress: none": RunProgress(repository="my-repo"),
        "explanation": Explanation(
            path="logo.png", included=False, rule="binary", detail="it holds a NUL byte"
        ),
        "page of files": Page[FileEntry](items=files, total=1260, next_cursor="file:3:"),
        "page of chunks": Page[ChunkEntry](
            items=(
                ChunkEntry(
                    id="8c1f20aa",
                    path="src/a.py",
                    chunk_index=0,
                    start_line=1,
                    end_line=30,
                    symbol="Reader.read",
                ),
                ChunkEntry(id="77aa01bc", path="src/a.py"),
            ),
            total=2,
        ),
        "page of repositories": Page[RepositoryEntry](
            items=(
                RepositoryEntry(
                    name="my-repo",
                    collection="my-repo",
                    path="/home/ada/src/my-repo",
                    state="synced",
                    files=1260,
                    chunks=8412,
                    runs=31,
                    model="onnx:minilm:1",
                    last_good_at=BEGAN,
                ),
            ),
            total=1,
        ),
        "history": Page[RunEntry](items=(broken, run(2), run(1, status="partial"), run()), total=4),
        "history: empty": Page[RunEntry](),
        "search": SearchResult(
            query="who holds the store lock",
            mode="hybrid",
            hits=(
                hit(),
                hit(1, path="docs/sharing.md", language="markdown", symbol="", text=PROSE),
                hit(2, text=CODE * 8),
                hit(3, path="odd.zzz", language="", symbol=HOSTILE, text=f"{HOSTILE}\n{LONG}"),
            ),
        ),
        "search: nothing": SearchResult(
            query="unicorns", mode="dense", warnings=("1 repository of another model left out.",)
        ),
        "backup": BackupReport(
            path="/backup/chroma-1",
            store="/home/ada/chroma",
            created_at=BEGAN,
            files=12,
            bytes=41_200_000,
            collections={"my-repo": 8412, "notes": 3},
            wait_seconds=0.0,
            hold_seconds=0.9,
            duration_seconds=1.7,
            left_out=("notes.txt",),
        ),
        "prune": PruneReport(
            dropped=120, dropped_bytes=184_320, kept=8412, kept_bytes=12_921_000, file_bytes=0
        ),
    }


THEMES = {
    "light": "background:#fff;color:#212121",
    "dark": "background:#111;color:#e6e6e6;color-scheme:dark",
}


def page(theme: str, show: Callable[[str], bool] = lambda _: True) -> str:
    """All samples as HTML and as text."""
    shown = "".join(
        f"<h2>{html.escape(name)}</h2>{report._repr_html_()}"
        f"<pre class='text'>{html.escape(printed(report))}</pre>"
        for name, report in samples().items()
        if show(name)
    )
    return (
        "<!doctype html><meta charset=utf-8><title>reposync: reports</title>"
        f"<style>body{{{THEMES[theme]};font:14px system-ui,sans-serif;margin:2rem}}"
        "h2{font-size:12px;opacity:.5;border-top:1px solid;margin-top:2rem}"
        f".text{{font-size:11px;opacity:.75;width:80ch;overflow-x:auto}}</style>{shown}"
    )


def printed(report: Report) -> str:
    """As text that can be encoded."""
    return str(report).encode("utf-8", "backslashreplace").decode()


def notebook() -> dict[str, Any]:
    """All samples as a notebook whose cells have been run."""
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "execution_count": number,
            "source": f"report  # {name}",
            "outputs": [
                {
                    "output_type": "execute_result",
                    "execution_count": number,
                    "metadata": {},
                    "data": {"text/html": report._repr_html_(), "text/plain": printed(report)},
                }
            ],
        }
        for number, (name, report) in enumerate(samples().items(), 1)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Write the page, or the notebook."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--theme", choices=THEMES, default="light")
    parser.add_argument("--only", default="", help="samples whose name matches this")
    parser.add_argument("--notebook", action="store_true")
    asked = parser.parse_args()
    if asked.notebook:
        asked.out.write_text(json.dumps(notebook()), "utf-8")
    else:
        asked.out.write_text(
            page(asked.theme, lambda name: bool(re.search(asked.only, name))), "utf-8"
        )


if __name__ == "__main__":
    main()
