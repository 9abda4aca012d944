"""One sync as a program, with the hash embedding: prints the result as JSON on its last line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hash_embedding import DIMENSION, HashEmbedding


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("tree", type=Path)
    parser.add_argument("name")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--dimension", type=int, default=DIMENSION)
    options = parser.parse_args()

    from reposync import sync_repository

    result = sync_repository(
        options.tree,
        options.name,
        store=options.store,
        embedding_function=HashEmbedding(options.dimension, options.log),
    )
    result.raise_for_failures()
    print(result.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
