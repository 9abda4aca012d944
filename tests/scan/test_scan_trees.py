"""Work trees of every kind: linked, sparse, with submodules, with symlinks; broken and hostile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reposync.config import SyncConfig
from reposync.records import FileStat
from reposync.scan import Entry, FolderSource, git_state, list_entries
from reposync.scan.limits import within_limits

Tree = Callable[[dict[str, str | bytes]], Path]
Git = Callable[..., bytes]
Repository = Callable[..., Path]


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Repository:
    """Make a repository, by a name of its own, of which all files are committed."""

    def make(files: dict[str, str], name: str = "root") -> Path:
        root = tmp_path / name
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)
        git(root, "init", "-q", "-b", "main")
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", "x")
        return root

    return make


def listed(root: Path, **options: object) -> dict[str, str | None]:
    entries = list_entries(root, **options)  # type: ignore[arg-type]
    assert len({entry.path for entry in entries}) == len(entries), "a path is listed twice"
    return {entry.path: entry.skip for entry in entries}


# -- git's own rules -------------------------------------------------------------------------------


def test_every_place_for_rules_counts(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nested ignore files with exceptions, .git/info/exclude, and the user's own excludes."""
    root = repository({"a": "x", ".gitignore": "*.log\n", "sub/.gitignore": "!keep.log\nown\n"})
    for name in ("x.log", "sub/x.log", "sub/keep.log", "sub/own", "own", "private", "swap~"):
        (root / name).write_text("x")
    (root / ".git/info/exclude").write_text("private\n")
    (tmp_path / "everywhere").write_text("*~\n")
    (tmp_path / "config").write_text(f"[core]\nexcludesFile = {tmp_path / 'everywhere'}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    assert set(listed(root)) == {"a", ".gitignore", "sub/.gitignore", "sub/keep.log", "own"}


def test_a_linked_work_tree(repository: Repository, git: Git, tmp_path: Path) -> None:
    """One that ``git worktree add`` made is a work tree like the first one."""
    root = repository({"a": "x", ".gitignore": "*.log\n"})
    (root / ".git/info/exclude").write_text("private\n")
    linked = tmp_path / "linked"
    git(root, "worktree", "add", "-q", "-b", "other", str(linked))
    for name in ("x.log", "private", "new"):
        (linked / name).write_text("x")
    assert set(listed(linked)) == {"a", ".gitignore", "new"}
    state = git_state(linked)
    assert state is not None
    assert (state.branch, state.dirty) == ("other", True)


# -- sparse checkouts ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [("--cone",), ("--no-cone",), ("--cone", "--sparse-index")])
def test_what_is_not_checked_out_has_a_reason(
    repository: Repository, git: Git, way: tuple[str, ...]
) -> None:
    """A sparse checkout shows what is there; what it leaves out is named, not taken for deleted."""
    root = repository({"in/a": "x", "out/b": "x", "out/deep/c": "x", "out/deep/d": "x"})
    git(root, "sparse-checkout", "set", *way, "in")
    assert not (root / "out").exists()
    absent = {"out/b": "not_checked_out", "out/deep/c": "not_checked_out",
              "out/deep/d": "not_checked_out"}  # fmt: skip
    assert listed(root) == {"in/a": None, **absent}
    (root / ".reposyncignore").write_text("deep\n")
    (root / "out").mkdir()
    (root / "out/b").write_text("there after all")
    assert listed(root) == {".reposyncignore": None, "in/a": None, "out/b": None}
    assert listed(root, include=["c"]) == {}
    (root / ".reposyncignore").unlink()
    assert listed(root, include=["c"]) == {"out/deep/c": "not_checked_out"}
    assert listed(root, exclude=["/out/deep/"]) == {"in/a": None, "out/b": None}


def test_a_file_that_a_user_deleted_is_gone(repository: Repository) -> None:
    """Only what git itself left out is not checked out."""
    root = repository({"a": "x", "b": "x"})
    (root / "b").unlink()
    assert listed(root) == {"a": None}


# -- submodules ------------------------------------------------------------------------------------


@pytest.fixture
def nested(repository: Repository, git: Git) -> Path:
    """A repository with a submodule that has one, too, with one not there, and a stranger."""
    inner = repository({"x": "x"}, "inner")
    middle = repository({"y": "y", ".gitignore": "*.log\n"}, "middle")
    root = repository({"a": "a"}, "root")
    git(middle, "submodule", "--quiet", "add", str(inner), "inner")
    git(middle, "commit", "-qm", "x")
    git(root, "submodule", "--quiet", "add", str(middle), "lib/middle")
    git(root, "submodule", "--quiet", "add", str(inner), "absent")
    git(root, "commit", "-qm", "x")
    git(root, "submodule", "--quiet", "update", "--init", "--recursive")
    git(root, "submodule", "--quiet", "deinit", "-f", "absent")
    repository({"z": "z"}, "root/stranger")
    (root / "lib/middle/new").write_text("x")
    (root / "lib/middle/x.log").write_text("x")
    return root


def test_submodules_are_named_or_descended_into(nested: Path) -> None:
    """By default each is one entry; on request what git lists of it belongs, at any depth."""
    own = {"a": None, ".gitmodules": None, "absent": "submodule", "stranger": "submodule"}
    assert listed(nested) == {**own, "lib/middle": "submodule"}
    inside = {f"lib/middle/{name}" for name in ("y", ".gitignore", ".gitmodules", "new", "inner/x")}
    assert listed(nested, submodules=True) == {**own, **dict.fromkeys(inside)}


def test_ignore_files_reach_into_submodules(nested: Path) -> None:
    """A .reposyncignore above a submodule counts in it, and so do the caller's patterns."""
    (nested / ".reposyncignore").write_text("y\n")
    found = listed(nested, submodules=True, exclude=["inner"])
    assert {path for path in found if path.startswith("lib/")} == {
        f"lib/middle/{name}" for name in (".gitignore", ".gitmodules", "new")
    }


def test_a_broken_submodule_is_left_alone(nested: Path) -> None:
    """Nothing is guessed of it: it is named, and there is a warning."""
    (nested / "lib/middle/.git").write_text("gitdir: /nowhere\n")
    warnings: list[str] = []
    found = listed(nested, submodules=True, warnings=warnings)
    assert found["lib/middle"] == "submodule"
    assert "lib/middle is scanned without git" in warnings[0]


def test_a_symlink_in_place_of_a_submodule(nested: Path, tmp_path: Path) -> None:
    """A repository elsewhere is not entered by it."""
    (nested / "lib/middle").rename(tmp_path / "away")
    (nested / "lib/middle").symlink_to(tmp_path / "away")
    assert listed(nested, submodules=True)["lib/middle"] == "symlink"
    assert "lib/middle/y" not in listed(nested, submodules=True)


# -- symlinks --------------------------------------------------------------------------------------


def test_symlinks_are_followed_on_request(repository: Repository, tmp_path: Path) -> None:
    """What they lead to is listed once, under its real path, if it lies in the root."""
    root = repository(
        {"a": "x", "sub/b": "x", ".gitignore": "ignored*\n", ".reposyncignore": "no\n"}
    )
    (tmp_path / "secret").write_text("x")
    for name in ("ignored", "ignored-dir/c", "ignored-dir/deep/d", "ignored-dir/no", "no"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    links = {
        "to-listed": "a",
        "to-ignored": "ignored",
        "again": "./sub/../ignored",
        "sub/absolute": str(root / "ignored"),
        "to-folder": "ignored-dir",
        "sub/to-deep": "../ignored-dir/deep",
        "to-unwanted": "no",
        "out": "../secret",
        "out-absolute": str(tmp_path / "secret"),
        "out-folder": "..",
        "loop": "loop",
        "pair1": "pair2",
        "pair2": "pair1",
        "self": ".",
        "sub/above": "..",
        "dangling": "nothing",
        "into-git": ".git/config",
        "into-git-folder": ".git",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "ignored-dir/further").symlink_to("../ignored-too")
    (root / "ignored-too").write_text("x")
    own = dict.fromkeys(("a", "sub/b", ".gitignore", ".reposyncignore"))
    plain = {**own, **dict.fromkeys(links, "symlink")}
    assert listed(root) == plain
    assert listed(root, follow_symlinks=True) == {
        **plain,
        "ignored": None,
        "ignored-dir/c": None,
        "ignored-dir/deep/d": None,
        "ignored-dir/further": "symlink",
        "ignored-too": None,
    }


def test_a_symlink_is_no_way_into_another_repository(repository: Repository) -> None:
    """A submodule that is not descended into is not entered by a symlink either."""
    root = repository({"a": "x"})
    repository({"z": "z"}, "root/stranger")
    (root / "stranger/sub").mkdir()
    (root / "stranger/sub/x").write_text("x")
    (root / "way").symlink_to("stranger/sub")
    found = listed(root, follow_symlinks=True)
    assert found == {"a": None, "stranger": "submodule", "way": "symlink"}


def test_hard_links_are_files(repository: Repository) -> None:
    """Two names of one file are two files, as they are for git."""
    root = repository({"a": "x"})
    os.link(root / "a", root / "b")
    assert listed(root) == {"a": None, "b": None}


def test_names_that_differ_in_case_or_form_only(tree: Tree) -> None:
    """Where the file system tells them apart, both are listed, each under its own name."""
    names = ["Readme", "README", "caf\u00e9", "cafe\u0301"]
    root = tree(dict.fromkeys(names, "x"))
    assert set(listed(root)) == set(os.listdir(root))


# -- limits ----------------------------------------------------------------------------------------


def test_limits_follow_the_order_of_paths() -> None:
    """What is skipped anyway does not count; after the first file that does not fit, none does."""
    entries = [
        Entry("a", FileStat(5, 1, 1, 1)),
        Entry("b", FileStat(9, 1, 1, 1), skip="symlink"),
        Entry("c", FileStat(5, 1, 1, 1)),
        Entry("d", FileStat(90, 1, 1, 1)),
        Entry("e", FileStat(1, 1, 1, 1)),
    ]

    def over(files: int | None, size: int | None) -> str:
        marked = within_limits(entries, files, size)
        return "".join(entry.path for entry in marked if entry.skip == "over_limit")

    assert over(None, None) == ""
    assert over(2, None) == "de"
    assert over(4, 101) == ""
    assert over(None, 10) == "de"
    assert over(1, 1000) == "cde"
    assert [entry.path for entry in within_limits(entries, 1, None)] == list("abcde")


# -- broken and hostile ----------------------------------------------------------------------------

BROKEN: dict[str, Callable[[Path], object]] = {
    "corrupt index": lambda root: (root / ".git/index").write_bytes(b"DIRC" + b"\xff" * 100),
    "empty index": lambda root: (root / ".git/index").write_bytes(b"x"),
    "no HEAD": lambda root: (root / ".git/HEAD").unlink(),
    "bad config": lambda root: (root / ".git/config").write_text("[core\nx"),
    "bad format": lambda root: (root / ".git/config").write_text(
        "[core]\nrepositoryFormatVersion = 99\n"
    ),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("inside", [False, True])
def test_a_broken_repository_is_a_plain_folder_with_a_warning(
    repository: Repository, how: str, inside: bool
) -> None:
    """Its ignore files decide, the result says so, and no repository around it has a say."""
    if inside:
        repository({".gitignore": "root\n"}, ".")
    root = repository({"a": "x", ".gitignore": "*.log\n"})
    (root / "x.log").write_text("x")
    BROKEN[how](root)
    source = FolderSource(root, SyncConfig())
    assert [entry.path for entry in source.entries()] == [".gitignore", "a"]
    assert len(source.warnings) == 1
    assert "scanned without git" in source.warnings[0]
    assert source.state() is None
    source.entries()
    assert len(source.warnings) == 1


@pytest.mark.parametrize(
    "lines",
    [
        "[core]\nworktree = /etc\n",
        "[core]\nworktree = ../other\n",
        "[include]\npath = /etc/passwd\n",
        '[includeIf "gitdir:/"]\npath = {trap}\n',
        "[core]\nexcludesFile = /etc/passwd\nattributesFile = /etc/passwd\n",
        "[core]\nfsmonitor = true\nuntrackedCache = true\nsplitIndex = true\n",
        '[alias]\nls-files = "!touch {mark}"\n',
        '[url "ext::touch% {mark}"]\ninsteadOf = "x"\n',
        "[core]\nbare = true\n",
    ],
)
def test_settings_do_not_lead_outside(repository: Repository, tmp_path: Path, lines: str) -> None:
    """Whatever a repository's own settings say, only files of the root are listed, and none run."""
    root = repository({"a": "x"})
    repository({"secret": "x"}, "other")
    (tmp_path / "trap").write_text(f'[core]\nfsmonitor = "touch {tmp_path / "was-run"}"\n')
    lines = lines.format(trap=tmp_path / "trap", mark=tmp_path / "was-run")
    with (root / ".git/config").open("a") as file:
        file.write(lines)
    assert set(listed(root)) == {"a"}
    git_state(root)
    assert not (tmp_path / "was-run").exists()


def test_a_git_file_that_leads_elsewhere(repository: Repository) -> None:
    """A .git that names another repository brings its list, not its files."""
    root, other = repository({"a": "x"}), repository({"a": "y", "secret": "x"}, "other")
    (root / ".git").rename(root.parent / "away")
    (root / ".git").write_text(f"gitdir: {other / '.git'}\n")
    assert set(listed(root)) == {"a"}


def test_alternates_that_are_not_there(repository: Repository) -> None:
    """Objects that cannot be found do not keep files from being listed."""
    root = repository({"a": "x"})
    (root / ".git/objects/info").mkdir(exist_ok=True)
    (root / ".git/objects/info/alternates").write_text("/nowhere\n/etc/passwd\n")
    assert set(listed(root)) == {"a"}
