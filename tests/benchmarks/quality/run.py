"""The story: make the repositories, cut them, embed them, ask, count, print one table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from reposync.chunk import CHUNKER_VERSION, WINDOW_TOKENS

from .corpora import TOKENS, Repository
from .ranking import READ, Answer, Score, WordIndex, by_vector, first_answer, fuse, lead, score
from .search import measure_search, search_table
from .splitters import EQUAL, SPLITTERS, VARIANTS, Slice, Splitter

if TYPE_CHECKING:
    from .vectors import Embed

SHIPPED = "as it comes"
"""Ours with what it puts before the text; the others, which know no symbols, without."""

PREFIXES = (SHIPPED, "none", "symbols", "path", "both")
MODES = ("dense", "fused")
SEARCH = "search"
COMPARISONS: dict[str, tuple[Mapping[str, Splitter], Sequence[str]]] = {
    "usual": (SPLITTERS, PREFIXES),
    "equal": (EQUAL, [SHIPPED]),
    "variants": (VARIANTS, [SHIPPED]),
}


@dataclass
class Outcome:
    """What was counted.

    Attributes:
        answers: for (set, splitter, prefix, mode), each query's first right answer.
        sizes: for (set, splitter), the tokens of each chunk.
        files: for each set, how many files.
        held_out: for each set, whether each query is of a repository that nothing was chosen by.
    """

    answers: dict[tuple[str, str, str, str], list[Answer]] = field(
        default_factory=lambda: defaultdict(list)
    )
    sizes: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    files: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    held_out: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))


def measure(
    sets: Mapping[str, Sequence[Repository]],
    embed: Embed,
    splitters: Mapping[str, Splitter],
    prefixes: Sequence[str],
) -> Outcome:
    """Asks every repository every query, by every way of cutting it and of embedding that."""
    outcome = Outcome()
    for set_name, repositories in sets.items():
        for repository in repositories:
            outcome.files[set_name] += len(repository.files)
            outcome.held_out[set_name] += [repository.held_out] * len(repository.queries)
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
                            outcome.answers[set_name, splitter_name, prefix, mode].append(
                                first_answer(ranking, slices, sizes, query, repository)
                            )
    return outcome


def _embedded(piece: Slice, prefix: str) -> str:
    if prefix == SHIPPED:
        return "\n".join(filter(None, [piece.shipped, piece.document]))
    path = piece.path if prefix in ("path", "both") else ""
    context = piece.context if prefix in ("symbols", "both") else ""
    return "\n".join(filter(None, [path, context, piece.document]))


def table(outcome: Outcome, splitters: Sequence[str], prefixes: Sequence[str]) -> str:
    """The outcome as Markdown; the best of each figure in a row is bold."""
    lines = []
    for set_name, files in outcome.files.items():
        asked = len(outcome.answers[set_name, splitters[0], prefixes[0], "dense"])
        lines += [f"### {set_name}: {asked} queries, {files} files", ""]
        lines += _head("put before the text", "search", *splitters)
        for prefix in prefixes:
            for mode in MODES:
                scores = [
                    score(outcome.answers[set_name, name, prefix, mode]) for name in splitters
                ]
                lines.append(_line(prefix, mode, *_cells(scores)))
        lines.append("")
    lines += [*_leads(outcome, splitters, prefixes), "", "### chunks", ""]
    lines += _head("", "splitter", "a file", "tokens: median", "90 %", "most", "cut off unseen")
    for (set_name, name), sizes in outcome.sizes.items():
        ordered = sorted(sizes)
        unseen = sum(max(0, size - WINDOW_TOKENS) for size in sizes) / sum(sizes)
        each = f"{len(sizes) / outcome.files[set_name]:.1f}"
        share = [str(ordered[min(len(sizes) * n // 100, len(sizes) - 1)]) for n in (50, 90, 100)]
        lines.append(_line(set_name, name, each, *share, f"{unseen:.1%}"))
    return "\n".join(lines)


def _leads(outcome: Outcome, splitters: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """By how much the last of `splitters` is ahead; at first, also for what is held out alone."""
    lines = [f"### {splitters[-1]}: lead in MRR, ± standard error", ""]
    lines += _head("", "put before the text", "search", *splitters[:-1])
    for prefix, part in [(prefixes[0], "held out"), *((prefix, "") for prefix in prefixes)]:
        for set_name, held_out in outcome.held_out.items():
            for mode in MODES:
                own, *others = (
                    [
                        answer
                        for answer, held in zip(
                            outcome.answers[set_name, name, prefix, mode], held_out, strict=True
                        )
                        if held or not part
                    ]
                    for name in [splitters[-1], *splitters[:-1]]
                )
                if own:
                    leads = [lead(own, other) for other in others]
                    shown = [f"{ahead:+.3f} ± {error:.3f}" for ahead, error in leads]
                    what = f"{set_name}, {part} ({len(own)})" if part else set_name
                    lines.append(_line(what, prefix, mode, *shown))
    return lines


def _cells(scores: Sequence[Score]) -> list[str]:
    best = [max(round(value, 3) for value in column) for column in zip(*scores, strict=True)]
    cells = []
    for each in scores:
        shown = [
            f"**{value:.3f}**" if round(value, 3) == most else f"{value:.3f}"
            for value, most in zip(each, best, strict=True)
        ]
        r1, r5, r10, mrr, within = (text.replace("0.", ".") for text in shown)
        cells.append(f"{mrr} · {r1} {r5} {r10} · {within}")
    return cells


def _head(*cells: str) -> list[str]:
    return [_line(*cells), "|" + "---|" * len(cells)]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same figures for a program."""
    return {
        "scores": [
            {"set": s, "splitter": n, "prefix": p, "mode": m, "queries": len(answers)}
            | score(answers)._asdict()
            for (s, n, p, m), answers in outcome.answers.items()
        ],
        "chunks": [
            {"set": s, "splitter": n, "files": outcome.files[s], "sizes": sorted(sizes)}
            for (s, n), sizes in outcome.sizes.items()
        ],
    }


def _machine() -> str:
    python = platform.python_version()
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {python}"


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
    parser.add_argument(
        "--compare",
        choices=[*COMPARISONS, SEARCH],
        default="usual",
        help="usual: with splitters as they are usually set up; equal: with such that make chunks "
        "as large as ours; variants: ours with other parameters; search: ours by the modes of "
        "search_repository",
    )
    options = parser.parse_args(arguments)
    from reposync.embed import make_embedder

    from .commits import commit_repositories
    from .functions import function_repositories
    from .sections import section_repositories
    from .vectors import cached

    histories, missing = commit_repositories(options.cache)
    sections, not_there = section_repositories(options.cache)
    missing = list(dict.fromkeys(missing + not_there))
    sets = {
        "docstring to function": function_repositories(),
        "commit to files": histories,
        "sentence to section": sections,
    }
    embed = cached(make_embedder(None).embed, options.cache / "vectors.sqlite")
    there = {name: found for name, found in sets.items() if found}
    print(f"Chunker {CHUNKER_VERSION}; {datetime.now(timezone.utc):%Y-%m-%d}; {_machine()}")
    for name, repositories in sets.items():
        each = [f"{each.name} ({len(each.queries)})" for each in repositories]
        print(f"{name}: {', '.join(each)}")
    for what in missing:
        print(f"NOT MEASURED: {what}")
    print(f"\nEach: MRR · recall@1 @5 @10 · a right answer within {READ} tokens of answers.\n")
    if options.compare == SEARCH:
        print(search_table(measure_search(there, embed)))
    else:
        splitters, prefixes = COMPARISONS[options.compare]
        outcome = measure(there, embed, splitters, prefixes)
        print(table(outcome, list(splitters), prefixes))
        if options.json:
            options.json.write_text(json.dumps(as_json(outcome), indent=1) + "\n")
    if missing:
        sys.exit(1)
