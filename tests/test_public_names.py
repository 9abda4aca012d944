"""The names a user meets: all there, all documented, and cheap until they are used."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import reposync
from reposync import errors

HEAVY = (
    "chromadb",
    "onnxruntime",
    "openvino",
    "tokenizers",
    "numpy",
    "pydantic",
    "tenacity",
    "filelock",
)


def fresh(code: str, *arguments: str) -> Any:
    """What code in a fresh interpreter says as JSON, by calling ``say``."""
    start = (
        "import json, os, sys\n"
        "def say(value):\n    print(json.dumps(value))\n"
        f"def heavy():\n    return sorted(set({HEAVY!r}) & sys.modules.keys())\n"
        "def threads():\n"
        "    import threading\n"
        "    tasks = '/proc/self/task'\n"
        "    native = len(os.listdir(tasks)) if os.path.isdir(tasks) else 1\n"
        "    return max(threading.active_count(), native)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", reposync.__all__)
def test_every_public_name_resolves(name: str) -> None:
    """Each name can be had, as often as asked, and is the one of its module."""
    value = getattr(reposync, name)
    assert getattr(reposync, name) is value
    if name in reposync._HOMES:
        home = importlib.import_module(f"reposync.{reposync._HOMES[name]}")
        assert getattr(home, name) is value


def test_the_public_names() -> None:
    """What is public is listed once, in order, and `dir` shows it."""
    assert list(reposync.__all__) == sorted(set(reposync.__all__))
    assert dir(reposync) == sorted(reposync.__all__)
    assert set(reposync._HOMES) == set(reposync.__all__) - {"__version__"}


def test_type_checkers_see_the_same_names() -> None:
    """The names that are fetched late are those that the TYPE_CHECKING block imports."""
    tree = ast.parse(Path(reposync.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imported = {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {name: f"reposync.{home}" for name, home in reposync._HOMES.items()}


def test_a_name_that_is_not_there() -> None:
    """A slip of the pen is an AttributeError, as for any module."""
    with pytest.raises(AttributeError, match="has no attribute 'sync_repo'"):
        _ = reposync.sync_repo  # type: ignore[attr-defined]


# -- cheap until used --------------------------------------------------------------------------


def test_importing_loads_nothing() -> None:
    """``import reposync`` loads no library and starts no thread."""
    assert fresh("import reposync; say([heavy(), threads()])") == [[], 1]


def test_the_errors_load_nothing() -> None:
    """Who only wants to catch an error pays for no library."""
    assert fresh("from reposync import SyncError; say(heavy())") == []


def test_the_main_name_loads_no_model() -> None:
    """``from reposync import sync_repository`` loads neither Chroma nor a model's runtime."""
    code = "from reposync import sync_repository; say([heavy(), threads()])"
    loaded, threads = fresh(code)
    assert not {"chromadb", "onnxruntime", "tokenizers", "tenacity"} & set(loaded)
    assert threads == 1


def test_a_sync_with_nothing_to_do_loads_no_model(tmp_path: Path) -> None:
    """If nothing changed, neither Chroma nor the model is loaded, and no thread is started."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("def a():\n    return 1\n")
    code = """
        from reposync import sync_repository
        result = sync_repository(sys.argv[1], store=sys.argv[2])
        say([heavy(), threads(), result.files.model_dump(), result.chunks.model_dump()])
    """
    arguments = (str(tree), str(tmp_path / "store"))
    loaded, _, files, chunks = fresh(code, *arguments)
    assert {"chromadb", "onnxruntime", "tokenizers"} <= set(loaded), "the first one needs them"
    assert (files["added"], chunks["embedded"]) == (1, 1)
    # A file that was written in the tick in which it was read is read once more.
    fresh(code, *arguments)
    loaded, threads, files, chunks = fresh(code, *arguments)
    assert not {"chromadb", "onnxruntime", "tokenizers"} & set(loaded)
    assert threads == 1
    assert (files["unchanged"], files["scanned"], chunks["total"]) == (1, 1, 1)


# -- errors ------------------------------------------------------------------------------------


def drawn_tree() -> dict[str, str | None]:
    """Each error in the drawing, with the one it hangs from."""
    assert errors.__doc__
    parents: dict[str, str | None] = {}
    above: list[str] = []
    for line in errors.__doc__.split("::", 1)[1].splitlines():
        text = line.strip("│├└─ ")
        if not line.startswith("    ") or not text:
            if parents:
                break
            continue
        depth = (len(line) - len(line[4:].lstrip("│├└─ ")) - 4) // 4
        name = text.split()[0]
        above[depth:] = [name]
        parents[name] = above[depth - 1] if depth else None
    return parents


def real_tree() -> dict[str, str | None]:
    """Each error class, with its first base."""
    classes = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    ]
    return {
        kind.__name__: None if kind.__bases__ == (Exception,) else kind.__bases__[0].__name__
        for kind in classes
    }


def test_the_drawn_tree_is_the_real_one() -> None:
    """The tree of errors in the docstring is the tree of classes."""
    assert drawn_tree() == real_tree()
    assert len(drawn_tree()) > 10


def test_every_error_is_public() -> None:
    """What can be raised on purpose can be caught by name."""
    assert set(real_tree()) <= set(reposync.__all__)


@pytest.mark.parametrize(
    ("error", "builtin"), [("ConfigError", ValueError), ("LockTimeout", TimeoutError)]
)
def test_errors_that_are_built_in_ones_too(error: str, builtin: type[Exception]) -> None:
    """A mistake is a ValueError, and a timeout a TimeoutError, as the drawing says."""
    assert issubclass(getattr(reposync, error), builtin)
    line = next(line for line in str(errors.__doc__).splitlines() if f" {error} " in line)
    assert f"also a {builtin.__name__}" in line


def test_an_error_carries_a_result_only_if_it_was_given_one() -> None:
    """Outside of a sync there is no result to carry."""
    assert reposync.SyncError("x").result is None


# -- documentation -----------------------------------------------------------------------------


def all_modules() -> list[str]:
    """Every module of the library."""
    found = pkgutil.walk_packages(reposync.__path__, "reposync.")
    return ["reposync", *(module.name for module in found)]


CHROMAS_OWN = {"name", "get_config", "is_legacy", "embed_query"}
"""Methods that Chroma asks of an embedding function, and documents."""


def members(kind: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties that a class itself defines."""
    for key, member in vars(kind).items():
        is_method = isinstance(member, (property, staticmethod, classmethod))
        if not key.startswith("_") and (is_method or inspect.isfunction(member)):
            yield f"{kind.__name__}.{key}", member


def undocumented(name: str) -> list[str]:
    """Public classes, functions, methods and properties of a module that say nothing."""
    silent = []
    for label, value in vars(importlib.import_module(name)).items():
        own = getattr(value, "__module__", None) == name
        if label.startswith("_") or not own:
            continue
        if (inspect.isclass(value) or inspect.isfunction(value)) and not says_something(value):
            silent.append(label)
        if inspect.isclass(value):
            silent += [key for key, member in members(value) if not says_something(member)]
    return [label for label in silent if label.partition(".")[2] not in CHROMAS_OWN]


def says_something(value: object) -> bool:
    """True if it has a docstring of its own that is not made by `dataclass`."""
    target = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    text = vars(target).get("__doc__") if inspect.isclass(target) else target.__doc__
    name = getattr(target, "__name__", "")
    return bool(text) and not str(text).startswith(f"{name}(")


def test_silence_is_noticed() -> None:
    """What looks for docstrings finds what has none, also behind a dataclass's own."""

    @dataclass
    class Silent:
        number: int = 0

        @property
        def one(self) -> int:
            return 1

        def two(self) -> int:
            """Two."""
            return 2

    assert not says_something(Silent)
    assert [key for key, member in members(Silent) if not says_something(member)] == ["Silent.one"]


@pytest.mark.parametrize("name", all_modules())
def test_everything_public_is_documented(name: str) -> None:
    """Every public class, function, method and property says what it promises."""
    assert undocumented(name) == []


def test_every_setting_says_why() -> None:
    """Each setting of `SyncConfig` is followed by a docstring of its own."""
    source = inspect.getsource(reposync.SyncConfig)
    (body,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    documented = {
        str(getattr(field.target, "id", ""))
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
    assert documented == set(reposync.SyncConfig.model_fields)


def test_the_version_is_a_version() -> None:
    """The version is that of the installed distribution's source."""
    assert [part.isdigit() for part in reposync.__version__.split(".")[:2]] == [True, True]


def test_types_are_shipped() -> None:
    """The marker that tells type checkers that our annotations count is there."""
    assert (Path(reposync.__file__).parent / "py.typed").exists()
