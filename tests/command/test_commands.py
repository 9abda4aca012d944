"""Every command: on a terminal of 80 columns, in a pipe, and as JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import reposync as library
from reposync import Page, RunEntry, SyncResult, __version__
from reposync.command.app import app
from reposync.command.program import GROUPS
from reposync.operations.pages import FileEntry, RepositoryEntry

from .conftest import EVIL, LONG
from .run import COLUMNS, Ran, in_a_pipe, on_a_terminal, several

Run = Callable[..., Ran]


@dataclass(frozen=True)
class Case:
    """A command, and what is to be found in its output.

    Attributes:
        report: the model of its JSON.
        begins: how its text begins.
        says: what else is in it, wherever it is shown.
        code: how it ends.
    """

    arguments: str
    report: Any
    begins: str
    says: tuple[str, ...] = ()
    code: int = 0


# In this order, in a copy of the store that is in {store}; "shop" is in it.
CASES = {
    "sync": Case("sync {tree} --name shop", SyncResult, "shop: complete in ", ("5 unchanged",)),
    "plan": Case(
        "plan {tree} --name new", library.SyncPlan, "new: 5 files to do, 0 texts", (LONG,)
    ),
    "why": Case("why {tree}/recipe.txt", library.Explanation, "recipe.txt: in (indexed)"),
    "search": Case(
        "search bread~in~the~oven -n 2",
        library.SearchResult,
        "recipe.txt:1-1  (",
        ("    Knead the dough",),
    ),
    "status": Case("status", library.RepositoryStatus, "shop: synced", ("source", "branch main")),
    "list": Case("list", Page[RepositoryEntry], "NAME  STATE ", ("shop  synced",)),
    "files": Case(
        "files shop",
        Page[FileEntry],
        "FILE ",
        (LONG, "skipped", "empty", "evil\\x1b[31m.txt"),
    ),
    "history": Case("history shop", Page[RunEntry], "STARTED ", ("complete", "+5 ~0 -0")),
    "progress": Case("progress shop", library.RunProgress, "shop: complete", ("6 of 6 files",)),
    "verify": Case("verify shop {tree}", library.VerifyReport, "shop: sound (5 files, 5 rows"),
    "repair": Case("repair shop --dry-run", library.RepairReport, "shop: 0 findings, nothing"),
    "health": Case("health", library.HealthReport, "{store}: pass (ready", ("can be read",)),
    "backup": Case("backup {out}/bk", library.BackupReport, "{out}/bk: copied", ("shop, 5 rows",)),
    "backup --check": Case("backup --check {out}/bk", library.BackupCheck, "{out}/bk: sound, "),
    "restore": Case(
        "restore {out}/bk --store {out}/new", library.RestoreReport, "{out}/new: restored"
    ),
    "export": Case("export shop {out}/ex", library.ExportReport, "{out}/ex: exported shop"),
    "import": Case(
        "import {out}/ex --store {out}/new2",
        library.ImportReport,
        "shop: complete",
        ("5 chunks written",),
    ),
    "rename": Case("rename shop kiosk", library.RenameReport, "shop -> kiosk: 5 rows in kiosk"),
    "cancel": Case("cancel kiosk", library.CancelRequest, "kiosk: no sync is under way", (), 1),
    "config": Case(
        "config {tree} --set max_files=99",
        library.ConfigReport,
        "store = ",
        (
            "/store  [command line]",
            "max_files = 99 files  [command line]",
            "At most so many files, by the order",
        ),
    ),
    "config --short": Case(
        "config --short", library.ConfigReport, "SETTING ", ("lock_timeout         30.0 seconds ",)
    ),
    "prune": Case("prune", library.PruneReport, "cache: 0 vectors dropped"),
    "drop": Case("drop kiosk --yes", library.DropReport, "kiosk: dropped, 5 rows of kiosk"),
}


def test_every_command_has_a_case() -> None:
    """None is left out here."""
    for group in GROUPS:
        import_module(f"reposync.command.{group}")
    named = {command.name for command in app.registered_commands}
    assert named == {name.split(" ")[0] for name in CASES}


def commands_in(folder: Path, tree: Path, store: Path, *more: str) -> list[list[str]]:
    """The commands of all cases, to be run in an empty folder, with a copy of the store."""
    shutil.copytree(store, folder / "store")
    words = {"tree": str(tree), "store": str(folder / "store"), "out": str(folder)}
    commands = []
    for case in CASES.values():
        command = [word.format(**words).replace("~", " ") for word in case.arguments.split()]
        commands.append(
            [*command, *([] if "--store" in command else ["--store", words["store"]]), *more]
        )
    return commands


@pytest.fixture(scope="module")
def outputs(
    tmp_path_factory: pytest.TempPathFactory, tree: Path, store: Path, env: dict[str, str]
) -> dict[str, tuple[Path, dict[str, Ran]]]:
    """What each command said: in a pipe, on a terminal, and as JSON; with the folder it was in."""
    folders = {how: tmp_path_factory.mktemp("o") for how in ("pipe", "json", "terminal")}
    plain = commands_in(folders["pipe"], tree, store)
    as_json = commands_in(folders["json"], tree, store, "--json")
    runs = several(plain + as_json, env)
    seen = several(commands_in(folders["terminal"], tree, store), env, terminal=True)
    said = {"pipe": runs[: len(CASES)], "json": runs[len(CASES) :], "terminal": seen}
    return {
        how: (folder, dict(zip(CASES, said[how], strict=True))) for how, folder in folders.items()
    }


def test_the_first_sync(synced: tuple[Path, Ran]) -> None:
    """The sync that all others here rest on: a short report, no bar in a pipe, no warning."""
    ran = synced[1]
    assert (ran.code, ran.err) == (0, "")
    first, *others = ran.out.splitlines()
    assert re.fullmatch(r"shop: complete in \d+\.\d\d s", first)
    assert [line.split()[0] for line in others] == ["collection", "files", "chunks"]
    assert "5 added, 1 skipped\n" in ran.out


@pytest.mark.parametrize("name", CASES)
def test_in_a_pipe(outputs: dict[str, tuple[Path, dict[str, Ran]]], name: str) -> None:
    """In a pipe there are plain lines, unbroken, without colours or blanks at their ends."""
    folder, runs = outputs["pipe"]
    case, ran = CASES[name], runs[name]
    assert ran.code == case.code, ran
    assert ran.out.startswith(case.begins.format(store=folder / "store", out=folder)), ran
    assert all(said in ran.out for said in case.says), ran
    assert "\x1b" not in ran.out
    assert not re.search(r"[ \t]\n", ran.out)


@pytest.mark.parametrize("name", CASES)
def test_on_a_terminal(outputs: dict[str, tuple[Path, dict[str, Ran]]], name: str) -> None:
    """On a terminal nothing is wider than it, long paths fold, and colours are for the eye only."""
    folder, runs = outputs["terminal"]
    case, ran = CASES[name], runs[name]
    assert ran.code == case.code, ran
    assert ran.widest <= COLUMNS
    assert "\x1b[1m" in ran.out or "\x1b[2m" in ran.out or "\x1b[1;" in ran.out
    assert "\x1b[31m.txt" not in ran.out, "a name gives no orders to the terminal"

    def squeezed(text: str) -> str:
        return re.sub(r"\s", "", text)

    assert squeezed(case.begins.format(store=folder / "store", out=folder)) in squeezed(ran.text)
    for said in case.says:
        if said != LONG:
            assert squeezed(said) in squeezed(ran.text)
    if LONG in case.says:
        assert re.search(r"[a-z]/( |$)", ran.text, re.MULTILINE), "it breaks behind a slash"
        assert LONG.rpartition("/")[2] in ran.text


@pytest.mark.parametrize("name", CASES)
def test_as_json(outputs: dict[str, tuple[Path, dict[str, Ran]]], name: str) -> None:
    """With --json, there is the report, one line, and nothing else; it ends the same way."""
    case, ran = CASES[name], outputs["json"][1][name]
    assert ran.code == case.code, ran
    (line,) = ran.out.splitlines()
    report = case.report.model_validate_json(line)
    assert json.loads(report.model_dump_json()) == json.loads(line)


# -- one of a kind -------------------------------------------------------------------------------


def test_lists_come_in_pages(env: dict[str, str], store: Path) -> None:
    """A part of a list says so on standard error, and where the next one begins in its JSON."""
    ask = ["files", "shop", "--store", str(store)]
    shown, told = several([[*ask, "--limit", "4"], [*ask, "--limit", "4", "--json"]], env)
    assert len(shown.out.splitlines()) == 6
    assert shown.out.endswith("reposync: 4 of 6 files; --limit 0 shows all\n")
    page = Page[FileEntry].model_validate_json(told.out)
    ran = in_a_pipe([*ask, "--limit", "4", "--json", "--cursor", str(page.next_cursor)], env)
    rest = Page[FileEntry].model_validate_json(ran.out)
    assert (ran.err, rest.next_cursor) == ("", None)
    assert len({entry.path for entry in page.items + rest.items}) == 6


def test_status_of_several(env: dict[str, str], own_store: Path, tmp_path: Path) -> None:
    """Without a name, the status of a store with several repositories is their list."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "bread.txt").write_text("Knead the dough, and bake bread.\n")
    store = ("--store", str(own_store))
    _, listed, hits, named, empty = several(
        [
            ("sync", str(tmp_path / "other"), *store),
            ("status", *store),
            ("search", "how to bake bread", *store, "-n", "2"),
            ("search", "how to bake bread", *store, "--name", "other"),
            ("search", "how to bake bread", *store, "--name", "other", "--quiet"),
        ],
        env,
    )
    assert [line.split()[0] for line in listed.out.splitlines()] == ["NAME", "other", "shop"]
    heads = [line for line in hits.out.splitlines() if re.match(r"\S+: ", line)]
    assert {head.partition(":")[0] for head in heads} == {"other", "shop"}
    assert named.out.startswith("bread.txt:1-1  (")
    assert (empty.code, empty.out) == (0, ""), "quiet where all is well"


def test_colours_as_the_environment_asks(env: dict[str, str], store: Path) -> None:
    """NO_COLOR, TERM=dumb and FORCE_COLOR are heard."""
    ask = ("status", "--store", str(store))
    plain = on_a_terminal(ask, {**env, "TERM": "dumb"})
    assert "\x1b" not in plain.out
    sober = on_a_terminal(ask, {**env, "NO_COLOR": "1"})
    assert not re.search(r"\x1b\[[0-9;]*3\d", sober.out)
    assert "\x1b[1;32m" in in_a_pipe(ask, {**env, "FORCE_COLOR": "1"}).out


@pytest.mark.skipif(os.name == "nt", reason="no name has a line break there")
def test_a_name_is_one_line(env: dict[str, str], tmp_path: Path) -> None:
    """A name with a line break in it does not look like two, in a pipe nor on a terminal."""
    odd, store = tmp_path / "tree" / "a\nsafe.py", str(tmp_path / "store")
    odd.parent.mkdir()
    odd.write_text("def steer(): pass\n")
    tree = str(odd.parent)
    commands = [
        ("plan", tree, "--store", store),
        ("sync", tree, "--store", store),
        ("files", "tree", "--store", store),
        ("search", "steer", "--mode", "lexical", "--store", store),
        ("why", str(odd), "--root", tree),
    ]
    for more in ({}, {"FORCE_COLOR": "1"}):
        ran = several(commands, {**env, **more})
        assert [one.code for one in ran] == [0] * len(commands), ran
        for one in (*ran[2:], *(ran[:1] if not more else ())):
            assert r"a\nsafe.py" in one.text, one


def test_the_bar_is_for_terminals(env: dict[str, str], tree: Path, own_store: Path) -> None:
    """A sync shows how far it is on a terminal, unless it is to be quiet; -v shows the log."""
    sync = ("sync", str(tree), "--name", "shop", "--full", "--store", str(own_store))
    commands = [sync, [*sync, "--quiet"], [*sync, "--quiet", "--verbose"]]
    shown, quiet, logged = several(commands, env, terminal=True)
    assert "100%" in shown.out
    assert quiet.out == ""
    assert "100%" not in logged.out
    assert "INFO reposync" in logged.out
    assert "sync.started" in logged.out


def test_a_setting(env: dict[str, str], tree: Path, own_store: Path) -> None:
    """Settings are taken from options, and from --set by their names."""
    plan = ("plan", str(tree), "--name", "new", "--store", str(own_store), "--json")
    some, less = several(
        [
            (*plan, "--include", "*.txt", "--exclude", "/empty.txt", "--exclude", "evil*"),
            (*plan, "--set", "max_file_bytes=1", "--set", 'include=["*.md"]'),
        ],
        env,
    )
    paths = {one.path for one in library.SyncPlan.model_validate_json(some.out).actions}
    assert paths == {"recipe.txt", LONG}
    assert library.SyncPlan.model_validate_json(less.out).files.skipped == 1


def test_settings_from_all_places(env: dict[str, str], tree: Path, tmp_path: Path) -> None:
    """The command line comes before variables, and they before the file; the repository can only
    narrow."""
    (tmp_path / "sync.toml").write_text("max_files = 1\ndeadline = 1\nlock_timeout = 1\n")
    (tmp_path / "reposync.toml").write_text('exclude = ["old/"]\nmax_files = 4\n')
    env = {**env, "REPOSYNC_MAX_FILES": "2", "REPOSYNC_DEADLINE": "2"}
    options = ("--config", str(tmp_path / "sync.toml"), "--set", "max_files=3", "--deadline", "3")
    told, short, slip = several(
        [
            ("config", *options, "--json"),
            ("config", str(tmp_path), "--short"),
            ("config", "--set", "max_flies=3"),
        ],
        env,
    )
    report = library.ConfigReport.model_validate_json(told.out)
    found = {one.name: (one.value, one.origin) for one in report.settings}
    assert found["max_files"] == (3, "argument")
    assert found["deadline"] == (3, "argument")
    assert found["lock_timeout"] == (1, f"file {tmp_path / 'sync.toml'}")
    assert re.search(r"exclude +old/ +repository: reposync.toml\n", short.out)
    assert re.search(r"max_files +2 files +environment variable REPOSYNC_MAX_FILES", short.out)
    assert "max_files: not for a repository to say" in short.out
    assert (slip.code, "did you mean max_files?" in slip.out) == (2, True)


def test_ways_to_search(env: dict[str, str], own_store: Path) -> None:
    """By words, in one folder, in one language; nothing found ends with 1, as with grep."""
    store = ("--store", str(own_store))
    words, folder, language, nothing = several(
        [
            ("search", "insufficient", "--mode", "lexical", *store),
            ("search", "bread", "--path", "bank/", *store),
            ("search", "bread", "--language", "markdown", *store),
            ("search", "zzzqqq", "--mode", "lexical", *store),
        ],
        env,
    )
    heads = re.compile(r"^(\S+):\d+-\d+  ", re.MULTILINE)
    assert set(heads.findall(words.out)) == {"bank/account.py"}
    assert set(heads.findall(folder.out)) == {"bank/account.py"}
    assert set(heads.findall(language.out)) == {"weather.md"}
    assert (nothing.code, nothing.out) == (1, "nothing found for 'zzzqqq'\n")


# -- the program ---------------------------------------------------------------------------------


def test_help_and_version(env: dict[str, str]) -> None:
    """Each command explains itself in 80 columns, with examples; the version is told."""
    commands = [[], *([name] for name in CASES if " " not in name)]
    runs = several([*([*one, "--help"] for one in commands), ["--version"]], env)
    assert (runs[-1].code, runs[-1].out) == (0, f"reposync {__version__}\n")
    for ran, command in zip(runs, commands, strict=False):
        assert ran.code == 0
        assert "Usage: reposync" in ran.out
        assert max(map(len, ran.out.splitlines())) <= COLUMNS
        if command:
            assert all(word in ran.out for word in ("--json", "--quiet", "Examples", "reposync "))
    for panel in ("Index", "Search and look", "Check and mend", "Copy", "Manage"):
        assert f"─ {panel} ─" in runs[0].out


def test_looking_loads_no_chroma(env: dict[str, str], store: Path) -> None:
    """What only looks, and --help, loads neither Chroma nor a model, and is quick."""
    code = (
        "import sys\n"
        "from reposync.command.program import run\n"
        "for command in sys.argv[1:]:\n"
        "    assert run(command.split()) == 0\n"
        "heavy = {'chromadb', 'onnxruntime', 'tokenizers', 'numpy', 'rich.table'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    program = (sys.executable, "-c", code)
    asked = {**env, "REPOSYNC_STORE": str(store)}
    ran = in_a_pipe(["status", "files shop --json", "history", "list"], asked, program=program)
    assert (ran.code, ran.err) == (0, "")
    helped = code.replace(", 'rich.table'", "")
    ran = in_a_pipe(["--help"], env, program=(sys.executable, "-c", helped))
    assert (ran.code, ran.err) == (0, "")


def test_the_script_is_the_program() -> None:
    """The script that is installed runs what ``python -m reposync`` runs."""
    from reposync.command import main

    text = (Path(library.__file__).parents[1] / "pyproject.toml").read_text()
    assert f'reposync = "{main.__module__}:{main.__name__}"' in text


# -- completion ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("reposync status sh", {"shop"}),
        ("reposync search x --name ", {"shop"}),
        ("reposync search x --path bank/", {"bank/account.py"}),
        ("reposync status --store /no/such/folder s", set()),
    ],
)
def test_completion(env: dict[str, str], store: Path, words: str, expected: set[str]) -> None:
    """A TAB offers commands, and the names that the store knows; it never fails."""
    asked = {
        **env,
        "REPOSYNC_STORE": str(store),
        "_REPOSYNC_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    ran = in_a_pipe([], asked)
    assert (ran.err, set(ran.out.split())) == ("", expected)
    assert not os.path.exists("/no/such/folder")
    assert EVIL not in ran.out


def test_why_finds_the_repository(env: dict[str, str], tree: Path, tmp_path: Path) -> None:
    """``reposync why`` finds the work tree by itself; --root names another, --ref a commit."""
    (tmp_path / "here.txt").write_text("x\n")
    (tmp_path / ".reposyncignore").write_text("here.txt\n")
    commands = [
        ("why", "../recipe.txt"),
        ("why", "later.txt"),
        ("why", str(tmp_path / "here.txt"), "--root", str(tmp_path)),
        ("why", "account.py", "--ref", "main"),
        ("why", "account.py", "--ref", "mian"),
    ]
    runs = several(commands, env, cwd=tree / "bank")
    assert [ran.code for ran in runs] == [0, 1, 1, 0, 2]
    assert runs[0].out.startswith("recipe.txt: in (indexed)")
    assert runs[2].out.startswith("here.txt: out (reposyncignore): .reposyncignore:1")
    assert runs[3].out.startswith("bank/account.py: in (indexed)")
    assert "Did you mean 'main'?" in runs[4].out
