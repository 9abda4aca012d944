"""How reports show: as HTML that cannot be torn, as text, as a table and as a figure."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest
from gallery import BEGAN, HOSTILE, failures, hit, run, samples, sync_result
from test_public_names import fresh

from reposync import (
    FileEntry,
    HealthCheck,
    Page,
    RepositoryStatus,
    RunEntry,
    SearchResult,
    SyncPlan,
)
from reposync.display.style import style
from reposync.operations.history_figure import draw
from reposync.report import Report
from reposync.result import (
    ChunkCounts,
    FileCounts,
    FileFailure,
    RedactedSecret,
    SkippedFile,
)

SAMPLES = dict(samples())
VOID = {"rect"}
TAGS = {
    *("b", "code", "dd", "details", "div", "dl", "dt", "i", "p", "pre", "rect", "span", "strong"),
    *("style", "summary", "svg", "table", "tbody", "td", "th", "thead", "time", "title", "tr"),
}
ATTRIBUTES = {
    *("aria-hidden", "aria-label", "class", "datetime", "height", "open", "preserveaspectratio"),
    *("role", "scope", "viewbox", "width", "x", "y"),
}


class Reader(HTMLParser):
    """Reads HTML, and holds it to what ours is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        assert {name for name, _ in attrs} <= ATTRIBUTES

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def read(report: Report) -> Reader:
    """A report's HTML, read to its end."""
    reader = Reader()
    reader.feed(report._repr_html_())
    reader.close()
    assert reader.open == []
    return reader


def text_of(report: Report) -> str:
    """What a reader sees, spaces made plain."""
    return " ".join("".join(read(report).text).replace("\u202f", "").split())


# -- HTML --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_html_is_whole_and_harmless(name: str) -> None:
    """Every tag is closed, and nothing can run, load, or turn the direction of writing."""
    report = SAMPLES[name]
    html = report._repr_html_()
    assert read(report).tags[0] == ("div", {"class": "reposync"})
    html.encode("utf-8")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    assert not re.search(r"url\(|@import|https?:|javascript:", html)
    assert len(html) < 100_000


@pytest.mark.parametrize("name", ["sync: hostile", "search"])
def test_hostile_texts_are_seen_as_they_are(name: str) -> None:
    """What a path, a message or a text holds is shown, and does nothing."""
    seen = text_of(SAMPLES[name])
    assert "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\\u202egnp.exe" in seen
    assert "\\x1b[31mred\\x00\\ud800</style></details></div>" in seen


@pytest.mark.parametrize(
    "report",
    [
        FileCounts(added=1),
        FileFailure(path=HOSTILE, stage="scan", error="E", message=HOSTILE),
        HealthCheck(name="space", message="none left", figures={"free_bytes": 0, HOSTILE: HOSTILE}),
        RunEntry(run_id="r", repository="r", collection="c", status="running", started_at=BEGAN),
        Page[FileEntry](),
        Page(),
        RepositoryStatus(repository="r", state="never", store=HOSTILE),
    ],
    ids=lambda report: type(report).__name__,
)
def test_reports_without_a_view_of_their_own(report: Report) -> None:
    """Whatever is a report, or a part of one, can be shown."""
    assert text_of(report)


def test_a_sync_tells_its_story() -> None:
    """Counts, reasons, warnings, failures and the time by stage are there to be read."""
    seen = text_of(SAMPLES["sync: partial"])
    for said in (
        "my-repo: partial in 1 min 13 s (took up an interrupted run)",
        "1204 added, 12 updated, 31 unchanged, 13 skipped",
        "11 binary, 1 lock file, 1 minified",
        "391 texts are left for the next sync.",
        "failed files (4)",
        "the embedding service did not answer",
        "embed 48.70 s",
        "github-token",
        "1 file in cp1252",
    ):
        assert said in seen, said


def test_a_hit_shows_its_code() -> None:
    """A hit's code is set off by its language, and reads as it stands in the file."""
    result = SearchResult(query="lock", mode="hybrid", hits=(hit(),))
    reader = read(result)
    assert any(attrs.get("class") == "c-k" for _, attrs in reader.tags)
    text = "".join(reader.text)
    assert "with self._queue.turn(timeout or 30.5):  # first come, first served\n" in text
    assert "reposync/lock/chroma.py:120-127" in text


def test_long_lists_are_cut_and_say_so() -> None:
    """Of ten thousand failures a hundred are shown, folded, and how many more there are."""
    report = SAMPLES["sync: 10 000 failures"]
    seen = text_of(report)
    assert "failed files (10000)" in seen
    assert "and 9900 more, see .failures" in seen
    assert seen.count("the embedding service did not answer") == 100
    folded = [attrs for tag, attrs in read(report).tags if tag == "details"]
    assert all("open" not in attrs for attrs in folded)
    few = read(sync_result(failures=failures(3)))
    assert next(attrs for tag, attrs in few.tags if tag == "details") == {"open": None}


def test_signs_and_figures_have_names() -> None:
    """What is drawn is said in words, too, for whoever cannot see it, or its colours."""
    for report in SAMPLES.values():
        for tag, attrs in read(report).tags:
            if tag == "svg" or "sign" in str(attrs.get("class")).split():
                assert attrs["role"] == "img"
                assert attrs["aria-label"]


def test_the_style_stays_within() -> None:
    """Every rule is about our own elements only."""
    rules = re.findall(r"([^{}]+)\{[^{}]*\}", re.sub("</?style>", "", style()))
    assert len(rules) > 30
    for rule in rules:
        assert all(one.strip().startswith(".reposync.reposync") for one in rule.split(","))


# -- colours -----------------------------------------------------------------------------------

GROUNDS = {
    "JupyterLab light": ("#212121", "#ffffff"),
    "JupyterLab dark": ("#ffffff", "#111111"),
    "VS Code light": ("#3b3b3b", "#ffffff"),
    "VS Code dark": ("#cccccc", "#1f1f1f"),
    "Colab dark": ("#e3e3e3", "#383838"),
}


def rgb(colour: str) -> tuple[float, ...]:
    """The parts of a colour, from 0 to 1."""
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))


def mixed(over: tuple[float, ...], share: float, under: tuple[float, ...]) -> tuple[float, ...]:
    """As CSS mixes colours."""
    return tuple(a * share + b * (1 - share) for a, b in zip(over, under, strict=True))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """As WCAG defines it."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def colours(ink: tuple[float, ...], ground: tuple[float, ...]) -> Iterator[tuple[str, Any, float]]:
    """Each colour of the style on this ground, and the contrast that it must have."""
    css = style().replace("color-mix(in srgb, ", "mix(")
    named = dict(re.findall(r"--(\w+): (#\w{6})", css))
    for share in re.findall(r"\bcolor: mix\(currentColor (\d+)%, transparent\)", css):
        yield "muted text", mixed(ink, int(share) / 100, ground), 4.5
    for name, share in re.findall(r"mix\(var\(--(\w+)\) (\d+)%, currentColor\)", css):
        yield name, mixed(rgb(named[name]), int(share) / 100, ink), 3
    for hue, share in re.findall(r"mix\((#\w+) (\d+)%, currentColor\)", css):
        yield "code", mixed(rgb(hue), int(share) / 100, ink), 4.5
    for hue in re.findall(r"fill: (#\w+)", css):
        yield "bar", rgb(hue), 3


@pytest.mark.parametrize("ground", GROUNDS)
def test_colours_can_be_told_from_the_ground(ground: str) -> None:
    """Texts keep to the contrast of WCAG AA, signs and figures to that of graphics."""
    ink, paper = map(rgb, GROUNDS[ground])
    checked = list(colours(ink, paper))
    assert len(checked) > 12
    weak = {
        (what, c): contrast(c, paper) for what, c, least in checked if contrast(c, paper) < least
    }
    assert not weak


# -- text --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_text_does_not_speak_to_the_terminal(name: str) -> None:
    """No path or message moves the cursor, breaks a line, or turns the direction of writing."""
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", str(SAMPLES[name]))


@pytest.mark.parametrize("name", [name for name in SAMPLES if "hostile" not in name])
def test_text_is_no_longer_than_a_screen(name: str) -> None:
    """A report that is printed does not scroll away, however much is in it."""
    assert len(str(SAMPLES[name]).splitlines()) <= 55


# -- tables ------------------------------------------------------------------------------------


def test_history_as_a_table() -> None:
    """A row a run, with times as times and numbers as numbers, ready to be counted with."""
    page = Page[RunEntry](items=(run(1), run(0, status="running", finished_at=None)), total=2)
    frame = page.to_dataframe()
    assert list(frame["status"]) == ["complete", "running"]
    assert (frame["chunks_added"].dtype, frame["duration_seconds"].dtype) == ("int64", "float64")
    assert isinstance(frame["started_at"].dtype, pd.DatetimeTZDtype)
    assert frame["finished_at"].isna().tolist() == [False, True]
    assert frame["started_at"].max() - frame["started_at"].min() == timedelta(hours=1)


def test_files_of_a_sync_as_a_table() -> None:
    """A row for each file that a sync has something to say of, and what that is."""
    result = sync_result(
        failures=failures(1),
        skipped=(SkippedFile(path="a.bin", reason="binary"),),
        encodings={"old.txt": "cp1252"},
        redactions=(
            RedactedSecret(path="deploy.py", line=1, kind="token"),
            RedactedSecret(path="deploy.py", line=9, kind="token"),
        ),
    )
    frame = result.to_dataframe().set_index("path")
    assert dict(frame["outcome"]) == {
        "a.bin": "skipped",
        "deploy.py": "indexed",
        "old.txt": "indexed",
        "src/module_0/part_0.py": "failed",
    }
    assert frame.loc["a.bin", "reason"] == "binary"
    assert frame.loc["src/module_0/part_0.py", "stage"] == "embed"
    assert frame.loc["old.txt", "encoding"] == "cp1252"
    assert frame.loc["deploy.py", "secrets"] == 2
    assert frame["attempts"].dtype == "Int64"


def test_plans_and_hits_as_tables() -> None:
    """A row for each action of a plan, and for each hit, best first."""
    plan = SAMPLES["plan"]
    assert isinstance(plan, SyncPlan)
    assert len(plan.to_dataframe()) == len(plan.actions)
    hits = SearchResult(query="q", mode="dense", hits=(hit(0), hit(1))).to_dataframe()
    assert hits["score"].round(2).tolist() == [0.93, 0.83]
    assert hits["start_line"].tolist() == [120, 121]


@pytest.mark.parametrize(
    ("report", "column", "dtype"),
    [
        (Page[RunEntry](), "started_at", "datetime64[us, UTC]"),
        (Page[FileEntry](), "size", "Int64"),
        (sync_result(skipped=()), "secrets", "int64"),
        (SearchResult(query="q", mode="dense"), "score", "float64"),
    ],
    ids=["history", "files", "sync", "search"],
)
def test_empty_tables_keep_their_columns(report: Any, column: str, dtype: str) -> None:
    """A program that filters and adds up need not ask first whether there is anything."""
    frame = report.to_dataframe()
    assert len(frame) == 0
    assert frame[column].dtype == dtype


def test_a_page_that_came_as_json_makes_the_same_table() -> None:
    """A page may come out of a job queue."""
    page = Page[RunEntry](items=(run(1), run(0)), total=2)
    again = Page[RunEntry].model_validate_json(page.model_dump_json())
    pd.testing.assert_frame_equal(again.to_dataframe(), page.to_dataframe())


@pytest.mark.parametrize("package", ["pandas", "matplotlib"])
def test_what_is_missing_is_named(package: str) -> None:
    """Without the package, the error says what to install; all else works."""
    code = f"""
        sys.modules[{package!r}] = None
        import reposync
        calls = {{
            "pandas": lambda: reposync.Page[reposync.RunEntry]().to_dataframe(),
            "matplotlib": lambda: reposync.plot_history(store="nowhere"),
        }}
        try:
            calls[{package!r}]()
        except reposync.ConfigError as error:
            say(str(error))
    """
    said = fresh(code)
    assert package in said
    assert "pip install 'reposync[notebook]'" in said


def test_nothing_renders_before_it_is_shown() -> None:
    """Making and printing a report imports nothing that renders."""
    code = """
        import reposync
        [getattr(reposync, name) for name in reposync.__all__]
        print(reposync.Page[reposync.RunEntry](), file=sys.stderr)
        rendering = ("reposync.display", "pygments", "pandas", "matplotlib", "IPython")
        say([name for name in sys.modules if name.startswith(rendering)])
    """
    assert fresh(code) == []


# -- figures -----------------------------------------------------------------------------------


def many(count: int) -> list[RunEntry]:
    """Past runs of all sorts."""
    statuses = ("complete", "complete", "partial", "failed", "interrupted", "refused", "cancelled")
    return [
        run(
            number,
            status=statuses[number % 7],
            repository=("_a", "b$x$", "c")[number % 3],
            duration_seconds=None if number % 7 == 4 else 0.1 + number % 90,
            files=FileCounts(failed=number % 7 == 2),
            chunks=ChunkCounts(total=1000 + number, embedded=number % 50 or 9000),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 2000])
def test_any_history_can_be_drawn(count: int) -> None:
    """None, one or two thousand runs make a picture; pyplot and its state are left alone."""
    figure = draw(many(count))
    png, size = figure._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert set(size) == {"width", "height"}
    assert [axes.get_title("left") for axes in figure.axes] == (
        ["seconds", "chunks in the collection", "texts embedded", "files failed"] if count else []
    )
    drawn = sum(len(dots.get_offsets()) for dots in figure.axes[0].collections) if count else 0
    assert drawn == count
    assert "matplotlib.pyplot" not in sys.modules


def test_a_figure_of_ones_own() -> None:
    """The history can be a part of a larger figure."""
    from matplotlib.figure import Figure

    whole = Figure(layout="constrained")
    left, _ = whole.subfigures(1, 2)
    assert draw(many(3), left) is left
    assert len(whole.axes) == 4
