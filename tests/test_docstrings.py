"""The examples in the docstrings of what is public: every function has one, and all of them run.

They run in a folder of their own, which holds a small git repository, ``project/``, that was synced
as "project" into the store ``chroma/``. ``embed`` is its embedding function, tiny and exact.
"""

from __future__ import annotations

import doctest
import inspect
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import RACY_SECONDS, HashEmbedding, make_folder

import reposync
from reposync import sync_repository

FILES = {
    "README.md": "# Greetings\n\nSays hello to whoever asks.\n",
    "greet.py": 'def greet(name: str) -> str:\n    """A greeting."""\n    return f"Hello {name}"\n',
    "logo.png": "\0",
}


def examples(name: str) -> list[doctest.DocTest]:
    """The examples of a public name; a class has those of its methods, too."""
    found = doctest.DocTestFinder().find(getattr(reposync, name), name)
    return [test for test in found if test.examples]


FUNCTIONS = [name for name in reposync.__all__ if inspect.isfunction(getattr(reposync, name))]
WITH_EXAMPLES = [name for name in reposync.__all__ if examples(name)]


@pytest.fixture
def folder(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The prepared folder; it is the current one, too."""
    where = make_folder("reposync-docstrings-")
    project = where / "project"
    project.mkdir()
    for name, text in FILES.items():
        (project / name).write_text(text, "utf-8")
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "first")):
        subprocess.run(["git", *identity, *command], cwd=project, check=True)
    monkeypatch.chdir(where)
    time.sleep(RACY_SECONDS)  # else a file that was just written counts as changed
    sync_repository("project", store="chroma", embedding_function=HashEmbedding())
    yield where
    monkeypatch.undo()
    shutil.rmtree(where)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_has_an_example(name: str) -> None:
    """Whoever looks a function up sees it used."""
    assert examples(name), f"{name} has no example (>>>) in its docstring"


@pytest.mark.parametrize("name", WITH_EXAMPLES)
@pytest.mark.usefixtures("folder")
def test_examples_are_true(name: str) -> None:
    """Each example gives what it says."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=options)
    said: list[str] = []
    for test in examples(name):
        test.globs = {"embed": HashEmbedding()}
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
    assert runner.tries
