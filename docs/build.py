"""Build the documentation as a website, offline, and insist that it is whole.

    python docs/build.py            # into build/docs/site

The pages are those of this folder and the README, CONTRIBUTING and CHANGELOG beside it, at the same
places relative to each other, so that a link works on the site as it does in the repository.
Notebooks become pages. Zensical builds them, strictly: a page, an anchor or a name that a Markdown
link or an API page refers to must exist. check_site.py looks for the rest in what was built.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from check_site import problems
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "docs"
ALONGSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def main() -> int:
    """Build, look at what was built, and say what is wrong."""
    shutil.rmtree(WORK, ignore_errors=True)
    pages = WORK / "pages"
    stage(pages)
    (WORK / "zensical.toml").write_bytes((ROOT / "docs" / "zensical.toml").read_bytes())
    program = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    built = subprocess.run(program, cwd=WORK, check=False)
    if built.returncode:
        return built.returncode
    found = list(problems(WORK / "site"))
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{WORK / 'site'}: {len(list(pages.rglob('*.md')))} pages, {len(found)} problems")
    return 1 if found else 0


def stage(pages: Path) -> None:
    """Lay the sources out as they stand in the repository."""
    leave_out = shutil.ignore_patterns("*.py", "*.toml", "*.ipynb", "__pycache__")
    shutil.copytree(ROOT / "docs", pages / "docs", ignore=leave_out)
    for name in ALONGSIDE:
        shutil.copyfile(ROOT / name, pages / name)
    for notebook in sorted((ROOT / "docs").rglob("*.ipynb")):
        lay_out_notebook(notebook, pages / notebook.relative_to(ROOT))


def lay_out_notebook(source: Path, place: Path) -> None:
    """A page of a notebook with the outputs that are in it, and the notebook beside it."""
    text, resources = MarkdownExporter().from_notebook_node(nbformat.read(source, as_version=4))
    folder = place.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in resources.get("outputs", {}).items():
        (folder / name).write_bytes(content)
        text = text.replace(f"({name})", f"({folder.name}/{name})")
    place.with_suffix(".md").write_text(text, "utf-8")
    shutil.copyfile(source, place)


if __name__ == "__main__":
    sys.exit(main())
