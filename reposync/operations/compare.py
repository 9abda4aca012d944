"""The rows of a collection against what they should be, a page at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from reposync.collection import Collection
from reposync.lock import ChromaLock
from reposync.opened import Opened
from reposync.operations.findings import Finding, FindingKind
from reposync.operations.vector_check import VectorCheck
from reposync.operations.wanted import Wanted
from reposync.parts import parts
from reposync.rows import METADATA_KEYS, embedded_text, find_occurrence, row_digest, text_key

PAGE_ROWS = 500
"""Rows that are read in one hold of the store lock."""

Content = dict[str, tuple[str, Mapping[str, Any]]]


class Comparison:
    """Compares rows, and has their vectors compared.

    Attributes:
        rows: how many rows were compared.
    """

    def __init__(
        self,
        one: Opened,
        live: Collection,
        lock: ChromaLock,
        vectors: VectorCheck,
        report: Callable[[Finding], None],
        *,
        content: bool,
    ) -> None:
        self._one = one
        self._live = live
        self._lock = lock
        self._vectors = vectors
        self._report = report
        self._content = content
        self.rows = 0

    def compare(self, wanted: Iterable[Wanted], found: Iterable[str]) -> None:
        """Compare all that is wanted with the rows `found`, which claim to be this repository's."""
        there = set(found)
        strangers = there.difference(self._one.manifest.all_rows(self._one.record.id))
        incomplete = set()
        old = self._old(wanted, there)
        for page in parts(old, PAGE_ROWS, weigh=lambda file: len(file.digests)):
            for file in page:
                strangers.difference_update(file.digests)
                if file.incomplete:
                    incomplete.add(file.path)
            self._compare_page(page, there)
        self._judge_strangers(sorted(strangers), incomplete)

    def _old(self, wanted: Iterable[Wanted], there: set[str]) -> Iterator[Wanted]:
        """All files but those that nobody has heard of yet."""
        for file in wanted:
            if file.new and there.isdisjoint(file.digests):
                self._report(Finding(kind="missing", path=file.path, detail="it is not indexed"))
                continue
            if file.new:
                detail = "nothing is noted of this file, and rows of it are there"
                self._report(Finding(kind="manifest", path=file.path, detail=detail))
            yield file

    # -- what should be there --------------------------------------------------------------------

    def _compare_page(self, page: Sequence[Wanted], there: set[str]) -> None:
        ids = [row_id for file in page for row_id in file.digests]
        self.rows += len(ids)
        astray = [row_id for row_id in ids if row_id not in there]
        sampled = [row_id for row_id in ids if row_id in there and self._vectors.takes()]
        wanted = [row_id for row_id in ids if row_id in there] if self._content else sampled
        content: Content = {}
        to_read = set(sampled)
        for part in parts([*wanted, *astray], PAGE_ROWS):
            with self._lock.hold(write=False):
                content.update(self._read(part))
                self._vectors.read(to_read.intersection(part))
        unasked = there.difference(wanted)
        for file in page:
            self._compare_file(file, content, unasked)

    def _read(self, ids: Sequence[str]) -> Content:
        return {row_id: (text, data) for row_id, text, data in self._live.contents(ids)}

    def _compare_file(self, file: Wanted, content: Content, unasked: set[str]) -> None:
        sound = True
        for row_id in file.digests:
            if row_id in content:
                found = list(self._compare_row(file, row_id, *content[row_id]))
            elif row_id in unasked:
                continue
            else:
                found = [self._finding("missing", file, row_id, "the row is gone")]
            sound = sound and not found
            if row_id in content:
                self._vectors.compare(row_id, file, content[row_id], sound=not found)
            for finding in found:
                self._report(finding)
        if sound and self._content:
            for finding in self._compare_whole(file, content):
                self._report(finding)

    def _compare_row(
        self, file: Wanted, row_id: str, document: str, metadata: Mapping[str, Any]
    ) -> Iterator[Finding]:
        wanted, digest = file.digests[row_id], row_digest(document, metadata)
        if digest[:8] != wanted[:8]:
            yield self._finding("text", file, row_id, "its text is not what was written")
        if digest[8:] != wanted[8:]:
            row = file.rows.get(row_id)
            detail = _difference(metadata, row.metadata if row else self._sure(file.path))
            yield self._finding("metadata", file, row_id, detail)

    def _sure(self, path: str) -> dict[str, Any]:
        """What is known of a row's metadata without its file."""
        return {"repository": self._one.key.name, "path": path, "model": self._one.record.model}

    def _compare_whole(self, file: Wanted, content: Content) -> Iterator[Finding]:
        """What rows that are as they were written can still have wrong together."""
        if file.rows or not file.digests or file.incomplete:
            return
        numbers: dict[object, str] = {}
        for row_id in file.digests:
            document, metadata = content[row_id]
            if not self._is_made_of(row_id, document, metadata, len(file.digests)):
                yield self._finding("foreign", file, row_id, "its id is not that of its content")
            number = metadata.get("chunk_index")
            if number in numbers:
                detail = f"chunk_index {number}, as row {numbers[number]}"
                yield self._finding("double", file, row_id, detail)
            numbers[number] = row_id

    def _is_made_of(
        self, row_id: str, document: str, metadata: Mapping[str, Any], limit: int
    ) -> bool:
        path, key = str(metadata.get("path", "")), text_key(embedded_text(document, metadata))
        return find_occurrence(row_id, self._one.key.name, path, key, limit) is not None

    # -- what should not be there ----------------------------------------------------------------

    def _judge_strangers(self, ids: Sequence[str], incomplete: set[str]) -> None:
        """Say of rows that nothing explains what they are."""
        for page in parts(ids, PAGE_ROWS):
            with self._lock.hold(write=False):
                content = self._read(page)
            many = Counter(_path(metadata) for _, metadata in content.values())
            taken = self._numbers(many)
            for row_id, (document, metadata) in content.items():
                path, number = _path(metadata), metadata.get("chunk_index")
                ours = self._is_made_of(row_id, document, metadata, many[path] + len(taken[path]))
                if ours and path in incomplete:
                    continue  # it is the notes that are at fault
                if number in taken[path]:
                    detail = f"chunk_index {number}, as row {taken[path][number]}"
                    finding = Finding(kind="double", path=path, id=row_id, detail=detail)
                elif ours:
                    detail = "nothing is noted of this row"
                    finding = Finding(kind="stale", path=path, id=row_id, detail=detail)
                else:
                    detail = "it claims to be of this repository, and its id is not"
                    finding = Finding(kind="foreign", path=path, id=row_id, detail=detail)
                self._report(finding)

    def _numbers(self, paths: Iterable[str]) -> dict[str, dict[object, str]]:
        """Which row of a file has which chunk_index."""
        numbers: dict[str, dict[object, str]] = defaultdict(dict)
        for path in paths:
            noted = self._one.manifest.rows(self._one.record.id, path)
            for page in parts(list(noted), PAGE_ROWS):
                with self._lock.hold(write=False):
                    content = self._read(page)
                for row_id, (_, metadata) in content.items():
                    numbers[path][metadata.get("chunk_index")] = row_id
        return numbers

    @staticmethod
    def _finding(kind: FindingKind, file: Wanted, row_id: str, detail: str) -> Finding:
        return Finding(kind=kind, path=file.path, id=row_id, detail=detail)


def _path(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("path", ""))


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What is known to differ, in a few words."""
    differ = [
        f"{key} is {found.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    extra = sorted(found.keys() - METADATA_KEYS)
    if extra:
        differ.append(f"it has the unknown {', '.join(extra)}")
    return "; ".join(differ) or "its metadata is not what was written"
