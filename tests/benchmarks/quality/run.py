"""The story: make the repositories, cut them, embed them, ask, count, print one table."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from reposync.chunk import CHUNKER_VERSION, WINDOW_TOKENS

from .corpora import TOKENS, Repository
from .ranking import WordIndex, by_vector, fuse, place_of_first, score
from .splitters import Slice, Splitter, ours, recursive, windows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .vectors import Embed

SPLITTERS: dict[str, Splitter] = {
    "40 lines": windows(),
    "1000 chars": recursive(),
    "ours": ours(),
}
PREFIXES = ("none", "symbols", "path", "both")
MODES = ("dense", "fused")


@dataclass
class Outcome:
    """What was counted.

    Attributes:
        places: for (set, splitter, prefix, mode), the place of each query's first right answer.
        sizes: for (set, splitter), the tokens of each chunk.
        files: for each set, how many files.
    """

    places: dict[tuple[str, str, str, str], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    sizes: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    files: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def measure(
    sets: Mapping[str, Sequence[Repository]],
    embed: Embed,
    splitters: Mapping[str, Splitter] = SPLITTERS,
    prefixes: Sequence[str] = PREFIXES,
) -> Outcome:
    """Asks every repository every query, by every way of cutting it and of embedding that."""
    outcome = Outcome()
    for set_name, repositories in sets.items():
        for repository in repositories:
            outcome.files[set_name] += len(repository.files)
            questions = embed([query.text for query in repository.queries])
            for splitter_name, split in splitters.items():
                slices = [
                    piece for path, text in repository.files.items() for piece in split(path, text)
                ]
                sizes = TOKENS.count([piece.document for piece in slices])
                outcome.sizes[set_name, splitter_name] += sizes
                by_word = WordIndex(slices)
                lexical = [by_word.search(query.text) for query in repository.queries]
                for prefix in prefixes:
                    vectors = embed([_embedded(piece, prefix) for piece in slices])
                    for query, question, found in zip(
                        repository.queries, questions, lexical, strict=True
                    ):
                        dense = by_vector(question, vectors)
                        for mode, ranking in (("dense", dense), ("fused", fuse(dense, found))):
                            place = place_of_first(ranking, slices, query, repository)
                            outcome.places[set_name, splitter_name, prefix, mode].append(place)
    return outcome


def _embedded(piece: Slice, prefix: str) -> str:
    path = piece.path if prefix in ("path", "both") else ""
    context = piece.context if prefix in ("symbols", "both") else ""
    return "\n".join(filter(None, [path, context, piece.document]))


def table(outcome: Outcome, splitters: Sequence[str], prefixes: Sequence[str] = PREFIXES) -> str:
    """The outcome as Markdown; in each row the best of each figure is bold."""
    lines = []
    for set_name, files in outcome.files.items():
        asked = len(outcome.places[set_name, splitters[0], prefixes[0], "dense"])
        lines += [f"### {set_name}: {asked} queries, {files} files", ""]
        lines += ["Each: recall@1 / @5 / @10, MRR.", ""]
        lines += [f"| put before | search | {' | '.join(splitters)} |", "|---|---|" + "---|" * len(splitters)]
        for prefix in prefixes:
            for mode in MODES:
                scores = [
                    score(outcome.places[set_name, name, prefix, mode]) for name in splitters
                ]
                cells = []
                for each in scores:
                    parts = []
                    for index, value in enumerate(each):
                        best = round(value, 3) == max(round(other[index], 3) for other in scores)
                        shown = f"{value:.3f}".lstrip("0")
                        parts.append(f"**{shown}**" if best else shown)
                    cells.append(" / ".join(parts[:3]) + ", " + parts[3])
                lines.append(f"| {prefix} | {mode} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["### Chunks", "", "| | splitter | chunks a file | tokens: median | 90 % | most | cut off unseen |", "|---|---|---|---|---|---|---|"]
    for (set_name, name), sizes in outcome.sizes.items():
        ordered = sorted(sizes)
        unseen = sum(max(0, size - WINDOW_TOKENS) for size in sizes) / sum(sizes)
        lines.append(
            f"| {set_name} | {name} | {len(sizes) / outcome.files[set_name]:.1f} "
            f"| {ordered[len(sizes) // 2]} | {ordered[len(sizes) * 9 // 10]} | {ordered[-1]} "
            f"| {unseen:.1%} |"
        )
    return "\n".join(lines)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same figures for a program."""
    return {
        "scores": [
            {"set": s, "splitter": n, "prefix": p, "mode": m, "queries": len(places)}
            | score(places)._asdict()
            for (s, n, p, m), places in outcome.places.items()
        ],
        "chunks": [
            {"set": s, "splitter": n, "files": outcome.files[s], "sizes": sorted(sizes)}
            for (s, n), sizes in outcome.sizes.items()
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument(
        "--cache",
        type=Path,
        default=user_cache_path("reposync-quality"),
        help="folder for vectors and downloaded sources",
    )
    options = parser.parse_args(arguments)

    from reposync.embed import make_embedder

    from .commits import commit_repositories
    from .functions import function_repositories
    from .sections import section_repository
    from .vectors import cached

    histories, missing = commit_repositories(options.cache)
    sets = {
        "docstring to function": function_repositories(),
        "commit to files": histories,
        "sentence to section": [section_repository()],
    }
    embed = cached(make_embedder(None).embed, options.cache / "vectors.sqlite")
    outcome = measure({name: found for name, found in sets.items() if found}, embed)
    print(f"Chunker {CHUNKER_VERSION}; {date.today()}; {platform.platform()}, Python {platform.python_version()}")  # noqa: DTZ011
    for name, repositories in sets.items():
        each = [f"{each.name} ({len(each.queries)})" for each in repositories]
        print(f"{name}: {', '.join(each)}")
    for what in missing:
        print(f"NOT MEASURED: {what}")
    print()
    print(table(outcome, list(SPLITTERS)))
    if options.json:
        options.json.write_text(json.dumps(as_json(outcome), indent=1) + "\n")
    if missing:
        sys.exit(1)
