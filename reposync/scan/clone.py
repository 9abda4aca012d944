"""A git URL: kept as a shallow bare clone in a cache folder, brought up to date at each call.

Nothing of the remote's is run, and nothing is asked at a terminal. The clone has no settings of its
own, and so keeps no password that a URL may hold; it is made by ``git init`` and ``git fetch``,
which can be taken up wherever a call before was killed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from reposync.errors import ConfigError, ScanError
from reposync.scan.git_command import (
    NoAnswer,
    calm_environment,
    complaint,
    git_command,
    run_git,
)
from reposync.scan.refs import wrong_ref

if TYPE_CHECKING:
    from pathlib import Path

SCHEMES = ("https", "http", "ssh", "git", "file")
CURRENT = "refs/reposync/current"
_URL = re.compile(rf"(?P<scheme>{'|'.join(SCHEMES)})://(?P<rest>[^\s\x00-\x1f]+)", re.IGNORECASE)
_SCP = re.compile(r"(?P<user>\w[\w.+-]*)@(?P<host>[A-Za-z0-9][\w.-]*):(?P<path>[^\s\x00-\x1f]+)")
_PASSWORD = re.compile(r"(?<=://)[^/@\s]*@")
_FETCH = (
    *("-c", "gc.auto=0"),  # somebody may be reading
    *("-c", "maintenance.auto=false"),
    *("-c", "core.askPass="),
    *("-c", "http.lowSpeedLimit=1"),
    *("-c", "http.lowSpeedTime=60"),
)
_LOOK_SECONDS = 0.2  # how soon a caller who wants no more is heard
# A user's own ``url.<base>.insteadOf`` may lead from one of these to another.
_ALLOWED = {"http": "http:https:ssh", "https": "https:ssh", "ssh": "ssh:https"}


class Patience(NamedTuple):
    """How long to wait for one answer of the remote.

    Attributes:
        check: is called now and then, and raises something if the caller wants no more.
    """

    seconds: float
    check: Callable[[], None] = lambda: None


def is_url(path: object) -> bool:
    """Tell a git URL from a path; ``C:\\x`` and ``./a@b:c`` are paths."""
    return isinstance(path, str) and (bool(_URL.match(path)) or bool(_SCP.fullmatch(path)))


def check_url(url: str) -> str:
    """Give the URL as it is kept and shown: without a password.

    Raises:
        ConfigError: it cannot be one.
    """
    if not (_URL.fullmatch(url) or _SCP.fullmatch(url)):
        raise ConfigError(f"path={without_password(url)!r} is no git URL. Pass a URL or a folder.")
    return without_password(url)


def without_password(text: str) -> str:
    """Take user and password out of the URLs in a text; the user of ``ssh://`` goes, too."""
    return _PASSWORD.sub("", text)


def repository_name(url: str) -> str:
    """Give the name that people call the repository by."""
    last = re.split(r"[/:]", url.rstrip("/"))[-1]
    return last.removesuffix(".git") or "repository"


def identity(url: str) -> str:
    """Give what two URLs of one repository have in common: host and path."""
    scp = _SCP.fullmatch(url)
    place = f"{scp['host']}/{scp['path'].lstrip('/')}" if scp else without_password(url)
    place = re.sub(r"^\w+://", "", place)
    host, slash, path = place.rstrip("/").partition("/")
    return host.lower() + slash + path.removesuffix(".git")


def clone_folder(url: str, cache: Path) -> Path:
    """Name the folder in which a URL's clone is kept."""
    shown = check_url(url)
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", repository_name(shown)).strip(".-")[:40] or "clone"
    return cache / f"{slug}-{hashlib.sha256(shown.encode()).hexdigest()[:12]}"


def fetch(url: str, ref: str | None, folder: Path, patience: Patience) -> str:
    """Bring the clone in `folder` up to date; give the id of the commit that `ref` names.

    The caller sees to it that nobody else does so at the same time.

    Args:
        url: where from.
        ref: a branch, a tag or a commit's full id; None: what the remote calls its HEAD.
        folder: where to; made if it is not there.
        patience: how long to wait for the remote.

    Raises:
        ConfigError: the remote has no such ref.
        ScanError: the remote cannot be read.
    """
    fresh = not folder.exists()
    try:
        return _fetch(url, ref, folder, patience)
    except NoAnswer as refusal:
        names = _remote_refs(url, folder.parent, patience)
        if isinstance(names, NoAnswer):
            raise ScanError(
                f"{check_url(url)} cannot be read: {names}. Try 'git ls-remote' with that URL;"
                " nothing is asked for here, so credentials must come from git's own helper."
            ) from refusal
        if ref is not None and ref not in names and not re.fullmatch("[0-9a-f]{40,64}", ref):
            raise ConfigError(wrong_ref(ref, check_url(url), sorted(names))) from refusal
        if ref is None and "HEAD" not in names:
            raise ScanError(f"{check_url(url)} has no commit yet.") from refusal
        if fresh:
            raise _failed(url, ref, refusal) from refusal
    # The remote answers, so what is here must be at fault: an earlier call was killed, say.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return _fetch(url, ref, folder, patience)
    except NoAnswer as refusal:
        raise _failed(url, ref, refusal) from refusal


def _failed(url: str, ref: str | None, refusal: NoAnswer) -> ScanError:
    return ScanError(f"{ref or 'HEAD'} of {check_url(url)} cannot be fetched: {refusal}")


def _fetch(url: str, ref: str | None, folder: Path, patience: Patience) -> str:
    if not (folder / "HEAD").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)  # what it holds may be for this user only
        run_git(folder, "init", "--quiet", "--bare", "--template=", ".")
    for lock in folder.rglob("*.lock"):  # of one that was killed: we are alone here
        lock.unlink(missing_ok=True)
    refspec = f"+{ref or 'HEAD'}:{CURRENT}"
    question = ("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules")
    keep = ("--no-write-fetch-head", "--no-auto-gc", "--end-of-options")
    _remote(folder, url, patience, *question, *keep, url, refspec)
    commit = run_git(folder, "rev-parse", "--verify", f"{CURRENT}^{{commit}}")
    return commit.decode("ascii").strip()


def _remote_refs(url: str, folder: Path, patience: Patience) -> set[str] | NoAnswer:
    """The remote's branches and tags by their short names, or why it does not tell."""
    try:
        answer = _remote(folder, url, patience, "ls-remote", "--quiet", "--end-of-options", url)
    except NoAnswer as refusal:
        return refusal
    names: set[str] = set()
    for line in answer.decode("utf-8", "replace").splitlines():
        full = line.partition("\t")[2].removesuffix("^{}")
        names.update((full, re.sub("^refs/(heads|tags)/", "", full)))
    return names


def _remote(folder: Path, url: str, patience: Patience, *arguments: str) -> bytes:
    """Run a git that speaks to the remote, by no protocol that runs a program.

    In a session of its own it has no terminal to ask at, nor do the programs that it starts; and
    all of them can be ended together.
    """
    import subprocess

    scheme = match["scheme"].lower() if (match := _URL.match(url)) else "ssh"
    environment = {
        **calm_environment(),
        "GIT_ALLOW_PROTOCOL": _ALLOWED.get(scheme, scheme),
        "SSH_ASKPASS_REQUIRE": "never",
        **{k: os.environ[k] for k in ("GIT_SSH", "GIT_SSH_COMMAND") if k in os.environ},
    }
    process = subprocess.Popen(  # noqa: S603 - see `git_command`
        git_command(folder, *_FETCH, *arguments),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    ends = time.monotonic() + patience.seconds
    try:
        while True:
            try:
                out, err = process.communicate(timeout=_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                patience.check()
                if time.monotonic() > ends:
                    raise ScanError(
                        f"{check_url(url)} gave no answer in {patience.seconds:.0f} s. Allow it"
                        " more by SyncConfig(fetch_timeout=...), or look whether it can be reached."
                    ) from None
    finally:
        if process.poll() is None:
            _end(process)
    if process.returncode != 0:
        told = without_password(complaint(err))
        raise NoAnswer(told or f"git ended with {process.returncode}")
    return out


def _end(process: object) -> None:
    import subprocess

    assert isinstance(process, subprocess.Popen)
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()
