"""What can be wrong with a built website and is not seen in its sources.

Links that stand in HTML, pages that nothing leads to, what a browser would fetch from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
FETCHED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect"}


class Page(HTMLParser):
    """What a built page can be referred to by, refers to, and has a browser fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.diagrams = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one tag says."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found.get("id", ""), found.get("name", "")}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and FETCHED_LINKS & set(found.get("rel", "").split()):
            self.fetched.append(found.get("href", ""))
        elif found.get(FETCHED.get(tag, "")):
            self.fetched.append(found[FETCHED[tag]])
        self.diagrams |= "mermaid" in found.get("class", "").split()

    def leads_to(self, page: Path) -> Iterator[tuple[str, Path, str]]:
        """Addresses within the site, and the file and anchor that each stands for on `page`."""
        for address in [*self.links, *self.fetched]:
            parts = urlsplit(address)
            if not parts.scheme and not parts.netloc:
                yield address, aim(page, unquote(parts.path)), unquote(parts.fragment)


def problems(site: Path) -> Iterator[str]:
    """What is wrong with a built site, one line each."""
    texts = {path: path.read_text("utf-8") for path in sorted(site.rglob("*.html"))}
    pages = {path: Page(text) for path, text in texts.items() if path.name != "404.html"}
    reached = {site / "index.html"}
    for path, page in pages.items():
        here = path.relative_to(site)
        if page.diagrams:
            yield f"{here}: a diagram that a script from elsewhere would draw: make it an SVG file"
        for address in page.fetched:
            if urlsplit(address).netloc:
                yield f"{here}: fetches {address}"
        for address, target, anchor in page.leads_to(path):
            if target != path:
                reached.add(target)
            if not target.is_file():
                yield f"{here}: leads to {address}, which is not there"
            elif target in pages and anchor not in pages[target].anchors:
                yield f"{here}: leads to {address}, where that anchor is not"
    for path in pages.keys() - reached:
        yield f"{path.relative_to(site)}: nothing leads there"


def aim(page: Path, address: str) -> Path:
    """The file that a relative address on a page stands for."""
    if not address:
        return page
    target = Path(page.parent, address).resolve()
    return target / "index.html" if address.endswith(("/", ".")) else target
