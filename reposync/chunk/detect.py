"""Which language a file is in: by its extension, its name, or its first line."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from reposync.chunk.languages import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Set

_EXTENSIONS = {
    "batch": "bat cmd",
    "clojure": "clj cljs",
    "cmake": "cmake",
    "csv": "csv",
    "dart": "dart",
    "elixir": "ex exs",
    "erlang": "erl hrl",
    "graphql": "graphql gql",
    "groovy": "groovy gradle",
    "haskell": "hs",
    "ini": "ini cfg",
    "julia": "jl",
    "latex": "tex sty",
    "less": "less",
    "make": "mk",
    "markdown": "md markdown mdown mkd mdx",
    "nim": "nim",
    "notebook": "ipynb",
    "perl": "pl pm",
    "powershell": "ps1",
    "protobuf": "proto",
    "r": "r",
    "rst": "rst rest",
    "scss": "scss",
    "svelte": "svelte",
    "terraform": "tf",
    "text": "txt text",
    "tsv": "tsv",
    "vue": "vue",
    "xml": "xml",
    "zig": "zig",
}
_NAMES = {
    "cmake": "cmakelists.txt",
    "dockerfile": "dockerfile",
    "groovy": "jenkinsfile",
    "make": "makefile gnumakefile",
    "python": "sconstruct sconscript wscript",
    "ruby": "gemfile rakefile",
}
_INTERPRETERS = {
    "bash": "sh bash dash zsh ksh",
    "javascript": "node nodejs",
    "lua": "lua",
    "perl": "perl",
    "php": "php",
    "python": "python pypy",
    "ruby": "ruby",
    "typescript": "deno bun",
}

_SHEBANG = re.compile(
    r"\ufeff?#![ \t]*(?:\S*/)?(?:env[ \t]+(?:(?:-\S+|\w+=\S*)[ \t]+)*(?:\S*/)?)?([A-Za-z]+)"
)
_CPP_HEADER = re.compile(
    r"^[ \t]*(?:namespace\b|template[ \t]*<|class[ \t]+\w|using[ \t]+\w|(?:public|private)[ \t]*:)",
    re.MULTILINE,
)


def _inverted(table: dict[str, str]) -> dict[str, str]:
    return {word: language for language, words in table.items() for word in words.split()}


_BY_EXTENSION = {
    **_inverted(_EXTENSIONS),
    **{extension: name for name, entry in LANGUAGES.items() for extension in entry.extensions},
}
_BY_NAME = _inverted(_NAMES)
_BY_INTERPRETER = _inverted(_INTERPRETERS)


def language_of(path: str, text: str = "") -> str:
    """The name of the language that the file at `path` is in; "" if unknown.

    The first line of `text` counts if the path tells nothing. A ``.h`` file is C++ if its text
    looks like it, else C.
    """
    name = PurePosixPath(path).name.lower()
    extension = name.rpartition(".")[2] if "." in name else ""
    if extension == "h" and _CPP_HEADER.search(text):
        return "cpp"
    language = _BY_NAME.get(name) or _BY_EXTENSION.get(extension, "")
    if not language and (shebang := _SHEBANG.match(text)):
        return _BY_INTERPRETER.get(shebang[1].lower(), "")
    return language


def may_be(path: str, languages: Set[str]) -> bool:
    """Whether the file at `path`, or a cell of it, may be in one of `languages`, for all its text
    may say."""
    language = language_of(path)
    if language == "notebook":
        return bool(languages)
    if language in ("c", "cpp"):
        return not languages.isdisjoint({"c", "cpp"})
    return language in languages if language else not languages.isdisjoint(_INTERPRETERS)
