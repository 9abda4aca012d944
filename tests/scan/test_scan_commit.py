"""A commit read from git's objects is what a checkout of it would be, and nothing is run for it."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reposync.config import SyncConfig
from reposync.errors import ConfigError, ScanError
from reposync.records import Seen
from reposync.scan import CommitSource, FolderSource, Source, git_command

Tree = Callable[[dict[str, str | bytes]], Path]
Git = Callable[..., bytes]


def commit(git: Git, root: Path, message: str = "x") -> str:
    """Commit all of a folder, ignored files that are tracked already included."""
    if not (root / ".git").exists():
        git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", message)
    return git(root, "rev-parse", "HEAD").decode().strip()


def contents(source: Source) -> dict[str, tuple[object, ...]]:
    """What is in a source, by path: why it is skipped, else its hash and text."""
    with closing(source):
        seen = [source.read(entry) for entry in source.entries()]
    assert None not in seen
    return {
        one.path: (one.skip, one.content_hash, one.text, one.failure)
        for one in seen
        if isinstance(one, Seen)
    }


def of_ref(root: Path, ref: str = "HEAD", **settings: object) -> dict[str, tuple[object, ...]]:
    return contents(CommitSource(root, ref, SyncConfig(**settings)))


def of_checkout(
    git: Git, root: Path, place: Path, ref: str = "HEAD", **settings: object
) -> dict[str, tuple[object, ...]]:
    """The same of a fresh work tree that stands on the commit."""
    top = Path(os.fsdecode(git(root, "rev-parse", "--show-toplevel").rstrip(b"\n")))
    git(root, "worktree", "add", "-q", "--detach", "--force", str(place), ref)
    return contents(FolderSource(place / root.relative_to(top), SyncConfig(**settings)))


NASTY: dict[str, str | bytes] = {
    "a.py": "def a():\n    return 1\n",
    "docs/deep/é/ü.md": "# ü\n",
    "odd\nname": "newline\n",
    'quo"te': "quote\n",
    "tab\there": "tab\n",
    "back\\slash": "backslash\n",
    " lead and trail ": "blanks\n",
    "-rf": "a dash\n",
    ":(top)x": "pathspec magic\n",
    "*": "a star\n",
    "empty": "",
    "blank": " \n",
    "binary": b"\0\1\2",
    "latin": "caf\xe9\n".encode("cp1252"),
    "crlf.txt": "a\r\nb\r\n",
    "cr.txt": "a\rb\r",
    "big": "x" * 5000,
    "build/kept.txt": "tracked though ignored\n",
    "notes/private.txt": "not to be indexed\n",
    "notes/public.txt": "to be indexed\n",
    "sub/.reposyncignore": "*.tmp\n!keep.tmp\n",
    "sub/a.tmp": "hidden\n",
    "sub/keep.tmp": "shown\n",
    "exported.txt": "left out of archives only\n",
    "pointer.bin": (
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
    ),
}


@pytest.fixture
def nasty(tree: Tree, git: Git) -> Path:
    """A repository of files that are told apart, named and skipped in every way."""
    root = tree(NASTY)
    (root / os.fsdecode(b"not-\xff-utf8")).write_text("an odd name\n")
    os.symlink("a.py", root / "link")
    os.symlink("docs", root / "folder-link")
    os.symlink(".reposyncignore", root / "docs/.reposyncignore")
    commit(git, root)
    (root / ".gitignore").write_text("build/\n")
    (root / ".reposyncignore").write_text("notes/*\n!notes/public.txt\n")
    (root / ".gitattributes").write_text(
        "exported.txt export-ignore\n*.bin filter=lfs diff=lfs merge=lfs -text\n"
    )
    commit(git, root)
    return root


@pytest.mark.parametrize("where", [".", "sub", "docs/deep"])
def test_a_ref_is_what_its_checkout_is(nasty: Path, git: Git, tmp_path: Path, where: str) -> None:
    """The same files, skipped for the same reasons, with the same bytes and text."""
    found = of_ref(nasty / where, max_file_bytes=4000)
    assert found == of_checkout(git, nasty / where, tmp_path / "other", max_file_bytes=4000)
    if where == ".":
        assert found["link"][0] == found["folder-link"][0] == "symlink"
        assert found["big"][0] == "too_large"
        assert found["build/kept.txt"][0] is None
        assert {"sub/keep.tmp", "notes/public.txt", "exported.txt"} <= found.keys()
        assert not {"sub/a.tmp", "notes/private.txt"} & found.keys()
        assert r"not-\xff-utf8" in found


def test_include_and_exclude_narrow_a_ref(nasty: Path, git: Git, tmp_path: Path) -> None:
    """The caller's patterns work on a commit as on a folder."""
    narrow = {"include": ["*.md", "*.txt"], "exclude": ["notes"]}
    found = of_ref(nasty, **narrow)
    assert found == of_checkout(git, nasty, tmp_path / "other", **narrow)
    assert "docs/deep/é/ü.md" in found
    assert "a.py" not in found


TEXTS = [
    b"a\nb\n",
    b"a\r\nb\n",
    b"a\r\nb\r\n",
    b"a\rb\n",
    b"no end",
    b"\x01\x02\x03\nz\n",
    b"x\n\x1a",
]
IDS = [b"$Id$\n", b"$Id: x $\n", b"$Id: from another system $\n", b"$Id: x\n$\n", b"$Idx$ $Id:$\n"]
LINES = [
    "* text=auto", "* text=auto eol=crlf", "*.0 text eol=crlf", "*.1 -text", "*.2 text",
    "*.3 eol=crlf", "*.4 text eol=lf", "*.5 crlf", "*.6 -crlf", "*.7 crlf=input", "* ident",
    "*.8 text=input eol=crlf", "*.9 text=odd", "*.0 !text eol=lf", "[attr]dos text eol=crlf",
    "*.1 dos", "* -ident",
]  # fmt: skip
SETTINGS: list[dict[str, str]] = [
    {}, {"core.autocrlf": "true"}, {"core.autocrlf": "input"}, {"core.eol": "crlf"},
    {"core.autocrlf": "true", "core.eol": "lf"}, {"core.autocrlf": "false", "core.eol": "crlf"},
]  # fmt: skip


@pytest.mark.parametrize("number", range(12))
def test_line_ends_are_those_of_a_checkout(
    tree: Tree, git: Git, tmp_path: Path, number: int
) -> None:
    """What attributes and settings make of line ends and keywords is what git makes of them."""
    luck = random.Random(number)
    files: dict[str, str | bytes] = {
        f"d{kind}/f{number}.{number % 10}": text
        for kind in (0, 1)
        for number, text in enumerate([*TEXTS, *IDS])
    }
    root = tree(files)
    for name in ("core.autocrlf", "core.safecrlf"):
        git_config(root, git, name, "false")
    commit(git, root)  # as they are, before there are any attributes
    for place in (".gitattributes", "d1/.gitattributes"):
        (root / place).write_text("\n".join(luck.sample(LINES, 5)) + "\n")
    if number % 3 == 0:
        (root / ".git/info/attributes").write_text(luck.choice(LINES) + "\n")
    git(root, "add", ".gitattributes", "d1/.gitattributes")
    git(root, "commit", "-qm", "attributes")
    for name, value in SETTINGS[number % len(SETTINGS)].items():
        git_config(root, git, name, value)
    assert of_ref(root) == of_checkout(git, root, tmp_path / "other")
    assert of_ref(root / "d1") == of_checkout(git, root / "d1", tmp_path / "third")


def git_config(root: Path, git: Git, name: str, value: str) -> None:
    if not (root / ".git").exists():
        git(root, "init", "-q", "-b", "main")
    git(root, "config", name, value)


def test_an_equal_blob_has_an_equal_stamp(tree: Tree, git: Git) -> None:
    """A file is read again exactly if a checkout of it would have changed."""
    root = tree({"same": "same\n", "changed": "one\n", "moved/a": "a\n", "lines.txt": "a\nb\n"})
    one = commit(git, root)
    (root / "changed").write_text("two\n")
    (root / "same").chmod(0o755)
    two = commit(git, root)
    (root / ".gitattributes").write_text("lines.txt text eol=crlf\n")
    three = commit(git, root)

    def stamps(ref: str) -> dict[str, object]:
        with closing(CommitSource(root, ref, SyncConfig())) as source:
            return {entry.path: entry.stat for entry in source.entries()}

    def changed(old: str, new: str) -> set[str]:
        before, after = stamps(old), stamps(new)
        return {path for path in before if before[path] != after[path]}

    assert changed(one, one) == set()
    assert changed(one, two) == {"changed", "same"}  # the mode may have made it a symlink
    assert changed(two, three) == {"lines.txt"}


@pytest.fixture
def trapped(tree: Tree, git: Git, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A repository that would run a program in every way it can; the program leaves a mark."""
    root = tree({"a.txt": "x\n", ".gitattributes": "* filter=evil diff=evil\n"})
    commit(git, root)
    marker, program = tmp_path / "was-run", tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\ncat\n")
    program.chmod(0o755)
    for name in ("smudge", "clean", "process"):
        git(root, "config", f"filter.evil.{name}", str(program))
    for name in ("core.fsmonitor", "diff.evil.textconv", "core.pager", "core.sshCommand",
                 "core.alternateRefsCommand", "uploadpack.packObjectsHook"):  # fmt: skip
        git(root, "config", name, str(program))
    (root / ".git/hooks").mkdir(exist_ok=True)
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc"):
        (root / ".git/hooks" / hook).write_text(program.read_text())
        (root / ".git/hooks" / hook).chmod(0o755)
    yield root, marker
    assert not marker.exists()
    subprocess.run(
        ["git", "worktree", "add", "-f", str(tmp_path / "x")], cwd=root, capture_output=True
    )
    assert marker.exists(), "the traps do not work, so the test shows nothing"


def test_nothing_of_the_repositorys_is_run_for_a_ref(trapped: tuple[Path, Path]) -> None:
    """Neither filters nor hooks, file system monitors, textconvs or pagers are started."""
    root, _ = trapped
    assert of_ref(root)["a.txt"][2] == "x\n"


def test_a_ref_touches_nothing(nasty: Path, git: Git) -> None:
    """Index, HEAD and work tree are as before, and so is all of .git."""
    (nasty / "a.py").write_text("an edit that is not committed\n")
    before = {path: path.lstat().st_mtime_ns for path in nasty.rglob("*")}
    assert of_ref(nasty, "HEAD~1")["a.py"][2] == NASTY["a.py"]
    assert {path: path.lstat().st_mtime_ns for path in nasty.rglob("*")} == before


def test_a_replaced_object_does_not_count(tree: Tree, git: Git) -> None:
    """What is read under a commit's id is that commit."""
    root = tree({"a": "true\n"})
    one = commit(git, root)
    (root / "a").write_text("forged\n")
    two = commit(git, root)
    git(root, "replace", one, two)
    assert of_ref(root, one)["a"][2] == "true\n"


def test_a_lost_or_damaged_blob_fails_alone(tree: Tree, git: Git) -> None:
    """The others are read, and the file counts as unreadable, not as gone."""
    root = tree({"a": "a\n", "b": "b\n", "c": "c\n", "d": "d\n"})
    commit(git, root)
    for name in "ac":
        oid = git(root, "rev-parse", f"HEAD:{name}").decode().strip()
        blob = root / ".git/objects" / oid[:2] / oid[2:]
        blob.chmod(0o644)
        if name == "a":
            blob.unlink()
        else:
            blob.write_bytes(blob.read_bytes()[:-5] + b"other")
    found = of_ref(root)
    assert {path for path, one in found.items() if one[3] is not None} == {"a", "c"}
    assert (found["b"][2], found["d"][2]) == ("b\n", "d\n")


def test_an_object_that_is_a_pipe_does_not_stop_the_scan(
    tree: Tree, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git waits for ever for a FIFO among its objects; we wait for a while, and go on."""
    root = tree({"a": "a\n", "b": "b\n"})
    commit(git, root)
    with closing(CommitSource(root, "HEAD", SyncConfig())) as source:
        entries = source.entries()
        oid = git(root, "rev-parse", "HEAD:a").decode().strip()
        blob = root / ".git/objects" / oid[:2] / oid[2:]
        blob.unlink()
        os.mkfifo(blob)
        monkeypatch.setattr(git_command, "PATIENCE_SECONDS", 0.5)
        seen = source.read(entries[0])
        assert seen is not None
        assert seen.failure is not None
        assert seen.failure.error == "TimeoutError"
        monkeypatch.undo()
        seen = source.read(entries[1])
        assert seen is not None
        assert seen.text == "b\n"


@pytest.mark.parametrize("name", [b"..", b".git", b".GIT", b"."])
def test_a_tree_that_leads_outside_is_not_believed(tree: Tree, git: Git, name: bytes) -> None:
    """A tree is made by whoever made the commit: no path of it leaves the root or enters .git."""
    root = tree({"a": "a\n"})
    commit(git, root)
    blob = git(root, "rev-parse", "HEAD:a").strip()
    inner = git(root, "mktree", stdin=b"100644 blob " + blob + b"\tpasswd\n").strip()
    raw = b"100644 a\0" + bytes.fromhex(blob.decode())
    raw += b"40000 " + name + b"\0" + bytes.fromhex(inner.decode())
    arguments = ("hash-object", "-t", "tree", "-w", "--stdin", "--literally")
    outer = git(root, *arguments, stdin=raw).decode().strip()
    hostile = git(root, "commit-tree", "-m", "x", outer).decode().strip()
    assert list(of_ref(root, hostile)) == ["a"]


def test_what_a_partial_clone_lacks_is_not_fetched(nasty: Path, git: Git, tmp_path: Path) -> None:
    """Each file whose blob is not here fails; the program that would fetch it is not run."""
    git(nasty, "config", "uploadpack.allowFilter", "true")
    part, marker = tmp_path / "part", tmp_path / "was-run"
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:limit=100", nasty.as_uri(), str(part))
    git(part, "config", "remote.origin.uploadpack", f"touch {marker};")
    found, whole = of_ref(part), of_ref(nasty)
    assert found.keys() == whole.keys()
    failed = {path for path, one in found.items() if one[3] is not None}
    assert failed == {"big", "pointer.bin"}
    assert all(found[path] == whole[path] for path in found.keys() - failed)
    assert not marker.exists()


def test_a_repository_of_longer_ids(tree: Tree, git: Git, tmp_path: Path) -> None:
    """One that names its objects by SHA-256 is read like any other."""
    root = tree({"a.txt": "$Id$\n", ".gitattributes": "* ident text eol=crlf\n"})
    git(root, "init", "-q", "-b", "main", "--object-format=sha256")
    assert len(commit(git, root)) == 64
    assert of_ref(root) == of_checkout(git, root, tmp_path / "other")


def test_without_git_there_are_no_refs(
    tree: Tree, git: Git, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where git is missing, or cannot read the repository, the error blames no ref."""
    root = tree({"a": "a\n"})
    commit(git, root)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(ScanError, match="git is not installed"):
            of_ref(root)
    (root / ".git/config").write_text("[core]\nrepositoryFormatVersion = 99\n")
    with pytest.raises(ScanError, match="version"):
        of_ref(root)


def test_a_bare_repository_has_files_too(nasty: Path, git: Git, tmp_path: Path) -> None:
    """It has no work tree, and needs none."""
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(nasty), str(bare))
    assert of_ref(bare) == of_ref(nasty)


def test_a_commit_may_be_named_in_every_way(tree: Tree, git: Git) -> None:
    """Branch, tag, id, short id and relative names all lead to the commit."""
    root = tree({"a": "one\n"})
    one = commit(git, root)
    git(root, "tag", "-a", "v1.0", "-m", "x")
    (root / "a").write_text("two\n")
    commit(git, root)
    for ref in ("v1.0", one, one[:10], "HEAD~1", "main^", "refs/tags/v1.0"):
        with closing(CommitSource(root, ref, SyncConfig())) as source:
            state = source.state()
            assert state is not None
            assert (state.commit, state.dirty) == (one, False)


@pytest.mark.parametrize("ref", ["v1.O", "HEAD:a", "--all", "HEAD^{tree}", "a b", "0" * 40])
def test_a_wrong_ref_is_named(tree: Tree, git: Git, ref: str) -> None:
    """What names no commit is the caller's mistake, and near names are offered."""
    root = tree({"a": "one\n"})
    commit(git, root)
    git(root, "tag", "v1.0")
    with pytest.raises(ConfigError) as caught:
        CommitSource(root, ref, SyncConfig())
    assert repr(ref) in str(caught.value)
    assert ("'v1.0'" in str(caught.value)) == (ref == "v1.O")


def test_a_folder_that_has_no_commits(tree: Tree, git: Git, tmp_path: Path) -> None:
    """A ref of a plain folder, or of one that the commit does not have, is a mistake."""
    with pytest.raises(ConfigError, match="no git repository"):
        CommitSource(tmp_path, "HEAD", SyncConfig())
    root = tree({"a": "one\n"})
    commit(git, root)
    (root / "new").mkdir()
    with pytest.raises(ConfigError, match="not a folder in that commit"):
        CommitSource(root / "new", "HEAD", SyncConfig())


@pytest.fixture
def nested(tree: Tree, git: Git, tmp_path: Path) -> Path:
    """A repository with a submodule that has one, too, and with one that is not checked out."""
    parts = {}
    for name in ("inner", "middle"):
        parts[name] = tmp_path / name
        parts[name].mkdir()
        (parts[name] / f"{name}.txt").write_text("one\ntwo\n")
        (parts[name] / "empty").touch()
        commit(git, parts[name])
    (parts["middle"] / ".gitattributes").write_text("*.txt text eol=crlf\n")
    git(parts["middle"], "submodule", "--quiet", "add", str(parts["inner"]), "inner")
    commit(git, parts["middle"])
    root = tree({"a": "a\n", ".reposyncignore": "empty\n"})
    commit(git, root)
    for path, part in (("lib/middle", "middle"), ("absent", "inner")):
        git(root, "submodule", "--quiet", "add", str(parts[part]), path)
    commit(git, root)
    git(root, "submodule", "--quiet", "deinit", "-f", "absent")
    git(root, "submodule", "--quiet", "update", "--init", "--recursive", "--force", "lib/middle")
    return root


@pytest.mark.parametrize("submodules", [False, True])
def test_submodules_of_a_ref(nested: Path, git: Git, submodules: bool) -> None:
    """They are named, or read at the commits that the ref names, as a checkout has them."""
    config = SyncConfig(submodules=submodules)
    wanted = contents(FolderSource(nested, config))
    found = of_ref(nested, submodules=submodules)
    assert found == wanted
    assert found["absent"][0] == "submodule"
    assert ("lib/middle/inner/inner.txt" in found) == submodules
    if not submodules:
        return
    assert found["lib/middle/middle.txt"][2] == "one\r\ntwo\r\n"
    assert found["lib/middle/inner/inner.txt"][2] == "one\ntwo\n"
    (nested / "lib/middle/middle.txt").write_text("edited\n")
    git(nested / "lib/middle", "-c", "core.autocrlf=false", "commit", "-qam", "later")
    assert of_ref(nested, submodules=True) == wanted


def test_a_submodule_that_cannot_be_read_is_named(nested: Path, tmp_path: Path) -> None:
    """One that is broken, or a symlink, or lacks the commit, is left alone."""
    place = nested / "lib/middle"
    git_file = (place / ".git").read_text()
    for content in ("gitdir: /nowhere\n", f"gitdir: {tmp_path / 'inner/.git'}\n"):
        (place / ".git").write_text(content)
        assert of_ref(nested, submodules=True)["lib/middle"][0] == "submodule"
    (place / ".git").write_text(git_file.replace("../..", str(nested)))
    place.rename(tmp_path / "away")
    place.symlink_to(tmp_path / "away")
    assert of_ref(nested, submodules=True)["lib/middle"][0] == "submodule"
