"""Which of the entries that belong are wanted, as far as their names tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reposync.scan.attributes import Attributes
from reposync.scan.entry import Entry
from reposync.scan.names import judge_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from reposync.scan.rules import Rules


def judge_names(
    entries: Iterable[Entry], rules: Rules, read: Callable[[bytes], Iterable[bytes]]
) -> Iterator[Entry]:
    """Mark the entries that are not wanted as skipped; the others get the rules to be read by.

    Args:
        entries: what was listed; what is skipped already stays so.
        rules: what is wanted.
        read: gives the lines of a file of the same tree, see `Attributes`.
    """
    attributes = Attributes(read)
    usual, exempt = rules.fingerprint(), rules.fingerprint(exempt=True)
    for entry in entries:
        if entry.skip is not None or entry.failure is not None:
            yield entry
            continue
        named = judge_name(entry.path, rules, attributes.marks(entry.path))
        if named.skip is not None:
            yield entry._replace(skip=named.skip.reason, rule=named.skip.rule)
        else:
            fingerprint = exempt if named.exempt else usual
            yield Entry(entry.path, entry.stat, exempt=named.exempt, rules=fingerprint)
