"""How well a repository is found again, for several ways of cutting it.

    python -m tests.benchmarks.quality            # the table of docs/explanation/chunking.md
    python -m tests.benchmarks.quality --compare equal --json results.json
    python -m tests.benchmarks.quality --compare search   # that of docs/explanation/search.md

``corpora`` says what a repository and a query are; ``functions``, ``commits`` and ``sections`` make
them from what is installed and from real histories; ``splitters`` cut; ``ranking`` searches and
counts; ``search`` asks the modes of ``search_repository``; ``run`` is the story.
"""
