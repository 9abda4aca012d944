"""`sync_many`: one repository after the other, with one report; each failure stays its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from reposync.config import SyncConfig
from reposync.embed.minilm import MiniLM
from reposync.errors import (
    ConfigError,
    EmbeddingError,
    EmbeddingMismatch,
    LockTimeout,
    ManifestError,
    StoreUnavailable,
    SyncError,
)
from reposync.lock import ChromaLock
from reposync.report import Report
from reposync.request import make_request
from reposync.result import SyncProgress, SyncResult
from reposync.store import Store
from reposync.sync import carry_out
from reposync.words import count, printable

MAX_IN_VAIN = 3
"""So many repositories in a row that fail for a reason that is none of theirs say that all will."""

NOT_THEIRS = (EmbeddingError, LockTimeout, ManifestError, StoreUnavailable)

Stop = Literal["cancelled", "deadline", "failing"]


class RepositorySpec(Report):
    """Which repository to sync, and as what; the arguments of `reposync.sync_repository`."""

    model_config = ConfigDict(extra="forbid")

    path: str
    name: str | None = None
    ref: str | None = None
    collection: str | None = None

    def __str__(self) -> str:
        return self.name or self.path


class RepositoryOutcome(Report):
    """What became of one repository.

    Attributes:
        result: what was done; None if nothing was begun.
        error: the name of the error that ended its sync; None if none did.
        message: what the error says.
    """

    repository: RepositorySpec
    result: SyncResult | None = None
    error: str | None = None
    message: str = ""

    @property
    def ok(self) -> bool:
        """True if its collection now holds exactly what is in it."""
        return self.error is None and self.result is not None and self.result.ok

    def __str__(self) -> str:
        if self.error is not None:
            return printable(f"{self.repository}: {self.error}: {self.message}")
        return str(self.result)


class ManySyncs(Report):
    """What one `sync_many` did.

    Attributes:
        outcomes: one for each repository that was begun, in the order of the specs.
        left: those that were not begun.
        stopped: why not: "cancelled", "deadline", or "failing": several in a row failed for a
            reason that is none of theirs, such as a store that does not answer. None if all were.
    """

    outcomes: tuple[RepositoryOutcome, ...]
    left: tuple[RepositorySpec, ...] = ()
    stopped: Stop | None = None
    started_at: datetime
    duration_seconds: float

    @property
    def ok(self) -> bool:
        """True if every repository was brought in step."""
        return not self.left and all(outcome.ok for outcome in self.outcomes)

    @property
    def failures(self) -> tuple[RepositoryOutcome, ...]:
        """Those that were begun and are not in step."""
        return tuple(outcome for outcome in self.outcomes if not outcome.ok)

    @property
    def results(self) -> dict[str, SyncResult]:
        """The results, by repository; of the last one, where two have one name."""
        results = [outcome.result for outcome in self.outcomes if outcome.result is not None]
        return {result.repository: result for result in results}

    def raise_for_failures(self) -> None:
        """Raise a `SyncError` that names what failed and what was not begun, unless `ok`."""
        if not self.ok:
            raise SyncError(f"{self}\nCall sync_many again to finish; what succeeded is kept.")

    def __str__(self) -> str:
        done = len(self.outcomes) - len(self.failures)
        lines = [
            f"{done} of {len(self.outcomes) + len(self.left)} repositories in step in"
            f" {self.duration_seconds:.1f} s",
            *_some("failed", list(map(_short, self.failures)), ".failures"),
            *_some("warning", list(_warnings(self.outcomes)), ".results"),
        ]
        if self.left:
            lines.append(f"  not begun   {len(self.left)} ({self.stopped}), see .left")
        return "\n".join(lines)


def _some(word: str, texts: Sequence[str], where: str) -> Iterator[str]:
    """A line for each of the first ten, and one for the others."""
    yield from (f"  {word:<11} {printable(text)}" for text in texts[:10])
    if len(texts) > 10:
        yield f"  {'...':<11} and {len(texts) - 10} more, see {where}"


def _short(outcome: RepositoryOutcome) -> str:
    if outcome.error is not None or outcome.result is None:
        return str(outcome)
    failed = outcome.result.failures  # none if it was a limit that ended it: a warning names it
    words = [outcome.result.status, *([count(len(failed), "failed file")] if failed else ())]
    return f"{outcome.repository}: {', '.join(words)}"


def _warnings(outcomes: Sequence[RepositoryOutcome]) -> Iterator[str]:
    """What each sync that came to its end warned of."""
    for outcome in outcomes:
        for warning in outcome.result.warnings if outcome.result else ():
            yield f"{outcome.repository}: {warning}"


@dataclass(frozen=True, slots=True)
class ManyProgress:
    """Where a running `sync_many` stands; handed to its `progress` in the calling thread.

    Attributes:
        repository: that is being synced.
        done: how many repositories were before it, `failed` of them without success.
        total: how many there are.
        sync: how far its own sync is.
    """

    repository: RepositorySpec
    done: int
    failed: int
    total: int
    sync: SyncProgress


Spec = RepositorySpec | Mapping[str, Any] | str | os.PathLike[str]


def sync_many(
    specs: Iterable[Spec],
    *,
    store: object = None,
    embedding_function: object = None,
    config: SyncConfig | None = None,
    lock: AbstractContextManager[object] | None = None,
    full: bool = False,
    allow_deletions: bool = False,
    cancel: threading.Event | None = None,
    progress: bool | Callable[[ManyProgress], object] = False,
) -> ManySyncs:
    """Sync one repository after the other; what fails of one is told, and the next one goes on.

    >>> from reposync import sync_many
    >>> report = sync_many(["project", "nowhere"], store="chroma", embedding_function=embed)
    >>> report.ok, len(report.results), [str(one.repository) for one in report.failures]
    (False, 1, ['nowhere'])

    The model is loaded once, and vectors are shared: a text that two repositories have is embedded
    once. Repositories of one `collection` should stand together: its index stays loaded between
    them.

    Args:
        specs: of each repository its path, or a `RepositorySpec`, or its fields as a dict.
        store, embedding_function, config, lock, full, allow_deletions: as for
            `reposync.sync_repository`. `SyncConfig.deadline` and `SyncConfig.max_embeds` are for
            all of them together.
        cancel: set it, and the call ends after the batch in flight.
        progress: True for a progress bar for each, or a callable that gets `ManyProgress` values.

    Raises:
        ConfigError: a spec or a setting cannot be right; nothing was touched.
    """
    wanted = [_spec(number, spec) for number, spec in enumerate(specs)]
    run = _Many(wanted, store, embedding_function, config or SyncConfig(), lock, cancel, progress)
    return run.run(full=full, allow_deletions=allow_deletions)


def _spec(number: int, given: Spec) -> RepositorySpec:
    fields = given if isinstance(given, (RepositorySpec, Mapping)) else {"path": os.fspath(given)}
    try:
        return RepositorySpec.model_validate(fields)
    except ValidationError as error:
        why = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"specs[{number}] is no RepositorySpec: {why}. Pass a path, or a dict of path, name,"
            " ref and collection."
        ) from error


class _Many:
    """One call of `sync_many`."""

    def __init__(
        self,
        wanted: list[RepositorySpec],
        store: object,
        function: object,
        config: SyncConfig,
        lock: AbstractContextManager[object] | None,
        cancel: threading.Event | None,
        progress: bool | Callable[[ManyProgress], object],
    ) -> None:
        self.wanted = wanted
        self.store = store
        self.function = function
        self.config = config
        self.lock = lock
        self.cancel = cancel or threading.Event()
        self.progress = progress
        self.model = MiniLM()  # loaded at the first text
        self.outcomes: list[RepositoryOutcome] = []
        self.in_vain = 0
        self.began = time.monotonic()

    def run(self, *, full: bool, allow_deletions: bool) -> ManySyncs:
        started_at = datetime.now(timezone.utc)
        Store(self.store)  # raises if it is none
        stopped = None
        with self._kept_open() as keep_open:
            for number, spec in enumerate(self.wanted):
                if stopped := self._over():
                    break
                keep_open(number)
                outcome = self._sync(spec, full=full, allow_deletions=allow_deletions)
                self.outcomes.append(outcome)
        left = self.wanted[len(self.outcomes) :]
        return ManySyncs(
            outcomes=tuple(self.outcomes),
            left=tuple(left),
            stopped=stopped if left else None,
            started_at=started_at,
            duration_seconds=time.monotonic() - self.began,
        )

    def _sync(self, spec: RepositorySpec, **options: bool) -> RepositoryOutcome:
        try:
            request = make_request(
                spec.path,
                spec.name,
                self.store,
                spec.collection,
                self.function,
                self._config(),
                self.lock,
                self.cancel,
                ref=spec.ref,
                model=self.model,
            )
            result = carry_out(request, progress=self._reporter(spec), **options)
        except SyncError as error:
            theirs = isinstance(error, EmbeddingMismatch) or not isinstance(error, NOT_THEIRS)
            self.in_vain = 0 if theirs else self.in_vain + 1
            return RepositoryOutcome(
                repository=spec,
                result=error.result,
                error=type(error).__name__,
                message=str(error),
            )
        self.in_vain = 0
        return RepositoryOutcome(repository=spec, result=result)

    def _config(self) -> SyncConfig:
        """The settings for the next one: what is left of what all of them have together."""
        update: dict[str, Any] = {}
        if self.config.deadline is not None:
            update["deadline"] = max(1e-3, self._time_left)
        if self.config.max_embeds is not None:
            spent = sum(one.result.chunks.embedded for one in self.outcomes if one.result)
            update["max_embeds"] = max(0, self.config.max_embeds - spent)
        return self.config.model_copy(update=update)

    @property
    def _time_left(self) -> float:
        assert self.config.deadline is not None
        return self.began + self.config.deadline - time.monotonic()

    def _over(self) -> Stop | None:
        """Why the next one is not begun."""
        if self.cancel.is_set():
            return "cancelled"
        if self.config.deadline is not None and self._time_left <= 0:
            return "deadline"
        return "failing" if self.in_vain >= MAX_IN_VAIN else None

    def _reporter(self, spec: RepositorySpec) -> bool | Callable[[SyncProgress], object]:
        if not callable(self.progress):
            return self.progress
        tell = self.progress
        done, failed = len(self.outcomes), sum(not outcome.ok for outcome in self.outcomes)
        return lambda now: tell(ManyProgress(spec, done, failed, len(self.wanted), now))

    @contextmanager
    def _kept_open(self) -> Iterator[Callable[[int], None]]:
        """Gives what keeps a folder's store open while the next repositories share a collection.

        Loading a collection's index takes longer the larger it is. But what Chroma loaded it keeps
        while it is open: 3 MB and 4 descriptors a collection, which a thousand of them would run
        out of. So it is closed where another collection begins.
        """
        shared = {a.collection for a, b in pairwise(self.wanted) if a.collection == b.collection}
        shared.discard(None)
        with ExitStack() as stack:
            now: str | None = None

            def keep_open(number: int) -> None:
                nonlocal now
                collection = self.wanted[number].collection
                if collection == now:
                    return
                stack.close()
                now = collection
                kept = Store(self.store)
                if collection in shared and kept.kind == "folder" and kept.exists:
                    with ChromaLock(kept, self.config.lock_timeout).hold(write=False):
                        kept.open()
                    stack.callback(kept.close)

            yield keep_open
