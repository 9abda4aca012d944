"""What every chunking promises, whatever the text."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from random import Random
from statistics import median
from string import printable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reposync.chunk import Chunker, language_of
from reposync.chunk.chunker import MAX_SYMBOL_CHARS
from reposync.tokens import TokenCounter

from .edits import edited
from .samples import ALL

CHUNKER = Chunker()
TOKENS = TokenCounter()
STDLIB = Path(sysconfig.get_path("stdlib"))
INCLUDE = Path(sysconfig.get_path("include"))
SITE = Path(sysconfig.get_path("purelib"))
PATHS = [*ALL, "a.txt", "a.json", "a"]


def check(path: str, text: str, chunker: Chunker = CHUNKER) -> None:
    """Every promise that holds for a single text."""
    chunks = chunker.chunk(path, text)
    assert "".join(chunk.document for chunk in chunks) == (text if text.strip() else "")
    position = 0
    for chunk in chunks:
        assert chunk.document.strip()
        end = position + len(chunk.document)
        assert chunk.start_line == text.count("\n", 0, position) + 1
        assert chunk.end_line == text.count("\n", 0, end - 1) + 1
        assert sum(map(len, chunk.document.split())) <= chunker.max_tokens * 20
        assert chunk.cell is None
        assert text[end - 1 : end + 1] != "\r\n"
        position = end
    counts = TOKENS.count([chunk.embedded_text for chunk in chunks])
    assert max(counts, default=0) <= chunker.window_tokens


def sources(root: Path, pattern: str, most: int) -> list[Path]:
    found = sorted(path for path in root.glob(pattern) if 4_000 < path.stat().st_size < 120_000)
    return Random(0).sample(found, min(most, len(found)))


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


TEXT = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="ab (){}\n\t\r\0#:'\"`=-.é\u0301\u4e2d\ud55c\U0001f600\ufeff", max_size=400),
    st.lists(
        st.sampled_from([*"\n".join(ALL.values()).split("\n"), "x" * 500, " "]), max_size=60
    ).map("\n".join),
)


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(PATHS), text=TEXT)
def test_any_text_keeps_the_promises(path: str, text: str) -> None:
    """Lossless, never blank, right lines, within the window: for any text in any language."""
    check(path, text)


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(PATHS), data=st.binary(max_size=2_000))
def test_any_bytes_keep_the_promises(path: str, data: bytes) -> None:
    """Bytes that are no text, read as they might be, and cut twice alike."""
    text = data.decode("latin-1")
    check(path, text)
    assert Chunker().chunk(path, text) == CHUNKER.chunk(path, text)


@settings(max_examples=100, deadline=None)
@given(path=st.sampled_from(PATHS), text=TEXT)
def test_any_text_keeps_the_promises_in_small_chunks(path: str, text: str) -> None:
    """The same with a small capacity, where lines and words must be cut."""
    check(path, text, Chunker(max_tokens=16, window_tokens=40))


@pytest.mark.parametrize(
    ("root", "pattern"),
    [(STDLIB, "*.py"), (INCLUDE, "**/*.h"), (SITE, "*/**/*.md")],
    ids=["python", "c", "markdown"],
)
def test_real_files_keep_the_promises(root: Path, pattern: str) -> None:
    """Real files too, and their documents stay within the capacity and are mostly well filled."""
    files = sources(root, pattern, 15)
    counts = []
    for path in files:
        text = read(path)
        check(path.name, text)
        documents = [chunk.document for chunk in CHUNKER.chunk(path.name, text)]
        counts += TOKENS.count(documents)
    if not files:
        pytest.skip("no such files on this machine")
    assert max(counts) <= 200
    assert median(counts) >= 100


def installed_sources(most: int) -> dict[str, list[Path]]:
    """Up to `most` files of each language from what is installed beside the tests."""
    found: dict[str, list[Path]] = {}
    for root in (STDLIB, INCLUDE, SITE):
        for folder, folders, names in os.walk(root):
            if Path(folder) == STDLIB and "site-packages" in folders:
                folders.remove("site-packages")
            for path in (Path(folder, name) for name in sorted(names)):
                language = language_of(path.name)
                if language and language != "notebook" and 1_000 < path.stat().st_size < 120_000:
                    found.setdefault(language, []).append(path)
    pick = Random(2)
    return {name: pick.sample(paths, min(most, len(paths))) for name, paths in found.items()}


def check_installed(most: int) -> None:
    found = installed_sources(most)
    assert found.keys() >= {"python", "c", "cpp", "json", "text"}
    for paths in found.values():
        for path in paths:
            check(path.name, read(path))


def test_installed_sources_keep_the_promises() -> None:
    """In every language that is at hand: lossless, right lines, within the window."""
    check_installed(3)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_many_installed_sources_keep_the_promises() -> None:
    """The same for hundreds of files of each language."""
    check_installed(300)


@pytest.mark.parametrize(
    ("root", "pattern"),
    [(STDLIB, "*.py"), (INCLUDE, "**/*.h"), (SITE, "*/**/*.md")],
    ids=["python", "c", "markdown"],
)
def test_edits_stay_local(root: Path, pattern: str) -> None:
    """Over 200 small edits: 1-2 new texts in the median, at most 5 at the 95th percentile."""
    random = Random(7)
    files = sources(root, pattern, 12)
    if len(files) < 3:
        pytest.skip("no such files on this machine")
    suffix = {"h": "c"}.get(pattern.rpartition(".")[2], pattern.rpartition(".")[2])
    before = {path: (read(path), embedded(path.name, read(path))) for path in files}
    new = []
    for _ in range(200):
        path = random.choice(files)
        text, known = before[path]
        new.append((embedded(path.name, edited(text, suffix, random)) - known).total())
    new.sort()
    assert 1 <= new[100] <= 2
    assert new[190] <= 5


def embedded(path: str, text: str) -> Counter[str]:
    return Counter(chunk.embedded_text for chunk in CHUNKER.chunk(path, text))


@pytest.mark.parametrize(
    ("path", "text"),
    {
        "one long line": ("a.js", "function f(a){return a.b+1;}" * 40_000),
        "one long word": ("a.txt", "x" * 1_000_000),
        "blanks": ("a.txt", " " * 1_000_000 + "x"),
        "no spaces": ("a.txt", "\u4e2d\u6587" * 50_000),
        "many lines": ("a.txt", "x = 1\n" * 200_000),
        "many blank lines": ("a.py", "x = 1\n" + "\n" * 200_000 + "x"),
        "deep braces": ("a.js", "{\n" * 10_000 + "}\n" * 10_000),
        "deep brackets on a line": ("a.py", "(" * 10_000 + ")" * 10_000),
        "deep classes": ("a.java", "class A {\n" * 10_000),
        "deep headings": ("a.md", "".join(f"{'#' * (i % 6 + 1)} a\n" for i in range(20_000))),
        "NULs": ("a.py", "def f():\n    return '\0'\n" * 100),
        "5 MB on a line": ("a.js", "var a=1;" * 650_000),
        "only comments": ("a.py", "# Nothing but words about nothing.\n" * 20_000),
        "deep JSON": ("a.json", "[" * 10_000 + "]" * 10_000),
        "deep mappings": ("a.yaml", "".join(f"{' ' * (i % 300)}a:\n" for i in range(10_000))),
        "random bytes": ("a.js", Random(1).randbytes(500_000).decode("latin-1").replace("\0", "")),
        "random signs": ("a.js", "".join(Random(1).choices(printable, k=500_000))),
        "open generics": ("a.java", ("a<" * 30 + "\n") * 5_000),
        "open tags": ("a.cs", ("<a " * 30 + "\n") * 5_000),
        "endless literals": ("a.lua", ("\\ " * 40 + "\n") * 2_000),
        "endless strings": ("a.rb", ("\\ " * 40 + "\n") * 2_000),
        "mixed brackets": ("a.kt", ("([{<" * 20 + "\n") * 2_000),
    }.values(),
)
@pytest.mark.timeout(30)
def test_hard_texts_take_bounded_time(path: str, text: str) -> None:
    """Long lines, many lines and deep nesting neither hang nor overflow the stack."""
    check(path, text) if len(text) < 400_000 else CHUNKER.chunk(path, text)


@pytest.mark.parametrize("text", ["", "\n", " \t\r\n\n"])
def test_a_blank_text_has_no_chunks(text: str) -> None:
    """There is nothing to find in white space."""
    assert CHUNKER.chunk("a.py", text) == []


def test_equal_texts_are_cut_equally_in_any_process() -> None:
    """No cut depends on the process: hash randomisation must not reach it."""
    program = (
        "import sys, zlib; from pathlib import Path; from reposync.chunk import Chunker;"
        "chunks = Chunker().chunk('a.py', Path(sys.argv[1]).read_text('utf-8'));"
        "print(zlib.crc32(repr(chunks).encode()))"
    )
    path = str(STDLIB / "argparse.py")
    answers = {
        subprocess.run(
            [sys.executable, "-c", program, path],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


def test_importing_loads_no_parser() -> None:
    """Importing the package costs nothing: parsers and tokenizers load at their first use."""
    program = (
        "import sys, reposync.chunk;"
        "sys.exit(any(m.startswith(('tree_sitter', 'tokenizers')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_recipe_tells_parameters_apart() -> None:
    """Chunkers that cut differently have different recipes."""
    assert Chunker().recipe == Chunker().recipe
    assert Chunker(100).recipe != Chunker().recipe


def test_lines_are_cut_only_if_too_long_by_themselves() -> None:
    """A line that fits into a chunk is in one chunk whole."""
    text = "".join(f"{'word ' * (i % 150)}\n" for i in range(1, 400))
    for chunk in CHUNKER.chunk("a.txt", text):
        assert chunk.document.endswith("\n")


def test_a_symbol_has_an_end() -> None:
    """A heading without end does not go into the metadata of every chunk below it in full."""
    text = f"# {'endless ' * 20_000}\n\n" + "Some words.\n\n" * 200
    chunks = Chunker().chunk("a.md", text)
    assert chunks[-1].symbol.startswith("endless endless")
    assert max(len(chunk.symbol) for chunk in chunks) <= MAX_SYMBOL_CHARS
