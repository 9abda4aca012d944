"""The files of a commit, read from git's objects: no checkout is made, touched or needed."""

from __future__ import annotations

import errno
import hashlib
import os
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from reposync.errors import ConfigError, ScanError
from reposync.records import Failure, FileStat, Seen, SkipReason
from reposync.scan.blobs import Blobs
from reposync.scan.checkout import AS_IT_IS, Conversion, conversions
from reposync.scan.entry import Entry, failed
from reposync.scan.git import GitState
from reposync.scan.git_command import NoAnswer, relative_to_root, run_git
from reposync.scan.ignore import MAX_RULES_BYTES, above_root, split_lines
from reposync.scan.limits import within_limits
from reposync.scan.listing import IGNORE_FILE
from reposync.scan.paths import escape_path, unescape_path
from reposync.scan.read import judge, unread
from reposync.scan.rules import Rules
from reposync.scan.walk import Ground, Reason
from reposync.scan.wanted import judge_names
from reposync.scan.why import absent, in_submodule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from reposync.config import SyncConfig

_PLAIN = {"GIT_NO_REPLACE_OBJECTS": "1"}
_KINDS: dict[bytes, SkipReason] = {b"120000": "symlink", b"160000": "submodule"}


class Leaf(NamedTuple):
    """One entry of a commit's tree; `size` is None for a submodule, and for a blob that is lost."""

    mode: bytes
    oid: str
    size: int | None


class CommitSource:
    """A commit of the repository that a folder belongs to, from that folder downwards."""

    def __init__(
        self, root: Path, ref: str, config: SyncConfig, *, store_path: Path | None = None
    ) -> None:
        self._root = root
        self._config = config
        self._rules = Rules.of(config)
        self._store = relative_to_root(root, store_path)
        self._blobs = Blobs(root)
        self._entries: list[Entry] | None = None
        self._leaves: dict[bytes, Leaf] = {}
        self._folders: set[bytes] = set()
        self._conversions: Mapping[bytes, Conversion] = {}
        self.warnings: list[str] = []
        self.commit = resolve(root, ref)
        self._top = _tree(root, self.commit, ref)

    def entries(self) -> list[Entry]:
        """List what belongs; a commit does not change, so it is listed once."""
        if self._entries is None:
            try:
                self._leaves = _list(self._root, self._top)
                self._folders = _folders(self._leaves)
                self._conversions = self._find_conversions()
            except NoAnswer as answer:
                raise ScanError(
                    f"{self._root}: git cannot list {self.commit}: {answer}"
                ) from answer
            config = self._config
            above = above_root((IGNORE_FILE,), config.include, config.exclude)
            self._ground = Ground(self, above, store=self._store)
            entries = sorted(self._ground.entries(self._leaves), key=attrgetter("path"))
            wanted = judge_names(entries, self._rules, self.rules)
            self._entries = list(within_limits(wanted, config.max_files, config.max_total_bytes))
        return self._entries

    def _find_conversions(self) -> Mapping[bytes, Conversion]:
        # Above a folder there may be attributes that are not listed.
        attributes = ":" in self._top or any(
            path.rpartition(b"/")[2] == b".gitattributes" for path in self._leaves
        )
        files = [path for path, leaf in self._leaves.items() if leaf.mode not in _KINDS]
        return conversions(self._root, self.commit, files, attributes=attributes)

    def read(self, entry: Entry) -> Seen | None:
        """Read one blob, and make of it what a checkout would."""
        if entry.skip or entry.failure:
            return unread(entry)
        raw = unescape_path(entry.path)
        oid = self._leaves[raw].oid
        try:
            data = self._blobs.read(oid)
        except OSError as error:
            return Seen(entry.path, failure=failed(entry.path, error))
        data = self._conversion(raw).apply(data, oid.encode())
        if len(data) > self._config.max_file_bytes:
            return Seen(entry.path, entry.stat, skip="too_large")
        assert entry.stat is not None
        return judge(entry, data, entry.stat, self._rules)

    def missing(self, path: str, unread: Mapping[str, Failure]) -> bool | Failure:
        """What a commit does not list is not in it, or does not belong."""
        return unescape_path(path) in self._leaves

    def why_not(self, raw: bytes) -> Reason:
        """Tell why a path is not among the entries of the commit."""
        is_folder = self.is_folder(raw)
        return (
            self._ground.why_not(raw, is_folder=is_folder)
            or in_submodule(raw, self.entries())
            or absent(raw, is_there=raw in self._leaves, is_folder=is_folder)
        )

    def state(self) -> GitState | None:
        """Tell the commit."""
        return GitState(self.commit, None, dirty=False)

    def close(self) -> None:
        """End the process that reads the blobs."""
        self._blobs.close()

    # -- the commit as a tree of files, see `reposync.scan.walk.View` ------------------------------

    def look(self, raw: bytes) -> Entry | None:
        """See `View`."""
        leaf = self._leaves.get(raw)
        if leaf is None:
            return None
        path = escape_path(raw)
        stamp = _stamp(leaf, self._conversion(raw))
        if (kind := _KINDS.get(leaf.mode)) is not None:
            return Entry(path, stamp, kind)
        if leaf.size is None:
            lost = FileNotFoundError(errno.ENOENT, f"git has no blob {leaf.oid}")
            return Entry(path, failure=failed(path, lost))
        if leaf.size == 0:
            return Entry(path, stamp, "empty")
        return Entry(path, stamp, "too_large" if leaf.size > self._config.max_file_bytes else None)

    def is_folder(self, raw: bytes) -> bool:
        """See `View`."""
        return raw in self._folders and raw not in self._leaves

    def rules(self, raw: bytes) -> list[bytes]:
        """See `View`."""
        leaf = self._leaves.get(raw)
        if leaf is None or leaf.mode in _KINDS:
            return []
        if leaf.size is not None and leaf.size > MAX_RULES_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), raw)
        return split_lines(self._blobs.read(leaf.oid))

    def _conversion(self, raw: bytes) -> Conversion:
        return self._conversions.get(raw, AS_IT_IS)


def resolve(root: Path, ref: str) -> str:
    """Give the id of the commit that `ref` names.

    Raises:
        ConfigError: there is no such commit, or no repository.
    """
    try:
        run_git(root, "rev-parse", "--git-dir")
    except NoAnswer as refusal:
        if "not a git repository" in str(refusal):
            raise ConfigError(
                f"ref={ref!r}: {root} is in no git repository. Pass a repository, or no ref."
            ) from refusal
        raise ScanError(f"{root}: ref={ref!r} cannot be read from git: {refusal}.") from refusal
    question = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    try:
        lines = run_git(root, *question, accept=(0, 1), settings=_PLAIN).decode("ascii").split()
    except NoAnswer:
        lines = []
    if not lines:
        raise ConfigError(wrong_ref(ref, str(root), _ref_names(root)))
    return lines[-1]


def wrong_ref(ref: str, where: str, names: list[str]) -> str:
    """Say that there is no such ref, and which ones are spelt nearly so."""
    import difflib

    near = difflib.get_close_matches(ref, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"ref={ref!r} names no commit in {where}.{hint} Pass a branch, a tag or a commit's id."


def _ref_names(root: Path) -> list[str]:
    try:
        answer = run_git(root, "for-each-ref", "--count=5000", "--format=%(refname:short)")
    except NoAnswer:
        return []
    return answer.decode("utf-8", "replace").split()


def _tree(root: Path, commit: str, ref: str) -> str:
    """Name the tree that the root is in a commit."""
    try:
        prefix = run_git(root, "rev-parse", "--show-prefix").removesuffix(b"\n").removesuffix(b"/")
        if not prefix:
            return commit
        tree = b":".join((commit.encode(), prefix))
        kind = run_git(root, "cat-file", "-t", tree, settings=_PLAIN)
    except NoAnswer:
        kind = b""
    if kind.strip() != b"tree":
        raise ConfigError(f"ref={ref!r}: {root} is not a folder in that commit.")
    return os.fsdecode(tree)


def _list(root: Path, tree: str) -> dict[bytes, Leaf]:
    """List the files of a tree and of all trees in it."""
    question = ("ls-tree", "-r", "-z", "--full-tree")
    sizes: Mapping[bytes, bytes] = {}
    try:
        answer = run_git(root, *question, "-l", tree, settings=_PLAIN)
    except NoAnswer:  # a partial clone: git gives up at the first blob that is not here
        answer = run_git(root, *question, tree, settings=_PLAIN)
        sizes = _sizes_here(root)
    leaves = {}
    for line in answer.split(b"\0"):
        if line:
            head, _, path = line.partition(b"\t")
            mode, _, oid, *size = head.split()
            number = size[0] if size else sizes.get(oid, b"")
            leaves[path] = Leaf(mode, oid.decode(), int(number) if number.isdigit() else None)
    return leaves


def _sizes_here(root: Path) -> dict[bytes, bytes]:
    """The sizes of all objects that need not be fetched."""
    question = ("--batch-all-objects", "--unordered", "--batch-check=%(objectname) %(objectsize)")
    answer = run_git(root, "cat-file", *question, settings=_PLAIN)
    return dict(line.split(b" ", 1) for line in answer.splitlines())


def _folders(leaves: Iterable[bytes]) -> set[bytes]:
    """All folders that hold a file, at whatever depth."""
    folders: set[bytes] = set()
    for path in leaves:
        above = path.rpartition(b"/")[0]
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition(b"/")[0]
    return folders


def _stamp(leaf: Leaf, conversion: Conversion) -> FileStat:
    """Give what stands in for a stat: it is equal if, and only if, the file is.

    The inode is negative, so that it is no file's of a folder.
    """
    key = f"{leaf.mode.decode()} {leaf.oid} {conversion.crlf} {conversion.ident}"
    raw = hashlib.blake2b(key.encode(), digest_size=24).digest()
    first, second, third = (int.from_bytes(raw[at : at + 8], "big") >> 2 for at in (0, 8, 16))
    return FileStat(leaf.size or 0, first, second, -1 - third)
