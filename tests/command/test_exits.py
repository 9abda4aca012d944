"""How a command ends: each exit code, of a process of its own, with a line that says what to do."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import obey, opened

import reposync as library
from reposync import SyncResult, errors, get_progress
from reposync.command import exits
from reposync.report import Report

from .run import COMMAND, Ran, in_a_pipe, several

Run = Callable[..., Ran]


def one_line(ran: Ran) -> str:
    """What an error said: a line and nothing else."""
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("reposync: ")
    return line


# -- the table -----------------------------------------------------------------------------------


def test_every_error_has_an_exit_code() -> None:
    """Whatever the library raises on purpose has its own entry in the table."""
    public = {
        name
        for name in library.__all__
        if isinstance(value := getattr(library, name), type) and issubclass(value, errors.SyncError)
    }
    assert public == exits.OF_ERRORS.keys() - {"ManifestDamaged"}
    assert exits.code_of(errors.NameTaken("x")) == exits.USAGE


def test_every_report_has_an_exit_code() -> None:
    """Whatever the library reports has an entry, too."""
    reports = {
        name
        for name in library.__all__
        if isinstance(value := getattr(library, name), type) and issubclass(value, Report)
    }
    parts = {"ChunkEntry", "FileEntry", "Finding", "HealthCheck", "Hit", "RepairStep"}
    parts |= {"RepositoryEntry", "RepositoryOutcome", "RepositorySpec", "RunEntry", "SettingReport"}
    assert reports - parts == exits.OF_REPORTS.keys()


def test_every_exit_code_has_a_meaning() -> None:
    """The table of codes is whole."""
    of_reports = {code for code in exits.OF_REPORTS.values() if isinstance(code, int)}
    assert exits.MEANINGS.keys() == exits.WHAT_TO_DO.keys()
    assert {*exits.OF_ERRORS.values(), *of_reports} < exits.MEANINGS.keys()


# -- 1: not all of it, or no ---------------------------------------------------------------------


def test_1_a_limit_was_reached(env: dict[str, str], tree: Path, tmp_path: Path) -> None:
    """A sync that leaves something out ends with 1, and the next one does the rest."""
    sync = ("sync", str(tree), "--store", str(tmp_path / "store"), "--json")
    first, second = several([(*sync, "--max-embeds", "2"), sync], env)
    result = SyncResult.model_validate_json(first.out)
    assert (first.code, result.status, result.limits) == (1, "partial", ("max_embeds",))
    result = SyncResult.model_validate_json(second.out)
    assert (second.code, result.status, result.limits) == (0, "complete", ())


NO = {
    "why {tree}/empty.txt": "empty.txt: out (empty)",
    "status shp": "shp: never synced into {store}\nreposync: Did you mean 'shop'?\n",
    "cancel shop": "shop: no sync is under way\n",
    "progress nobody": "nobody: no sync is known\n",
}


def test_1_the_answer_is_no(env: dict[str, str], tree: Path, store: Path) -> None:
    """A question whose answer is no ends with 1, and the answer is no error."""
    fill = {"tree": str(tree).replace(" ", "~"), "store": str(store)}
    commands = [[word.replace("~", " ") for word in asked.format(**fill).split()] for asked in NO]
    runs = several([[*one, "--store", str(store)] for one in commands], env)
    for ran, said in zip(runs, NO.values(), strict=True):
        assert ran.code == 1
        assert ran.out.startswith(said.format(**fill))


# -- 2: usage ------------------------------------------------------------------------------------

MISTAKES = {
    "no such folder": (("sync", "{tmp}/missing"), "PATH '{tmp}/missing' does not exist"),
    "a file": (("sync", "{tmp}/file"), "is a file"),
    "a variable that is not set": (("sync", "", "--store", "{tmp}/s"), "PATH '' names no folder"),
    "a store that is a file": (("sync", "{tree}", "--store", "{tmp}/file"), "is not a folder"),
    "an empty name": (("sync", "{tree}", "--store", "{tmp}/s", "--name", ""), "--name ''"),
    "a home that is nobody's": (("list", "--store", "~no-such-user/s"), "--store '~no-such-user"),
    "an empty store": (("sync", "{tree}", "--store", ""), "--store is empty"),
    "a wrong ref": (("sync", "{tree}", "--store", "{tmp}/s", "--ref", "mian"), "mean 'main'?"),
    "a name that is taken": (
        ("sync", "{tmp}/file/..", "--store", "{store}", "--name", "shop"),
        "Pass another --name for",
    ),
    "no setting": (("plan", "{tree}", "--set", "chunk_tokens"), "NAME=VALUE"),
    "an impossible setting": (("plan", "{tree}", "--set", "chunk_tokens=1"), "chunk_tokens"),
    "nothing synced yet": (("list", "--store", "{tmp}/s"), "Nothing was ever synced"),
    "no store": (("verify", "shop", "--store", "{tmp}/s"), "There is no store"),
    "an unknown name": (("files", "shp", "--store", "{store}"), "Did you mean 'shop'?"),
    "a cursor of another list": (("list", "--store", "{store}", "--cursor", "x"), "cursor"),
    "no address": (("list", "--store", "http://a/b"), "like http://host:8000"),
    "a folder is needed": (("restore", "{tmp}", "--store", "http://a:1"), "needs a folder"),
    "nobody to ask": (("drop", "shop", "--store", "{store}"), "--yes"),
}


def test_2_a_mistake_is_one_line(
    env: dict[str, str], tree: Path, store: Path, tmp_path: Path
) -> None:
    """A mistake ends with one line that says what to do, and nothing is made."""
    (tmp_path / "file").write_text("x")
    fill = {"tmp": tmp_path, "tree": tree, "store": store}
    commands = [[part.format(**fill) for part in arguments] for arguments, _ in MISTAKES.values()]
    runs = several(commands, env)
    for arguments, ran, (_, said) in zip(commands, runs, MISTAKES.values(), strict=True):
        assert ran.code == 2, (arguments, ran)
        (line,) = ran.out.splitlines()
        assert line.startswith("reposync: ")
        assert said.format(**fill) in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_2_an_error_in_a_process_of_its_own(reposync: Run, store: Path) -> None:
    """Errors go to standard error."""
    ran = reposync("files", "shp", "--store", store)
    assert ran.code == 2
    assert "Did you mean 'shop'?" in one_line(ran)


def test_2_a_slip_of_the_pen(env: dict[str, str]) -> None:
    """Arguments that are missing or wrong end with how it is used."""
    for ran in several([("sync",), ("files", "x", "--limit", "-1"), ("no-such",)], env):
        assert ran.code == 2
        assert ran.out.startswith("Usage: reposync")
        assert "Error: " in ran.out
        assert "Traceback" not in ran.out


# -- 3: locked -----------------------------------------------------------------------------------


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the store's lock, as any program that knows of it does."""
    with (store / ".chroma.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_3_somebody_holds_the_store(reposync: Run, own_store: Path) -> None:
    """Who finds the store locked says for how long it waited."""
    with locked(own_store):
        ran = reposync("verify", "shop", "--store", own_store, "--lock-timeout", "0.1")
    assert (ran.code, "0.1 s" in one_line(ran)) == (3, True), ran


# -- 4: the store is not to be had ---------------------------------------------------------------


def test_4_nobody_answers(env: dict[str, str], tmp_path: Path) -> None:
    """A server that is not there is named, without the password; its health is a report."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    store = ("--store", f"http://ada:secret@127.0.0.1:{port}")
    listed, ill = several([("list", *store), ("health", *store)], env, cwd=tmp_path)
    assert (listed.code, ill.code) == (4, 4)
    assert listed.out.startswith(f"reposync: No Chroma server answers at http://127.0.0.1:{port}")
    assert ill.out.startswith(f"http://127.0.0.1:{port}: fail")
    assert "secret" not in listed.out + ill.out
    assert not list(tmp_path.iterdir())


def test_4_a_folder_that_cannot_be_written(reposync: Run, tree: Path, tmp_path: Path) -> None:
    """A folder that is not writable is named."""
    tmp_path.chmod(0o555)
    try:
        ran = reposync("sync", tree, "--store", tmp_path / "store", preexec_fn=obey)
    finally:
        tmp_path.chmod(0o755)
    assert (ran.code, str(tmp_path) in one_line(ran)) == (4, True), ran


# -- 5: damaged ----------------------------------------------------------------------------------


def test_5_a_row_is_gone(env: dict[str, str], own_store: Path, tree: Path) -> None:
    """What others deleted is found, and mended."""
    with opened(own_store) as client:
        collection = client.get_collection("shop")
        collection.delete(ids=collection.get(limit=1, include=[])["ids"])
    store = ("--store", str(own_store))
    found, mended = several(
        [("verify", "shop", *store), ("repair", "shop", str(tree), *store)], env
    )
    assert (found.code, mended.code) == (5, 0)
    assert found.out.startswith("shop: 1 missing (")
    assert mended.out.startswith("shop: sound; 1 finding mended, 0 texts embedded\n")


def test_5_the_local_state_is_damaged(env: dict[str, str], own_store: Path, tmp_path: Path) -> None:
    """Noise in the manifest is damage; so is a backup that is none, or was edited."""
    store, none, edited = ("--store", str(own_store)), tmp_path / "none", tmp_path / "edited"
    none.mkdir()
    commands = [
        ["backup", str(edited), *store],
        ["restore", str(none), "--store", str(tmp_path / "new")],
    ]
    assert [ran.code for ran in several(commands, env)] == [0, 5]
    with (edited / "chroma.sqlite3").open("r+b") as file:
        file.write(b"noise")
    (own_store / "reposync.sqlite3").write_bytes(b"noise" * 1000)
    commands = [["backup", "--check", str(edited)], ["status", "shop", *store]]
    checked, status = several(commands, env)
    assert (checked.code, "DAMAGED" in checked.out) == (5, True)
    assert (status.code, status.out.splitlines()[0]) == (5, "shop: damaged")


# -- 6: refused ----------------------------------------------------------------------------------


def test_6_an_emptied_folder(env: dict[str, str], reposync: Run, tmp_path: Path) -> None:
    """An emptied folder is refused; the plan says so beforehand, and the option lets it pass."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(11):
        (root / f"{number}.txt").write_text(f"Text number {number}.\n")
    at = (str(root), "--store", str(tmp_path / "store"))
    assert reposync("sync", *at).code == 0
    for path in root.iterdir():
        path.unlink()
    plan, refused, done = several(
        [("plan", *at), ("sync", *at), ("sync", *at, "--allow-deletions")], env
    )
    assert (plan.code, refused.code, done.code) == (6, 6, 0)
    assert "would delete 11 of 11" in plan.out
    assert "would delete 11 of 11" in refused.out
    assert "pass --allow-deletions;" in refused.out
    assert "11 deleted" in done.out


# -- from outside --------------------------------------------------------------------------------


def test_130_ctrl_c_in_mid_sync(reposync: Run, env: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C ends a sync with one line; the next run does the rest, and computes nothing twice."""
    root, store, files = tmp_path / "tree", tmp_path / "store", 60
    root.mkdir()
    for number in range(files):
        (root / f"{number}.txt").write_text(f"note number {number} of many\n")
    sync = ("sync", str(root), "--store", str(store), "--set", "batch_rows=4")
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *sync], env=env, stdout=pipe, stderr=pipe, text=True) as child:
        try:
            while not get_progress("tree", store=store).chunks_done:
                assert child.poll() is None, child.communicate()
                time.sleep(0.02)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert (child.returncode, out) == (130, "")
    assert err == (
        "reposync: interrupted; what was done is kept: run it again, and it goes on from there\n"
    )
    ran = reposync(*sync, "--json")
    result = SyncResult.model_validate_json(ran.out)
    assert (ran.code, result.resumed, result.chunks.total) == (0, True, files)
    assert result.chunks.embedded < files


def test_130_ctrl_c_at_the_start(env: dict[str, str], store: Path) -> None:
    """However early Ctrl-C comes, once ``main`` has begun there is no traceback."""
    for pause in (0.03, 0.1, 0.2):
        command = [*COMMAND, "status", "--store", str(store)]
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as child:
            time.sleep(pause)
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=60)
        assert "in main" not in err
        if err.startswith("reposync: "):
            assert child.returncode == 130


def test_141_nobody_reads(env: dict[str, str], store: Path) -> None:
    """A reader who goes away, as ``| head`` does, is no error to speak of."""
    command = [*COMMAND, "files", "shop", "--store", str(store)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 141


def test_nobody_reads_a_help(env: dict[str, str]) -> None:
    """A help ends as all output does."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, "--help"], env=env, stdout=pipe, stderr=pipe, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 141


@pytest.mark.parametrize("closed", ["<&- >&-", ">&- 2>&-", "2>&-"])
def test_streams_that_are_closed(env: dict[str, str], store: Path, closed: str) -> None:
    """A command does its work without its streams, as a job of some schedulers has to."""
    ran = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *COMMAND, "list", "--store", str(store)],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


# -- names that are not UTF-8 --------------------------------------------------------------------


def test_names_that_are_not_utf_8(env: dict[str, str], store: Path, tmp_path: Path) -> None:
    """A copy can be in such a folder, and is told in JSON; a store cannot, and none is made."""
    odd = os.fsencode(tmp_path) + b"/caf\xe9"

    def run(*arguments: str | bytes) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *arguments, "--json"]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    backup = run("backup", odd, "--store", str(store))
    assert backup.returncode == 0, backup.stderr
    assert json.loads(backup.stdout)["path"] == rf"{tmp_path}/caf\udce9"
    assert run("backup", "--check", odd).returncode == 0
    settings = tmp_path / "reposync.toml"
    settings.write_text("max_files = 3")
    settings = settings.rename(os.fsdecode(odd) + ".toml")
    assert run("config", "--config", os.fsencode(settings)).returncode == 0
    for use in (("sync", str(tmp_path), "--name", "shop"), ("restore", odd)):
        ran = run(*use, "--store", odd + b"-store")
        assert (ran.returncode, "is not UTF-8" in ran.stderr) == (2, True), ran.stderr
    assert not os.path.lexists(odd + b"-store")


# -- errors as JSON ------------------------------------------------------------------------------


def test_errors_as_json(env: dict[str, str], store: Path, tree: Path, own_store: Path) -> None:
    """With --json, an error is an object on the last line of standard error; nothing is on the
    other."""
    mistakes = [("files", "shp", "--json", "--store", str(store)), ("files", "--json")]
    unknown, missing = (json.loads(ran.out) for ran in several(mistakes, env))
    assert unknown["error"] == "UnknownRepository"
    assert unknown["exit_code"] == 2
    assert "Did you mean 'shop'?" in unknown["message"]
    assert missing == {"error": "UsageError", "message": "Missing argument 'NAME'.", "exit_code": 2}
    sync = ("sync", str(tree), "--name", "shop", "--full", "--deadline", "0.0001")
    ran = in_a_pipe([*sync, "--json", "--store", own_store], env)
    assert (ran.code, ran.out) == (1, "")
    told = json.loads(ran.err.splitlines()[-1])
    assert (told["error"], told["exit_code"]) == ("DeadlineExceeded", 1)
    assert SyncResult.model_validate(told["result"]).repository == "shop"
