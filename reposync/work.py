"""Makes of each action the rows to write, move and remove, and the record to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reposync.batch import FileWork
from reposync.manifest import UNFINISHED, Manifest, RepositoryRecord
from reposync.records import Action, Failure, Known, Seen
from reposync.request import Request
from reposync.rows import FileRecord, Row, RowChanges, diff_rows, make_rows
from reposync.tally import Tally


class Workshop:
    """Turns actions into work, one at a time."""

    def __init__(
        self,
        request: Request,
        manifest: Manifest,
        record: RepositoryRecord,
        known: Mapping[str, Known],
        tally: Tally,
        *,
        rewrite: bool,
    ) -> None:
        self._request = request
        self._manifest = manifest
        self._repository = record.id
        self._known = known
        self._tally = tally
        self._rewrite = rewrite

    def make(self, action: Action) -> FileWork | None:
        """The work for one action; None if there is nothing to write or record."""
        known, seen = self._known.get(action.path), action.seen
        if seen is None:  # a deletion
            return self._remove(action)
        if seen.failure is not None:
            self._tally.fail(seen.failure)
            return None
        if seen.skip is not None:
            return self._skip(seen, known)
        if action.kind in ("keep", "skip"):
            return self._leave(seen, known)
        return self._index(action, seen, known)

    def _remove(self, action: Action) -> FileWork:
        stale = tuple(self._manifest.rows(self._repository, action.path))
        return FileWork(
            action.path,
            "deleted",
            RowChanges(stale=stale),
            deleted=action.kind == "delete",
        )

    def _skip(self, seen: Seen, known: Known | None) -> FileWork | None:
        assert seen.skip is not None
        now = (seen.skip, seen.stat, seen.rules)
        if known and known.redo is None and (known.skip, known.stat, known.rules) == now:
            self._tally.leave(seen.path, "skipped", known)
            return None
        stale = tuple(self._manifest.rows(self._repository, seen.path)) if known else ()
        return FileWork(
            seen.path,
            "skipped",
            RowChanges(stale=stale),
            _record(seen, 0),
            deleted=bool(stale),
        )

    def _leave(self, seen: Seen, known: Known | None) -> FileWork | None:
        """Nothing of the file's rows changes; note its new stat, if it was read."""
        assert known is not None
        if seen.unread:
            self._tally.leave(seen.path, "skipped" if known.skip else "unchanged", known)
            return None
        return FileWork(seen.path, "unchanged", record=_record(seen, known.chunks))

    def _index(self, action: Action, seen: Seen, known: Known | None) -> FileWork | None:
        try:
            rows = rows_of(self._request, seen)
        except Exception as error:  # noqa: BLE001 - one file's text must not end the sync
            name = type(error).__name__
            self._tally.fail(Failure(seen.path, "chunk", name, str(error) or name))
            return None
        if not rows:  # such as a notebook without a word in it
            return self._skip(replace(seen, skip="blank", text=None), known)
        stored = self._manifest.rows(self._repository, seen.path) if known else {}
        changes = diff_rows(rows, stored, rewrite=self._rewrite)
        old_stale: tuple[str, ...] = ()
        if action.old_path is not None:
            old_stale = tuple(self._manifest.rows(self._repository, action.old_path))
        return FileWork(
            seen.path,
            _outcome(action, seen, known, changes),
            changes,
            _record(seen, len(rows)),
            old_path=action.old_path,
            old_stale=old_stale,
        )


def rows_of(request: Request, seen: Seen) -> list[Row]:
    """Cut a file's text; what its rows are to be."""
    assert seen.text is not None
    return make_rows(
        request.key.name,
        seen.path,
        request.chunker.chunk(seen.path, seen.text),
        model=request.model,
        recipe=request.row_recipe,
        grammars=request.chunker.grammars,
    )


def _record(seen: Seen, chunks: int) -> FileRecord:
    # A racy stat is not kept, so that the file is read again next time.
    stat = None if seen.racy else seen.stat
    return FileRecord(
        seen.path,
        stat,
        seen.content_hash,
        seen.skip,
        chunks,
        seen.rules,
        seen.encoding,
        seen.redactions,
    )


def _outcome(action: Action, seen: Seen, known: Known | None, changes: RowChanges) -> str:
    """How the file counts: what was done for it, as its user would say."""
    if action.kind == "rename":
        return "renamed"
    if action.kind == "add" or known is None:
        return "added"
    if known.content_hash is None and known.redo == UNFINISHED:
        return "added"
    return "updated" if changes else "unchanged"
