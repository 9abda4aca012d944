"""What a collection should hold, file by file: as the manifest notes it, or as the files say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reposync.opened import Opened
from reposync.operations.findings import Finding, FindingKind
from reposync.plan import is_indexed, plan, takes_out
from reposync.records import Action, Known
from reposync.request import Request
from reposync.rows import Row, make_rows
from reposync.scan import Source
from reposync.survey import Survey

Report = Callable[[Finding], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows that one file should have.

    Attributes:
        digests: see `reposync.rows.KnownRow`, by id.
        rows: the rows themselves, by id, where the file was cut anew; else empty.
        incomplete: the manifest does not vouch for it, or does not note all of its rows.
        new: the manifest notes nothing of it at all.
    """

    path: str
    digests: Mapping[str, bytes]
    rows: Mapping[str, Row] = field(default_factory=dict)
    incomplete: bool = False
    new: bool = False


def wanted_by_manifest(one: Opened, known: Mapping[str, Known], report: Report) -> Iterator[Wanted]:
    """What is noted of each file; those that cannot be vouched for are reported."""
    for path in sorted(known):
        file = known[path]
        if file.redo is not None:
            report(Finding(kind="unfinished", path=path, detail=file.redo))
        if is_indexed(file):
            yield as_noted(one, file, report)


class WantedByFiles:
    """What each file says, where it is as it was when it was indexed; else what is noted of it.

    Attributes:
        files: how many files were read and compared so far, or found to be as noted by their stat.
    """

    def __init__(
        self,
        one: Opened,
        known: Mapping[str, Known],
        request: Request,
        source: Source,
        report: Report,
        *,
        cut: bool,
    ) -> None:
        """Prepare to compare.

        Args:
            one: the repository.
            known: its files, as the manifest notes them.
            request: for the way of cutting.
            source: the files as they are now.
            report: takes what is amiss with files.
            cut: read and cut each file anew; else only those are read whose stat is not as noted.
        """
        self._one = one
        self._known = known
        self._request = request
        self._source = source
        self._report = report
        self._cut_all = cut
        self._outdated: set[str] = set()
        self.files = 0

    def __iter__(self) -> Iterator[Wanted]:
        self._note_recipe()
        known = self._known
        if self._cut_all:  # no stat is trusted, so that each file is read
            known = {path: file._replace(stat=None) for path, file in known.items()}
        survey = Survey(self._source, known)
        left = {path for path, file in known.items() if is_indexed(file)}
        for action in plan(survey.listed, survey.seen(), survey.known):
            rows = self._cut(action)
            self._report_file(action, rows)
            if action.kind == "keep":
                self.files += 1
            if action.kind == "keep" and rows is not None:
                left.discard(action.path)
                yield self._as_cut(self._known[action.path], rows)
            elif rows:
                yield Wanted(action.path, *_by_id(rows), new=True)
        for path in sorted(left):
            yield as_noted(self._one, self._known[path], self._report)

    def _note_recipe(self) -> None:
        recipe = self._one.record.recipe
        if recipe != self._request.recipe:
            self._outdated.update(self._request.outdated(recipe, self._known))
        if self._outdated:
            count = len(self._outdated)
            detail = f"{count} files were cut otherwise than this version, so set up, would do it"
            self._report(Finding(kind="outdated", detail=detail))

    def _cut(self, action: Action) -> list[Row] | None:
        """The rows that a file's text gives; None if it is not to be cut, or cannot be."""
        seen, request = action.seen, self._request
        if not self._cut_all or action.kind not in ("keep", "add") or seen is None:
            return None
        if seen.text is None or action.path in self._outdated:
            return None
        try:
            return make_rows(
                self._one.key.name,
                action.path,
                request.chunker.chunk(action.path, seen.text),
                model=self._one.record.model,
                recipe=request.row_recipe,
                grammars=request.chunker.grammars,
            )
        except Exception as error:  # noqa: BLE001 - one file's text must not end it, as in a sync
            detail = f"it cannot be cut ({type(error).__name__}: {error})"
            self._report(Finding(kind="unreadable", path=action.path, detail=detail))
            return None

    def _report_file(self, action: Action, rows: Sequence[Row] | None) -> None:
        kind, path = action.kind, action.path
        file = self._known.get(path)
        if kind == "fail":
            self._found("unreadable", path, action.reason)
        elif kind == "add" and rows is None:  # else it is told when its rows are looked for
            self._found("missing", path, f"not indexed: {action.reason}")
        elif kind == "rename":
            self._found("outdated", path, f"indexed as {action.old_path}, which is gone")
        elif takes_out(action, file):
            self._found("stale", path, f"indexed, but {action.reason}")
        elif kind == "update":
            unfinished = file is not None and file.redo is not None
            self._found("unfinished" if unfinished else "outdated", path, action.reason)

    def _as_cut(self, file: Known, rows: Iterable[Row]) -> Wanted:
        """What a file says, which the manifest should note alike."""
        digests, wanted = _by_id(rows)
        noted = self._one.manifest.rows(self._one.record.id, file.path)
        stored = {row_id: row.digest for row_id, row in noted.items() if row.stored}
        if stored != digests or file.chunks != len(digests):
            detail = "its rows are noted otherwise than its text gives them"
            self._found("manifest", file.path, detail)
        return Wanted(file.path, digests, wanted)

    def _found(self, kind: FindingKind, path: str, detail: str) -> None:
        self._report(Finding(kind=kind, path=path, detail=detail))


def _by_id(rows: Iterable[Row]) -> tuple[dict[str, bytes], dict[str, Row]]:
    wanted = {row.id: row for row in rows}
    return {row_id: row.digest for row_id, row in wanted.items()}, wanted


def as_noted(one: Opened, file: Known, report: Report) -> Wanted:
    """What the manifest notes of one file."""
    rows = one.manifest.rows(one.record.id, file.path)
    stored = {row_id: row.digest for row_id, row in rows.items() if row.stored}
    incomplete = file.redo is not None or len(stored) != file.chunks
    if incomplete and file.redo is None:
        detail = f"{len(stored)} rows are noted of {file.chunks}"
        report(Finding(kind="manifest", path=file.path, detail=detail))
    return Wanted(file.path, stored, incomplete=incomplete)
