"""Docstring -> function: the first sentence asks, the function without its docstring answers.

The docstrings of functions are taken out of the text for every splitter alike: with them in, any
splitter finds the query word for word. Docstrings of classes and modules stay: they are about more
than one function, as comments are.
"""

from __future__ import annotations

import ast
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from .corpora import Repository, Target, by_text

PACKAGES = (
    *("requests", "pathspec", "sortedcontainers", "nbformat"),
    *("attr", "fastjsonschema", "flatbuffers", "jupyter_core", "pydantic_core", "yarl"),
)
"""There after `pip install -e '.[local,dev]'`, at most 50 000 tokens (the whole table should take
minutes), at least 40 queries, and two for each 1 000 tokens: all that were so when listed;
and pathspec, with 1.5, which was there before that rule."""

_DISTRIBUTIONS = {"attr": "attrs"}

LEAST_WORDS = 4
LEAST_LINES = 3

_SENTENCE = re.compile(r".*?[.!?](?=\s|$)", re.DOTALL)


def function_repositories() -> list[Repository]:
    """One repository for each of `PACKAGES`."""
    return [_read(package) for package in PACKAGES]


def functions_of(name: str, sources: dict[str, str]) -> Repository:
    """The repository of these Python files, docstrings of functions taken out."""
    files, pairs = {}, []
    for path, source in sorted(sources.items()):
        files[path], found = _without_docstrings(path, source)
        pairs += found
    return Repository(name, files, by_text(pairs))


def _read(package: str) -> Repository:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: pip install -e '.[local,dev]'")
    folder = Path(spec.origin).parent
    paths = [path for path in folder.rglob("*.py") if "__pycache__" not in path.parts]
    return functions_of(
        f"{package} {version(_DISTRIBUTIONS.get(package, package))}",
        {str(path.relative_to(folder.parent)): path.read_text("utf-8") for path in paths},
    )


def _without_docstrings(path: str, source: str) -> tuple[str, list[tuple[str, Target]]]:
    """The text that is left, and each first sentence with the function that it was of."""
    lines = source.splitlines(keepends=True)
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node)
        first, last = node.body[0].lineno - 1, node.body[0].end_lineno or 0
        if not text or len(node.body) < 2 or node.body[1].lineno <= last or first < node.lineno:
            continue
        lines[first:last] = [""] * (last - first)
        if (node.end_lineno or 0) - last >= LEAST_LINES:
            found.append((_first_sentence(text), node.lineno - 1, node.end_lineno or 0))
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    return "".join(lines), [
        (sentence, Target(path, starts[start], starts[end]))
        for sentence, start, end in sorted(found, key=lambda item: item[1])
        if len(sentence.split()) >= LEAST_WORDS
    ]


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    sentence = _SENTENCE.match(paragraph)
    return sentence[0] if sentence else paragraph
