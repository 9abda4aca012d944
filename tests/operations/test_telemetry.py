"""Metrics and traces, as OpenTelemetry's own SDK gets them; and nothing at all without one."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import opentelemetry.metrics
import opentelemetry.trace
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import SMALL, Desk, HashEmbedding, last_json, python

from reposync import SyncConfig, SyncError, telemetry
from reposync.telemetry import METRICS, STAGES, STATUSES

PAGE = Path(__file__).parents[2] / "docs/reference/events.md"


class Observer:
    """What an observer of this process sees: counts by metric and attributes, and spans."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._metrics, self._spans = InMemoryMetricReader(), InMemorySpanExporter()
        self.meters = MeterProvider([self._metrics])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        # A provider can be set once in a process, and is there for good.
        monkeypatch.setattr(opentelemetry.metrics, "get_meter_provider", lambda: self.meters)
        monkeypatch.setattr(opentelemetry.trace, "get_tracer_provider", lambda: self.tracers)

    def points(self) -> dict[str, list[Any]]:
        """The data points by metric."""
        data = self._metrics.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            if scope.scope.name == "reposync"
            for metric in scope.metrics
        }

    def values(self, name: str, attribute: str) -> dict[object, float]:
        """The values of a counter or gauge that are not 0, by one attribute."""
        points = self.points().get(name, [])
        return {point.attributes[attribute]: point.value for point in points if point.value}

    def spans(self, name: str) -> list[ReadableSpan]:
        """The spans of one name that ended."""
        return [span for span in self._spans.get_finished_spans() if span.name == name]

    def inside(self, outer: ReadableSpan) -> list[ReadableSpan]:
        """The spans right below another one, by when they began."""
        assert outer.context is not None
        found = [
            span
            for span in self._spans.get_finished_spans()
            if span.parent is not None and span.parent.span_id == outer.context.span_id
        ]
        return sorted(found, key=began)


def began(span: ReadableSpan) -> int:
    assert span.start_time is not None
    return span.start_time


def ended(span: ReadableSpan) -> int:
    assert span.end_time is not None
    return span.end_time


@pytest.fixture
def observer(monkeypatch: pytest.MonkeyPatch) -> Observer:
    """An SDK that is set up."""
    return Observer(monkeypatch)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A small repository."""
    desk = Desk(tmp_path / "repo", tmp_path / "store")
    desk.root.mkdir()
    desk.write_many(9)
    return desk


# -- metrics ---------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_result(desk: Desk, observer: Observer) -> None:
    """What the metrics count is what the results say, added up over the syncs."""
    desk.write("bad.txt", "poisonous\n")
    first = desk.sync()
    (desk.root / "bad.txt").unlink()
    (desk.root / "note00.txt").unlink()
    (desk.root / "note01.txt").rename(desk.root / "moved.txt")
    desk.write("copy.txt", (desk.root / "note02.txt").read_text())
    second = desk.sync()
    results = (first, second)
    assert observer.values("reposync.syncs", "status") == {"partial": 1, "complete": 1}
    for outcome in ("added", "renamed", "deleted", "failed"):
        total = sum(getattr(result.files, outcome) for result in results)
        assert observer.values("reposync.files", "outcome")[outcome] == total > 0
    chunks = observer.values("reposync.chunks", "operation")
    assert chunks["written"] == sum(result.chunks.added for result in results)
    assert chunks["deleted"] == sum(result.chunks.deleted for result in results)
    embeds = observer.values("reposync.embeds", "repository")
    assert embeds == {"repo": sum(result.chunks.embedded for result in results)}
    hits = observer.values("reposync.cache.hits", "repository")
    assert hits == {"repo": sum(result.chunks.reused for result in results)}
    (wait,), (hold,) = (
        observer.points()["reposync.lock.wait"],
        observer.points()["reposync.lock.hold"],
    )
    taken = sum(result.store.lock_acquisitions for result in results)
    assert wait.count == hold.count == taken
    assert hold.sum > 0
    (duration,) = observer.points()["reposync.sync.duration"]
    assert duration.count == 2
    when = observer.values("reposync.last_success.timestamp", "repository")["repo"]
    assert abs(when - second.finished_at.timestamp()) < 5
    assert observer.values("reposync.store.free", "repository")["repo"] > 0


def test_failures_are_counted_by_their_kind(desk: Desk, observer: Observer) -> None:
    """A sync that an error ends counts as failed, with the error's type, and is no success."""
    function = HashEmbedding(poison="note")
    with pytest.raises(SyncError):
        desk.sync(embedding_function=HashEmbedding(poison=""))
    assert observer.values("reposync.syncs", "status") == {"failed": 1}
    assert observer.values("reposync.errors", "error") == {"EmbeddingError": 1}
    assert "reposync.last_success.timestamp" not in observer.points()
    errors: list[Exception] = [ConnectionError("refused")]
    function = HashEmbedding(before=lambda: raise_next(errors))
    assert desk.sync(embedding_function=function).ok
    assert observer.values("reposync.retries", "stage") == {"embed": 1}
    desk.sync(config=SMALL.model_copy(update={"max_files": 2}))
    assert observer.values("reposync.limits", "limit") == {"max_files": 1}


def raise_next(errors: list[Exception]) -> None:
    """Raise an error, if there is one left."""
    if errors:
        raise errors.pop()


def test_counters_that_alerts_look_at_begin_at_zero(desk: Desk, observer: Observer) -> None:
    """The first failure of a process must be a rise."""
    desk.sync()
    statuses = {point.attributes["status"] for point in observer.points()["reposync.syncs"]}
    assert statuses == set(STATUSES)
    (damages,) = observer.points()["reposync.index.damages"]
    assert damages.value == 0
    locks = {
        point.attributes["error"]: point.value for point in observer.points()["reposync.errors"]
    }
    assert locks == {"LockTimeout": 0, "SyncInProgress": 0}


def test_the_page_lists_every_metric() -> None:
    """docs/reference/events.md has the metrics, kinds and units that the code has."""
    page = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| `(reposync[\w.]+)` \| (\w+) \| `([^`]+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted((name, one.kind, one.unit) for name, one in METRICS.items())


def test_the_page_lists_every_attribute(desk: Desk, observer: Observer) -> None:
    """Whatever a sync reports has the attributes that the page says, and no others."""
    page = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| `(reposync[\w.]+)` \| \w+ \| `[^`]+` \|([^|]*)\|", page, re.MULTILINE)
    listed = {name: set(re.findall(r"`(\w+)`", further)) for name, further in rows}
    errors: list[Exception] = [ConnectionError("refused")]
    function = HashEmbedding(before=lambda: raise_next(errors))
    desk.sync(embedding_function=function, config=SMALL.model_copy(update={"max_embeds": 3}))
    points = observer.points()
    assert len(points) >= len(METRICS) - 2, "of those that are never 0"
    for name, found in points.items():
        for point in found:
            assert point.attributes.keys() == listed[name] | {"repository"}, name


# -- traces ----------------------------------------------------------------------------------------


def test_a_trace_is_the_sync_its_batches_and_their_stages(desk: Desk, observer: Observer) -> None:
    """Each span lies within the one above it, and the stages are as long as the result says."""
    result = desk.sync()
    (sync,) = observer.spans("reposync.sync")
    assert sync.parent is None
    assert sync.attributes is not None
    assert sync.attributes["run_id"] == result.run_id
    assert sync.attributes["reposync.status"] == "complete"
    assert sync.attributes["reposync.files_added"] == 9
    assert sync.status.is_ok or sync.status.status_code is opentelemetry.trace.StatusCode.UNSET
    batches = [span for span in observer.inside(sync) if span.name == "reposync.batch"]
    written = [span.attributes["reposync.written"] for span in batches if span.attributes]
    assert sum(map(int, written)) == 9  # type: ignore[arg-type]
    assert {span.name for span in observer.inside(sync)} >= {"reposync.scan", "reposync.batch"}
    spent = dict.fromkeys(STAGES, 0)
    for outer in (sync, *batches):
        inner = observer.inside(outer)
        stages = [span for span in inner if span.name != "reposync.batch"]
        for span in inner:
            assert began(outer) <= began(span) <= ended(span) <= ended(outer)
        for one, other in pairwise(stages):
            assert ended(one) <= began(other)
        for span in stages:
            spent[span.name.removeprefix("reposync.")] += ended(span) - began(span)
    for stage, seconds in result.stages:
        assert spent[stage] / 1e9 == pytest.approx(seconds, abs=0.02)


def test_a_trace_is_below_the_callers_span(desk: Desk, observer: Observer) -> None:
    """A host's trace goes on in the sync, and after it as if nothing had been."""
    tracer = observer.tracers.get_tracer("host")
    with tracer.start_as_current_span("job") as job:
        desk.sync()
        assert opentelemetry.trace.get_current_span() is job
    (sync,) = observer.spans("reposync.sync")
    assert sync.parent is not None
    assert sync.parent.span_id == job.get_span_context().span_id


def test_what_is_called_meanwhile_is_in_the_trace(desk: Desk, observer: Observer) -> None:
    """A span that the embedding function makes is below the sync's, as one of an HTTP client is."""
    tracer = observer.tracers.get_tracer("http")

    def request() -> None:
        tracer.start_span("POST").end()

    desk.sync(embedding_function=HashEmbedding(before=request))
    (sync,) = observer.spans("reposync.sync")
    assert sync.context is not None
    posts = observer.spans("POST")
    assert posts
    assert {post.parent.span_id for post in posts if post.parent} == {sync.context.span_id}


def test_an_error_is_in_the_trace_by_its_type(desk: Desk, observer: Observer) -> None:
    """The span of a sync that failed says so, and has nothing of the message."""
    desk.write("bad.txt", "poisonous\n")
    desk.sync()
    (sync,) = observer.spans("reposync.sync")
    assert [event.name for event in sync.events if event.name == "file.failed"]
    for number in range(9):
        desk.write(f"note{number:02}.txt", f"other {number}\n")
    with pytest.raises(SyncError):
        desk.sync(embedding_function=HashEmbedding(poison=""))
    sync = max(observer.spans("reposync.sync"), key=began)
    assert sync.status.status_code is opentelemetry.trace.StatusCode.ERROR
    assert sync.status.description == "EmbeddingError"
    assert opentelemetry.trace.get_current_span() is opentelemetry.trace.INVALID_SPAN


# -- without an SDK --------------------------------------------------------------------------------


def test_only_what_is_set_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API's stand-ins are no providers: nobody is told, and nothing piles up in them."""
    trace, metrics = opentelemetry.trace, opentelemetry.metrics
    stand_ins: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (trace.ProxyTracerProvider, metrics._internal._ProxyMeterProvider),
        (trace.NoOpTracerProvider, metrics.NoOpMeterProvider),
    ]
    for tracers, meters in stand_ins:
        monkeypatch.setattr(trace, "get_tracer_provider", tracers)
        monkeypatch.setattr(metrics, "get_meter_provider", meters)
        assert telemetry.listener() is None
    monkeypatch.setattr(trace, "get_tracer_provider", TracerProvider)
    assert telemetry.listener() is not None


def test_metrics_alone(desk: Desk, observer: Observer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants metrics only gets them only."""
    stand_in = opentelemetry.trace.ProxyTracerProvider()
    monkeypatch.setattr(opentelemetry.trace, "get_tracer_provider", lambda: stand_in)
    desk.sync()
    assert observer.values("reposync.syncs", "status") == {"complete": 1}
    assert not observer.spans("reposync.sync")


def test_a_sync_with_nothing_to_do_imports_no_opentelemetry(desk: Desk) -> None:
    """In a fresh process, a sync that finds nothing to do pays for nothing of this."""
    desk.config = SyncConfig(chunk_tokens=32, batch_rows=4, max_embeds=10, rate_limit=1000)
    assert desk.settled().ok
    code = """
import json, sys
from support import HashEmbedding
from reposync import SyncConfig, sync_repository
config = SyncConfig(chunk_tokens=32, batch_rows=4, max_embeds=10, rate_limit=1000)
result = sync_repository(sys.argv[1], "repo", store=sys.argv[2],
                         embedding_function=HashEmbedding(), config=config)
heavy = ("opentelemetry", "chromadb", "pyrate_limiter", "asyncio")
print(json.dumps([result.files.unchanged, sorted(set(heavy) & sys.modules.keys())]))
"""
    assert last_json(python(code, desk.root, desk.store).stdout) == [9, []]
