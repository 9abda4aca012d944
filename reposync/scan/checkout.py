"""What a checkout makes of a blob: line ends as ``.gitattributes`` and ``core.autocrlf`` say.

So that the files of a commit are the same text whether they are read from a folder or from git.
Git itself converts only what it writes to disk, by the attributes that lie there; here it tells the
attributes of the commit, and its rules (``convert.c``) are applied in memory. Filters are programs
and are not run; ``working-tree-encoding`` is not applied, for text is what is wanted.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reposync.scan.git_command import NoAnswer, run_git

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ATTRIBUTES = ("text", "crlf", "eol", "ident")
_NAMED = frozenset(("set", "unset", "input", "auto"))
_IDENT = re.compile(rb"\$Id(:[^$\n]*)?\$")
_LONE_LF = re.compile(rb"(?<!\r)\n")
_ODD = bytes(set(range(32)) - set(b"\b\t\n\r\f\x1b")) + b"\x7f"


class Conversion(NamedTuple):
    """What a checkout does to one blob.

    Attributes:
        crlf: "always" gives each line CRLF, "auto" only where it looks like text.
        ident: ``$Id$`` is filled in.
    """

    crlf: str = ""
    ident: bool = False

    def apply(self, data: bytes, oid: bytes) -> bytes:
        """Give the bytes that a checkout would write."""
        if self.ident:
            data = _IDENT.sub(lambda found: _fill_in(found, oid), data)
        if self.crlf and _gets_crlf(data, guess=self.crlf == "auto"):
            data = _LONE_LF.sub(b"\r\n", data)
        return data


AS_IT_IS = Conversion()


def conversions(
    root: Path, commit: str, paths: Iterable[bytes], *, attributes: bool
) -> Mapping[bytes, Conversion]:
    """Tell which blobs of a commit a checkout would change, by their paths below `root`.

    Args:
        root: where the repository is.
        commit: the commit whose ``.gitattributes`` count.
        paths: the blobs' paths relative to the root.
        attributes: False if the commit is known to have no ``.gitattributes``.

    Raises:
        NoAnswer: git cannot tell.
    """
    automatic, crlf = _settings(root)
    if not attributes and not automatic and not _has_own_attributes(root):
        return {}
    # A hostile tree may name what is outside; git would refuse to answer about any path.
    wanted = [path for path in paths if not {b"", b".", b".."} & set(path.split(b"/"))]
    said: dict[bytes, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="reposync-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index"), "GIT_NO_REPLACE_OBJECTS": "1"}
        run_git(root, "read-tree", commit, settings=index)
        question = ("check-attr", "-z", "--cached", "--stdin", *_ATTRIBUTES)
        answer = run_git(root, *question, settings=index, stdin=b"".join(p + b"\0" for p in wanted))
    fields = answer.split(b"\0")
    for path, name, value in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        if value != b"unspecified":
            said.setdefault(path, {})[name.decode()] = value.decode("utf-8", "replace")
    found = {path: _conversion(said.get(path, {}), automatic, crlf) for path in wanted}
    return {path: one for path, one in found.items() if one != AS_IT_IS}


def _settings(root: Path) -> tuple[bool, bool]:
    """Whether all that looks like text gets CRLF, and whether that is the line end of text."""
    question = ("config", "-z", "--get-regexp", r"^core\.(autocrlf|eol)$")
    answer = run_git(root, *question, accept=(0, 1)).decode("utf-8", "replace")
    values = {}
    for entry in answer.split("\0"):
        key, given, value = entry.partition("\n")
        values[key] = value if given else "true"
    automatic = values.get("core.autocrlf", "").lower()
    if automatic == "input":
        return False, False
    if automatic in ("true", "yes", "on", "1"):
        return True, True
    end = values.get("core.eol", "native").lower()
    return False, end == "crlf" or (end == "native" and os.linesep == "\r\n")


def _has_own_attributes(root: Path) -> bool:
    """True if there are attributes beside those of the commit."""
    answer = run_git(root, "rev-parse", "--git-path", "info/attributes")
    files = [Path(root, os.fsdecode(answer.removesuffix(b"\n"))), Path("/etc/gitattributes")]
    try:
        answer = run_git(root, "config", "--path", "--get", "core.attributesFile")
        files.append(Path(root, os.fsdecode(answer.removesuffix(b"\n"))))
    except NoAnswer:
        home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        files.append(Path(home, "git", "attributes").expanduser())
    return any(map(os.path.exists, files))  # to git, what it may not look at is not there


def _conversion(said: Mapping[str, str], automatic: bool, crlf: bool) -> Conversion:
    """Combine attributes and settings as git does (``convert_attrs`` in ``convert.c``)."""
    ident = said.get("ident") == "set"
    text = said.get("text", "")
    if text not in _NAMED:
        text = said.get("crlf", "")
    if text == "unset":
        return Conversion(ident=ident)
    end = said.get("eol")
    if end == "lf":
        return Conversion(ident=ident)
    if end == "crlf":
        return Conversion("auto" if text == "auto" else "always", ident)
    if text == "set":
        return Conversion("always" if crlf else "", ident)
    if text == "auto":
        return Conversion("auto" if crlf else "", ident)
    if text == "input":
        return Conversion(ident=ident)
    return Conversion("auto" if automatic else "", ident)


def _gets_crlf(data: bytes, *, guess: bool) -> bool:
    if not _LONE_LF.search(data):
        return False
    if not guess:
        return True
    if b"\r" in data or b"\0" in data:  # lone ones make it binary, pairs say that it is as it is
        return False
    text = data[:-1] if data.endswith(b"\x1a") else data
    odd = len(text) - len(text.translate(None, _ODD))
    return (len(text) - odd - text.count(b"\n")) >> 7 >= odd


def _fill_in(found: re.Match[bytes], oid: bytes) -> bytes:
    inside = found[1]
    # What another system's keyword was is left alone: it holds a blank before its end.
    if inside is not None and b" " in inside[2:-1]:
        return found[0]
    return b"$Id: " + oid + b" $"
