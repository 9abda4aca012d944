"""The pure diff: what the scan saw against what the manifest knows gives a list of actions.

No I/O happens here and nothing is guessed: tests pass values in and compare values out.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping

from reposync.records import Action, Known, Seen


def plan(
    listed: Collection[str], seen: Iterable[Seen], known: Mapping[str, Known]
) -> Iterator[Action]:
    """Decide what to do about each file, lazily: one action for each of `seen`, deletions last.

    Args:
        listed: every path of the repository that must not be taken for deleted: those of `seen`,
            and those that the system would not tell about.
        seen: the files as the scan saw them.
        known: the manifest's files by path.

    A rename is a label on a (delete, add) pair of equal content, one to one; among identical
    copies the first missing path goes to the first new one, both in the order of their names.
    """
    present = frozenset(listed)
    missing = {path: known[path] for path in sorted(known.keys() - present)}
    by_content: defaultdict[str, deque[str]] = defaultdict(deque)
    for path, file in missing.items():
        if file.content_hash is not None and file.skip is None:
            by_content[file.content_hash].append(path)

    for one in seen:
        if one.gone:
            if one.path in known:
                yield _removal(known[one.path])
            continue
        action = _decide(one, known.get(one.path))
        if action.kind == "add" and one.content_hash is not None and by_content[one.content_hash]:
            old_path = by_content[one.content_hash].popleft()
            del missing[old_path]
            action = Action("rename", one.path, "same content", old_path=old_path, seen=one)
        yield action

    for file in missing.values():
        yield _removal(file)


def _removal(file: Known) -> Action:
    if is_indexed(file):
        return Action("delete", file.path, "no longer in the repository")
    return Action("forget", file.path, "was not in the index, and is gone")


def _decide(seen: Seen, known: Known | None) -> Action:
    if seen.failure is not None:
        return Action("fail", seen.path, seen.failure.message, seen=seen)
    if seen.skip is not None:
        return Action("skip", seen.path, seen.skip, seen=seen)
    if known is None:
        return Action("add", seen.path, "new file", seen=seen)
    if known.skip is not None and known.redo is None:
        if seen.unread:
            return Action("skip", seen.path, known.skip, seen=seen)
        return Action("add", seen.path, f"was skipped as {known.skip}", seen=seen)
    if known.redo is not None:
        return Action("update", seen.path, known.redo, seen=seen)
    if seen.unread:
        return Action("keep", seen.path, "unchanged", seen=seen)
    if seen.content_hash == known.content_hash:
        return Action("keep", seen.path, "same content", seen=seen)
    return Action("update", seen.path, "content changed", seen=seen)


def look_again(known: Mapping[str, Known], paths: Iterable[str], reason: str) -> dict[str, Known]:
    """`known` with `paths` noted as files that must be read again; skipped files stay skipped."""
    changed = dict(known)
    for path in paths:
        if changed[path].skip is None:
            changed[path] = changed[path]._replace(redo=reason)
    return changed


def deletions(actions: Iterable[Action], known: Mapping[str, Known]) -> int:
    """How many indexed files `actions` would take out of the index."""
    return sum(takes_out(action, known.get(action.path)) for action in actions)


def takes_out(action: Action, known: Known | None) -> bool:
    """True if `action` removes a file that is in the index: deleted, or skipped from now on."""
    return action.kind in ("delete", "skip") and is_indexed(known)


def is_indexed(known: Known | None) -> bool:
    """True if chunks of this file are, or may be, in the collection."""
    return known is not None and (known.skip is None or known.redo is not None)


def too_many(deleted: int, indexed: int, max_fraction: float, at_least: int = 10) -> bool:
    """True if deleting `deleted` of `indexed` files looks more like an accident than a wish."""
    return deleted >= at_least and deleted > max_fraction * indexed
