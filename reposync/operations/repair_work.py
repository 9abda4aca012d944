"""The work of a repair: what is found is mended, or left to a sync that trusts none of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reposync.embed import make_embedder
from reposync.errors import IndexDamaged
from reposync.lock import ChromaLock
from reposync.mend import mend
from reposync.opened import Opened
from reposync.operations.findings import Finding
from reposync.operations.mending import Mending
from reposync.operations.recorded import Asked, NoFunction, recorded_function
from reposync.operations.remedies import Means, Remedy, RepairStep, remedy
from reposync.operations.verify import verify
from reposync.rows import Row
from reposync.swap import settle

DAMAGED = "it was found to be damaged"


class RepairWork:
    """The work on one repository; nobody syncs it meanwhile.

    Attributes:
        steps: what was found, and what is done about it.
        computed: how many texts were embedded.
        warnings: what the caller should know.
        function_name: what Chroma wrote down with the collection; "" if it did not.
    """

    def __init__(self, one: Opened, lock: ChromaLock, asked: Asked) -> None:
        self.one = one
        self._lock = lock
        self._asked = asked
        self.steps: list[RepairStep] = []
        self.warnings: tuple[str, ...] = ()
        self.computed = 0
        self.function_name = ""
        self._checked = 0
        self._restorable: dict[str, Row] = {}

    @property
    def to_sync(self) -> bool:
        """True if a sync is to do the rest."""
        return any(step.remedy == "sync" for step in self.steps)

    def reloaded(self) -> Opened:
        """The repository as it is noted now."""
        record = self.one.manifest.repository(self.one.key)
        assert record is not None
        return replace(self.one, record=record)

    def go(self, *, dry_run: bool) -> None:
        """Find out what is to be done, and do it, but for the sync."""
        first: set[Remedy] = {"settle", "index"}
        while True:
            steps, mending = self._plan()
            urgent = [step for step in steps if step.remedy in first]
            if dry_run or not urgent:
                break
            self.steps += urgent  # what else there is can be seen better then
            self._first_aid(urgent)
            first -= {step.remedy for step in urgent}  # each once: what it cannot mend is left
        self.steps += steps
        if not dry_run and self._checked:  # so that nobody need look at all of the index again
            self.one.manifest.describe(self.one.record.id, checked=self._checked)
        if not dry_run and mending is not None:
            self._mend(mending)
        if not dry_run and self.to_sync:
            self._distrust()

    def _plan(self) -> tuple[list[RepairStep], Mending | None]:
        """What is to be done, and with what; None if the index is to be mended first."""
        one, asked = self.one, self._asked
        with self._lock.hold(write=False) as hold:
            generation = hold.state.generation if hold else 0
        findings = verify(one, self._lock, asked).findings
        if not any(finding.kind == "index" for finding in findings):
            self._checked = generation
        with self._lock.hold(write=False):
            one.store.open()
            live = one.store.find(one.key.collection)
        self.function_name = (live.function_name or "") if live is not None else ""
        function, config = recorded_function(one.key.name, one.record.model, asked)
        can_compute = not isinstance(function, NoFunction)
        means = Means(
            files=asked.path is not None,
            function=can_compute,
            folder=one.store.kind == "folder",
            noted=one.manifest.all_rows(one.record.id),
        )
        mending = None
        if live is not None and not any(finding.kind == "index" for finding in findings):
            embedder = make_embedder(
                function, model_id=config.model_id, batch_size=config.batch_rows
            )
            mending = Mending(one, live, self._lock, embedder if can_compute else None)
            means = self._look_at_rows(means, mending, findings)
        return [remedy(finding, means) for finding in findings], mending

    def _look_at_rows(self, means: Means, mending: Mending, findings: Iterable[Finding]) -> Means:
        rows = {
            kind: {finding.id: finding.path for finding in findings if finding.kind == kind}
            for kind in ("vector", "cache", "metadata")
        }
        cached = mending.with_vectors(list(rows["vector"]))
        if self._asked.function is None:
            cached |= mending.with_stored_vectors(list(rows["cache"]))
        self._restorable = mending.restorable(rows["metadata"])
        return replace(means, cached=cached, restorable=self._restorable)

    def _first_aid(self, steps: Sequence[RepairStep]) -> None:
        """Mend what keeps everything else from being looked at."""
        one = self.one
        if any(step.remedy == "settle" for step in steps):
            settle(one.store, self._lock, one.manifest, one.key)
            self.one = one = self.reloaded()
        damage = next((step.finding for step in steps if step.remedy == "index"), None)
        if damage is None:
            return
        with self._lock.hold(write=False):
            live = one.store.find(one.key.collection)
        assert live is not None
        self.warnings += mend(
            one.store, self._lock, one.manifest, one.key, live, IndexDamaged(damage.detail)
        )

    def _mend(self, mending: Mending) -> None:
        by_remedy: dict[Remedy, dict[str, None]] = defaultdict(dict)
        for step in self.steps:
            if step.finding.id:
                by_remedy[step.remedy][step.finding.id] = None
        again = by_remedy["sync"].keys()  # these are written as a whole
        mending.delete(list(by_remedy["delete"]))
        mending.cache_anew(list(by_remedy["cache"]), trust_stored=self._asked.function is None)
        mending.write_vectors([row_id for row_id in by_remedy["vector"] if row_id not in again])
        mending.strip([*again, *by_remedy["metadata"]])
        mending.restore([self._restorable[row_id] for row_id in by_remedy["metadata"]])
        self.computed = mending.computed

    def _distrust(self) -> None:
        """Have the sync look at what is at fault, and take nothing of it on trust."""
        manifest, repository = self.one.manifest, self.one.record.id
        rows: dict[str, list[str]] = defaultdict(list)
        for step in self.steps:
            if step.remedy == "sync" and step.finding.path:
                rows[step.finding.path] += [step.finding.id] if step.finding.id else []
        known = manifest.files(repository)
        lost = {path: ids for path, ids in rows.items() if path in known}
        manifest.distrust(repository, DAMAGED, rows=False, paths=lost)
        manifest.lose_rows(repository, {path: ids for path, ids in lost.items() if ids}, DAMAGED)
        manifest.describe(repository, token="")
