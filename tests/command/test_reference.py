"""docs/reference/command.md says what the code does."""

from __future__ import annotations

from .reference import PAGE, page


def test_the_page_is_up_to_date() -> None:
    """Commands, options and exit codes are the code's; else run tests/command/reference.py."""
    text = PAGE.read_text("utf-8")
    assert page(text) == text
