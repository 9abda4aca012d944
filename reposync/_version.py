"""The version, alone in a file, so that a build backend can read it without importing us."""

__version__ = "0.1.0"
