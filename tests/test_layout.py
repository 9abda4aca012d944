"""How the library's source is laid out; the floors themselves are import-linter's business."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import reposync

ROOT = Path(reposync.__file__).parent
MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}

ONLY_IMPORTERS = {
    "sqlite3": {
        "manifest/database.py",
        "manifest/runs.py",
        "manifest/state.py",
        "probe.py",
        "operations/examine.py",
        "search/index.py",
        "throttle.py",
    },
    "filelock": {"lock/file.py"},
    "tenacity": {"retry.py"},
    "tokenizers": {"tokens.py"},
    "onnxruntime": {"embed/ort.py"},
    "openvino": {"embed/fast.py"},
    "chromadb": {"address.py", "store.py", "probe.py", "embed/weights.py", "operations/sample.py"},
    "typer": {
        "command/app.py",
        "command/changing.py",
        "command/checking.py",
        "command/complete.py",
        "command/copying.py",
        "command/faults.py",
        "command/options.py",
        "command/program.py",
        "command/searching.py",
        "command/settings.py",
        "command/syncing.py",
    },
    "rich": {"command/output.py"},
    "IPython": {"faces.py"},
    "matplotlib": {"operations/history_figure.py"},
    "pandas": {"frame.py"},
    "pygments": {"display/snippet.py"},
    "pathspec": {"scan/ignore.py"},
    "nbformat": {"chunk/notebook.py"},
    "opentelemetry": {"telemetry.py"},
    "pyrate_limiter": {"throttle.py"},
    "tree_sitter": {"chunk/grammar.py", "chunk/parse.py"},
}
"""Each of these has one doorway. `probe`, `examine` and `sample` run in processes of their own;
`embed.weights` has Chroma download its own model; `throttle` has pyrate_limiter use SQLite, and
catches its errors."""

LATE = (
    "chromadb",
    "onnxruntime",
    "openvino",
    "tokenizers",
    "numpy",
    "tenacity",
    "IPython",
    "pandas",
    "pygments",
    "opentelemetry",
    "platformdirs",
    "pyrate_limiter",
    "nbformat",
)
"""Slow to import, or needed by few: imported where they are first needed."""


def parsed(name: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(MODULES[name].read_text("utf-8"), name)


def is_for_types(node: ast.AST) -> bool:
    """True for ``if TYPE_CHECKING:``, whose block is never run."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def run_nodes(node: ast.AST, *, enter_functions: bool = True) -> Iterator[ast.AST]:
    """Every node below `node` that can run; without functions, those that importing runs."""
    for child in ast.iter_child_nodes(node):
        if is_for_types(child):
            assert isinstance(child, ast.If)
            children = child.orelse
        else:
            yield child
            is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            children = [] if is_function and not enter_functions else [child]
        for one in children:
            yield from run_nodes(one, enter_functions=enter_functions)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """The top-level packages that are imported."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(str(node.module))
    return {name.partition(".")[0] for name in names}


IMPORTS = {name: imported(run_nodes(parsed(name))) for name in MODULES}


@pytest.mark.parametrize("package", ONLY_IMPORTERS)
def test_each_library_has_its_doorway(package: str) -> None:
    """A library that could be exchanged is known to one file, so that it can be."""
    assert {name for name in MODULES if package in IMPORTS[name]} == ONLY_IMPORTERS[package]


@pytest.mark.parametrize("name", MODULES)
def test_what_is_slow_is_imported_late(name: str) -> None:
    """Importing a module of ours loads none of the slow libraries."""
    at_once = imported(run_nodes(parsed(name), enter_functions=False))
    assert at_once.isdisjoint(LATE)


@pytest.mark.parametrize("name", MODULES)
def test_the_library_is_silent(name: str) -> None:
    """A library does not print: what it has to say is in its result, its errors and its log."""
    calls = [ast.unparse(n.func) for n in run_nodes(parsed(name)) if isinstance(n, ast.Call)]
    assert not {"print", "warnings.warn", "logging.basicConfig"} & set(calls)


ALLOWED_STATEMENTS = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
)
PURE_CALLS = {
    "FileStat",
    "Path",
    "TypeVar",
    "ParamSpec",
    "ContextVar",
    "itertools.count",
    "WeakKeyDictionary",
    "Annotated",
    "frozenset",
    "dict",
    "tuple",
    "sorted",
    "max",
    "len",
    "logging.getLogger",
    "re.compile",
    "struct.Struct",
    "threading.Lock",
    "typer.Argument",
    "typer.Option",
    "typer.Typer",
    "bytes",
    "getattr",
    "map",
    "range",
    "set",
    "'|'.join",
    "LANGUAGES.items",
    "_SQL.items",
    "Def",
    "Language",
    "MappingProxyType",
}
"""What may be called while a module is imported: it makes a value and touches nothing."""


def is_guarded(statement: ast.stmt) -> bool:
    """True for a docstring, ``if TYPE_CHECKING:`` and ``if __name__ == "__main__":``."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.If) and not statement.orelse:
        return ast.unparse(statement.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
    return False


@pytest.mark.parametrize("name", MODULES)
def test_importing_does_nothing(name: str) -> None:
    """A module's top level only defines: no loops, no files, no processes, no threads."""
    tree = parsed(name)
    top = [statement for statement in tree.body if not is_guarded(statement)]
    odd = [ast.unparse(one) for one in top if not isinstance(one, ALLOWED_STATEMENTS)]
    assert odd == []

    local = {one.name for one in tree.body if isinstance(one, (ast.ClassDef, ast.FunctionDef))}
    calls = {
        ast.unparse(node.func)
        for statement in top
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None
        for node in ast.walk(statement.value)
        if isinstance(node, ast.Call)
    }
    assert calls - PURE_CALLS - local == set()


@pytest.mark.parametrize("name", MODULES)
def test_each_file_says_what_it_is(name: str) -> None:
    """A file begins with a docstring whose first line is a sentence."""
    docstring = ast.get_docstring(parsed(name))
    assert docstring
    assert len(docstring.splitlines()[0]) > 20
    assert "." in docstring


def test_the_rules_can_fail() -> None:
    """The readers of source used above see what they look for."""
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import chromadb\n"
        "class A:\n    import numpy\n"
        "def f():\n    import sqlite3\n    print(1)\n"
        "x = [open(1)]\nf()\n"
    )
    tree = ast.parse(source)
    assert imported(run_nodes(tree)) == {"typing", "numpy", "sqlite3"}
    assert imported(run_nodes(tree, enter_functions=False)) == {"typing", "numpy"}
    assert not is_guarded(tree.body[-1])
