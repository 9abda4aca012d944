"""Tells where a running sync stands: a callable of the caller's, a tqdm bar, or the manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from reposync.errors import ConfigError
from reposync.result import SyncProgress

OnProgress = Callable[[SyncProgress], object]


@contextmanager
def reporter(progress: bool | OnProgress) -> Iterator[OnProgress]:
    """A function that takes each `SyncProgress` where the caller wants it.

    Args:
        progress: True for a bar (on a terminal, or in a notebook), False for silence, or a callable
            that is called in the syncing thread.
    """
    if callable(progress):
        yield progress
    elif progress is True:
        with _bar() as report:
            yield report
    elif progress is False:
        yield lambda _: None
    else:
        raise ConfigError(f"progress={progress!r} is neither True, False nor a callable. Pass one.")


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # or tqdm starts a thread that outlives the call

    with Bar(unit="file", dynamic_ncols=True) as bar:

        def show(now: SyncProgress) -> None:
            bar.total = now.files_total
            bar.set_postfix(
                {"chunks": now.chunks_written, "embedded": now.texts_embedded}, refresh=False
            )
            bar.n = now.files_done
            bar.refresh()

        yield show


def as_json(progress: SyncProgress) -> str:
    """A value as the manifest keeps it."""
    return json.dumps(asdict(progress))


def from_json(text: str | None) -> SyncProgress | None:
    """A value that the manifest kept; None if there is none that this version can read."""
    try:
        fields = json.loads(text or "")
        return SyncProgress(**{name: fields[name] for name in SyncProgress.__slots__})
    except (ValueError, TypeError, KeyError):
        return None
