"""Events as OpenTelemetry metrics and spans; the only user of ``opentelemetry``.

Whoever set a provider has imported the API: so it is looked for among the modules that are there,
and a program without one pays for no import. Metrics are listed in docs/reference/events.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from reposync._version import __version__
from reposync.events import OnEvent, SyncEvent, Value

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.metrics import Meter
    from opentelemetry.trace import Span, Tracer

STAGES = ("scan", "plan", "chunk", "embed", "commit")
STATUSES = ("complete", "partial", "cancelled", "failed", "interrupted", "refused")
_LOCK_ERRORS = ("LockTimeout", "SyncInProgress")
_SHORT = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)


class Metric(NamedTuple):
    """One instrument; `bounds` are those of a histogram's buckets."""

    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    description: str
    bounds: tuple[float, ...] = ()


METRICS: Mapping[str, Metric] = {
    "reposync.syncs": Metric("counter", "{sync}", "Syncs that ended, by status"),
    "reposync.errors": Metric("counter", "{error}", "Errors that ended a sync, by type"),
    "reposync.sync.duration": Metric("histogram", "s", "How long a sync took", _LONG),
    "reposync.last_success.timestamp": Metric(
        "gauge", "s", "When a sync was last complete, since 1970"
    ),
    "reposync.files": Metric("counter", "{file}", "Files by what became of them"),
    "reposync.chunks": Metric("counter", "{chunk}", "Chunks written, moved and deleted"),
    "reposync.embeds": Metric("counter", "{text}", "Texts that a vector was computed for"),
    "reposync.cache.hits": Metric("counter", "{chunk}", "Chunks written with a vector of before"),
    "reposync.batch.duration": Metric("histogram", "s", "From one batch to the next", _SHORT),
    "reposync.retries": Metric("counter", "{call}", "Calls that were tried again"),
    "reposync.lock.wait": Metric("histogram", "s", "Waits for the store lock", _SHORT),
    "reposync.lock.hold": Metric("histogram", "s", "Holds of the store lock", _SHORT),
    "reposync.rate.wait": Metric("histogram", "s", "Waits for the embedding rate limit", _LONG),
    "reposync.limits": Metric("counter", "{sync}", "Syncs that came up against a limit"),
    "reposync.index.damages": Metric("counter", "{index}", "Damaged vector indexes"),
    "reposync.store.free": Metric("gauge", "By", "Room on the disk of the store"),
}


def listener() -> OnEvent | None:
    """What turns the events of one sync into metrics and spans; None if nobody wants them."""
    trace, metrics = map(sys.modules.get, ("opentelemetry.trace", "opentelemetry.metrics"))
    takers: list[OnEvent] = []
    if trace is not None and _is_set(tracers := trace.get_tracer_provider()):
        takers.append(_Spans(tracers.get_tracer("reposync", __version__)))
    if metrics is not None and _is_set(meters := metrics.get_meter_provider()):
        takers.append(_Metrics(meters.get_meter("reposync", __version__)))

    def tell(event: SyncEvent) -> None:
        for take in takers:
            take(event)

    return tell if takers else None


def _is_set(provider: object) -> bool:
    """True if somebody set a provider; by name, since the API hides one of its stand-ins.

    Instruments of a stand-in would be kept for ever, in case that a provider comes.
    """
    return not type(provider).__name__.lstrip("_").startswith(("Proxy", "NoOp"))


class _Metrics:
    """Counts and times; a meter gives the same instruments to each sync."""

    def __init__(self, meter: Meter) -> None:
        self._instruments = {name: _instrument(meter, name, one) for name, one in METRICS.items()}

    def __call__(self, event: SyncEvent) -> None:
        for name, value, attributes in _measured(event):
            instrument, kind = self._instruments[name], METRICS[name].kind
            labels = {"repository": event.repository, **attributes}
            if kind == "histogram":
                instrument.record(value, labels)
            elif kind == "gauge":
                instrument.set(value, labels)
            else:
                instrument.add(value, labels)


def _instrument(meter: Meter, name: str, metric: Metric) -> Any:
    if metric.kind == "histogram":
        return meter.create_histogram(
            name,
            metric.unit,
            metric.description,
            explicit_bucket_boundaries_advisory=metric.bounds,
        )
    make: Callable[..., Any] = getattr(meter, f"create_{metric.kind}")
    return make(name, metric.unit, metric.description)


Measure = tuple[str, Any, dict[str, Any]]


def _measured(event: SyncEvent) -> Iterable[Measure]:
    """What an event says: metric, value, attributes."""
    fields = event.fields
    match event.name:
        case "sync.started":
            return _zeros()
        case "batch.committed":
            return _batch(fields)
        case "call.retried":
            return [("reposync.retries", 1, _some(fields, "stage", "error"))]
        case "lock.released":
            return [
                ("reposync.lock.wait", fields["wait_seconds"], {}),
                ("reposync.lock.hold", fields["hold_seconds"], {}),
            ]
        case "rate.waited":
            return [("reposync.rate.wait", fields["wait_seconds"], {})]
        case "limit.reached":
            return [("reposync.limits", 1, _some(fields, "limit"))]
        case "index.damaged":
            return [("reposync.index.damages", 1, {})]
        case "sync.ended":
            return _ended(event)
    return []


def _zeros() -> Iterator[Measure]:
    """Counters begin at 0: of one that begins at 1, Prometheus does not see that it rose."""
    yield "reposync.index.damages", 0, {}
    for status in STATUSES:
        yield "reposync.syncs", 0, {"status": status}
    for error in _LOCK_ERRORS:
        yield "reposync.errors", 0, {"error": error}


def _batch(fields: Mapping[str, Value]) -> Iterator[Measure]:
    for operation in ("written", "moved", "deleted"):
        yield "reposync.chunks", fields[operation], {"operation": operation}
    yield "reposync.embeds", fields["embedded"], {}
    yield "reposync.cache.hits", fields["reused"], {}
    yield "reposync.batch.duration", fields["seconds"], {}


def _ended(event: SyncEvent) -> Iterator[Measure]:
    fields = event.fields
    yield "reposync.syncs", 1, _some(fields, "status")
    yield "reposync.sync.duration", fields["seconds"], {}
    if fields["error"] is not None:
        yield "reposync.errors", 1, _some(fields, "error")
    if fields["status"] == "complete":
        yield "reposync.last_success.timestamp", event.time, {}
    for field, count in fields.items():
        group, _, outcome = field.partition("_")
        if group == "files" and outcome != "scanned":
            yield "reposync.files", count, {"outcome": outcome}
    if fields["store_free_bytes"] is not None:
        yield "reposync.store.free", fields["store_free_bytes"], {}


def _some(fields: Mapping[str, Value], *names: str) -> dict[str, Any]:
    """Those of the named fields that have a value."""
    return {name: fields[name] for name in names if fields[name] is not None}


class _Spans:
    """A trace of one sync: a span for the whole, one a batch, and in these one a stage.

    Reading, planning and cutting the files of a batch take turns by the file: a stage's span is as
    long as all of its turns, and the stages follow each other.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._seen = dict.fromkeys(STAGES, 0.0)
        self._since = 0.0
        self._sync: Span | None = None
        self._token: Token[Context] | None = None

    def __call__(self, event: SyncEvent) -> None:
        if event.name == "sync.started":
            self._start(event)
        elif self._sync is None:
            return
        elif event.name == "sync.ended":
            self._end(event, self._sync)
        elif event.name == "batch.committed":
            batch = self._span("reposync.batch", self._sync, self._since, _attributes(event))
            self._stages(event, batch, _stages(event))
            batch.end(_ns(event.time))
            self._since = event.time
        elif event.name == "sync.scanned":
            self._stages(event, self._sync, _stages(event))
            self._since = event.time
        else:
            self._sync.add_event(event.name, _attributes(event), _ns(event.time))

    def _start(self, event: SyncEvent) -> None:
        """Begin a span that is the current one until the end: requests to a server are in it."""
        from opentelemetry import context, trace

        self._since = event.time
        self._sync = self._tracer.start_span(
            "reposync.sync",
            start_time=_ns(event.time),
            attributes={**event.context, **_attributes(event)},
        )
        self._token = context.attach(trace.set_span_in_context(self._sync))

    def _end(self, event: SyncEvent, sync: Span) -> None:
        from opentelemetry import context, trace

        totals = _stages(event)
        self._stages(event, sync, {stage: totals[stage] - self._seen[stage] for stage in totals})
        sync.set_attributes(_attributes(event))
        if event.fields["error"] is not None:
            sync.set_status(trace.Status(trace.StatusCode.ERROR, str(event.fields["error"])))
        sync.end(_ns(event.time))
        if self._token is not None:
            context.detach(self._token)

    def _stages(self, event: SyncEvent, parent: Span, spent: dict[str, float]) -> None:
        """A span for each stage that took time, the last ending with the event."""
        spent = {stage: seconds for stage, seconds in spent.items() if seconds > 0}
        at = max(self._since, event.time - sum(spent.values()))
        for stage, seconds in spent.items():
            self._seen[stage] += seconds
            span = self._span(f"reposync.{stage}", parent, at, {})
            at = min(at + seconds, event.time)
            span.end(_ns(at))

    def _span(self, name: str, parent: Span, since: float, attributes: dict[str, Any]) -> Span:
        from opentelemetry import trace

        return self._tracer.start_span(
            name,
            context=trace.set_span_in_context(parent),
            start_time=_ns(since),
            attributes=attributes,
        )


def _stages(event: SyncEvent) -> dict[str, float]:
    """The seconds of each stage that an event tells of."""
    spent = {stage: event.fields.get(f"{stage}_seconds") for stage in STAGES}
    return {stage: float(seconds) for stage, seconds in spent.items() if seconds is not None}


def _attributes(event: SyncEvent) -> dict[str, Any]:
    return {f"reposync.{name}": value for name, value in event.fields.items() if value is not None}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
