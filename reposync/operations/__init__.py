"""What an operator asks of a store: how repositories are, whether that is true, and to mend it.

Each function is plain: it blocks, leaves nothing behind, and returns a report that prints itself.
"""
