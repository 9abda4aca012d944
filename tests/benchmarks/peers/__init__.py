"""What a sync costs, beside what one would use instead, and beside what it cannot be cheaper than.

    python -m tests.benchmarks.peers --corpus redis           # the table of docs/.../performance.md
    python -m tests.benchmarks.peers --corpus stdlib --model  # with the real model
    python -m tests.benchmarks.peers --compare                # the table of docs/.../comparison.md

``corpora`` says which files, ``changes`` what happens to them, ``operations`` what is measured,
``tools`` who is compared (each is a small program in ``scripts``), ``environments`` where they run;
``measure`` runs one and counts, ``verdict`` says whether the collection is right afterwards;
``bench`` is the story, ``table`` and ``compare`` show it, ``run`` is the command.
"""
