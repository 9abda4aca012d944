"""In a git work tree git decides what belongs, and nothing that the repository brings is run."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reposync.errors import ScanError
from reposync.scan import GitState, git_command, git_state, list_entries, still_there
from reposync.scan.git_command import run_git

Tree = Callable[[dict[str, str | bytes]], Path]
Git = Callable[..., bytes]
Repository = Callable[[dict[str, str | bytes]], Path]


@pytest.fixture
def repository(tree: Tree, git: Git) -> Repository:
    """Make a repository of which all files are committed."""

    def make(files: dict[str, str | bytes]) -> Path:
        root = tree(files)
        git(root, "init", "-q", "-b", "main")
        git(root, "add", "-A")
        git(root, "commit", "-q", "--allow-empty", "-m", "x")
        return root

    return make


def listed(root: Path) -> dict[str, str | None]:
    return {entry.path: entry.skip for entry in list_entries(root)}


def test_tracked_and_untracked_but_not_ignored(repository: Repository, git: Git) -> None:
    """What git tracks belongs, though a rule ignores it; so does what it would let one add."""
    root = repository({"kept.log": "x", "a.py": "x", "sub/.gitignore": "*.tmp\n!b.tmp\n"})
    (root / ".gitignore").write_text("*.log\n")
    (root / ".git/info/exclude").write_text("private\n")
    for name in ("new.py", "new.log", "private", "sub/a.tmp", "sub/b.tmp"):
        (root / name).write_text("x")
    assert list(listed(root)) == [
        ".gitignore",
        "a.py",
        "kept.log",
        "new.py",
        "sub/.gitignore",
        "sub/b.tmp",
    ]
    assert still_there(root, "new.log") is True


def test_the_users_own_excludes_count(
    repository: Repository, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a user ignores everywhere is ignored here too."""
    root = repository({"a": "x"})
    (root / "b~").write_text("x")
    (tmp_path / "excludes").write_text("*~\n")
    (tmp_path / "config").write_text(f"[core]\nexcludesFile={tmp_path}/excludes\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    assert list(listed(root)) == ["a"]


def test_a_folder_in_a_work_tree(repository: Repository) -> None:
    """Only the folder is listed, relative to it, by the rules of the whole work tree."""
    root = repository({".gitignore": "*.log\n", "other": "x", "src/a.py": "x"})
    (root / "src/x.log").write_text("x")
    assert list(listed(root / "src")) == ["a.py"]
    assert git_state(root / "src") is not None


def test_an_ignored_folder_is_a_plain_tree(repository: Repository) -> None:
    """A virtual environment in a repository can be scanned though the repository ignores it."""
    root = repository({".gitignore": "venv/\n", "a": "x"})
    packages = root / "venv/lib"
    packages.mkdir(parents=True)
    (packages / "b.py").write_text("x")
    assert list(listed(packages)) == ["b.py"]
    assert git_state(packages) is None
    assert list(listed(root)) == [".gitignore", "a"]


def test_an_empty_folder_that_is_not_ignored_is_empty(repository: Repository) -> None:
    """Git that lists nothing is not taken for git that has no say."""
    root = repository({".gitignore": "*.log\n"})
    (root / "new").mkdir()
    (root / "new/a.log").write_text("x")
    assert listed(root / "new") == {}


def test_a_tracked_file_that_is_deleted_is_not_there(repository: Repository) -> None:
    """The work tree is what counts, not the index."""
    root = repository({"a": "x", "b/c": "x", "d": "x"})
    (root / "a").unlink()
    (root / "b/c").unlink()
    (root / "b").rmdir()
    assert list(listed(root)) == ["d"]


def test_a_file_in_conflict_is_listed_once(repository: Repository, git: Git) -> None:
    """Three versions in the index are one file in the folder."""
    root = repository({"a": "x"})
    git(root, "checkout", "-q", "-b", "other")
    (root / "a").write_text("y")
    git(root, "commit", "-qam", "y")
    git(root, "checkout", "-q", "main")
    (root / "a").write_text("z")
    git(root, "commit", "-qam", "z")
    git(root, "merge", "other")
    assert [entry.path for entry in list_entries(root)] == ["a"]


def test_other_repositories_are_named_and_left_alone(
    repository: Repository, git: Git, tmp_path: Path
) -> None:
    """A submodule, there or not, and a clone that lies about are one entry each."""
    root = repository({"a": "x"})
    part = tmp_path / "part"
    part.mkdir()
    (part / "p").write_text("x")
    git(part, "init", "-q")
    git(part, "add", "p")
    git(part, "commit", "-qm", "p")
    git(root, "submodule", "--quiet", "add", str(part), "module")
    git(root, "submodule", "--quiet", "add", str(part), "absent")
    git(root, "submodule", "--quiet", "deinit", "-f", "absent")
    git(tmp_path, "clone", "-q", str(part), str(root / "lib/clone"))
    assert listed(root) == {
        ".gitmodules": None,
        "a": None,
        "absent": "submodule",
        "lib/clone": "submodule",
        "module": "submodule",
    }


def test_a_file_that_became_a_folder_is_no_submodule(repository: Repository) -> None:
    """Git still knows the file; the folder in its place is not to be called a submodule."""
    root = repository({"a": "x"})
    (root / "a").unlink()
    (root / "a").mkdir()
    (root / "a/b").write_text("x")
    assert listed(root) == {"a/b": None}


def test_a_folder_that_became_a_symlink_is_not_followed(
    repository: Repository, tmp_path: Path
) -> None:
    """What git tracked below a folder is gone when the folder is a symlink, wherever that leads."""
    root = repository({"docs/x": "x", ".gitignore": "/docs\n"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("secret")
    (root / "docs/x").unlink()
    (root / "docs").rmdir()
    (root / "docs").symlink_to(outside)
    assert listed(root) == {".gitignore": None}
    assert still_there(root, "docs/x") is False


def test_an_index_that_names_files_outside_is_not_believed(
    repository: Repository, tmp_path: Path
) -> None:
    """The index is a file of the repository's: it cannot lead out of the root, nor into .git."""
    root = repository({"aa/secret": "x", "bbbb/config": "x", "c": "x"})
    (tmp_path / "secret").write_text("secret")
    index = root / ".git/index"
    content = index.read_bytes()[:-20].replace(b"aa/secret", b"../secret")
    content = content.replace(b"bbbb/config", b".git/config").replace(b"TREE", b"XXXX")
    index.write_bytes(content + hashlib.sha1(content).digest())
    assert "c" in listed(root)
    assert not [path for path in listed(root) if ".." in path or ".git/" in path]


@pytest.mark.parametrize(
    "trap",
    ["core.fsmonitor", "core.hooksPath", "filter.x.clean", "filter.x.process", "filter.a=b.clean"],
)
@pytest.mark.parametrize("where", [".", "module"])
def test_nothing_of_the_repositorys_is_run(
    repository: Repository, git: Git, tmp_path: Path, trap: str, where: str
) -> None:
    """Neither its file system monitor nor its hooks or filters are started, nor a submodule's."""
    root = repository({"a": "x"})
    repository_of_module = tmp_path / "part"
    repository_of_module.mkdir()
    (repository_of_module / "a").write_text("x")
    git(repository_of_module, "init", "-q")
    git(repository_of_module, "add", "a")
    git(repository_of_module, "commit", "-qm", "x")
    git(root, "submodule", "--quiet", "add", str(repository_of_module), "module")
    git(root, "commit", "-qm", "module")
    marker, hooks = tmp_path / "was-run", tmp_path / "hooks"
    script = f"#!/bin/sh\ntouch '{marker}'\n"
    hooks.mkdir()
    for name in ("post-index-change", "run"):
        (hooks / name).write_text(script)
        (hooks / name).chmod(0o755)
    folder = root / where
    git(folder, "config", trap, str(hooks if trap == "core.hooksPath" else hooks / "run"))
    git(folder, "config", "filter.x.required", "true")
    (folder / ".gitattributes").write_text(f"a filter={trap.split('.')[1]}\n")
    (folder / "a").write_text("y")  # as long as it was: git must look into it
    assert "a" in listed(root)
    source = git_state(root)
    assert source is not None
    assert source.dirty is (where == ".")  # what is changed in a submodule is not its commit
    assert not marker.exists()
    subprocess.run(["git", "status"], cwd=root, capture_output=True, check=False)
    assert marker.exists(), "the trap does not work, so the test shows nothing"


@pytest.mark.parametrize("way", ["include", "upper case", "worktree", "symlink", "linked"])
def test_no_way_to_name_a_filter_is_overlooked(
    repository: Repository, git: Git, tmp_path: Path, way: str
) -> None:
    """However the repository's configuration says it, the filter is not run."""
    root = repository({"a": "x", ".gitattributes": "a filter=x\n"})
    marker, run = tmp_path / "was-run", tmp_path / "run"
    run.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    run.chmod(0o755)
    if way == "linked":
        git(root, "worktree", "add", "-q", str(tmp_path / "linked"))
    config = root / ".git/config"
    says = f'[FILTER "x"]\n\tclean = {run}\n\trequired = true\n'
    if way == "include":
        (root / ".git/more").write_text(says)
        git(root, "config", "include.path", "more")
    elif way == "worktree":
        git(root, "config", "extensions.worktreeConfig", "true")
        (root / ".git/config.worktree").write_text(says)
    else:
        with config.open("a") as file:
            file.write(says)
    if way == "symlink":
        config.rename(root / ".git/real")
        config.symlink_to("real")
    root = tmp_path / "linked" if way == "linked" else root
    (root / "a").write_text("y")
    source = git_state(root)
    assert source is not None
    assert source.dirty
    assert not marker.exists()
    subprocess.run(["git", "status"], cwd=root, capture_output=True, check=False)
    assert marker.exists(), "the trap does not work, so the test shows nothing"


def test_a_plain_configuration_costs_no_process(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To see that no filter is defined, git is asked only where it is not obvious."""
    root = repository({"a": "x"})
    asked: list[str] = []

    def noted(*command: object, **options: object) -> bytes:
        asked.append(str(command[1]))
        return run_git(*command, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("reposync.scan.git.run_git", noted)
    assert git_state(root) is not None
    assert asked == ["status"]


def test_a_partial_clone_fetches_nothing(repository: Repository, git: Git, tmp_path: Path) -> None:
    """What is missing is not fetched: the repository chooses the program that would fetch it."""
    root = repository({"a": "x"})
    marker = tmp_path / "was-run"
    git(root, "config", "core.repositoryFormatVersion", "1")
    git(root, "config", "extensions.partialClone", "origin")
    git(root, "config", "remote.origin.url", str(tmp_path))
    git(root, "config", "remote.origin.promisor", "true")
    git(root, "config", "remote.origin.uploadpack", f"touch {marker};")
    missing = git(root, "rev-parse", "HEAD^{tree}").decode().strip()
    (root / ".git/objects" / missing[:2] / missing[2:]).unlink()
    git(root, "rm", "-q", "--cached", "a")  # or the index's own record of the tree would do
    marker.unlink(missing_ok=True)
    assert list(listed(root)) == ["a"]
    git_state(root)
    assert not marker.exists()
    subprocess.run(["git", "status"], cwd=root, capture_output=True, check=False)
    assert marker.exists(), "the trap does not work, so the test shows nothing"


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can give files away")
def test_another_users_repository_is_read(repository: Repository) -> None:
    """A folder that belongs to somebody else is git's all the same, since none of it is run."""
    root = repository({".gitignore": "b\n", "a": "x", "b": "x"})
    for folder, _, files in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, 1000, 1000)
    (root / "c").write_text("x")
    assert list(listed(root)) == [".gitignore", "a", "c"]
    source = git_state(root)
    assert source is not None
    assert source.dirty


def test_the_environment_of_a_hook_does_not_mislead(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Started from a git hook, we still look at the folder that we were given."""
    root = repository({"a": "x"})
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert list(listed(root)) == ["a"]
    assert git_state(root) is not None


@pytest.mark.parametrize("damage", ["HEAD", "index", "file"])
def test_a_broken_repository_is_a_plain_tree(
    repository: Repository, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where git gives up, the ignore files decide, and the log says so."""
    root = repository({".gitignore": "b\n", "a": "x", "b": "x"})
    if damage == "file":
        os.rename(root / ".git", root.parent / "elsewhere")
        (root / ".git").write_text("gitdir: nowhere\n")
    else:
        (root / ".git" / damage).write_text("broken")
    with caplog.at_level(logging.INFO, "reposync.scan"):
        assert list(listed(root)) == [".gitignore", "a"]
    assert "without git" in caplog.text
    assert git_state(root) is None


def test_without_git_a_work_tree_is_a_plain_tree(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where git is not installed, the ignore files decide, and the log says so."""
    root = repository({".gitignore": "b\n", "a": "x"})
    (root / "b").write_text("x")
    monkeypatch.setenv("PATH", str(root.parent))
    with caplog.at_level(logging.INFO, "reposync.scan"):
        assert list(listed(root)) == [".gitignore", "a"]
    assert "not installed" in caplog.text
    assert git_state(root) is None


def test_a_git_program_in_the_repository_is_not_run(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A search path that leads into the repository does not make us run what lies there."""
    root = repository({"a": "x", "git": f"#!/bin/sh\ntouch {tmp_path}/was-run\n"})
    (root / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{root}{os.pathsep}{os.environ['PATH']}")
    assert list(listed(root)) == ["a", "git"]
    assert not (tmp_path / "was-run").exists()


def test_a_bare_repository_is_a_plain_tree(
    tmp_path: Path, git: Git, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no work tree, so its folder is like any other."""
    git(tmp_path, "init", "-q", "--bare", "bare")
    with caplog.at_level(logging.INFO, "reposync.scan"):
        assert "HEAD" in listed(tmp_path / "bare")
    assert "bare repository" in caplog.text
    assert git_state(tmp_path / "bare") is None


def test_git_that_does_not_answer_is_an_error(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .gitignore that is a FIFO stops git for ever; it stops us for a while."""
    root = repository({"a": "x"})
    os.mkfifo(root / ".gitignore")
    monkeypatch.setattr(git_command, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(ScanError, match="no answer"):
        list_entries(root)


def test_commit_branch_and_state(repository: Repository, git: Git, tmp_path: Path) -> None:
    """The result can say which commit the index stands for, and whether exactly that."""
    root = repository({"a": "x", ".gitignore": "*.log\n", "src/b": "x"})
    commit = git(root, "rev-parse", "HEAD").decode().strip()
    (root / "x.log").write_text("x")
    assert git_state(root) == GitState(commit, "main", dirty=False)
    (root / "new").write_text("x")
    assert git_state(root) == GitState(commit, "main", dirty=True)
    assert git_state(root / "src") == GitState(commit, "main", dirty=False)
    assert git_state(root, store_path=root / "new") == GitState(commit, "main", dirty=False)
    git(root, "checkout", "-q", "--detach")
    assert git_state(root) == GitState(commit, None, dirty=True)
    assert git_state(tmp_path) is None


def test_before_the_first_commit(tree: Tree, git: Git) -> None:
    """A repository without a commit is git's, and has none to name."""
    root = tree({"a": "x"})
    git(root, "init", "-q", "-b", "main")
    assert git_state(root) == GitState(None, "main", dirty=True)
    assert list(listed(root)) == ["a"]


def test_asking_leaves_the_repository_as_it_is(repository: Repository) -> None:
    """Not even the index is refreshed: somebody may be committing at this moment."""
    root = repository({"a": "x"})
    os.utime(root / "a")
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (root / ".git").rglob("*")}
    list_entries(root)
    git_state(root)
    assert {
        p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (root / ".git").rglob("*")
    } == before
