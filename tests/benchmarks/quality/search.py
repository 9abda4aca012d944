"""The three modes of ``search_repository``, by its own index and ranking.

    python -m tests.benchmarks.quality --compare search

Chunks are ours, as they come. Each repository is an index of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from reposync.manifest import RepositoryKey
from reposync.search.hits import Mode
from reposync.search.index import IndexedChunk, open_memory
from reposync.search.rank import Scope, fuse
from reposync.search.repository import DEPTH
from reposync.search.words import Words, query_words

from .corpora import TOKENS, Repository
from .ranking import Answer, first_answer, lead, score
from .splitters import SPLITTERS, Slice

if TYPE_CHECKING:
    from .vectors import Embed, Vectors

MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
KEY = RepositoryKey("", "", "", "")
Answers = dict[tuple[str, Mode], list[Answer]]


@contextmanager
def indexed(slices: Sequence[Slice], vectors: Vectors) -> Iterator[tuple[Scope, dict[int, int]]]:
    """What is to be searched, and which slice each chunk's number stands for."""
    chunks = [
        IndexedChunk(str(row), piece.document, {"symbol": piece.symbol}, vectors[row])
        for row, piece in enumerate(slices)
    ]
    together = zip(slices, chunks, strict=True)
    files = {
        path: (b"", [chunk for _, chunk in pairs])
        for path, pairs in groupby(together, key=lambda pair: pair[0].path)
    }
    with open_memory() as index:
        index.write(index.add_repository(KEY, ""), files, (), Words())
        numbers = dict(index.db.execute("SELECT number, CAST(id AS INTEGER) FROM chunks"))
        with index.transaction():
            yield Scope(index, [KEY], None, None), numbers


def measure_search(sets: Mapping[str, Sequence[Repository]], embed: Embed) -> Answers:
    """Asks every repository every query in each mode."""
    answers: Answers = defaultdict(list)
    for set_name, repositories in sets.items():
        for repository in repositories:
            split = SPLITTERS["ours"]
            slices = [one for path, text in repository.files.items() for one in split(path, text)]
            sizes = TOKENS.count([piece.document for piece in slices])
            texts = ["\n".join(filter(None, [one.shipped, one.document])) for one in slices]
            questions = embed([query.text for query in repository.queries])
            with indexed(slices, embed(texts)) as (scope, numbers):
                for query, question in zip(repository.queries, questions, strict=True):
                    dense = scope.by_meaning(question, DEPTH)
                    lexical = scope.by_words(query_words(query.text), DEPTH)
                    rankings = {"dense": dense, "lexical": lexical, "hybrid": fuse(dense, lexical)}
                    for mode in MODES:
                        rows = [numbers[number] for number, _ in rankings[mode]]
                        found = first_answer(rows, slices, sizes, query, repository)
                        answers[set_name, mode].append(found)
    return answers


def search_table(answers: Answers) -> str:
    """The outcome as Markdown."""
    lines = [
        f"| | {' | '.join(MODES)} | hybrid over dense, MRR |",
        "|---|---|---|---|---|",
    ]
    for set_name in dict.fromkeys(name for name, _ in answers):
        cells = []
        for mode in MODES:
            figures = score(answers[set_name, mode])
            r1, r5, r10, mrr, within = (f"{value:.3f}".replace("0.", ".") for value in figures)
            cells.append(f"{mrr} · {r1} {r5} {r10} · {within}")
        ahead, error = lead(answers[set_name, "hybrid"], answers[set_name, "dense"])
        asked = len(answers[set_name, "dense"])
        cells.append(f"{ahead:+.3f} ± {error:.3f}")
        lines.append(f"| {set_name} ({asked}) | {' | '.join(cells)} |")
    return "\n".join(lines)
