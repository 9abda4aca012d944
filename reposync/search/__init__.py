"""Finding chunks again: by meaning (Chroma), by words (SQLite's BM25), or by both.

Start at `reposync.search.repository`.
"""
