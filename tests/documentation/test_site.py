"""The documentation as a website: all pages are in it, and what is wrong with it is found.

The site itself is built by docs/build.py, which is a step of .ci/run.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

import reposync

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    path.relative_to(DOCS.parent).with_suffix(".md").as_posix()
    for pattern in ("*.md", "*.ipynb")
    for path in DOCS.rglob(pattern)
}


def test_every_page_is_in_the_navigation() -> None:
    """A page that was written is found by its readers, once."""
    nav = re.findall(r'"(docs/[^"]+\.md)"', (DOCS / "zensical.toml").read_text("utf-8"))
    assert Counter(nav) == Counter(PAGES)


def test_every_page_is_in_the_index() -> None:
    """The index says of every page what it is for."""
    links = re.findall(r"\]\(([^)#]+)\)", (DOCS / "index.md").read_text("utf-8"))
    pages = {(Path("docs") / link).with_suffix(".md").as_posix() for link in links}
    assert pages - {"docs/../README.md"} == PAGES - {"docs/index.md"}


def test_every_public_name_is_in_the_reference() -> None:
    """What can be imported is documented, and nothing else."""
    text = (DOCS / "reference/api.md").read_text("utf-8")
    names = re.findall(r"^::: reposync\.(\w+)$", text, re.MULTILINE)
    assert Counter(names) == Counter(set(reposync.__all__) - {"__version__"})


WHOLE = {"index.html": '<a href="a/#x">a</a>', "a/index.html": '<p id="x"><a href="../">back</a>'}


@pytest.mark.parametrize(
    ("page", "html", "problem"),
    [
        ("a/index.html", "", ""),
        ("a/index.html", '<a href="https://example.org/">elsewhere</a>', ""),
        ("a/index.html", '<a href="gone/">x</a>', "a/index.html: leads to gone/, which is not"),
        ("index.html", '<img src="x.svg">', "index.html: leads to x.svg, which is not there"),
        ("index.html", '<a href="a/#y">x</a>', "index.html: leads to a/#y, where that anchor"),
        ("index.html", '<a href="#y">x</a>', "index.html: leads to #y, where that anchor is not"),
        ("index.html", '<script src="//cdn/x.js"></script>', "index.html: fetches //cdn/x.js"),
        (
            "index.html",
            '<link rel="stylesheet" href="https://fonts/x">',
            "index.html: fetches https://fonts/x",
        ),
        ("index.html", '<pre class="mermaid">', "index.html: a diagram that a script"),
        ("b/index.html", "<p>b", "b/index.html: nothing leads there"),
    ],
)
def test_what_is_wrong_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, html: str, problem: str
) -> None:
    """Broken links and anchors, lost pages, and what is fetched from elsewhere fail the build."""
    monkeypatch.syspath_prepend(str(DOCS))
    from check_site import problems  # type: ignore[import-not-found]

    try:
        for name in {*WHOLE, page}:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(WHOLE.get(name, "") + (html if name == page else ""))
        found = list(problems(tmp_path))
    finally:
        del sys.modules["check_site"]
    assert [line[: len(problem)] for line in found] == ([problem] if problem else [])
