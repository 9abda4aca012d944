"""One language's grammar: what the table says of it, its wheel, and its version.

Each grammar is a wheel of its own. One that is not installed, or was made for another tree-sitter,
is no error: its files are cut by layout. So the version takes part in the recipe of the files in
its language, and of no others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Language as Grammar

_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Def:
    """A node type that defines something.

    Attributes:
        kind: what it defines.
        name: the field that holds its name, or the node type of that child; several in the order
            in which they are tried, with blanks between.
        needs: a field (or child) that must be there for it to be a definition, such as a body.
        types: if not empty, the node types that this field may have, and the kind each one means.
        owner: a field that names the type that it belongs to, if it does not stand inside of it.
        whole: the name is all of the text, not only its last word.
    """

    kind: str
    name: str = "name"
    needs: str = ""
    types: dict[str, str] = field(default_factory=dict)
    owner: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Language:
    """One language: its file extensions, its grammar and its definitions.

    Attributes:
        function: the function of `module` that gives the grammar.
        kind: what a chunk outside of any definition is.
    """

    extensions: tuple[str, ...]
    module: str
    definitions: dict[str, Def]
    function: str = "language"
    kind: str = "module"


@cache
def load_grammar(module: str, function: str) -> Grammar | None:
    """None if the grammar's wheel is not installed, or is made for another tree-sitter."""
    try:
        from tree_sitter import Language as Grammar

        return Grammar(getattr(import_module(module), function)())
    except (ImportError, AttributeError, ValueError, TypeError):
        return None


@cache
def grammar_version(module: str) -> str:
    """What decides how texts of this grammar are parsed; "" if its wheel is not installed.

    Of tree-sitter itself only the first two numbers: it parses alike within a minor version.
    """
    from importlib.metadata import PackageNotFoundError

    try:
        runtime = _version("tree-sitter").split(".")
        return f"{_version(module.replace('_', '-'))}@{'.'.join(runtime[:2])}"
    except PackageNotFoundError:
        return ""


@cache
def _version(distribution: str) -> str:
    """As `importlib.metadata.version`, which reads all of a distribution's metadata as a mail: for
    two dozen grammars that was a tenth of a sync that finds nothing to do."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import distribution as find

    found = _VERSION.search(find(distribution).read_text("METADATA") or "")
    if found is None:
        raise PackageNotFoundError(distribution)
    return found[1]
