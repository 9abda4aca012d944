"""The scan against the manifest: which files need reading, which vanished, which may be left alone.

Files are listed and stat'ed at once, but read one by one, as the plan asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext

from reposync.plan import look_again
from reposync.records import Failure, Known, Seen
from reposync.scan import Entry, Source
from reposync.scan.read import unread
from reposync.tally import Tally

RULES_CHANGED = "the rules for what is indexed changed"


class Survey:
    """What the scan found, beside what the manifest knows.

    Attributes:
        known: the manifest's files by path; those that were judged by other rules than they are
            now are noted as files that must be read again.
        listed: every path that must not be taken for deleted.
    """

    def __init__(
        self, source: Source, known: Mapping[str, Known], entries: list[Entry] | None = None
    ) -> None:
        self._source = source
        self._entries = source.entries() if entries is None else entries
        self.known: dict[str, Known] = look_again(
            known, self._judged_otherwise(known), RULES_CHANGED
        )
        self.listed = {entry.path for entry in self._entries}
        self._hidden = self._find_hidden()
        self.listed.update(failure.path for failure in self._hidden)

    def with_known(self, known: Mapping[str, Known]) -> Survey:
        """The same scan beside newer knowledge."""
        return Survey(self._source, known, self._entries)

    def _judged_otherwise(self, known: Mapping[str, Known]) -> list[str]:
        """The indexed files whose bytes may be judged otherwise now: secrets in them, say."""
        return [
            entry.path
            for entry in self._entries
            if entry.skip is None
            and entry.failure is None
            and (file := known.get(entry.path)) is not None
            and file.skip is None
            and file.redo is None
            and file.rules != entry.rules
        ]

    def _find_hidden(self) -> list[Failure]:
        """Known files that are not listed because they cannot be seen: they are not deleted."""
        unread = {entry.path: entry.failure for entry in self._entries if entry.failure}
        verdicts = (
            self._source.missing(path, unread) for path in sorted(self.known.keys() - self.listed)
        )
        return [verdict for verdict in verdicts if isinstance(verdict, Failure)]

    @property
    def nothing_to_do(self) -> bool:
        """True if every file is as recorded, so that neither it nor the store need be opened."""
        return (
            not self._hidden
            and self.known.keys() <= self.listed
            and all(self._as_recorded(entry) for entry in self._entries)
        )

    @property
    def deletion_candidates(self) -> int:
        """How many indexed files may turn out to leave the index: an upper bound, unread."""
        kept = {entry.path for entry in self._entries if self._as_recorded(entry)}
        kept.update(failure.path for failure in self._hidden)
        return sum(
            file.skip is None or file.redo is not None
            for path, file in self.known.items()
            if path not in kept
        )

    @property
    def sizes_to_read(self) -> dict[str, int]:
        """How large the files are that `seen` will read, in bytes."""
        return {
            entry.path: entry.stat.size
            for entry in self._entries
            if entry.failure is None
            and entry.skip is None
            and entry.stat is not None
            and not self._as_recorded(entry)
        }

    @property
    def vanished_rows(self) -> int:
        """How many rows the files have that are not listed any more, as far as is noted."""
        return sum(self.known[path].chunks for path in self.known.keys() - self.listed)

    def seen(self, tally: Tally | None = None) -> Iterator[Seen]:
        """Each file, read if its stat is not as recorded; reading counts as "scan" in `tally`."""
        for entry in self._entries:
            if entry.failure is not None or entry.skip is not None:
                yield unread(entry)
            elif self._as_recorded(entry):
                yield Seen(entry.path, entry.stat)
            else:
                with tally.stage("scan") if tally else nullcontext():
                    seen = self._source.read(entry)
                yield seen or Seen(entry.path, gone=True)
        for failure in self._hidden:
            yield Seen(failure.path, failure=failure)

    def _as_recorded(self, entry: Entry) -> bool:
        known = self.known.get(entry.path)
        if known is None or known.redo is not None or known.stat != entry.stat:
            return False
        if entry.failure is not None or entry.stat is None:
            return False
        if entry.skip is not None:
            return known.skip == entry.skip
        # A skip for what the name or the stat says is noted without a hash: it does not hold for a
        # file that is to be read now.
        return known.content_hash is not None and known.rules == entry.rules
