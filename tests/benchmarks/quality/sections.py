"""First sentence -> section, over manuals, and what installed distributions say of themselves.

The manuals are those in Debian's sources (see ``debian``); the long descriptions of distributions
are READMEs; both are Markdown or reStructuredText. The first sentence under a heading asks and is
taken out of the text; the rest of the section answers. Headings stay: they are what a reader sees,
and what some splitters cut at.
"""

from __future__ import annotations

import re
from importlib.metadata import distribution
from random import Random
from typing import TYPE_CHECKING

from reposync.chunk.outline import split_lines
from reposync.chunk.prose import prose_outline

from . import debian
from .corpora import Repository, Target, by_text, sample, solid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DISTRIBUTIONS = (
    *("websockets", "tqdm", "filelock", "multidict", "mypy", "pluggy", "pathspec", "httpx"),
    *("websocket-client", "typer", "python-dateutil", "markdown-it-py", "rich", "watchfiles"),
    *("sortedcontainers", "importlib-resources", "jsonschema", "anyio"),
)
MANUALS = {
    "python-django": ("docs/topics/", ".txt", "rst"),
    "rails": ("guides/source/", ".md", "md"),
    "curl": ("docs/", ".md", "md"),
}
"""Where in the source, which files, and what they are written in."""

CAP = 40_000
"""Tokens of each manual; its files are drawn at random."""

LEAST_WORDS = 5
LEAST_REST = 120
"""Characters, white space left out, that must remain of a section."""
_PARAGRAPH = re.compile(r"^[A-Z][^<>|\n]*(?:\n\w[^<>|\n]*)*", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!:?](?=\s|$)")


def section_repositories(cache: Path) -> tuple[list[Repository], list[str]]:
    """The repositories, and what could not be had."""
    repositories, missing = [_descriptions()], []
    for package, (part, suffix, language) in MANUALS.items():
        folder = debian.fetch(package, cache)
        if folder is None:
            missing.append(f"Debian's source of {package}: apt-get could not fetch it")
            continue
        texts = {
            f"{path.removesuffix(suffix)}.{language}": text
            for path, text in debian.read_files(folder, (suffix,)).items()
            if path.startswith(part)
        }
        chosen = sample(texts, (), CAP, Random(package))
        name = f"manual of {debian.version_of(folder)}"
        repositories.append(sections_of(name, {path: texts[path] for path in chosen}))
    return repositories, missing


def _descriptions() -> Repository:
    """The long descriptions of `DISTRIBUTIONS` as one repository."""
    sources = {}
    for name in DISTRIBUTIONS:
        try:
            metadata = distribution(name).metadata
        except ModuleNotFoundError:  # a dependency of a dependency that is gone
            continue
        suffix = "md" if "markdown" in (metadata["Description-Content-Type"] or "") else "rst"
        body = metadata["Description"] or str(metadata.get_payload())
        sources[f"{name}.{suffix}"] = body.replace("\r\n", "\n")
    return sections_of("descriptions", sources)


def sections_of(name: str, sources: dict[str, str]) -> Repository:
    """The repository of these texts, the first sentences of their sections taken out."""
    files, pairs = {}, []
    for path, source in sorted(sources.items()):
        files[path], found = _without_first_sentences(path, source)
        pairs += found
    return Repository(name, files, by_text(pairs))


def _without_first_sentences(path: str, source: str) -> tuple[str, list[tuple[str, Target]]]:
    parts, found, done, size = [], [], 0, 0
    for start, end in _sections(path, source):
        paragraph = _first_paragraph(source, start, end)
        if paragraph is None:
            continue
        first, last = paragraph
        asked = " ".join(source[first:last].split())
        rest = source[last:end]
        if len(asked.split()) < LEAST_WORDS or solid(rest) < LEAST_REST:
            continue
        kept = source[done:first]
        size += len(kept)
        parts.append(kept)
        done = last
        found.append((asked, Target(path, size, size + len(rest))))
    return "".join([*parts, source[done:]]), found


def _sections(path: str, source: str) -> Iterator[tuple[int, int]]:
    """Where the text between two headings begins and ends, in characters."""
    lines = split_lines(source)
    language = "markdown" if path.endswith(".md") else "rst"
    heads = [definition.span.start for definition in prose_outline(language, lines).definitions]
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for first, after in zip(heads, [*heads[1:], len(lines)], strict=False):
        yield starts[first], starts[after]


def _first_paragraph(source: str, start: int, end: int) -> tuple[int, int] | None:
    """Where the first sentence under the heading begins and ends; None if there is no prose."""
    body = source.find("\n", start, end) + 1
    if not body:
        return None
    for paragraph in _PARAGRAPH.finditer(source, body, min(end, body + 800)):
        before = source[body : paragraph.start()].strip()
        if set(before) - set('=-~^*`#"'):
            return None  # something else comes first: a list, code, a picture
        stop = _SENTENCE_END.search(source, paragraph.start(), paragraph.end())
        return (paragraph.start(), stop.end()) if stop else None
    return None
