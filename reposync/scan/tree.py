"""The files of a commit as git's objects have them, those of its submodules on request."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from reposync.errors import ConfigError, ScanError
from reposync.records import FileStat
from reposync.scan.blobs import Blobs
from reposync.scan.checkout import AS_IT_IS, Conversion, conversions
from reposync.scan.git_command import NoAnswer, run_git
from reposync.scan.refs import PLAIN, find_tree, prefix_of, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LINK, MODULE = b"120000", b"160000"


class Leaf(NamedTuple):
    """One entry of a tree.

    Attributes:
        size: None for a submodule, and for a blob that is not here.
        blobs: where it is read from.
        conversion: what a checkout does to it.
    """

    mode: bytes
    oid: str
    size: int | None
    blobs: Blobs
    conversion: Conversion = AS_IT_IS

    @property
    def is_file(self) -> bool:
        """False for a symlink and a submodule."""
        return self.mode not in (LINK, MODULE)

    def read(self) -> bytes:
        """Give the bytes that a checkout would write; raises OSError if they cannot be had."""
        return self.conversion.apply(self.blobs.read(self.oid), self.oid.encode())

    @property
    def stamp(self) -> FileStat:
        """What stands in for a stat: it is equal if, and only if, the file is.

        The inode is negative, so that it is no file's of a folder.
        """
        key = f"{self.mode.decode()} {self.oid} {self.conversion.crlf} {self.conversion.ident}"
        raw = hashlib.blake2b(key.encode(), digest_size=24).digest()
        first, second, third = (int.from_bytes(raw[at : at + 8], "big") >> 2 for at in (0, 8, 16))
        return FileStat(self.size or 0, first, second, -1 - third)


class Tree:
    """What a commit has of a folder."""

    def __init__(self, root: Path, ref: str) -> None:
        self._root = root
        prefix = prefix_of(root, ref)
        self.commit = resolve(root, ref)
        self._top = find_tree(root, self.commit, prefix, ref)
        self._blobs = Blobs(root)
        self._modules: list[Tree] = []

    def leaves(self, *, submodules: bool) -> dict[bytes, Leaf]:
        """List all entries by their paths; with `submodules`, theirs in their place.

        Raises:
            ScanError: git cannot tell.
        """
        try:
            leaves = self._list()
            # Above a folder there may be attributes that are not listed.
            attributes = ":" in self._top or any(
                path.rpartition(b"/")[2] == b".gitattributes" for path in leaves
            )
            files = [path for path, leaf in leaves.items() if leaf.is_file]
            found = conversions(self._root, self.commit, files, attributes=attributes)
        except NoAnswer as answer:
            raise ScanError(f"{self._root}: git cannot list {self.commit}: {answer}") from answer
        for path, conversion in found.items():
            leaves[path] = leaves[path]._replace(conversion=conversion)
        if submodules:
            for path in [path for path, leaf in leaves.items() if leaf.mode == MODULE]:
                inside = self._module(path, leaves[path].oid)
                if inside is not None:
                    del leaves[path]
                    leaves.update((path + b"/" + raw, leaf) for raw, leaf in inside.items())
        return leaves

    def _module(self, raw: bytes, commit: str) -> dict[bytes, Leaf] | None:
        """What a submodule has, if it is checked out and has the commit."""
        folder = self._root / os.fsdecode(raw)
        # Not by a symlink, that could lead anywhere.
        if os.path.realpath(folder) != os.path.join(os.path.realpath(self._root), os.fsdecode(raw)):
            return None
        if not os.path.lexists(folder / ".git"):
            return None
        try:
            module = Tree(folder, commit)
            self._modules.append(module)
            return module.leaves(submodules=True)
        except (ConfigError, ScanError):
            return None

    def close(self) -> None:
        """End the processes that read blobs."""
        self._blobs.close()
        for module in self._modules:
            module.close()

    def _list(self) -> dict[bytes, Leaf]:
        """List the files of a tree and of all trees in it."""
        question = ("ls-tree", "-r", "-z", "--full-tree")
        sizes: Mapping[bytes, bytes] = {}
        try:
            answer = run_git(self._root, *question, "-l", self._top, settings=PLAIN)
        except NoAnswer:  # a partial clone: git gives up at the first blob that is not here
            answer = run_git(self._root, *question, self._top, settings=PLAIN)
            sizes = _sizes_here(self._root)
        leaves = {}
        for line in answer.split(b"\0"):
            if line:
                head, _, path = line.partition(b"\t")
                mode, _, oid, *size = head.split()
                number = size[0] if size else sizes.get(oid, b"")
                here = int(number) if number.isdigit() else None
                leaves[path] = Leaf(mode, oid.decode(), here, self._blobs)
        return leaves


def _sizes_here(root: Path) -> dict[bytes, bytes]:
    """The sizes of all objects that need not be fetched."""
    question = ("--batch-all-objects", "--unordered", "--batch-check=%(objectname) %(objectsize)")
    answer = run_git(root, "cat-file", *question, settings=PLAIN)
    return dict(line.split(b" ", 1) for line in answer.splitlines())
