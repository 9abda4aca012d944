"""Which language a file is in: by its extension, its name, or its first line."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from reposync.chunk.languages import LANGUAGES

_EXTENSIONS = {
    "bash": "sh bash zsh ksh",
    "batch": "bat cmd",
    "clojure": "clj cljs",
    "cmake": "cmake",
    "csharp": "cs",
    "css": "css",
    "csv": "csv",
    "dart": "dart",
    "elixir": "ex exs",
    "erlang": "erl hrl",
    "graphql": "graphql gql",
    "groovy": "groovy gradle",
    "haskell": "hs",
    "html": "html htm xhtml",
    "ini": "ini cfg",
    "json": "json",
    "julia": "jl",
    "kotlin": "kt kts",
    "latex": "tex sty",
    "less": "less",
    "lua": "lua",
    "make": "mk",
    "markdown": "md markdown mdown mkd mdx",
    "nim": "nim",
    "notebook": "ipynb",
    "perl": "pl pm",
    "php": "php",
    "powershell": "ps1",
    "protobuf": "proto",
    "r": "r",
    "rst": "rst rest",
    "ruby": "rb rake gemspec",
    "scala": "scala sc",
    "scss": "scss",
    "sql": "sql",
    "svelte": "svelte",
    "swift": "swift",
    "terraform": "tf",
    "text": "txt text",
    "toml": "toml",
    "tsv": "tsv",
    "vue": "vue",
    "xml": "xml",
    "yaml": "yaml yml",
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
